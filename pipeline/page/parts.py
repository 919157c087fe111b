"""What a page is made of.

    Story ─┬─ Figure      a number at the top
           └─< Section ─┬─ Chart
                        ├─ Table ─< Cell      as it is shown, and as it is sorted
                        └─< Asked             SQL

A section is one question: its finding, what shows it, and the SQL that found it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from pipeline.spelling import grouped, harmless, plain
from pipeline.views import relations

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.page.charts import Chart

Kind: TypeAlias = Literal["text", "words", "number", "gain", "share", "percent", "day", "minute"]
Row: TypeAlias = dict[str, Any]

TABLE_ROWS: Final = 50
"""Rows of a table; it says how many there are."""
NONE: Final = "(none)"
_NOTHING: Final = "–"  # noqa: RUF001  (the dash that stands for null)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: what it reads, its heading with its unit, and how its values are spelled."""

    name: str
    heading: str
    kind: Kind = "text"
    sort_by: str = ""
    """The column that it is sorted by, where that is another."""

    @property
    def is_number(self) -> bool:
        """Whether its values line up on the right."""
        return self.kind in {"number", "gain", "share", "percent"}


@dataclass(frozen=True, slots=True)
class Cell:
    """A value as it is shown, and as it is sorted; what is empty there goes last."""

    text: str
    sort: str = ""
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """The first rows of an answer, how many there are in all, and what is exported to have them."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    count: int
    view: str
    sums: tuple[Cell, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """SQL that was run, and what it answers."""

    what: str
    sql: str


@dataclass(frozen=True, slots=True)
class Section:
    """One question: its finding, the chart and the table that show it, the SQL that found it."""

    name: str
    topic: str
    finding: str
    table: Table
    asked: tuple[Asked, ...]
    chart: Chart | None = None
    notes: tuple[str, ...] = ()
    is_wide: bool = False
    """Whether its table needs the whole width."""

    @property
    def reads(self) -> tuple[str, ...]:
        """The views that its SQL names."""
        words = {word.strip("(),") for asked in self.asked for word in asked.sql.split()}
        return tuple(name for name, one in relations().items() if one.query and name in words)


@dataclass(frozen=True, slots=True)
class Figure:
    """One number at the top, and the section that tells more."""

    label: str
    value: str
    unit: str
    note: str
    section: str
    spark: str = ""
    """Points of the line that led there, in a box of 100 by 24."""


@dataclass(frozen=True, slots=True)
class Story:
    """The whole page."""

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
    """Spell rows as a table; `count` where there are more than `rows`, `sums` for a last line that adds up."""
    return Table(
        caption,
        tuple(columns),
        tuple(tuple(_sorted_cell(row, column) for column in columns) for row in rows[:TABLE_ROWS]),
        len(rows) if count is None else count,
        view,
        tuple(_cell(sums.get(column.name, ""), column) for column in columns) if sums and len(rows) > 1 else (),
    )


def label(value: object) -> str:
    """Name an entry: a text of the service as it can be shown, or `(none)`."""
    return harmless(plain(value)) or NONE


def _sorted_cell(row: Row, column: Column) -> Cell:
    cell = _cell(row[column.name], column)
    return replace(cell, sort=str(row[column.sort_by])) if column.sort_by else cell


def _cell(value: Any, column: Column) -> Cell:
    if value is None:
        return Cell(NONE if column.kind in {"text", "words"} else _NOTHING)
    if value == "":
        return Cell("")
    if column.kind in {"share", "percent"}:
        return Cell(f"{value:.0%}", repr(float(value)), float(value) if column.kind == "share" else None)
    if column.kind == "gain":
        return Cell(gain(value), str(value))
    if column.kind == "number":
        return Cell(grouped(value), str(value))
    if column.kind == "minute":
        return Cell(f"{value:%Y-%m-%d %H:%M}", f"{value:%Y-%m-%dT%H:%M:%S}")
    if column.kind == "day":
        return Cell(f"{value:%Y-%m-%d}", f"{value:%Y-%m-%dT%H:%M:%S}")
    text = harmless(plain(value))
    return Cell(text, text)


def gain(value: float) -> str:
    """Spell a change with its sign, a minus as wide as a plus: +1, −1,200, 0."""  # noqa: RUF002  (the sign)
    return f"{value:+,}".replace("-", "−") if value else "0"  # noqa: RUF001  (the sign)
