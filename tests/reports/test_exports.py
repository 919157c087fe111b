"""An export holds what the view holds, whole or not at all."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import openpyxl
import pandas as pd
import pyarrow.parquet as pq
import pytest
from lake_builder import Seen, image, strange, utc, write_run
from reading import HOSTILE

from pipeline.errors import BadSetting, LakeDamaged
from pipeline.jobs.compaction import compact
from pipeline.reports.export import MANIFEST, export, export_all
from pipeline.reports.formats import export_formats, xlsx
from pipeline.reports.formats.xlsx import write_workbook
from pipeline.reports.provenance import provenance_line
from pipeline.reports.query import Rows, relation
from pipeline.reports.standing import STANDING
from pipeline.views.catalog import relations
from pipeline.views.connection import connect


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
    assert rows[0]["created_at_utc"] == "2024-05-01 10:00:00.000000"
    assert sorted(path.name for path in out.iterdir()) == ["age.csv", "age.json", "age.parquet"]


@pytest.fixture(scope="module")
def strange_lakes(tmp_path_factory) -> list[Path]:
    """A lake of many equal values, and the same lake compacted, at another place."""
    plain = tmp_path_factory.mktemp("plain") / "data"
    strange(plain)
    compacted = tmp_path_factory.mktemp("compacted") / "data"
    shutil.copytree(plain, compacted)
    compact(compacted, grace="0s")
    return [plain, compacted]


@pytest.mark.parametrize("suffix", export_formats())
def test_the_same_lake_gives_the_same_bytes_also_compacted_and_from_other_numbers_of_threads(
    strange_lakes, tmp_path, suffix
):
    names = [*relations()] if suffix == "csv" else ["images", "image_versions", "image_changes"]
    digests: dict[str, set[str]] = {}
    for data, threads in zip([*strange_lakes, strange_lakes[0]], (1, 7, 4), strict=True):
        with connect(data) as con:
            con.execute(f"set threads = {threads}").fetchall()
            for name in names:
                export(con, name, tmp_path / f"x.{suffix}")
                content = (tmp_path / f"x.{suffix}").read_bytes()
                digests.setdefault(name, set()).add(hashlib.sha256(content).hexdigest())
    assert {name: len(found) for name, found in digests.items() if len(found) != 1} == {}


def test_a_table_of_many_files_is_exported_in_one_order(tmp_path):
    days = [f"2026-10-{day:02} 02:00" for day in range(1, 5)]
    for at in days:
        write_run(tmp_path, Seen("b", at, [image(f"m-{n}") for n in (7, 3, 5)]), Seen("a", at, [image("m-9")]))
    with connect(tmp_path) as con:
        export(con, "images", tmp_path / "x.csv")
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
        rows = [(row["account"], row["observed_at_utc"][:16], row["image_id"]) for row in csv.DictReader(file)]
    assert rows == [("a", at, "m-9") for at in days] + [("b", at, f"m-{n}") for at in days for n in (3, 5, 7)]


def test_the_order_of_every_view_is_total(strange_lakes):
    with connect(strange_lakes[0]) as con:
        for name, view in relations().items():
            _, is_ordered, keys = (view.query or "").rpartition("\norder by")
            if is_ordered:
                names = [re.sub(r" (desc|nulls last)\b", "", key).split(".")[-1].strip() for key in keys.split(",")]
                shown = [column.name for column in view.columns]
                keys = ", ".join(column for column in names if column in shown)
                doubled = con.execute(f"select {keys} from {name} group by {keys} having count(*) > 1").fetchall()  # noqa: S608
                assert doubled == [], name


def test_pandas_reads_text_as_text_with_the_arguments_that_the_docs_show(tmp_path):
    texts = ["24.10", "007", "1e5", "NA", "null", "true", "2026-10-30"]
    write_run(
        tmp_path,
        Seen(images=[image(f"m-{n}", image_name=text, os_version=text) for n, text in enumerate(texts)]),
    )
    with connect(tmp_path) as con:
        for suffix in ("csv", "json", "xlsx"):
            export(con, "images_latest", tmp_path / f"x.{suffix}")
    page = (Path(__file__).parents[2] / "docs" / "other-tools.md").read_text("utf-8")
    shown: dict[str, Any] = {}
    for line in page.splitlines():
        if line.startswith(("text = ", "as_written = ", "from_csv = ", "from_excel = ", "from_json = ")):
            exec(line.replace('"images.', f'"{tmp_path}/x.'), {"pd": pd}, shown)  # noqa: S102  (a line of our docs)
    for name in ("from_csv", "from_excel", "from_json"):
        assert shown[name]["image_name"].tolist() == shown[name]["os_version"].tolist() == texts, name


def test_a_parquet_export_says_in_its_header_what_it_holds(lake, tmp_path):
    export(connect(lake), "image_age", tmp_path / "age.parquet")
    header = pq.read_metadata(tmp_path / "age.parquet").metadata
    assert header[b"table"] == b"image_age"
    assert b"Unit: days." in header[b"column age_days"]


@pytest.mark.parametrize("name", ["age.xls", "age", ".csv"])
def test_an_export_needs_a_suffix_that_it_knows(lake, tmp_path, name):
    with pytest.raises(BadSetting, match=r"\.csv, \.json, \.ndjson, \.parquet or \.xlsx"):
        export(connect(lake), "image_age", tmp_path / name)


def test_an_export_that_cannot_be_written_says_so_and_leaves_nothing(lake, tmp_path):
    (tmp_path / "taken.csv").mkdir()
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "taken.csv", tmp_path / "file" / "age.json"):
        with pytest.raises(BadSetting, match="cannot be written"):
            export(connect(lake), "image_age", path)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_an_export_that_fails_leaves_the_old_file(own_lake, tmp_path):
    path = tmp_path / "images.csv"
    path.write_text("old")
    con = connect(own_lake)
    for file in (own_lake / "lake" / "images").rglob("*.parquet"):
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


# ── Excel ────────────────────────────────────────────────────────────────────


def workbook(path: Path) -> Any:
    return openpyxl.load_workbook(path)


def test_a_workbook_holds_what_the_view_holds_typed_with_a_header_that_stays_and_tells(lake, tmp_path):
    con = connect(lake)
    expected = con.execute("from image_age").fetchall()
    assert export(con, "image_age", tmp_path / "age.xlsx") == len(expected)
    sheet = workbook(tmp_path / "age.xlsx")["image_age"]
    header, *rows = sheet.iter_rows()
    assert [tuple(cell.value for cell in row) for row in rows] == expected
    by_name = {cell.value: cell for cell in header}
    assert "Unit: days." in by_name["age_days"].comment.text
    assert "Unit: GiB." in by_name["image_size_gib"].comment.text
    assert sheet.freeze_panes == "A2"
    first = {name: rows[0][cell.column - 1] for name, cell in by_name.items()}
    assert first["created_at_utc"].is_date
    assert first["age_days"].data_type == "n"


def test_a_workbook_says_in_its_second_sheet_how_far_it_can_be_trusted(lake, tmp_path):
    con = connect(lake)
    export(con, "accounts", tmp_path / "a.xlsx")
    about = {row[0].value: row[1].value for row in workbook(tmp_path / "a.xlsx")["about"].iter_rows()}
    assert about["provenance"] == provenance_line(con)


def test_a_text_in_a_workbook_is_never_a_formula_a_number_or_a_link(tmp_path):
    texts = ["=1+1", "+1", "-1", "@x", "{=1}", "http://x", "1e5", "=cmd|' /C calc'!A0"]
    write_run(tmp_path, Seen(images=[image(f"m-{place}", image_name=text) for place, text in enumerate(texts)]))
    export(connect(tmp_path), "images_latest", tmp_path / "a.xlsx")
    header, *rows = workbook(tmp_path / "a.xlsx")["images_latest"].iter_rows()
    place = [name.value for name in header].index("image_name")
    cells = {(row[place].value, row[place].data_type, row[place].hyperlink) for row in rows}
    assert cells == {(text, "s", None) for text in texts}


def test_a_workbook_of_hostile_text_opens(tmp_path):
    write_run(tmp_path, Seen(images=[image("m", image_name=HOSTILE)]))
    export(connect(tmp_path), "images_latest", tmp_path / "a.xlsx")
    assert workbook(tmp_path / "a.xlsx")["images_latest"].max_row == 2


def test_what_excel_cannot_hold_is_text(tmp_path):
    rejects = relation("rejects")
    far = utc("1200-01-01 05:00")
    values = [2**53 + 1, far, float("nan"), Decimal("1.5"), True, [1], b"x"]
    rows = Rows(("field",) * 7, ("VARCHAR",) * 7, [tuple(values)])
    write_workbook(tmp_path / "a.xlsx", rejects, rows, "provenance")
    row = [cell.value for cell in list(workbook(tmp_path / "a.xlsx")["rejects"].iter_rows())[1]]
    assert row == [str(2**53 + 1), str(far), "nan", 1.5, True, "[1]", "x"]


def test_what_does_not_fit_in_a_workbook_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    write_run(tmp_path, Seen(images=[image("m-1", image_name="x" * 32_768), image("m-2")]))
    with pytest.raises(BadSetting, match="32,768 characters does not fit"):
        export(connect(tmp_path), "images_latest", tmp_path / "a.xlsx")
    monkeypatch.setattr(xlsx, "MOST_ROWS", 0)
    with pytest.raises(BadSetting, match="more than 0 rows"):
        export(connect(tmp_path), "capacity_by_region", tmp_path / "a.xlsx")
    assert not list(tmp_path.glob("*.xlsx"))


def test_without_the_extra_an_excel_export_says_what_to_install(lake, tmp_path, monkeypatch):
    monkeypatch.setattr(xlsx, "find_spec", lambda _: None)
    with pytest.raises(BadSetting, match=r"pip install 'ens-images\[excel\]'"):
        export(connect(lake), "image_age", tmp_path / "age.xlsx")


# ── every standing report ────────────────────────────────────────────────────


def test_every_standing_report_is_in_the_folder_as_the_manifest_says_each_time_byte_for_byte(lake, tmp_path):
    con = connect(lake)
    manifest = export_all(con, tmp_path / "out", export_formats())
    assert export_all(connect(lake), tmp_path / "again", export_formats()) == manifest
    assert json.loads((tmp_path / "out" / MANIFEST).read_text("utf-8")) == manifest
    assert {file["table"] for file in manifest["files"]} == set(STANDING)
    assert len(manifest["files"]) == len(STANDING) * len(export_formats())
    for file in manifest["files"]:
        content = (tmp_path / "out" / file["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == file["sha256"]
        assert len(content) == file["bytes"]
        assert file["rows"] == con.execute(f"select count(*) from {file['table']}").fetchall()[0][0]  # noqa: S608
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        MANIFEST,
        *(file["file"] for file in manifest["files"]),
    }
    assert manifest["provenance"] == provenance_line(con)
    assert manifest["as_of_utc"] == "2026-10-30T02:00:00.000000Z"
    assert [(account["account"], account["certificate"]) for account in manifest["accounts"]] == [
        ("prod", "verified"),
        ("test", "verified"),
    ]


def test_an_earlier_export_is_replaced_as_a_whole_and_anything_else_left_alone(lake, tmp_path):
    out = tmp_path / "out"
    export_all(connect(lake), out, ["json", "csv"])
    export_all(connect(lake), out, ["csv"])
    assert not list(out.glob("*_*.json"))
    (out / "mine.txt").write_text("x")
    with pytest.raises(BadSetting, match="is not an earlier export"):
        export_all(connect(lake), out)
    assert (out / "mine.txt").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".out")] == []


def test_an_export_of_everything_that_fails_leaves_the_earlier_one(lake, tmp_path, monkeypatch):
    out = tmp_path / "out"
    export_all(connect(lake), out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    monkeypatch.setattr(xlsx, "find_spec", lambda _: None)
    with pytest.raises(BadSetting, match="XlsxWriter"):
        export_all(connect(lake), out, ["csv", "xlsx"])
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
