"""Read one account, pass by pass."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from pipeline.errors import EnsImagesError, IncompleteListing, OurMistake, OutOfTime, classify
from pipeline.extract.client import THROTTLED_SECONDS, EnsApi
from pipeline.extract.completeness import LEVELS, Level, believed, certify, why_not_more
from pipeline.extract.response import PAGE_SIZE, Answer, NotAPage, Page, flaw, read_page
from pipeline.log import about, logger

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping

    from pipeline.credentials import Account
    from pipeline.extract.attempt import Attempt

_log = logger(__name__)


_T = TypeVar("_T")

_PAGES_IN_VAIN: Final = 64
"""So many pages that are empty, or more than the first TotalCount called for, and a pass is at its end."""
_PAGES_WITHOUT_TOTAL: Final = 10_000
"""A list without a TotalCount that still brings new images here has no end."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How often a listing is read again before it is given up, and how long is waited in between."""

    passes: int = 5
    seconds_after_two: float = 60.0
    """No pass begins later than this after the second one ended."""
    asks: int = 3
    """How often a page that contradicts itself is asked in all."""
    patience_seconds: float = 5.0
    """How long one pass asks contradictory pages again in vain."""
    hopeless_seconds: float = 8.0
    """How long a pass goes on that proves nothing any more: an account that grows faster than it is read has no end."""
    throttled_seconds: float = THROTTLED_SECONDS
    """An account that is throttled so long without one answer is given up."""
    pause_seconds: float = 0.1
    """Before a page is asked again; ten times as long before it is asked once more."""
    back_off_seconds: float = 0.25
    """The first wait after a call that failed or was throttled; each is twice as long as the one before."""


class Land(Protocol):
    """Takes one answer, with its body as it came, in the order in which answers come."""

    def __call__(self, answer: Answer, body: bytes | None) -> None:
        """Take it."""


class Progress(Protocol):
    """Told of every page: how many of how many (None: not known) are read in this pass."""

    def __call__(self, account: str, pass_number: int, pages: int, of: int | None, /) -> None:
        """Show it."""


@dataclass(slots=True)
class Listing:
    """What became of one account: its answers in the order they came, and the error that ended it, if one did."""

    account: str
    answers: list[Answer] = field(default_factory=list)
    begun_passes: int = 0
    ended_passes: int = 0
    last_pass: list[Page] = field(default_factory=list)
    level: Level | None = None
    error: EnsImagesError | None = None


