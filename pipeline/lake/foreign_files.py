"""What lies among the files of a lake and is none of them: copies, partial downloads, files of other tools."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Final

from pipeline.lake.compaction.manifest import COMPACTED, MANIFESTS, OLDER_COMPACTED, OLDER_MANIFESTS
from pipeline.lake.format import FORMAT_FILE
from pipeline.lake.layout import CATALOG, DELTA_LOG, DELTA_STAGED, digest_path
from pipeline.lake.state_object import STATES
from pipeline.lake.tombstone_files import (
    TOMBSTONES_COPY,
    numbered_folders,
    older_tombstones_path,
    tombstones_copy,
    tombstones_path,
)
from pipeline.log import logger
from pipeline.resources.tables import LAKE_TABLES
from pipeline.storage.partitions import DAMAGED, OLDER_STAGING, STAGING, WITHDRAWN, is_run_file
from pipeline.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_log = logger(__name__)

_DAY: Final = re.compile(r"observed_on=\d{4}-\d\d-\d\d", re.ASCII)
_COMPACTED_FILE: Final = re.compile(r"\d{6,}(?:-[0-9a-f]{8})?\.parquet|\d{6,}\.json", re.ASCII)
_DELTA_FILE: Final = re.compile(rf"\d{{20}}\.json|{DELTA_STAGED.pattern}", re.ASCII)
"""A commit of a Delta log. A checkpoint of another engine is none: it is Parquet, and read as rows of the table."""
_OURS: Final = {STAGING, OLDER_STAGING, DAMAGED, WITHDRAWN, STATES}


def foreign_files(data: Path) -> list[Path]:
    """List the files and folders that no name of the lake fits, in `lake` and `raw`. No reader uses them.

    A folder is listed as one, without what is in it.
    """
    folders = {table.name for table in LAKE_TABLES}
    compacted = {*COMPACTED, MANIFESTS, *OLDER_COMPACTED.values(), OLDER_MANIFESTS}
    numbered, copies = numbered_folders(data)
    ours = {*folders, *compacted, FORMAT_FILE, TOMBSTONES_COPY, copies.name, *_OURS}
    found = [path for path in _entries(data / "lake") if path.name not in ours]
    for name in sorted(folders):
        found += [path for path in _foreign(data / "lake" / name) if path.name != DELTA_LOG]
        found += [path for path in _entries(data / "lake" / name / DELTA_LOG) if not _DELTA_FILE.fullmatch(path.name)]
    for folder in _entries(data / "lake" / WITHDRAWN):
        found += _foreign(folder) if folder.name in folders else [folder]
    for name in sorted(compacted):
        found += [path for path in _entries(data / "lake" / name) if not _COMPACTED_FILE.fullmatch(path.name)]
    for folder in (numbered, copies):
        found += [path for path in _entries(folder) if not _COMPACTED_FILE.fullmatch(path.name)]
    tombstones = {tombstones_path(data).name, older_tombstones_path(data).name, numbered.name}
    return found + [path for path in _foreign(data / "raw") if path.name not in {*tombstones, *_OURS}]


def obstacles(data: Path) -> list[Path]:
    """List what stands in the place of a folder or a file of the lake and is none: a folder, a link to nothing, a FIFO.

    A manifest is not among them: the one before it counts again (see `jobs.rebuild`).
    """
    if not store_of(data).is_local:
        return []
    tables = [data / "lake" / table.name for table in LAKE_TABLES]
    compacted = [data / "lake" / name for name in (*COMPACTED, MANIFESTS, *OLDER_COMPACTED.values(), OLDER_MANIFESTS)]
    compacted += numbered_folders(data)
    logs = [table / DELTA_LOG for table in tables]
    days = [day for folder in (*tables, data / "raw") for day in _entries(folder) if _DAY.fullmatch(day.name)]
    catalog = data / CATALOG
    single = [data / "lake" / FORMAT_FILE, tombstones_path(data), tombstones_copy(data), older_tombstones_path(data)]
    single += [catalog, catalog.with_name(f"{CATALOG}.wal"), digest_path(catalog)]
    files = [*single, *(path for day in days for path in _entries(day) if is_run_file(path))]
    found = [path for path in (*tables, *compacted, *logs, *days) if not path.is_dir()]
    found += [path for path in files if not path.is_file()]
    return [path for path in found if path.exists() or path.is_symlink()]


def move_aside(data: Path, path: Path) -> None:
    """Move what stands in the way to `lake/.damaged/in_the_way`, under a name that is free."""
    target = data / "lake" / DAMAGED / "in_the_way" / "_".join(path.relative_to(data).parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    number = sum(other.name.startswith(target.name) for other in target.parent.iterdir())
    path.rename(target.with_name(f"{target.name}.{number}"))
    _log.info("moved %r aside: it is not what belongs there", str(path))


def _foreign(folder: Path) -> Iterator[Path]:
    for day in _entries(folder):
        if not _DAY.fullmatch(day.name):
            yield day
        else:
            yield from (path for path in _entries(day) if not (is_run_file(path) and _is_regular(path)))


def _is_regular(path: Path) -> bool:
    """Return False for a FIFO or a folder under a run's name: no reader opens it. What is in a bucket is an object."""
    return path.is_file() or not store_of(path).is_local


def _entries(folder: Path) -> list[Path]:
    """List a folder, without the names that NFS gives to deleted files which are still open."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return sorted(path for path in folder.iterdir() if not path.name.startswith(".nfs"))
    return []
