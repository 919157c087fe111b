"""The data dictionary: every table, view and column, with its type, unit and meaning."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING

from pipeline.reports.formats import write_rows
from pipeline.reports.query import Row, Rows, relation
from pipeline.resources.control import PARTITIONS
from pipeline.resources.tables import ROW_TABLES
from pipeline.views.catalog import relations
from pipeline.views.connection import connect_empty

if TYPE_CHECKING:
    from typing import TextIO

    from pipeline.views.model import Relation, Setting


def describe(name: str | None = None) -> Rows:
    """List the columns of a table or view, or of all: type, unit, API field, meaning.

    The settings of a view follow its columns.

    Raises:
        UnknownName: there is no such table or view.
    """
    described = list(relations().values()) if name is None else [relation(name)]
    types = _types()
    rows: list[Row] = [
        (chosen.name, column.name, types[chosen.name, column.name], column.unit, column.api, column.doc)
        for chosen in described
        for column in chosen.columns
    ]
    if name is not None:
        rows += [
            (name, _call(setting), setting.kind, None, None, f"Setting: {setting.doc}")
            for setting in described[0].settings
        ]
    columns = ("relation", "column", "type", "unit", "api", "meaning")
    if name is None:
        return Rows(columns, ("VARCHAR",) * 6, rows)
    return Rows(columns[1:], ("VARCHAR",) * 5, [row[1:] for row in rows])


def write_description(name: str | None, output_format: str, out: TextIO) -> None:
    """Write the columns of a table or view, or of all.

    As a table, one relation comes with its grain, key, inputs and an example. Markdown is the data dictionary, or its
    entry for `name`.

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
    described = relation(name)
    out.write("\n".join((f"{described.name}: {described.grain}", *_key_and_inputs(described))) + "\n\n")
    write_rows(rows, output_format, out)
    out.write(f"\nExample: {described.example}\n")


def _key_and_inputs(described: Relation) -> list[str]:
    lists = {"Key": described.key, "Reads": described.reads}
    lines = [f"{heading}: {', '.join(names)}." for heading, names in lists.items() if names]
    if described.name in {table.name for table in ROW_TABLES}:
        folder = f"Folder: lake/{described.name}/observed_on=<day>/, from the day and of the size that "
        lines.append(f"{folder}`from {PARTITIONS.name} where table_name = '{described.name}'` gives.")
    return lines


def dictionary() -> str:
    """Write the data dictionary as Markdown: the tables, then the views, each with its grain and columns."""
    parts = [
        "# Data dictionary\n\n",
        "Every table and view of the lake, made by `make docs` from `pipeline/resources/` and `pipeline/views/sql/`: ",
        "change it there.\nInstants are UTC, without a zone.\n",
    ]
    known = list(relations().values())
    for heading, is_view in (("Tables", False), ("Views", True)):
        parts.append(f"\n## {heading}\n")
        parts += [_entry(described) for described in known if described.is_view == is_view]
    return "".join(parts)


def _entry(described: Relation) -> str:
    types = _types()
    lines = [f"\n### {described.name}\n", f"\n{described.grain}\n\n"]
    lines += [f"{line}\n\n" for line in _key_and_inputs(described)]
    lines.append(f"Example: `{described.example}`\n\n")
    lines.append("| column | type | unit | API field | meaning |\n|---|---|---|---|---|\n")
    lines += [
        f"| {column.name} | {types[described.name, column.name]} | {column.unit or ''} | {column.api or ''} | "
        + column.doc.replace("|", "\\|")
        + " |\n"
        for column in described.columns
    ]
    if described.settings:
        lines += [
            f"\nSettings, as in `from {described.name}({_call(described.settings[0])})`:\n\n",
            "| setting | meaning |\n|---|---|\n",
        ]
        lines += [f"| {_call(setting)} | {setting.doc} |\n" for setting in described.settings]
    return "".join(lines)


def _call(setting: Setting) -> str:
    return f"{setting.name} := {setting.default}"


@functools.cache  # binding an empty lake takes most of the time
def _types() -> dict[tuple[str, str], str]:
    """The type of every column, as DuckDB binds it in an empty lake."""
    with contextlib.closing(connect_empty()) as con:
        rows = con.execute(
            "select table_name, column_name, data_type from duckdb_columns() where not internal"
        ).fetchall()
    return {(table, column): kind for table, column, kind in rows}
