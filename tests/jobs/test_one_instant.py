"""A run proves its listing at one instant, and rests on what the last observation saw."""

import contextlib
import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from pipeline import connect
from pipeline.credentials import Account, key_account
from pipeline.emulator import Endpoint, Key
from pipeline.errors import IncompleteListing
from pipeline.extract.client import _server_time
from pipeline.jobs.rebuild import rebuild
from pipeline.jobs.run import run
from pipeline.jobs.status import status
from pipeline.jobs.withdrawal import withdraw
from pipeline.lake.check import check

DAY = dt.datetime(2026, 10, 1, 2)  # noqa: DTZ001  (UTC without a zone, as everywhere)


class Shelf:
    """An account whose images a test sets, day by day."""

    def __init__(self, *days: list[str]) -> None:
        self.days = [
            [{"ImageId": image_id, "ImageSize": "1", "ImageOwnerAlias": "self"} for image_id in ids] for ids in days
        ]

    def images_on(self, day: int) -> list[dict[str, Any]]:
        return self.days[day]

    def new_image(self, serial: int, day: int) -> dict[str, Any]:
        return {"ImageId": f"new-{day}-{serial}", "ImageSize": "1", "ImageOwnerAlias": "self"}


def numbered(start: int, stop: int, kind: str = "m") -> list[str]:
    return [f"{kind}-{number:04d}" for number in range(start, stop)]


OLD = numbered(0, 1037)
FIVE = numbered(0, 5, "new")


def run_days(data: Path, shelf: Shelf, account: Account, **options: Any) -> list[int]:
    """Run once on each day. Returns: how many calls each run took."""
    calls = []
    with Endpoint({"emulator": Key("emulator", shelf)}) as endpoint:
        for day in range(len(shelf.days)):
            endpoint.day, before = day, endpoint.calls
            at = DAY + dt.timedelta(days=day)
            with contextlib.suppress(IncompleteListing):
                run(data, accounts=[account], endpoint=endpoint.url, rate=None, observed_at=at, **options)
            calls.append(endpoint.calls - before)
    return calls


def observed(data: Path, columns: str) -> list[tuple[Any, ...]]:
    with connect(data) as con:
        return con.execute(f"select {columns} from observations order by run_id").fetchall()  # noqa: S608


def ids_by_day(data: Path) -> list[set[str]]:
    with connect(data) as con:
        rows = con.execute("select observed_on, list(image_id) from images group by all order by all").fetchall()
    return [set(ids) for _, ids in rows]


@pytest.mark.parametrize(
    ("second", "calls"),
    [
        (OLD, 22),
        ([*OLD, *FIVE], 24),
        ([*FIVE, *OLD], 24),
        ([*OLD[:500], *FIVE, *OLD[500:]], 44),
        (OLD[3:700] + OLD[704:], 22),
        (list(reversed(OLD)), 22),
    ],
    ids=["nothing new", "five at the end", "five at the start", "five in the middle", "some gone", "another order"],
)
def test_a_second_run_takes_one_pass_where_what_is_new_is_at_an_end(tmp_path, account, second, calls):
    shelf = Shelf(OLD, second)
    first, again = run_days(tmp_path, shelf, account)

    assert first == 43
    assert again <= calls
    assert ids_by_day(tmp_path) == [set(OLD), set(second)]
    new = len(set(second) - set(OLD))
    (_, (proof, rests_on, here, before)) = observed(
        tmp_path, "proof, rests_on_run_id, witness_here_count, witness_before_count"
    )
    ((first_run,), _) = observed(tmp_path, "run_id")
    assert proof == "quiet"
    assert (rests_on, here + before) in {(first_run, len(second)), (None, len(second))}
    assert here >= new
    assert check(tmp_path, deep=True).findings == []


@pytest.mark.parametrize("second", [[*FIVE, *OLD, *numbered(1037, 1045)], [*OLD, *numbered(1037, 1045), *FIVE]])
def test_new_images_of_a_list_whose_pages_are_all_full_take_one_pass(tmp_path, account, second):
    """Then the end of the list is an empty page, and the last full page must be seen again after the instant."""
    shelf = Shelf([image for image in second if image not in FIVE], second)
    assert run_days(tmp_path, shelf, account)[1] == 25  # 21 full pages, the empty one, page 1 twice more, page 21
    assert ids_by_day(tmp_path)[1] == set(second)


