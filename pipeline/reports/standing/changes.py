"""What happened, and what to do about it: changes, failures, what could go."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import TYPE_CHECKING, Final

from pipeline.reports.standing.capacity import TREND
from pipeline.reports.standing.model import Chart, Column, QueryText, Section, Series, days_between, table
from pipeline.reports.standing.queries import CHART_DAYS, bar_chart, summed, without_one_account
from pipeline.text import pluralize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.reports.standing.model import Row
    from pipeline.reports.standing.queries import Answers

DAYS_ONE_BY_ONE: Final = 92
"""Days whose changes are drawn day by day; more of them week by week."""
CHANGES: Final = ("appeared", "gone", "changed", "seen", "unseen")
"""What can become of an image, in the order in which it is told."""


# ── what changed ─────────────────────────────────────────────────────────────


def changes(answers: Answers) -> Section:
    """Tell what appeared, went and changed, the newest first."""
    days = answers.rows(TREND)
    by = "day" if len(days) <= DAYS_ONE_BY_ONE else "week"
    counted = QueryText(
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
    found = QueryText(
        "the finding: images, however often each changed",
        """\
select
    change,
    count(distinct (account, image_id)) as image_count
from image_changes
group by change""",
    )
    listed = QueryText(
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
    counts, newest = answers.rows(counted), answers.rows(listed)
    told = Counter[str]({row["change"]: row["image_count"] for row in answers.rows(found)})
    finding = in_words(told)
    finding = f"{finding} in {pluralize(days_between(days), 'day')}" if finding else "Nothing changed"
    if len(days) < 2:
        finding = "Nothing to compare yet: changes show from the second observation on"
    for row in newest:
        row["what"] = row["image_name"]
        if row["change"] == "changed":
            row["what"] = was_and_is(row)
    columns = [
        Column("observed_at_utc", "day, UTC", "day"),
        Column("account", "account"),
        Column("change", "change"),
        Column("image_id", "image"),
        Column("what", "what", "words"),
    ]
    shown = table(
        "Changes, newest first",
        "image_changes",
        without_one_account(columns, newest),
        newest,
        count=sum(row["row_count"] for row in counts),
    )
    chart = _changes_chart(counts, days, by, f"Columns of images by {by}: {finding}.") if counts else None
    notes = ("unseen is not gone: what did not list it proves nothing.",) if told["unseen"] else ()
    return Section("changes", "What changed", finding, shown, (found, counted, listed), chart, notes, is_wide=True)


def in_words(told: Counter[str]) -> str:
    """Count what became of images in words; an empty text where nothing did."""
    return ", ".join(f"{told[word]:,} {word}" for word in CHANGES if told[word])


def was_and_is(row: Row) -> str:
    """Say of a changed field what it was, and what it is."""
    old, new = ("none" if value is None else value for value in (row["old_value"], row["new_value"]))
    return f"{row['field']}: {old} → {new}"


def _changes_chart(counts: Sequence[Row], days: Sequence[Row], by: str, alt: str) -> Chart:
    drawn = days[:CHART_DAYS]
    last, first = drawn[0]["day_utc"], drawn[-1]["day_utc"]
    step = 1
    if by == "week":
        first, step = first - dt.timedelta(days=first.weekday()), 7
    at = [first + dt.timedelta(days=number) for number in range(0, (last - first).days + 1, step)]
    found = {(row["first_day"], row["change"]): row["image_count"] for row in counts}
    series = {
        "gone": Series("gone", "orange"),
        "unseen": Series("unseen", "yellow"),
        "appeared": Series("appeared", "blue"),
        "seen": Series("seen again", "sky"),
        "changed": Series("changed", "grey"),
    }
    used = [word for word in series if any(row["change"] == word for row in counts)]
    down = {"gone", "unseen"}
    values = [[found.get((day, word), 0) for word in used] for day in at]
    return Chart(
        kind="columns",
        unit="images",
        axis=f"images a {by}, gone below",
        entry="day, UTC" if by == "day" else "week from, UTC",
        series=tuple(series[word] for word in used),
        at=tuple(f"{day:%Y-%m-%d}" for day in at),
        values=tuple(
            tuple(-value if word in down else value for word, value in zip(used, row, strict=True)) for row in values
        ),
        alt=alt,
        told=tuple(tuple(pluralize(value, "image") for value in row) for row in values),
    )


# ── what failed ──────────────────────────────────────────────────────────────

FAILURES_BY_REGION: Final = QueryText(
    "the chart",
    """\
select
    region_id,
    count(case when reason = 'failed' then 1 end) as failed_count,
    count(case when reason = 'hanging' then 1 end) as hanging_count,
    count(case when reason = 'unavailable' then 1 end) as unavailable_count
from failed_images
group by region_id
order by region_id nulls last""",
)
_FAILURES: Final = QueryText(
    "the table",
    """\
select
    reason,
    status,
    created_at_utc,
    account,
    image_id,
    image_name,
    region_id,
    image_size_gib
from failed_images
order by
    created_at_utc nulls last,
    account,
    image_id
