"""The standing reports on capacity: by day, by region, by platform, by disk format, by age."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from pipeline.reports.standing.declaration import (
    StandingReport,
    entry_column,
    share_column,
    unsized_note,
)
from pipeline.reports.standing.model import Chart, Column, QueryText, Series, days_between, label
from pipeline.reports.standing.queries import CHART_DAYS, bar_chart, measure
from pipeline.text import pluralize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.reports.standing.declaration import SectionData
    from pipeline.reports.standing.model import Row

# ── by day ───────────────────────────────────────────────────────────────────

DAYS: Final = QueryText(
    "the chart and the table",
    """\
select
    day_utc,
    image_count,
    image_size_gib,
    disk_size_gib,
    shared_image_size_gib,
    unsized_image_count,
    carried_account_count,
    image_size_gib - lag(image_size_gib) over (order by day_utc) as gained_gib
from capacity_by_day
order by day_utc desc""",
)
"""Capacity by day, the newest day first."""


def _trend_finding(data: SectionData) -> str:
    days = data.rows
    if not days:
        return "No day yet"
    last, first = days[0], days[-1]
    unit, name = measure(first) if first["image_size_gib"] else measure(last)
    now, before = last[name], first[name]
    size = f"{now:,} GiB" if unit == "GiB" else pluralize(now, "image")
    if len(days) == 1:
        return f"{size} on {last['day_utc']}, the first day"
    period = pluralize(days_between(days), "day")
    if now == before:
        return f"{size}, as much as {period} ago"
    change = f"{abs(now - before):,}"
    if before:
        change += f" ({abs(now - before) / before:.1%})" if now < 2 * before else f" ({now / before:.1f} times)"
    return f"{'Grew' if now > before else 'Shrank'} by {change} in {period}, to {size}"


def _trend_chart(data: SectionData, finding: str) -> Chart | None:
    days = data.rows
    if not days:
        return None
    drawn = days[:CHART_DAYS][::-1]
    series_by_field = {
        "image_size_gib": Series("own images", "blue"),
        "disk_size_gib": Series("their disks", "orange"),
        "shared_image_size_gib": Series("shared with us", "green", is_shown=False),
    }
    unit = "GiB"
    if not any(row["image_size_gib"] or row["disk_size_gib"] for row in days):
        series_by_field, unit = {"image_count": Series("own images", "blue")}, "images"
    return Chart(
        kind="lines",
        unit=unit,
        axis=f"{unit}, fitted to what is shown",
        entry="day, UTC",
        series=tuple(series_by_field.values()),
        at=tuple(f"{row['day_utc']:%Y-%m-%d}" for row in drawn),
        values=tuple(tuple(row[name] for name in series_by_field) for row in drawn),
        alt=f"Lines of {unit} by day: {finding}.",
        note=f"The chart draws the last {CHART_DAYS:,} of {len(days):,} days." if len(days) > CHART_DAYS else "",
    )


def _carried_note(data: SectionData) -> str:
    days = sum(1 for row in data.rows if row["carried_account_count"])
    return f"On {pluralize(days, 'day')} an account was not observed, and carries its last value." if days else ""


BY_DAY: Final = StandingReport(
    view="capacity_by_day",
    name="trend",
    topic="Capacity over time",
    caption="Capacity by day, newest first",
    table_query=DAYS,
    columns=(
        Column("day_utc", "day, UTC", "day"),
        Column("image_count", "images", "number"),
        Column("image_size_gib", "GiB", "number"),
        Column("gained_gib", "± GiB", "gain"),
        Column("disk_size_gib", "disks GiB", "number"),
        Column("shared_image_size_gib", "shared GiB", "number"),
    ),
    finding=_trend_finding,
    chart=_trend_chart,
    notes=(_carried_note,),
)

# ── by region, by platform ───────────────────────────────────────────────────


def _entries_finding(data: SectionData, key: str, verb: str) -> str:
    unit, name = measure(data.total)
    entries = [row for row in data.rows if row[name]]
    if not entries:
        return "No image of our own"
    largest = max(entries, key=lambda row: row[name])
    if len(entries) == 1:
        return f"{_all(data.total[name], unit)} in {label(largest[key])}"
    return f"{largest[name] / data.total[name]:.0%} of the {unit} {verb} {label(largest[key])}"


def _all(count: int, unit: str) -> str:
    """Write the whole amount: all 12 images, the only image, all 20 GiB."""
    return f"The only {unit.removesuffix('s')}" if count == 1 and unit != "GiB" else f"All {count:,} {unit}"


def _entries_chart(data: SectionData, finding: str, key: str, entry: str) -> Chart | None:
    owned, shared = Series("own images", "blue"), Series("shared with us", "orange")
    is_sized = bool(data.total["image_size_gib"] or data.total["shared_image_size_gib"])
    series_by_field = (
        {"image_size_gib": owned, "shared_image_size_gib": shared}
        if is_sized
        else {"image_count": owned, "shared_image_count": shared}
    )
    unit = "GiB" if is_sized else "images"
    return bar_chart(data.rows, key, series_by_field, entry, unit=unit, finding=finding)


def _other_owners_note(data: SectionData) -> str:
    others = data.total["other_image_count"]
    return f"{pluralize(others, 'image')} of another or an unknown owner: not in these figures." if others else ""


def _by(entry: str, key: str, verb: str) -> StandingReport:
    view = f"capacity_by_{entry}"
    query = QueryText(
        "the chart and the table",
        f"""\
select
    {key},
    image_count,
    image_size_gib,
    disk_size_gib,
    unsized_image_count,
    shared_image_count,
    shared_image_size_gib,
    other_image_count
