"""What a story is made of: plain data, which a terminal and a page each show in their own way.

    Story ─┬─< Figure      a number at the top
           └─< Section ─┬─ Chart
                        ├─ Table ─< Column    what it reads, and how its values are spelled
                        └─< Asked             SQL

A section is one question: its finding, what shows it, and the SQL that found it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from pipeline.text import NOTHING, escape_control, plain_text, thousands
from pipeline.views.catalog import relations

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Kind: TypeAlias = Literal["text", "words", "number", "gain", "share", "percent", "day", "minute"]
Row: TypeAlias = dict[str, Any]

Drawing: TypeAlias = Literal["lines", "bars", "columns", "pyramid"]

NONE: Final = "(none)"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: what it reads, its heading with its unit, and how its values are spelled."""

    name: str
    heading: str
    kind: Kind = "text"
    sort_by: str = ""
    """The column that it is sorted by, where that is another."""
    rank: int = 0
    """Where there is little room the highest go first; 0 stays."""

    @property
    def is_number(self) -> bool:
        """Whether its values line up on the right."""
        return self.kind in {"number", "gain", "share", "percent"}


@dataclass(frozen=True, slots=True)
class Table:
    """The first rows of an answer, how many there are in all, and the view that has them all."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    count: int
    view: str
    sums: Row | None = None
    """What stands under the columns that add up."""


@dataclass(frozen=True, slots=True)
class Series:
    """What one colour stands for: its name in the legend, the colour's, and whether it is shown from the start."""

    name: str
    colour: str
    is_shown: bool = True


@dataclass(frozen=True, slots=True)
class Chart:
    """The figures of one chart.

    lines      a line a series over days                        at: the day
    bars       a bar an entry, its series end to end            at: the entry
    columns    a column a day or week, up and down from zero    at: its first day
    pyramid    two bars an entry, one to each side              at: the entry
    """

    kind: Drawing
    unit: str
    axis: str
    """The title of the axis of values, with its unit."""
    entry: str
    """What one `at` is, in the singular: region, day."""
    series: tuple[Series, ...]
    at: tuple[str, ...]
    """The entries in their order."""
    values: tuple[tuple[float | None, ...], ...]
    """A row for each entry, a value for each series."""
    alt: str
    """What the chart shows, for who cannot see it."""
    told: tuple[tuple[str, ...], ...] = ()
    """The values in words for the tooltip, where they say more than the number."""
    note: str = ""
    """What it leaves out."""


@dataclass(frozen=True, slots=True)
class QueryText:
    """SQL that was run, and what it answers."""

    what: str
    sql: str

    @property
    def reads(self) -> tuple[str, ...]:
        """The views that it names."""
        words = set(re.findall(r"\w+", self.sql))
        return tuple(name for name, one in relations().items() if one.query and name in words)


@dataclass(frozen=True, slots=True)
class Section:
    """One question: its finding, the chart and the table that show it, the SQL that found it."""

    name: str
    topic: str
    finding: str
    table: Table
    asked: tuple[QueryText, ...]
    chart: Chart | None = None
    notes: tuple[str, ...] = ()
    is_wide: bool = False
    """Whether its table needs the whole width."""

    @property
    def reads(self) -> tuple[str, ...]:
        """The views that its SQL names."""
        return tuple(dict.fromkeys(name for asked in self.asked for name in asked.reads))


@dataclass(frozen=True, slots=True)
class Figure:
    """One number at the top, and the section that tells more."""

    label: str
    value: str
    unit: str
    note: str
    section: str
    days: tuple[int, ...] = ()
    """What led there, day by day."""


@dataclass(frozen=True, slots=True)
class Report:
    """The whole of it."""

    title: str
    accounts: Section
    is_trouble: bool
    """Whether the accounts want a look: one is stale, below `verified`, or has what did not fit."""
    figures: tuple[Figure, ...]
    sections: tuple[Section, ...]
    views: Mapping[str, str]
    """The SQL of every view that was read, and of those that they read."""


def table(
    caption: str,
    view: str,
    columns: Sequence[Column],
    rows: Sequence[Row],
    *,
    count: int | None = None,
    sums: Row | None = None,
) -> Table:
    """Lay rows under columns; `count` where there are more than `rows`, `sums` for a last line that adds up."""
    several = len(rows) > 1
    return Table(
        caption, tuple(columns), tuple(rows), len(rows) if count is None else count, view, sums if several else None
    )


def days_between(days: Sequence[Row]) -> int:
    """The days from the first to the last of `capacity_by_day`, whose newest is first: 29 from the 1st to the 30th."""
    last, first = days[0]["day_utc"], days[-1]["day_utc"]
    return int((last - first).days)


def label(value: object) -> str:
    """Name an entry: a text of the service as it can be shown, or `(none)`."""
    return escape_control(plain_text(value)) or NONE


def format_value(value: Any, column: Column) -> str:
    """Spell a value as its column says; what is not there as `(none)` among texts, as a dash among figures."""
    if value is None:
        return NONE if column.kind in {"text", "words"} else NOTHING
    if value == "":
        return ""
    if column.kind in {"share", "percent"}:
        return f"{value:.0%}"
    if column.kind == "gain":
        return gain(value)
    if column.kind == "number":
        return thousands(value)
    if column.kind in {"day", "minute"}:
        return f"{value:%Y-%m-%d %H:%M}" if column.kind == "minute" else f"{value:%Y-%m-%d}"
    return escape_control(plain_text(value))


def gain(value: float) -> str:
    """Spell a change with its sign, a minus as wide as a plus: +1, −1,200, 0."""  # noqa: RUF002  (the sign)
    return f"{value:+,}".replace("-", "−") if value else "0"  # noqa: RUF001  (the sign)
