"""The days in the folders of the tables: which are there whole, what they take, and those that have expired."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.lake.orphans import delete
from pipeline.resources.control import OBSERVATIONS
from pipeline.resources.tables import LAKE_TABLES
from pipeline.storage.folder import make_folder, sync_folder
from pipeline.storage.partitions import STAGING

if TYPE_CHECKING:
    from collections.abc import Iterable
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
    def of(cls, files: FileSet) -> FolderDays:
        """Find it by the names of the files alone."""
        records = (*files.daily[OBSERVATIONS.name], *files.retained.get(OBSERVATIONS.name, ()))
        there = {path.stem: dt.date.fromisoformat(path.parent.name.partition("=")[2]) for path in records}
        compacted = files.manifest.runs if files.manifest else {}
        expired = files.tombstones.expired_days
        gone = {day for run_id, day in compacted.items() if run_id not in there} | expired
        days = {*there.values(), *compacted.values()}
        whole = {day for day in days if not gone or day > max(gone)}
        by_retention = bool(gone) and max(gone) in expired
        return cls(min(days, default=None), min(whole, default=None), by_retention)


def folder_bytes(data: Path) -> int:
    """Return how many bytes the daily files of all tables take."""
    return sum(
        path.stat().st_size
        for table in LAKE_TABLES
        for path in (data / "lake" / table.name).glob("observed_on=*/*.parquet")
    )


def expired_day_folders(data: Path, tombstones: Tombstones, now: dt.datetime) -> list[Path]:
    """List the folders of the days whose grace period is over, the oldest day first."""
    days = sorted(day.observed_on for day in tombstones.days if day.until_utc <= now)
    folders = (data / "lake" / table.name / f"observed_on={day}" for day in days for table in LAKE_TABLES)
    return [folder for folder in folders if folder.is_dir()]


def delete_expired_days(data: Path, tombstones: Tombstones, now: dt.datetime) -> None:
    """Delete these folders: each leaves its table by one rename, so that no reader sees a part of a day."""
    folders = expired_day_folders(data, tombstones, now)
    if not folders:
        return
    staging = data / "lake" / STAGING
    make_folder(staging)
    moved = [(folder, staging / f"expired-{folder.parent.name}-{folder.name}") for folder in folders]
    for folder, target in moved:
        folder.rename(target)
    _sync(folder.parent for folder in folders)
    for _, target in moved:
        delete(target)


def _sync(folders: Iterable[Path]) -> None:
    for folder in set(folders):
        sync_folder(folder)
