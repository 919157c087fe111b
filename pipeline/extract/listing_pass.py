"""One pass over an account: the pages accepted so far, how many more to request, and doubts about a new page."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.extract.response import contradiction

if TYPE_CHECKING:
    from pipeline.extract.bounds import Bounds
    from pipeline.extract.response import Page


@dataclass(frozen=True, slots=True)
class Doubt:
    """A reason to request a page again."""

    reason: str
    is_plausible: bool
    """Whether an honest service may send the page: then it is requested only once more."""


class Pass:
    """A pass in progress."""

    def __init__(
        self, number: int, page_size: int, bounds: Bounds, previous_total: int | None = None, *, is_counted: bool = True
    ) -> None:
        """`previous_total` is the TotalCount of the pass before.

        `is_counted` says that the pass must prove something by itself: then a page unlike those before it is doubted.
        """
        self.number = number
        self.page_size = page_size
        self.pages: dict[int, Page] = {}
        self.repeat_seconds_left = bounds.repeat_seconds
        self._bounds = bounds
        self._started = time.monotonic()
        self._previous_total = previous_total
        self._is_counted = is_counted
        self._totals: set[int | None] = set()
        self._empty_page_count = 0
        self._ids: set[str] = set()
        self._pages_with_new_ids: set[int] = set()

    def accept(self, number: int, page: Page) -> None:
        """Add a page to the pass."""
        self.pages[number] = page
        self._totals.add(page.total)
        self._empty_page_count += not page.ids
        if not self._ids.issuperset(page.ids):
            self._pages_with_new_ids.add(number)
        self._ids.update(page.ids)

    def accept_page_size(self) -> None:
        """Set the page size to what page 1 shows: the echoed size, unless its rows prove another."""
        first = self.pages[1]
        size = first.size or self.page_size
        rows = len(first.ids)
        is_cut = 0 < rows < size and first.total is not None and first.total > rows
        self.page_size = rows if is_cut or rows > size else size

    def doubt(self, number: int, page: Page) -> Doubt | None:
        """The reason not to accept `page` as page `number` yet, or None; of a page read again, only a contradiction."""
        if number in self.pages:
            reason = contradiction(page, number, self.page_size)
            return Doubt(reason, is_plausible=False) if reason else None
        if page.is_null and page.total == 0:
            return Doubt(f"it has no list of {page.resource.noun}s", is_plausible=True)
        if reason := contradiction(page, number, self.page_size):
            return Doubt(reason, is_plausible=False)
        if page.total is None and self._totals in (set(), {None}):
            return None if self._totals else Doubt("it has no TotalCount", is_plausible=False)
        reason = self._difference(page)
        return Doubt(reason, is_plausible=True) if reason else None

    def _difference(self, page: Page) -> str | None:
        """A difference to the other pages, which a change of the account may explain."""
        if not self._totals and self._previous_total not in {None, page.total}:
            return f"its TotalCount is {page.total}, and was {self._previous_total} in the pass before"
        if not self._is_counted:
            return None
        if self._totals and page.total not in self._totals:
            return f"its TotalCount is {page.total}, unlike the pages before it"
        if page.size is not None and page.size != self.page_size:
            return f"its PageSize is {page.size}, not {self.page_size}"
        if not self._ids.isdisjoint(page.ids):
            return f"it repeats {page.resource.noun}s of another page"
        return None

    def is_one_page(self) -> bool:
        """Whether page 1 holds as many items as its TotalCount, and fewer than a page."""
        first = self.pages[1]
        return first.total == len(first.ids) < (first.size or self.page_size)

    @property
    def pages_in_order(self) -> list[Page]:
        """The accepted pages by number."""
        return [self.pages[number] for number in sorted(self.pages)]

    def page_count(self) -> int | None:
        """Pages that the largest TotalCount calls for, up to `last_allowed_page`; None without a TotalCount."""
        totals = [total for total in self._totals if total is not None]
        return min(self._pages_for(max(totals)), self.last_allowed_page()) if totals else None

    def last_allowed_page(self) -> int:
        """No page is requested after this one: an account that grows while it is read is left to the next pass."""
        total = self.pages[1].total
        if total is None:
            return self._bounds.pages_without_total
        return self._pages_for(total) + self._bounds.pages_past_total

    def _pages_for(self, total: int) -> int:
        return max(1, -(-total // self.page_size))

    def continues(self) -> bool:
        """Whether the list may continue after the last page: it is full and has new items."""
        number = max(self.pages)
        is_full = len(self.pages[number].ids) >= self.page_size
        return is_full and number in self._pages_with_new_ids and number < self.last_allowed_page()

    def has_too_many_empty_pages(self) -> bool:
        """Whether so many pages were empty that the rest is not requested."""
        return self._empty_page_count >= self._bounds.pages_past_total

    def is_unprovable(self) -> bool:
        """Whether the pass has taken long and can prove nothing: its TotalCounts differ, or one is missing."""
        if len(self._totals) == 1 and None not in self._totals:
            return False
        return time.monotonic() - self._started > self._bounds.unprovable_seconds

    def smallest_page_size(self) -> int:
        """The page size for the next pass: that of page 1, or less if the service has cut a later page."""
        *before_last, _ = self.pages_in_order
        return min([self.page_size, *(len(page.ids) for page in before_last if page.size == len(page.ids))])
