"""What is held: over time, by region, platform and disk format, and how old it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.reports.standing.model import Chart, Column, QueryText, Section, Series, days_between, label, table
from pipeline.reports.standing.queries import CHART_DAYS, bar_chart, measure, summed
from pipeline.text import pluralize

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

    from pipeline.reports.standing.model import Row
    from pipeline.reports.standing.queries import Answers

_OWNED: Final = Series("own images", "blue")
_SHARED: Final = Series("shared with us", "orange")


# ── capacity by day ──────────────────────────────────────────────────────────

TREND: Final = QueryText(
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


def trend(answers: Answers) -> Section:
    """Tell how much was held from day to day, the newest first."""
    days = answers.rows(TREND)
    columns = (
        Column("day_utc", "day, UTC", "day"),
        Column("image_count", "images", "number"),
        Column("image_size_gib", "GiB", "number"),
        Column("gained_gib", "± GiB", "gain"),
        Column("disk_size_gib", "disks GiB", "number"),
        Column("shared_image_size_gib", "shared GiB", "number"),
    )
    finding = _trend_finding(days)
    notes = []
    carried = sum(1 for row in days if row["carried_account_count"])
    if carried:
        notes.append(f"On {pluralize(carried, 'day')} an account was not observed, and carries its last value.")
    drawn = list(days[:CHART_DAYS])[::-1]
    is_sized = any(row["image_size_gib"] or row["disk_size_gib"] for row in days)
    series: tuple[Series, ...] = (
        Series("own images", "blue"),
        Series("their disks", "orange"),
        Series("shared with us", "green", is_shown=False),
    )
    fields: tuple[str, ...] = ("image_size_gib", "disk_size_gib", "shared_image_size_gib")
    if not is_sized:
        series, fields = (Series("own images", "blue"),), ("image_count",)
    unit = "GiB" if is_sized else "images"
    chart = Chart(
        kind="lines",
        unit=unit,
        axis=f"{unit}, fitted to what is shown",
        entry="day, UTC",
        series=series,
        at=tuple(f"{row['day_utc']:%Y-%m-%d}" for row in drawn),
        values=tuple(tuple(row[name] for name in fields) for row in drawn),
        alt=f"Lines of {unit} by day: {finding}.",
        note=f"The chart draws the last {CHART_DAYS:,} of {len(days):,} days." if len(days) > CHART_DAYS else "",
    )
    shown = table("Capacity by day, newest first", "capacity_by_day", columns, days)
    return Section("trend", "Capacity over time", finding, shown, (TREND,), chart if drawn else None, tuple(notes))


def _trend_finding(days: Sequence[Row]) -> str:
    if not days:
        return "No day yet"
    last, first = days[0], days[-1]
    unit, name = measure(first) if first["image_size_gib"] else measure(last)
    held, before = last[name], first[name]
    told = f"{held:,} GiB" if unit == "GiB" else pluralize(held, "image")
    if len(days) == 1:
        return f"{told} on {last['day_utc']}, the first day"
    passed = pluralize(days_between(days), "day")
    if held == before:
        return f"{told}, as much as {passed} ago"
    by = f"{abs(held - before):,}"
    if before:
        by += f" ({abs(held - before) / before:.1%})" if held < 2 * before else f" ({held / before:.1f} times)"
    return f"{'Grew' if held > before else 'Shrank'} by {by} in {passed}, to {told}"


# ── capacity by what ─────────────────────────────────────────────────────────


def capacity(answers: Answers, word: str, key: str) -> Section:
    """Tell how much is held now by region or platform, `word`, whose column is `key`."""
    view = f"capacity_by_{word}"
    asked = QueryText(
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
    rows = answers.rows(asked)
    total = summed(rows)
    for row in rows:
        row[key] = row[key] or None
        row["share"] = row["image_size_gib"] / total["image_size_gib"] if total["image_size_gib"] else None
    columns = [
        Column(key, word),
        Column("image_count", "images", "number"),
        Column("image_size_gib", "GiB", "number"),
        Column("share", "share", "share", rank=1),
        Column("disk_size_gib", "disks GiB", "number", rank=2),
        Column("shared_image_size_gib", "shared GiB", "number", rank=3),
    ]
    finding = _capacity_finding(rows, total, word, key)
    is_sized = bool(total["image_size_gib"] or total["shared_image_size_gib"])
    fields = ("image_size_gib", "shared_image_size_gib") if is_sized else ("image_count", "shared_image_count")
    notes = []
    if total["unsized_image_count"]:
        notes.append(f"{pluralize(total['unsized_image_count'], 'image')} without a size: not in the GiB.")
    if total["other_image_count"]:
        others = pluralize(total["other_image_count"], "image")
        notes.append(f"{others} of another owner, or none told: in none of these figures.")
    chart = bar_chart(
        rows, key, fields, word, unit="GiB" if is_sized else "images", series=(_OWNED, _SHARED), finding=finding
    )
    shown = table(f"Capacity by {word}", view, columns, rows, sums={**total, key: "all"})
    return Section(f"{word}s", f"By {word}", finding, shown, (asked,), chart, tuple(notes))


def _capacity_finding(rows: Sequence[Row], total: Counter[str], word: str, key: str) -> str:
    unit, name = measure(total)
    held = [row for row in rows if row[name]]
    if not held:
        return "No image of our own"
    first = max(held, key=lambda row: row[name])
    if len(held) == 1:
        return f"{_all(total[name], unit)} in {label(first[key])}"
    return (
        f"{first[name] / total[name]:.0%} of the {unit} {'runs' if word == 'platform' else 'is in'} {label(first[key])}"
    )


def _all(count: int, unit: str) -> str:
    """Say that it is all there is: all 12 images, the only image, all 20 GiB."""
    return f"The only {unit.removesuffix('s')}" if count == 1 and unit != "GiB" else f"All {count:,} {unit}"


_FORMATS: Final = QueryText(
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
)


def formats(answers: Answers) -> Section:
    """Tell how much the disks hold in which format."""
    rows = answers.rows(_FORMATS)
    total = summed(rows)
    for row in rows:
        row["disk_format"] = row["disk_format"] or None
        row["share"] = row["disk_size_gib"] / total["disk_size_gib"] if total["disk_size_gib"] else None
    columns = [
        Column("disk_format", "format"),
        Column("image_count", "images", "number"),
        Column("disk_count", "disks", "number", rank=2),
        Column("disk_size_gib", "disks GiB", "number"),
        Column("share", "share", "share", rank=1),
    ]
    if total["unsized_disk_count"]:
        columns.append(Column("unsized_disk_count", "no size", "number", rank=3))
    unit, name = ("GiB", "disk_size_gib") if total["disk_size_gib"] else ("disks", "disk_count")
    held = [row for row in rows if row[name]]
    if not held:
        finding = "No disk of our own images"
    elif len(held) == 1:
        finding = f"{_all(total[name], unit)} on disk in {label(held[0]['disk_format'])}"
    else:
        first, second = held[:2]
        finding = (
            f"{first[name] / total[name]:.0%} of the disks’ {unit} is {label(first['disk_format'])}, "  # noqa: RUF001
            f"{second[name] / total[name]:.0%} {label(second['disk_format'])}"
        )
    chart = bar_chart(
        rows,
        "disk_format",
        ("disk_size_gib",) if unit == "GiB" else ("disk_count",),
        "format",
        unit=unit,
        series=(Series("disks of own images", "blue"),),
        finding=finding,
    )
    # An image may have disks of two formats, so the images do not add up.
    sums = {name: value for name, value in total.items() if name != "image_count"}
    shown = table("Disks by format", "capacity_by_disk_format", columns, rows, sums={**sums, "disk_format": "all"})
    return Section("formats", "By disk format", finding, shown, (_FORMATS,), chart)


# ── age ──────────────────────────────────────────────────────────────────────

AGES: Final = QueryText(
    "the chart and the table",
    """\
