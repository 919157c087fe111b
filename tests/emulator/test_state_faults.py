"""Each fault of time shows on the wire which state, count, creation time or clock its description says.

The server's clock is set by the tests; the answers' records keep the true ids.
"""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from signed_calls import Got, call, images_of

from pipeline.emulator import Endpoint, living_account

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IMAGES = 137
START = dt.datetime(2026, 11, 23, 2, tzinfo=dt.UTC).timestamp()
ACCOUNT = living_account(IMAGES, 1)
ALL = [image["ImageId"] for image in ACCOUNT.images_on(0)]
OWNED = [image["ImageId"] for image in ACCOUNT.images_on(0) if image["ImageOwnerAlias"] == "self"]


class Service:
    """An endpoint with faults, and its clock."""

    def __init__(self, *faults: str) -> None:
        self.now = START
        self.endpoint = Endpoint({"emulator": ("emulator", ACCOUNT)}, faults=faults, clock=lambda: self.now)

    def page(self, number: int = 1, size: int = 50) -> Got:
        return call(self.endpoint, {"PageNumber": str(number), "PageSize": str(size)})

    def read(self) -> tuple[list[str], set[int]]:
        """Read three pages. Returns: their ids, and their TotalCounts."""
        pages = [self.page(number) for number in (1, 2, 3)]
        return [image_id for got in pages for image_id in ids_of(got)], {total_of(got) for got in pages}

    @property
    def truth(self) -> frozenset[str]:
        """The ids at the last answer."""
        return self.endpoint.answers[-1].ids()


@pytest.fixture
def serve() -> Iterator[Callable[..., Service]]:
    """Open endpoints with faults."""
    opened: list[Endpoint] = []

    def open_service(*faults: str) -> Service:
        service = Service(*faults)
        opened.append(service.endpoint.__enter__())
        return service

    yield open_service
    for endpoint in opened:
        endpoint.__exit__(None, None, None)


def ids_of(got: Got) -> list[str]:
    return [image["ImageId"] for image in images_of(got)]


def total_of(got: Got) -> int:
    return int(got.body["TotalCount"])


def date_of(got: Got) -> float:
    return parsedate_to_datetime(got.headers["date"]).timestamp()


def created_of(got: Got, known: list[str]) -> list[str]:
    """The creation times of the images on a page that are new."""
    return [image["CreationTime"] for image in images_of(got) if image["ImageId"] not in known]


# --- The account changes ---


def test_an_inserted_image_is_created_now_by_the_servers_clock(serve):
    service = serve("insertions:place=start")
    service.now += 7

    got = service.page()

    assert created_of(got, ALL) == ["2026-11-23T02:00:07Z"]
    assert date_of(got) == START + 7


def test_churn_creates_and_deletes_one_between_any_two_answers(serve):
    service = serve("churn")

    with ThreadPoolExecutor(4) as pool:
        totals = [total_of(got) for got in pool.map(service.page, [1, 2, 3] * 4)]

    states = [answer.ids() for answer in service.endpoint.answers]
    assert totals == [IMAGES] * 12
    assert {len(one - two) for one, two in pairwise(states)} == {1}


def test_steady_changes_happen_by_the_clock_whatever_the_calls(serve):
    service = serve("steady:ms=500")
    service.page()
    assert service.truth == set(ALL)

    service.page()
    assert service.truth == set(ALL)

    service.now += 5
    got = service.page()
    changes = len(set(ALL) ^ service.truth)
    assert 0 < changes <= 10
    assert changes % 2 == 0  # an image that came and went in between counts twice
    assert set(created_of(got, ALL)) <= {f"2026-11-23T02:00:0{second}Z" for second in range(6)}


def test_shared_images_come_and_go_and_come_again(serve):
    service = serve("sharing")
    states = [frozenset(ALL)]
    for _ in range(60):
        service.page()
        states.append(service.truth)

    shared = set(ALL) - set(OWNED)
    assert all(set(OWNED) <= state for state in states)
    assert any(state - set(ALL) for state in states)
    assert any(shared - state for state in states)
    assert any(states[n] & (states[n + 8] - states[n + 1]) for n in range(len(states) - 8))


def test_a_restored_image_has_its_id_and_its_place(serve):
    service = serve("restored:count=2")

    service.page()
    without = service.truth
    ids, _ = service.read()

    assert len(set(ALL) - without) == 2
    assert len(service.endpoint.answers) == 4
    assert [len(answer.ids()) for answer in service.endpoint.answers] == [135, 137, 135, 137]
    assert service.truth == set(ALL)
    assert set(ids) <= set(ALL)


def test_a_restored_image_is_listed_once_the_day_after(serve):
    service = serve("restored:times=2")
    service.page()
    service.page()

    service.endpoint.day = 1
    service.page()

    ids, _ = service.read()
    assert len(ids) == len(set(ids))


# --- The answer shows another state ---


