"""Compacted runs as their daily files had them, read from the compaction alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pipeline.lake.compaction.manifest import COMPACTED, REJECTED
from pipeline.lake.item_rows import rows_from_versions, version_rows
from pipeline.lake.scan import observations, scan_files
from pipeline.resources.control import OBSERVATIONS, REJECTS
from pipeline.resources.tables import RESOURCES, ROW_TABLES
from pipeline.text import sql_literal

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Mapping

    import duckdb
    import pyarrow as pa

    from pipeline.lake.file_set import FileSet
    from pipeline.resources.resource import Resource
    from pipeline.resources.schema import Table


class RestoredRun(NamedTuple):
    """A compacted run."""

    run_id: str
    records: list[dict[str, Any]]
    """Its rows of `observations`. One that was withdrawn before the compaction has no other rows."""
    tables: dict[str, pa.Table]
    """The rows of the other tables, by name."""


def open_versions(con: duckdb.DuckDBPyConnection, files: FileSet) -> None:
    """Make what `restored_runs` reads: `image_version` and so on, `record_of_lake` and `compacted_reject`.

    They are tables, so that a run costs its rows and not those of the lake; more versions stay in their files.
    """
    for resource in RESOURCES:
        versions = version_rows(resource, files, ended=True)
        ((count,),) = con.execute(f"select count(*) from ({versions}) as version").fetchall()  # noqa: S608
        kind = "table" if count <= _VERSIONS_IN_MEMORY else "view"
        con.execute(f"create or replace temp {kind} {version_table(resource)} as {versions}").fetchall()
    con.execute(f"create or replace temp table record_of_lake as {observations(files)}").fetchall()
    rejects = scan_files(COMPACTED[REJECTED], files.compacted[REJECTED])
    con.execute(f"create or replace temp table compacted_reject as {rejects}").fetchall()


def version_table(resource: Resource) -> str:
    """Return the name of the table of the versions that `open_versions` makes."""
    return f"{resource.noun}_version"


_VERSIONS_IN_MEMORY: Final = 500_000


def row_counts(con: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Return about how many rows each run of `record_of_lake` has, by run."""
    query = "select run_id, sum(item_count + child_item_count + reject_count) from record_of_lake group by run_id"
    return {run_id: int(count or 0) for run_id, count in con.execute(query).fetchall()}


def restored_runs(con: duckdb.DuckDBPyConnection, files: FileSet, days: Mapping[str, dt.date]) -> Iterator[RestoredRun]:
    """Read compacted runs, given with their days, in a few queries: all of them are in memory at once."""
    import pyarrow as pa

    runs = ", ".join(map(sql_literal, days))
    query = f"select {', '.join(OBSERVATIONS.arrow().names)} from record_of_lake where run_id in ({runs})"  # noqa: S608
    read = con.sql(f"{query} order by account, resource").to_arrow_table().cast(OBSERVATIONS.arrow()).to_pylist()
    records: dict[str, list[dict[str, Any]]] = {run_id: [] for run_id in days}
    for row in read:
        records[row["run_id"]].append(row)
    columns = ("run_id", "account", "resource", "observed_at_utc", "observed_on")
    kinds = (pa.string(), pa.string(), pa.string(), pa.timestamp("us"), pa.date32())
    schema = pa.schema(zip(columns, kinds, strict=True))
    covered = files.manifest.covered if files.manifest else {}
    wanted = [
        {**row, "observed_on": days[row["run_id"]]}
        for row in read
        if row["is_published"] and (row["account"], row["resource"]) in covered.get(row["run_id"], ())
    ]
    con.register("wanted_observation", pa.Table.from_pylist(wanted, schema=schema))
    # Rejects of withdrawn observations stay in their file, and no reader uses them.
    rejects = "from compacted_reject semi join wanted_observation using (run_id, account, resource)"
    tables = {REJECTS.name: _by_run(con, REJECTS, rejects)}
    for resource in RESOURCES:
        wanted_rows = f"select * from wanted_observation where resource = {sql_literal(resource.name)}"  # noqa: S608
        versions = f"from {version_table(resource)}"
        for table in resource.tables:
            query = rows_from_versions(resource, table, versions, wanted_rows, ("run_id",))
            tables[table.name] = _by_run(con, table, query)
    con.unregister("wanted_observation")
    none = {table.name: table.to_arrow([]) for table in ROW_TABLES}
    for run_id in days:
        yield RestoredRun(run_id, records[run_id], {name: tables[name].get(run_id, none[name]) for name in tables})


def _by_run(con: duckdb.DuckDBPyConnection, table: Table, query: str) -> dict[str, pa.Table]:
    """Read rows of a table that have a run_id. Returns: a table for each run that has rows."""
    columns = ", ".join(column.name for column in table.stored)
    found = con.sql(f"select run_id as run, {columns} from ({query}) as restored order by run").to_arrow_table()  # noqa: S608
    rows = found.select([column.name for column in table.stored]).cast(table.arrow())
    by_run, start = {}, 0
    for count in found.column("run").value_counts().to_pylist():  # in the order of the rows
        by_run[count["values"]] = rows.slice(start, count["counts"])
        start += count["counts"]
    return by_run
