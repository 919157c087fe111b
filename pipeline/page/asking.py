"""How the page asks: rows by name, sums, a bar for each."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from pipeline.page.charts import Chart, Series
from pipeline.page.parts import label
from pipeline.rows import as_dicts, query

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import duckdb

    from pipeline.page.parts import Column, Row

CHART_ROWS: Final = 12
"""Bars of a chart; what is left is added up in one more."""
CHART_DAYS: Final = 731
"""Days of a chart: two years; it says how many there are."""


def ask(con: duckdb.DuckDBPyConnection, sql: str) -> list[Row]:
    """Run SQL of the page: all of its rows."""
    return as_dicts(query(con, sql, only_reads=False))


def bar_chart(
    rows: Sequence[Row],
    key: str,
    fields: Sequence[str],
    word: str,
    *,
    unit: str,
    series: tuple[Series, ...],
    finding: str,
) -> Chart | None:
    """A bar for each of the first rows that hold something, and one for what is left."""
    held = [row for row in rows if any(row[name] for name in fields)]
    if not held:
        return None
    held.sort(key=lambda row: -sum(row[name] for name in fields))
    drawn, rest = (held, []) if len(held) <= CHART_ROWS + 1 else (held[:CHART_ROWS], held[CHART_ROWS:])
    at = [label(row[key]) for row in drawn]
    values = [tuple(row[name] for name in fields) for row in drawn]
    if rest:
        at.append(f"{len(rest):,} others")
        values.append(tuple(sum(row[name] for row in rest) for name in fields))
    told = [tuple(f"{value:,} {unit}" for value in row) for row in values]
    used = [place for place, _ in enumerate(fields) if any(row[place] for row in values)]
    return Chart(
        kind="bars",
        unit=unit,
        axis=unit,
        entry=word,
        series=tuple(series[place] for place in used),
        at=tuple(at),
        values=tuple(tuple(row[place] for place in used) for row in values),
        alt=f"Bars of {unit} by {word}: {finding}.",
        told=tuple(tuple(row[place] for place in used) for row in told),
    )


def measure(total: Mapping[str, int]) -> tuple[str, str]:
    """What to compare by, and its column: GiB, or images where no size is known."""
    return ("GiB", "image_size_gib") if total["image_size_gib"] else ("images", "image_count")


def added_up(rows: Sequence[Row]) -> Counter[str]:
    """Add up every column of counts or GiB."""
    total = Counter[str]()
    for row in rows:
        total.update({name: value or 0 for name, value in row.items() if name.endswith(("_count", "_gib"))})
    return total


def without_one_account(columns: Sequence[Column], rows: Sequence[Row]) -> list[Column]:
    """Leave the account out where there is only one."""
    several = len({row["account"] for row in rows}) > 1
    return [column for column in columns if several or column.name != "account"]
