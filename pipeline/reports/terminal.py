"""Terminal output: tables, bars, sparklines, the progress of a run.

On a terminal the output has colours and the terminal's width. Elsewhere it is
plain, `PLAIN_WIDTH` wide, and always the same bytes.
"""

from __future__ import annotations

import codecs
import contextlib
import functools
import io
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pipeline.text import NOTHING, duration, escape_control, is_number, plain_text, pluralize, thousands

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import TextIO

    from rich.console import Console, Group
    from rich.table import Table
    from rich.text import Text

    from pipeline.extract.reader import Progress
    from pipeline.extract.time_limit import Estimate
    from pipeline.reports.query import Rows

PLAIN_WIDTH: Final = 80
"""Width of a report that goes to no terminal."""
_SHORT_PASS_SECONDS: Final = 10
_GAP: Final = 2
_READABLE_WIDTH: Final = 20
"""Width at which a broken text still reads well; before a text gets narrower, columns with a rank are left out."""


_ASCII: Final = {
    **dict.fromkeys("─━–—", "-"),  # noqa: RUF001  (dashes)
    **dict.fromkeys("█▉▊▋▌", "#"),
    **dict.fromkeys("▍▎▏", "-"),
    **dict(zip("▁▂▃▄▅▆▇", "_.,-=+*", strict=True)),
    "·": "|",
    "…": "...",
    "’": "'",  # noqa: RUF001  (an apostrophe)
}
"""What is drawn where a stream cannot print a character."""


