"""Export a whole lake as one DuckDB file, for tools that open one: every table and view is a table of it.

    connect() ──► main.images, main.capacity_by_region, …    the rows, with the comments of the lake
                  main.export_manifest                       per table: rows, grain; as of when, provenance, code

The file is written beside its place and renamed. It replaces an earlier export, and no other database: least of all
`lake.duckdb`, which has views and no manifest.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from pipeline.errors import BadSetting
from pipeline.reports.provenance import provenance_line
from pipeline.reports.query import duckdb_message, ordered
from pipeline.runtime import run_interruptibly
from pipeline.storage.folder import atomic_write
from pipeline.text import sql_literal
from pipeline.views.catalog import relations

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

    from pipeline.views.model import Relation

MANIFEST_TABLE: Final = "export_manifest"
_MANIFEST_GRAIN: Final = "One row per table of this export of ens-images."
_MANIFEST: Final = {
    "table_name": ("varchar", "The table."),
    "row_count": ("bigint", "Its rows."),
    "grain": ("varchar", "One row of it."),
    "as_of_utc": ("timestamp", "The instant of the last observation. Unit: UTC."),
    "provenance": ("varchar", "The provenance line of the lake."),
    "code_version": ("varchar", "The version of ens-images that wrote it."),
}
_STORAGE: Final = "v1.0.0"
"""The oldest format that holds everything: drivers of other tools are older than ours."""
_ALIAS: Final = "exported_lake"


def export_database(con: duckdb.DuckDBPyConnection, path: Path) -> tuple[int, int]:
    """Write every table and view to a DuckDB file, table by table: DuckDB keeps no table in memory.

    Returns: the number of tables, and of the rows of all.

    Raises:
        BadSetting: the file is not an earlier export, or cannot be written.
        LakeDamaged: a committed file is missing or unreadable.
    """
    if path.is_dir():
        raise BadSetting(f"{str(path)!r} is a folder: give a file, or a DIR whose name does not end with .duckdb")
    if path.exists() and not _is_export(path):
        raise BadSetting(
            f"{str(path)!r} is not an earlier export, or another program has it open, and would be replaced: "
            "give another file"
        )
    provenance = provenance_line(con)
    with atomic_write(path) as staged, duckdb_message(staged):
        options = f"storage_version '{_STORAGE}', recovery_mode no_wal_writes"  # a killed export is not recovered
        con.execute(f"attach {sql_literal(staged)} as {_ALIAS} ({options})").fetchall()
        try:
            counts = {relation.name: _copy(con, relation) for relation in relations().values()}
            _write_manifest(con, counts, provenance)
        finally:
            con.execute(f"detach {_ALIAS}").fetchall()
    return len(counts), sum(counts.values())


def _copy(con: duckdb.DuckDBPyConnection, relation: Relation) -> int:
    """Copy a table or view with its comments. Returns: the number of rows."""
    table = f"{_ALIAS}.main.{relation.name}"
    run_interruptibly(lambda: con.execute(f"create table {table} as {ordered(relation)}").fetchall(), con.interrupt)
    _comment(con, table, relation.grain, {column.name: column.comment for column in relation.columns})
    ((count,),) = con.execute(f"select count(*) from {table}").fetchall()  # noqa: S608  (a known name)
    return int(count)


def _comment(con: duckdb.DuckDBPyConnection, table: str, grain: str, columns: dict[str, str]) -> None:
    comments = {f"table {table}": grain, **{f"column {table}.{name}": comment for name, comment in columns.items()}}
    script = "".join(f"comment on {thing} is {sql_literal(comment)};" for thing, comment in comments.items())
    con.execute(script).fetchall()


def _write_manifest(con: duckdb.DuckDBPyConnection, counts: dict[str, int], provenance: str) -> None:
    table = f"{_ALIAS}.main.{MANIFEST_TABLE}"
    columns = ", ".join(f"{name} {kind}" for name, (kind, _) in _MANIFEST.items())
    con.execute(f"create table {table} ({columns})").fetchall()
    ((as_of,),) = con.execute("select max(observed_at_utc) from observations where is_published").fetchall()
    rows = [
        (name, count, relations()[name].grain, as_of, provenance, version("ens-images"))
        for name, count in counts.items()
    ]
    con.executemany(f"insert into {table} values (?, ?, ?, ?, ?, ?)", rows)  # noqa: S608  (a known name)
    _comment(con, table, _MANIFEST_GRAIN, {name: comment for name, (_, comment) in _MANIFEST.items()})


def _is_export(path: Path) -> bool:
    """True where the file is an export of a lake and holds nothing else."""
    import duckdb

    try:
        with duckdb.connect() as con:
            con.execute(f"attach {sql_literal(path)} as earlier (read_only)").fetchall()
            comments = con.execute(
                "select comment from duckdb_tables() where database_name = 'earlier' and table_name = ?",
                [MANIFEST_TABLE],
            ).fetchall()
            if comments != [(_MANIFEST_GRAIN,)]:
                return False
            names = con.execute(f"select table_name from earlier.main.{MANIFEST_TABLE}").fetchall()  # noqa: S608  (a known name)
            tables = con.execute(
                "select table_schema, table_name from information_schema.tables where table_catalog = 'earlier'"
            ).fetchall()
            return set(tables) <= {("main", name) for name in (MANIFEST_TABLE, *(name for (name,) in names))}
    except duckdb.Error:  # no database, or one that is open for writing
        return False
