"""Calls a second over the whole run."""

from __future__ import annotations

import asyncio
import collections
import time
from typing import Final

DEFAULT_RATE: Final = 20.0


class RateLimiter:
    """Calls a second over the whole run: halved by throttling, rising by a tenth every ten quiet seconds.

    Without a limit the pace is free until the service throttles; then it starts from the calls of the last
    second, and rises without end.
    """

    _QUIET_SECONDS: Final = 10.0
    _BURST_SECONDS: Final = 1.0
    """A new pace shows only after this: quotas are counted by the second."""
    _SLOWEST: Final = 0.2

    def __init__(self, rate: float | None) -> None:
        """`rate` is the limit in calls a second; None or 0: no limit, until the service throttles."""
        self.limit = rate or None
        self.rate = self.limit
        self._free_at = 0.0
        self._halved_at = float("-inf")
        self._changed_at = 0.0
        self._recent: collections.deque[float] = collections.deque(maxlen=2000)

    async def turn(self) -> None:
        """Wait for the next slot."""
        now = time.monotonic()
        if self.rate is None:
            self._recent.append(now)
            return
        if self.rate != self.limit and now - self._changed_at >= self._QUIET_SECONDS:
            self._changed_at = now
            self.rate = min(self.rate * 1.1, self.limit or float("inf"))
        slot = max(now, self._free_at)
        self._free_at = slot + 1 / self.rate
        if slot > now:
            await asyncio.sleep(slot - now)

    def throttled(self, sent_at: float) -> None:
        """Halve the pace, once a burst: for the calls under way, and those of the second after, it was halved."""
        if sent_at < self._halved_at + self._BURST_SECONDS:
            return
        now = time.monotonic()
        rate = self.rate or max(DEFAULT_RATE, sum(1 for at in self._recent if at > now - 1))
        self.rate = max(rate / 2, min(rate, self._SLOWEST))
        self._halved_at = self._changed_at = now
        self._free_at = max(self._free_at, now + 1 / self.rate)
