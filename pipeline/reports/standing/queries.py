"""The queries of a report: each runs once, and its rows are dicts. Sums and bar charts over such rows."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from pipeline.reports.query import as_dicts, query
from pipeline.reports.standing.model import Chart, Series, label
from pipeline.views.catalog import relations_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import duckdb

    from pipeline.reports.standing.model import Column, QueryText, Row

CHART_ROWS: Final = 12
"""Bars of a chart; one more bar adds up the other entries."""
CHART_DAYS: Final = 731
"""Days of a chart: two years."""


_MATERIALIZED: Final = (
    "image_versions",
    "instance_versions",
    "image_capacity",
    "image_use",
    "capacity_by_day",
    "image_changes",
    "failed_images",
    "cleanup_candidates",
)
"""Views that more than one query or other view reads, in the order in which they read each other."""


class Answers:
    """The answers of a lake: a query runs when it is first asked, and never again.

    The views of `_MATERIALIZED` are computed once too: a temporary table of the same name replaces each in this cursor.
    """

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        self._cursor = cursor
        self._relations = relations_in(cursor)
        self._rows_by_sql: dict[str, list[Row]] = {}
        self._materialized: set[str] = set()

    def rows(self, query_text: QueryText) -> list[Row]:
        """All rows of a query, each as a dict by column name."""
        if query_text.sql not in self._rows_by_sql:
            views = self.views_behind(query_text.reads)
            inputs = views.keys() | {name for view in views for name in self._relations[view].reads}
            for view in _MATERIALIZED:
                if view in inputs and view not in self._materialized:
                    self._run(f"create temp table {view} as from {view}")
                    self._materialized.add(view)
            self._rows_by_sql[query_text.sql] = self._run(query_text.sql)
        return self._rows_by_sql[query_text.sql]

    def views_behind(self, names: Iterable[str]) -> dict[str, str]:
        """The SQL of these views, and of the views that they read in turn."""
        queries: dict[str, str] = {}
        waiting = list(names)
        while waiting:
            relation = self._relations[waiting.pop(0)]
            if relation.query and relation.name not in queries:
                queries[relation.name] = relation.query
                waiting += relation.reads
        return queries

    def threshold(self, view: str, name: str) -> str:
        """The value of a threshold of a view in this lake."""
        return next(setting.default for setting in self._relations[view].settings if setting.name == name)

    def _run(self, sql: str) -> list[Row]:
        return as_dicts(query(self._cursor, sql, only_reads=False))


def bar_chart(
    rows: Sequence[Row],
    key: str,
    series_by_field: Mapping[str, Series],
    entry: str,
    *,
    unit: str,
    finding: str,
) -> Chart | None:
    """Draw a bar for each of the largest rows, and one for the sum of the others.

    `key` is the column that names a bar, `entry` its heading. Rows and series without any value are left out.

    Returns: the chart, or None where no row has a value.
    """
    fields = tuple(series_by_field)
    largest = [row for row in rows if any(row[name] for name in fields)]
    if not largest:
        return None
    largest.sort(key=lambda row: -sum(row[name] for name in fields))
    is_cut = len(largest) > CHART_ROWS + 1
    drawn, others = (largest[:CHART_ROWS], largest[CHART_ROWS:]) if is_cut else (largest, [])
    at = [label(row[key]) for row in drawn]
    values = [tuple(row[name] for name in fields) for row in drawn]
    if others:
        at.append(f"{len(others):,} others")
        values.append(tuple(sum(row[name] for row in others) for name in fields))
    used = [index for index, _ in enumerate(fields) if any(row[index] for row in values)]
    return Chart(
        kind="bars",
        unit=unit,
        axis=unit,
        entry=entry,
        series=tuple(series_by_field[fields[index]] for index in used),
        at=tuple(at),
        values=tuple(tuple(row[index] for index in used) for row in values),
        alt=f"Bars of {unit} by {entry}: {finding}.",
        tooltips=tuple(tuple(f"{row[index]:,} {unit}" for index in used) for row in values),
    )


def measure(total: Mapping[str, int]) -> tuple[str, str]:
    """Choose a unit to compare by, and its column: GiB, or images where no size is known."""
    return ("GiB", "image_size_gib") if total["image_size_gib"] else ("images", "image_count")


def summed(rows: Sequence[Row]) -> Counter[str]:
    """Add up every column of counts or GiB."""
    total = Counter[str]()
    for row in rows:
        total.update({name: value or 0 for name, value in row.items() if name.endswith(("_count", "_gib"))})
    return total


def without_one_account(columns: Sequence[Column], rows: Sequence[Row]) -> list[Column]:
    """Leave the account column out where all rows are of one account."""
    is_needed = len({row.get("account") for row in rows}) > 1
    return [column for column in columns if is_needed or column.name != "account"]
