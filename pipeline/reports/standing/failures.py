"""The standing report on failed images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.reports.standing.declaration import StandingReport
from pipeline.reports.standing.model import Column, QueryText, Series
from pipeline.reports.standing.queries import bar_chart, summed

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
