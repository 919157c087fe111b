"""A whole account, page by page, with the proof that nothing is missing.

    pass 1   page 1 ─→ TotalCount ─→ pages 2 … n, side by side ─→ a short page ends it
    pass 2   the same again, begun after the last answer of pass 1
             the same ids, none twice, as many as the one TotalCount?  ─→ verified
             else read again, within bounds

Page numbers shift when an account changes while it is read: three deletions
among the pages already read lose three living images, and rows == TotalCount
proves nothing. Why two equal passes do:

    An id seen in both passes was alive when pass 2 began: it was alive during
    pass 1 and again after pass 2 began, and ids are never reused, so it was
    alive at every instant between. The first answer of pass 2 says that
    TotalCount images were alive at that instant. If the ids in both passes
    are as many as that, they are all of them.

So a verified listing is the account at the instant of the first answer of its
last pass. Two assumptions, no more: ids are not reused, and TotalCount is
honest at that instant. Neither the order nor the page size is assumed. An
account whose one answer holds all of its TotalCount needs no second pass.

A page that does not hold together (null, short, a wrong PageNumber, an id
twice, a TotalCount unlike the others') is asked again before it is believed.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from pipeline.certificate import LEVELS, PAGE_SIZE, Answer, Level, NotAPage, Page, certify, flaw, read_page
from pipeline.ens_api import DEFAULT_ENDPOINT, DEFAULT_RATE, DEFAULT_WORKERS, Account, EnsApi, blocking
from pipeline.errors import EnsImagesError, IncompleteListing, OutOfTime

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pipeline.ens_api import Try

_EMPTY_PAGES_BELIEVED: Final = 64


@dataclass(frozen=True, slots=True)
class Bounds:
    """How often a listing is read again before it is given up."""

    passes: int = 5
    seconds_after_two: float = 60.0
    """No pass begins later than this after the second one ended."""
    asks: int = 3
    """How often a page that contradicts itself is asked in all."""
    patience_seconds: float = 5.0
    """How long one pass asks contradictory pages again in vain."""


class Land(Protocol):
    """Takes one answer, with its body as it came, in the order in which answers come."""

    def __call__(self, answer: Answer, body: bytes | None) -> None:
        """Take it."""


class Progress(Protocol):
    """Told of every page: how many of how many (None: not known) are read in this pass."""

    def __call__(self, account: str, pass_number: int, pages: int, of: int | None) -> None:
        """Show it."""


@dataclass(slots=True)
class Listing:
    """What became of one account: its answers in the order they came, and the error that ended it, if one did."""

    account: str
    answers: list[Answer] = field(default_factory=list)
    ended_passes: int = 0
    last_pass: list[Page] = field(default_factory=list)
    level: Level | None = None
    error: EnsImagesError | None = None


def extract(
    accounts: Sequence[Account],
    land: Land,
    *,
    endpoint: str = DEFAULT_ENDPOINT,
    level: Level = "verified",
    filters: Mapping[str, str] | None = None,
    workers: int = DEFAULT_WORKERS,
    rate: float | None = DEFAULT_RATE,
    timeout_seconds: float | None = None,
    bounds: Bounds | None = None,
    progress: Progress | None = None,
) -> list[Listing]:
    """Read every account, side by side, until its listing proves `level` or the bounds are reached.

    Every answer goes to `land` as it comes. An account that fails costs no other: its error is in its listing.

    Raises:
        BadSetting: the endpoint, the workers or the rate make no sense.
    """

    async def read_all() -> list[Listing]:
        api = EnsApi(endpoint, workers=workers, rate=rate)
        readers = [
            _Reader(api, account, level, filters or {}, land, bounds or Bounds(), workers, progress)
            for account in accounts
            if account.label not in failed
        ]
        until = None if timeout_seconds is None else asyncio.get_running_loop().time() + timeout_seconds
        async with api:
            return await asyncio.gather(*(reader.listing(until) for reader in readers))

    failed: dict[str, Listing] = {}
    for account in accounts:  # before fanning out: the vendor's providers are not made for many coroutines
        try:
            account.resolve()
        except EnsImagesError as error:
            failed[account.label] = Listing(account.label, error=error)
    read = {listing.account: listing for listing in blocking(read_all)}
    return [(read | failed)[account.label] for account in accounts]


class _PassBroken(Exception):
    """A page stayed unreadable however often it was asked."""


class _Pass:
    """One reading of the whole account, under way."""

    def __init__(self, number: int, size: int, bounds: Bounds) -> None:
        self.number = number
        self.size = size
        self.pages: dict[int, Page] = {}
        self.totals: set[int | None] = set()
        self.patience = bounds.patience_seconds
        self.empty_count = 0

    @property
    def first(self) -> Page | None:
        return self.pages.get(1)

    @property
    def in_order(self) -> list[Page]:
        return [self.pages[number] for number in sorted(self.pages)]

    def page_count(self) -> int | None:
        """Pages that the largest TotalCount seen calls for; None where none was sent."""
        known = [total for total in self.totals if total is not None]
        return max(1, -(-max(known) // self.size)) if known else None


class _Reader:
    """Reads one account."""

    def __init__(
        self,
        api: EnsApi,
        account: Account,
        level: Level,
        filters: Mapping[str, str],
        land: Land,
        bounds: Bounds,
        workers: int,
        progress: Progress | None,
    ) -> None:
        self.api = api
        self.account = account
        self.level = level
        self.filters = filters
        self.land = land
        self.bounds = bounds
        self.workers = workers
        self.progress = progress
        self.size = PAGE_SIZE
        self.result = Listing(account.label)
        self._attempts: dict[tuple[int, int], int] = {}

    async def listing(self, until: float | None) -> Listing:
        """Read until the level is proven; errors end up in the listing."""
        try:
            async with asyncio.timeout_at(until):
                await self._read()
        except TimeoutError:
            self.result.error = OutOfTime(
                f"account {self.account.label!r} was not read to its end in the time given: raise --timeout"
            )
        except EnsImagesError as error:
            self.result.error = error
        return self.result

    async def _read(self) -> None:
        passes: list[list[Page]] = []
        number, second_ended_at, broken = 0, None, None
        while True:
            number += 1
            try:
                passes = [*passes[-1:], await self._read_pass(number)]
                self.result.ended_passes, self.result.last_pass = number, passes[-1]
                self.result.level = certify(passes)
                broken = None
            except _PassBroken as reason:
                passes, broken = [], reason
            if self.result.level is not None and broken is None and _reaches(self.result.level, self.level):
                return
            if number == 2:
                second_ended_at = time.monotonic()
            late = second_ended_at is not None and time.monotonic() - second_ended_at > self.bounds.seconds_after_two
            if number >= self.bounds.passes or late:
                break
        raise IncompleteListing(self._why(passes, number, broken))

    def _why(self, passes: list[list[Page]], number: int, broken: Exception | None) -> str:
        start = f"account {self.account.label!r} was read {number} times over and not proven {self.level!r}: "
        if broken is not None:
            return f"{start}{broken}; nothing was published"
        ids = {image_id for page in passes[-1] for image_id in page.ids}
        total = passes[-1][0].total
        counted = f"{len(ids):,} ids of {total:,}" if total is not None else f"{len(ids):,} ids and no TotalCount"
        return f"{start}{counted} in the last pass, which proves {self.result.level!r}; nothing was published"

    async def _read_pass(self, number: int) -> list[Page]:
        reading = _Pass(number, self.size, self.bounds)
        first = await self._believe(reading, 1)
        self.size = reading.size = _rows_a_page(first, reading.size)
        asked = 1
        while True:
            count = reading.page_count() or 0
            if count > asked and reading.empty_count < _EMPTY_PAGES_BELIEVED:
                await self._side_by_side(reading, range(asked + 1, count + 1))
                asked = max(reading.pages)
                continue
            if not self._goes_on(reading):
                return reading.in_order
            asked += 1
            await self._believe(reading, asked)

    async def _side_by_side(self, reading: _Pass, numbers: range) -> None:
        todo: Iterator[int] = iter(numbers)

        async def work() -> None:
            for number in todo:
                if reading.empty_count >= _EMPTY_PAGES_BELIEVED:
                    return
                await self._believe(reading, number)

        tasks = [asyncio.ensure_future(work()) for _ in range(min(self.workers, len(numbers)))]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @staticmethod
    def _goes_on(reading: _Pass) -> bool:
        """Whether the list may go on: its last page came back full, and brought images that no page before it had."""
        pages = reading.in_order
        last = pages[-1]
        if not last.ids or len(last.ids) < reading.size:
            return False
        seen = {image_id for page in pages[:-1] for image_id in page.ids}
        return not seen.issuperset(last.ids)

    async def _believe(self, reading: _Pass, number: int) -> Page:
        """Ask for a page until it holds together, or for as long as the bounds allow; then take it as it came."""
        began = time.monotonic()
        asks = 0
        while True:
            asks += 1
            page, wrong, is_mild = await self._ask(reading, number)
            if wrong is None:
                break
            in_vain = time.monotonic() - began
            if asks >= (2 if is_mild else self.bounds.asks) or in_vain > reading.patience:
                reading.patience -= in_vain
                break
            await asyncio.sleep(0.1 if asks == 1 else 1.0)
        if page is None:
            raise _PassBroken(f"page {number} stayed unreadable: {wrong}")
        reading.pages[number] = page
        reading.totals.add(page.total)
        reading.empty_count += not page.ids
        if self.progress:
            self.progress(self.account.label, reading.number, len(reading.pages), reading.page_count())
        return page

    async def _ask(self, reading: _Pass, number: int) -> tuple[Page | None, str | None, bool]:
        """One usable answer: what it says, what is wrong with it, and whether that may well be the truth."""
        page: Page | None = None
        wrong: str | None = None
        is_mild = False

        def on_try(seen: Try) -> None:
            nonlocal page, wrong, is_mild
            page, wrong, is_mild = None, None, False
            if seen.status == 200 and seen.body is not None:
                try:
                    page = read_page(seen.body)
                    wrong, is_mild = self._judge(reading, page, number)
                except NotAPage as error:
                    wrong = str(error)
            attempt = self._attempts.get((reading.number, number), 0) + 1
            self._attempts[reading.number, number] = attempt
            answer = Answer(
                account=self.account.label,
                pass_number=reading.number,
                page_number=number,
                attempt_number=attempt,
                request_id=seen.request_id or (page.request_id if page else None),
                status=seen.status,
                sent_at_utc=seen.sent_at_utc,
                received_at_utc=seen.received_at_utc,
                waited_seconds=round(seen.waited_seconds, 3),
                error_code=seen.error_code,
                error=seen.error or wrong,
                page=page,
            )
            self.result.answers.append(answer)
            self.land(answer, seen.body)

        parameters = {"PageNumber": str(number), "PageSize": str(PAGE_SIZE), **self.filters}
        await self.api.call(self.account, parameters, on_try)
        return page, wrong, is_mild

    @staticmethod
    def _judge(reading: _Pass, page: Page, number: int) -> tuple[str | None, bool]:
        """What is wrong with an answer, and whether it may well be the truth (then it is asked again only once)."""
        if page.is_null and page.total == 0:
            return "it has no list of images", True
        if wrong := flaw(page, number, reading.size):
            return wrong, False
        if page.total is None and reading.totals in (set(), {None}):
            return ("it has no TotalCount", False) if not reading.totals else (None, False)
        if reading.totals and page.total not in reading.totals:
            return f"its TotalCount is {page.total}, unlike the pages before it", True
        if page.size is not None and page.size != reading.size:
            return f"its PageSize is {page.size}, not {reading.size}", True
        return None, False


def _rows_a_page(first: Page, asked: int) -> int:
    """What a full page holds, as page 1 shows it: the echoed size, unless its rows say otherwise."""
    size = first.size or asked
    rows = len(first.ids)
    holds_less = 0 < rows < size and first.total is not None and first.total > rows
    return rows if holds_less or rows > size else size


def _reaches(level: Level, asked: Level) -> bool:
    return LEVELS.index(level) >= LEVELS.index(asked)
