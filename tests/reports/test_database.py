"""A lake as one DuckDB file: every table, every view and every comment, in a file that replaces only its like."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import sys

import duckdb
import pytest

from pipeline.errors import BadSetting, LakeDamaged
from pipeline.reports.database import MANIFEST_TABLE, export_database
from pipeline.reports.provenance import provenance_line
from pipeline.views.catalog import relations
from pipeline.views.connection import connect


@pytest.fixture(scope="module")
def exported(kept_lake, tmp_path_factory):
    """The lake as one file."""
    path = tmp_path_factory.mktemp("out") / "deeper" / "lake.duckdb"
    with connect(kept_lake) as con:
        export_database(con, path)
    return path


def test_a_database_holds_every_row_and_comment_of_every_table_and_view(lake, exported):
    with connect(lake) as con, duckdb.connect(exported, read_only=True) as database:
        for name, relation in relations().items():
            order = ", ".join(f"{column.name} nulls first" for column in relation.columns)
            expected = con.execute(f"from {name} order by {order}").fetchall()
            assert database.execute(f"from {name} order by {order}").fetchall() == expected, name
            types = con.execute(f"select column_name, column_type from (describe {name})").fetchall()  # noqa: S608
            assert database.execute(f"select column_name, column_type from (describe {name})").fetchall() == types  # noqa: S608
        tables = dict(database.execute("select table_name, comment from duckdb_tables()").fetchall())
        columns = {
            (table, column): comment
            for table, column, comment in database.execute(
                "select table_name, column_name, comment from duckdb_columns() where not internal"
            ).fetchall()
        }
    for name, relation in relations().items():
        assert tables.pop(name) == relation.grain
        assert [columns[name, column.name] for column in relation.columns] == [c.comment for c in relation.columns]
    assert [*tables] == [MANIFEST_TABLE]
    assert [*exported.parent.iterdir()] == [exported]


def test_a_database_says_how_far_it_can_be_trusted(lake, exported):
    with duckdb.connect(exported, read_only=True) as database, connect(lake) as con:
        counts = dict(database.execute(f"select table_name, row_count from {MANIFEST_TABLE}").fetchall())  # noqa: S608
        assert counts == {
            name: database.execute(f"select count(*) from {name}").fetchall()[0][0]  # noqa: S608
            for name in relations()
        }
        ((line, as_of),) = database.execute(
            f"select distinct provenance, strftime(as_of_utc, '%Y-%m-%d %H:%M') from {MANIFEST_TABLE}"  # noqa: S608
        ).fetchall()
        assert (line, as_of) == (provenance_line(con), "2026-10-30 02:00")


def test_a_database_is_in_a_format_that_older_drivers_read(exported):
    with duckdb.connect() as con:
        con.execute(f"attach '{exported}' as x (read_only)")
        ((tags,),) = con.execute("select tags from duckdb_databases() where database_name = 'x'").fetchall()
    assert tags["storage_version"] == "v1.0.0+"


def test_a_database_replaces_an_earlier_export_and_clears_away_what_a_killed_one_has_left(lake, exported, tmp_path):
    path = shutil.copy(exported, tmp_path / "x.duckdb")
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    for suffix in ("", ".wal"):
        (tmp_path / f".x.duckdb.{killed.pid}{suffix}").write_text("half")
    inode = path.stat().st_ino
    with connect(lake) as con:
        export_database(con, path)
    assert path.stat().st_ino != inode
    assert [*tmp_path.iterdir()] == [path]


def test_a_database_replaces_nothing_but_an_earlier_export(lake, exported, tmp_path):
    mine = shutil.copy(exported, tmp_path / "mine.duckdb")
    with duckdb.connect(mine) as database:
        database.execute("create table notes as select 'mine' as note")
    (tmp_path / "text.duckdb").write_text("mine")
    duckdb.connect(tmp_path / "empty.duckdb").close()
    (tmp_path / "folder.duckdb").mkdir()
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with connect(lake) as con:
        for path in (*tmp_path.iterdir(), lake / "lake.duckdb"):
            with pytest.raises(BadSetting, match=r"is not an earlier export|is a folder"):
                export_database(con, path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_a_database_that_fails_leaves_the_earlier_one_and_nothing_beside_it(own_lake, exported, tmp_path):
    path = tmp_path / "out" / "x.duckdb"
    path.parent.mkdir()
    shutil.copy(exported, path)
    with connect(own_lake) as con:
        for file in (own_lake / "lake" / "image_disks").rglob("*.parquet"):
            file.unlink()
        with pytest.raises(LakeDamaged):
            export_database(con, path)
    assert ([*path.parent.iterdir()], path.read_bytes()) == ([path], exported.read_bytes())


def test_every_view_on_standard_output_is_byte_for_byte_what_a_file_would_be(lake, tmp_path, typed):
    for suffix in ("csv", "json", "ndjson"):
        code, out, err = typed("export", "--data", str(lake), "image_age", "-", "--format", suffix)
        assert (code, err.splitlines()[0]) == (0, "5 rows of image_age on standard output")
        assert typed("export", "--data", str(lake), "image_age", f"x.{suffix}")[0] == 0
        assert out.encode() == (tmp_path / f"x.{suffix}").read_bytes()
    (tmp_path / "-").mkdir()  # a folder of this name changes nothing
    out = typed("export", "--data", str(lake), "image_age", "-")[1]  # without --format: CSV
    assert [row["account"] for row in csv.DictReader(io.StringIO(out))] == ["prod", "prod", "prod", "test", "prod"]


@pytest.mark.parametrize(
    "words",
    [
        ["images", "x.csv", "--format", "json"],
        ["images", "-", "--format", "json", "--format", "csv"],
        ["--all", "x.duckdb", "--format", "csv"],
        ["images", "--all", "x.duckdb"],
        ["--all", "-"],
        ["images"],
    ],
)
def test_an_export_with_two_meanings_is_refused(lake, tmp_path, typed, words):
    code, out, err = typed("export", "--data", str(lake), *words)
    assert (code, out, [*tmp_path.iterdir()]) == (2, "", []), err
