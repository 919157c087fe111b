"""Every error that is raised on purpose, grouped by what the reader does next.

    EnsImagesError
    ├── OurMistake         exit 1   a bug in ens-images, met in an answer: report it
    ├── FixTheInput        exit 2   a wrong option, bad SQL, an unknown view, a file of the wrong kind
    │   ├── UnknownName
    │   ├── BadQuery
    │   ├── BadSetting
    │   ├── AlreadyObserved
    │   └── NoLocks
    ├── NotPublished       exit 3   the account was read, and the listing is not good enough to publish
    │   ├── IncompleteListing
    │   └── AccountShrank
    ├── FixTheAccount      exit 4   the service refused, and will refuse again
    │   ├── NoCredentials
    │   ├── Refused
    │   └── ClockIsWrong
    ├── WaitAndRetry       exit 5   nothing is wrong on this side: try again later
    │   ├── Unreachable
    │   ├── StillThrottled
    │   ├── OutOfTime
    │   ├── LakeLocked
    │   ├── DiskFull
    │   └── OutOfMemory
    ├── LakeUnusable       exit 6   the data folder is not an intact lake
    │   ├── LakeMissing
    │   ├── LakeDamaged
    │   ├── LakeTooNew
    │   ├── NoAccess
    │   └── DiskFailed
    ├── Differs            exit 7   two states of the lake differ, and the command was asked to report that
    └── NotFresh           exit 8   the lake is intact, but older than allowed

A message names the thing, what was found, and what to do. Any other exception
is a bug: it ends with a traceback and exit code 1.

`classify` maps the service's status and error code to what the client does next.
"""

from typing import Any, Literal

from pipeline.redaction import redact

Outcome = Literal["usable", "throttled", "transient", "nonce", "expired", "refused", "clock"]


def classify(status: int | None, error_code: str | None) -> Outcome:
    """Classify a response by what to do next: by its error code first, because HTTP statuses differ by product."""
    code = error_code or ""
    if code.startswith("Throttling") or code == "Rejected.Throttling":
        return "throttled"
    if code == "SignatureNonceUsed":
        return "nonce"
    if code == "InvalidSecurityToken.Expired":
        return "expired"
    if code in {"InvalidTimeStamp.Expired", "IllegalTimestamp"}:
        return "clock"
    if code in {"ServiceUnavailable", "InternalError", "UnknownError", "CallInterface"}:
        return "transient"
    if status is None or status >= 500 or status in {408, 429}:
        return "throttled" if status == 429 else "transient"
    return "usable" if status == 200 else "refused"


class EnsImagesError(Exception):
    """The root: its message passes the redaction.

    `exit_code` is the command's; `run` is the summary of the run that the error ended, if any.
    """

    exit_code = 1
    run: Any = None

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(redact(one) if isinstance(one, str) else one for one in arguments))


class OurMistake(EnsImagesError):
    """A bug in ens-images, met in an answer: the account is not published, the others are."""


class FixTheInput(EnsImagesError):
    """The command cannot be executed as given."""

    exit_code = 2


class UnknownName(FixTheInput):
    """A table, view, profile or format that does not exist."""


class BadQuery(FixTheInput):
    """SQL that DuckDB rejects."""


class BadSetting(FixTheInput):
    """An option, a variable or a file of settings or credentials that cannot be used."""


class AlreadyObserved(FixTheInput):
    """An observation of this account at the given `observed_at` is already published."""


class NoLocks(FixTheInput):
    """The file system of the lake has no locks, and no other folder for its lock is given."""


class NotPublished(EnsImagesError):
    """The account was read, and nothing of it was published."""

    exit_code = 3


class IncompleteListing(NotPublished):
    """The certificate is below the requested level."""


class AccountShrank(NotPublished):
    """More images are gone than the user allows without confirmation."""


class FixTheAccount(EnsImagesError):
    """The service refused, and will refuse again."""

    exit_code = 4


class NoCredentials(FixTheAccount):
    """No credentials were found, or they cannot be used."""


class Refused(FixTheAccount):
    """The service answered with an error code that a retry does not change."""


class NotPermitted(Refused):
    """The account lacks the right for an action."""


class ClockIsWrong(FixTheAccount):
    """The service refuses this machine's time."""


class WaitAndRetry(EnsImagesError):
    """Nothing is wrong on this side: the same command may succeed later."""

    exit_code = 5


class Unreachable(WaitAndRetry):
    """No usable answer came from the endpoint, or from a credentials service, in any attempt."""


class StillThrottled(WaitAndRetry):
    """The service throttled every attempt."""


class OutOfTime(WaitAndRetry):
    """The run exceeded its timeout."""


class LakeLocked(WaitAndRetry):
    """Another run has locked the lake."""


class DiskFull(WaitAndRetry):
    """There is no disk space for what a command writes; everything published before is intact."""


class OutOfMemory(WaitAndRetry):
    """There is too little memory for the command; everything published before is intact."""


class LakeUnusable(EnsImagesError):
    """The data folder cannot be read as a lake."""

    exit_code = 6


class LakeMissing(LakeUnusable):
    """There is no lake, or there are no raw pages, where they were expected."""


class LakeDamaged(LakeUnusable):
    """A committed file is missing, unreadable, or differs from its record."""


class LakeTooNew(LakeUnusable):
    """A newer version of ens-images wrote the lake in a format that this one cannot read."""


class NoAccess(LakeUnusable):
    """This user may not read or write a file or folder of the lake."""


class DiskFailed(LakeUnusable):
    """The disk reported an error of input or output: what was being written is deleted, and nothing of it published."""


class Differs(EnsImagesError):
    """Two states of the lake differ, and the command was asked to report that by its exit code."""

    exit_code = 7


class NotFresh(EnsImagesError):
    """An account's last observation is older than allowed, or runs have failed since."""

    exit_code = 8