from {view}""",  # noqa: S608  (known names)
    )
    return StandingReport(
        view=view,
        name=f"{entry}s",
        topic=f"By {entry}",
        caption=f"Capacity by {entry}",
        table_query=query,
        columns=(
            entry_column(key, entry),
            Column("image_count", "images", "number"),
            Column("image_size_gib", "GiB", "number"),
            share_column("share", of="image_size_gib"),
            Column("disk_size_gib", "disks GiB", "number", rank=2),
            Column("shared_image_size_gib", "shared GiB", "number", rank=3),
        ),
        finding=partial(_entries_finding, key=key, verb=verb),
        chart=partial(_entries_chart, key=key, entry=entry),
        notes=(unsized_note, _other_owners_note),
        sums_under=key,
    )


BY_REGION: Final = _by("region", "region_id", verb="is in")
BY_PLATFORM: Final = _by("platform", "platform", verb="runs")

# ── by disk format ───────────────────────────────────────────────────────────


def _disk_measure(data: SectionData) -> tuple[str, str]:
    return ("GiB", "disk_size_gib") if data.total["disk_size_gib"] else ("disks", "disk_count")


def _formats_finding(data: SectionData) -> str:
    unit, name = _disk_measure(data)
    entries = [row for row in data.rows if row[name]]
    if not entries:
        return "No disk of our own images"
    if len(entries) == 1:
        return f"{_all(data.total[name], unit)} on disk in {label(entries[0]['disk_format'])}"
    first, second = entries[:2]
    return (
        f"{first[name] / data.total[name]:.0%} of the disks’ {unit} is {label(first['disk_format'])}, "  # noqa: RUF001
        f"{second[name] / data.total[name]:.0%} {label(second['disk_format'])}"
    )


def _formats_chart(data: SectionData, finding: str) -> Chart | None:
    unit, name = _disk_measure(data)
    series_by_field = {name: Series("disks of own images", "blue")}
    return bar_chart(data.rows, "disk_format", series_by_field, "format", unit=unit, finding=finding)


BY_DISK_FORMAT: Final = StandingReport(
    view="capacity_by_disk_format",
    name="formats",
    topic="By disk format",
    caption="Disks by format",
    table_query=QueryText(
        "the chart and the table",
        """\
select
    disk_format,
    image_count,
    disk_count,
    disk_size_gib,
    unsized_disk_count,
    shared_disk_count
from capacity_by_disk_format""",
    ),
    columns=(
        entry_column("disk_format", "format"),
        Column("image_count", "images", "number"),
        Column("disk_count", "disks", "number", rank=2),
        Column("disk_size_gib", "disks GiB", "number"),
        share_column("share", of="disk_size_gib"),
        Column("unsized_disk_count", "no size", "number", rank=3, only_if_any=True),
    ),
    finding=_formats_finding,
    chart=_formats_chart,
    sums_under="disk_format",
    not_summed=("image_count",),  # an image with disks of two formats counts in both
)

# ── by age ───────────────────────────────────────────────────────────────────

AGE_BANDS: Final = QueryText(
    "the chart and the table",
    """\
select
    band_number,
    age_band,
    image_count,
    image_size_gib,
    unsized_image_count,
    impossible_age_count,
    shared_image_count
from age_bands
order by band_number""",
)
OLD_BANDS: Final = (5, 6)
"""The numbers of the bands of a year and more."""


def _known_bands(rows: list[Row]) -> list[Row]:
    """Leave out the band `unknown` where it is empty, and all bands where there is no image."""
    bands = [row for row in rows if row["age_band"] != "unknown" or row["image_count"]]
    return bands if any(row["image_count"] for row in bands) else []


def _age_finding(data: SectionData) -> str:
    unit, name = measure(data.total)
    if not data.total[name]:
        return "No image of our own"
    old = old_sum(data.rows, name)
    return f"{old / data.total[name]:.0%} of the {unit} {'is' if unit == 'GiB' else 'are'} a year old or more"


def old_sum(bands: Sequence[Row], name: str) -> int:
    """Add up a column over the bands of a year and more."""
    return sum(row[name] for row in bands if row["band_number"] in OLD_BANDS)


def _age_chart(data: SectionData, finding: str) -> Chart | None:
    if not data.total["image_count"]:
        return None
    is_sized = bool(data.total["image_size_gib"])
    sides = 2 if is_sized else 1
    bands = data.rows[::-1]
    return Chart(
        kind="pyramid",
        unit="share",
        axis="← share of images · share of GiB →" if is_sized else "← share of images",
        entry="age",
        series=(Series("images", "blue"), Series("GiB", "orange"))[:sides],
        at=tuple(row["age_band"] for row in bands),
        values=tuple((row["image_share"], row["share"])[:sides] for row in bands),
        alt=f"Bars for each band of age, its share of the images{' and of the GiB' if is_sized else ''}: {finding}.",
        tooltips=tuple(
            (pluralize(row["image_count"], "image"), f"{row['image_size_gib']:,} GiB")[:sides] for row in bands
        ),
    )


BY_AGE: Final = StandingReport(
    view="age_bands",
    name="ages",
    topic="Age",
    caption="Own images by age",
    table_query=AGE_BANDS,
    select_rows=_known_bands,
    columns=(
        Column("age_band", "age", sort_by="band_number"),
        Column("image_count", "images", "number"),
        share_column("of images", of="image_count", name="image_share", kind="percent", rank=2),
        Column("image_size_gib", "GiB", "number"),
        share_column("of GiB", of="image_size_gib"),
        Column("unsized_image_count", "no size", "number", rank=3, only_if_any=True),
        Column("impossible_age_count", "cannot be", "number", rank=3, only_if_any=True),
    ),
    finding=_age_finding,
    chart=_age_chart,
    notes=(lambda _: "Age is counted from creation to the observation; a year is 365 days.",),
    sums_under="age_band",
)
