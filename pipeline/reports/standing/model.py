"""The parts of a report: plain data, which the terminal and the HTML page show each in its own way.

    Report ─┬─< Figure      a number at the top
            └─< Section ─┬─ Chart
                         ├─ Table ─< Column    heading, kind of the values, value
                         └─< QueryText         SQL

A section answers one question: the finding, the table and chart that show it,
and the SQL that found it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from pipeline.text import NOTHING, escape_control, plain_text, thousands
from pipeline.views.catalog import relations

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Mapping, Sequence

Kind: TypeAlias = Literal["text", "words", "number", "gain", "share", "percent", "day", "minute"]
Row: TypeAlias = dict[str, Any]
ChartKind: TypeAlias = Literal["lines", "bars", "columns", "pyramid"]

NONE: Final = "(none)"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its name in the rows, its heading with the unit, the kind of its values."""

    name: str
    heading: str
    kind: Kind = "text"
    sort_by: str = ""
    """The column whose values sort this one, where they are not its own."""
    rank: int = 0
    """Where room is short, columns of the highest rank are left out first; 0 always stays."""
    value: Callable[[Row, Counter[str]], Any] | None = None
    """Compute the value from a row of the query and the sums of all rows; None: the row has it."""
    only_if_any: bool = False
    """Leave the column out where the sum of its values is 0."""

    @property
    def is_number(self) -> bool:
        """True where the values are right-aligned."""
        return self.kind in {"number", "gain", "share", "percent"}


@dataclass(frozen=True, slots=True)
class Table:
    """The first rows of a view, and how many rows the view has."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    count: int
    view: str
    sums: Row | None = None
    """A last row with the sums."""


@dataclass(frozen=True, slots=True)
class Series:
    """A series of a chart: its name in the legend, its colour, and whether the chart shows it at first."""

    name: str
    colour: str
    is_shown: bool = True


@dataclass(frozen=True, slots=True)
class Chart:
    """The figures of one chart.

    lines      a line for each series over days                        at: the day
    bars       a bar for each entry, its series end to end             at: the entry
    columns    a column for each day or week, up and down from zero    at: its first day
    pyramid    two bars for each entry, one to each side               at: the entry
    """

    kind: ChartKind
    unit: str
    axis: str
    """Title of the axis of values, with the unit."""
    entry: str
    """Name of one entry, in the singular: region, day."""
    series: tuple[Series, ...]
    at: tuple[str, ...]
    """The entries in order."""
    values: tuple[tuple[float | None, ...], ...]
    """A row for each entry, a value for each series."""
    alt: str
    """The chart in words, for readers who cannot see it."""
    tooltips: tuple[tuple[str, ...], ...] = ()
    """The values in words for the tooltip; empty where the numbers suffice."""
    note: str = ""
    """The entries that the chart leaves out, in words."""


@dataclass(frozen=True, slots=True)
class QueryText:
    """SQL of a section, and its purpose there."""

    purpose: str
    sql: str

    @property
    def reads(self) -> tuple[str, ...]:
        """The views that the SQL names."""
        words = set(re.findall(r"\w+", self.sql))
        return tuple(name for name, relation in relations().items() if relation.query and name in words)


@dataclass(frozen=True, slots=True)
class Section:
    """The answer to one question: the finding, the chart and the table that show it, the SQL that found it."""

    name: str
    topic: str
    finding: str
    table: Table
    queries: tuple[QueryText, ...]
    chart: Chart | None = None
    notes: tuple[str, ...] = ()
    is_wide: bool = False
    """True where the table needs the whole width of the page."""
    groups: Table | None = None
    """A short table before the chart: how the rows of `table` and `further` divide."""
    further: tuple[Table, ...] = ()
    """Tables below `table`."""

    @property
    def reads(self) -> tuple[str, ...]:
        """The views that the SQL names."""
        return tuple(dict.fromkeys(name for query in self.queries for name in query.reads))


@dataclass(frozen=True, slots=True)
class Figure:
    """One number at the top, and the section with its details."""

    label: str
    value: str
    unit: str
    note: str
    section: str
    days: tuple[int, ...] = ()
    """The values of the days up to it."""


@dataclass(frozen=True, slots=True)
class Report:
    """All standing reports of a lake."""

    title: str
    accounts: Section
    needs_attention: bool
    """True where an account is stale or below `verified`, or has rejects or unknown fields."""
    figures: tuple[Figure, ...]
    sections: tuple[Section, ...]
    views: Mapping[str, str]
    """The SQL of every view that was read, directly or through another view."""


def table(
    caption: str,
    view: str,
    columns: Sequence[Column],
    rows: Sequence[Row],
    *,
    count: int | None = None,
    sums: Row | None = None,
) -> Table:
    """Make a table; `count` where the view has more than `rows`, `sums` for a last row under several."""
    has_sums = len(rows) > 1
    return Table(
        caption, tuple(columns), tuple(rows), len(rows) if count is None else count, view, sums if has_sums else None
    )


def days_between(days: Sequence[Row]) -> int:
    """Days from the first to the last row of `capacity_by_day`, newest first: 29 from the 1st to the 30th."""
    last, first = days[0]["day_utc"], days[-1]["day_utc"]
    return int((last - first).days)


def label(value: object) -> str:
    """Name an entry of a chart: a text of the service with control characters escaped, or `(none)`."""
    return escape_control(plain_text(value)) or NONE


def format_value(value: Any, column: Column) -> str:
    """Format a value as its column says; null is `(none)` among texts and a dash among numbers."""
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
    """Format a change with its sign, a minus as wide as a plus: +1, −1,200, 0."""  # noqa: RUF002  (the sign)
    return f"{value:+,}".replace("-", "−") if value else "0"  # noqa: RUF001  (the sign)
