"""What the page tells, in order: each section asks the lake, says what it found, and keeps the SQL.

    accounts · capacity by day · by region · by platform · by disk format · age · changes · failures · what could go

A title is a finding. A chart draws every row, or says how many it leaves out;
a table holds the first rows, and says how many there are.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from pipeline.page.asking import added_up, ask, measure
from pipeline.page.happened import (
    CLEANUP_BY_REGION,
    FAILURES_BY_REGION,
    changes,
    cleanup,
    failure_finding,
    failures,
    freed_gib,
)
from pipeline.page.held import AGES, OLD, TREND, ages, capacity, formats, trend
from pipeline.page.parts import Asked, Column, Figure, Section, Story, gain, label, table
from pipeline.spelling import how_many
from pipeline.views import relations

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import duckdb

    from pipeline.page.parts import Row


def story(con: duckdb.DuckDBPyConnection) -> Story:
    """Ask the lake everything that the page tells.

    Raises:
        LakeDamaged: a committed file is missing or unreadable.
    """
    with contextlib.closing(con.cursor()) as lake:
        # What is asked more than once is worked out once: here, in this cursor, the name then means its rows.
        for view in ("image_capacity", "capacity_by_day", "image_changes", "failed_images", "cleanup_candidates"):
            ask(lake, f"create temp table {view} as from {view}")
        days = ask(lake, TREND.sql)
        bands = ask(lake, AGES.sql)
        failed = ask(lake, FAILURES_BY_REGION.sql)
        could_go = ask(lake, CLEANUP_BY_REGION.sql)
        accounts = ask(lake, _ACCOUNTS.sql)
        sections = (
            trend(days),
            capacity(lake, "region", "region_id"),
            capacity(lake, "platform", "platform"),
            formats(lake),
            ages(bands),
            changes(lake, days),
            failures(lake, failed),
            cleanup(lake, could_go),
        )
        return Story(
            title=_title(accounts),
            accounts=(whose := _accounts(accounts)),
            is_trouble=any(
                row["is_stale"] or row["certificate"] != "verified" or row["reject_count"] or row["unknown_field_count"]
                for row in accounts
            ),
            figures=_figures(days, bands, failed, could_go),
            sections=sections,
            views=_views_behind(name for section in (*sections, whose) for name in section.reads),
        )


def _views_behind(names: Iterable[str]) -> dict[str, str]:
    """The SQL of these views, and of those that they read in turn."""
    known = relations()
    found: dict[str, str] = {}
    waiting = list(names)
    while waiting:
        one = known[waiting.pop(0)]
        if one.query and one.name not in found:
            found[one.name] = one.query
            waiting += one.reads
    return found


# ── whose images, and how far proven ─────────────────────────────────────────

_ACCOUNTS: Final = Asked(
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
    finding = f"{stale:,} of {how_many(len(rows), 'account')} not seen by the last run" if stale else "Every account"
    columns = (
        Column("account", "account"),
        Column("observed_at_utc", "as of, UTC", "minute"),
        Column("certificate", "certificate"),
        Column("image_count", "images", "number"),
        Column("reject_count", "rejects", "number"),
        Column("unknown_field_count", "unknown fields", "number"),
        Column("failed_try_count", "failed tries since", "number"),
        Column("last_error", "why", "words"),
    )
    return Section("accounts", "Accounts", finding, table("Accounts", "accounts", columns, rows), (_ACCOUNTS,))


def _title(accounts: Sequence[Row]) -> str:
    one = label(accounts[0]["account"]) if len(accounts) == 1 else how_many(len(accounts), "account")
    return f"Edge images of {one}"


# ── the numbers at the top ───────────────────────────────────────────────────


def _figures(
    days: Sequence[Row], bands: Sequence[Row], failed: Sequence[Row], could_go: Sequence[Row]
) -> tuple[Figure, ...]:
    if not days:
        return ()
    last, first = days[0], days[-1]
    since = f"in {how_many(len(days), 'day')}"
    is_first = len(days) == 1

    def moved(name: str) -> str:
        return "first day" if is_first else f"{gain(last[name] - first[name])} {since}"

    total = added_up(bands)
    unit, name = measure(total)
    old = sum(row[name] for row in bands if row["band_number"] in OLD)
    broken = added_up(failed)
    share = f"{old / total[name]:.0%}" if total[name] else "–"  # noqa: RUF001  (the dash that stands for nothing)
    going = added_up(could_go)["image_count"]
    count, size = "image_count", "image_size_gib"
    return (
        Figure("Own images", f"{last[count]:,}", "", moved(count), "trend", _spark(days, count)),
        Figure("They hold", f"{last[size]:,}", "GiB", moved(size), "trend", _spark(days, size)),
        Figure("A year old or more", share, f"of {unit}", f"{old:,} {unit}", "ages"),
        Figure("Could go", f"{freed_gib(could_go):,}", "GiB", how_many(going, "image"), "cleanup"),
        Figure("Cannot be used", f"{sum(broken.values()):,}", "images", failure_finding(failed), "failures"),
    )


def _spark(days: Sequence[Row], name: str) -> str:
    """Draw a line from the first day to the last, of 60 points at most."""
    values = [row[name] for row in days[::-1]]
    if len(values) > 60:
        values = [values[(place + 1) * len(values) // 60 - 1] for place in range(60)]
    low, high = min(values), max(values)
    if len(values) < 2:
        return ""
    across, up = 100 / (len(values) - 1), 20 / (high - low) if high > low else 0
    return " ".join(
        f"{place * across:.1f},{22 - (value - low) * up if up else 12:.1f}" for place, value in enumerate(values)
    )
