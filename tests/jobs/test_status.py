"""How fresh each account is, and what a monitor is told."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from lake_builder import Seen, image, utc, write_run

from pipeline.errors import BadSetting, LakeMissing
from pipeline.jobs import status as module
from pipeline.jobs.status import status

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


def states(lake, **asked):
    rows, error = status(lake, now=NOW, **asked)
    return {row[0]: (row[1], row[3]) for row in rows.rows}, error


def test_each_account_is_told_with_its_age_its_certificate_and_its_failures(lake):
    rows, error = status(lake, now=NOW)
    told = {row[0]: dict(zip(rows.columns, row, strict=True)) for row in rows.rows}

    assert told["fine"] == {
        "account": "fine",
        "state": "ok",
        "observed_at_utc": utc("2026-10-31 01:00"),
        "age_hours": 1.0,
        "certificate": "verified",
        "image_count": 2,
        "failed_try_count": 0,
        "last_error": None,
    }
    assert (told["refused"]["state"], told["refused"]["failed_try_count"]) == ("failed since", 1)
    assert (told["new"]["state"], told["new"]["age_hours"]) == ("never published", None)
    assert (told["late"]["state"], told["late"]["age_hours"]) == ("ok", 30.0)
    assert error is None


def test_what_is_older_than_was_asked_or_failed_since_is_not_fresh(lake):
    told, error = states(lake, max_age="26h")

    assert (told["late"][0], told["fine"][0]) == ("too old", "ok")
    assert error.exit_code == 8
    said = "3 of 4 accounts: late too old, 30.0 hours old; new never published (Refused: NoPermission); refused failed"
    assert str(error).startswith(said)


def test_accounts_that_are_asked_for_are_missed_and_others_are_not(lake):
    told, error = states(lake, max_age="26h", labels=["fine", "planned"])

    assert {name: state for name, (state, _) in told.items()} == {
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


def test_nonsense_is_refused(lake, tmp_path):
    with pytest.raises(BadSetting, match="'26' is no time span"):
        status(lake, max_age="26")
    with pytest.raises(LakeMissing):
        status(tmp_path / "none")


def test_a_monitor_is_told_by_the_exit_code(lake, typed, monkeypatch):
    class Clock(dt.datetime):
        @classmethod
        def now(cls, tz=None):
            return NOW.replace(tzinfo=tz)

    monkeypatch.setattr(module.dt, "datetime", Clock)
    asked = ("status", "--data", str(lake))

    assert typed(*asked)[0] == 0
    code, out, err = typed(*asked, "--max-age", "26h", "--format", "json")
    assert (code, err.startswith("error: NotFresh: 3 of 4 accounts")) == (8, True)
    assert len(json.loads(out)) == 4
    assert typed(*asked, "--max-age", "26h", "--profile", "fine")[0] == 0
    assert typed(*asked, "--format", "csv")[1].startswith("account,state,observed_at_utc,age_hours")
    assert typed(*asked, "--format", "markdown")[1].startswith("| account |")
