"""A part of the fault tests: what is proven is the account, whatever the service does meanwhile."""

import datetime as dt
from dataclasses import replace
from pathlib import Path

import pytest
from faults import BEYOND, HASTE, HOSTILE, NAMED, Schedule, compared, plain, random_schedules, read_once, run_once, spec

from pipeline.emulator import FAULTS
from pipeline.extract.bounds import Bounds
from pipeline.extract.listing import extract
from pipeline.extract.rate_limit import DEFAULT_RATE
from pipeline.resources.images import IMAGES_RESOURCE

REPORT = Path(__file__).parents[2] / "docs" / "reliability.md"


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_ends_well_is_published_and_nothing_is_lost(fault):
    outcome = read_once(Schedule(123, (spec(fault, "page=2,times=1"),)))

    assert (outcome.level, outcome.error) == ("verified", None)
    assert (outcome.lost, outcome.invented, outcome.twice) == (0, 0, 0)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_without_end_ends_in_the_truth_or_in_a_refusal(fault):
    outcome = read_once(Schedule(123, (spec(fault, "page=2"),)))

    assert not outcome.is_undetected
    assert outcome.level == "verified" or outcome.error


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("workers", [1, 8])
def test_no_image_is_lost_or_invented_undetected_while_an_account_changes(part, workers):
    for schedule in random_schedules(8, seed=100 + part, workers=workers):
        outcome = read_once(schedule)
        assert not outcome.is_undetected, schedule
        assert not outcome.needless, schedule


def test_the_lake_holds_what_was_proven():
    outcome = run_once(Schedule(123, ("churn:page=2,times=2", "empty:page=1,times=1"), workers=8))

    assert (outcome.level, outcome.lost, outcome.invented, outcome.twice) == ("verified", 0, 0, 0)


THREE_DELETIONS = Schedule(123, ("deletions:page=2,times=1,count=3,place=start",))


def test_three_deletions_deceive_a_plain_reader_and_not_this_one():
    assert plain(THREE_DELETIONS) is True
    assert read_once(THREE_DELETIONS).level == "verified"
    assert read_once(THREE_DELETIONS).is_wrong is False


@pytest.mark.parametrize("images", [2, 50, 123])
@pytest.mark.parametrize("seed", range(3))
def test_an_image_that_is_listed_with_its_id_and_without_is_never_verified_twice(images, seed):
    """With it in one pass and without it in another, on one page or on two, in the place of another or not."""
    for faults in ((f"twin:p=0.7,seed={seed}", f"missing-id:p=0.5,seed={seed}"), (f"twin:p=0.4,seed={seed}",)):
        outcome = read_once(Schedule(images, faults, seed=seed))

        assert not outcome.is_undetected
        assert outcome.level == "verified" or outcome.error == "IncompleteListing"


def test_the_drill_sees_that_a_twin_is_an_image_twice_and_another_lost(serve, account):
    endpoint = serve(images=40, faults=["twin:count=3"])
    (listing,) = extract([account], lambda *_: None, endpoint=endpoint.url, level="counted")
    said = compared(
        endpoint, listing.answers[-1].request_id, [image_id for page in listing.last_pass for image_id in page.ids]
    )

    assert (listing.level, said["lost"], said["twice"], said["invented"]) == ("counted", 3, 3, 0)


def test_the_drill_sees_a_loss_where_there_is_one():
    assert [read_once(schedule).lost for schedule in BEYOND] == [1, 1]


@pytest.mark.parametrize(
    "lie",
    [
        "wrong-total",
        "wrong-total:count=-1",
        "wrong-total:count=1000000000000",
        "no-total",
        "repeated",
        "null",
        "short",
        "unstable-order",
        "insertions",
    ],
)
def test_a_lie_that_never_ends_over_1037_images_ends_within_90_seconds(lie):
    outcome = read_once(Schedule(1037, (lie,)))
    bounds = Bounds()
    waited = bounds.passes * (bounds.repeat_seconds + 11 * bounds.pause_seconds)

    assert outcome.error == "IncompleteListing"
    assert outcome.said["pass_count"] <= bounds.passes
    assert outcome.calls / DEFAULT_RATE + waited <= 90


def test_a_total_that_is_wrong_on_one_page_alone_hinders_no_proof_by_the_others():
    outcome = read_once(Schedule(1037, ("wrong-total:page=3,count=1000000000000",)))

    assert (outcome.level, outcome.is_wrong, outcome.said["total_count"]) == ("verified", False, 1037)
    assert outcome.calls <= 800


def test_an_account_that_grows_faster_than_it_is_read_is_not_followed_for_ever():
    outcome = read_once(Schedule(123, ("insertions:count=60",)), replace(HASTE, passes=1, pages_past_total=5))
    called_for_at_first = -(-(123 + 2 * 60) // IMAGES_RESOURCE.action.page_size)

    assert outcome.error == "IncompleteListing"
    assert outcome.said["page_count"] <= called_for_at_first + 5


def test_the_haste_of_the_drill_is_in_its_pauses_alone():
    for name in ("passes", "seconds_after_two", "requests_per_page", "repeat_seconds"):
        assert getattr(HASTE, name) == getattr(Bounds(), name)


def test_the_report_knows_every_fault():
    told = REPORT.read_text(encoding="utf-8")

    assert [name for name in NAMED if f"| `{name}` |" not in told] == []
    assert set(HOSTILE) <= set(FAULTS)
    assert "**0 undetected lost or invented images**" in told


def test_the_instant_of_the_evidence_is_that_of_the_answer_compared_with():
    outcome = read_once(THREE_DELETIONS)

    assert isinstance(outcome.said["observed_at_utc"], dt.datetime)
    assert outcome.said["first_request_id"]
