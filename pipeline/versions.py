"""What is installed, and whether it is new enough: read from the packages' own records, none of them imported."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, requires, version

from pipeline.errors import BadSetting

_NEEDED = re.compile(r"(?P<name>[\w.-]+)\s*(?:>=(?P<least>[\d.]+))?[^;]*$")


def installed() -> dict[str, str]:
    """Name → version: this program, Python, then what it needs; "missing" where that is so."""
    found = {"ens-images": version("ens-images"), "Python": platform.python_version()}
    return found | {name: _version(name) for name in _needed()}


def check_versions() -> str:
    """Say the versions, in one line.

    Raises:
        BadSetting: something needed is missing, or older than the tests pass on.
    """
    found = installed()
    for name, least in _needed().items():
        if found[name] == "missing" or _numbers(found[name]) < _numbers(least):
            raise BadSetting(
                f"{name} is {found[name]}, and {least} or newer is needed: pip install --upgrade ens-images"
            )
    return ", ".join(f"{name} {said}" for name, said in found.items())


def _needed() -> dict[str, str]:
    """What the core needs, by its own record: name → oldest version."""
    lines = [_NEEDED.match(line) for line in requires("ens-images") or () if "extra ==" not in line]
    return {found["name"]: found["least"] or "0" for found in lines if found}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _numbers(said: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", said.partition("+")[0])[:3])
