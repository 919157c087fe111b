"""How fresh each account is, and the exit code for a monitor."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from lake_builder import Seen, image, utc, write_run

from pipeline.errors import BadSetting, LakeMissing
from pipeline.jobs import status as module
from pipeline.jobs.status import runs_ahead, status
from pipeline.jobs.withdrawal import restore, withdraw
from pipeline.resources.tables import RESOURCES

NOW = utc("2026-10-31 02:00")


@pytest.fixture
def lake(tmp_path):
    """`fine` was seen an hour ago, `late` thirty hours ago, `refused` has failed since, `new` was never published."""
    write_run(tmp_path, Seen("late", "2026-10-29 20:00", [image("a")]))
    write_run(tmp_path, Seen("refused", "2026-10-31 00:00", [image("a")]))
    why = "Refused: NoPermission"
    write_run(tmp_path, Seen("new", error=why), Seen("refused", error=why), began="2026-10-31 00:30")
    write_run(tmp_path, Seen("fine", "2026-10-31 01:00", [image("a"), image("b")]))
    return tmp_path


def states(lake, **options):
    rows, error = status(lake, now=NOW, **options)
    return {row[0]: (row[1], row[3]) for row in rows.rows}, error


def test_each_account_is_listed_with_its_age_certificate_and_failures(lake):
    rows, error = status(lake, now=NOW)
    accounts = {row[0]: dict(zip(rows.columns, row, strict=True)) for row in rows.rows}

    assert accounts["fine"] == {
        "account": "fine",
        "state": "ok",
        "observed_at_utc": utc("2026-10-31 01:00"),
        "age_hours": 1.0,
        "certificate": "verified",
        "proof": None,
        "image_count": 2,
        "failed_try_count": 0,
        **{f"{resource.name}_state": "not listed" for resource in RESOURCES[1:]},
        "watch_note": None,
        "last_error": None,
    }
    assert (accounts["refused"]["state"], accounts["refused"]["failed_try_count"]) == ("failed since", 1)
    assert (accounts["new"]["state"], accounts["new"]["age_hours"]) == ("never published", None)
    assert (accounts["late"]["state"], accounts["late"]["age_hours"]) == ("ok", 30.0)
    assert error is None


def test_an_account_that_is_too_old_or_failed_since_is_not_fresh(lake):
    accounts, error = states(lake, max_age="26h")

    assert (accounts["late"][0], accounts["fine"][0]) == ("too old", "ok")
    assert error.exit_code == 8
    said = "3 of 4 accounts: late too old, 30.0 hours old; new never published (Refused: NoPermission); refused failed"
    assert str(error).startswith(said)


def test_an_expected_account_is_missed_and_another_is_not(lake):
    accounts, error = states(lake, max_age="26h", labels=["fine", "planned"])

    assert {name: state for name, (state, _) in accounts.items()} == {
        "fine": "ok",
        "planned": "never published",
        **dict.fromkeys(("late", "new", "refused"), "not listed now"),
    }
    assert str(error) == "1 of 5 accounts: planned never published"
    assert states(lake, max_age="26h", labels=["fine"])[1] is None


def test_an_observation_from_the_future_means_a_wrong_clock(lake):
    rows, error = status(lake, max_age="26h", labels=["fine"], now=utc("2026-10-31 00:30"))

    assert next(row[1] for row in rows.rows if row[0] == "fine") == "in the future"
    assert error is not None


def test_a_wrong_time_span_and_a_missing_lake_are_refused(lake, tmp_path):
    with pytest.raises(BadSetting, match="'26' is not a time span"):
        status(lake, max_age="26")
    with pytest.raises(LakeMissing):
        status(tmp_path / "none")


def test_the_exit_code_is_8_if_an_account_is_not_fresh(lake, typed, monkeypatch):
    class Clock(dt.datetime):
        @classmethod
        def now(cls, tz=None):
            return NOW.replace(tzinfo=tz)

    monkeypatch.setattr(module.dt, "datetime", Clock)
    options = ("status", "--data", str(lake))

    assert typed(*options)[0] == 0
    code, out, err = typed(*options, "--max-age", "26h", "--format", "json")
    assert (code, err.startswith("error: NotFresh: 3 of 4 accounts")) == (8, True)
    assert len(json.loads(out)) == 4
    assert typed(*options, "--max-age", "26h", "--profile", "fine")[0] == 0
    assert typed(*options, "--format", "csv")[1].startswith("account,state,observed_at_utc,age_hours")
    assert typed(*options, "--format", "markdown")[1].startswith("| account |")


def test_a_withdrawn_observation_is_no_alarm(lake):
    write_run(lake, Seen("fine", "2026-10-31 01:30", [image("a")]))
    withdraw(lake, "20261031T013000Z/fine", at=NOW)

    accounts, error = states(lake, max_age="26h", labels=["fine"])
    assert accounts["fine"] == ("ok", 1.0)
    assert error is None


def test_a_failed_run_under_a_clock_that_is_years_ahead_is_told_and_can_be_withdrawn(lake):
    write_run(lake, Seen("fine", error="Refused: no"), began="2036-10-31 00:00")

    accounts, error = states(lake, max_age="26h", labels=["fine"])
    assert (accounts["fine"], error) == (("ok", 1.0), None)
    (line,) = runs_ahead(lake, now=NOW)
    assert "'fine': run 20361031T000000Z began in the future" in line
    withdraw(lake, "20361031T000000Z/fine", at=NOW)
    assert runs_ahead(lake, now=NOW) == []
    restore(lake, "20361031T000000Z/fine", at=NOW)
    assert len(runs_ahead(lake, now=NOW)) == 1
