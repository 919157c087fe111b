"""The days in the folders of the tables: which are there whole, what they take, and those that have expired."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.lake.compaction.manifest import newest_manifest
from pipeline.lake.layout import files
from pipeline.resources.control import OBSERVATIONS
from pipeline.resources.tables import LAKE_TABLES
from pipeline.storage.partitions import STAGING
from pipeline.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pipeline.lake.file_set import FileSet
    from pipeline.lake.tombstones import Tombstones


@dataclass(frozen=True, slots=True)
class FolderDays:
    """From which day on the folders of the tables hold every day."""

    first_day: dt.date | None
    """The first day of the lake; None: no run was committed."""
    complete_from: dt.date | None
    """From this day on, the folders hold every day; None: they hold none."""
    is_by_retention: bool
    """Whether the user's retention took the earlier days; otherwise an older version deleted them."""

    @property
    def is_complete(self) -> bool:
        """Whether the folders hold every day of the lake."""
        return self.first_day == self.complete_from

    @classmethod
    def of(cls, file_set: FileSet) -> FolderDays:
        """Find it by the names of the files alone."""
        records = (*file_set.daily[OBSERVATIONS.name], *file_set.retained.get(OBSERVATIONS.name, ()))
        there = {path.stem: dt.date.fromisoformat(path.parent.name.partition("=")[2]) for path in records}
        compacted = file_set.manifest.runs if file_set.manifest else {}
        expired = file_set.tombstones.expired_days
        gone = {day for run_id, day in compacted.items() if run_id not in there} | expired
        days = {*there.values(), *compacted.values()}
        whole = {day for day in days if not gone or day > max(gone)}
        by_retention = bool(gone) and max(gone) in expired
        return cls(min(days, default=None), min(whole, default=None), by_retention)


def folder_bytes(data: Path) -> int:
    """Return how many bytes the daily files of all tables take."""
    store = store_of(data)
    return sum(store.size(path) for table in LAKE_TABLES for path in store.list_partitions(data / "lake" / table.name))


def expired_day_folders(data: Path, tombstones: Tombstones, now: dt.datetime) -> dict[Path, list[Path]]:
    """List the folders of the days whose grace period is over, the oldest day first, with their files.

    A day in which a run was committed since, which is not compacted yet, is none of them.
    """
    days = {f"observed_on={day.observed_on}" for day in tombstones.days if day.until_utc <= now}
    if not days:
        return {}
    manifest = newest_manifest(data)
    compacted = manifest.runs if manifest else {}
    records = [path for path in files(data, OBSERVATIONS) if path.parent.name in days]
    days -= {path.parent.name for path in records if path.stem not in compacted}
    found: dict[Path, list[Path]] = {}
    for path in (path for table in LAKE_TABLES for path in files(data, table) if path.parent.name in days):
        found.setdefault(path.parent, []).append(path)
    return dict(sorted(found.items(), key=lambda folder: (folder[0].name, folder[0].parent.name)))


def delete_days(data: Path, folders: Mapping[Path, Sequence[Path]]) -> None:
    """Delete the folders of days."""
    if folders:
        store_of(data).delete_folders(folders, data / "lake" / STAGING)
