"""The days in the folders of the tables: which are there whole, what they take, and those that have expired."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.lake.committed_digests import COMMITTED_FILES
from pipeline.lake.compaction.manifest import newest_manifest
from pipeline.lake.layout import files
from pipeline.lake.scan import observations
from pipeline.resources.control import OBSERVATIONS
from pipeline.resources.tables import LAKE_TABLES, ROW_TABLES
from pipeline.storage.partitions import STAGING, day_of_run
from pipeline.storage.store import store_of
from pipeline.text import sql_literal

if TYPE_CHECKING:
    import datetime as dt
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
        compacted = file_set.manifest.runs if file_set.manifest else {}
        expired = file_set.tombstones.expired_days
        gone = {compacted[run_id] for run_id in file_set.without_daily} | expired
        days = {day_of_run(path.stem) for path in file_set.daily[OBSERVATIONS.name]} | set(compacted.values())
        whole = {day for day in days if not gone or day > max(gone)}
        by_retention = bool(gone) and max(gone) in expired
        return cls(min(days, default=None), min(whole, default=None), by_retention)

    @property
    def missing_because(self) -> str | None:
        """Who deleted the earlier days; None: none is missing."""
        return None if self.is_complete else "retention" if self.is_by_retention else "an older version"


def partitions(files: FileSet) -> str:
    """Write the query of the table `partitions`: the days in the folders, and what the commit records say of the files.

    The commit records themselves have no size of their own.
    """
    days = FolderDays.of(files)
    first, complete, because = (
        "null" if fact is None else sql_literal(str(fact))
        for fact in (days.first_day, days.complete_from, days.missing_because)
    )
    records = observations(files, None, ("run_id", "observed_on", COMMITTED_FILES))
    tables = "\nunion all\n".join(
        f"select {sql_literal(table.name)} as table_name, committed is null as is_unknown, "  # noqa: S608
        f"cast(json_extract(committed, '$.{table.name}.bytes') as bigint) as bytes from run"
        for table in ROW_TABLES
    )
    return f"""
with run as (
    select run_id, any_value({COMMITTED_FILES}) as committed
    from (
{records}
    ) as record
    where observed_on >= cast({complete} as date)
    group by run_id
),

file as (
{tables}
)

select
    of.table_name,
    cast({first} as date) as first_day_utc,
    cast({complete} as date) as complete_from_utc,
    cast({because} as varchar) as missing_because,
    count(file.bytes) as file_count,
    case when not coalesce(bool_or(file.is_unknown), false) then cast(coalesce(sum(file.bytes), 0) as bigint) end
        as size_bytes
from (values {", ".join(f"({sql_literal(table.name)})" for table in ROW_TABLES)}) as of(table_name)
left join file using (table_name)
group by of.table_name
order by of.table_name"""  # noqa: S608  (SQL of this package)


def expired_day_folders(data: Path, tombstones: Tombstones, now: dt.datetime) -> dict[Path, list[Path]]:
    """List the folders of the days whose grace period is over, the oldest day first, with their files.

    Of a day, `images` is the first: no reader of the folders finds an image without its disks.

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
    return dict(sorted(found.items(), key=lambda folder: folder[0].name))


def delete_days(data: Path, folders: Mapping[Path, Sequence[Path]]) -> None:
    """Delete the folders of days."""
    if folders:
        store_of(data).delete_folders(folders, data / "lake" / STAGING)
