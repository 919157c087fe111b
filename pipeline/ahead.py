"""Pages flattened some at a time, side by side, and while the next ones still come.

    a page comes ──► take ──► 64 in a row are there ──► flattened on a thread
    publishing ────► flat ──► batch by batch: what was made ahead of just these answers, or it is made now

What is made ahead is known by its account, its instant and the places of its answers. It is used where publishing
asks for just those, so the tables are the same with it and without it. How much of it waits is bounded: what a
larger account has more is flattened when it is published.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Self

from pipeline.flatten import Flat, flatten

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterator, Sequence

    from pipeline.certificate import Answer
    from pipeline.landing import RawRun

PAGES_AT_ONCE: Final = 64
IMAGES_AHEAD: Final = 120_000
"""Images of which the tables wait at most: some 60 MB."""

_Key = tuple[str, "dt.datetime | None", tuple[int, ...]]


class _Reading:
    """The pages of one pass as they come."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.at: dt.datetime | None = None
        self.pages: dict[int, tuple[int, bytes]] = {}
        """Page number → place of its answer, body; of those that are not yet in a batch."""
        self.count: Counter[int] = Counter()
        """Batch → how many of its pages came."""
        self.made: list[_Key] = []
        self.is_over = False
        """Whether there was no more room for it: what still comes is flattened from the raw file, and not held here."""


class Ahead:
    """A context manager: threads that flatten, and what they have made ahead."""

    def __init__(
        self, wants: Callable[[str, int], bool] = lambda _account, _pass: False, *, at: dt.datetime | None = None
    ) -> None:
        """`wants` says which pass of an account may be the one that is published; `at` is its instant, if given."""
        self._wants = wants
        self._at = at
        self._readings: dict[str, _Reading] = {}
        self._made: dict[_Key, Future[Flat]] = {}
        self._room = IMAGES_AHEAD
        self._workers = os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="flatten")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def take(self, place: int, answer: Answer, body: bytes | None) -> None:
        """Take an answer and its place in the raw file, in the order in which answers come."""
        if answer.page is None or body is None or not self._wants(answer.account, answer.pass_number):
            return
        reading = self._readings.get(answer.account)
        if reading is None or reading.number != answer.pass_number:
            self._forget(reading)
            reading = self._readings[answer.account] = _Reading(answer.pass_number)
        if self._room <= 0 and not reading.is_over:
            reading.is_over = True
            reading.pages.clear()
        if reading.is_over:
            return
        number = answer.page_number
        if number == 1:
            reading.at = self._at or answer.received_at_utc
        batch = (number - 1) // PAGES_AT_ONCE
        reading.count[batch] += number not in reading.pages
        reading.pages[number] = (place, body)
        if reading.count[batch] == PAGES_AT_ONCE and self._room > 0:
            self._make(answer.account, reading, batch * PAGES_AT_ONCE + 1)

    def _make(self, account: str, reading: _Reading, first: int) -> None:
        pages = [reading.pages.pop(number) for number in range(first, first + PAGES_AT_ONCE)]
        key = (account, reading.at, tuple(place for place, _ in pages))
        assert reading.at is not None  # noqa: S101  (page 1 comes before all others)
        self._made[key] = self._pool.submit(flatten, [body for _, body in pages], account, reading.at)
        self._room -= PAGES_AT_ONCE * PAGES_AT_ONCE
        reading.made.append(key)

    def _forget(self, reading: _Reading | None) -> None:
        """Let go what was made of a pass that another one came after."""
        for key in reading.made if reading else ():
            self._made.pop(key).cancel()
            self._room += PAGES_AT_ONCE * PAGES_AT_ONCE

    def flat(
        self, raw: RawRun, account: str, at: dt.datetime, answers: Sequence[tuple[int, Answer]], *, is_distinct: bool
    ) -> Iterator[Flat]:
        """Flatten a whole pass, in its order, from its believed answers, each with its place in the raw file.

        Without `is_distinct` an id may come twice: then the first stays, and it is one batch after the other.
        """
        places = [place for place, _ in answers]
        batches = [tuple(places[n : n + PAGES_AT_ONCE]) for n in range(0, len(places), PAGES_AT_ONCE)] or [()]
        if not is_distinct:
            seen: set[str] = set()
            for batch in batches:
                yield flatten(list(raw.bodies(batch)), account, at, seen=seen)
            return
        if len(batches) == 1:  # a small account is done sooner than a thread is made
            yield flatten(list(raw.bodies(batches[0])), account, at)
            return
        under_way: deque[Future[Flat]] = deque()
        for batch in batches:
            ready = self._made.pop((account, at, batch), None)
            under_way.append(ready or self._pool.submit(flatten, list(raw.bodies(batch)), account, at))
            if len(under_way) > self._workers:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
