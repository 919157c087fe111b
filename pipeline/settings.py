"""Settings: one optional `ens-images.toml`, in the working folder or where `--config` points.

    data = "lake"                       a key is the long name of an option: --max-shrink is max_shrink
    rate = 10                           a flag beats a variable, a variable beats this file, the file beats the default
    max_age = "26h"
    delta = true                        a Delta log beside each table, for Spark, Trino, polars and others

    [[accounts]]                        the accounts to list, unless --profile or --profiles-from is given
    profile = "prod"                    a profile of the vendor's file; without one, the vendor's default chain
    label = "production"                the account's name in the lake; default: the profile's name
    endpoint = "ens.ap-southeast-1.aliyuncs.com"
    same_account_as = "prod"            another name of that account: views count it once; "none": of no other account
    settle = "30s"                      answers further apart than this never show an older state (default: 2s)

    [after_run]                         steps after a run
    prune = true                        with raw_older_than, daily_older_than and grace
    export = "exports"                  every standing report as a file, in a folder of its own
    export_formats = ["csv", "xlsx"]    one file per format; default: CSV
    html = "report.html"                the standing reports as one HTML page

    [thresholds.stale_images]           of a view, as in `from stale_images(older_than_days := 365)`
    older_than_days = 365

    [bucket]                            the service of `data = "s3://bucket/prefix"`; AWS_… and OSS_… beat it
    endpoint = "https://s3.example.com"
    region = "eu-central-1"

A path is relative to the file; `~` is the home. An unknown key is an error that names the
nearest known one. Secrets are refused: they belong in a profile or in an
environment variable.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from pipeline.errors import BadSetting
from pipeline.paths import user_path
from pipeline.text import nearest, read_text

if TYPE_CHECKING:
    from collections.abc import Sequence

FILE: Final = "ens-images.toml"
NO_OTHER: Final = "none"
"""The `same_account_as` of an account that is no other name of another one."""
SETTLE: Final = (dt.timedelta(seconds=2), dt.timedelta(minutes=1))
"""The least that `settle` may be, which every run assumes, and the most: a listing waits so long several times over."""
_SECRETIVE: Final = re.compile("secret|token|passw|credential|access_?key|key_?id|private|api_?key", re.IGNORECASE)
_PATHS: Final = ("data", "profiles_from", "summary", "lock_dir")
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
"""The type names of msgspec, in words for a user of TOML."""


class AccountEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An account: its credentials, its label, its endpoint, and the account that it is another name of."""

    profile: str | None = None
    label: str | None = None
    endpoint: str | None = None
    same_account_as: str | None = None
    settle: str | None = None

    @property
    def name(self) -> str:
        """The account's name in the lake."""
        return self.label or self.profile or ""


class AfterRun(msgspec.Struct, frozen=True, kw_only=True):
    """The steps after a run; none by default."""

    prune: bool = False
    export: str | None = None
    export_formats: tuple[str, ...] = ("csv",)
    html: str | None = None


