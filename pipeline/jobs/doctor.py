"""What must be right before a run can be, checked in order: the first that is not is the first to mend.

    settings ─→ credentials ─→ endpoint ─→ TLS ─→ clock ─→ a signed call of one image      (each account, each endpoint)
             ─→ extras ─→ folder ─→ file system ─→ room ─→ versions ─→ lock

Each check says what it found, or raises what a run would end with. What another check must tell first is
"not known", and no more is made of it: with no credentials at all, everything but the signed call is checked.
Nothing secret is shown, and nothing is changed.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from pipeline.errors import BadSetting, ClockIsWrong, DiskFull, EnsImagesError, LakeLocked, NoAccess, Refused
from pipeline.extract.client import EnsApi
from pipeline.extract.event_loop import run_blocking
from pipeline.extract.probe import probe
from pipeline.extract.raw_pages import raw_paths
from pipeline.extract.response import NotAPage, read_page
from pipeline.extract.retry import RetryPolicy
from pipeline.lake.format import format_of
from pipeline.lake.lock import lock_holder
from pipeline.log import about
from pipeline.reports.query import Rows
from pipeline.requirements import check_extra, check_versions
from pipeline.storage.bucket import check_conditional_put
from pipeline.storage.folder import existing, refuse_a_file_above
from pipeline.storage.store import store_of
from pipeline.text import escape_control, pluralize, redact_userinfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pipeline.credentials import Account
    from pipeline.extract.attempt import Attempt
    from pipeline.extract.probe import Probe

_FORGIVEN_SECONDS: Final = 15 * 60
"""The service refuses a signature that is older, or younger, than this."""
_LEAST_ROOM: Final = 64 << 20
_RUNS_OF_ROOM: Final = 10
_NETWORK: Final = frozenset(
    {"9p", "afpfs", "afs", "cifs", "davfs", "ncpfs", "nfs", "nfs4", "smb", "smb2", "smb3", "smbfs", "webdav"}
    | {f"fuse.{name}" for name in ("davfs2", "gcsfuse", "goofys", "ossfs", "rclone", "s3fs", "sshfs")}
)
"""File systems on which a rename or a lock is not what it is on a disk of this machine."""
_QUICK: Final = RetryPolicy(back_off_seconds=0.05, throttled_seconds=10.0)
"""Somebody waits: a call that keeps being refused ends sooner than in a run."""
_PROVIDERS: Final = {
    "env": "variables of the environment",
    "oidc_role_arn": "an OIDC role",
    "cli_profile": "~/.aliyun/config.json",
    "profile": "~/.alibabacloud/credentials.ini",
    "ecs_ram_role": "the role of this ECS instance",
    "credential_uri": "ALIBABA_CLOUD_CREDENTIALS_URI",
}


class _NotKnown(Exception):
    """Another check must be right first."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what it found; and where something is wrong, the error that a run would end with."""

    check: str
    result: str
    found: str
    error: EnsImagesError | None = None


def examine(
    data: Path,
    *,
    accounts: Callable[[], Sequence[Account]],
    endpoint: str,
    allow_plain_http: bool = False,
    settings: Iterable[tuple[str, Any, str]] = (),
    unknown: Sequence[str] = (),
    folders: Iterable[Path] = (),
    extras: Mapping[str, str] = MappingProxyType({}),
) -> list[Finding]:
    """Check everything, in order.

    `settings` are key, value and origin, `folders` what else is written to; `extras` are what is needed beside the
    core, and the setting that asks for it.
    """
    doctor = _Doctor()
    doctor.settings(settings, unknown)
    listed: Sequence[Account] = doctor.value("accounts", lambda: _named(accounts())) or ()
    for account in listed:
        doctor.check(f"credentials of {account.label!r}", partial(_credentials, account))
    reached: dict[str, Probe | None] = {}
    for place in dict.fromkeys(account.endpoint or endpoint for account in listed) or (endpoint,):
        reached[place] = doctor.endpoint(place, allow_plain_http=allow_plain_http)
    for account in listed:
        place = account.endpoint or endpoint
        call = partial(_signed_call, account, place, reached[place], allow_plain_http=allow_plain_http)
        doctor.check(f"one image of {account.label!r}", call)
    store = store_of(data)
    for extra, key in {**extras, **({store.extra: "data"} if store.extra else {})}.items():
        doctor.check(f"extra {extra}", partial(_extra, extra, key))
    for folder in (data, *folders) if store.is_local else folders:
        doctor.check(f"folder {str(folder)!r}", partial(_writable, folder))
    if store.is_local:
        doctor.check("file system", lambda: _file_system(data))
        doctor.check("room", lambda: _room(data))
    else:
        doctor.check(f"bucket {str(data)!r}", partial(check_conditional_put, data))
    doctor.check("versions", lambda: _versions(data))
    if store.has_lock:
        doctor.check("lock", lambda: _lock(data))
    return doctor.findings


