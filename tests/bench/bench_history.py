"""Cost of the history: size, compaction of one more day, and queries, compared with the daily copies.

    python tests/bench/bench_history.py [--images 100000] [--days 365] [--out docs/benchmark-history.md]

One run per day over an account with 0.5 % created, deleted or changed images per day. The year is written as compaction
would write it (`bench_page`; a test compares both); the last day is compacted by the real code, in a separate process.
The daily copies are the same days as plain files, queried with plain SQL.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import bench_page as made
import duckdb

from pipeline import diff
from pipeline.lake.compaction.compact import compact
from pipeline.lake.compaction.manifest import COMPACTED, MANIFESTS
from pipeline.resources.images import IMAGE_FIELDS, IMAGE_VERSIONS
from pipeline.views.connection import connect
from pipeline.views.database import write_catalog

if TYPE_CHECKING:
    from collections.abc import Sequence

CHURN: Final = 600
"""One image in this number is created per day, one is deleted, one changes: 0.5 % in total."""
ROUNDS: Final = 5
COMPACTION: Final = """
import sys, time
from pathlib import Path
from pipeline.lake.compaction.compact import compact
began = time.perf_counter()
assert len(compact(Path(sys.argv[1]))) == 1
seconds = time.perf_counter() - began
# Not `ru_maxrss`: a process inherits that from its parent.
(peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(seconds, int(peak.split()[1]) / 1024)
"""
TREND: Final = "select day_utc, image_count, image_size_gib from capacity_by_day order by 1"
CHURN_OF_THE_YEAR: Final = """
    select observed_at_utc, appeared_image_count, changed_image_count, gone_image_count
    from changes_by_observation order by 1"""
CHANGES_OF_THE_YEAR: Final = """
    select observed_at_utc, change, count(distinct image_id) as images from image_changes group by all order by 1, 2"""
DAILY_TREND: Final = """
    select observed_on as day_utc, count(*), sum(image_size_gib)::bigint from daily
    where image_owner = 'self' group by 1 order by 1"""
DAILY_CHURN: Final = """
    with day as (
        select observed_at_utc, row_number() over (order by observed_at_utc) as n from (select distinct observed_at_utc
        from daily) as one
    ),
    seen as (
        select
            image_id, image_size_gib, day.n, observed_at_utc,
            lag(day.n) over mine as before, lead(day.n) over mine as after,
            lag(image_size_gib) over mine as size_before
        from daily inner join day using (observed_at_utc) window mine as (partition by image_id order by day.n)
    ),
    change as (
        select observed_at_utc, 'appeared' as change from seen where n > 1 and before is distinct from n - 1
        union all
        select observed_at_utc, 'changed' from seen where before = n - 1 and size_before <> image_size_gib
        union all
        select day.observed_at_utc, 'gone' from seen inner join day on day.n = seen.n + 1
        where after is distinct from seen.n + 1
    )
    select observed_at_utc, change, count(*) from change group by all order by 1, 2"""


_DIFFERS: Final = " or ".join(
    f"later.{column.name} is distinct from earlier.{column.name}"
    for column in (*IMAGE_FIELDS, IMAGE_VERSIONS.column("disks"))
)
FLOORS: Final = {
    "latest capacity by region: read the columns of one day, count by region": """
        select region_id, count(distinct account), count(image_owner), sum(image_size_gib), sum(disk_size_gib)
        from images_latest group by 1""",
    "trend: read the versions, sum by first and by last day": """
        select count(*), sum(n) from (
            select first_seen_utc, count(*) as n, sum(image_size_gib) from image_versions group by 1
            union all select last_seen_utc, count(*), sum(image_size_gib) from image_versions group by 1) as one""",
    "churn: count the versions by first and by last observation": """
        select count(*), sum(n) from (
            select first_seen_utc, previous_seen_utc, count(*) as n, sum(image_size_gib) from image_versions
            group by 1, 2
            union all
            select last_seen_utc, next_seen_utc, count(*), null from image_versions group by 1, 2) as one""",
    "all changes: join each version with the previous one, compare all values, count": f"""
        select count(*) from image_versions as later inner join image_versions as earlier
            on later.account = earlier.account and later.image_id = earlier.image_id
            and later.previous_seen_utc = earlier.last_seen_utc
        where {_DIFFERS}""",
}
"""Lower bounds: the most expensive part of each query alone, over the same files."""


def bytes_of(lake: Path) -> int:
    """What the files under a folder hold."""
    return sum(path.stat().st_size for path in lake.rglob("*") if path.is_file())


def answered(con: duckdb.DuckDBPyConnection, query: str, rounds: int = ROUNDS) -> tuple[float, list[Any]]:
    """The median milliseconds of a query that was asked once before, and its answer."""
    rows = con.execute(query).fetchall()
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        con.execute(query).fetchall()
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1000, rows


def compacted_year(data: Path, images: int, days: int) -> tuple[float, float, float]:
    """Compact `days` days, the last one by itself. Returns: its seconds, its MB of memory, the MB of the versions."""
    life = made.Life(images, days, CHURN)
    made.fill(data, images, days - 1, CHURN)
    compact(data, grace=dt.timedelta(0))
    made.write_day(data, life, days - 1)
    said = subprocess.run([sys.executable, "-c", COMPACTION, data], check=True, capture_output=True, text=True).stdout
    seconds, memory = map(float, said.split())
    from pipeline.jobs.retention import prune

    prune(data, grace=dt.timedelta(0))
    write_catalog(data)
    return seconds, memory, sum(bytes_of(data / "lake" / folder) for folder in (*COMPACTED, MANIFESTS)) / 1e6


def opened(data: Path) -> float:
    """The median milliseconds of connect()."""
    took = []
    for _ in range(ROUNDS + 1):
        began = time.perf_counter()
        connect(data).close()
        took.append(time.perf_counter() - began)
    return statistics.median(took[1:]) * 1000


def differed(data: Path, old: dt.datetime, new: dt.datetime) -> str:
    """The median milliseconds of a diff of two days, opening included, and the rows of what changed."""
    took, count = [], 0
    for _ in range(ROUNDS + 1):
        began = time.perf_counter()
        with diff(old.date(), new.date(), data) as found:
            count = len(found.changes.fetchall())
        took.append(time.perf_counter() - began)
    return f"{statistics.median(took[1:]) * 1000:.0f} ms ({count:,} changes)"


def measure(folder: Path, images: int, days: int) -> tuple[list[tuple[str, str, str, bool]], list[str]]:
    """Every row of the table (what, target, measured, met), and the floors as lines."""
    seconds, memory, size = compacted_year(folder / "compacted", images, days)
    life = made.Life(images, days, CHURN)
    for day in range(days):
        made.write_day(folder / "daily", life, day)
    copies = bytes_of(folder / "daily" / "lake") / 1e6
    some_day, next_day, last_day = (made.FIRST + dt.timedelta(days=day) for day in (days // 3, days // 3 + 1, days - 1))
    with connect(folder / "compacted") as con, duckdb.connect() as daily:
        files = folder / "daily/lake/images/*/*.parquet"
        daily.execute(f"create view daily as from read_parquet('{files}', hive_partitioning = true)")
        now, _ = answered(con, "from capacity_by_region")
        trend, by_day = answered(con, TREND)
        churn, by_observation = answered(con, CHURN_OF_THE_YEAR)
        listed, changes = answered(con, CHANGES_OF_THE_YEAR)
        floors = [f"- {what}: {answered(con, query)[0]:.1f} ms" for what, query in FLOORS.items()]
        daily_trend, same_by_day = answered(daily, DAILY_TREND, 1)
        daily_churn, same_changes = answered(daily, DAILY_CHURN, 1)
    with connect(folder / "compacted", as_of=some_day.date()) as then:
        past, counted = answered(then, "select count(*), sum(image_size_gib) from images_latest")
    number = int(((life.born <= days // 3) & (days // 3 < life.gone)).sum())
    words = ("appeared", "changed", "gone")
    counts = [
        (at, word, count) for at, *said in by_observation for word, count in zip(words, said, strict=True) if count
    ]
    is_same = by_day == same_by_day and changes == counts == same_changes and counted[0][0] == number
    opening = opened(folder / "compacted")
    rows = [
        ("size of the versions", "≤ 10 MB", f"{size:.1f} MB (daily copies: {copies:,.0f} MB)", size <= 10),
        ("compaction of one more day", "≤ 1.5 s", f"{seconds:.2f} s", seconds <= 1.5),
        ("peak memory of that process", "≤ 400 MB", f"{memory:.0f} MB", memory <= 400),
        ("latest capacity by region", "≤ 15 ms", f"{now:.1f} ms", now <= 15),
        ("trend of all days", "≤ 25 ms", f"{trend:.1f} ms", trend <= 25),
        ("all images as of a day in the first third", "≤ 60 ms", f"{past:.1f} ms", past <= 60),
        ("churn of all days", "≤ 60 ms", f"{churn:.1f} ms", churn <= 60),
        (
            "trend, compared with the daily copies",
            "≥ 5 times",
            f"{daily_trend / trend:.1f} times",
            daily_trend >= 5 * trend,
        ),
        (
            "churn, compared with the daily copies",
            "≥ 5 times",
            f"{daily_churn / churn:.1f} times",
            daily_churn >= 5 * churn,
        ),
        ("all changes of all days, by field, counted", "", f"{listed:.1f} ms", True),
        ("diff of two consecutive days", "", differed(folder / "compacted", some_day, next_day), True),
        ("diff of the first and the last day", "", differed(folder / "compacted", made.FIRST, last_day), True),
        ("results equal those of the daily copies", "yes", "yes" if is_same else "no", is_same),
        (
            f"connect(), {days:,} runs, compacted",
            "≤ 60 ms",
            f"{opening:.0f} ms",
            opening <= 60,
        ),
    ]
    return rows, floors


def growth(folder: Path, images: int, days: int, years: Sequence[int]) -> list[str]:
    """Size, compaction time and memory, and time to open, for more years."""
    lines = ["| years | runs | versions | their size | compaction of one more day | its memory | connect() |"]
    lines.append("|--:|--:|--:|--:|--:|--:|--:|")
    for many in years:
        seconds, memory, size = compacted_year(folder / f"years-{many}", images, days * many)
        versions = images + 2 * (images // CHURN) * (days * many - 1)
        told = f"{size:.1f} MB | {seconds:.2f} s | {memory:.0f} MB | {opened(folder / f'years-{many}'):.0f} ms"
        lines.append(f"| {many} | {days * many:,} | {versions:,} | {told} |")
    return lines


def main() -> None:
    """Measure, print, and write it down."""
    options = argparse.ArgumentParser()
    options.add_argument("--images", type=int, default=100_000)
    options.add_argument("--days", type=int, default=365)
    options.add_argument("--years", type=int, nargs="*", default=[1, 10])
    options.add_argument("--out", type=Path)
    asked = options.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        rows, floors = measure(Path(name), asked.images, asked.days)
        years = growth(Path(name), asked.images, asked.days, asked.years)
    on = f"{os.cpu_count()} shared cores ({platform.machine()}), Python {platform.python_version()}"
    of = f"{asked.images:,} images, {asked.days:,} observations, 0.5 % created, deleted or changed per day"
    said = (
        f"Measured on {dt.datetime.now(dt.UTC):%Y-%m-%d} on {on}, DuckDB {duckdb.__version__}; load {load:.1f} at the "
        f"start. {of}; medians of {ROUNDS}, warm."
    )
    text = [
        "# Cost of the history: `make bench-history`",
        "",
        said,
        "",
        "| | target | measured | met |",
        "|---|--:|--:|---|",
        *(f"| {what} | {target} | {found} | {'yes' if met else 'no'} |" for what, target, found, met in rows),
        "",
        "Lower bounds: the most expensive part of each query alone, over the same files, in the same run:",
        "",
        *floors,
        "",
        *years,
        "",
    ]
    sys.stdout.write("\n".join(text))
    if asked.out:
        asked.out.write_text("\n".join(text), "utf-8")
        found = [dict(zip(("what", "target", "measured", "met"), row, strict=True)) for row in rows]
        asked.out.with_suffix(".json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    sys.exit(not all(met for *_, met in rows))


if __name__ == "__main__":
    main()
