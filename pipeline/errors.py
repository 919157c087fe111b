"""Everything that is raised on purpose, sorted by what the reader does next.

    EnsImagesError
    ├── OurMistake         exit 1   an answer that nobody had thought of: tell us
    ├── FixTheInput        exit 2   a wrong option, bad SQL, an unknown view, a file that is not what it should be
    │   ├── UnknownName
    │   ├── BadQuery
    │   ├── BadSetting
    │   └── AlreadyObserved
    ├── NotPublished       exit 3   the account was read, and what came is not good enough to keep
    │   ├── IncompleteListing
    │   └── AccountShrank
    ├── FixTheAccount      exit 4   the service refused, and will refuse again
    │   ├── NoCredentials
    │   ├── Refused
    │   └── ClockIsWrong
    ├── WaitAndRetry       exit 5   nothing is wrong here: try again later
    │   ├── Unreachable
    │   ├── StillThrottled
    │   ├── OutOfTime
    │   ├── LakeLocked
    │   └── DiskFull
    ├── LakeUnusable       exit 6   the data folder is not a whole lake
    │   ├── LakeMissing
    │   ├── LakeDamaged
    │   ├── LakeTooNew
    │   └── NoAccess
    ├── Differs            exit 7   two moments of the lake differ, and the exit code was asked to say so
    └── NotFresh           exit 8   the lake is whole, and older than was asked

A message names the thing, what was found, and what to do. Anything else that
is raised is a mistake of ours: it ends with a traceback and exit code 1.

`classify` maps the service's status and error code to what the client does next.
"""

from typing import Any, Literal

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
    """The root: `exit_code` is what a command ends with, `run` what the run did that it ended, if there was one."""

    exit_code = 1
    run: Any = None


class OurMistake(EnsImagesError):
    """Something in an answer that nobody had thought of: the account is not published, the others are."""


class FixTheInput(EnsImagesError):
    """What was asked cannot be done as it was asked."""

    exit_code = 2


class UnknownName(FixTheInput):
    """A table, view, profile or format that does not exist."""


class BadQuery(FixTheInput):
    """SQL that DuckDB does not accept."""


class BadSetting(FixTheInput):
    """An option or argument that makes no sense."""


class AlreadyObserved(FixTheInput):
    """The given `observed_at` is taken: an observation of this account at that instant is published."""


class NotPublished(EnsImagesError):
    """The account was read, and nothing of it was published."""

    exit_code = 3


class IncompleteListing(NotPublished):
    """The certificate is below the level that was asked for."""


class AccountShrank(NotPublished):
    """More images are gone than the user allows without a word."""


class FixTheAccount(EnsImagesError):
    """The service refused; asking again changes nothing."""

    exit_code = 4


class NoCredentials(FixTheAccount):
    """No credentials were found, or those found cannot be used."""


class Refused(FixTheAccount):
    """The service answered with a code that no retry mends."""


class ClockIsWrong(FixTheAccount):
    """The service refuses the time of this machine."""


class WaitAndRetry(EnsImagesError):
    """Nothing is wrong here: the same command may work later."""

    exit_code = 5


class Unreachable(WaitAndRetry):
    """No usable answer came from the endpoint, and every try was used."""


class StillThrottled(WaitAndRetry):
    """The service kept throttling until every try was used."""


class OutOfTime(WaitAndRetry):
    """The time budget of the run was used up first."""


class LakeLocked(WaitAndRetry):
    """Another run holds the lake."""


class DiskFull(WaitAndRetry):
    """There is no room for what a command writes; what was published before is whole."""


class LakeUnusable(EnsImagesError):
    """The data folder cannot be read as a lake."""

    exit_code = 6


class LakeMissing(LakeUnusable):
    """There is no lake, or no landed pages, where one was expected."""


class LakeDamaged(LakeUnusable):
    """A committed file is missing, unreadable, or not what it says."""


class LakeTooNew(LakeUnusable):
    """A newer version of ens-images has written here, in a way that this one cannot read."""


class NoAccess(LakeUnusable):
    """A file or folder of the lake may not be read or written by this user."""


class Differs(EnsImagesError):
    """Two moments of the lake differ, and the exit code was asked to say so."""

    exit_code = 7


class NotFresh(EnsImagesError):
    """An account's last observation is older than was asked, or runs have failed since."""

    exit_code = 8