def as_lines(findings: Sequence[Finding]) -> str:
    """The findings to read: what is good in one line each, what is wrong with what to do."""
    wide = max(len(finding.check) for finding in findings)
    return "\n".join(escape_control(f"{x.result:9}  {x.check:{wide}}  {x.found}") for x in findings)


def as_rows(findings: Sequence[Finding]) -> Rows:
    """The findings as a table."""
    columns = {"check": "VARCHAR", "result": "VARCHAR", "found": "VARCHAR", "exit_code": "BIGINT"}
    rows = [(x.check, x.result, x.found, x.error.exit_code if x.error else 0) for x in findings]
    return Rows(tuple(columns), tuple(columns.values()), rows)


def first_to_mend(findings: Sequence[Finding]) -> EnsImagesError | None:
    """The error of the first check that found one."""
    return next((finding.error for finding in findings if finding.error), None)


class _Doctor:
    """Makes the checks, and keeps what they found."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def value(self, name: str, work: Callable[[], tuple[str, Any]]) -> Any:
        """Make one check; what it brought besides what it says, or None."""
        try:
            said, value = work()
        except _NotKnown as reason:
            self.findings.append(Finding(name, "not known", str(reason)))
        except EnsImagesError as error:
            self.findings.append(Finding(name, "wrong", f"{type(error).__name__}: {error}", error))
        except OSError as error:
            wrong = NoAccess(f"{error.filename!r}: {error.strerror}")
            self.findings.append(Finding(name, "wrong", f"NoAccess: {wrong}", wrong))
        else:
            self.findings.append(Finding(name, "good", said))
            return value
        return None

    def check(self, name: str, work: Callable[[], str]) -> None:
        """Make one check."""
        self.value(name, lambda: (work(), None))

    def settings(self, settings: Iterable[tuple[str, Any, str]], unknown: Sequence[str]) -> None:
        """Tell each setting and its origin; a variable that is none is the first thing to mend."""
        for key, value, origin in settings:
            said = "–" if value is None else str(value)  # noqa: RUF001  (the dash that stands for null)
            self.findings.append(Finding(f"setting {key}", "good", f"{said}  ({origin})"))
        for said in unknown:
            self.findings.append(Finding("environment", "wrong", said, BadSetting(said)))

    def endpoint(self, place: str, *, allow_plain_http: bool) -> Probe | None:
        """Reach an endpoint, once, for three checks."""
        shown = redact_userinfo(place)
        seen: Probe | None = self.value(
            f"endpoint {shown}", lambda: _reached(place, probe(place, allow_plain_http=allow_plain_http))
        )
        self.check(f"TLS of {shown}", lambda: _tls(seen))
        self.check(f"clock beside {shown}", lambda: _clock(seen))
        return seen


# ── who asks ─────────────────────────────────────────────────────────────────


def _named(accounts: Sequence[Account]) -> tuple[str, Sequence[Account]]:
    return ", ".join(escape_control(account.label) for account in accounts), accounts


def _credentials(account: Account) -> str:
    account.resolve()
    found = account.found_by or "the caller"
    words = next((words for part in found.split("/") if (words := _PROVIDERS.get(part))), None)
    return f"found by {found}" + (f": {words}" if words else "")


# ── whom ─────────────────────────────────────────────────────────────────────


def _reached(place: str, seen: Probe) -> tuple[str, Probe]:
    if seen.error is not None and not seen.is_tls:
        raise seen.error
    return f"{redact_userinfo(place)} answers, in {seen.seconds:.3f} s", seen


def _tls(seen: Probe | None) -> str:
    if seen is None:
        raise _NotKnown("the endpoint does not answer")
    if seen.error is not None:
        raise seen.error
    return "none: plain http" if seen.url.startswith("http://") else "the endpoint has proven who it is"


def _clock(seen: Probe | None) -> str:
    if seen is None or seen.error is not None:
        raise _NotKnown("the service tells its time once it is reached, and has proven who it is")
    if seen.clock_ahead_seconds is None:
        raise _NotKnown("the service has not told its time")
    ahead = seen.clock_ahead_seconds
    said = f"{abs(ahead):,.0f} s {'ahead of' if ahead > 0 else 'behind'} the service"
    if abs(ahead) > _FORGIVEN_SECONDS:
        raise ClockIsWrong(f"this machine is {said}, which forgives 15 minutes: set the clock (NTP)")
    return "right to the second" if abs(ahead) <= 2 else said


def _signed_call(account: Account, place: str, seen: Probe | None, *, allow_plain_http: bool) -> str:
    if account.key is None:
        raise _NotKnown("there are no credentials to sign with")
    if seen is None or seen.error is not None:
        raise _NotKnown("the endpoint cannot be called")

    async def call() -> Attempt:
        async with EnsApi(place, allow_plain_http=allow_plain_http, retry=_QUICK) as api:
            return await api.call(account, {"PageNumber": "1", "PageSize": "1"}, lambda _: None)

    with about(account=account.label):
        answer = run_blocking(call)
    try:
        page = read_page(answer.body or b"")
    except NotAPage as error:
        raise Refused(f"{seen.url} answers, but not as ENS: {error}: look at the endpoint") from error
    images = "it does not say how many" if page.total is None else pluralize(page.total, "image")
    return f"allowed: ens:DescribeSelfImages, {images}"


# ── where ────────────────────────────────────────────────────────────────────


def _writable(folder: Path) -> str:
    """Write, sync and rename a file of our own, where there is a folder; nothing is left of it."""
    refuse_a_file_above(folder)
    place = existing(folder)
    try:
        _replace_one_of_our_own(place)
    except OSError as error:
        raise NoAccess(
            f"{str(place)!r} cannot be written to: {error.strerror}: give it to this user, or name another folder"
        ) from error
    return "writable" if place == folder else f"will be made: {str(place)!r} is writable"


def _replace_one_of_our_own(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".ens-images-doctor.", dir=folder) as aside:
        old, new = Path(aside) / "old", Path(aside) / "new"
        old.write_text("old")
        new.write_text("new")
        with new.open("rb") as file:
            os.fsync(file.fileno())
        new.replace(old)
        if old.read_text() != "new":
            raise OSError(errno.EIO, "a rename did not replace", str(folder))


def _file_system(data: Path) -> str:
    place = existing(data).resolve()
    kind = kind_of_file_system(place, _mounts())
    if kind is None:
        raise _NotKnown("this system does not tell")
    if kind in _NETWORK:
        raise BadSetting(
            f"{str(place)!r} lies on {kind}, over a network, where a rename may be seen half done and a lock held "
            "twice: keep the lake on a disk of this machine, and export from there"
        )
    return f"{kind}: a rename is atomic"


def kind_of_file_system(place: Path, mounts: Iterable[tuple[str, str]]) -> str | None:
    """The kind of the file system that `place` lies on, by mount point and kind."""
    best: tuple[int, str] | None = None
    for point, kind in mounts:
        if place.is_relative_to(point) and (best is None or len(Path(point).parts) >= best[0]):
            best = (len(Path(point).parts), kind)
    return best[1] if best else None


def _mounts() -> list[tuple[str, str]]:
    """What is mounted where: mount point and kind, a later mount after those that it covers."""
    listed = Path("/proc/self/mounts")
    if listed.exists():
        lines = listed.read_text("utf-8", "surrogateescape").splitlines()
        said = [line.split(" ") for line in lines]
        return [(point.replace("\\040", " "), kind) for _, point, kind, *_ in said]
    told = subprocess.run(["/sbin/mount"], capture_output=True, text=True, check=False).stdout
    found = []
    for line in told.splitlines():  # /dev/disk3s1 on /System/Volumes/Data (apfs, local, …)
        point, _, rest = line.partition(" on ")[2].rpartition(" (")
        found.append((point, rest.rstrip(")").partition(",")[0]))
    return found


def _room(data: Path) -> str:
    free = shutil.disk_usage(existing(data)).free
    runs = raw_paths(data)
    last = runs[-1].stat().st_size if runs else 0
    needed = max(_LEAST_ROOM, _RUNS_OF_ROOM * last)
    if free < needed:
        raise DiskFull(
            f"{free >> 20:,} MiB are free, and {needed >> 20:,} MiB should be: make room, or let prune do it"
        )
    return f"{free / (1 << 30):,.1f} GiB free" + (f"; the last run landed {last / (1 << 20):,.2f} MiB" if last else "")


def _versions(data: Path) -> str:
    format_of(data)
    return check_versions()


def _extra(extra: str, key: str) -> str:
    try:
        return f"{check_extra(extra)}, for {key}"
    except BadSetting as error:
        raise BadSetting(f"{key}: {error}") from error


def _lock(data: Path) -> str:
    by = lock_holder(data)
    if by is not None:
        raise LakeLocked(f"the lake in {str(data)!r} is held by {escape_control(by)}: wait until it is done")
    return "free"
