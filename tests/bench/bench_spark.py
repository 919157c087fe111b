"""A rebuild here and by Spark over the same raw pages, row by row, then every view by both: `make bench-spark`.

Prints its rows of the table in docs/beyond.md.
"""

from __future__ import annotations

import argparse
import datetime as dt
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import spark as by_both
from lake_builder import strange
from pyspark.sql import SparkSession

from pipeline import rebuild as rebuild_here
from pipeline import run
from pipeline.credentials import key_account
from pipeline.emulator import Endpoint, Key, living_account
from pipeline.resources.tables import LAKE_TABLES
from pipeline.spark import rebuild

if TYPE_CHECKING:
    from collections.abc import Iterator

ACCOUNTS = "ab"
IMAGES, DAYS = 25_000, 10


def live(data: Path, images: int, days: int) -> None:
    """A real run a day over two accounts that live."""
    keys = {name: Key("secret", living_account(images=images, seed=seed)) for seed, name in enumerate(ACCOUNTS, 1)}
    accounts = [key_account(name, name, "secret") for name in ACCOUNTS]
    with Endpoint(keys) as endpoint:
        for day in range(days):
            endpoint.day = day
            at = dt.datetime(2026, 10, 1, 2) + dt.timedelta(days=day)  # noqa: DTZ001  (UTC)
            run(data, accounts=accounts, endpoint=endpoint.url, rate=None, accept_shrink=True, observed_at=at)


def unlike(here: Path, there: Path) -> tuple[int, int]:
    """How many rows the lake's tables have here, and how many of either lake the other has not."""
    rows = differing = 0
    for table in LAKE_TABLES:
        rows_here, rows_there = (f"read_parquet('{data}/lake/{table.name}/*/*.parquet')" for data in (here, there))
        rows += duckdb.sql(f"select count(*) from {rows_here}").fetchall()[0][0]
        for left, right in ((rows_here, rows_there), (rows_there, rows_here)):
            query = f"select count(*) from (from {left} except all from {right})"
            differing += duckdb.sql(query).fetchall()[0][0]
    return rows, differing


def measured(images: int, days: int, pages: Path | None = None) -> Iterator[tuple[str, str]]:
    """What was measured, and what came out: a rebuild here and by Spark, then every table and view."""
    with tempfile.TemporaryDirectory(prefix="ens-images-bench-") as folder:
        aside = Path(folder)
        landed = pages or aside / "lived"
        if pages is None:
            live(landed, images, days)
        for name in ("here", "there"):
            shutil.copytree(landed / "raw", aside / name / "raw")
        began = time.monotonic()
        runs = rebuild_here(aside / "here")
        yield f"local rebuild of {len(runs)} runs", f"{time.monotonic() - began:.1f} s"
        spark = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
        spark.sparkContext.setLogLevel("ERROR")
        began = time.monotonic()
        by_spark = rebuild(spark, aside / "there")
        yield f"Spark rebuild of {len(by_spark)} runs, `local[2]`", f"{time.monotonic() - began:.1f} s"
        rows, differing = unlike(aside / "here", aside / "there")
        yield "compared rows of the two lakes", f"{rows:,}"
        yield "rows that differ", f"{differing:,}"
        live(aside / "changing", 60, 12)
        strange(aside / "strange")
        for name, what in (("changing", "two changing accounts over 12 days"), ("strange", "three irregular accounts")):
            found = by_both.unlike(spark, aside / name)
            rows = sum(by_both.compared.values())
            yield f"compared rows of every table and view on DuckDB and Spark, {what}", f"{rows:,}"
            yield "tables and views that differ", ", ".join(found) or "0"
        spark.stop()


def main() -> None:
    """Measure, compare, print."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--images", type=int, default=IMAGES, help="of each of the two accounts, on the first day")
    asked.add_argument("--days", type=int, default=DAYS)
    asked.add_argument("--data", type=Path, help="a folder with landed pages, instead of days lived through")
    told = asked.parse_args()
    for what, result in measured(told.images, told.days, told.data):
        print(f"{what}: {result}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