def test_a_replica_answers_of_the_state_some_milliseconds_ago(serve):
    service = serve("insertions:place=start,times=1", "replica:ms=2000")

    assert service.read() == (ALL, {IMAGES})
    assert len(service.truth) == IMAGES + 1
    service.now += 1.9
    assert service.read() == (ALL, {IMAGES})
    service.now += 0.2
    assert set(service.read()[0]) == service.truth


def test_a_replica_answers_of_the_state_some_changes_ago_and_in_turn_with_the_current_one(serve):
    service = serve("deletions:place=start", "replica:ms=0,count=2,p=0.5,seed=3")

    answers = [(total_of(service.page()), len(service.truth)) for _ in range(30)]

    assert {truth - total for total, truth in answers[2:]} == {0, -2}


@pytest.mark.parametrize(
    ("faults", "rows", "total"),
    [
        (["deletions:place=start,page=3", "rows-first"], ALL, {137, 136}),
        (["deletions:place=start,page=1,times=1", "count-first"], [*ALL[1:]], {137, 136}),
    ],
)
def test_rows_and_count_are_of_two_queries_and_a_change_falls_between(serve, faults, rows, total):
    service = serve(*faults)

    assert service.read() == (rows, total)
    assert len(service.truth) == 136


def test_a_cached_total_is_read_every_period_only(serve):
    service = serve("deletions:place=end", "cached-total:ms=5000")
    service.now = START + 1

    totals = []
    for _ in range(8):
        totals.append(total_of(service.page()))
        service.now += 1

    assert totals == [137, 137, 137, 137, 132, 132, 132, 132]


@pytest.mark.parametrize(
    ("faults", "row_count", "total"),
    [
        (["deletions:count=2,times=1", "lingering-rows"], 137, 135),
        (["deletions:count=2,times=1", "lingering-total"], 135, 137),
        (["insertions:count=2,times=1", "late-rows"], 137, 139),
        (["insertions:count=2,times=1", "late-total"], 139, 137),
    ],
)
def test_a_change_comes_late_into_rows_or_total(serve, faults, row_count, total):
    service = serve(*faults)

    ids, totals = service.read()
    service.now += 2.1
    settled_ids, settled_totals = service.read()

    assert (len(ids), totals) == (row_count, {total})
    assert (set(settled_ids), settled_totals) == (service.truth, {len(service.truth)})


@pytest.mark.parametrize(
    ("fault", "ids", "totals"),
    [
        ("capped-total:count=100", ALL, {100}),
        ("cut-list:count=100", ALL[:100], {100}),
        ("page-total", ALL, {50, 37}),
        ("owned-total", ALL, {len(OWNED)}),
    ],
)
def test_total_count_counts_something_else_than_what_is_listed(serve, fault, ids, totals):
    service = serve(fault)

    assert service.read() == (ids, totals)
    assert service.truth == set(ALL)


def test_a_total_without_young_images_counts_them_later(serve):
    service = serve("insertions:count=3,times=1", "young-total:ms=60000")

    assert service.read()[1] == {IMAGES}
    service.now += 61
    assert service.read()[1] == {IMAGES + 3}


def test_a_second_request_gets_the_answer_of_the_first_try(serve):
    service = serve("insertions:place=start", "first-try:page=1,times=1")

    refused, late, current = service.page(), service.page(), service.page()

    assert (refused.status, late.status) == (503, 200)
    assert (total_of(late), total_of(current)) == (IMAGES + 1, IMAGES + 3)
    assert len(service.truth) == IMAGES + 3


# --- Page size, creation times, the clock ---


def test_a_silently_clamped_page_echoes_the_requested_size(serve):
    got = serve("silently-clamped:count=20").page(2)

    assert (got.body["PageSize"], total_of(got)) == ("50", IMAGES)
    assert ids_of(got) == ALL[20:40]


@pytest.mark.parametrize(
    ("fault", "created"),
    [
        ("created-earlier:ms=60000", "2026-11-23T01:59:00Z"),
        ("created-later:ms=60000", "2026-11-23T02:01:00Z"),
        ("created-copied", min(image["CreationTime"] for image in ACCOUNT.images_on(0))),
    ],
)
def test_the_creation_time_of_inserted_images_alone_is_another(serve, fault, created):
    service = serve("insertions:place=start,times=1", fault)

    got = service.page()

    assert created_of(got, ALL) == [created]
    known = {image["ImageId"]: image for image in ACCOUNT.images_on(0)}
    assert all(image == known[image["ImageId"]] for image in images_of(got) if image["ImageId"] in known)


def test_the_date_steps_and_goes_back(serve):
    service = serve("wrong-clock:count=3600,after=2,times=1")

    dates = [date_of(service.page()) for _ in range(4)]

    assert dates == [START, START, START + 3_600, START]


def test_a_refusal_has_the_date_of_the_servers_clock(serve):
    got = serve("503").page()

    assert (got.status, date_of(got)) == (503, START)
