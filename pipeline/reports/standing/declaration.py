"""A standing report as a declaration: the view, its columns, the finding, the chart, the notes.

StandingReport ──► build_section(answers) ──► Section
rows   of `table_query`, with the computed columns
total  the sums of all counts and GiB of these rows
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.reports.standing.model import Column, Section, table
from pipeline.reports.standing.queries import summed, without_one_account
from pipeline.text import pluralize

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from pipeline.reports.standing.model import Chart, QueryText, Row, Table
    from pipeline.reports.standing.queries import Answers


@dataclass(frozen=True, slots=True)
class SectionData:
    """The rows behind a section."""

    answers: Answers
    rows: list[Row]
    total: Counter[str]

    def query(self, query: QueryText) -> list[Row]:
        """The rows of a further query."""
        return self.answers.rows(query)


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingReport:
    """One standing report."""

    view: str
    name: str
    topic: str
    caption: str
    table_query: QueryText
    """The query for the rows of the table."""
    columns: tuple[Column, ...]
    finding: Callable[[SectionData], str]
    chart: Callable[[SectionData, str], Chart | None] | None = None
    """Draw the chart, given the finding."""
    notes: tuple[Callable[[SectionData], str], ...] = ()
    """Each returns a note, or an empty text where there is nothing to note."""
    queries: Callable[[Answers], tuple[QueryText, ...]] | None = None
    """All queries in the order in which the page shows them; None: only `table_query`."""
    select_rows: Callable[[list[Row]], list[Row]] | None = None
    count: Callable[[SectionData], int] | None = None
    """Count the rows of the view, where `table_query` returns only the first."""
    sums_under: str = ""
    """The column that names the row of sums; empty: the table has no sums."""
    not_summed: tuple[str, ...] = ()
    """Columns whose values do not add up."""
    is_wide: bool = False
    groups: Callable[[SectionData], Table | None] | None = None
    """A short table before the chart, or None where it would say nothing."""
    further: tuple[Callable[[SectionData], Table | None], ...] = ()
    """Tables below the rows; each is left out where it is None."""


def build_section(report: StandingReport, answers: Answers) -> Section:
    """Ask the lake for one standing report.

    Raises:
        LakeDamaged: a committed file is missing or unreadable.
    """
    rows = answers.rows(report.table_query)
    if report.select_rows:
        rows = report.select_rows(rows)
    total = summed(rows)
    rows = [{**row, **_computed_values(report, row, total)} for row in rows]
    data = SectionData(answers, rows, total)
    finding = report.finding(data)
    columns = [column for column in report.columns if not column.only_if_any or total[column.name]]
    sums = {name: value for name, value in total.items() if name not in report.not_summed}
    return Section(
        report.name,
        report.topic,
        finding,
        table(
            report.caption,
            report.view,
            without_one_account(columns, rows),
            rows,
            count=report.count(data) if report.count else None,
            sums={**sums, report.sums_under: "all"} if report.sums_under else None,
        ),
        report.queries(answers) if report.queries else (report.table_query,),
        report.chart(data, finding) if report.chart else None,
        tuple(filter(None, (note(data) for note in report.notes))),
        is_wide=report.is_wide,
        groups=report.groups(data) if report.groups else None,
        further=tuple(found for make in report.further if (found := make(data)) is not None),
    )


def _computed_values(report: StandingReport, row: Row, total: Counter[str]) -> Row:
    return {column.name: column.value(row, total) for column in report.columns if column.value}


# ── columns and notes that several reports have ──────────────────────────────


def share_column(heading: str, of: str, *, name: str = "share", kind: Any = "share", rank: int = 1) -> Column:
    """A column with the share of each row in the sum of the column `of`; null where the sum is 0."""
    return Column(name, heading, kind, rank=rank, value=lambda row, total: row[of] / total[of] if total[of] else None)


def entry_column(name: str, heading: str) -> Column:
    """A column that names the row; an empty text counts as none."""
    return Column(name, heading, value=lambda row, _: row[name] or None)


def unsized_note(data: SectionData) -> str:
    """Count the images that the GiB leave out."""
    unsized = data.total["unsized_image_count"]
    return f"{pluralize(unsized, 'image')} without a size: not in the GiB." if unsized else ""
