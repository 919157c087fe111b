"""JSON Lines: an object a line, without an array around them; the values are those of `json`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.reports.formats import OutputFormat
from pipeline.reports.formats.json import objects

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TextIO

    import duckdb

    from pipeline.reports.query import Rows
    from pipeline.views.model import Relation


def write_ndjson(rows: Rows, out: TextIO) -> int:
    """Write an object a line; of no row, nothing."""
    count = 0
    for count, line in enumerate(objects(rows), start=1):  # noqa: B007  (the number of rows)
        out.write(f"{line}\n")
    return count


def export_ndjson(con: duckdb.DuckDBPyConnection, relation: Relation, path: Path) -> int:
    """Write a table or view to a file."""
    from pipeline.reports.query import read

    with path.open("w", encoding="utf-8", newline="") as out:
        return write_ndjson(read(con, relation.name), out)


FORMAT: Final = OutputFormat(write=write_ndjson, export=export_ndjson)
