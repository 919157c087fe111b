"""When a listing that cannot be proven is given up."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.extract.body import DEFAULT_MAX_ANSWER_MIB
from pipeline.extract.proof import SETTLE_SECONDS
from pipeline.extract.retry import DEFAULT_RETRY, RetryPolicy


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of one listing: passes, repeated requests, pages, time, bytes. With them every listing ends."""

    passes: int = 5
    seconds_after_two: float = 60.0
    """No pass starts later than this after the end of the second."""
    requests_per_page: int = 3
    """How often a page that contradicts itself is requested in one pass."""
    repeat_seconds: float = 5.0
    """Time that one pass spends on repeated requests without success."""
    unprovable_seconds: float = 8.0
    """Time after which a pass ends that can no longer prove anything: an account may grow faster than it is read."""
    pages_past_total: int = 64
    """Pages that are empty, or past the first TotalCount, after which a pass ends."""
    pages_without_total: int = 10_000
    """Pages after which a pass ends if the service sends no TotalCount."""
    settle_seconds: float = SETTLE_SECONDS
    """Time after which an answer shows no older state than one before it."""
    pause_seconds: float = 0.1
    """Wait before a page is requested again; ten times as long before every further request."""
    listing_passes: float = 4.0
    """A listing without a limit of the user's may take so many times what its announced pages take at the rate, …"""
    listing_seconds: float = 600.0
    """… and so many seconds, …"""
    longest_listing_seconds: float = 86_400.0
    """… and never more than this, whatever is announced."""
    max_answer_mib: float = DEFAULT_MAX_ANSWER_MIB
    """Limit for the body of one answer, as received and unpacked."""
    retry: RetryPolicy = DEFAULT_RETRY
    """Retries of a call that failed or was throttled."""
