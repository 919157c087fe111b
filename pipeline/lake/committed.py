"""The files of committed runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.errors import LakeDamaged, LakeMissing
from pipeline.extract.raw_pages import raw_paths
from pipeline.lake.compaction.manifest import COMPACTED, Manifest, first_missing, newest_manifest
from pipeline.lake.format import format_of
from pipeline.lake.layout import command, files, shown, table_path
from pipeline.lake.settled import SettledMonths, new_records
from pipeline.lake.tombstone_files import read_tombstones
from pipeline.lake.withdrawn_files import files_of_run, row_files
from pipeline.resources.control import OBSERVATIONS
from pipeline.resources.tables import LAKE_TABLES, ROW_TABLES
from pipeline.storage.folder import FolderStore
from pipeline.storage.partitions import OLDER_STAGING, STAGING, day_of_run, run_of
from pipeline.storage.store import store_of

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.lake.tombstones import Tombstones


@dataclass(frozen=True, slots=True)
class CommittedFiles:
    """The files of committed runs, and the newest manifest."""

    daily: dict[str, tuple[Path, ...]]
    """For each table, the daily files of runs that are not compacted, oldest run first."""
    manifest: Manifest | None
    retained: dict[str, tuple[Path, ...]]
    """For each table, the daily files of compacted runs."""
    without_record: tuple[Path, ...] = ()
    """Files of runs whose commit record is missing, though no writer is at work on them."""
    settled: SettledMonths | None = None
    """The months whose files were not listed; None: all were."""
    without_daily: frozenset[str] = frozenset()
    """Compacted runs of which the daily commit record is gone, as are their other files; none that is withdrawn."""


def committed_files(
    data: Path,
    tombstones: Tombstones | None = None,
    *,
    everything: bool = False,
    ignore_format: bool = False,
    ignore_compaction: bool = False,
    only_new: bool = False,
) -> CommittedFiles:
    """List the files of every committed run under `data` that was not withdrawn; no table is opened.

    Of a run whose published accounts were all withdrawn, only the commit record is listed. `tombstones` replaces those
    on disk, for a caller that has read them or is about to write them. `everything` lists what is withdrawn too, as
    long as it is there. `ignore_format` does not look at the format file, and `ignore_compaction` lists every run by
    its daily files, for a caller that knows them as damaged. `only_new` lists no file of
    a compacted run: see `settled`.

    Raises:
        LakeMissing: no run was ever committed there.
        LakeTooNew: a newer version has written there.
        LakeDamaged: the tombstones or the manifest cannot be read, or a file that the manifest names is missing.
    """
    store_of(data).look_again()
    if not ignore_format:
        format_of(data)
    tombstones = read_tombstones(data) if tombstones is None else tombstones
    withdrawn = frozenset[str]() if everything else tombstones.whole_runs
    # The records first, as they are written last: a run that is committed from here on is not in `records`, and left
    # out. The manifest may be read before: a compaction deletes no daily file.
    manifest = None if ignore_compaction else newest_manifest(data)
    compacted = manifest.runs if manifest else {}
    is_brief = only_new and manifest is not None
    if is_brief:
        records, without_daily = new_records(data / "lake" / OBSERVATIONS.name, compacted.keys())
    else:
        records = files(data, OBSERVATIONS)
        without_daily = frozenset(compacted.keys() - {path.stem for path in records})
    without_daily -= tombstones.whole_runs  # of these, no table has a file, whether their record is lost or not
    without_daily -= _with_other_files(data, without_daily, tombstones)
    months = SettledMonths(data, manifest, {path.stem for path in records}) if is_brief else None
    if not records and manifest is None:
        made_by = command(data, "rebuild" if raw_paths(data) else "run")
        raise LakeMissing(f"no lake in {shown(data)!r}: {made_by} makes one")
    if manifest is None and not ignore_compaction and (store_of(data).has_lock or tombstones.expired_days):
        _refuse_lost_manifest(data)
    missing = first_missing(path for paths in manifest.files(data).values() for path in paths) if manifest else None
    if missing is not None:
        store_of(data).look_again()
        newest = newest_manifest(data)
        if newest is not None and manifest is not None and newest.name != manifest.name:  # it was replaced meanwhile
            return committed_files(
                data,
                tombstones,
                everything=everything,
                ignore_format=ignore_format,
                ignore_compaction=ignore_compaction,
                only_new=only_new,
            )
        raise LakeDamaged(
            f"the compacted file {missing.relative_to(data)} is missing: {command(data, 'check')} lists all damage, "
            f"{command(data, 'rebuild')} writes it again"
        )
    read = {
        (path.parent.name, path.stem) for path in records if path.stem not in withdrawn and path.stem not in compacted
    }
    daily, retained = {}, {}
    without_record: list[Path] = []
    known = {path.stem for path in records} | compacted.keys()
    for table in LAKE_TABLES:
        is_record = table is OBSERVATIONS
        listed = months.files(data / "lake" / table.name)[0] if months and not is_record else None
        paths = tuple(
            records if is_record else row_files(data, table, tombstones, everything=everything, listed=listed)
        )
        retained[table.name] = () if months else tuple(path for path in paths if run_of(path) in compacted)
        if is_record:
            daily[table.name] = tuple(path for path in paths if path.stem not in compacted)
        else:
            daily[table.name] = tuple(path for path in paths if (path.parent.name, run_of(path)) in read)
            without_record += [path for path in paths if run_of(path) not in known]
    return CommittedFiles(daily, manifest, retained, tuple(_lost(data, without_record)), months, without_daily)


def _with_other_files(data: Path, runs: frozenset[str], tombstones: Tombstones) -> set[str]:
    """Select the runs without a record of which a table has a file: that record is lost, and not its day deleted."""
    left = [run_id for run_id in runs if day_of_run(run_id) not in tombstones.expired_days]
    if not left or not store_of(data).has_lock:
        return set()
    days = {table: {day.name for day in FolderStore.days(data / "lake" / table.name)} for table in ROW_TABLES}
    return {
        run_id
        for run_id in left
        for table, names in days.items()
        if f"observed_on={day_of_run(run_id)}" in names and files_of_run(data, table, run_id)
    }


def _refuse_lost_manifest(data: Path) -> None:
    """Refuse compacted files without a manifest, unless the first compaction is at work: runs may be in them alone."""
    for place in COMPACTED:
        for path in (data / "lake" / place).glob("*.parquet"):
            if not _is_being_written(data, path.stem) and newest_manifest(data) is None:
                raise LakeDamaged(
                    f"{shown(path)!r} belongs to a compaction, and no manifest is there: "
                    f"{command(data, 'check')} lists all damage, {command(data, 'rebuild')} compacts again"
                )


def _is_being_written(data: Path, name: str) -> bool:
    """Return whether the mark of a writer is there, at work on the run or compaction of this name, or killed."""
    return any((data / "lake" / staging / name).exists() for staging in (STAGING, OLDER_STAGING))


def _lost(data: Path, files_without_record: list[Path]) -> list[Path]:
    """Select the files whose run is neither being written nor committed since; in a bucket nothing tells."""
    if not store_of(data).has_lock:
        return []
    return [  # in this order: a writer deletes its mark once the record is there
        path
        for path in files_without_record
        if not _is_being_written(data, run_of(path))
        and not table_path(data, OBSERVATIONS, run_of(path), day_of_run(run_of(path))).is_file()
        and path.exists()
    ]


def unpublished_runs(data: Path, tombstones: Tombstones) -> list[Path]:
    """List the raw files of runs that no commit names, and no writer is at work on; in a bucket nothing tells."""
    if not store_of(data).has_lock:
        return []
    raw = raw_paths(data)  # before the commits: a run that is committed from here on is in both
    manifest = newest_manifest(data)
    committed = {*tombstones.raw_runs, *(manifest.runs if manifest else ())}
    committed |= {path.stem for path in files(data, OBSERVATIONS)}
    return [path for path in raw if path.stem not in committed and not _is_being_written(data, path.stem)]


def taken_run_ids(data: Path) -> set[str]:
    """Return the run ids that are in use, landed or published: a new run takes another."""
    tables = {run_of(path) for table in LAKE_TABLES for path in files(data, table)}
    manifest = newest_manifest(data)
    return tables | {path.stem for path in raw_paths(data)} | set(manifest.runs if manifest else ())
