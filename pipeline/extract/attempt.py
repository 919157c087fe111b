"""One attempt of one call: its times, its response, or the error that took its place."""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.redaction import redact, redact_bytes
from pipeline.resources.image_shares import IMAGE_SHARES
from pipeline.resources.tables import RESOURCES

if TYPE_CHECKING:
    from pipeline.errors import Outcome


def utc_now() -> dt.datetime:
    """The current instant in UTC, without a zone."""
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)


class Clock:
    """One reading of the clock, and the time since: in the true order, whatever sets the clock meanwhile."""

    def __init__(self) -> None:
        self._began_at = utc_now()
        self._began = time.monotonic()

    def now(self) -> dt.datetime:
        """The current instant in UTC, without a zone."""
        return self._began_at + dt.timedelta(seconds=time.monotonic() - self._began)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request and its response; without a response, `status` and `body` are None and `error` says why.

    Its texts, and a body that is no listing, pass the redaction: they are landed, logged and printed.
    """

    sent_at_utc: dt.datetime
    received_at_utc: dt.datetime
    waited_seconds: float
    """Back-off before this attempt."""
    status: int | None
    request_id: str | None
    body: bytes | None
    error_code: str | None
    error: str | None
    retry_after_seconds: float | None = None
    """The wait that the service asks for."""
    server_at_utc: dt.datetime | None = None
    """The `Date` of the response."""
    list_name: str | None = None
    """The name of the list that the action answers with; None: of any resource."""

    def __post_init__(self) -> None:
        for name in ("request_id", "error_code", "error"):
            text = getattr(self, name)
            object.__setattr__(self, name, text and redact(text))
        if self.body is not None and not may_be_listing(self.status, self.body, self.list_name):
            object.__setattr__(self, "body", redact_bytes(self.body))


def may_be_listing(status: int | None, body: bytes, list_name: str | None = None) -> bool:
    """Tell whether a body may hold the account's data, which stays as it came.

    `list_name` is that of the action that was called; None: any resource may have been listed.
    """
    names = _LISTS if list_name is None else (f'"{list_name}"'.encode(),)
    return status == 200 and any(name in body for name in names)


_LISTS: Final = tuple(f'"{resource.action.items[0]}"'.encode() for resource in (*RESOURCES, IMAGE_SHARES))


class AttemptFailed(Exception):
    """An attempt without a usable response."""

    def __init__(self, outcome: Outcome, attempt: Attempt) -> None:
        super().__init__(outcome)
        self.outcome = outcome
        self.attempt = attempt
