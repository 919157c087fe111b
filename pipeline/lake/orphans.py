"""Files that no commit names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.lake.aged_orphans import ORPHAN_AGE, aged_orphans
from pipeline.lake.compaction.manifest import COMPACTED, compacted_path, manifest_path, manifest_paths
from pipeline.lake.format import FORMAT_FILE
from pipeline.lake.layout import CATALOG, VERIFIED_FILE, files, table_path
from pipeline.resources.control import OBSERVATIONS
from pipeline.resources.tables import LAKE_TABLES
from pipeline.storage.partitions import OLDER_STAGING, STAGING, day_of_run, is_run_file, run_of
from pipeline.storage.store import store_of

if TYPE_CHECKING:
    import datetime as dt
    from pathlib import Path


def compaction_orphans(data: Path) -> list[Path]:
    """List the files of a compaction that was not committed, and its staging folder."""
    folders = [path for path in _staged(data / "lake") if path.name.isdigit()]
    names = [path.name for path in folders if not manifest_path(data, path.name).exists()]
    return [
        *(path for name in names for place in COMPACTED if (path := compacted_path(data, place, name)).exists()),
        *folders,
    ]


def _staged(folder: Path) -> list[Path]:
    return [path for name in (STAGING, OLDER_STAGING) for path in (folder / name).glob("*")]


def orphans(data: Path, older_than: dt.timedelta = ORPHAN_AGE) -> list[Path]:
    """List what a killed writer left: files of runs without a commit record first, then staging folders.

    Without a lock: what is so old that no writer is at work on it (`older_than`).
    """
    if not store_of(data).has_lock:
        return aged_orphans(data, older_than)
    staged = _staged(data / "lake")
    folders = [path for path in staged if path.is_dir()]
    records = files(data, OBSERVATIONS)
    uncommitted = {path.name for path in folders} - {path.stem for path in records}
    incomplete = [path for table in LAKE_TABLES for path in files(data, table) if path.stem in uncommitted]
    incomplete += [path for path in compaction_orphans(data) if path not in folders]
    format_files = [] if records or manifest_paths(data) else (data / "lake").glob(FORMAT_FILE)
    staged_files = [path for path in staged if path not in folders]
    temporary = [
        *_staged(data / "raw"),
        *staged_files,
        *data.glob(f".{CATALOG}.*"),
        *data.glob(f"{VERIFIED_FILE}.*"),
        *data.glob(".new"),
    ]
    return [*incomplete, *folders, *format_files, *temporary]


def delete_orphans(data: Path, older_than: dt.timedelta = ORPHAN_AGE) -> list[Path]:
    """Delete what a killed writer left: see `orphans`. Returns: the deleted paths."""
    found = orphans(data, older_than)
    for path in found:
        if store_of(data).has_lock or not _has_record(data, path):  # a rebuild elsewhere may have published its run
            delete(path)
    return found


def _has_record(data: Path, path: Path) -> bool:
    is_of_run = path.parents[2] == data / "lake" and is_run_file(path)
    return is_of_run and table_path(data, OBSERVATIONS, run_of(path), day_of_run(run_of(path))).is_file()


def delete(path: Path) -> None:
    """Delete a file, or a folder with its content; an empty folder of a day is deleted with its last file."""
    store_of(path).delete(path)
