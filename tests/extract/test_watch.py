"""What answers show of that which a proof assumes not to happen."""

import datetime as dt
from dataclasses import replace

import pytest

from pipeline.extract.claim import claim_of, is_proven
from pipeline.extract.response import Answer, Page
from pipeline.extract.watch import count_clock_steps_back, has_returned, is_contradicted, remarkable, watched

START = dt.datetime(2026, 11, 23, 2)  # noqa: DTZ001


def answer(number: int, ids: str, *, total: int, sent: float, server: float | None = None) -> Answer:
    """An answer with pages of three: `sent` and `server` in seconds."""
    at = START + dt.timedelta(seconds=sent)
    served = None if server is None else START + dt.timedelta(seconds=server)
    page = Page(number, 3, total, tuple(ids.split()), is_null=False, request_id=None)
    later = at + dt.timedelta(seconds=0.1)
    return Answer("default", 1, number, 1, None, 200, at, later, 0.0, None, None, served, page)


def test_rows_beyond_the_total_contradict_it_if_they_come_again():
    within = [answer(1, "a b c", total=5, sent=0), answer(2, "d e", total=5, sent=1)]
    beyond = [answer(1, "a b c", total=4, sent=2), answer(2, "d e", total=4, sent=3)]

    assert not is_contradicted([*within, *beyond, *within])
    assert is_contradicted([*within, *beyond, beyond[1]])
    assert watched([*within, *beyond], is_quiet=False)["beyond_total_count"] == 1


def test_a_claim_of_an_instant_is_refused_where_the_service_s_clock_went_back():
    """As `claim_of` refuses to make it: which images are younger is read from that clock."""
    first, rest = " ".join(f"m-{n}" for n in range(50)), " ".join(f"m-{n}" for n in range(50, 60))
    asked = [(1, first, 60, 0), (2, rest, 60, 1), (1, first, 60, 10), (2, f"{rest} new", 61, 20), (1, first, 61, 21)]
    answers = [answer(number, ids, total=total, sent=at, server=at) for number, ids, total, at in asked]
    created = (("new", START + dt.timedelta(seconds=15)),)
    for place, one in enumerate(answers):
        young = created if place == 3 else ()
        answers[place] = replace(one, pass_number=1 + place // 2, page=replace(one.page, size=50, young=young))
    claim = claim_of(answers, None)
    assert claim is not None
    assert (claim.kind, claim.later_ids) == ("instant", ("new",))
    assert is_proven(answers, claim, frozenset())

    answers[4] = replace(answers[4], server_at_utc=START - dt.timedelta(seconds=100))
    assert claim_of(answers, None) is None
    assert not is_proven(answers, claim, frozenset())


def test_another_page_in_place_of_the_last_one_is_not_beyond_its_total():
    other = answer(2, "a b c", total=5, sent=0)
    other = replace(other, page=replace(other.page, number=1))

    assert not is_contradicted([other, other])


def test_an_image_has_returned_that_its_neighbours_were_seen_without():
    deleted = [answer(1, "a b c", total=5, sent=0), answer(1, "a c d", total=4, sent=1)]

    assert not has_returned(deleted)
    assert has_returned([*deleted, answer(1, "b c d", total=5, sent=2)])
    assert not has_returned([*deleted, answer(1, "new a c", total=5, sent=2)])


@pytest.mark.parametrize(
    ("dates", "count"), [((0, 1, 2), 0), ((1, 0, 1), 0), ((5, 3, 5), 1), ((5, 3, 2), 2), ((None, 3, 5), 0)]
)
def test_a_clock_that_goes_back_is_counted_by_more_than_its_resolution(dates, count):
    answers = [answer(1, "a", total=1, sent=n, server=date) for n, date in enumerate(dates)]

    assert count_clock_steps_back(answers) == count
    assert watched(answers, is_quiet=False)["server_clock_back_count"] == count


def test_answers_side_by_side_have_no_order():
    assert (
        count_clock_steps_back([answer(1, "a", total=1, sent=0, server=9), answer(2, "", total=1, sent=0.05, server=3)])
        == 0
    )


@pytest.mark.parametrize(("server", "offset"), [(None, None), (0, 0.0), (-1, -0.0), (3600, 3599.9), (-3600, -3599.0)])
def test_the_offset_of_the_clock_is_the_least_that_explains_the_answer(server, offset):
    found = watched([answer(1, "a", total=1, sent=0, server=server)], is_quiet=False)["server_clock_offset_seconds"]

    assert found == offset


def test_only_what_says_something_is_remarkable():
    fine = [answer(1, "a", total=1, sent=0, server=30)]
    late = [answer(1, "a", total=1, sent=0, server=3600), answer(1, "a b", total=1, sent=1, server=0)]

    assert remarkable(watched(fine, is_quiet=True)) == {}
    assert remarkable(watched(late, is_quiet=False)) == {
        "server_clock_back_count": 1,
        "server_clock_offset_seconds": 3599.9,
        "beyond_total_count": 1,
        "is_total_constant": True,
    }


def test_a_total_that_stays_while_images_come_and_go_is_told():
    churn = [answer(1, "a b", total=2, sent=0), answer(1, "b c", total=2, sent=1)]

    assert watched(churn, is_quiet=False)["is_total_constant"]
    assert not watched(churn[:1], is_quiet=False)["is_total_constant"]
    assert not watched([churn[0], answer(1, "a b c", total=3, sent=1)], is_quiet=False)["is_total_constant"]
