"""The lake on which the page is measured is one that runs leave."""

from __future__ import annotations

from bench_page import FEW_RUNS, Life, fill, write_day

from pipeline.lake.compaction.compact import compact
from pipeline.views.connection import connect
from pipeline.views.database import write_catalog

IMAGES, DAYS = 1000, 20


def test_the_lake_that_is_measured_is_what_a_run_a_day_leaves(tmp_path):
    fill(tmp_path / "made", IMAGES, DAYS)
    lived, life = tmp_path / "lived", Life(IMAGES, DAYS)
    for day in range(DAYS):
        write_day(lived, life, day)
        if day == DAYS - FEW_RUNS:
            compact(lived)
    write_catalog(lived)

    with connect(tmp_path / "made") as made, connect(lived) as expected:
        for table in ("image_versions", "image_changes", "capacity_by_day", "accounts", "images"):
            rows = expected.execute(f"from {table} order by all").fetchall()
            assert rows
            assert made.execute(f"from {table} order by all").fetchall() == rows, table
