"""The days of an emulated account: day 0 is 2026-10-01, and a day is the account at 02:00 UTC.

    Days(first, following).on(3)   following(following(following(first(), 1), 2), 3)

Day 0 and the days used last are kept; any other day is computed again.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

DAY_0: Final = datetime(2026, 10, 1, tzinfo=UTC)
LISTED_AT: Final = timedelta(hours=2)
"""Time of day: what is new on the day was created before it."""
CACHED_DAYS: Final = 8


def listed_s(day: int) -> float:
    """Return the instant of a day, in seconds since 1970."""
    return (DAY_0 + LISTED_AT + timedelta(days=day)).timestamp()


class Days(Generic[T]):
    """The states of an account by day, each computed from the day before."""

    def __init__(self, first: Callable[[], T], following: Callable[[T, int], T]) -> None:
        self._first = first
        self._following = following
        self._states: dict[int, T] = {}

    def on(self, day: int) -> T:
        """Return the state of a day.

        Raises:
            ValueError: the day is negative.
        """
        if day < 0:
            raise ValueError(f"day {day}: the first day of an account is 0")
        if not self._states:
            self._states[0] = self._first()
        start = max(cached for cached in self._states if cached <= day)
        state = self._states[start]
        for number in range(start + 1, day + 1):
            state = self._following(state, number)
        self._states.pop(day, None)
        self._states[day] = state
        while len(self._states) > CACHED_DAYS:
            del self._states[next(cached for cached in self._states if cached)]
        return state
