"""Files that no commit names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.lake.compaction.manifest import PLACES, compacted_path, manifest_path, manifest_paths
from pipeline.lake.format import FORMAT_FILE
from pipeline.lake.layout import files
from pipeline.resources.control import OBSERVATIONS
from pipeline.resources.tables import LAKE_TABLES
from pipeline.storage.partitions import OLDER_STAGING, STAGING
from pipeline.storage.store import store_of

if TYPE_CHECKING:
    from pathlib import Path


def compaction_orphans(data: Path) -> list[Path]:
    """What a fold left that failed: its files, and what marks them."""
    marks = [path for path in _staged(data / "lake") if path.name.isdigit()]
    names = [path.name for path in marks if not manifest_path(data, path.name).exists()]
    return [
        *(path for name in names for place in PLACES if (path := compacted_path(data, place, name)).exists()),
        *marks,
    ]


def _staged(folder: Path) -> list[Path]:
    return [path for name in (STAGING, OLDER_STAGING) for path in (folder / name).glob("*")]


def orphans(data: Path) -> list[Path]:
    """What a killed writer left: files of runs without a commit record first, then what marks them."""
    if not store_of(data).has_lock:  # what has no record may be another machine's, at work
        return []
    marks = [path for path in _staged(data / "lake") if path.is_dir()]
    records = files(data, OBSERVATIONS)
    begun = {path.name for path in marks} - {path.stem for path in records}
    halves = [path for table in LAKE_TABLES for path in files(data, table) if path.stem in begun]
    halves += [path for path in compaction_orphans(data) if path not in marks]
    of_nothing = [] if records or manifest_paths(data) else (data / "lake").glob(FORMAT_FILE)
    files_of_none = [path for path in _staged(data / "lake") if path not in marks]
    aside = [*_staged(data / "raw"), *files_of_none, *data.glob(".lake.duckdb.*"), *data.glob(".new")]
    return [*halves, *marks, *of_nothing, *aside]


def delete_orphans(data: Path) -> list[Path]:
    """Delete what a killed writer left. Returns: the deleted paths."""
    found = orphans(data)
    for path in found:
        delete(path)
    return found


def delete(path: Path) -> None:
    """Delete a file, or a folder with its content; an empty folder of a day is deleted with its last file."""
    store_of(path).delete(path)
