"""Pages flattened some at a time, side by side, and while the next ones still come.

    a page comes ──► take ──► 128 in a row are there ──► flattened on a thread ──► of the first account: written
    publishing ────► write ─► batch by batch: what was made ahead of just these answers, or it is made now

What is made ahead is known by its account, its instant and the places of its answers. It is used where publishing
asks for just those, so the tables are the same with it and without it. The tables begin with the first account of a
run, so its batches go into their files, aside, as soon as those before them have; were they not what is published in
the end, the files are begun again. Of all others what waits is bounded, page by page: what a larger account has more
is flattened when it is published, and so is the last of every account, which fills no batch. Nothing that goes wrong
ahead is an error: publishing does it again, once the pages are safe.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from pipeline.extract.response import PAGE_SIZE
from pipeline.resources.control import REJECTS
from pipeline.resources.images import IMAGE_DISKS, IMAGES
from pipeline.transform.assemble import FlatTables, flatten

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pipeline.extract.raw_pages import RawRun
    from pipeline.extract.response import Answer, Page
    from pipeline.lake.commit import Publication

PAGES_AT_ONCE: Final = 128
"""Half as many take a tenth longer a page, twice as many save nothing more."""
IMAGES_AHEAD: Final = 80_000
"""Images that wait at most, as pages or as tables: some 50 MB. Half as many take a rebuild a twentieth longer."""

_Key = tuple[str, "dt.datetime | None", tuple[int, ...]]

PAGES_AT_HAND: Final = 800
"""Pages of small accounts that are fetched from the raw file together: some 16 MB."""


@dataclass(frozen=True, slots=True)
class Written:
    """What some batches have brought into the tables."""

    image_count: int = 0
    disk_count: int = 0
    reject_count: int = 0
    unknown_fields: frozenset[str] = frozenset()

    def __add__(self, other: Written) -> Written:
        return Written(
            self.image_count + other.image_count,
            self.disk_count + other.disk_count,
            self.reject_count + other.reject_count,
            self.unknown_fields | other.unknown_fields,
        )


class _Reading:
    """The pages of one pass as they come."""

    def __init__(self, number: int, room_a_page: int) -> None:
        self.number = number
        self.room_a_page = room_a_page
        """What a page takes of the room while it waits for its batch."""
        self.at: dt.datetime | None = None
        self.full_batches = 0
        """How many batches its pages fill, as page 1 tells: what comes after them is not held here."""
        self.pages: dict[int, tuple[int, bytes]] = {}
        """Page number → place of its answer, body; of those that are not yet in a batch."""
        self.count: Counter[int] = Counter()
        """Batch → how many of its pages came."""
        self.made: dict[int, _Key] = {}
        """Batch → what it was made of."""
        self.is_over = False
        """Whether there was no more room for it: what still comes is flattened from the raw file, and not held here."""


class FlattenPool:
    """A context manager: threads that flatten and write, and what they have made ahead."""

    def __init__(
        self,
        wants: Callable[[str, int], bool] = lambda _account, _pass: False,
        *,
        at: dt.datetime | None = None,
        publication: Publication | None = None,
        first: str | None = None,
    ) -> None:
        """`wants` says which pass of an account may be the one that is published; `at` is its instant, if given.

        What is made of the account `first` goes into `publication`, whose tables begin with it.
        """
        self.publication = publication
        self._first = first if publication else None
        self._wants = wants
        self._at = at
        self._readings: dict[str, _Reading] = {}
        self._made: dict[_Key, Future[FlatTables]] = {}
        self._drafted: list[tuple[_Key, Future[Written]]] = []
        """The batches of the first account that went into the tables, in order, and what they brought."""
        self._unsettled: deque[Future[Written]] = deque()
        self._room = IMAGES_AHEAD
        self._workers = os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="flatten")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="write")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._writer.shutdown(cancel_futures=True)

    def take(self, place: int, answer: Answer, body: bytes | None) -> None:
        """Take an answer and its place in the raw file, in the order in which answers come."""
        if answer.page is None or body is None or not self._wants(answer.account, answer.pass_number):
            return
        reading = self._readings.get(answer.account)
        if reading is None or reading.number != answer.pass_number:
            self._forget(reading)
            # Of the first account they are few: as many as fill a batch, beside those that the workers bring.
            room_a_page = 0 if answer.account == self._first else PAGE_SIZE
            reading = self._readings[answer.account] = _Reading(answer.pass_number, room_a_page)
        number = answer.page_number
        batch = (number - 1) // PAGES_AT_ONCE
        if number == 1:
            reading.at = self._at or answer.received_at_utc
            reading.full_batches = _full_batches(answer.page)
        if reading.is_over or batch >= reading.full_batches or batch in reading.made:
            return
        while self._room <= 0 and self._unsettled:  # who reads faster than can be written waits here
            self._settle()
        if self._room <= 0:
            reading.is_over = True
            self._let_go_pages(reading)
            return
        if number not in reading.pages:
            reading.count[batch] += 1
            self._room -= reading.room_a_page
        reading.pages[number] = (place, body)
        if reading.count[batch] == PAGES_AT_ONCE:
            self._make(answer.account, reading, batch)

    def _let_go_pages(self, reading: _Reading) -> None:
        self._room += reading.room_a_page * len(reading.pages)
        reading.pages.clear()

    def _make(self, account: str, reading: _Reading, batch: int) -> None:
        first = batch * PAGES_AT_ONCE + 1
        pages = [reading.pages.pop(number) for number in range(first, first + PAGES_AT_ONCE)]
        key = (account, reading.at, tuple(place for place, _ in pages))
        assert reading.at is not None  # noqa: S101  (page 1 comes before all others)
        self._made[key] = self._pool.submit(flatten, [body for _, body in pages], account, reading.at)
        self._room -= PAGES_AT_ONCE * (PAGE_SIZE - reading.room_a_page)
        reading.made[batch] = key
        while account == self._first and (ready := reading.made.get(len(self._drafted))) is not None:
            done = self._writer.submit(self._write_made, self._made.pop(ready))
            self._drafted.append((ready, done))
            self._unsettled.append(done)

    def _write_made(self, made: Future[FlatTables]) -> Written:
        assert self.publication is not None  # noqa: S101  (there is a first account)
        return _add(self.publication, made.result())

    def _settle(self) -> None:
        """Wait until the oldest batch is written: there is room for another. One that failed is seen to later."""
        with contextlib.suppress(Exception):
            self._unsettled.popleft().result()
        self._room += PAGES_AT_ONCE * PAGE_SIZE

    def _forget(self, reading: _Reading | None) -> None:
        """Let go what was made of a pass that another one came after."""
        if reading is None:
            return
        self._let_go_pages(reading)
        for key in reading.made.values():
            made = self._made.pop(key, None)
            if made is None:
                self._begin_again()
            else:
                made.cancel()
                self._room += PAGES_AT_ONCE * PAGE_SIZE

    def leave_out(self, account: str) -> None:
        """Take back what was written ahead of an account that is not published."""
        if account == self._first:
            self._begin_again()

    def _begin_again(self) -> None:
        for _, done in self._drafted:
            done.cancel()
        while self._unsettled:
            self._settle()
        if self._drafted and self.publication:
            self.publication.begin_again()
        self._drafted.clear()

    def write(
        self,
        publication: Publication,
        raw: RawRun,
        account: str,
        at: dt.datetime,
        answers: Sequence[tuple[int, Answer]],
        *,
        is_distinct: bool,
    ) -> Written:
        """Write the tables of a whole pass, in its order, from its believed answers, each with its place in `raw`.

        Without `is_distinct` an id may come twice: then the first stays, and it is one batch after the other.
        """
        places = [place for place, _ in answers]
        batches = [tuple(places[n : n + PAGES_AT_ONCE]) for n in range(0, len(places), PAGES_AT_ONCE)] or [()]
        written = Written()
        if account == self._first:
            there = self._there([(account, at, batch) for batch in batches] if is_distinct else [])
            written = sum(there, start=written)
            batches = batches[len(there) :]
        for flat in self._flat(raw, account, at, batches, is_distinct=is_distinct):
            written += _add(publication, flat)
        return written

    def _there(self, wanted: list[_Key]) -> list[Written]:
        """What was written ahead of just what is wanted, from its beginning; if it was anything else, nothing."""
        with contextlib.suppress(Exception):  # what failed is done again
            there = [done.result() for key, done in self._drafted]
            if [key for key, _ in self._drafted] == wanted[: len(there)]:
                return there
        self._begin_again()
        return []

    def _flat(
        self,
        raw: RawRun,
        account: str,
        at: dt.datetime,
        batches: Sequence[tuple[int, ...]],
        *,
        is_distinct: bool,
    ) -> Iterator[FlatTables]:
        if not is_distinct:
            seen: set[str] = set()
            for batch in batches:
                yield flatten(list(raw.bodies(batch)), account, at, seen=seen)
            return
        if len(batches) == 1:  # a small account is done sooner than a thread is made
            yield flatten(list(raw.bodies(batches[0])), account, at)
            return
        under_way: deque[Future[FlatTables]] = deque()
        for batch in batches:
            ready = self._made.pop((account, at, batch), None)
            under_way.append(ready or self._pool.submit(flatten, list(raw.bodies(batch)), account, at))
            if len(under_way) > self._workers:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()


def group_small_accounts(passes: Mapping[str, Sequence[tuple[int, Answer]]]) -> dict[str, list[int]]:
    """The accounts that fill no batch, some at a time: the first of them → the places of the answers of all.

    Accounts are read side by side, so each has pages in nearly every row group of a raw file.
    """
    together: dict[str, list[int]] = {}
    places: list[int] = []
    for account, answers in passes.items():
        if len(answers) < PAGES_AT_ONCE:
            if not together or len(places) + len(answers) > PAGES_AT_HAND:
                places = together[account] = []
            places += [place for place, _ in answers]
    return together


def _full_batches(first: Page) -> int:
    """How many batches the pages of a pass fill, as its page 1 tells; what has no total proves nothing."""
    pages = -(-(first.total or 0) // max(1, len(first.ids)))
    return pages // PAGES_AT_ONCE


def _add(publication: Publication, flat: FlatTables) -> Written:
    for table, rows in ((IMAGES, flat.images), (IMAGE_DISKS, flat.image_disks), (REJECTS, flat.rejects)):
        publication.add(table, rows)
    return Written(len(flat.images), len(flat.image_disks), len(flat.rejects), flat.unknown_fields)
