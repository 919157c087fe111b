"""A compacted run as its daily files had it, read from the compaction alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pipeline.lake.compaction.manifest import COMPACTED, REJECTED
from pipeline.lake.scan import empty, instant, observations, pairs, rows_from_versions, scan_files, version_rows
from pipeline.resources.control import OBSERVATIONS, REJECTS
from pipeline.resources.images import IMAGE_DISKS, IMAGES
from pipeline.text import sql_literal

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    import duckdb
    import pyarrow as pa

    from pipeline.lake.file_set import FileSet
    from pipeline.resources.schema import Table


def open_versions(con: duckdb.DuckDBPyConnection, files: FileSet) -> None:
    """Make what `restored_run` reads for each run: `version`, `record_of_lake` and `compacted_reject`.

    They are tables, so that a run costs its rows and not those of the lake; more versions stay in their files.
    """
    versions = version_rows(files, ended=True)
    ((count,),) = con.execute(f"select count(*) from ({versions}) as version").fetchall()  # noqa: S608
    kind = "table" if count <= _VERSIONS_IN_MEMORY else "view"
    con.execute(f"create or replace temp {kind} version as {versions}").fetchall()
    con.execute(f"create or replace temp table record_of_lake as {observations(files)}").fetchall()
    rejects = scan_files(COMPACTED[REJECTED], files.compacted[REJECTED])
    con.execute(f"create or replace temp table compacted_reject as {rejects}").fetchall()


_VERSIONS_IN_MEMORY: Final = 500_000


def restored_run(
    con: duckdb.DuckDBPyConnection, files: FileSet, run_id: str, day: dt.date
) -> tuple[list[dict[str, Any]], dict[str, pa.Table]]:
    """Read a compacted run of a day. Returns: its rows of `observations`; and by name the rows of the other tables.

    An account that was withdrawn before the compaction has a row in `observations`, and no other rows.
    """
    names = ", ".join(OBSERVATIONS.arrow().names)
    query = f"select {names} from record_of_lake where run_id = {sql_literal(run_id)} order by account"  # noqa: S608
    records = con.sql(query).to_arrow_table().cast(OBSERVATIONS.arrow()).to_pylist()
    covered = files.manifest.covered.get(run_id, ()) if files.manifest else ()
    present = [row for row in records if row["is_published"] and row["account"] in covered]
    tables = {}
    for table in (IMAGES, IMAGE_DISKS, REJECTS):
        query = _rejects_query(present) if table is REJECTS else _rows_query(table, present, day)
        columns = ", ".join(column.name for column in table.stored)
        rows = con.sql(f"select {columns} from ({query}) as restored")  # noqa: S608
        tables[table.name] = rows.to_arrow_table().cast(table.arrow())
    return records, tables


def _rows_query(table: Table, present: Sequence[dict[str, Any]], day: dt.date) -> str:
    """Select the images or disks of these observations from the versions."""
    if not present:
        return empty(table)
    spanned = " union all ".join(
        f"select {sql_literal(row['account'])} as account, {instant(row['observed_at_utc'])} as observed_at_utc, "
        f"date '{day}' as observed_on"
        for row in present
    )
    return rows_from_versions(table, "from version", spanned)


def _rejects_query(present: Sequence[dict[str, Any]]) -> str:
    """Select the rejects of these observations: those of withdrawn ones stay in their file, and no reader uses them."""
    names = pairs((row["run_id"], row["account"]) for row in present)
    return f"from compacted_reject where (run_id, account) in ({names})"