def _draw_in_ascii(error: UnicodeError) -> tuple[str, int]:
    """Replace what a stream cannot encode: a drawing by ASCII, any other character by its code."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return "".join(_ASCII.get(one) or one.encode("ascii", "backslashreplace").decode() for one in characters), error.end


codecs.register_error("ascii_drawing", _draw_in_ascii)


@contextlib.contextmanager
def _drawing_on(out: TextIO) -> Iterator[None]:
    """Let `out` draw in ASCII what it cannot encode; data in other formats keeps its codes."""
    if not isinstance(out, io.TextIOWrapper):
        yield
        return
    before = out.errors
    out.reconfigure(errors="ascii_drawing")
    try:
        yield
    finally:
        out.reconfigure(errors=before)


@contextlib.contextmanager
def console_on(out: TextIO, width: int = PLAIN_WIDTH) -> Iterator[Console]:
    """Open a console on `out`: a terminal as it is, else plain and `width` wide."""
    with _drawing_on(out), _console(out, width) as console:
        yield console


@contextlib.contextmanager
def _console(out: TextIO, width: int) -> Iterator[Console]:
    from rich.console import Console

    if out.isatty():
        yield Console(file=out, markup=False, highlight=False, emoji=False)
        return
    buffer = io.StringIO()
    yield Console(
        file=buffer,
        width=width,
        color_system=None,
        force_terminal=False,
        markup=False,
        highlight=False,
        emoji=False,
    )
    out.writelines(f"{line.rstrip()}\n" for line in buffer.getvalue().removesuffix("\n").split("\n"))


def format_cell(value: object, kind: str) -> str:
    """Format a value of a DuckDB type as a cell."""
    if value is None:
        return NOTHING
    return thousands(value) if is_number(kind) else escape_control(plain_text(value))


def as_table(rows: Rows, console: Console) -> Table | Text | Group:
    """Lay rows out as a table, or as records where it is too wide. Only texts may break over lines."""
    cells = [[format_cell(value, kind) for value, kind in zip(row, rows.types, strict=True)] for row in rows.rows]
    columns = [
        LaidOutColumn(
            escape_control(name),
            [row[index] for row in cells],
            is_number=is_number(kind),
            breaks=16 * (kind == "VARCHAR"),
        )
        for index, (name, kind) in enumerate(zip(rows.columns, rows.types, strict=True))
    ]
    return lay_out(columns, console.width)


@dataclass(frozen=True, slots=True)
class LaidOutColumn:
    """A column of a table before its width is known."""

    heading: str
    cells: Sequence[str]
    is_number: bool = False
    breaks: int = 0
    """The width from which on a text may break over lines; 0: never, as for numbers."""
    rank: int = 0
    """Where room is short, columns of the highest rank are left out first; 0 always stays."""
    draw: Callable[[int, int], str] | None = None
    """Draw after a cell, given the row and the width."""
    room: tuple[int, int] = (0, 0)
    """The least and the greatest width of the drawing."""
    styles: Sequence[str] = ()

    def widths(self) -> tuple[int, int, int]:
        """Returns: the least width, the least width that reads well, the greatest width that is of use."""
        from rich.cells import cell_len

        text = max(map(cell_len, self.cells), default=0)
        heading, least = cell_len(self.heading), _two_line_width(self.heading)
        if self.draw:
            before = text + 1 if text else 0
            least, most = max(least, before + self.room[0]), max(heading, before + self.room[1])
            return least, least, most
        if self.breaks:
            return max(least, min(text, self.breaks)), max(least, min(text, _READABLE_WIDTH)), max(text, heading)
        return max(text, least), max(text, least), max(text, heading)

    def cell(self, row: int, width: int) -> Text:
        """The cell of a row, with its drawing."""
        from rich.cells import cell_len
        from rich.text import Text

        cell = Text(self.cells[row], style=self.styles[row] if self.styles else "")
        if self.draw:
            text = max(map(cell_len, self.cells), default=0)
            cell = Text(f"{self.cells[row]:>{text}}{' ' if text else ''}")
            cell.append(self.draw(row, width - len(cell)), style="cyan")
        return cell


def lay_out(columns: Sequence[LaidOutColumn], width: int, *, has_sums: bool = False) -> Table | Text | Group:
    """Lay columns out in `width` characters; no number is cut or broken.

    Where room is short, columns are left out by their rank, then texts break; where that is not enough, the rows become
    records. `has_sums` sets the last row apart.
    """
    from rich.text import Text

    if not columns:
        return Text("")
    fitting = _fit(columns, width)
    if fitting is None:
        return _records([column for column in columns if not column.rank], width, has_sums=has_sums)
    table = new_table()
    for column, wide in fitting:
        table.add_column(column.heading, justify="right" if column.is_number else "left", overflow="fold", width=wide)
    count = len(columns[0].cells)
    for row in range(count):
        is_sum = has_sums and row == count - 1
        if is_sum:
            table.add_section()
        table.add_row(*(column.cell(row, wide) for column, wide in fitting), style="bold" if is_sum else "")
    return table


def _fit(columns: Sequence[LaidOutColumn], width: int) -> list[tuple[LaidOutColumn, int]] | None:
    """Returns: the columns that stay, each with its width; None where the columns without a rank are too wide."""
    kept = [(column, *column.widths()) for column in columns]

    def excess(widths: Iterable[int]) -> int:
        return sum(widths) + _GAP * (len(kept) - 1) - width

    while excess(readable for _, _, readable, _ in kept) > 0 and any(column.rank for column, *_ in kept):
        del kept[max(range(len(kept)), key=lambda place: (kept[place][0].rank, place))]
    if excess(least for _, least, _, _ in kept) > 0:
        return None
    widths = [most for _, _, _, most in kept]
    # Drawings shrink and headings break first, in the order of the width they give; then texts break.
    for place in sorted(range(len(kept)), key=lambda place: kept[place][2] - widths[place]):
        if (over := excess(widths)) > 0 and not kept[place][0].breaks:
            widths[place] = max(kept[place][2], widths[place] - over) if kept[place][0].draw else kept[place][2]
    while (over := excess(widths)) > 0:
        widest, place = max((wide, place) for place, wide in enumerate(widths) if wide > kept[place][1])
        widths[place] = max(kept[place][1], widest - max(1, over // len(kept)))
    return [(column, wide) for (column, *_), wide in zip(kept, widths, strict=True)]


def _two_line_width(heading: str) -> int:
    """Returns: the least width in which a heading takes two lines at most."""
    from rich.cells import cell_len

    words = heading.split(" ")
    return min(max(cell_len(" ".join(words[:place])), cell_len(" ".join(words[place:]))) for place in range(len(words)))


def new_table() -> Table:
    """Make an empty table in the style of the reports."""
    from rich import box
    from rich.table import Table

    return Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="bold")


def _records(columns: Sequence[LaidOutColumn], width: int, *, has_sums: bool) -> Group:
    """Write a line a value; a value of several lines is indented behind its heading where there is room."""
    from rich.cells import cell_len
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    wide = max(cell_len(column.heading) for column in columns)
    least = max(column.breaks or max(map(cell_len, column.cells)) for column in columns)
    count = len(columns[0].cells)
    parts: list[Any] = []
    for row in range(count):
        name = "all" if has_sums and row == count - 1 else f"{row + 1:,}"
        parts.append(Text(f"── {name} ──", style="dim"))
        lines = [(Text(column.heading, style="bold"), Text(column.cells[row])) for column in columns]
        if wide + _GAP + least > width:
            parts += [Text.assemble(heading, " " * _GAP, value) for heading, value in lines]
            continue
        record = Table.grid(padding=(0, _GAP, 0, 0))
        record.add_column(width=wide)
        record.add_column(overflow="fold")
        for line in lines:
            record.add_row(*line)
        parts.append(record)
    return Group(*parts)


def bar(part: float, width: int) -> str:
    """Draw a share between 0 and 1 in eighths of a character."""
    eighths = round(max(0.0, min(1.0, part)) * width * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def sparkline(values: Sequence[float], width: int) -> str:
    """Draw values from left to right; of more than `width` values, the last of each group."""
    if len(values) > width:
        values = [values[(place + 1) * len(values) // width - 1] for place in range(width)]
    low, high = min(values), max(values)
    if low == high:
        return "▄" * len(values)
    return "".join("▁▂▃▄▅▆▇█"[round((value - low) / (high - low) * 7)] for value in values)


@contextlib.contextmanager
def progress(err: TextIO | None = None) -> Iterator[Progress]:
    """Show the progress of a run on stderr: a bar for each account on a terminal, else a line for each pass."""
    err = sys.stderr if err is None else err
    if not err.isatty():
        yield functools.partial(_write_progress, err)
        return
    from rich import progress as rich_progress

    columns = (
        rich_progress.TextColumn("{task.description}", markup=False),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TimeElapsedColumn(),
        rich_progress.TextColumn("{task.fields[estimate]}", markup=False),
    )
    with console_on(err) as console, rich_progress.Progress(*columns, console=console, transient=True) as bars:
        tasks: dict[str, Any] = {}

        def update(account: str, number: int, pages: int, total: int | None, estimate: Estimate) -> None:
            if account not in tasks:
                tasks[account] = bars.add_task(escape_control(account), estimate="")
            bars.update(
                tasks[account],
                description=f"{escape_control(account)}, pass {number}",
                completed=pages,
                total=total,
                estimate=_estimate(estimate),
            )

        yield update


def _write_progress(
    err: TextIO, account: str, number: int, pages: int, total: int | None, estimate: Estimate, /
) -> None:
    if pages == total or pages % 100 == 0:
        read = pluralize(pages, "page") if total is None else f"{pages:,} of {pluralize(total, 'page')}"
        words = ", ".join(filter(None, (f"pass {number}", read, _estimate(estimate))))
        err.write(f"{escape_control(account)}: {words}\n")


def _estimate(estimate: Estimate) -> str:
    """How long a pass over all accounts takes, and when it is given up; nothing where it takes seconds."""
    if estimate.pass_seconds < _SHORT_PASS_SECONDS:
        return ""
    return f"about {duration(estimate.pass_seconds)} a pass, at most {duration(estimate.limit_seconds)}"
