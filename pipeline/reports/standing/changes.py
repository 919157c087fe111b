"""The standing report on changes."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import TYPE_CHECKING, Final

from pipeline.reports.standing.capacity import DAYS
from pipeline.reports.standing.declaration import StandingReport
from pipeline.reports.standing.model import Chart, Column, QueryText, Series, days_between
from pipeline.reports.standing.queries import CHART_DAYS
from pipeline.text import pluralize

if TYPE_CHECKING:
    from pipeline.reports.standing.declaration import SectionData
    from pipeline.reports.standing.model import Row
    from pipeline.reports.standing.queries import Answers

CHANGES: Final = ("appeared", "gone", "changed", "seen", "unseen")
"""The kinds of changes, in the order in which reports count them."""
MOST_DAILY_COLUMNS: Final = 92
"""Days up to which the chart has a column a day; beyond, a column a week."""

_CHANGE_COUNTS: Final = {
    by: QueryText(
        "the chart",
        f"""\
select
    cast(date_trunc('{by}', observed_at_utc) as date) as first_day,
    change,
    count(distinct (account, image_id, observed_at_utc)) as image_count,
    count(*) as row_count
from image_changes
group by
    first_day,
    change
order by
    first_day,
    change""",  # noqa: S608  (day or week)
    )
    for by in ("day", "week")
}
_CHANGED_IMAGES: Final = QueryText(
    "the finding: images, however often each changed",
    """\
select
    change,
    count(distinct (account, image_id)) as image_count
from image_changes
group by change""",
)
_NEWEST_CHANGES: Final = QueryText(
    "the table",
    """\
select
    observed_at_utc,
    account,
    change,
    image_id,
    image_name,
    field,
    old_value,
    new_value
from image_changes
order by
    observed_at_utc desc,
    account,
    image_id,
    change,
    field
limit 50""",
)


def count_changes(images_by_change: Counter[str]) -> str:
    """Count the images of each kind of change in words: `3 appeared, 1 gone`; empty where there is none."""
    return ", ".join(f"{images_by_change[change]:,} {change}" for change in CHANGES if images_by_change[change])


def describe_change(row: Row) -> str:
    """Describe a changed field: `status: Creating → Available`."""
    old, new = ("none" if value is None else value for value in (row["old_value"], row["new_value"]))
    return f"{row['field']}: {old} → {new}"


def _step(answers: Answers) -> str:
    return "day" if len(answers.rows(DAYS)) <= MOST_DAILY_COLUMNS else "week"


def _images_by_change(data: SectionData) -> Counter[str]:
    return Counter({row["change"]: row["image_count"] for row in data.query(_CHANGED_IMAGES)})


def _changes_finding(data: SectionData) -> str:
    days = data.query(DAYS)
    counts = count_changes(_images_by_change(data))
    if len(days) < 2:
        return (
            f"{counts} within a day"
            if counts
            else "Nothing to compare yet: changes show from the second observation on"
        )
    return f"{counts} in {pluralize(days_between(days), 'day')}" if counts else "Nothing changed"


def _changes_chart(data: SectionData, finding: str) -> Chart | None:
    step = _step(data.answers)
    counts = data.query(_CHANGE_COUNTS[step])
    if not counts:
        return None
    drawn = data.query(DAYS)[:CHART_DAYS]
    last, first = drawn[0]["day_utc"], drawn[-1]["day_utc"]
    step_days = 1
    if step == "week":
        first, step_days = first - dt.timedelta(days=first.weekday()), 7
    at = [first + dt.timedelta(days=number) for number in range(0, (last - first).days + 1, step_days)]
    image_counts = {(row["first_day"], row["change"]): row["image_count"] for row in counts}
    series = {
        "gone": Series("gone", "orange"),
        "unseen": Series("unseen", "yellow"),
        "appeared": Series("appeared", "blue"),
        "seen": Series("seen again", "sky"),
        "changed": Series("changed", "grey"),
    }
    used = [change for change in series if any(row["change"] == change for row in counts)]
    below_zero = {"gone", "unseen"}
    values = [[image_counts.get((day, change), 0) for change in used] for day in at]
    return Chart(
        kind="columns",
        unit="images",
        axis=f"images a {step}, gone below",
        entry="day, UTC" if step == "day" else "week from, UTC",
        series=tuple(series[change] for change in used),
        at=tuple(f"{day:%Y-%m-%d}" for day in at),
        values=tuple(
            tuple(-value if change in below_zero else value for change, value in zip(used, row, strict=True))
            for row in values
        ),
        alt=f"Columns of images by {step}: {finding}.",
        tooltips=tuple(tuple(pluralize(value, "image") for value in row) for row in values),
    )


def _unseen_note(data: SectionData) -> str:
    is_needed = _images_by_change(data)["unseen"]
    return "unseen is not gone: what did not list it proves nothing." if is_needed else ""


IMAGE_CHANGES: Final = StandingReport(
    view="image_changes",
    name="changes",
    topic="Changes",
    caption="Changes, newest first",
    table_query=_NEWEST_CHANGES,
    queries=lambda answers: (_CHANGED_IMAGES, _CHANGE_COUNTS[_step(answers)], _NEWEST_CHANGES),
    count=lambda data: sum(row["row_count"] for row in data.query(_CHANGE_COUNTS[_step(data.answers)])),
    columns=(
        Column("observed_at_utc", "day, UTC", "day"),
        Column("account", "account"),
        Column("change", "change"),
        Column("image_id", "image"),
        Column(
            "what",
            "what",
            "words",
            value=lambda row, _: describe_change(row) if row["change"] == "changed" else row["image_name"],
        ),
    ),
    finding=_changes_finding,
    chart=_changes_chart,
    notes=(_unseen_note,),
    is_wide=True,
)
