"""One attempt of one call."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.errors import Verdict


def utc_now() -> dt.datetime:
    """This instant in UTC, without a zone."""
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of one call, as it went."""

    sent_at_utc: dt.datetime
    received_at_utc: dt.datetime
    waited_seconds: float
    status: int | None
    request_id: str | None
    body: bytes | None
    error_code: str | None
    error: str | None
    retry_after_seconds: float | None = None


class TryAgain(Exception):
    """An attempt that failed in a way that another may not."""

    def __init__(self, what: Verdict, seen: Attempt) -> None:
        super().__init__(what)
        self.what = what
        self.seen = seen