limit 50""",
)


def failures(answers: Answers) -> Section:
    """Tell which images cannot be used."""
    by_region, rows = answers.rows(FAILURES_BY_REGION), answers.rows(_FAILURES)
    finding = failure_finding(by_region)
    columns = [
        Column("status", "status"),
        Column("reason", "reason", rank=3),
        Column("created_at_utc", "created, UTC", "day", rank=1),
        Column("account", "account", rank=1),
        Column("image_id", "image"),
        Column("image_name", "name", "words"),
        Column("region_id", "region", rank=2),
        Column("image_size_gib", "GiB", "number"),
    ]
    chart = bar_chart(
        by_region,
        "region_id",
        ("failed_count", "hanging_count", "unavailable_count"),
        "region",
        unit="images",
        series=(Series("failed", "orange"), Series("hanging", "purple"), Series("unavailable", "grey")),
        finding=finding,
    )
    shown = table(
        "Images that cannot be used, oldest first",
        "failed_images",
        without_one_account(columns, rows),
        rows,
        count=sum(summed(by_region).values()),
    )
    notes = ("hanging: Creating, Packing or Uploading for over two hours, as of the observation.",)
    return Section(
        "failures",
        "What failed",
        finding,
        shown,
        (FAILURES_BY_REGION, _FAILURES),
        chart,
        notes if summed(by_region)["hanging_count"] else (),
        is_wide=True,
    )


def failure_finding(by_region: Sequence[Row]) -> str:
    """Say how many images failed, hang, or are unavailable."""
    total = summed(by_region)
    words = {"failed_count": "failed", "hanging_count": "hanging", "unavailable_count": "unavailable"}
    told = ", ".join(f"{total[name]:,} {word}" for name, word in words.items() if total[name])
    return told or "No image failed"


# ── what could go ────────────────────────────────────────────────────────────

CLEANUP_BY_REGION: Final = QueryText(
    "the chart",
    """\
select
    region_id,
    count(*) as image_count,
    count(*) - count(freed_gib) as unsized_image_count,
    cast(coalesce(sum(case when age_days >= 730 then freed_gib end), 0) as bigint) as oldest_gib,
    cast(coalesce(sum(case when age_days >= 365 and age_days < 730 then freed_gib end), 0) as bigint) as older_gib,
    cast(coalesce(sum(case when age_days < 365 then freed_gib end), 0) as bigint) as old_gib
from cleanup_candidates
group by region_id
order by region_id nulls last""",
)
_CLEANUP: Final = QueryText(
    "the table",
    """\
select
    freed_gib,
    account,
    image_id,
    image_name,
    region_id,
    age_days,
    newer_image_count,
    why
from cleanup_candidates
order by
    freed_gib desc nulls last,
    account,
    image_id
limit 50""",
)
_CLEANUP_DATED: Final = QueryText(
    "names without their dates",
    """\
select
    count(*) as image_count,
    cast(coalesce(sum(freed_gib), 0) as bigint) as freed_gib
from cleanup_candidates(ignored_in_name := '-[0-9]{8}$')""",
)


def cleanup(answers: Answers) -> Section:
    """Tell which images could go by the rule of `cleanup_candidates`, and what that would free."""
    by_region, rows = answers.rows(CLEANUP_BY_REGION), answers.rows(_CLEANUP)
    finding = cleanup_finding(by_region)
    columns = [
        Column("account", "account"),
        Column("image_id", "image"),
        Column("image_name", "name", "words"),
        Column("region_id", "region", rank=2),
        Column("age_days", "age, days", "number"),
        Column("newer_image_count", "newer of its name", "number", rank=3),
        Column("freed_gib", "frees GiB", "number"),
    ]
    chart = bar_chart(
        by_region,
        "region_id",
        ("oldest_gib", "older_gib", "old_gib"),
        "region",
        unit="GiB",
        series=(
            Series("2 years and over", "blue"),
            Series("1–2 years", "sky"),  # noqa: RUF001  (as the bands of age spell it)
            Series("under a year", "grey"),
        ),
        finding=finding,
    )
    total = summed(by_region)
    dated = answers.rows(_CLEANUP_DATED)[0]
    days = answers.threshold("cleanup_candidates", "older_than_days")
    notes = [
        (
            f"The rule: our own, {days} days old or more, and a newer one of its name and architecture "
            "is Available. No listing tells whether an instance still runs from an image: look before deleting."
        )
    ]
    if dated["image_count"] > total["image_count"]:
        notes.append(
            f"With names told apart without a date at their end: {_frees(dated['image_count'], dated['freed_gib'])}."
        )
    if total["unsized_image_count"]:
        notes.append(f"{pluralize(total['unsized_image_count'], 'image')} without a size: not in the GiB.")
    shown = table(
        "Images that could go, the largest first",
        "cleanup_candidates",
        without_one_account(columns, rows),
        rows,
        count=total["image_count"],
    )
    asked = (CLEANUP_BY_REGION, _CLEANUP, _CLEANUP_DATED)
    return Section("cleanup", "What could go", finding, shown, asked, chart, tuple(notes), is_wide=True)


def cleanup_finding(by_region: Sequence[Row]) -> str:
    """Say how many images could go, and what that would free."""
    total = summed(by_region)
    if not total["image_count"]:
        return "Nothing could go by the standing rule"
    return _frees(total["image_count"], freed_gib(by_region))


def freed_gib(by_region: Sequence[Row]) -> int:
    """Add up what all of it would free."""
    total = summed(by_region)
    return total["oldest_gib"] + total["older_gib"] + total["old_gib"]


def _frees(images: int, gib: int) -> str:
    return f"{pluralize(images, 'image')} could go, and free {gib:,} GiB"
