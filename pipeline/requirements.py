"""Installed packages, and whether they are new enough: read from their metadata, nothing is imported.

pyproject.toml  →  metadata of ens-images: "duckdb>=2.0"  ↔  version("duckdb")
"""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, requires, version
from typing import TYPE_CHECKING, Final

from pipeline.errors import BadSetting

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_MISSING: Final = "missing"


def installed() -> dict[str, str]:
    """Return name → version of this program, Python and the core dependencies; "missing" for what is not there."""
    versions = {"ens-images": version("ens-images"), "Python": platform.python_version()}
    return versions | {requirement.name: _version(requirement.name) for requirement in _requirements()}


def check_versions() -> str:
    """Verify the core dependencies. Returns: their versions, in one line.

    Raises:
        BadSetting: one is missing, or older than the lower bound, which the tests pass on.
    """
    _refuse_unmet(_requirements(), "--upgrade ens-images")
    return ", ".join(f"{name} {version}" for name, version in installed().items())


def check_extra(extra: str) -> str:
    """Verify what an extra adds. Returns: its versions, in one line.

    Raises:
        BadSetting: a package is missing, or older than the lower bound, which the tests pass on.
    """
    requirements = _requirements(extra)
    _refuse_unmet(requirements, f"'ens-images[{extra}]'")
    return ", ".join(f"{requirement.name} {_version(requirement.name)}" for requirement in requirements)


def _refuse_unmet(requirements: list[Requirement], arguments: str) -> None:
    """Raise for the first requirement that is not met; `arguments` are those of the pip command that cures it."""
    for requirement in requirements:
        found = _version(requirement.name)
        if found == _MISSING or not requirement.specifier.contains(found, prereleases=True):
            raise BadSetting(
                f"{requirement.name} is {found}, and {_in_words(requirement)} is needed: pip install {arguments}"
            )


def _in_words(requirement: Requirement) -> str:
    bounds = [f"{bound.version} or newer" if bound.operator == ">=" else str(bound) for bound in requirement.specifier]
    return ", ".join(bounds) or "any version"


def _requirements(extra: str = "") -> list[Requirement]:
    """Return the requirements of the core, or those that `extra` adds to it."""
    from packaging.requirements import Requirement

    declared = map(Requirement, requires("ens-images") or ())
    return [
        requirement
        for requirement in declared
        if (requirement.marker is None or requirement.marker.evaluate({"extra": extra}))
        and (not extra or (requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})))
    ]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return _MISSING
