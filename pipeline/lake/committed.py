"""The files of committed runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import LakeDamaged, LakeMissing
from pipeline.extract.raw_pages import raw_paths
from pipeline.lake.compaction.manifest import Manifest, first_missing, newest_manifest
from pipeline.lake.format import format_of
from pipeline.lake.layout import files
from pipeline.lake.tombstones import read_tombstones
from pipeline.resources.control import OBSERVATIONS
from pipeline.resources.tables import LAKE_TABLES
from pipeline.storage.store import store_of

if TYPE_CHECKING:
    from pipeline.lake.tombstones import Tombstones


@dataclass(frozen=True, slots=True)
class CommittedFiles:
    """What a reader may see: the plain files of the runs that are not folded, and the fold."""

    of: dict[str, tuple[Path, ...]]
    """For each table, the files of committed runs that are not folded, oldest run first."""
    fold: Manifest | None
    standing: dict[str, tuple[Path, ...]]
    """For each table, the plain files of folded runs that still lie there: the newest of each account do."""


def committed_files(data: Path, without: Tombstones | None = None) -> CommittedFiles:
    """List the files of every committed run under `data`, without what was taken out; no table is opened.

    A run of which every published account was withdrawn keeps its commit record alone. `without` stands for
    the record of what was taken out, for who has read it or is about to write it.

    Raises:
        LakeMissing: no run was ever committed there.
        LakeTooNew: a newer version has written there.
        LakeDamaged: the record of what was taken out cannot be read, or a fold, or a file that a fold stands on.
    """
    format_of(data)
    gone = (read_tombstones(data) if without is None else without).whole_runs
    # Read against the order of writing: a run that is committed from here on is not among the records, and left out.
    records = files(data, OBSERVATIONS)
    fold = newest_manifest(data)
    if not records and fold is None:
        typed = data.relative_to(Path.cwd()) if data.is_relative_to(Path.cwd()) else data
        makes = "rebuild" if raw_paths(data) else "run"
        raise LakeMissing(f"no lake in {str(typed)!r}: `ens-images {makes} --data {typed}` makes one")
    lost = first_missing(path for paths in fold.files(data).values() for path in paths) if fold else None
    if lost is not None:
        raise LakeDamaged(
            f"the file {lost.relative_to(data)} of a fold is missing: `ens-images check` lists all damage, "
            "`ens-images rebuild` makes it anew from the raw pages"
        )
    folded = fold.runs if fold else {}
    places = {(path.parent.name, path.name) for path in records if path.stem not in gone and path.stem not in folded}
    found, standing = {}, {}
    for table in LAKE_TABLES:
        paths = tuple(records) if table is OBSERVATIONS else tuple(files(data, table))
        standing[table.name] = tuple(path for path in paths if path.stem in folded)
        if table is OBSERVATIONS:
            found[table.name] = tuple(path for path in paths if path.stem not in folded)
        else:
            found[table.name] = tuple(path for path in paths if (path.parent.name, path.name) in places)
    return CommittedFiles(found, fold, standing)


def published_accounts(record: Path) -> set[str]:
    """The accounts of which a commit record says that they were published."""
    import pyarrow.parquet as pq

    rows = pq.read_table(store_of(record).open(record), columns=["account", "is_published"]).to_pylist()
    return {row["account"] for row in rows if row["is_published"]}


def taken_run_ids(data: Path) -> set[str]:
    """The ids that name files already, landed or published: no other run may be called so."""
    tables = {path.stem for table in LAKE_TABLES for path in files(data, table)}
    fold = newest_manifest(data)
    return tables | {path.stem for path in raw_paths(data)} | set(fold.runs if fold else ())
