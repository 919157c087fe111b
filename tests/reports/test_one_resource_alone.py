"""An account of which instances alone are listed: every answer is about them, and none says that nothing is known."""

from __future__ import annotations

import datetime as dt
import io
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from lake_builder import Seen, image, instance, write_run

import pipeline.jobs.run as run_job
from pipeline import connect, diff
from pipeline.credentials import key_account
from pipeline.emulator import Endpoint, Key, living_account
from pipeline.jobs.status import status
from pipeline.reports.diff.render import write_diff
from pipeline.reports.export import export_all
from pipeline.reports.provenance import provenance_line
from pipeline.reports.query import as_dicts
from pipeline.reports.standing import build_report
from pipeline.resources.tables import RESOURCES

if TYPE_CHECKING:
    from pathlib import Path

FIRST = dt.datetime(2026, 10, 1, 2)  # noqa: DTZ001  (UTC without a zone, as everywhere)
LAST = FIRST + dt.timedelta(days=1)
KEYS = {"both": Key("s", living_account(12, 1, instances=9)), "alone": Key("s", living_account(12, 2, instances=9))}


def observe(data: Path, at: dt.datetime, label: str, *resources: str) -> None:
    with Endpoint(KEYS) as endpoint, mock.patch.object(run_job, "RESOURCES", RESOURCES):
        endpoint.day = (at - FIRST).days
        account = key_account(label, label, "s")
        run_job.run(data, accounts=[account], endpoint=endpoint.url, rate=None, resources=resources, observed_at=at)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days of an account with both resources, and of one with instances alone."""
    data = tmp_path_factory.mktemp("alone")
    for at in (FIRST, LAST):
        observe(data, at, "both", "images", "instances")
        observe(data, at + dt.timedelta(minutes=1), "alone", "instances")
    return data


@pytest.fixture(scope="module")
def counts(lake: Path) -> dict[tuple[str, int], int]:
    """Account and day → instances."""
    with connect(lake) as con:
        query = (
            "select account, day(observed_on), item_count from observations where resource = 'instances' order by all"
        )
        return {(account, day): count for account, day, count in con.sql(query).fetchall()}


def notes(lake: Path, old: str, *accounts: str) -> list[str]:
    out = io.StringIO()
    with diff(old, data=lake, accounts=accounts) as found:
        write_diff(found, "csv", out, err := io.StringIO())
    return err.getvalue().splitlines()


def test_the_view_of_accounts_has_both_listings_of_each(lake, counts):
    names = "account, observed_at_utc, certificate, instances_observed_at_utc, instances_certificate, instance_count"
    with connect(lake) as con:
        found = con.sql(f"select {names}, is_stale, last_error from accounts").fetchall()  # noqa: S608

    minute = dt.timedelta(minutes=1)
    assert found == [
        ("alone", None, None, LAST + minute, "verified", counts["alone", 2], False, None),
        ("both", LAST, "verified", LAST, "verified", counts["both", 2], False, None),
    ]


def test_the_provenance_is_about_what_is_listed(lake, counts):
    with connect(lake) as con:
        alone = provenance_line(con, {"alone"})
        both = provenance_line(con)

    instances = f"instances verified · {counts['alone', 2]} instances · 0 rejects · 0 unknown fields"
    assert alone == f"1 account (1 without a listing of images: alone) · as of 2026-10-02 02:01 UTC · {instances}"
    assert both.startswith(
        "2 accounts (1 without a listing of images: alone) · as of 2026-10-02 02:00 UTC · verified · "
    )
    total = sum(count for (_, day), count in counts.items() if day == 2)
    assert f" · instances as of 2026-10-02 02:00 to 2026-10-02 02:01 UTC verified · {total} instances · " in both


def test_the_report_shows_the_listing_of_each_account(lake, counts):
    with connect(lake) as con:
        report = build_report(con)

    assert report.accounts.finding == "Every one verified by the last run"
    assert not report.needs_attention
    shown = {row["account"]: row for row in report.accounts.table.rows}
    assert [column.heading for column in report.accounts.table.columns].count("instances") == 1
    alone: dict[str, Any] = shown["alone"]
    assert (alone["certificate"], alone["image_count"], alone["instance_count"], alone["last_error"]) == (
        ("verified", None, counts["alone", 2], "")
    )
    assert alone["observed_at_utc"] == LAST + dt.timedelta(minutes=1)


def test_a_diff_compares_instances_where_there_is_nothing_else(lake, counts):
    provenance, compared = notes(lake, "2026-10-01", "alone")[:2]
    assert provenance.startswith(
        "1 account (1 without a listing of images: alone) · as of 2026-10-02 02:01 UTC · instances "
    )
    assert compared == (
        f"compared with 1 account · as of 2026-10-01 02:01 UTC · instances verified · {counts['alone', 1]} instances"
    )
    assert notes(lake, "2026-10-01", "both")[1].endswith(f"· instances verified · {counts['both', 1]} instances")
    assert not any("never observed" in line for line in notes(lake, "2026-10-01"))


def test_a_diff_says_of_which_instances_it_knows_no_earlier_ones(tmp_path):
    observe(tmp_path, FIRST, "both", "images")
    observe(tmp_path, LAST, "both", "instances")

    first = notes(tmp_path, "2026-10-01")

    with connect(tmp_path) as con:
        ((count,),) = con.sql("select instance_count from accounts").fetchall()
    assert "account 'both' was not observed after 2026-10-01 02:00 UTC: nothing is known to differ" in first
    because = f"{count} may be older, and none is said to have appeared"
    assert f"account 'both': its instances were first listed in between: {because}" in first


def test_status_and_manifest_have_the_instant_of_the_instances(lake, tmp_path, counts):
    rows, late = status(lake, max_age="30h", now=LAST + dt.timedelta(hours=3))
    states = {row["account"]: (row["state"], row["instances_state"]) for row in as_dicts(rows)}
    with connect(lake) as con:
        manifest = export_all(con, tmp_path / "out")

    assert states == {"alone": ("not listed", "ok"), "both": ("ok", "ok")}
    assert late is None
    assert manifest["as_of_utc"] == "2026-10-02T02:01:00.000000Z"
    assert [account["instance_count"] for account in manifest["accounts"]] == [counts["alone", 2], counts["both", 2]]


def test_instances_that_a_later_run_did_not_publish_are_told_beside_the_account(tmp_path):
    images, listed = [image("m-1")], [instance("i-1", "m-1")]
    write_run(tmp_path, Seen("a", "2026-10-01 02:00", images, instances=listed), Seen("b", "2026-10-01 02:00", images))
    error = "AccountShrank: no instance any more"
    refused = "NotPermitted: no right"
    write_run(
        tmp_path,
        Seen("a", "2026-10-02 02:00", images, instances_error=error),
        Seen("b", "2026-10-02 02:00", images, instances_error=refused),
    )

    with connect(tmp_path) as con:
        report = build_report(con)
    assert report.accounts.finding == "1 account whose instances the last run did not publish"
    assert report.needs_attention
    assert [row["last_error"] for row in report.accounts.table.rows] == [f"instances: {error}", f"instances: {refused}"]
