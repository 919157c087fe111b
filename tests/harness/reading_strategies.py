"""Strategies to read an account in simulated time: which pages are asked next, and when the listing is proven.

    strategy   yields Ask(pages, wait, workers), is sent the answers, returns Result

`double read`: whole passes, until one is complete and lists what an earlier complete one listed.
`one instant`: the order of calls of `extract.reader`, and a rule of one instant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from pipeline.extract.bounds import Bounds
from pipeline.extract.listing_pass import Pass
from pipeline.extract.response import contradiction

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from simulated_account import Answer, Service

BOUNDS = Bounds()
PAGE_SIZE = 50


class Ask(NamedTuple):
    """Pages to request, side by side, after a wait."""

    pages: tuple[int, ...]
    wait: float = 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """A proven listing: the ids, and the answer that is its instant."""

    ids: frozenset[str]
    instant: Answer
    kind: str


Reading: TypeAlias = "Generator[Ask, list[Answer], Result | None]"
Rule: TypeAlias = "Callable[[Sequence[Answer], frozenset[str]], Result | None]"


def drive(reading: Reading, service: Service, workers: int) -> Result | None:
    """Run a strategy against a service. Returns: its result; None where nothing was proven."""
    try:
        ask = next(reading)
        while True:
            ask = reading.send(service.answers(ask.pages, wait=ask.wait, workers=workers))
    except StopIteration as end:
        result: Result | None = end.value
        return result


def is_flawless(answer: Answer, size: int = PAGE_SIZE) -> bool:
    """Whether an answer holds together: only such ones prove anything."""
    return contradiction(answer.page, answer.page_number, size) is None


class _Reader:
    """The calls of a pass as the reader makes them: doubtful pages are requested again."""

    def __init__(self, size: int, workers: int) -> None:
        self.answers: list[Answer] = []
        self.size = size
        self.pause = 0.0
        """Wait before the next request."""
        self._workers = workers

    def begin(self, number: int, previous: Pass | None) -> Pass:
        return Pass(number, self.size, BOUNDS, previous.pages[1].total if previous else None)

    def read(self, current: Pass, pages: Sequence[int]) -> Generator[Ask, list[Answer], None]:
        """Read pages, again while they are doubtful."""
        tries = dict.fromkeys(pages, 0)
        while tries:
            wait, self.pause = self.pause, 0.0
            found = yield Ask(tuple(tries), wait)
            self.answers += found
            for answer in found:
                number = answer.page_number
                tries[number] += 1
                doubt = current.doubt(number, answer.page)
                limit = 1 if doubt is None else 2 if doubt.is_plausible else BOUNDS.requests_per_page
                if tries[number] >= limit:
                    current.accept(number, answer.page)
                    del tries[number]

    def rest(self, current: Pass, is_done: Callable[[], bool]) -> Generator[Ask, list[Answer], None]:
        """Read the pages after the first, to the end."""
        requested = 1
        while not is_done():
            page_count = current.page_count() or 0
            missing = [n for n in range(requested + 1, page_count + 1) if n not in current.pages]
            if missing and not current.has_too_many_empty_pages():
                for start in range(0, len(missing), self._workers):
                    if is_done():
                        return
                    yield from self.read(current, missing[start : start + self._workers])
                requested = page_count
            elif current.continues():
                yield from self.read(current, [max(current.pages) + 1])
            else:
                self.size = current.smallest_page_size()
                return


def _is_one_page(current: Pass) -> bool:
    first = current.pages[1]
    return len(current.pages) == 1 and first.total == len(first.ids) < (first.size or current.page_size)


def double_read(known: frozenset[str], *, size: int, workers: int, passes: int) -> Reading:  # noqa: ARG001
    """Read whole passes until two are complete and equal."""
    reader = _Reader(size, workers)
    previous: Pass | None = None
    seen: list[tuple[frozenset[str], int | None]] = []
    for number in range(1, passes + 1):
        current = reader.begin(number, previous)
        yield from reader.read(current, [1])
        current.accept_page_size()
        begun = reader.answers[-1]
        yield from reader.rest(current, lambda: False)
        previous = current
        pages = current.pages_in_order
        ids = [image_id for page in pages for image_id in page.ids]
        total = pages[0].total
        is_complete = {page.total for page in pages} == {total} and len(set(ids)) == len(ids) == total
        if not is_complete or len(pages[-1].ids) >= max(pages[0].size or size, len(pages[0].ids)):
            continue
        if len(pages[0].ids) == total or (frozenset(ids), total) in seen:
            return Result(frozenset(ids), begun, "two passes")
        seen.append((frozenset(ids), total))
    return None


class _InstantReader(_Reader):
    """Reads as `extract.reader` does: both ends first where there is a last observation, page 1 again at the end."""

    def __init__(self, known: frozenset[str], rule: Rule, size: int, workers: int) -> None:
        super().__init__(size, workers)
        self.result: Result | None = None
        self._known = known
        self._rule = rule
        self._tried = 0

    def is_proven(self) -> bool:
        """Try to prove the listing, if there are new answers."""
        if self.result is None and self._tried < len(self.answers):
            self._tried = len(self.answers)
            self.result = self._rule(self.answers, self._known)
        return self.result is not None

    def read_ends(self, current: Pass) -> Generator[Ask, list[Answer], set[str]]:
        """Read the last page, and page 1 again where an end has new ids. Returns: them."""
        page_count = current.page_count() or 0
        if not self._known or current.number > 1 or page_count < 2:
            return set()
        yield from self.read(current, [page_count])
        new = {image_id for page in current.pages_in_order for image_id in page.ids} - self._known
        if new:
            yield from self.read(current, [1])
        return new

    def read_first_page_again(self, current: Pass, ends: set[str]) -> Generator[Ask, list[Answer], None]:
        """Read page 1 after the others, in the first pass only where that may prove the listing."""
        known = self._known | ends
        if current.number == 1 and not all(known.issuperset(page.ids) for page in current.pages_in_order):
            return
        yield from self.read(current, [1])
        if ends:
            yield from self.read(current, [max(current.pages)])


def one_instant(known: frozenset[str], *, rule: Rule, settle: float, size: int, workers: int, passes: int) -> Reading:
    """Read until some answer proves the listing."""
    reader = _InstantReader(known, rule, size, workers)
    previous: Pass | None = None
    for number in range(1, passes + 1):
        current = reader.begin(number, previous)
        pause = settle if number > 2 else 0.0
        reader.pause = pause
        yield from reader.read(current, [1])
        reader.pause = pause
        current.accept_page_size()
        ends = yield from reader.read_ends(current)
        yield from reader.rest(current, reader.is_proven if previous else lambda: False)
        if not (previous and reader.is_proven()) and not _is_one_page(current):
            yield from reader.read_first_page_again(current, ends)
        if reader.is_proven():
            return reader.result
        previous = current
    return None
