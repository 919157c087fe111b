"""An export holds what the view holds, whole or not at all."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys

import duckdb
import pyarrow.parquet as pq
import pytest

from pipeline.errors import BadSetting, LakeDamaged
from pipeline.exports import export
from pipeline.views import connect


def test_an_export_holds_what_the_view_holds(lake, tmp_path):
    con = connect(lake)
    expected = con.execute("from image_age").fetchall()
    out = tmp_path / "out" / "deeper"
    for suffix in ("csv", "json", "parquet"):
        assert export(con, "image_age", out / f"age.{suffix}") == len(expected)
    assert pq.read_table(out / "age.parquet").num_rows == len(expected)
    assert duckdb.connect().execute(f"from '{out}/age.parquet'").fetchall() == expected
    assert len(json.loads((out / "age.json").read_text("utf-8"))) == len(expected)
    with (out / "age.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image_id"] for row in rows] == [row[2] for row in expected]
    assert rows[0]["created_at_utc"] == "2024-05-01 10:00:00"
    assert sorted(path.name for path in out.iterdir()) == ["age.csv", "age.json", "age.parquet"]


def test_a_parquet_export_says_in_its_header_what_it_holds(lake, tmp_path):
    export(connect(lake), "image_age", tmp_path / "age.parquet")
    header = pq.read_metadata(tmp_path / "age.parquet").metadata
    assert header[b"table"] == b"image_age"
    assert b"Unit: days." in header[b"column age_days"]


@pytest.mark.parametrize("name", ["age.xls", "age", ".csv"])
def test_an_export_needs_a_suffix_that_it_knows(lake, tmp_path, name):
    with pytest.raises(BadSetting, match=r"\.csv, \.json or \.parquet"):
        export(connect(lake), "image_age", tmp_path / name)


def test_an_export_that_cannot_be_written_says_so_and_leaves_nothing(lake, tmp_path):
    (tmp_path / "taken.csv").mkdir()
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "taken.csv", tmp_path / "file" / "age.json"):
        with pytest.raises(BadSetting, match="cannot be written"):
            export(connect(lake), "image_age", path)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_an_export_that_fails_leaves_the_old_file(lake, tmp_path):
    path = tmp_path / "images.csv"
    path.write_text("old")
    con = connect(lake)
    for file in (lake / "lake" / "images").rglob("*.parquet"):
        file.unlink()
    with pytest.raises(LakeDamaged):
        export(con, "images", path)
    assert path.read_text() == "old"
    assert not list(tmp_path.glob(".images.csv*"))


def test_an_export_clears_away_what_a_killed_one_of_the_same_file_has_left(lake, tmp_path):
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    out = tmp_path / "out"
    out.mkdir()
    left = out / f".[a]ge.csv.{killed.pid}"
    kept = [out / f".[a]ge.csv.{os.getppid()}", out / f".age.csv.{killed.pid}", out / ".[a]ge.csv.mine"]
    for path in (left, *kept):
        path.write_text("half a row")
    export(connect(lake), "image_age", out / "[a]ge.csv")

    assert sorted(out.iterdir()) == sorted([out / "[a]ge.csv", *kept])
