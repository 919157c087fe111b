"""A model of an account that changes while it is read: a wrong set of images is never verified."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from pipeline.extract.completeness import certify_passes
from pipeline.extract.response import Page

SIZE = 3


class ReadingWhileItChanges(RuleBasedStateMachine):
    """Images are created, deleted and moved between any two answers; after page 1 pages are answered in any order."""

    @initialize(count=st.integers(0, 10))
    def an_account(self, count: int) -> None:
        self.created_count = count
        self.alive = list(range(count))
        self.passes: list[list[Page]] = []
        self.pages: dict[int, Page] = {}
        self.alive_at_first_answer: set[str] = set()
        self.verified = 0

    @rule(place=st.integers(0, 20))
    def an_image_is_created(self, place: int) -> None:
        self.alive.insert(place % (len(self.alive) + 1), self.created_count)
        self.created_count += 1

    @precondition(lambda self: self.alive)
    @rule(place=st.integers(0, 20))
    def an_image_is_deleted(self, place: int) -> None:
        self.alive.pop(place % len(self.alive))

    @precondition(lambda self: self.alive)
    @rule(place=st.integers(0, 20), new_place=st.integers(0, 20))
    def one_is_deleted_and_another_created(self, place: int, new_place: int) -> None:
        self.an_image_is_deleted(place)
        self.an_image_is_created(new_place)

    @rule(random=st.randoms(use_true_random=False))
    def the_order_changes(self, random) -> None:
        random.shuffle(self.alive)

    @rule(which=st.integers(0, 20))
    def a_page_is_answered(self, which: int) -> None:
        number = self._next(which)
        self._answer(number, number)

    @rule(which=st.integers(0, 20), other=st.integers(1, 8))
    def a_page_is_answered_with_the_rows_of_another(self, which: int, other: int) -> None:
        self._answer(self._next(which), other)

    @precondition(lambda self: self.pages)
    @rule(which=st.integers(0, 20))
    def a_page_is_answered_again(self, which: int) -> None:
        """A repeated request: page 1 only while it is the only page, others at any time."""
        number = sorted(self.pages)[which % len(self.pages)]
        if number > 1 or len(self.pages) == 1:
            self._answer(number, number)

    def _next(self, which: int) -> int:
        wanted = [number for number in range(1, self._page_count() + 1) if number not in self.pages]
        return wanted[which % len(wanted)] if self.pages else 1

    def _answer(self, number: int, rows_of: int) -> None:
        if number == 1:
            self.alive_at_first_answer = {f"m-{image}" for image in self.alive}
        part = self.alive[(rows_of - 1) * SIZE : rows_of * SIZE]
        ids = tuple(f"m-{image}" for image in part)
        self.pages[number] = Page(number, SIZE, len(self.alive), ids, is_null=False, request_id=None)
        if len(self.pages) >= self._page_count():
            self._end_of_pass()

    @rule()
    def the_account_is_read_to_the_end_unchanged(self) -> None:
        begun = len(self.passes)
        while len(self.passes) == begun:
            self.a_page_is_answered(0)

    def _page_count(self) -> int:
        """Pages that the answers so far call for: up to the largest TotalCount, and one past a full page."""
        totals = [page.total or 0 for page in self.pages.values()]
        called_for = max(1, -(-max(totals, default=0) // SIZE))
        last = self.pages.get(max([called_for, *self.pages]))
        return max([called_for, *self.pages]) + (1 if last and len(last.ids) == SIZE else 0)

    def _end_of_pass(self) -> None:
        self.passes.append([self.pages[number] for number in sorted(self.pages)])
        self.pages = {}
        if certify_passes(self.passes) == "verified":
            self.verified += 1
            listed = [image_id for page in self.passes[-1] for image_id in page.ids]
            assert len(listed) == len(set(listed))
            assert set(listed) == self.alive_at_first_answer


TestReadingWhileItChanges = ReadingWhileItChanges.TestCase
TestReadingWhileItChanges.settings = settings(max_examples=250, stateful_step_count=40, deadline=None)


def test_the_model_verifies_unchanging_accounts():
    model = ReadingWhileItChanges()
    model.an_account(10)
    for _ in range(3):
        model.the_account_is_read_to_the_end_unchanged()

    assert model.verified == 2
