"""Files that no commit names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.lake.compaction.manifest import COMPACTED, compacted_path, manifest_path, manifest_paths
from pipeline.lake.format import FORMAT_FILE
from pipeline.lake.layout import CATALOG, VERIFIED_FILE, files
from pipeline.resources.control import OBSERVATIONS
from pipeline.resources.tables import LAKE_TABLES
from pipeline.storage.partitions import OLDER_STAGING, STAGING
from pipeline.storage.store import store_of

if TYPE_CHECKING:
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


def orphans(data: Path) -> list[Path]:
    """List what a killed writer left: files of runs without a commit record first, then staging folders."""
    if not store_of(data).has_lock:  # another machine may be writing what has no commit record yet
        return []
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


def delete_orphans(data: Path) -> list[Path]:
    """Delete what a killed writer left. Returns: the deleted paths."""
    found = orphans(data)
    for path in found:
        delete(path)
    return found


def delete(path: Path) -> None:
    """Delete a file, or a folder with its content; an empty folder of a day is deleted with its last file."""
    store_of(path).delete(path)
