"""The story: the standing reports, what each asks of the lake, and what it finds.

    connect() ──► Answers ──► held.py        how much, over time, by what, how old
                              happened.py    what changed, what failed, what could go
                              history.py     growth by month, lifetimes
                                  │
                                  ▼
                 Story ─< Section: finding, table, chart, the SQL: plain data; report.py and page/ show it

A title is a finding. A chart draws every row, or says how many it leaves out;
a table holds the first rows, and says how many there are.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Final

from pipeline.reports.standing.capacity import AGES, OLD, TREND, ages, capacity, formats, trend
from pipeline.reports.standing.changes import (
    CLEANUP_BY_REGION,
    FAILURES_BY_REGION,
    changes,
    cleanup,
    failure_finding,
    failures,
    freed_gib,
)
from pipeline.reports.standing.history import growth, lifetimes
from pipeline.reports.standing.model import Column, Figure, QueryText, Report, Section, days_between, gain, label, table
from pipeline.reports.standing.queries import Answers, measure, summed
from pipeline.text import NOTHING, pluralize

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import duckdb

    from pipeline.reports.standing.model import Row

STANDING: Final[dict[str, Callable[[Answers], Section]]] = {
    "capacity_by_day": trend,
    "capacity_by_region": partial(capacity, word="region", key="region_id"),
    "capacity_by_platform": partial(capacity, word="platform", key="platform"),
    "capacity_by_disk_format": formats,
    "age_bands": ages,
    "image_changes": changes,
    "failed_images": failures,
    "cleanup_candidates": cleanup,
}
"""The standing reports in order: the view, and what tells of it."""
ON_REPORT: Final = {**STANDING, "growth_by_month": growth, "image_lifetimes": lifetimes}
"""Every view that is told of, and not only listed."""


def build_report(con: duckdb.DuckDBPyConnection) -> Report:
    """Ask the lake everything that the standing reports tell.

    Raises:
        LakeDamaged: a committed file is missing or unreadable.
    """
    with contextlib.closing(con.cursor()) as cursor:
        answers = Answers(cursor)
        sections = tuple(tell(answers) for tell in STANDING.values())
        accounts = answers.rows(_ACCOUNTS)
        whose = _accounts(accounts)
        return Report(
            title=_title(accounts),
            accounts=whose,
            is_trouble=any(
                row["is_stale"] or row["certificate"] != "verified" or row["reject_count"] or row["unknown_field_count"]
                for row in accounts
            ),
            figures=_figures(answers),
            sections=sections,
            views=answers.views_behind(name for section in (*sections, whose) for name in section.reads),
        )


def section(con: duckdb.DuckDBPyConnection, view: str) -> Section:
    """Ask the lake what is told of one view of `TOLD`, and nothing else."""
    with contextlib.closing(con.cursor()) as cursor:
        return ON_REPORT[view](Answers(cursor))


# ── whose images, and how far proven ─────────────────────────────────────────

_ACCOUNTS: Final = QueryText(
    "the accounts",
    """\
select
    account,
    observed_at_utc,
    certificate,
    image_count,
    reject_count,
    unknown_field_count,
    failed_try_count,
    last_error,
    is_stale
from accounts
order by
    is_stale desc,
    account""",
)


def _accounts(rows: Sequence[Row]) -> Section:
    stale = sum(1 for row in rows if row["is_stale"])
    below = sum(1 for row in rows if row["certificate"] not in {"verified", None})
    total = summed(rows)
    troubles = (
        (stale, f"{stale:,} of {pluralize(len(rows), 'account')} not seen by the last run"),
        (below, f"{below:,} not verified"),
        (total["reject_count"], pluralize(total["reject_count"], "reject")),
        (total["unknown_field_count"], pluralize(total["unknown_field_count"], "unknown field")),
    )
    finding = ", ".join(said for count, said in troubles if count) or "Every one verified by the last run"
    for row in rows:
        row["last_error"] = row["last_error"] or ""
    columns = (
        Column("account", "account"),
        Column("observed_at_utc", "as of, UTC", "minute"),
        Column("certificate", "certificate"),
        Column("image_count", "images", "number"),
        Column("reject_count", "rejects", "number", rank=3),
        Column("unknown_field_count", "unknown fields", "number", rank=2),
        Column("failed_try_count", "failed tries since", "number", rank=1),
        Column("last_error", "why", "words"),
    )
    return Section("accounts", "Accounts", finding, table("Accounts", "accounts", columns, rows), (_ACCOUNTS,))


def _title(accounts: Sequence[Row]) -> str:
    one = label(accounts[0]["account"]) if len(accounts) == 1 else pluralize(len(accounts), "account")
    return f"Edge images of {one}"


# ── the numbers at the top ───────────────────────────────────────────────────


def _figures(answers: Answers) -> tuple[Figure, ...]:
    days, bands = answers.rows(TREND), answers.rows(AGES)
    failed, could_go = answers.rows(FAILURES_BY_REGION), answers.rows(CLEANUP_BY_REGION)
    if not days:
        return ()
    last, first = days[0], days[-1]
    since = f"in {pluralize(days_between(days), 'day')}"
    is_first = len(days) == 1

    def moved(name: str) -> str:
        return "first day" if is_first else f"{gain(last[name] - first[name])} {since}"

    def every(name: str) -> tuple[int, ...]:
        return tuple(row[name] for row in days[::-1])

    total = summed(bands)
    unit, name = measure(total)
    old = sum(row[name] for row in bands if row["band_number"] in OLD)
    broken = summed(failed)
    share = f"{old / total[name]:.0%}" if total[name] else NOTHING
    going = summed(could_go)["image_count"]
    count, size = "image_count", "image_size_gib"
    return (
        Figure("Own images", f"{last[count]:,}", "", moved(count), "trend", every(count)),
        Figure("They hold", f"{last[size]:,}", "GiB", moved(size), "trend", every(size)),
        Figure("A year old or more", share, f"of {unit}", f"{old:,} {unit}", "ages"),
        Figure("Could go", f"{freed_gib(could_go):,}", "GiB", pluralize(going, "image"), "cleanup"),
        Figure("Cannot be used", f"{sum(broken.values()):,}", "images", failure_finding(failed), "failures"),
    )
