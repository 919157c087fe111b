"""The reports on history: growth by month, and lifetimes of images. They are shown only when asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.reports.standing.declaration import StandingReport
from pipeline.reports.standing.model import Column, QueryText
from pipeline.text import pluralize

if TYPE_CHECKING:
    from pipeline.reports.standing.declaration import SectionData
    from pipeline.reports.standing.model import Row

# ── growth by month ──────────────────────────────────────────────────────────


def _growth_finding(data: SectionData) -> str:
    if not data.rows:
        return "No month yet"
    grown = data.total["grown_image_size_gib"]
    change = f"Grew by {grown:,} GiB" if grown > 0 else f"Shrank by {-grown:,} GiB" if grown else "Unchanged"
    return f"{change} in {pluralize(len(data.rows), 'month')}"


def _new_accounts_note(data: SectionData) -> str:
    new_accounts = data.total["new_account_count"]
    return (
        f"Images that {pluralize(new_accounts, 'account')} had when first observed are not growth."
        if new_accounts > 1
        else ""
    )


GROWTH: Final = StandingReport(
    view="growth_by_month",
    name="growth",
    topic="Growth by month",
    caption="Growth by month, newest first",
    table_query=QueryText(
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
    ),
    columns=(
        Column("month", "month", value=lambda row, _: f"{row['month_utc']:%Y-%m}"),
        Column("start_image_count", "images at start", "number", rank=2),
        Column("appeared_image_count", "appeared", "number", rank=3),
        Column("gone_image_count", "gone", "number", rank=3),
        Column("end_image_count", "images at end", "number"),
        Column("start_image_size_gib", "GiB at start", "number", rank=1),
        Column("end_image_size_gib", "GiB at end", "number"),
        Column("grown_image_size_gib", "grown", "gain"),
    ),
    finding=_growth_finding,
    notes=(_new_accounts_note,),
)

# ── lifetimes ────────────────────────────────────────────────────────────────

_STATES: Final = QueryText(
    "the finding",
    """\
select
    state,
    count(*) as image_count
from image_lifetimes
group by state""",
)
_NEWEST_LIFETIMES: Final = QueryText(
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


def _lifetimes_finding(data: SectionData) -> str:
    counts = {row["state"]: row["image_count"] for row in data.query(_STATES)}
    finding = ", ".join(f"{counts[state]:,} {state}" for state in ("here", "gone", "unseen") if state in counts)
    return finding or "No image yet"


def _born(row: Row) -> str:
    day = f"{row['life_began_utc']:%Y-%m-%d}"
    return day if row["missing_until_utc"] else f"by {day}"


def _until(row: Row) -> str:
    return f"{row['gone_at_utc']:%Y-%m-%d}" if row["gone_at_utc"] else row["state"]


def _days(row: Row) -> str:
    """The length of a life in days: 3; 2–14 where its ends are not exact; 4+ where it has no proven end."""  # noqa: RUF002
    least, most = row["seen_days"], row["at_most_days"]
    if least == most:
        return f"{least:,}"
    return f"{least:,}+" if most is None else f"{least:,}–{most:,}"  # noqa: RUF001


LIFETIMES: Final = StandingReport(
    view="image_lifetimes",
    name="lifetimes",
    topic="Lifetimes",
    caption="Lifetimes, newest first",
    table_query=_NEWEST_LIFETIMES,
    queries=lambda _: (_STATES, _NEWEST_LIFETIMES),
    count=lambda data: sum(row["image_count"] for row in data.query(_STATES)),
    columns=(
        Column("born", "born", value=lambda row, _: _born(row)),
        Column("until", "until", value=lambda row, _: _until(row)),
        Column("days", "days", "number", value=lambda row, _: _days(row)),
        Column("account", "account", rank=1),
        Column("image_id", "image"),
        Column("image_name", "name", "words"),
    ),
    finding=_lifetimes_finding,
)
