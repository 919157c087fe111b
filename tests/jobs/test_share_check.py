"""A run that is asked to says with how many accounts each cleanup candidate is shared, and asks for no other image."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Any

import pytest

from pipeline import connect, rebuild
from pipeline.credentials import key_account
from pipeline.emulator import Endpoint, Key, living_account
from pipeline.jobs.compaction import compact
from pipeline.jobs.run import run
from pipeline.jobs.withdrawal import restore, withdraw
from pipeline.lake.check import check
from pipeline.reports.standing import section

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

DAY = dt.datetime(2026, 10, 1, 2)  # noqa: DTZ001  (UTC without a zone, as everywhere)
ACTION = "DescribeImageSharePermission"
COUNTS = (0, 1, 237)
CANDIDATES = "select image_id from cleanup_candidates union select image_id from stale_images"
COUNTED = "select image_id, shared_account_count from image_shares"


class Sharing:
    """An account of images of one name, shared with no account, with one, or with several pages of accounts."""

    def __init__(self, image_count: int = 30) -> None:
        self._account = living_account(image_count, 2)

    def images_on(self, day: int) -> list[dict[str, Any]]:
        return [{**image, "ImageName": "web"} for image in self._account.images_on(day)]

    def new_image(self, serial: int, day: int) -> dict[str, Any]:
        return self._account.new_image(serial, day)

    def count(self, image_id: str) -> int:
        return COUNTS[sum(image_id.encode()) % len(COUNTS)]

    def shared_with(self, image_id: str) -> list[str]:
        return [f"15{image_id.encode().hex()[-8:]}{number:06}" for number in range(self.count(image_id))]


def observe(data: Path, key: Key, *days: int, faults: Sequence[str] = (), **options: Any) -> tuple[Any, list[Any]]:
    """Run on these days. Returns: the last run, and the answers of the endpoint about shares."""
    with Endpoint({"emulator": key}, faults=faults) as endpoint:
        for day in days:
            endpoint.day = day
            result = run(
                data,
                accounts=[key_account("prod", "emulator", key.secret)],
                endpoint=endpoint.url,
                rate=None,
                resources=("images",),
                observed_at=DAY + dt.timedelta(days=day),
                **options,
            )
        return result, [answer for answer in endpoint.answers if answer.action == ACTION]


def rows(data: Path, query: str) -> list[tuple[Any, ...]]:
    with connect(data) as con:
        return con.sql(query).fetchall()


def column(data: Path, query: str) -> set[str]:
    return {value for (value,) in rows(data, query)}


@pytest.fixture(scope="module")
def sharing(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Sharing, set[str], Any, list[Any]]:
    """A lake whose second run checked the shares; the candidates before it, the run, and the answers."""
    data = tmp_path_factory.mktemp("sharing")
    account = Sharing()
    observe(data, Key("s", account), 0)
    before = column(data, CANDIDATES)
    result, answers = observe(data, Key("s", account), 1, share_check=True)
    return data, account, before, result, answers


def test_the_candidates_of_the_lake_and_no_other_image_are_asked_for(sharing):
    data, account, before, result, answers = sharing
    listed = column(data, "select image_id from images_latest")
    asked = before & listed

    counts = {image_id: account.count(image_id) for image_id in asked}
    assert dict(rows(data, COUNTED)) == counts
    of_use = "select image_id, shared_account_count from image_use where shared_account_count is not null"
    assert dict(rows(data, of_use)) == counts
    assert len(answers) == sum(max(1, -(-account.count(image_id) // 100)) for image_id in asked)
    shared = sum(account.count(image_id) > 0 for image_id in asked)
    assert f"prod: {shared} of {len(asked)} cleanup candidates shared with other accounts" in str(result).splitlines()


@pytest.mark.parametrize("view", ["cleanup_candidates", "stale_images"])
def test_a_candidate_that_is_shared_says_so(sharing, view):
    data, account, before, *_ = sharing

    found = rows(data, f"select image_id, shared_account_count, why from {view}")  # noqa: S608  (a known name)

    assert {account.count(image_id) for image_id, *_ in found if image_id in before} & {1, 237}
    words = {0: "", 1: "; shared with 1 account", 237: "; shared with 237 accounts"}
    for image_id, count, why in found:
        assert count == (account.count(image_id) if image_id in before else None)
        assert why.partition("; shared")[1:] == words[count or 0].partition("; shared")[1:]


def test_the_report_names_what_is_shared(sharing):
    data, *_ = sharing
    ((count,),) = rows(data, "select count(*) from cleanup_candidates where shared_account_count > 0")

    with connect(data) as con:
        shown = section(con, "cleanup_candidates")

    assert f"{count} images shared with other accounts: ask there first." in shown.notes
    assert "not known, shared with 237 accounts" in str(shown.table.rows)


def test_no_number_of_an_account_leaves_the_raw_pages(sharing):
    data, account, before, *_ = sharing
    uids = {uid for image_id in before for uid in account.shared_with(image_id)}
    records = rows(data, "from observations")

    assert uids
    assert not any(uid in str(records) for uid in uids)
    assert rows(data, "select count(distinct pass_number) from raw_pages where resource = 'image_shares'") == [
        (len(before & column(data, "select image_id from images_latest")),)
    ]


def test_check_rebuild_compaction_and_withdraw_hold(sharing, tmp_path):
    data, _, _, result, _ = sharing
    counts = sorted(rows(data, COUNTED))

    rebuild(data, into=tmp_path)
    assert sorted(rows(tmp_path, COUNTED)) == counts
    compact(tmp_path)
    assert sorted(rows(tmp_path, COUNTED)) == counts

    for lake in (data, tmp_path):
        assert check(lake, deep=True).findings == []
    withdraw(data, f"{result.run_id}/prod")
    assert rows(data, COUNTED) == []
    restore(data, f"{result.run_id}/prod")
    assert sorted(rows(data, COUNTED)) == counts


def test_the_calls_of_a_run_are_counted_once_with_those_about_shares(tmp_path):
    key = Key("s", Sharing())
    observe(tmp_path, key, 0)
    faults = [f"throttling:action={ACTION},times=1,count=3,ms=10"]
    result, answers = observe(tmp_path, key, 1, faults=faults, share_check=True)

    (row,) = result.observations
    calls = "select count(*), count(error_code) from raw_pages where observed_on = date '2026-10-02'"
    assert rows(tmp_path, calls) == [(row["call_count"], 3)]
    assert (row["throttle_count"], row["retry_count"]) == (3, 3)
    assert row["call_count"] > len(answers) > 3
    assert f"({row['call_count']} calls)" in str(result)
    assert check(tmp_path).findings == []


def test_a_run_that_is_not_asked_to_asks_for_nothing(tmp_path):
    result, answers = observe(tmp_path, Key("s", Sharing()), 0, 1)

    assert answers == []
    assert rows(tmp_path, "select count(*) from observations where image_shares is not null") == [(0,)]
    assert rows(tmp_path, "select count(shared_account_count) from cleanup_candidates") == [(0,)]
    assert "shared" not in str(result)


def test_the_thresholds_of_the_user_choose_the_candidates(tmp_path):
    observe(tmp_path, Key("s", Sharing()), 0)
    never = {"cleanup_candidates": {"older_than_days": 100_000}, "stale_images": {"older_than_days": 100_000}}

    _, answers = observe(tmp_path, Key("s", Sharing()), 1, share_check=never)

    assert answers == []
    assert rows(tmp_path, "select image_shares from observations order by run_id") == [(None,), ("[]",)]


@pytest.mark.parametrize(
    ("key", "faults", "reason"),
    [
        (Key("s", Sharing(20), permitted_days={ACTION: range(0)}), (), f"NotPermitted: NoPermission: .*ens:{ACTION}"),
        (Key("s", Sharing(20)), (f"cut:action={ACTION}",), "no usable answer"),
    ],
    ids=["no right", "unreadable answers"],
)
def test_a_failure_is_one_line_and_fails_nothing(tmp_path, key, faults, reason):
    observe(tmp_path, key, 0)

    result, _ = observe(tmp_path, key, 1, faults=faults, share_check=True)

    assert result.exit_code == 0
    (line,) = [line for line in str(result).splitlines() if "shared with other accounts" in line]
    assert re.match(rf"prod: 0 of \d+ cleanup candidates? shared with other accounts, \d+ not known: {reason}", line)
    assert rows(tmp_path, "select image_shares from observations order by run_id") == [(None,), ("[]",)]
    assert check(tmp_path, deep=True).findings == []
