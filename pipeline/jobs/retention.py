"""Retention: raw pages and the daily files of the Parquet folders expire by age.

Never by age: the pages of an account's latest observation, and pages of a run that the lake lacks. Daily files expire
by whole days, the oldest first, for all accounts, and only where the versions give exactly their rows: so the folders
hold every day from some day on, and the views hold all.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from pipeline.extract.raw_pages import raw_paths
from pipeline.jobs.daily_retention import expire_days
from pipeline.jobs.maintenance import GRACE, Edit, Maintained, maintain, runs_needed
from pipeline.lake.survey import complete_runs
from pipeline.settings import span
from pipeline.storage.partitions import day_of_run

if TYPE_CHECKING:
    from pathlib import Path


def prune(
    data: str | Path = "data",
    *,
    raw_older_than: str | dt.timedelta | None = None,
    daily_older_than: str | dt.timedelta | None = None,
    grace: str | dt.timedelta = GRACE,
    dry_run: bool = False,
    at: dt.datetime | None = None,
) -> Maintained:
    """Expire raw pages and daily files by age, and delete every file past its grace period.

    A span is a number and a letter: `90d`, `12h`. `at` (UTC) stands for now, for those who live through days that
    are not today.

    Raises:
        BadSetting: a span makes no sense.
        LakeMissing: there is no lake in `data`.
        LakeLocked: another process holds it.
        LakeDamaged: the versions give other rows than daily files that would expire.
    """
    age = None if raw_older_than is None else span(raw_older_than)
    daily_age = None if daily_older_than is None else span(daily_older_than)

    def expire(edit: Edit) -> list[Path]:
        if daily_age is not None:
            expire_days(edit, _first_kept_day(edit.now, daily_age))
        return [] if age is None else _older_than(edit, _first_kept_day(edit.now, age))

    return maintain(data, expire, grace=grace, dry_run=dry_run, at=at)


def _first_kept_day(now: dt.datetime, age: dt.timedelta) -> dt.date:
    """The first day that is not older than `age`: the first of all for an age longer than the calendar."""
    try:
        return (now - age).date()
    except OverflowError:
        return dt.date.min


def _older_than(edit: Edit, day: dt.date) -> list[Path]:
    """The raw files of days before `day` that may expire."""
    may_expire = complete_runs(edit.data) - runs_needed(edit) - edit.tombstones.raw_runs
    return [path for path in raw_paths(edit.data) if day_of_run(path.stem) < day and path.stem in may_expire]
