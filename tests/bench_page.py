"""How long a page takes, and its size, for 100,000 images and a year of days: a measurement, not a test.

    python tests/bench_page.py [--images 100000] [--days 365] [--data FOLDER]

The lake is made first (minutes, and gigabytes; a folder that is given is kept and used again): a run a day, each day a
thousandth of the images goes, as many come and as many change. Then each query is timed on its own, and the whole.
"""

from __future__ import annotations

import argparse
import datetime as dt
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from lake_builder import Seen, write_run

from pipeline.page import page, write_page
from pipeline.page.charts import drawn
from pipeline.story import story
from pipeline.tables import IMAGE_DISKS, IMAGES
from pipeline.views import connect, write_catalogue

FIRST = dt.datetime(2026, 1, 1, 2)  # noqa: DTZ001  (UTC)
CHURN = 1000


def fill(data: Path, images: int, days: int) -> None:
    """Write a lake of `days` runs over an account of `images` images, each with one disk."""
    for day in range(days):
        at = FIRST + dt.timedelta(days=day)
        run_id = write_run(data, Seen("prod", f"{at:%Y-%m-%d %H:%M}"))
        number = np.arange(images) + day * (images // CHURN)  # the oldest go, new ones come
        key = {
            "account": pa.array(["prod"]).take(pa.array(np.zeros(images, int))),
            "observed_at_utc": pa.array(np.full(images, np.datetime64(at, "us"))),
            "image_id": pa.array([f"m-{one:012}" for one in number]),
        }
        size = 10 + number % 400 + np.where(number % CHURN == day, day, 0)
        of_images = {
            **key,
            "image_name": pa.array([f"web-{one % 9973}" for one in number]),
            "image_owner": pa.array(["self", "others"]).take(pa.array((number % 10 == 0).astype(int))),
            "status": pa.array(["Available", "Pack_failed"]).take(pa.array((number % 500 == 0).astype(int))),
            "platform": pa.array(["centos", "ubuntu", "debian", "windows"]).take(pa.array(number % 4)),
            "architecture": pa.array(["x86_64", "arm64"]).take(pa.array((number % 5 == 0).astype(int))),
            "region_id": pa.array([f"cn-{one}" for one in range(60)]).take(pa.array(number % 60)),
            "image_size_gib": pa.array(size),
            "created_at_utc": pa.array(
                np.datetime64(FIRST, "us") + (number - images).astype("timedelta64[h]").astype("timedelta64[us]") // 4
            ),
        }
        of_disks = {
            **key,
            "disk_number": pa.array(np.ones(images, int)),
            "disk_type": pa.array(["System"]).take(pa.array(np.zeros(images, int))),
            "disk_size_gib": pa.array(size),
            "disk_format": pa.array(["qcow2", "raw"]).take(pa.array((number % 3 == 0).astype(int))),
        }
        for table, columns in ((IMAGES, of_images), (IMAGE_DISKS, of_disks)):
            schema = table.arrow()
            arrays = [columns.get(field.name, pa.nulls(images)).cast(field.type) for field in schema]
            path = data / "lake" / table.name / f"observed_on={at:%Y-%m-%d}" / f"{run_id}.parquet"
            pq.write_table(pa.Table.from_arrays(arrays, schema=schema), path, compression="zstd")
        sys.stderr.write(f"\r{day + 1} of {days} days")
    sys.stderr.write("\n")
    write_catalogue(data)


def measure(data: Path) -> None:
    """Time each part of the page, then the whole of it as the command does."""
    with connect(data) as con:
        for view in ("image_capacity", "capacity_by_day", "image_changes", "failed_images", "cleanup_candidates"):
            begun = time.perf_counter()
            con.execute(f"create or replace temp table timed as from {view}")
            sys.stdout.write(f"  {view:20}{time.perf_counter() - begun:8.2f} s\n")
        begun = time.perf_counter()
        told = story(con)
        sys.stdout.write(f"  {'the whole story':20}{time.perf_counter() - begun:8.2f} s\n")
        begun = time.perf_counter()
        for section in told.sections:
            if section.chart:
                drawn(section.chart)
        sys.stdout.write(f"  {'its charts':20}{time.perf_counter() - begun:8.2f} s\n")
    file = data / "report.html"
    begun = time.perf_counter()
    with connect(data) as con:
        write_page(con, file)
    took = time.perf_counter() - begun
    with connect(data) as con:
        is_same = page(con) == file.read_text("utf-8")
    sys.stdout.write(
        f"the page: {took:.1f} s, {file.stat().st_size / 1e6:.2f} MB; made again, the same bytes: {is_same}\n"
    )


def main() -> None:
    """Make the lake where there is none yet, and measure."""
    options = argparse.ArgumentParser()
    options.add_argument("--images", type=int, default=100_000)
    options.add_argument("--days", type=int, default=365)
    options.add_argument("--data", type=Path)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = asked.data or Path(folder)
        if not (data / "lake").exists():
            fill(data, asked.images, asked.days)
        sys.stdout.write(f"{asked.images:,} images, {asked.days} days:\n")
        measure(data)


if __name__ == "__main__":
    main()
