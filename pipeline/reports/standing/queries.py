"""How a story asks: rows by name, each query once; sums, a bar for each."""

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
"""Bars of a chart; what is left is added up in one more."""
CHART_DAYS: Final = 731
"""Days of a chart: two years; it says how many there are."""


_KEPT: Final = (
    "image_versions",
    "image_capacity",
    "capacity_by_day",
    "image_changes",
    "failed_images",
    "cleanup_candidates",
)
"""What more than one query reads, or another view does, in order: each is worked out once."""


class Answers:
    """What a lake answers: a query is run when it is first asked, and never again.

    A view that several of them read is worked out once too: in this cursor its name then means its rows.
    """

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        self._cursor = cursor
        self._relations = relations_in(cursor)
        self._known: dict[str, list[Row]] = {}
        self._kept: set[str] = set()

    def rows(self, asked: QueryText) -> list[Row]:
        """All rows of an answer, each by the names of its columns."""
        if asked.sql not in self._known:
            views = self.views_behind(asked.reads)
            behind = views.keys() | {name for view in views for name in self._relations[view].reads}
            for view in _KEPT:
                if view in behind and view not in self._kept:
                    self._ask(f"create temp table {view} as from {view}")
                    self._kept.add(view)
            self._known[asked.sql] = self._ask(asked.sql)
        return self._known[asked.sql]

    def views_behind(self, names: Iterable[str]) -> dict[str, str]:
        """The SQL of these views, and of those that they read in turn."""
        found: dict[str, str] = {}
        waiting = list(names)
        while waiting:
            one = self._relations[waiting.pop(0)]
            if one.query and one.name not in found:
                found[one.name] = one.query
                waiting += one.reads
        return found

    def threshold(self, view: str, name: str) -> str:
        """A threshold of a view, as this lake has it."""
        return next(one.default for one in self._relations[view].settings if one.name == name)

    def _ask(self, sql: str) -> list[Row]:
        return as_dicts(query(self._cursor, sql, only_reads=False))


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


def summed(rows: Sequence[Row]) -> Counter[str]:
    """Add up every column of counts or GiB."""
    total = Counter[str]()
    for row in rows:
        total.update({name: value or 0 for name, value in row.items() if name.endswith(("_count", "_gib"))})
    return total


def without_one_account(columns: Sequence[Column], rows: Sequence[Row]) -> list[Column]:
    """Leave the account out where there is only one."""
    several = len({row["account"] for row in rows}) > 1
    return [column for column in columns if several or column.name != "account"]