def test_shared_images_take_no_more_calls(tmp_path, account):
    shelf = Shelf(OLD, OLD)
    for images in shelf.days:
        for image in images[::7]:
            image["ImageOwnerAlias"] = "others"

    assert run_days(tmp_path, shelf, account) == [43, 22]


def test_a_proof_is_computed_again_as_long_as_the_run_it_rests_on_is_there(tmp_path, account):
    run_days(tmp_path, Shelf(OLD[:120], OLD[:130], OLD[:130]), account)
    runs = [run_id for (run_id,) in observed(tmp_path, "run_id")]
    assert observed(tmp_path, "rests_on_run_id") == [(None,), (runs[0],), (runs[1],)]
    assert check(tmp_path).not_proven_again_count == 0

    withdraw(tmp_path, f"{runs[1]}/default")
    result = check(tmp_path)

    assert result.findings == []
    assert result.not_proven_again_count == 1
    assert "1 proof not computed again: the run that each rests on is gone, or withdrawn" in str(result)


def test_a_rebuild_gives_the_same_rows_and_evidence(tmp_path, account):
    run_days(tmp_path, Shelf(OLD[:120], [*FIVE, *OLD[:120]]), account)
    before = observed(tmp_path, "* exclude (committed_files)"), ids_by_day(tmp_path)
    rebuild(tmp_path, into=tmp_path / "again")

    assert (observed(tmp_path / "again", "* exclude (committed_files)"), ids_by_day(tmp_path / "again")) == before


@pytest.mark.parametrize(("count", "calls"), [(0, 2), (9, 2), (51, 5)])
def test_strict_asks_twice_for_an_account_of_one_page(tmp_path, account, count, calls):
    assert run_days(tmp_path, Shelf(OLD[:count]), account, strict=True) == [calls]
    assert observed(tmp_path, "certificate, item_count") == [("verified", count)]


def test_an_account_whose_images_come_back_is_proven_by_two_quiet_passes_until_its_settle_time_is_set(tmp_path):
    shelf = Shelf(OLD[:120], OLD[1:120], OLD[:120], OLD[:120], OLD[:120])
    account = key_account("default", "emulator", "emulator")
    calls = run_days(tmp_path, shelf, account)

    assert calls == [7, 4, 9, 7, 7]  # on the third day it shows in the first pass
    assert observed(tmp_path, "returned_count, rests_on_run_id is null") == [
        (0, True), (0, False), (1, True), (0, True), (0, True)
    ]  # fmt: skip
    rows, _ = status(tmp_path)
    assert dict(zip(rows.columns, rows.rows[0], strict=True))["proof"] == "quiet"

    account.settle_seconds = 2.0
    shelf.days = shelf.days[-1:]
    with Endpoint({"emulator": Key("emulator", shelf)}) as endpoint:
        run(tmp_path, accounts=[account], endpoint=endpoint.url, rate=None, observed_at=DAY + dt.timedelta(days=9))
        assert endpoint.calls == 4


def listed(endpoint: Endpoint, data: Path, account: Account, day: int, **options: Any) -> int:
    before = endpoint.calls
    run(data, accounts=[account], endpoint=endpoint.url, rate=None, observed_at=DAY + dt.timedelta(days=day), **options)
    return endpoint.calls - before


def test_an_answer_of_an_older_state_is_no_proof_where_a_settle_time_is_set(tmp_path, account):
    """One image goes and another comes before page 1; page 3 is answered once from before: TotalCount stays."""
    account.settle_seconds = 2.0
    shelf = Shelf(OLD[:120])
    with Endpoint({"emulator": Key("emulator", shelf)}) as endpoint:
        listed(endpoint, tmp_path, account, 0)
    shelf.days = [[*shelf.days[0][:119], *Shelf(FIVE[:1]).days[0]]]
    faults = ["churn:page=1,times=1,place=end", "replica:page=3,times=1,ms=0,count=2"]
    with Endpoint({"emulator": Key("emulator", shelf)}, faults=faults) as endpoint:
        listed(endpoint, tmp_path, account, 1)
        truth = next(a for a in endpoint.answers if a.request_id == observed(tmp_path, "first_request_id")[1][0]).ids()

    assert ids_by_day(tmp_path)[1] == truth
    assert observed(tmp_path, "settle_seconds") == [(2.0,), (2.0,)]


