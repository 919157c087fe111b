"""A table for a person: aligned, with thousands separators; records below each other where it is too wide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.reports.formats import OutputFormat

if TYPE_CHECKING:
    from typing import TextIO

    from pipeline.reports.query import Rows

TABLE_ROWS: Final = 1_000
"""Rows of a result as a table; the other formats write all rows."""
_UNBOUNDED: Final = 1_000_000


def write_table(rows: Rows, out: TextIO) -> int:
    """Write the first `TABLE_ROWS` rows, and how many more there are."""
    from pipeline.reports.query import cut
    from pipeline.reports.terminal import as_table, console_on

    first_rows, more = cut(rows, TABLE_ROWS)
    with console_on(out, width=_UNBOUNDED) as console:
        console.print(as_table(first_rows, console))
        if more:
            console.print(f"… and {more:,} more: `--format csv` writes them all", style="dim", soft_wrap=True)
    return len(list(first_rows.rows))


FORMAT: Final = OutputFormat(write=write_table)
