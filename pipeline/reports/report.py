"""The standing reports in a terminal, or as data for a machine.

    story ──► report     table                  the findings, with aligned numbers, bars and sparklines
              views ──►  csv · json · markdown  the rows

Data goes to `out`, everything said about it elsewhere.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from pipeline.errors import BadSetting
from pipeline.reports.formats import formats, write_rows
from pipeline.reports.formats.markdown import markdown_cell, write_markdown
from pipeline.reports.provenance import provenance_line
from pipeline.reports.query import cut, read, relation
from pipeline.reports.standing import ON_REPORT, STANDING, build_report, section
from pipeline.reports.standing.model import format_value, gain
from pipeline.reports.terminal import Column, as_table, bar, console_on, laid_out, sparkline
from pipeline.text import pluralize

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

    import duckdb
    from rich.console import Console

    from pipeline.reports.standing.model import Column as Said
    from pipeline.reports.standing.model import Figure, Section, Table

REPORT_ROWS: Final = 20
"""Rows of a table in a report; it says how many more there are, and the SQL that shows them."""
_LONGEST: Final = 200
"""Characters of a cell in a terminal; every other format has them all."""
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
    """Write the standing reports, or the given views; the trust line goes with them, for csv and json to `err`.

    json is one object of arrays where there are several views, and begins with `accounts`, which tells how far
    the rest can be trusted, where all are asked for; csv holds one table, so it wants one view.

    Raises:
        UnknownName: there is no such view.
        BadSetting: csv was asked for several views.
        LakeDamaged: a committed file is missing or unreadable.
    """
    names = [relation(name).name for name in views] or list(STANDING)
    if output_format == "table":
        with console_on(out) as console:
            print_provenance(provenance_line(con), console)
            if not views:
                _print_report(con, console)
            for name in names if views else ():
                console.print()
                if name in ON_REPORT:
                    print_section(section(con, name), console)
                else:
                    _print_view(con, name, console)
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


def _write_markdown(con: duckdb.DuckDBPyConnection, names: Sequence[str], most: int, out: TextIO) -> None:
    told = (
        (section(con, name) for name in names if name in ON_REPORT)
        if most > REPORT_ROWS
        else build_report(con).sections
    )
    findings = {one.table.view: f"{one.topic}: {one.finding}" for one in told}
    out.write(f"{markdown_cell(provenance_line(con))}\n")
    for name in names:
        out.write(f"\n## {name}\n\n")
        if name in findings:
            out.write(f"{markdown_cell(findings[name])}\n\n")
        kept, more = cut(read(con, name), most)
        write_markdown(kept, out)
        if more:
            out.write(f"\n… and {more:,} more: `from {name}`\n")


# ── in a terminal ────────────────────────────────────────────────────────────


def print_provenance(line: str, console: Console) -> None:
    """One line where it goes to a file; on a terminal as many as it takes, broken between what it says."""
    lines = [""]
    for part in line.split(" · "):
        longer = f"{lines[-1]} · {part}" if lines[-1] else part
        if console.is_terminal and len(longer) > console.width and lines[-1]:
            lines.append(part)
        else:
            lines[-1] = longer
    for one in lines:
        console.print(one, style="bold", soft_wrap=not console.is_terminal)


def _print_report(con: duckdb.DuckDBPyConnection, console: Console) -> None:
    told = build_report(con)
    if told.is_trouble:
        console.print()
        print_section(told.accounts, console)
    if told.figures:
        console.print()
        console.print(_glance(told.figures, console.width))
    for one in told.sections:
        console.print()
        print_section(one, console)


def _glance(figures: Sequence[Figure], width: int) -> Any:
    """The numbers at the top."""
    columns = (
        Column("at a glance", [one.label for one in figures], breaks=10),
        Column("", [f"{one.value} {one.unit}".rstrip() for one in figures], is_number=True),
        Column("", [one.note for one in figures], breaks=12, rank=1),
    )
    return laid_out(columns, width)


def print_section(one: Section, console: Console, limit: int = REPORT_ROWS) -> None:
    """Print a finding, the table that shows it, and its notes."""
    from rich.text import Text

    console.print(Text.assemble((one.topic, "bold cyan"), f": {one.finding}"))
    if one.table.rows:
        is_trend = one.chart is not None and one.chart.kind == "lines"
        rows = one.table.rows[:limit]
        shown = _trend(one.table, console.width) if is_trend else _table(one.table, console.width, limit)
        console.print()
        console.print(shown)
        if not is_trend:
            _print_rest(console, one.table.view, one.table.count - len(rows))
    for note in one.notes:
        console.print(note, style="dim")


def _print_view(con: duckdb.DuckDBPyConnection, name: str, console: Console) -> None:
    """A table or view as it is."""
    from rich.text import Text

    kept, more = cut(read(con, name), REPORT_ROWS)
    count = more + len(list(kept.rows))
    console.print(Text.assemble((name, "bold cyan"), f": {pluralize(count, 'row')}"))
    if count:
        console.print()
        console.print(as_table(kept, console))
    _print_rest(console, name, more)


def _print_rest(console: Console, view: str, more: int) -> None:
    if more > 0:
        console.print(f"… and {more:,} more, with the SQL: from {view}", style="dim")


def _table(table: Table, width: int, limit: int) -> Any:
    """The first rows, and what they add up to."""
    rows = [*table.rows[:limit], *([table.sums] if table.sums else [])]
    return laid_out([_column(rows, column, width) for column in table.columns], width, has_sums=bool(table.sums))


def _short(text: str) -> str:
    """Leave out the end of what would fill the screen alone."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _column(rows: Sequence[dict[str, Any]], said: Said, width: int) -> Column:
    values = [row.get(said.name, "") for row in rows]
    cells = [_short(format_value(row[said.name], said)) if said.name in row else "" for row in rows]
    return Column(
        said.heading,
        cells,
        is_number=said.is_number and said.kind != "share",
        # an id in two pieces cannot be copied
        breaks=12 * (said.kind == "words" or max(map(len, cells)) > 32),
        rank=said.rank,
        draw=(lambda row, room: bar(values[row] or 0, room)) if said.kind == "share" else None,
        room=(4, max(4, min(24, width // 9))),
        styles=[_COLOURS.get(cell, "") for cell in cells],
    )


def _trend(table: Table, width: int) -> Any:
    """A line a figure: what it was on the first day, the way to the last, and what came or went."""
    days = table.rows[::-1]
    lines = {
        column.heading: [row[column.name] for row in days]
        for column in table.columns
        if column.kind == "number" and any(row[column.name] for row in days)
    }
    first, last = ([f"{values[place]:,}" for values in lines.values()] for place in (0, -1))
    every = list(lines.values())
    names = Column("held", list(lines))
    now = Column(f"{days[-1]['day_utc']}", last, is_number=True)
    if len(days) == 1:
        return laid_out((names, now), width)
    columns = (
        names,
        Column(f"{days[0]['day_utc']}", first, is_number=True, rank=3),
        Column(
            "",
            [""] * len(every),
            rank=1,
            draw=lambda row, room: sparkline(every[row], room),
            room=(8, max(8, min(width // 2, len(days)))),
        ),
        now,
        Column("change", [gain(values[-1] - values[0]) for values in every], is_number=True, rank=2),
    )
    return laid_out(columns, width)
