"""Settings: one optional `ens-images.toml`, in the working folder or where `--config` says.

    data = "lake"                       a key is the long name of an option: --max-shrink is max_shrink
    rate = 10                           a flag goes before a variable, that before this file, that before the default
    max_age = "26h"

    [[accounts]]                        who is listed, unless --profile or --profiles-from says otherwise
    profile = "prod"                    a profile of the vendor's file; without one, the vendor's default chain
    label = "production"                what it is called in the lake; else the profile's name
    endpoint = "ens.ap-southeast-1.aliyuncs.com"

    [after_run]                         what follows a run
    prune = true                        by raw_older_than and grace
    export = "exports"                  every standing report, a file each, into a folder of their own
    export_formats = ["csv", "xlsx"]    one file a format; else CSV alone
    page = "report.html"                the standing reports as one page

    [thresholds.stale_images]           of a view, as in `from stale_images(older_than_days := 365)`
    older_than_days = 365

    [bucket]                            the service of `data = "s3://bucket/prefix"`; AWS_… and OSS_… go before
    endpoint = "https://s3.example.com"
    region = "eu-central-1"

A path is relative to the file. A key that is not known is an error that names the nearest one. No secret is
accepted: a profile, or a variable of the environment, is where one belongs.
"""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from pathlib import Path
from typing import Any, Final

import msgspec

from pipeline.errors import BadSetting
from pipeline.text import nearest

FILE: Final = "ens-images.toml"
_SECRETIVE: Final = re.compile("secret|token|passw|credential|access_?key|key_?id|private|api_?key", re.IGNORECASE)
_PATHS: Final = ("data", "profiles_from", "summary")
_TABLES: Final = ("accounts", "after_run", "thresholds", "bucket")
_UNITS: Final = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_WORDS: Final = {
    "str": "text in quotes",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "datetime": "a date and time",
    "date": "a date",
    "time": "a time",
}
"""What TOML calls the kinds of values."""


class AccountEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One account: which credentials, under which label, at which endpoint."""

    profile: str | None = None
    label: str | None = None
    endpoint: str | None = None

    @property
    def name(self) -> str:
        """What it is called in the lake."""
        return self.label or self.profile or ""


class AfterRun(msgspec.Struct, frozen=True, kw_only=True):
    """What follows a run; nothing, unless told."""

    prune: bool = False
    export: str | None = None
    export_formats: tuple[str, ...] = ("csv",)
    page: str | None = None


class BucketEntry(msgspec.Struct, frozen=True, kw_only=True):
    """The service that buckets are in."""

    endpoint: str | None = None
    region: str | None = None


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the file says; None: nothing. Each key but the last four is an option, which has the default."""

    data: str | None = None
    endpoint: str | None = None
    allow_plain_http: bool | None = None
    rate: float | None = None
    workers: int | None = None
    profiles_from: str | None = None
    certificate: str | None = None
    timeout: float | None = None
    max_shrink: float | None = None
    raw_older_than: str | None = None
    grace: str | None = None
    max_age: str | None = None
    summary: str | None = None
    accounts: tuple[AccountEntry, ...] = ()
    after_run: AfterRun = AfterRun()
    thresholds: dict[str, Any] = {}
    """What of the views' thresholds holds instead; the views know which there are (`views.check_thresholds`)."""
    bucket: BucketEntry = BucketEntry()

    def options(self) -> dict[str, Any]:
        """The options that the file sets, by key."""
        names = [name for name in self.__struct_fields__ if name not in _TABLES]
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def extras(self) -> dict[str, str]:
        """What is to be installed beside the core for what follows a run, and which key asks for it."""
        after = self.after_run
        asked = {"report": "after_run.page" if after.page else ""}
        asked["excel"] = "after_run.export_formats" if after.export and "xlsx" in after.export_formats else ""
        return {extra: key for extra, key in asked.items() if key}

    def folders(self) -> list[Path]:
        """The folders, beside that of the lake, that a run and what follows it write to."""
        # an export's folder is swapped for a new one, beside it
        files = (self.summary, self.after_run.page, self.after_run.export)
        return list(dict.fromkeys(Path(file).parent for file in files if file))


