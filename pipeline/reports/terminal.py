"""What a terminal shows: tables, bars, sparklines, and how a run gets on.

On a terminal in colour and as wide as it is; off one plain, and always the
same bytes.
"""

from __future__ import annotations

import contextlib
import io
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pipeline.text import NOTHING, escape_control, is_number, plain_text, thousands

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import TextIO

    from rich.console import Console, Group
    from rich.table import Table
    from rich.text import Text

    from pipeline.reports.query import Rows

PLAIN_WIDTH: Final = 80
"""Columns of a report that goes to no terminal."""
_GAP: Final = 2
_COMFORT: Final = 20
"""So much of a text in a line reads well: rather than break it sooner, columns of less rank go."""


@contextlib.contextmanager
def console_on(out: TextIO, width: int = PLAIN_WIDTH) -> Iterator[Console]:
    """A console on `out`: in colour and as wide as a terminal; else plain and `width` wide, always the same."""
    from rich.console import Console

    if out.isatty():
        yield Console(file=out, markup=False, highlight=False, emoji=False)
        return
    aside = io.StringIO()
    yield Console(
        file=aside,
        width=width,
        color_system=None,
        force_terminal=False,
        markup=False,
        highlight=False,
        emoji=False,
    )
    out.writelines(f"{line.rstrip()}\n" for line in aside.getvalue().removesuffix("\n").split("\n"))


def shown(value: object, kind: str) -> str:
    """Spell a value of a type as a cell."""
    if value is None:
        return NOTHING
    return thousands(value) if is_number(kind) else escape_control(plain_text(value))


def as_table(rows: Rows, console: Console) -> Table | Text | Group:
    """Lay rows out as a table; texts may break, numbers and instants not; if that is not enough, as records."""
    cells = [[shown(value, kind) for value, kind in zip(row, rows.types, strict=True)] for row in rows.rows]
    columns = [
        Column(
            escape_control(name),
            [row[place] for row in cells],
            is_number=is_number(kind),
            breaks=16 * (kind == "VARCHAR"),
        )
        for place, (name, kind) in enumerate(zip(rows.columns, rows.types, strict=True))
    ]
    return laid_out(columns, console.width)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table before its width is known."""

    heading: str
    cells: Sequence[str]
    is_number: bool = False
    breaks: int = 0
    """The width at which a text may go over several lines; 0: never, as for numbers."""
    rank: int = 0
    """Where there is too little room the highest go first; 0 stays."""
    draw: Callable[[int, int], str] | None = None
    """What stands behind a cell: the row, and the width that there is."""
    room: tuple[int, int] = (0, 0)
    """The least and the most width of what is drawn."""
    styles: Sequence[str] = ()

    def widths(self) -> tuple[int, int, int]:
        """The least width that it can do with; the one at which it reads well; the most that it can make use of."""
        from rich.cells import cell_len

        text = max(map(cell_len, self.cells), default=0)
        heading, least = cell_len(self.heading), _in_two_lines(self.heading)
        if self.draw:
            behind = text + 1 if text else 0
            least, most = (max(least, behind + self.room[0]), max(heading, behind + self.room[1]))
            return least, least, most
        if self.breaks:
            return max(least, min(text, self.breaks)), max(least, min(text, _COMFORT)), max(text, heading)
        return max(text, least), max(text, least), max(text, heading)

    def cell(self, row: int, width: int) -> Text:
        """What is shown in a row."""
        from rich.cells import cell_len
        from rich.text import Text

        said = Text(self.cells[row], style=self.styles[row] if self.styles else "")
        if self.draw:
            text = max(map(cell_len, self.cells), default=0)
            said = Text(f"{self.cells[row]:>{text}}{' ' if text else ''}")
            said.append(self.draw(row, width - len(said)), style="cyan")
        return said


def laid_out(columns: Sequence[Column], width: int, *, has_sums: bool = False) -> Table | Text | Group:
    """Lay columns out in so many columns of a terminal: no number is cut or broken.

    Where there is too little room columns go by their rank, then texts break; if that is not enough, the rows are
    written as records. `has_sums` sets the last row apart.
    """
    from rich.text import Text

    if not columns:
        return Text("")
    fitting = _fitted(columns, width)
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


def _fitted(columns: Sequence[Column], width: int) -> list[tuple[Column, int]] | None:
    """The columns that stay, each with its width; None where even those that must stay are too wide."""
    kept = [(column, *column.widths()) for column in columns]

    def too_wide(widths: Iterable[int]) -> int:
        return sum(widths) + _GAP * (len(kept) - 1) - width

    while too_wide(good for _, _, good, _ in kept) > 0 and any(column.rank for column, *_ in kept):
        del kept[max(range(len(kept)), key=lambda place: (kept[place][0].rank, place))]
    if too_wide(least for _, least, _, _ in kept) > 0:
        return None
    widths = [most for _, _, _, most in kept]
    # First what is drawn shrinks and headings break, those first with which most is gained; then texts.
    for place in sorted(range(len(kept)), key=lambda place: kept[place][2] - widths[place]):
        if (over := too_wide(widths)) > 0 and not kept[place][0].breaks:
            widths[place] = max(kept[place][2], widths[place] - over) if kept[place][0].draw else kept[place][2]
    while (over := too_wide(widths)) > 0:
        widest, place = max((wide, place) for place, wide in enumerate(widths) if wide > kept[place][1])
        widths[place] = max(kept[place][1], widest - max(1, over // len(kept)))
    return [(column, wide) for (column, *_), wide in zip(kept, widths, strict=True)]


def _in_two_lines(heading: str) -> int:
    """The least width in which a heading goes over two lines at most."""
    from rich.cells import cell_len

    words = heading.split(" ")
    return min(max(cell_len(" ".join(words[:place])), cell_len(" ".join(words[place:]))) for place in range(len(words)))


def new_table() -> Table:
    """An empty table in our style."""
    from rich import box
    from rich.table import Table

    return Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="bold")


def _records(columns: Sequence[Column], width: int, *, has_sums: bool) -> Group:
    """A line a value; a value that goes over several lines stays behind its heading, where there is room for that."""
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
    """Draw values from left to right, lowest to highest; of more than `width`, the last of each stretch."""
    if len(values) > width:
        values = [values[(place + 1) * len(values) // width - 1] for place in range(width)]
    low, high = min(values), max(values)
    if low == high:
        return "▄" * len(values)
    return "".join("▁▂▃▄▅▆▇█"[round((value - low) / (high - low) * 7)] for value in values)


@contextlib.contextmanager
def progress(err: TextIO | None = None) -> Iterator[Callable[[str, int, int, int | None], None]]:
    """Show how a run gets on, on stderr: a bar for each account on a terminal, else a line for each pass."""
    err = sys.stderr if err is None else err
    if not err.isatty():
        yield lambda account, number, pages, of: _tell(err, account, number, pages, of)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with console_on(err) as console, Progress(*columns, console=console, transient=True) as shown:
        tasks: dict[str, Any] = {}

        def tell(account: str, number: int, pages: int, of: int | None) -> None:
            if account not in tasks:
                tasks[account] = shown.add_task(escape_control(account))
            shown.update(
                tasks[account], description=f"{escape_control(account)}, pass {number}", completed=pages, total=of
            )

        yield tell


def _tell(err: TextIO, account: str, number: int, pages: int, of: int | None) -> None:
    if pages == of or pages % 100 == 0:
        whole = f" of {of:,}" if of is not None else ""
        err.write(f"{escape_control(account)}: pass {number}, {pages:,}{whole} pages\n")
