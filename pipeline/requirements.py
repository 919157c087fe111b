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
    _refuse_old(found, _needed(), "--upgrade ens-images")
    return ", ".join(f"{name} {said}" for name, said in found.items())


def check_extra(extra: str) -> str:
    """Say the versions of what an extra brings, in one line.

    Raises:
        BadSetting: something of it is missing, or older than the tests pass on.
    """
    needed = _needed(extra)
    found = {name: _version(name) for name in needed}
    _refuse_old(found, needed, f"'ens-images[{extra}]'")
    return ", ".join(f"{name} {said}" for name, said in found.items())


def _refuse_old(found: dict[str, str], needed: dict[str, str], what: str) -> None:
    for name, least in needed.items():
        if found[name] == "missing" or _numbers(found[name]) < _numbers(least):
            raise BadSetting(f"{name} is {found[name]}, and {least} or newer is needed: pip install {what}")


def _needed(extra: str = "") -> dict[str, str]:
    """What the core needs, or an extra beside it, by its own record: name → oldest version."""
    every = [line.partition(";") for line in requires("ens-images") or ()]
    wanted = [line for line, _, when in every if (f"'{extra}'" in when if extra else "extra ==" not in when)]
    lines = [_NEEDED.match(line.strip()) for line in wanted]
    return {found["name"]: found["least"] or "0" for found in lines if found}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _numbers(said: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", said.partition("+")[0])[:3])