async def _gather(works: Iterable[Coroutine[Any, Any, _T]]) -> list[_T]:
    """Run them side by side. One that fails ends the others, and they have ended when its error is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _NotLanded(Exception):
    """What keeps the pages failed: that ends the run, for it would fail for every account."""

    def __init__(self, why: Exception) -> None:
        super().__init__(why)
        self.why = why


class _PassBroken(Exception):
    """A page stayed unreadable however often it was asked."""


class _Pass:
    """One reading of the whole account, under way."""

    def __init__(self, number: int, size: int, bounds: Bounds, total_before: int | None = None) -> None:
        self.number = number
        self.size = size
        self.began = time.monotonic()
        self.total_before = total_before
        self.pages: dict[int, Page] = {}
        self.totals: set[int | None] = set()
        self.patience = bounds.patience_seconds
        self.empty_count = 0
        self.ids: set[str] = set()
        self._brought_new: dict[int, bool] = {}

    def take(self, number: int, page: Page) -> None:
        """Believe a page."""
        self.pages[number] = page
        self.totals.add(page.total)
        self.empty_count += not page.ids
        self._brought_new[number] = not self.ids.issuperset(page.ids)
        self.ids.update(page.ids)

    @property
    def in_order(self) -> list[Page]:
        return [self.pages[number] for number in sorted(self.pages)]

    def page_count(self) -> int | None:
        """Pages that the largest TotalCount seen calls for, up to the end; None where none was sent."""
        known = [total for total in self.totals if total is not None]
        return min(self._called_for(max(known)), self.end()) if known else None

    def end(self) -> int:
        """No page is asked for after this: an account that grows faster than it is read is left for the next pass."""
        total = self.pages[1].total
        return _PAGES_WITHOUT_TOTAL if total is None else self._called_for(total) + _PAGES_IN_VAIN

    def _called_for(self, total: int) -> int:
        return max(1, -(-total // self.size))

    def goes_on(self) -> bool:
        """Whether the list may go on after its last page: that came back full, and brought images not seen before."""
        number = max(self.pages)
        return len(self.pages[number].ids) >= self.size and self._brought_new[number] and number < self.end()

    def is_hopeless(self) -> bool:
        """Whether it can prove nothing any more: its answers disagree about TotalCount, or have none."""
        return len(self.totals) > 1 or None in self.totals

    def smallest_full_size(self) -> int:
        """The page size that this pass showed: that of page 1, or less where the service has cut a page since."""
        *before_last, _ = self.in_order
        return min([self.size, *(len(page.ids) for page in before_last if page.size == len(page.ids))])


class Reader:
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
        self._reading: _Pass | None = None
        self._attempts: dict[tuple[int, int], int] = {}

    async def listing(self, until: float | None, seconds: float | None) -> Listing:
        """Read until the level is proven, `until` then at most; errors end up in the listing."""
        with about(account=self.account.label):
            return await self._listing(until, seconds)

    async def _listing(self, until: float | None, seconds: float | None) -> Listing:
        began = time.monotonic()
        try:
            async with asyncio.timeout_at(until):
                await self._read()
        except TimeoutError:
            self.result.error = OutOfTime(
                f"account {self.account.label!r} was not read to its end in the {seconds:g} s of --timeout: "
                f"{self._how_far()}"
            )
        except EnsImagesError as error:
            self.result.error = error
        except _NotLanded as failed:
            raise failed.why from None
        except Exception as bug:  # noqa: BLE001 - one account's trouble costs no other
            _log.warning("an answer was met that nobody had thought of", exc_info=bug)
            self.result.error = OurMistake(
                f"account {self.account.label!r} could not be read, by a mistake of ours: {type(bug).__name__}: {bug}; "
                "tell us, with the traceback above and the pages, which are kept"
            )
        became = self.result.level if self.result.error is None else type(self.result.error).__name__
        _log.info("%s, in %.3f s", became, time.monotonic() - began)
        return self.result

    async def _read(self) -> None:
        second_ended_at = float("inf")
        is_broken = False
        for number in range(1, self.bounds.passes + 1):
            if time.monotonic() - second_ended_at > self.bounds.seconds_after_two:
                break
            self.result.begun_passes = number
            try:
                self.result.last_pass = await self._read_pass(number)
            except _PassBroken:
                is_broken = True
            else:
                is_broken = False
                self.result.ended_passes = number
                # from the answers, as anyone can do again later: a broken pass has told of its pages too
                self.result.level = certify(believed(self.result.answers))
                if _reaches(self.result.level, self.level):
                    return
            if number == 2:
                second_ended_at = time.monotonic()
        raise IncompleteListing(self._why(is_broken=is_broken))

    def _why(self, *, is_broken: bool) -> str:
        start = f"account {self.account.label!r} was read {self.result.begun_passes} times over and not proven"
        why = f"nothing was published: {why_not_more(self.result.answers, self.result.ended_passes)}"
        if is_broken:
            return f"{start} {self.level!r}; {why}"
        ids = {image_id for page in self.result.last_pass for image_id in page.ids}
        total = self.result.last_pass[0].total
        counted = f"{len(ids):,} ids of {total:,}" if total is not None else f"{len(ids):,} ids and no TotalCount"
        return f"{start} {self.level!r}: {counted} in the last pass, which proves {self.result.level!r}; {why}"

    def _how_far(self) -> str:
        """What was read when the time was up, what went wrong last, and what to do."""
        answers, reading = self.result.answers, self._reading
        failed = next((answer for answer in reversed(answers) if answer.page is None), None)
        failure = "" if failed is None else f"; the last failure was {failed.error_code or 'no page'}: {failed.error}"
        if reading is None or (reading.number == 1 and not reading.pages):
            if failed is not None and classify(failed.status, failed.error_code) == "throttled":
                return f"nothing was read{failure}: lower --rate, or try later"
            return (
                f"no usable answer came from {self.api.url}{failure}: see that it is the right endpoint, and reachable"
            )
        count = reading.page_count()
        pages = f"{len(reading.pages):,} of {'?' if count is None else f'{count:,}'} pages of pass {reading.number}"
        return f"{pages} were read{failure}: raise --timeout"

    async def _read_pass(self, number: int) -> list[Page]:
        before = self.result.last_pass
        reading = _Pass(number, self.size, self.bounds, before[0].total if before else None)
        self._reading = reading
        first = await self._believe(reading, 1)
        reading.size = _rows_a_page(first, reading.size)
        asked = 1
        while True:
            count = reading.page_count() or 0
            if self._gives_up(reading):
                return reading.in_order
            if count > asked and reading.empty_count < _PAGES_IN_VAIN:
                await self._side_by_side(reading, range(asked + 1, count + 1))
                asked = max(reading.pages)
            elif reading.goes_on():
                asked += 1
                await self._believe(reading, asked)
            else:
                self.size = reading.smallest_full_size()
                return reading.in_order

    def _gives_up(self, reading: _Pass) -> bool:
        """Whether a pass is at its end because nothing can be proven by it; not where nothing needs to be."""
        lasted = time.monotonic() - reading.began
        return self.level != "unproven" and reading.is_hopeless() and lasted > self.bounds.hopeless_seconds

    async def _side_by_side(self, reading: _Pass, numbers: range) -> None:
        todo = iter(numbers)

        async def work() -> None:
            for number in todo:
                if reading.empty_count >= _PAGES_IN_VAIN or self._gives_up(reading):
                    return
                await self._believe(reading, number)

        await _gather(work() for _ in range(min(self.workers, len(numbers))))

    async def _believe(self, reading: _Pass, number: int) -> Page:
        """Ask for a page until it holds together, or for as long as the bounds allow; then take it as it came."""
        began = time.monotonic()
        asks = 0
        while True:
            asks += 1
            with about(**{"pass": reading.number, "page": number}):
                page, wrong, is_mild = await self._ask(reading, number)
                if wrong is not None:
                    _log.debug("not believed yet: %s", wrong)
            if wrong is None:
                break
            in_vain = time.monotonic() - began
            if asks >= (2 if is_mild else self.bounds.asks) or in_vain > reading.patience:
                reading.patience -= in_vain
                break
            await asyncio.sleep(self.bounds.pause_seconds * (1 if asks == 1 else 10))
        if page is None:
            raise _PassBroken
        reading.take(number, page)
        if self.progress:
            self.progress(self.account.label, reading.number, len(reading.pages), reading.page_count())
        return page

    async def _ask(self, reading: _Pass, number: int) -> tuple[Page | None, str | None, bool]:
        """One usable answer: what it says, what is wrong with it, and whether that may well be the truth."""
        page: Page | None = None
        wrong: str | None = None
        is_mild = False

        def on_try(seen: Attempt) -> None:
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
            try:
                self.land(answer, seen.body)
            except Exception as why:
                raise _NotLanded(why) from why

        parameters = {"PageNumber": str(number), "PageSize": str(reading.size), **self.filters}
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
        if not reading.totals and reading.total_before not in {None, page.total}:
            return f"its TotalCount is {page.total}, and was {reading.total_before} in the pass before", True
        if reading.totals and page.total not in reading.totals:
            return f"its TotalCount is {page.total}, unlike the pages before it", True
        if page.size is not None and page.size != reading.size:
            return f"its PageSize is {page.size}, not {reading.size}", True
        if not reading.ids.isdisjoint(page.ids):
            return "it repeats images of another page", True
        return None, False


def _rows_a_page(first: Page, asked: int) -> int:
    """What a full page holds, as page 1 shows it: the echoed size, unless its rows say otherwise."""
    size = first.size or asked
    rows = len(first.ids)
    holds_less = 0 < rows < size and first.total is not None and first.total > rows
    return rows if holds_less or rows > size else size


def _reaches(level: Level, asked: Level) -> bool:
    return LEVELS.index(level) >= LEVELS.index(asked)
