"""Limit calls a second over the whole run, and adapt to throttling.

throttled            rate / 2, once per burst
10 s without it      rate * 1.1, up to the limit
"""

from __future__ import annotations

import asyncio
import collections
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_RATE: Final = 20.0


class RateLimiter:
    """Spaces calls evenly at `rate` calls a second.

    Without a limit calls are not delayed until the service throttles. The rate then starts at half the calls of
    the last second, and rises without an upper bound.
    """

    _QUIET_SECONDS: Final = 10.0
    _BURST_SECONDS: Final = 1.0
    """A lower rate takes effect only after this: the service counts quotas by the second."""
    _LOWEST_RATE: Final = 0.2

    def __init__(self, rate: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        """`rate` is the limit in calls a second; None or 0: no limit until the service throttles."""
        self.limit = rate or None
        self.rate = self.limit
        self._clock = clock
        self._next_slot = 0.0
        self._halved_at = float("-inf")
        self._changed_at = 0.0
        self._recent: collections.deque[float] = collections.deque(maxlen=2000)

    async def acquire(self) -> None:
        """Wait for the next slot."""
        now = self._clock()
        if self.rate is None:
            self._recent.append(now)
            return
        if self.rate != self.limit and now - self._changed_at >= self._QUIET_SECONDS:
            self._changed_at = now
            self.rate = min(self.rate * 1.1, self.limit or float("inf"))
        slot = max(now, self._next_slot)
        self._next_slot = slot + 1 / self.rate
        if slot > now:
            await asyncio.sleep(slot - now)

    def on_throttled(self, sent_at: float) -> None:
        """Halve the rate, unless the throttled call was sent before the last halving took effect."""
        if sent_at < self._halved_at + self._BURST_SECONDS:
            return
        now = self._clock()
        rate = self.rate or max(DEFAULT_RATE, sum(1 for at in self._recent if at > now - 1))
        self.rate = max(rate / 2, min(rate, self._LOWEST_RATE))
        self._halved_at = self._changed_at = now
        self._next_slot = max(self._next_slot, now + 1 / self.rate)
