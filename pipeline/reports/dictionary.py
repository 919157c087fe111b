"""The dictionary: every table, view and column, with its type, unit and meaning."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING

from pipeline.reports.formats import write_rows
from pipeline.reports.query import Row, Rows, relation
from pipeline.views.catalog import relations
from pipeline.views.connection import connect_empty

if TYPE_CHECKING:
    from typing import TextIO

    from pipeline.views.model import Relation, Setting


def describe(name: str | None = None) -> Rows:
    """Tell every column of a table or view: its type, unit, API field and meaning; without a name, of all of them.

    The settings of a view that takes some come after its columns.

    Raises:
        UnknownName: there is no such table or view.
    """
    chosen = list(relations().values()) if name is None else [relation(name)]
    types = _types()
    rows: list[Row] = [
        (one.name, column.name, types[one.name, column.name], column.unit, column.api, column.doc)
        for one in chosen
        for column in one.columns
    ]
    if name is not None:
        rows += [(name, _call(one), one.kind, None, None, f"Setting: {one.doc}") for one in chosen[0].settings]
    columns = ("relation", "column", "type", "unit", "api", "meaning")
    if name is None:
        return Rows(columns, ("VARCHAR",) * 6, rows)
    return Rows(columns[1:], ("VARCHAR",) * 5, [row[1:] for row in rows])


def write_description(name: str | None, output_format: str, out: TextIO) -> None:
    """Write what `describe` tells; for a person, with what one row is and a query that shows what it is for.

    Markdown is the data dictionary, or its part about `name`.

    Raises:
        UnknownName: there is no such table or view.
    """
    if output_format == "markdown":
        out.write(dictionary() if name is None else _entry(relation(name)).lstrip())
        return
    rows = describe(name)
    if name is None or output_format != "table":
        write_rows(rows, output_format, out)
        return
    one = relation(name)
    out.write("\n".join((f"{one.name}: {one.grain}", *_about(one))) + "\n\n")
    write_rows(rows, output_format, out)
    out.write(f"\nExample: {one.example}\n")


def _about(one: Relation) -> list[str]:
    """Its key, and what it reads."""
    told = {"Key": one.key, "Reads": one.reads}
    return [f"{word}: {', '.join(names)}." for word, names in told.items() if names]


def dictionary() -> str:
    """Write the data dictionary, as Markdown: the tables, then the views, each with its grain and its columns."""
    parts = [
        "# Data dictionary\n\n",
        "Every table and view of the lake, made by `make docs` from `pipeline/tables.py` and `pipeline/views/*.sql`: ",
        "change it there.\nInstants are UTC, without a zone.\n",
    ]
    known = list(relations().values())
    for heading, chosen in (
        ("Tables", [one for one in known if not one.is_view]),
        ("Views", [one for one in known if one.is_view]),
    ):
        parts.append(f"\n## {heading}\n")
        parts += [_entry(one) for one in chosen]
    return "".join(parts)


def _entry(one: Relation) -> str:
    types = _types()
    lines = [f"\n### {one.name}\n", f"\n{one.grain}\n\n"]
    lines += [f"{said}\n\n" for said in _about(one)]
    lines.append(f"Example: `{one.example}`\n\n")
    lines.append("| column | type | unit | API field | meaning |\n|---|---|---|---|---|\n")
    lines += [
        f"| {column.name} | {types[one.name, column.name]} | {column.unit or ''} | {column.api or ''} | "
        + column.doc.replace("|", "\\|")
        + " |\n"
        for column in one.columns
    ]
    if one.settings:
        lines.append(
            f"\nSettings, as in `from {one.name}({_call(one.settings[0])})`:\n\n| setting | meaning |\n|---|---|\n"
        )
        lines += [f"| {_call(setting)} | {setting.doc} |\n" for setting in one.settings]
    return "".join(lines)


def _call(setting: Setting) -> str:
    return f"{setting.name} := {setting.default}"


@functools.cache  # a lake is made for it: most of what a dictionary of all takes
def _types() -> dict[tuple[str, str], str]:
    """The type of every column, as DuckDB binds it on a lake without a row."""
    with contextlib.closing(connect_empty()) as con:
        rows = con.execute(
            "select table_name, column_name, data_type from duckdb_columns() where not internal"
        ).fetchall()
    return {(table, column): kind for table, column, kind in rows}