@pytest.mark.parametrize(
    "fault", ["wrong-total:count=-3,times=1,page=3", "repeated:page=3,times=1", "other-page:times=1,page=2,count=-1"]
)
def test_an_answer_that_was_corrected_when_it_was_asked_for_again_hinders_no_proof(tmp_path, account, fault):
    with Endpoint({"emulator": Key("emulator", Shelf(OLD[:123]))}, faults=[fault]) as endpoint:
        assert listed(endpoint, tmp_path, account, 0) <= 12

    assert observed(tmp_path, "certificate, item_count") == [("verified", 123)]


def test_rows_beyond_their_total_are_told_where_the_last_pass_is_whole(tmp_path, account):
    faults = ["wrong-total:count=-3,times=3,page=3"]
    with (
        Endpoint({"emulator": Key("emulator", Shelf(OLD[:123]))}, faults=faults) as endpoint,
        pytest.raises(IncompleteListing, match=r": 9 rows at positions beyond .*--certificate counted publishes"),
    ):
        listed(endpoint, tmp_path, account, 0)


def test_an_account_whose_answers_went_back_is_proven_by_its_last_two_passes(tmp_path, account):
    shelf = Shelf(OLD[:120], OLD[1:120], OLD[:120])
    run_days(tmp_path, shelf, account)
    shelf.days = [shelf.days[2]]
    with Endpoint({"emulator": Key("emulator", shelf)}, faults=["insertions:page=2,times=1"]) as endpoint:
        assert listed(endpoint, tmp_path, account, 9) <= 12

    assert observed(tmp_path, "certificate, item_count, proof, is_quiet_only")[-1] == ("verified", 121, "quiet", True)
    assert check(tmp_path).findings == []
    rows, _ = status(tmp_path)
    assert "two quiet passes must prove it" in dict(zip(rows.columns, rows.rows[0], strict=True))["watch_note"]


def test_a_clock_that_goes_back_within_a_listing_leaves_two_quiet_passes_to_prove_it(tmp_path, account):
    with Endpoint({"emulator": Key("emulator", Shelf(OLD[:120]))}, faults=["wrong-clock:p=0.5,count=-30"]) as endpoint:
        listed(endpoint, tmp_path, account, 0)
    ((back, is_quiet_only, proof),) = observed(tmp_path, "server_clock_back_count, is_quiet_only, proof")
    assert (back > 0, is_quiet_only, proof) == (True, True, "quiet")
    assert check(tmp_path).findings == []


def test_an_image_that_an_unproven_observation_lacks_was_not_gone(tmp_path, account):
    shelf = Shelf(OLD[:120], OLD[1:120], OLD[:120], OLD[:120])
    with Endpoint({"emulator": Key("emulator", shelf)}) as endpoint:
        for day in range(4):
            endpoint.day = day
            listed(endpoint, tmp_path, account, day, certificate="counted" if day == 1 else "verified")

    assert observed(tmp_path, "returned_count, is_quiet_only") == [(0, False)] * 4


def test_a_listing_that_was_read_twice_rests_on_itself(tmp_path, account):
    new = numbered(0, 141, "new")
    run_days(tmp_path, Shelf(OLD[:120], [*OLD[:60], *new, *OLD[60:120]]), account)

    columns = "proof, rests_on_run_id, witness_here_count, witness_before_count"
    assert observed(tmp_path, columns)[1] == ("quiet", None, 261, 0)


@pytest.mark.parametrize("date", ["Fri, 31 Dec 9999 23:59:59 -2300", "Fri, 31 Dec 9999 23:59:59 GMT", "yesterday"])
def test_a_date_that_no_clock_shows_is_none(date):
    assert _server_time(date) is None


def test_a_date_without_a_zone_is_utc():
    assert _server_time("Sun, 29 Nov 2026 13:00:00 -0000") == dt.datetime(2026, 11, 29, 13)  # noqa: DTZ001
