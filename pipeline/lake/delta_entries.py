"""The files of a table that hold exactly what is committed, as entries of its Delta log."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.errors import LakeDamaged
from pipeline.lake.committed_digests import COMMITTED_FILES, decode_digests
from pipeline.lake.layout import command
from pipeline.resources.control import OBSERVATIONS
from pipeline.resources.images import IMAGES_RESOURCE
from pipeline.resources.tables import RESOURCES, tables_of
from pipeline.storage.partitions import day_of_run, run_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from pipeline.lake.file_set import FileSet
    from pipeline.lake.tombstones import Listed
    from pipeline.resources.schema import Table

_RESOURCE: Final = "resource"
DAY: Final = "observed_on"
"""The column that the folder's name holds: the partition of the Delta table."""


class InexactFile(Exception):
    """A file holds withdrawn rows beside others, so that no log can name it."""


@dataclass(frozen=True, slots=True)
class DeltaEntry:
    """A file as a log names it: its path below the folder of the table, its size and its time.

    A copy of a lake has other times, and its logs are right: a name is never given to other rows.
    """

    path: str
    size: int
    modified_ms: int = field(compare=False)
    row_count: int | None = field(default=None, compare=False)
    """As the log says; None: it does not, or no log names the file."""

    @property
    def day(self) -> str:
        """The day of its folder."""
        return self.path.partition("/")[0].removeprefix(f"{DAY}=")

    @property
    def run_id(self) -> str:
        """The run that wrote it."""
        return run_of(Path(self.path))


def delta_entries(
    files: FileSet, table: Table, named: Mapping[str, DeltaEntry], examined: AbstractSet[str] = frozenset()
) -> dict[str, DeltaEntry]:
    """Return the files that the log of a table should name, by path; of a missing one, the entry that is `named`.

    `examined` are runs of which each file was named before, so that no commit record tells more.

    Raises:
        LakeDamaged: a committed file is missing and is not named, or lies elsewhere.
        InexactFile: a file holds withdrawn rows beside others.
    """
    folder = files.data / "lake" / table.name
    whole = frozenset[str]() if table is OBSERVATIONS else files.tombstones.whole_runs
    paths = (*files.retained.get(table.name, ()), *files.daily[table.name])
    expired = files.tombstones.expired_days
    by_run = {run: path for path in paths if (run := run_of(path)) not in whole and day_of_run(run) not in expired}
    if table is OBSERVATIONS:  # as in the folder: the views mark what is withdrawn
        return {entry.path: entry for entry in (_entry(path, folder) for path in by_run.values())}
    found = [
        _entry(path, folder)
        for run, path in by_run.items()
        if not _is_withdrawn(path, table, files.tombstones.withdrawn_from(run).keys())
    ]
    kept: dict[str, list[DeltaEntry]] = {}
    for entry in named.values():
        kept.setdefault(entry.run_id, []).append(entry)
    for record in (*files.retained.get(OBSERVATIONS.name, ()), *files.daily[OBSERVATIONS.name]):
        run = record.stem
        if run in by_run or run in whole or files.tombstones.withdrawn_from(run):
            continue
        if day_of_run(run) in expired:
            continue
        if run in kept:
            found += kept[run]
        elif run not in examined and _commits(record, table):
            raise LakeDamaged(f"the file of run {run} is missing: {command(files.data, 'rebuild')} mends it")
    return {entry.path: entry for entry in found}


def _is_withdrawn(path: Path, table: Table, withdrawn: AbstractSet[Listed]) -> bool:
    """Return whether every row of a file is withdrawn.

    Raises:
        InexactFile: some are.
    """
    listed = _listed(path, table) if withdrawn else set()
    if listed & withdrawn and not listed <= withdrawn:
        names = ", ".join(sorted({account for account, _ in listed & withdrawn}))
        raise InexactFile(f"{path.name!r} holds the withdrawn rows of {names} beside others")
    return bool(listed & withdrawn)


def _entry(path: Path, folder: Path) -> DeltaEntry:
    if not path.is_relative_to(folder):
        raise LakeDamaged(f"{path.name!r} is still outside of its folder, to which the next writer moves it")
    status = path.stat()
    return DeltaEntry(path.relative_to(folder).as_posix(), status.st_size, status.st_mtime_ns // 1_000_000)


def _listed(path: Path, table: Table) -> set[Listed]:
    """Return the accounts and resources that a file has rows of; before format 5 a file has no column `resource`."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        has_resource = _RESOURCE in file.schema_arrow.names
        rows = file.read(["account", *([_RESOURCE] if has_resource else [])]).to_pylist()
    resource = next((one.name for one in RESOURCES if table in one.tables), IMAGES_RESOURCE.name)
    return {(row["account"], row.get(_RESOURCE) or resource) for row in rows}


def _commits(record: Path, table: Table) -> bool:
    """Return whether a commit record names a file of the table; one of an older version names none, only resources."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(record) as file:
        there = [name for name in (COMMITTED_FILES, "is_published", _RESOURCE) if name in file.schema_arrow.names]
        rows = file.read(there).to_pylist()
    if rows and rows[0].get(COMMITTED_FILES):
        return table.name in decode_digests(rows[0][COMMITTED_FILES])
    published = {row.get(_RESOURCE) or IMAGES_RESOURCE.name for row in rows if row.get("is_published")}
    return bool(published) and table in tables_of(published)


def difference(
    entries: Mapping[str, DeltaEntry], named: Mapping[str, DeltaEntry]
) -> tuple[list[DeltaEntry], list[DeltaEntry]]:
    """Return the entries to register, new or changed, and those to take out."""
    added = [entry for path, entry in entries.items() if named.get(path) != entry]
    return added, [entry for path, entry in named.items() if path not in entries]
