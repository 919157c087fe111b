"""Parquet, written by DuckDB: the grain and the meaning of the columns stand in the file's header."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.reports.formats import OutputFormat
from pipeline.text import sql_literal

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

    from pipeline.views.model import Relation


def export_parquet(con: duckdb.DuckDBPyConnection, relation: Relation, path: Path) -> int:
    """Copy a table or view to a file."""
    from pipeline.reports.query import duckdb_message, ordered

    header = {
        "table": relation.name,
        "grain": relation.grain,
        "example": relation.example,
        **{f"column {column.name}": column.comment for column in relation.columns},
    }
    pairs = ", ".join(f'"{key}": {sql_literal(value)}' for key, value in header.items())
    with duckdb_message():
        rows = con.execute(
            f"copy ({ordered(relation)}) to {sql_literal(str(path))} "
            f"(format parquet, compression zstd, kv_metadata {{{pairs}}})"
        ).fetchall()
    return int(rows[0][0])


FORMAT: Final = OutputFormat(export=export_parquet)