select
    band_number,
    age_band,
    image_count,
    image_size_gib,
    unsized_image_count,
    shared_image_count
from age_bands
order by band_number""",
)
OLD: Final = (5, 6)
"""The bands of a year and more."""


def ages(answers: Answers) -> Section:
    """Tell how much is how old."""
    rows = [row for row in answers.rows(AGES) if row["age_band"] != "unknown" or row["image_count"]]
    total = summed(rows)
    rows = rows if total["image_count"] else []
    for row in rows:
        row["share"] = row["image_size_gib"] / total["image_size_gib"] if total["image_size_gib"] else None
        row["image_share"] = row["image_count"] / total["image_count"] if total["image_count"] else None
    columns = [
        Column("age_band", "age", sort_by="band_number"),
        Column("image_count", "images", "number"),
        Column("image_share", "of images", "percent", rank=2),
        Column("image_size_gib", "GiB", "number"),
        Column("share", "of GiB", "share", rank=1),
    ]
    if total["unsized_image_count"]:
        columns.append(Column("unsized_image_count", "no size", "number", rank=3))
    finding = _age_finding(rows, total)
    sides = 2 if total["image_size_gib"] else 1
    drawn = rows[::-1]
    told = ((pluralize(row["image_count"], "image"), f"{row['image_size_gib']:,} GiB") for row in drawn)
    chart = Chart(
        kind="pyramid",
        unit="share",
        axis="← share of images · share of GiB →" if sides == 2 else "← share of images",
        entry="age",
        series=(Series("images", "blue"), Series("GiB", "orange"))[:sides],
        at=tuple(row["age_band"] for row in drawn),
        values=tuple((row["image_share"], row["share"])[:sides] for row in drawn),
        alt=f"Bars for each band of age, its share of the images{' and of the GiB' if sides == 2 else ''}: {finding}.",
        told=tuple(words[:sides] for words in told),
    )
    shown = table("Own images by age", "age_bands", columns, rows, sums={**total, "age_band": "all"})
    notes = ("Age is counted from creation to the observation; a year is 365 days.",)
    return Section("ages", "Age", finding, shown, (AGES,), chart if total["image_count"] else None, notes)


def _age_finding(rows: Sequence[Row], total: Counter[str]) -> str:
    unit, name = measure(total)
    if not total[name]:
        return "No image of our own"
    old = sum(row[name] for row in rows if row["band_number"] in OLD)
    return f"{old / total[name]:.0%} of the {unit} {'is' if unit == 'GiB' else 'are'} a year old or more"