class BucketEntry(msgspec.Struct, frozen=True, kw_only=True):
    """The service that holds the bucket."""

    endpoint: str | None = None
    region: str | None = None


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of the file. None: not set; the option of that name then uses its default.

    Each key but the last four is an option of a command.
    """

    data: str | None = None
    endpoint: str | None = None
    allow_plain_http: bool | None = None
    rate: float | None = None
    workers: int | None = None
    profiles_from: str | None = None
    certificate: str | None = None
    delta: bool | None = None
    strict: bool | None = None
    resource: tuple[str, ...] | None = None
    share_check: bool | None = None
    timeout: float | None = None
    max_answer: float | None = None
    max_shrink: float | None = None
    raw_older_than: str | None = None
    daily_older_than: str | None = None
    grace: str | None = None
    max_age: str | None = None
    lock_dir: str | None = None
    memory_limit: str | None = None
    summary: str | None = None
    accounts: tuple[AccountEntry, ...] = ()
    after_run: AfterRun = AfterRun()
    thresholds: dict[str, Any] = {}
    """Thresholds of views that differ from the default; the views check them (`views.catalog.check_thresholds`)."""
    bucket: BucketEntry = BucketEntry()

    def options(self) -> dict[str, Any]:
        """Return the options that the file sets, by key."""
        names = [name for name in self.__struct_fields__ if name not in _TABLES]
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def extras(self) -> dict[str, str]:
        """Return the extras that the steps after a run need, each with the key that needs it."""
        after = self.after_run
        keys = {"report": "after_run.html" if after.html else ""}
        keys["delta"] = "delta" if self.delta else ""
        keys["excel"] = "after_run.export_formats" if after.export and "xlsx" in after.export_formats else ""
        return {extra: key for extra, key in keys.items() if key}

    def folders(self) -> list[Path]:
        """Return the folders outside the lake that a run and the steps after it write to."""
        # An export replaces its whole folder, so it writes to the parent.
        files = (self.summary, self.after_run.html, self.after_run.export)
        return list(dict.fromkeys(Path(file).parent for file in files if file))


def load(path: Path | None = None) -> tuple[Settings, Path | None]:
    """Read and check the settings file: `path`, or else `ens-images.toml` in the working folder, if it exists.

    Returns:
        The settings with absolute paths, and the file; empty settings and None where there is no file.

    Raises:
        BadSetting: the file cannot be read, or holds an unknown key, a wrong value or a secret.
    """
    file = Path(FILE) if path is None else path
    try:
        document = tomllib.loads(read_text(file))
    except FileNotFoundError:
        if path is None:
            return Settings(), None
        raise BadSetting(f"there is no settings file {str(file)!r}") from None
    except tomllib.TOMLDecodeError as error:
        raise BadSetting(f"{str(file)!r} is not TOML: {error}") from error
    except RecursionError as error:
        raise BadSetting(f"{str(file)!r} cannot be read: its lists and tables are nested too deeply") from error
    except OSError as error:
        raise BadSetting(f"{str(file)!r} cannot be read: {error.strerror}") from error
    _refuse_unknown(document, Settings, file, "")
    for number, entry in enumerate(_tables(document.get("accounts")), start=1):
        _refuse_unknown(entry, AccountEntry, file, f"accounts[{number}].")
    for table in _tables([document.get("after_run")]):
        _refuse_unknown(table, AfterRun, file, "after_run.")
    for table in _tables([document.get("bucket")]):
        _refuse_unknown(table, BucketEntry, file, "bucket.")
    try:
        settings = msgspec.convert(document, Settings)
    except msgspec.ValidationError as error:
        raise BadSetting(f"{str(file)!r}: {_in_words_of_toml(str(error))}") from error
    _check_accounts(settings.accounts, file)
    settings = _absolute(settings, file)
    _check_output_paths(settings, file)
    return settings, file


def span(text: str | dt.timedelta) -> dt.timedelta:
    """Return the time span that `text` means: a number and a unit, such as `90d` or `12h`.

    Raises:
        BadSetting: `text` is not a time span.
    """
    if isinstance(text, dt.timedelta):
        return text
    match = re.fullmatch(r"([0-9]{1,6})([dhms])", text.strip())
    if not match:
        raise BadSetting(f"{text!r} is not a time span: a number and d, h, m or s is expected, such as 90d")
    return dt.timedelta(**{_UNITS[match[2]]: int(match[1])})


def memory_size(text: str) -> str:
    """Return a share of the machine's memory, such as `50%`, or a size, such as `4GB`, as DuckDB takes it.

    Raises:
        BadSetting: `text` is neither.
    """
    size = text.replace(" ", "")
    if not re.fullmatch(r"(?!0+(\.0*)?(?:\D|$))[0-9]{1,6}(\.[0-9]{1,3})?(%|[KMGT]i?B)", size, re.IGNORECASE):
        raise BadSetting(f"{text!r} is no amount of memory: a share such as 50%, or a size such as 4GB is expected")
    return size


def paths_of_invalid_file(path: Path | None = None) -> dict[str, str]:
    """Return `data` and `summary` of a file that `load` refuses, as far as they can be read."""
    file = Path(FILE) if path is None else path
    try:
        document = tomllib.loads(read_text(file))
    except (OSError, ValueError, RecursionError, BadSetting):
        return {}
    paths = {}
    for name in ("data", "summary"):
        if isinstance(value := document.get(name), str):
            with contextlib.suppress(BadSetting):
                paths[name] = str(_absolute_path(value, file.resolve().parent))
    return paths


def _tables(entries: object) -> list[dict[str, Any]]:
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _refuse_unknown(table: dict[str, Any], declared: type[msgspec.Struct], file: Path, prefix: str) -> None:
    known = declared.__struct_fields__
    for key in table:
        if key in known:
            continue
        if _SECRETIVE.search(key):
            raise BadSetting(
                f"{str(file)!r}: {prefix}{key} looks like a secret, and none belongs here: put it into a profile "
                "(`aliyun configure --profile NAME`) and name that, or into ALIBABA_CLOUD_ACCESS_KEY_SECRET"
            )
        suggestion = nearest(key.replace("-", "_").lower(), known)
        hint = f"did you mean {prefix}{suggestion}? " if suggestion else ""
        raise BadSetting(f"{str(file)!r}: {prefix}{key} is not a setting: {hint}there are {', '.join(known)}")


def _in_words_of_toml(message: str) -> str:
    """Rewrite a message of msgspec: the key first, then the expected and the found type as TOML calls them."""
    problem, _, key = message.replace(" | null", "").partition(" - at `$.")
    key = re.sub(r"\[(\d+)\]", lambda index: f"[{int(index[1]) + 1}]", key.rstrip("`"))  # counted from 1
    match = re.fullmatch(r"Expected `(\w+)`, got `(\w+)`", problem)
    if not match:
        return f"{key}: {problem.replace('`', '')}"
    expected, found = (_WORDS.get(kind, kind) for kind in match.groups())
    if re.fullmatch(r"accounts(\[\d+\])?", key):
        expected = "a table headed [[accounts]]"
    elif match[1] == "object":
        expected = f"a table headed [{key}]"
    return f"{key}: {expected} is expected, and this is {found}"


def _check_accounts(entries: tuple[AccountEntry, ...], file: Path) -> None:
    names = [entry.name for entry in entries]
    for number, (name, entry) in enumerate(zip(names, entries, strict=True), start=1):
        if not name.strip():
            raise BadSetting(f"{str(file)!r}: accounts[{number}] has neither a profile nor a label: give it one")
        if names.index(name) + 1 != number:
            first = names.index(name) + 1
            raise BadSetting(f"{str(file)!r}: accounts[{number}] is called {name!r}, and so is accounts[{first}]")
        _check_settle(entry.settle, f"{str(file)!r}: accounts[{number}].settle")
    same_as = {entry.name: entry.same_account_as for entry in entries}
    for number, entry in enumerate(entries, start=1):
        other = entry.same_account_as
        place = f"{str(file)!r}: accounts[{number}].same_account_as = {other!r}"
        if other in (None, NO_OTHER):
            continue
        if other == entry.name or other not in names:
            raise BadSetting(f'{place}: the name of another account of this file is expected, or "{NO_OTHER}"')
        if same_as[other] is not None:
            raise BadSetting(f"{place}: {other!r} has a same_account_as itself: name an account that has none")


def _check_settle(settle: str | None, place: str) -> None:
    if settle is None:
        return
    try:
        is_possible = SETTLE[0] <= span(settle) <= SETTLE[1]
    except BadSetting as error:
        raise BadSetting(f"{place}: {error}") from None
    if not is_possible:
        raise BadSetting(f"{place}: from 2s to 1m is expected, and this is {settle!r}")


def _check_output_paths(settings: Settings, file: Path) -> None:
    """Refuse an output path that holds the lake, the settings file or another output: a run replaces each as a whole.

    Raises:
        BadSetting: two of them collide, or one is a bucket.
    """
    after = settings.after_run
    outputs = {"summary": settings.summary, "after_run.export": after.export, "after_run.html": after.html}
    paths = {name: Path(path) for name, path in outputs.items() if path is not None}
    for name in paths:
        if "://" in str(outputs[name]):
            raise BadSetting(f"{str(file)!r}: {name} cannot be in a bucket, as data can: give a path on this machine")
    protected = {**paths, "this file": file.resolve()}
    if settings.data is not None and "://" not in settings.data:
        protected["data"] = Path(settings.data)
    for name, path in paths.items():
        for other, inside in protected.items():
            if name != other and inside.resolve().is_relative_to(path.resolve()):
                raise BadSetting(f"{str(file)!r}: {name} would overwrite {other}: give it a path of its own")


def _absolute_path(value: str | None, folder: Path) -> str | None:
    return value if value is None or "://" in value else str(folder / user_path(value))


def _absolute(settings: Settings, file: Path) -> Settings:
    folder = file.resolve().parent

    def absolute(struct: msgspec.Struct, names: Sequence[str], prefix: str = "") -> dict[str, str | None]:
        paths = {}
        for name in names:
            try:
                paths[name] = _absolute_path(getattr(struct, name), folder)
            except BadSetting as error:
                raise BadSetting(f"{str(file)!r}: {prefix}{name}: {error}") from error
        return paths

    after = msgspec.structs.replace(
        settings.after_run, **absolute(settings.after_run, ("export", "html"), "after_run.")
    )
    return msgspec.structs.replace(settings, **absolute(settings, _PATHS), after_run=after)
