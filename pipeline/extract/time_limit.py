"""When a listing is given up because it takes too long.

    --timeout                                     the user's limit, from the beginning of all listings
    4 x (announced pages / rate) + 10 minutes     without one; at most a day

A listing needs two passes, so twice the time that its pages take at the rate.
All listings at one endpoint share its rate: their pages count together.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from pipeline.extract.rate_limit import DEFAULT_RATE
from pipeline.text import duration, pluralize

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from pipeline.extract.bounds import Bounds


class Estimate(NamedTuple):
    """How long the listings at one endpoint take."""

    pass_seconds: float
    """One pass over all pages that were announced, at the rate."""
    limit_seconds: float
    """The listings are given up after this."""


class TimeLimit:
    """The limit of all listings at one endpoint; it moves when pages are announced, unless the user has given one."""

    def __init__(
        self, listings: Iterable[Hashable], rate: float | None, timeout_seconds: float | None, bounds: Bounds
    ) -> None:
        """It begins now, for these listings. Without a limit of the rate, the default rate counts."""
        self.timeout_seconds = timeout_seconds
        self._rate = rate or DEFAULT_RATE
        self._bounds = bounds
        self._pages = dict.fromkeys(listings, 1)
        self._page_count = len(self._pages)
        self._began = time.monotonic()

    def announce(self, listing: Hashable, page_count: int) -> None:
        """Replace how many pages a listing has."""
        self._page_count += page_count - self._pages[listing]
        self._pages[listing] = page_count

    def estimate(self) -> Estimate:
        """The time that the announced pages take, and the limit."""
        seconds = self._page_count / self._rate
        bounds = self._bounds
        limit = min(bounds.listing_passes * seconds + bounds.listing_seconds, bounds.longest_listing_seconds)
        return Estimate(seconds, self.timeout_seconds or limit)

    def deadline(self) -> float:
        """The instant of the limit, by the clock of the event loop."""
        return self._began + self.estimate().limit_seconds

    def __str__(self) -> str:
        """The limit in words."""
        if self.timeout_seconds is not None:
            return f"the {self.timeout_seconds:g} s of --timeout"
        pages = pluralize(self._page_count, "announced page")
        return f"{duration(self.estimate().limit_seconds)}, the limit for {pages} at {self._rate:g} calls a second"
