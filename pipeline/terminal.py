"""What a terminal shows: tables, bars, sparklines, and how a run gets on.

On a terminal in colour and as wide as it is; off one plain, and always the
same bytes.
"""

from __future__ import annotations

import contextlib
import io
import sys
from typing import TYPE_CHECKING, Any, Final, Literal

from pipeline.spelling import grouped, harmless, is_number, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TextIO

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from pipeline.rows import Rows

PLAIN_WIDTH: Final = 80
"""Columns of a report that goes to no terminal."""
BAR_WIDTH: Final = 9
NOTHING: Final = "–"  # noqa: RUF001  (the dash that stands for null)


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
    return grouped(value) if is_number(kind) else harmless(plain(value))


def as_table(rows: Rows, console: Console) -> Table | Text:
    """Lay rows out as a table; texts may break, numbers and instants not; if that is not enough, as records."""
    from rich.cells import cell_len
    from rich.text import Text

    cells = [[shown(value, kind) for value, kind in zip(row, rows.types, strict=True)] for row in rows.rows]
    names = [harmless(name) for name in rows.columns]
    widths = [max(cell_len(name), *(cell_len(row[number]) for row in cells), 0) for number, name in enumerate(names)]
    breaks = [kind == "VARCHAR" for kind in rows.types]
    least = [
        min(width, max(16, cell_len(name))) if may_break else width
        for width, may_break, name in zip(widths, breaks, names, strict=True)
    ]
    gaps = 3 * (len(names) - 1)
    if not names:
        return Text("")
    if sum(least) + gaps > console.width and cells:
        return _records(names, cells)
    table = new_table()
    for name, kind, may_break, width in zip(names, rows.types, breaks, least, strict=True):
        justify: Literal["left", "right"] = "right" if is_number(kind) else "left"
        table.add_column(name, justify=justify, no_wrap=not may_break, overflow="fold", min_width=width)
    for row in cells:
        table.add_row(*map(Text, row))
    return table


def new_table() -> Table:
    """An empty table in our style."""
    from rich import box
    from rich.table import Table

    return Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")


def _records(names: Sequence[str], cells: Sequence[Sequence[str]]) -> Text:
    from rich.text import Text

    wide = max(map(len, names))
    text = Text()
    for number, row in enumerate(cells, start=1):
        text.append(f"── {number:,} ──\n", style="dim")
        for name, cell in zip(names, row, strict=True):
            text.append(f"{name:<{wide}}  ", style="bold").append(f"{cell}\n")
    text.rstrip()
    return text


def bar(part: float, width: int = BAR_WIDTH) -> str:
    """Draw a share between 0 and 1 in eighths of a character."""
    eighths = round(max(0.0, min(1.0, part)) * width * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def sparkline(values: Sequence[float], width: int = 40) -> str:
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
                tasks[account] = shown.add_task(harmless(account))
            shown.update(tasks[account], description=f"{harmless(account)}, pass {number}", completed=pages, total=of)

        yield tell


def _tell(err: TextIO, account: str, number: int, pages: int, of: int | None) -> None:
    if pages == of or pages % 100 == 0:
        whole = f" of {of:,}" if of is not None else ""
        err.write(f"{harmless(account)}: pass {number}, {pages:,}{whole} pages\n")
