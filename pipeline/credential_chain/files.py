"""Read the vendor's two files of credentials, as editors write them: with a byte order mark, with comments.

No message quotes a line of a file: it may hold a secret.
"""

from __future__ import annotations

import configparser
import json
import re
from pathlib import Path
from typing import Any, Final

from pipeline.errors import BadSetting
from pipeline.text import read_text

_COMMENTS: Final = re.compile(r'("(?:\\.|[^"\\\n])*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
_KINDS: Final = {
    dict: "an object",
    list: "a list",
    str: "text",
    int: "a whole number",
    float: "a decimal number",
    bool: "a boolean",
}
_MODES: Final = (
    "AK",
    "StsToken",
    "RamRoleArn",
    "EcsRamRole",
    "OIDC",
    "ChainableRamRoleArn",
    "CloudSSO",
    "OAuth",
    "External",
)
_AK: Final = ("access_key_id", "access_key_secret")
_NEEDED: Final = {"AK": _AK, "RamRoleArn": _AK, "StsToken": (*_AK, "sts_token")}
_TEXTS: Final = (
    "mode access_key_id access_key_secret sts_token ram_role_arn ram_session_name policy external_id sts_region "
    "ram_role_name oidc_provider_arn oidc_token_file role_session_name source_profile cloud_sso_sign_in_url "
    "cloud_sso_account_id cloud_sso_access_config access_token oauth_site_type oauth_access_token "
    "oauth_refresh_token process_command"
)
_NUMBERS: Final = "expired_seconds cloud_sso_access_token_expire oauth_access_token_expire sts_expiration"
_TYPES: Final[dict[str, type]] = {
    **dict.fromkeys(_TEXTS.split(), str),
    **dict.fromkeys(_NUMBERS.split(), int),
    "enable_vpc": bool,
}
"""The keys of a profile that the vendor's library reads."""


class NotThere(Exception):
    """A source holds no credentials: why, in a few words; `advice` where the usual one would not help."""

    def __init__(self, reason: str, *, advice: str | None = None) -> None:
        super().__init__(reason)
        self.advice = advice


def read_profiles(path: str | Path) -> dict[str, Any]:
    """Read config.json of the vendor's command line.

    Raises:
        NotThere: there is no such file, or this user may not read it.
        BadSetting: it is not JSON, not an object with a list of profiles, or a key stands twice in one object.
    """
    text = _COMMENTS.sub(_blank, _read(Path(path)))
    try:
        config = json.loads(text, object_pairs_hook=_without_doubles)
    except _Doubled as error:
        raise BadSetting(f"{str(path)!r}: {error} stands twice in one object: delete one of them") from None
    except json.JSONDecodeError as error:
        raise BadSetting(f"{str(path)!r}, line {error.lineno}, column {error.colno}: not JSON: {error.msg}") from None
    except RecursionError:
        raise BadSetting(f"{str(path)!r}: not a file of profiles: nested too deeply") from None
    if not isinstance(config, dict):
        raise BadSetting(f"{str(path)!r}: an object with a list of profiles is expected, and this is {_kind(config)}")
    profiles = config.get("profiles") or []
    if not isinstance(profiles, list) or not all(isinstance(profile, dict) for profile in profiles):
        raise BadSetting(f"{str(path)!r}: profiles: a list of objects is expected")
    return config


class _Doubled(Exception):
    """A key stands twice in one object."""


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entry = dict(pairs)
    if len(entry) < len(pairs):
        keys = [key for key, _ in pairs]
        key = next(key for key in keys if keys.count(key) > 1)
        raise _Doubled(f"the key {key!r}" if key in {*_TYPES, "name", "current", "profiles"} else "a key")
    return entry


def check_profile(config: dict[str, Any], name: str, path: Path) -> None:
    """Check a profile, and those that it takes its role from: they exist, in no circle, with values of the right type.

    Raises:
        NotThere: there is no such profile, or it holds no key.
        BadSetting: it cannot be used as it is written.
    """
    profiles: dict[str, list[dict[str, Any]]] = {}
    for entry in config.get("profiles") or []:
        if isinstance(text := entry.get("name"), str):
            profiles.setdefault(text, []).append(entry)
    if name not in profiles:
        raise NotThere(f"there is no profile {name!r} in {str(path)!r}")
    seen = [name]
    while _check_values(last := _only(profiles[seen[-1]], path), path) == "ChainableRamRoleArn":
        source = last.get("source_profile")
        if source in seen:
            circle = " → ".join(map(repr, (*seen, source)))
            raise BadSetting(f"{str(path)!r}: source_profile leads in a circle: {circle}")
        if source not in profiles:
            raise BadSetting(f"{str(path)!r}: source_profile of {seen[-1]!r}: there is no profile {source!r}")
        seen.append(source)
    for key in _NEEDED.get(last["mode"], ()):
        if not last.get(key):  # the vendor would take it from the environment, of another key
            raise NotThere(f"profile {seen[-1]!r} of {str(path)!r} has no {key}")


def _only(entries: list[dict[str, Any]], path: Path) -> dict[str, Any]:
    """Return the profile of a name: of two, each program of the vendor's may take another."""
    if len(entries) > 1:
        name = entries[0]["name"]
        raise BadSetting(f"{str(path)!r}: two profiles have the name {name!r}: rename or delete one of them")
    return entries[0]


def _check_values(profile: dict[str, Any], path: Path) -> str:
    """Check the values of one profile. Returns: its mode."""
    where = f"{str(path)!r}: profile {profile['name']!r}"
    for key, value in profile.items():
        expected = _TYPES.get(key)
        if expected and value is not None and type(value) is not expected:
            raise BadSetting(f"{where}: {key}: {_KINDS[expected]} is expected, and this is {_kind(value)}")
    mode: str | None = profile.get("mode")
    if mode not in _MODES:
        raise BadSetting(f"{where}: mode is {mode!r}, and should be one of {', '.join(_MODES)}")
    return mode


def read_sections(path: str | Path) -> dict[str, dict[str, str]]:
    """Read credentials.ini.

    Raises:
        NotThere: there is no such file, or this user may not read it.
        BadSetting: it is not an INI file.
    """
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(_read(Path(path)))
    except configparser.MissingSectionHeaderError as error:
        raise BadSetting(f"{str(path)!r}, line {error.lineno}: a section such as [default] is expected first") from None
    except configparser.ParsingError as error:
        raise BadSetting(f"{str(path)!r}, line {error.errors[0][0]}: neither a section nor key = value") from None
    except (configparser.DuplicateSectionError, configparser.DuplicateOptionError) as error:
        raise BadSetting(f"{str(path)!r}, line {error.lineno}: a section or a key stands there twice") from None
    return {
        section: {key: value.partition("#")[0].strip() for key, value in parser.items(section)}
        for section in parser.sections()
    }


def _read(path: Path) -> str:
    try:
        return read_text(path)
    except FileNotFoundError:
        raise NotThere(f"there is no {str(path)!r}") from None
    except OSError as error:
        raise NotThere(f"{str(path)!r} cannot be read: {error.strerror}", advice="let this user read it") from None


def _blank(match: re.Match[str]) -> str:
    """Keep a text; replace a comment by spaces, so that lines and columns stay."""
    return match[1] or re.sub(r"[^\n]", " ", match[0])


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "null")
