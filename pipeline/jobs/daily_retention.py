"""Retention of daily files: whole days leave the Parquet folders, the oldest first; the versions hold their rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pipeline.errors import LakeDamaged
from pipeline.lake.compaction.differences import differing_runs
from pipeline.lake.compaction.manifest import newest_manifest
from pipeline.lake.file_set import FileSet
from pipeline.lake.layout import command, files
from pipeline.lake.tombstones import ExpiredDay
from pipeline.lake.verification import ALL_BUT_PAGES, Verification
from pipeline.reports.query import duckdb_message
from pipeline.resources.control import OBSERVATIONS
from pipeline.storage.partitions import day_of_run
from pipeline.storage.store import store_of
from pipeline.text import pluralize

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Collection

    from pipeline.jobs.maintenance import Edit


def expire_days(edit: Edit, before: dt.date) -> None:
    """Expire the days before `before` that may, and say in `edit.lines` which do, and which do not yet.

    Raises:
        LakeDamaged: the versions give other rows than the daily files: these are needed to mend them.
    """
    manifest = newest_manifest(edit.data)
    compacted = manifest.runs.keys() if manifest else set[str]()
    runs: dict[dt.date, list[str]] = {}
    for path in files(edit.data, OBSERVATIONS):
        if day_of_run(path.stem) < before:
            runs.setdefault(day_of_run(path.stem), []).append(path.stem)
    days = []
    for day in sorted(runs.keys() - edit.tombstones.expired_days):
        if any(run_id not in compacted for run_id in runs[day]):  # and no later day: the folders have no gap
            edit.lines.append(
                f"the days from {day} on stay in the folders: a run is not compacted whole: "
                f"{command(edit.data, 'compact')} does it, unless a withdrawal is in its grace period"
            )
            break
        days.append(day)
    if not days:
        return
    _refuse_differences(edit, {run_id for day in days for run_id in runs[day]})
    would_be = "would be " if edit.is_dry else ""
    edit.lines.append(
        f"{pluralize(len(days), 'day')} {would_be}expired in the folders, {days[0]} to {days[-1]}: "
        "the views go on to show them"
    )
    expired = (*edit.tombstones.days, *(ExpiredDay(day, edit.now, edit.until) for day in days))
    edit.tombstones = msgspec.structs.replace(edit.tombstones, days=expired)


def _refuse_differences(edit: Edit, runs: Collection[str]) -> None:
    """Refuse to expire what the versions, read anew, do not give back row by row."""
    import duckdb

    everything = FileSet.read(edit.data, edit.tombstones, everything=True)
    Verification(everything, anew=ALL_BUT_PAGES).verify_compacted()
    with duckdb.connect() as con, duckdb_message():
        store_of(edit.data).register_filesystem(con)
        found = differing_runs(con, everything, runs)
    for run_id, tables in found.items():
        raise LakeDamaged(
            f"no day is expired, because the versions give other {', '.join(tables)} of run {run_id} than its daily "
            f"files: {command(edit.data, 'check')} lists all damage"
        )
