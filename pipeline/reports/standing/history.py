"""What the history tells: growth by month, and how long images live. Neither is a standing report: one asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.reports.standing.model import Column, QueryText, Section, table
from pipeline.reports.standing.queries import without_one_account
from pipeline.text import pluralize

if TYPE_CHECKING:
    from pipeline.reports.standing.model import Row
    from pipeline.reports.standing.queries import Answers

_GROWTH: Final = QueryText(
    "the table",
    """\
select
    month_utc,
    start_image_count,
    appeared_image_count,
    gone_image_count,
    end_image_count,
    start_image_size_gib,
    end_image_size_gib,
    grown_image_size_gib,
    new_account_count
from growth_by_month
order by month_utc desc""",
)


def growth(answers: Answers) -> Section:
    """Tell how much came and went month by month, the newest first."""
    rows = answers.rows(_GROWTH)
    grown = sum(row["grown_image_size_gib"] for row in rows)
    changed = f"Grew by {grown:,} GiB" if grown > 0 else f"Shrank by {-grown:,} GiB" if grown else "Held its size"
    for row in rows:
        row["month"] = f"{row['month_utc']:%Y-%m}"
    columns = (
        Column("month", "month"),
        Column("start_image_count", "images at start", "number", rank=2),
        Column("appeared_image_count", "appeared", "number", rank=3),
        Column("gone_image_count", "gone", "number", rank=3),
        Column("end_image_count", "images at end", "number"),
        Column("start_image_size_gib", "GiB at start", "number", rank=1),
        Column("end_image_size_gib", "GiB at end", "number"),
        Column("grown_image_size_gib", "grown", "gain"),
    )
    finding = f"{changed} in {pluralize(len(rows), 'month')}" if rows else "No month yet"
    new = sum(row["new_account_count"] for row in rows)
    notes = (f"What {pluralize(new, 'account')} held when first observed is no growth.",) if new > 1 else ()
    shown = table("Growth by month, newest first", "growth_by_month", columns, rows)
    return Section("growth", "Growth by month", finding, shown, (_GROWTH,), notes=notes)


_STATES: Final = QueryText(
    "the finding",
    """\
select
    state,
    count(*) as image_count
from image_lifetimes
group by state""",
)
_LIFETIMES: Final = QueryText(
    "the table",
    """\
select
    account,
    image_id,
    image_name,
    missing_until_utc,
    life_began_utc,
    gone_at_utc,
    state,
    seen_days,
    at_most_days
from image_lifetimes
order by
    life_began_utc desc,
    account,
    image_id
limit 50""",
)


def lifetimes(answers: Answers) -> Section:
    """Tell how long images live, the newest first."""
    states = {row["state"]: row["image_count"] for row in answers.rows(_STATES)}
    finding = ", ".join(f"{states[state]:,} {state}" for state in ("here", "gone", "unseen") if state in states)
    rows = answers.rows(_LIFETIMES)
    for row in rows:
        born = f"{row['life_began_utc']:%Y-%m-%d}"
        row["born"] = born if row["missing_until_utc"] else f"by {born}"
        row["until"] = f"{row['gone_at_utc']:%Y-%m-%d}" if row["gone_at_utc"] else row["state"]
        row["days"] = _days(row)
    columns = [
        Column("born", "born"),
        Column("until", "until"),
        Column("days", "days", "number"),
        Column("account", "account", rank=1),
        Column("image_id", "image"),
        Column("image_name", "name", "words"),
    ]
    shown = table(
        "Lifetimes, newest first",
        "image_lifetimes",
        without_one_account(columns, rows),
        rows,
        count=sum(states.values()),
    )
    return Section("lifetimes", "Lifetimes", finding or "No image yet", shown, (_STATES, _LIFETIMES))


def _days(row: Row) -> str:
    """The days that it lived: 3, 2–14 where they are not known to one, 4+ where nothing ends them."""  # noqa: RUF002
    least, most = row["seen_days"], row["at_most_days"]
    if least == most:
        return f"{least:,}"
    return f"{least:,}+" if most is None else f"{least:,}–{most:,}"  # noqa: RUF001
