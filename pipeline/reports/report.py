"""Write the standing reports: in a terminal as findings, for a program as data.

    Report ──► table                  findings, aligned tables, bars, sparklines
    views  ──► csv · json · …         the rows

Data goes to `out`. The provenance line goes there too where the format has room
for it, else to `err`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from pipeline.errors import BadSetting
from pipeline.reports.formats import formats, write_rows
from pipeline.reports.formats.markdown import markdown_cell, write_markdown
from pipeline.reports.provenance import provenance_line
from pipeline.reports.query import Rows, cut, read, relation
from pipeline.reports.standing import DECLARED, STANDING, build_report, section
from pipeline.reports.standing.model import format_value, gain
from pipeline.reports.terminal import LaidOutColumn, as_table, bar, console_on, lay_out, sparkline
from pipeline.text import pluralize

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

    import duckdb
    from rich.console import Console

    from pipeline.reports.standing.model import Column, Figure, Section, Table

REPORT_ROWS: Final = 20
"""Rows of a table in a report; it says how many more there are, and the SQL for all."""
_LONGEST_CELL: Final = 200
"""Characters of a cell in a terminal; the other formats write the whole text."""
_COLOURS: Final = {
    "appeared": "green",
    "gone": "red",
    "changed": "yellow",
    "failed": "red",
    "hanging": "yellow",
    "unavailable": "yellow",
}


def report(
    con: duckdb.DuckDBPyConnection,
    views: Sequence[str] = (),
    *,
    output_format: str = "table",
    out: TextIO,
    err: TextIO,
) -> None:
    """Write the standing reports or the given views.

    For data formats the provenance line goes to `err`. json with several views is one object of arrays; with all
    standing reports it begins with `accounts`. A format that holds one table takes one view.

    Raises:
        UnknownName: there is no such view.
        BadSetting: the format holds one table, and there are several views.
        LakeDamaged: a committed file is missing or unreadable.
    """
    names = [relation(name).name for name in views] or list(STANDING)
    if output_format == "table":
        with console_on(out) as console:
            print_provenance(provenance_line(con), console)
            if views:
                _print_views(con, names, console)
            else:
                _print_report(con, console)
    elif output_format == "markdown":
        _write_markdown(con, names, sys.maxsize if views else REPORT_ROWS, out)
    else:
        write_tables = formats()[output_format].write_tables
        if write_tables is None and len(names) > 1:
            raise BadSetting(f"{output_format} holds one table: name one view of {', '.join(names)}")
        err.write(provenance_line(con) + "\n")
        if write_tables is None or len(names) == 1:
            write_rows(read(con, names[0]), output_format, out)
        else:
            write_tables(((name, read(con, name)) for name in (names if views else ["accounts", *names])), out)


def _write_markdown(con: duckdb.DuckDBPyConnection, names: Sequence[str], limit: int, out: TextIO) -> None:
    sections = (
        (section(con, name) for name in names if name in DECLARED)
        if limit > REPORT_ROWS
        else build_report(con).sections
    )
    by_view = {section.table.view: section for section in sections}
    out.write(f"{markdown_cell(provenance_line(con))}\n")
    for name in names:
        out.write(f"\n## {name}\n\n")
        shown = by_view.get(name)
        if shown:
            out.write(f"{markdown_cell(f'{shown.topic}: {shown.finding}')}\n\n")
        if shown and shown.groups:
            _write_table(shown.groups, out)
            out.write("\n")
        first_rows, more = cut(read(con, name), limit)
        write_markdown(first_rows, out)
        if more:
            out.write(f"\n… and {more:,} more: `from {name}`\n")
        for table in shown.further if shown else ():
            out.write(f"\n{table.caption}:\n\n")
            _write_table(table, out)


def _write_table(table: Table, out: TextIO) -> None:
    """Write a table of a section as Markdown, its values formatted."""
    columns = tuple(column.heading for column in table.columns)
    types = tuple("BIGINT" if column.kind == "number" else "VARCHAR" for column in table.columns)
    cells = [tuple(row[column.name] for column in table.columns) for row in table.rows]
    write_markdown(Rows(columns, types, cells), out)


# ── in a terminal ────────────────────────────────────────────────────────────


def print_provenance(line: str, console: Console) -> None:
    """Print the provenance line: on a terminal broken between its parts where it is too long, else as one line."""
    lines = [""]
    for part in line.split(" · "):
        longer = f"{lines[-1]} · {part}" if lines[-1] else part
        if console.is_terminal and len(longer) > console.width and lines[-1]:
            lines.append(part)
        else:
            lines[-1] = longer
    for text in lines:
        console.print(text, style="bold", soft_wrap=not console.is_terminal)


def _print_report(con: duckdb.DuckDBPyConnection, console: Console) -> None:
    report = build_report(con)
    if report.needs_attention:
        console.print()
        print_section(report.accounts, console)
    if report.figures:
        console.print()
        console.print(_figures_table(report.figures, console.width))
    for report_section in report.sections:
        console.print()
        print_section(report_section, console)


def _print_views(con: duckdb.DuckDBPyConnection, names: Sequence[str], console: Console) -> None:
    for name in names:
        console.print()
        if name in DECLARED:
            print_section(section(con, name), console)
        else:
            _print_view(con, name, console)


def _figures_table(figures: Sequence[Figure], width: int) -> Any:
    columns = (
        LaidOutColumn("at a glance", [figure.label for figure in figures], breaks=10),
        LaidOutColumn("", [f"{figure.value} {figure.unit}".rstrip() for figure in figures], is_number=True),
        LaidOutColumn("", [figure.note for figure in figures], breaks=12, rank=1),
    )
    return lay_out(columns, width)


def print_section(section: Section, console: Console, limit: int = REPORT_ROWS) -> None:
    """Print the finding, the first rows of the table, and the notes."""
    from rich.text import Text

    console.print(Text.assemble((section.topic, "bold cyan"), f": {section.finding}"))
    if section.groups:
        _print_table(section.groups, console, limit)
    if section.table.rows:
        is_trend = section.chart is not None and section.chart.kind == "lines"
        console.print()
        if is_trend:
            console.print(_trend_table(section.table, console.width))
        else:
            console.print(_section_table(section.table, console.width, limit))
            _print_rest(console, section.table.view, section.table.count - len(section.table.rows[:limit]))
    for table in section.further:
        _print_table(table, console, limit)
    for note in section.notes:
        console.print(note, style="dim")


def _print_table(table: Table, console: Console, limit: int) -> None:
    """Print a table of a section under its caption."""
    console.print(f"\n{table.caption}:\n")
    console.print(_section_table(table, console.width, limit))
    _print_rest(console, table.view, table.count - len(table.rows[:limit]))


def _print_view(con: duckdb.DuckDBPyConnection, name: str, console: Console) -> None:
    """Print the first rows of a table or view without a declared report."""
    from rich.text import Text

    first_rows, more = cut(read(con, name), REPORT_ROWS)
    count = more + len(list(first_rows.rows))
    console.print(Text.assemble((name, "bold cyan"), f": {pluralize(count, 'row')}"))
    if count:
        console.print()
        console.print(as_table(first_rows, console))
    _print_rest(console, name, more)


def _print_rest(console: Console, view: str, more: int) -> None:
    if more > 0:
        console.print(f"… and {more:,} more, with the SQL: from {view}", style="dim")


def _section_table(table: Table, width: int, limit: int) -> Any:
    rows = [*table.rows[:limit], *([table.sums] if table.sums else [])]
    return lay_out([_lay_out_column(rows, column, width) for column in table.columns], width, has_sums=bool(table.sums))


def _lay_out_column(rows: Sequence[dict[str, Any]], column: Column, width: int) -> LaidOutColumn:
    values = [row.get(column.name, "") for row in rows]
    cells = [_shorten(format_value(row[column.name], column)) if column.name in row else "" for row in rows]
    return LaidOutColumn(
        column.heading,
        cells,
        is_number=column.is_number and column.kind != "share",
        # an id in two pieces cannot be copied
        breaks=12 * (column.kind == "words" or max(map(len, cells)) > 32),
        rank=column.rank,
        draw=(lambda row, room: bar(values[row] or 0, room)) if column.kind == "share" else None,
        room=(4, max(4, min(24, width // 9))),
        styles=[_COLOURS.get(cell, "") for cell in cells],
    )


def _shorten(text: str) -> str:
    """Cut a text that would fill the whole screen."""
    return text if len(text) <= _LONGEST_CELL else f"{text[: _LONGEST_CELL - 1]}…"


def _trend_table(table: Table, width: int) -> Any:
    """A row for each figure: the first day, a sparkline, the last day, and the change."""
    days = table.rows[::-1]
    figures = {
        column.heading: [row[column.name] for row in days]
        for column in table.columns
        if column.kind == "number" and any(row[column.name] for row in days)
    }
    first, last = ([f"{values[day]:,}" for values in figures.values()] for day in (0, -1))
    series = list(figures.values())
    names = LaidOutColumn("held", list(figures))
    now = LaidOutColumn(f"{days[-1]['day_utc']}", last, is_number=True)
    if len(days) == 1:
        return lay_out((names, now), width)
    columns = (
        names,
        LaidOutColumn(f"{days[0]['day_utc']}", first, is_number=True, rank=3),
        LaidOutColumn(
            "",
            [""] * len(series),
            rank=1,
            draw=lambda row, room: sparkline(series[row], room),
            room=(8, max(8, min(width // 2, len(days)))),
        ),
        now,
        LaidOutColumn("change", [gain(values[-1] - values[0]) for values in series], is_number=True, rank=2),
    )
    return lay_out(columns, width)
