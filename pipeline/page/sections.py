"""What the page tells, in order: each section asks the lake, says what it found, and keeps the SQL.

    capacity by day · by region · by platform · by disk format · age · changes · failures

A title is a finding. A chart draws every row, or says how many it leaves out;
a table holds the first rows, and says how many there are.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections import Counter
from typing import TYPE_CHECKING, Final

from pipeline.page.charts import Chart, Series
from pipeline.page.parts import Asked, Column, Figure, Section, Story, gain, label, table
from pipeline.rows import as_dicts, query
from pipeline.spelling import how_many
from pipeline.views import relations

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import duckdb

    from pipeline.page.parts import Row

CHART_ROWS: Final = 12
"""Bars of a chart; what is left is added up in one more."""
CHART_DAYS: Final = 731
"""Days of a chart: two years; it says how many there are."""
DAYS_ONE_BY_ONE: Final = 92
"""Days whose changes are drawn day by day; more of them week by week."""

_OWNED: Final = Series("own images", "blue")
_SHARED: Final = Series("shared with us", "orange")


def story(con: duckdb.DuckDBPyConnection) -> Story:
    """Ask the lake everything that the page tells.

    Raises:
        LakeDamaged: a committed file is missing or unreadable.
    """
    with contextlib.closing(con.cursor()) as lake:
        # What is asked more than once is worked out once: here, in this cursor, the name then means its rows.
        for view in ("image_capacity", "capacity_by_day", "image_changes", "failed_images"):
            ask(lake, f"create temp table {view} as from {view}")
        days = ask(lake, _TREND.sql)
        ages = ask(lake, _AGES.sql)
        failures = ask(lake, _FAILURES_BY_REGION.sql)
        accounts = ask(lake, _ACCOUNTS.sql)
        sections = (
            _trend(days),
            _capacity(lake, "region", "region_id"),
            _capacity(lake, "platform", "platform"),
            _formats(lake),
            _ages(ages),
            _changes(lake, days),
            _failures(lake, failures),
        )
        return Story(
            title=_title(accounts),
            accounts=(whose := _accounts(accounts)),
            is_trouble=any(
                row["is_stale"] or row["certificate"] != "verified" or row["reject_count"] or row["unknown_field_count"]
                for row in accounts
            ),
            figures=_figures(days, ages, failures),
            sections=sections,
            views=_views_behind(name for section in (*sections, whose) for name in section.reads),
        )


def ask(con: duckdb.DuckDBPyConnection, sql: str) -> list[Row]:
    """Run SQL of the page: all of its rows."""
    return as_dicts(query(con, sql, only_reads=False))


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


# ── capacity by day ──────────────────────────────────────────────────────────

_TREND: Final = Asked(
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


def _trend(days: Sequence[Row]) -> Section:
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
        notes.append(f"On {how_many(carried, 'day')} an account was not observed, and carries its last value.")
    if len(days) > CHART_DAYS:
        notes.append(f"The chart draws the last {CHART_DAYS:,} of {len(days):,} days.")
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
        axis=f"{unit} (not from 0)",
        entry="day, UTC",
        series=series,
        at=tuple(f"{row['day_utc']:%Y-%m-%d}" for row in drawn),
        values=tuple(tuple(row[name] for name in fields) for row in drawn),
        alt=f"Lines of {unit} by day: {finding}.",
    )
    shown = table("Capacity by day, newest first", "capacity_by_day", columns, days)
    return Section("trend", "Capacity over time", finding, shown, (_TREND,), chart if drawn else None, tuple(notes))


def _trend_finding(days: Sequence[Row]) -> str:
    if not days:
        return "No day yet"
    last, first = days[0], days[-1]
    unit, name = _measure(first) if first["image_size_gib"] else _measure(last)
    held, before = last[name], first[name]
    if len(days) == 1:
        return f"{held:,} {unit} on {last['day_utc']}, the first day"
    if held == before:
        return f"{held:,} {unit}, as much as {len(days):,} days ago"
    by = f"{abs(held - before):,} {unit}" + (f" ({abs(held - before) / before:.1%})" if before else "")
    return f"{'Grew' if held > before else 'Shrank'} by {by} in {len(days):,} days, to {held:,} {unit}"


# ── capacity by what ─────────────────────────────────────────────────────────


def _capacity(lake: duckdb.DuckDBPyConnection, word: str, key: str) -> Section:
    view = f"capacity_by_{word}"
    asked = Asked(
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
    rows = ask(lake, asked.sql)
    total = _sum(rows)
    for row in rows:
        row["share"] = row["image_size_gib"] / total["image_size_gib"] if total["image_size_gib"] else None
    columns = [
        Column(key, word),
        Column("image_count", "images", "number"),
        Column("image_size_gib", "GiB", "number"),
        Column("share", "share", "share"),
        Column("disk_size_gib", "disks GiB", "number"),
        Column("shared_image_size_gib", "shared GiB", "number"),
    ]
    finding = _capacity_finding(rows, total, word, key)
    is_sized = bool(total["image_size_gib"] or total["shared_image_size_gib"])
    fields = ("image_size_gib", "shared_image_size_gib") if is_sized else ("image_count", "shared_image_count")
    notes = []
    if total["unsized_image_count"]:
        notes.append(f"{how_many(total['unsized_image_count'], 'image')} without a size: not in the GiB.")
    if total["other_image_count"]:
        notes.append(f"{how_many(total['other_image_count'], 'image')} of another owner, or none told: not drawn.")
    chart = _bar_chart(
        rows, key, fields, word, unit="GiB" if is_sized else "images", series=(_OWNED, _SHARED), finding=finding
    )
    shown = table(f"Capacity by {word}", view, columns, rows, sums={**total, key: "all"})
    return Section(f"{word}s", f"By {word}", finding, shown, (asked,), chart, tuple(notes))


def _capacity_finding(rows: Sequence[Row], total: Counter[str], word: str, key: str) -> str:
    unit, name = _measure(total)
    held = [row for row in rows if row[name]]
    if not held:
        return "No image of our own"
    first = max(held, key=lambda row: row[name])
    if len(held) == 1:
        return f"All {total[name]:,} {unit} in {label(first[key])}"
    return (
        f"{first[name] / total[name]:.0%} of the {unit} {'runs' if word == 'platform' else 'is in'} {label(first[key])}"
    )


def _bar_chart(
    rows: Sequence[Row],
    key: str,
    fields: Sequence[str],
    word: str,
    *,
    unit: str,
    series: tuple[Series, ...],
    finding: str,
) -> Chart | None:
    """A bar for each of the first rows that hold something, and one for what is left."""
    held = [row for row in rows if any(row[name] for name in fields)]
    if not held:
        return None
    held.sort(key=lambda row: -sum(row[name] for name in fields))
    drawn, rest = (held, []) if len(held) <= CHART_ROWS + 1 else (held[:CHART_ROWS], held[CHART_ROWS:])
    at = [label(row[key]) for row in drawn]
    values = [tuple(row[name] for name in fields) for row in drawn]
    if rest:
        at.append(f"{len(rest):,} others")
        values.append(tuple(sum(row[name] for row in rest) for name in fields))
    told = [tuple(f"{value:,} {unit}" for value in row) for row in values]
    used = [place for place, _ in enumerate(fields) if any(row[place] for row in values)]
    return Chart(
        kind="bars",
        unit=unit,
        axis=unit,
        entry=word,
        series=tuple(series[place] for place in used),
        at=tuple(at),
        values=tuple(tuple(row[place] for place in used) for row in values),
        alt=f"Bars of {unit} by {word}: {finding}.",
        told=tuple(tuple(row[place] for place in used) for row in told),
    )


def _measure(total: Mapping[str, int]) -> tuple[str, str]:
    """What to compare by, and its column: GiB, or images where no size is known."""
    return ("GiB", "image_size_gib") if total["image_size_gib"] else ("images", "image_count")


def _sum(rows: Sequence[Row]) -> Counter[str]:
    total = Counter[str]()
    for row in rows:
        total.update({name: value or 0 for name, value in row.items() if name.endswith(("_count", "_gib"))})
    return total


_FORMATS: Final = Asked(
    "the chart and the table",
    """\
