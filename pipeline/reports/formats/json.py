"""JSON: an array of objects, one a line. Integers stay integers, instants are `"2026-10-30T02:00:00.000000Z"`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from pipeline.reports.formats import OutputFormat, unique_names
from pipeline.text import escape_control, json_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import TextIO

    import duckdb

    from pipeline.reports.query import Rows
    from pipeline.views.model import Relation


def write_json(rows: Rows, out: TextIO) -> int:
    """Write an array of objects."""
    count = _write_array(rows, out)
    out.write("\n")
    return count


def write_json_tables(tables: Iterable[tuple[str, Rows]], out: TextIO) -> None:
    """Write one object that holds an array for each named result."""
    for number, (name, rows) in enumerate(tables):
        out.write(f"{',' if number else '{'}\n {json.dumps(name)}: ")
        _write_array(rows, out, indent="  ")
    out.write("\n}\n")


def export_json(con: duckdb.DuckDBPyConnection, relation: Relation, path: Path) -> int:
    """Write a table or view to a file."""
    from pipeline.reports.query import read

    with path.open("w", encoding="utf-8", newline="") as out:
        return write_json(read(con, relation.name), out)


def objects(rows: Rows) -> Iterator[str]:
    """Spell each row as an object in one line."""
    names = unique_names(rows.columns)
    for row in rows.rows:
        line = json.dumps({name: json_value(value) for name, value in zip(names, row, strict=True)}, ensure_ascii=False)
        yield escape_control(line, json_escapes=True)


def _write_array(rows: Rows, out: TextIO, indent: str = "") -> int:
    """Write an array. Returns: the number of rows."""
    count = 0
    out.write("[")
    for count, line in enumerate(objects(rows), start=1):
        out.write(f"{',' if count > 1 else ''}\n{indent}{line}")
    out.write(f"\n{indent}]" if count else "]")
    return count


FORMAT: Final = OutputFormat(write=write_json, write_tables=write_json_tables, export=export_json)
