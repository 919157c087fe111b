"""The standing reports on failed images and on images that can be deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.reports.standing.declaration import StandingReport
from pipeline.reports.standing.model import Column, QueryText, Series
from pipeline.reports.standing.queries import bar_chart, summed
from pipeline.text import pluralize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.reports.standing.declaration import SectionData
    from pipeline.reports.standing.model import Row

# ── failed images ────────────────────────────────────────────────────────────

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
_FAILED_IMAGES: Final = QueryText(
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
_REASONS: Final = {
    "failed_count": Series("failed", "orange"),
    "hanging_count": Series("hanging", "purple"),
    "unavailable_count": Series("unavailable", "grey"),
}


def failures_finding(by_region: Sequence[Row]) -> str:
    """Count the images that failed, hang, or are unavailable."""
    total = summed(by_region)
    counts = ", ".join(f"{total[name]:,} {series.name}" for name, series in _REASONS.items() if total[name])
    return counts or "No image failed"


def _hanging_note(data: SectionData) -> str:
    is_needed = summed(data.query(FAILURES_BY_REGION))["hanging_count"]
    return "hanging: Creating, Packing or Uploading for over two hours, as of the observation." if is_needed else ""


FAILED_IMAGES: Final = StandingReport(
    view="failed_images",
    name="failures",
    topic="Failed images",
    caption="Images that cannot be used, oldest first",
    table_query=_FAILED_IMAGES,
    queries=lambda _: (FAILURES_BY_REGION, _FAILED_IMAGES),
    count=lambda data: sum(summed(data.query(FAILURES_BY_REGION)).values()),
    columns=(
        Column("status", "status"),
        Column("reason", "reason", rank=3),
        Column("created_at_utc", "created, UTC", "day", rank=1),
        Column("account", "account", rank=1),
        Column("image_id", "image"),
        Column("image_name", "name", "words"),
        Column("region_id", "region", rank=2),
        Column("image_size_gib", "GiB", "number"),
    ),
    finding=lambda data: failures_finding(data.query(FAILURES_BY_REGION)),
    chart=lambda data, finding: bar_chart(
        data.query(FAILURES_BY_REGION), "region_id", _REASONS, "region", unit="images", finding=finding
    ),
    notes=(_hanging_note,),
    is_wide=True,
)

# ── images that can be deleted ───────────────────────────────────────────────

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
_CANDIDATES: Final = QueryText(
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
_CANDIDATES_IGNORING_DATES: Final = QueryText(
    "names without their dates",
    """\
select
    count(*) as image_count,
    cast(coalesce(sum(freed_gib), 0) as bigint) as freed_gib
from cleanup_candidates(ignored_in_name := '-[0-9]{8}$')""",
)
_AGES: Final = {
    "oldest_gib": Series("2 years and over", "blue"),
    "older_gib": Series("1–2 years", "sky"),  # noqa: RUF001  (as the view age_bands has it)
    "old_gib": Series("under a year", "grey"),
}


def freed_gib(by_region: Sequence[Row]) -> int:
    """Add up the GiB that deleting all candidates would free."""
    total = summed(by_region)
    return sum(total[name] for name in _AGES)


def _cleanup_finding(data: SectionData) -> str:
    by_region = data.query(CLEANUP_BY_REGION)
    image_count = summed(by_region)["image_count"]
    return _frees(image_count, freed_gib(by_region)) if image_count else "No image matches the standing rule"


def _frees(image_count: int, gib: int) -> str:
    return f"{pluralize(image_count, 'image')} can be deleted, freeing {gib:,} GiB"


def _rule_note(data: SectionData) -> str:
    days = data.answers.threshold("cleanup_candidates", "older_than_days")
    return (
        f"The rule: our own, {pluralize(int(days), 'day')} old or more, and a newer one of its name and architecture "
        "is Available. No listing tells whether an instance still runs from an image: look before deleting."
    )


def _ignoring_dates_note(data: SectionData) -> str:
    (candidates,) = data.query(_CANDIDATES_IGNORING_DATES)
    if candidates["image_count"] <= summed(data.query(CLEANUP_BY_REGION))["image_count"]:
        return ""
    frees = _frees(candidates["image_count"], candidates["freed_gib"])
    return f"If a date at the end of a name is ignored: {frees}."


def _unsized_candidates_note(data: SectionData) -> str:
    unsized = summed(data.query(CLEANUP_BY_REGION))["unsized_image_count"]
    return f"{pluralize(unsized, 'image')} without a size: not in the GiB." if unsized else ""


CLEANUP: Final = StandingReport(
    view="cleanup_candidates",
    name="cleanup",
    topic="Cleanup candidates",
    caption="Images that can be deleted, largest first",
    table_query=_CANDIDATES,
    queries=lambda _: (CLEANUP_BY_REGION, _CANDIDATES, _CANDIDATES_IGNORING_DATES),
    count=lambda data: summed(data.query(CLEANUP_BY_REGION))["image_count"],
    columns=(
        Column("account", "account"),
        Column("image_id", "image"),
        Column("image_name", "name", "words"),
        Column("region_id", "region", rank=2),
        Column("age_days", "age, days", "number"),
        Column("newer_image_count", "newer of its name", "number", rank=3),
        Column("freed_gib", "frees GiB", "number"),
    ),
    finding=_cleanup_finding,
    chart=lambda data, finding: bar_chart(
        data.query(CLEANUP_BY_REGION), "region_id", _AGES, "region", unit="GiB", finding=finding
    ),
    notes=(_rule_note, _ignoring_dates_note, _unsized_candidates_note),
    is_wide=True,
)