select
    lower(disk.disk_format) as disk_format,
    count(distinct (disk.account, disk.image_id)) as image_count,
    count(*) as disk_count,
    cast(coalesce(sum(disk.disk_size_gib), 0) as bigint) as disk_size_gib,
    cast(coalesce(sum(case when lower(disk.disk_type) = 'system' then disk.disk_size_gib end), 0) as bigint)
        as system_disk_size_gib,
    count(*) - count(disk.disk_size_gib) as unsized_disk_count
from image_disks_latest as disk
inner join image_capacity as image
    on disk.account = image.account
    and disk.image_id = image.image_id
where image.ownership = 'owned'
group by lower(disk.disk_format)
order by
    disk_size_gib desc,
    disk_format nulls last""",
)


def _formats(lake: duckdb.DuckDBPyConnection) -> Section:
    rows = ask(lake, _FORMATS.sql)
    total = _sum(rows)
    for row in rows:
        row["share"] = row["disk_size_gib"] / total["disk_size_gib"] if total["disk_size_gib"] else None
        row["data_disk_size_gib"] = row["disk_size_gib"] - row["system_disk_size_gib"]
    columns = [
        Column("disk_format", "format"),
        Column("image_count", "images", "number"),
        Column("disk_count", "disks", "number"),
        Column("disk_size_gib", "disks GiB", "number"),
        Column("share", "share", "share"),
    ]
    if total["unsized_disk_count"]:
        columns.append(Column("unsized_disk_count", "no size", "number"))
    unit, name = ("GiB", "disk_size_gib") if total["disk_size_gib"] else ("disks", "disk_count")
    if not rows:
        finding = "No disk of our own images"
    elif len(rows) == 1:
        finding = f"All {total[name]:,} {unit} on disk are {label(rows[0]['disk_format'])}"
    else:
        first, second = rows[:2]
        finding = (
            f"{first[name] / total[name]:.0%} of the disks’ {unit} is {label(first['disk_format'])}, "  # noqa: RUF001
            f"{second[name] / total[name]:.0%} {label(second['disk_format'])}"
        )
    is_sized = unit == "GiB"
    chart = _bar_chart(
        rows,
        "disk_format",
        ("system_disk_size_gib", "data_disk_size_gib") if is_sized else ("disk_count",),
        "format",
        unit=unit,
        series=(Series("system disks", "blue"), Series("data disks", "orange"))
        if is_sized
        else (Series("disks", "blue"),),
        finding=finding,
    )
    # An image may have disks of two formats, so the images do not add up.
    sums = {name: value for name, value in total.items() if name != "image_count"}
    shown = table("Disks by format", "image_disks_latest", columns, rows, sums={**sums, "disk_format": "all"})
    return Section("formats", "By disk format", finding, shown, (_FORMATS,), chart)


# ── age ──────────────────────────────────────────────────────────────────────

_AGES: Final = Asked(
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
_OLD: Final = (5, 6)
"""The bands of a year and more."""


def _ages(bands: Sequence[Row]) -> Section:
    rows = [row for row in bands if row["age_band"] != "unknown" or row["image_count"]]
    total = _sum(rows)
    for row in rows:
        row["share"] = row["image_size_gib"] / total["image_size_gib"] if total["image_size_gib"] else None
        row["image_share"] = row["image_count"] / total["image_count"] if total["image_count"] else None
    columns = [
        Column("age_band", "age", sort_by="band_number"),
        Column("image_count", "images", "number"),
        Column("image_share", "share", "percent"),
        Column("image_size_gib", "GiB", "number"),
        Column("share", "share", "share"),
    ]
    if total["unsized_image_count"]:
        columns.append(Column("unsized_image_count", "no size", "number"))
    finding = _age_finding(rows, total)
    chart = Chart(
        kind="pyramid",
        unit="share",
        axis="← share of images · share of GiB →" if total["image_size_gib"] else "← share of images",
        entry="age",
        series=(Series("images", "blue"), Series("GiB", "orange")),
        at=tuple(row["age_band"] for row in rows[::-1]),
        values=tuple((row["image_share"], row["share"]) for row in rows[::-1]),
        alt=f"Two bars for each band of age, its share of the images and of the GiB: {finding}.",
        told=tuple((how_many(row["image_count"], "image"), f"{row['image_size_gib']:,} GiB") for row in rows[::-1]),
    )
    shown = table("Own images by age", "age_bands", columns, rows, sums={**total, "age_band": "all"})
    notes = ("Age is counted from creation to the observation; a year is 365 days.",)
    return Section("ages", "Age", finding, shown, (_AGES,), chart if total["image_count"] else None, notes)


def _age_finding(rows: Sequence[Row], total: Counter[str]) -> str:
    unit, name = _measure(total)
    if not total[name]:
        return "No image of our own"
    old = sum(row[name] for row in rows if row["band_number"] in _OLD)
    return f"{old / total[name]:.0%} of the {unit} is a year old or more"


# ── what changed ─────────────────────────────────────────────────────────────


def _changes(lake: duckdb.DuckDBPyConnection, days: Sequence[Row]) -> Section:
    by = "day" if len(days) <= DAYS_ONE_BY_ONE else "week"
    counted = Asked(
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
    listed = Asked(
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
    counts, newest = ask(lake, counted.sql), ask(lake, listed.sql)
    told = Counter[str]()
    for row in counts:
        told[row["change"]] += row["image_count"]
    words = ("appeared", "gone", "changed", "seen", "unseen")
    finding = ", ".join(f"{told[word]:,} {word}" for word in words if told[word])
    finding = f"{finding} in {how_many(len(days), 'day')}" if finding else "Nothing changed"
    if len(days) < 2:
        finding = "Nothing to compare yet: changes show from the second observation on"
    for row in newest:
        row["what"] = row["image_name"]
        if row["change"] == "changed":
            row["what"] = f"{row['field']}: {_told(row['old_value'])} → {_told(row['new_value'])}"
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
        _without_one_account(columns, newest),
        newest,
        count=sum(row["row_count"] for row in counts),
    )
    chart = _changes_chart(counts, days, by, f"Columns of images by {by}: {finding}.") if counts else None
    notes = ("`unseen` is not gone: what did not list it proves nothing.",) if told["unseen"] else ()
    return Section("changes", "What changed", finding, shown, (counted, listed), chart, notes, is_wide=True)


def _told(value: str | None) -> str:
    return "none" if value is None else value


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
        told=tuple(tuple(how_many(value, "image") for value in row) for row in values),
    )


# ── what failed ──────────────────────────────────────────────────────────────

_FAILURES_BY_REGION: Final = Asked(
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
_FAILURES: Final = Asked(
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


def _failures(lake: duckdb.DuckDBPyConnection, by_region: Sequence[Row]) -> Section:
    rows = ask(lake, _FAILURES.sql)
    finding = _failure_finding(by_region)
    columns = [
        Column("status", "status"),
        Column("reason", "reason"),
        Column("created_at_utc", "created, UTC", "day"),
        Column("account", "account"),
        Column("image_id", "image"),
        Column("image_name", "name", "words"),
        Column("region_id", "region"),
        Column("image_size_gib", "GiB", "number"),
    ]
    chart = _bar_chart(
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
        _without_one_account(columns, rows),
        rows,
        count=sum(_sum(by_region).values()),
    )
    notes = ("hanging: Creating, Packing or Uploading for over two hours, as of the observation.",)
    return Section(
        "failures",
        "What failed",
        finding,
        shown,
        (_FAILURES_BY_REGION, _FAILURES),
        chart,
        notes if _sum(by_region)["hanging_count"] else (),
        is_wide=True,
    )


def _failure_finding(by_region: Sequence[Row]) -> str:
    total = _sum(by_region)
    words = {"failed_count": "failed", "hanging_count": "hanging", "unavailable_count": "unavailable"}
    told = ", ".join(f"{total[name]:,} {word}" for name, word in words.items() if total[name])
    return told or "No image failed"


def _without_one_account(columns: Sequence[Column], rows: Sequence[Row]) -> list[Column]:
    """Leave the account out where there is only one."""
    several = len({row["account"] for row in rows}) > 1
    return [column for column in columns if several or column.name != "account"]


# ── the numbers at the top ───────────────────────────────────────────────────


def _figures(days: Sequence[Row], ages: Sequence[Row], failures: Sequence[Row]) -> tuple[Figure, ...]:
    if not days:
        return ()
    last, first = days[0], days[-1]
    since = f"in {how_many(len(days), 'day')}"
    is_first = len(days) == 1

    def moved(name: str) -> str:
        return "first day" if is_first else f"{gain(last[name] - first[name])} {since}"

    total = _sum(ages)
    unit, name = _measure(total)
    old = sum(row[name] for row in ages if row["band_number"] in _OLD)
    broken = _sum(failures)
    share = f"{old / total[name]:.0%}" if total[name] else "–"  # noqa: RUF001  (the dash that stands for nothing)
    count, size = "image_count", "image_size_gib"
    return (
        Figure("Own images", f"{last[count]:,}", "", moved(count), "trend", _spark(days, count)),
        Figure("They hold", f"{last[size]:,}", "GiB", moved(size), "trend", _spark(days, size)),
        Figure("A year old or more", share, f"of {unit}", f"{old:,} {unit}", "ages"),
        Figure("Cannot be used", f"{sum(broken.values()):,}", "images", _failure_finding(failures), "failures"),
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
