"""One schema a folder: every daily file of a table has the declared columns, in the declared order.

A lake that an older version began has files with fewer columns, at which polars, fastparquet and a bare DuckDB fail or
lose columns. `rebuild` derives these files anew from the raw pages; where these are gone, the missing columns are null.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.lake.check.files import with_declared_schema
from pipeline.lake.commit import Publication
from pipeline.lake.layout import files
from pipeline.lake.orphans import delete
from pipeline.lake.verification import file_flaw, read_verified
from pipeline.lake.withdrawn_files import files_of_run, tables_with
from pipeline.resources.control import OBSERVATIONS, RAW_PAGES
from pipeline.resources.tables import LAKE_TABLES, ROW_TABLES
from pipeline.storage.partitions import day_of_run, number_of
from pipeline.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pipeline.lake.survey import RunState
    from pipeline.lake.tombstones import Tombstones
    from pipeline.resources.schema import Table


def has_declared_schema(path: Path, table: Table) -> bool:
    """Whether a file has the declared columns of its table, in their order."""
    import pyarrow.parquet as pq

    return bool(pq.read_schema(store_of(path).open(path)).equals(table.arrow()))


def tables_with_older_files(data: Path) -> list[str]:
    """Name the tables of which the oldest daily file has another schema: `rebuild` upgrades all files of a lake."""
    oldest = [(table, files(data, table)[:1]) for table in LAKE_TABLES]
    return [table.name for table, paths in oldest if paths and not has_declared_schema(paths[0], table)]


def runs_with_older_files(states: Iterable[RunState]) -> list[RunState]:
    """Select the intact runs of which a daily file has another schema, and all rows: none is withdrawn for good."""
    return [
        state
        for state in states
        if not (state.flaws or state.is_accepted) and state.record.is_file() and _has_older(state)
    ]


def delete_older_replacements(data: Path, tombstones: Tombstones) -> None:
    """Delete replacements that are damaged or of another schema, where the file that they are derived from is there."""
    for one in tombstones.replacements:
        for table in tables_with(one.left_out):
            paths = {number_of(path): path for path in files_of_run(data, table, one.run_id)}
            path = paths.get(one.number)
            if path is None or 0 not in paths:
                continue
            if file_flaw(path, one.digests[table.name]) is not None or not has_declared_schema(path, table):
                delete(path)


def _has_older(state: RunState) -> bool:
    own = _own_files(state)
    if len(own) < len(state.files) and state.has_usable_pages:  # a replacement has the schema, and the pages are needed
        return False
    paths = ((state.record, OBSERVATIONS), *((path, table) for table, path in own.items()))
    return not all(has_declared_schema(path, table) for path, table in paths)


def _own_files(state: RunState) -> dict[Table, Path]:
    """Return the files of a run that are no replacements: of one that is left without them, the record counts."""
    found = {table: state.files[table.name] for table in ROW_TABLES if table.name in state.files}
    return {table: path for table, path in found.items() if number_of(path) == 0}


def add_missing_columns(data: Path, state: RunState) -> None:
    """Write the daily files of a run again with every declared column: those that it lacks are null.

    Raises:
        LakeDamaged: a file cannot be read.
    """
    publication = Publication(data, state.run_id, day_of_run(state.run_id), is_replacing=True)
    for table, path in _own_files(state).items():
        publication.add(table, with_declared_schema(read_verified(path), table))
    record = with_declared_schema(read_verified(state.record), OBSERVATIONS)
    publication.commit(record.to_pylist(), state.digests.get(RAW_PAGES.name), others=state.digests)