def load(path: Path | None = None) -> tuple[Settings, Path | None]:
    """Read the settings: those in `path`, else in `ens-images.toml` of the working folder, if there is one.

    Returns:
        The settings with absolute paths, and the file; where there is none, nothing is set.

    Raises:
        BadSetting: the file cannot be read, or says something that is not known, or that is a secret.
    """
    file = Path(FILE) if path is None else path
    try:
        said = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        if path is None:
            return Settings(), None
        raise BadSetting(f"there is no settings file {str(file)!r}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSetting(f"{str(file)!r} is no TOML: {error}") from error
    except OSError as error:
        raise BadSetting(f"{str(file)!r} cannot be read: {error.strerror}") from error
    _refuse_unknown(said, Settings, file, "")
    for number, entry in enumerate(_tables(said.get("accounts")), start=1):
        _refuse_unknown(entry, AccountEntry, file, f"accounts[{number}].")
    for table in _tables([said.get("after_run")]):
        _refuse_unknown(table, AfterRun, file, "after_run.")
    for table in _tables([said.get("bucket")]):
        _refuse_unknown(table, BucketEntry, file, "bucket.")
    try:
        settings = msgspec.convert(said, Settings)
    except msgspec.ValidationError as error:
        raise BadSetting(f"{str(file)!r}: {_in_words_of_toml(str(error))}") from error
    _check_accounts(settings.accounts, file)
    settings = _absolute(settings, file.resolve().parent)
    _check_places(settings, file)
    return settings, file


def span(said: str | dt.timedelta) -> dt.timedelta:
    """A span of time: a number and a letter, such as `90d`, `12h`.

    Raises:
        BadSetting: it is none.
    """
    if isinstance(said, dt.timedelta):
        return said
    found = re.fullmatch(r"([0-9]{1,6})([dhms])", said.strip())
    if not found:
        raise BadSetting(f"{said!r} is no span of time: a number and d, h, m or s are expected, such as 90d")
    return dt.timedelta(**{_UNITS[found[2]]: int(found[1])})


def options_of_a_wrong_file(path: Path | None = None) -> dict[str, str]:
    """Where a file that `load` refuses wants the lake and the summary to be; nothing where it cannot be read at all."""
    file = Path(FILE) if path is None else path
    try:
        said = tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    texts = {name: value for name in ("data", "summary") if isinstance(value := said.get(name), str) and value}
    return {name: str(_absolute_path(value, file.resolve().parent)) for name, value in texts.items()}


def _tables(said: object) -> list[dict[str, Any]]:
    return [entry for entry in said if isinstance(entry, dict)] if isinstance(said, list) else []


def _refuse_unknown(said: dict[str, Any], kind: type[msgspec.Struct], file: Path, place: str) -> None:
    known = kind.__struct_fields__
    for key in said:
        if key in known:
            continue
        if _SECRETIVE.search(key):
            raise BadSetting(
                f"{str(file)!r}: {place}{key} looks like a secret, and none belongs here: put it into a profile "
                "(`aliyun configure --profile NAME`) and name that, or into ALIBABA_CLOUD_ACCESS_KEY_SECRET"
            )
        suggestion = nearest(key.replace("-", "_").lower(), known)
        meant = f"did you mean {place}{suggestion}? " if suggestion else ""
        raise BadSetting(f"{str(file)!r}: {place}{key} is no setting: {meant}there are {', '.join(known)}")


def _in_words_of_toml(said: str) -> str:
    """Say what was expected and what stands there by the names that TOML has for them."""
    wrong, _, place = said.replace(" | null", "").partition(" - at `$.")
    place = re.sub(r"\[(\d+)\]", lambda found: f"[{int(found[1]) + 1}]", place.rstrip("`"))  # from 1
    found = re.fullmatch(r"Expected `(\w+)`, got `(\w+)`", wrong)
    if not found:
        return f"{place}: {wrong.replace('`', '')}"
    expected, got = (_WORDS.get(kind, kind) for kind in found.groups())
    if re.fullmatch(r"accounts(\[\d+\])?", place):
        expected = "a table headed [[accounts]]"
    elif found[1] == "object":
        expected = f"a table headed [{place}]"
    return f"{place}: {expected} is expected, and this is {got}"


def _check_accounts(entries: tuple[AccountEntry, ...], file: Path) -> None:
    names = [entry.name for entry in entries]
    for number, name in enumerate(names, start=1):
        if not name.strip():
            raise BadSetting(f"{str(file)!r}: accounts[{number}] has neither a profile nor a label: give it one")
        if names.index(name) + 1 != number:
            first = names.index(name) + 1
            raise BadSetting(f"{str(file)!r}: accounts[{number}] is called {name!r}, and so is accounts[{first}]")


def _check_places(settings: Settings, file: Path) -> None:
    """What a run writes as a whole takes the place of what lies there: so nothing else of these may."""
    after = settings.after_run
    written = {"summary": settings.summary, "after_run.export": after.export, "after_run.page": after.page}
    places = {name: Path(said) for name, said in written.items() if said is not None}
    for name in places:
        if "://" in str(written[name]):
            raise BadSetting(f"{str(file)!r}: {name} cannot lie in a bucket, as data can: name a place here")
    whole = {**places, "this file": file.resolve()}
    if settings.data is not None and "://" not in settings.data:
        whole["data"] = Path(settings.data)
    for name, place in places.items():
        for other, inside in whole.items():
            if name != other and inside.resolve().is_relative_to(place.resolve()):
                raise BadSetting(f"{str(file)!r}: {name} would be written over {other}: give it a place of its own")


def _absolute_path(value: str | None, folder: Path) -> str | None:
    return value if value is None or "://" in value else str(folder / Path(value).expanduser())


def _absolute(settings: Settings, folder: Path) -> Settings:
    def absolute(value: str | None) -> str | None:
        return _absolute_path(value, folder)

    after = settings.after_run
    paths = {name: absolute(getattr(settings, name)) for name in _PATHS}
    followed = msgspec.structs.replace(after, export=absolute(after.export), page=absolute(after.page))
    return msgspec.structs.replace(settings, **paths, after_run=followed)
