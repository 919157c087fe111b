"""The views answer what they say they answer, and read only what they say they read."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lake_builder import Seen, commit_again, image, utc, write_run

from pipeline.errors import BadQuery, LakeDamaged, LakeMissing
from pipeline.jobs.withdrawal import restore, withdraw
from pipeline.resources.images import DISK_FIELDS, IMAGE_DISKS, IMAGE_FIELDS, IMAGES
from pipeline.resources.tables import RESOURCES, TABLES
from pipeline.views import connection, script
from pipeline.views.catalog import relations
from pipeline.views.connection import connect, connect_empty
from pipeline.views.database import begin_catalog, write_catalog
from pipeline.views.read_only import refuse_writes
from pipeline.views.script import views_sql

if TYPE_CHECKING:
    from collections.abc import Iterator

PLAIN = duckdb.connect()
FILES = {path.stem: path.read_text("utf-8") for path in (Path(script.__file__).parent / "sql").glob("*.sql")}


def ask(con: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    rows = con.execute(sql).fetchall()
    return [dict(zip([column[0] for column in con.description], row, strict=True)) for row in rows]


def pick(rows: list[dict[str, Any]], *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row[column] for column in columns) for row in rows]


# ── every table and view is described ────────────────────────────────────────


def test_every_table_view_and_column_carries_a_comment(tmp_path):
    write_run(tmp_path, Seen(images=[image("m-1", 20)]))
    con = connect(tmp_path)
    said = con.execute("select view_name, comment from duckdb_views() where not internal").fetchall()
    assert {name for name, _ in said} == set(relations())
    assert all(comment for _, comment in said)
    columns = con.execute("select table_name, column_name, comment from duckdb_columns() where not internal").fetchall()
    assert [column for column in columns if not column[2]] == []


def test_a_table_means_and_holds_what_tables_py_declares():
    con = connect_empty()
    for table in TABLES:
        bound = con.execute(
            "select column_name, data_type, comment from duckdb_columns() where table_name = $1 order by column_index",
            [table.name],
        ).fetchall()
        declared = [(column.name, column.duckdb_type, column.comment) for column in table.columns]
        added = [("is_current", "BOOLEAN"), ("same_account_as", "VARCHAR")]
        is_versions = table in [resource.versions for resource in RESOURCES]
        assert bound[: len(declared)] == declared
        assert [column[:2] for column in bound[len(declared) :]] == (added if is_versions else [])


@pytest.mark.parametrize("name", sorted(relations()))
def test_the_described_columns_are_the_view_s_columns_in_order(name):
    bound = [row[0] for row in connect_empty().execute(f"describe {name}").fetchall()]
    assert bound == [column.name for column in relations()[name].columns]


@pytest.mark.parametrize("name", sorted(relations()))
def test_a_unit_is_the_last_word_of_a_name(name):
    words = {"GiB": "gib", "UTC": "utc", "days": "days", "s": "seconds"}
    for column in relations()[name].columns:
        if column.unit in words:
            assert column.name.endswith(f"_{words[column.unit]}")
        assert (column.unit is not None) == (
            column.name.rpartition("_")[2] in words.values() or column.name == "observed_on"
        )


@pytest.mark.parametrize("name", sorted(FILES))
def test_reads_names_exactly_what_the_query_reads(name):
    con = connect_empty()
    tree = json.loads(con.execute("select json_serialize_sql($1::varchar)", [FILES[name]]).fetchall()[0][0])
    read, own = set(), set()

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if node.get("type") == "BASE_TABLE":
                read.add(node["table_name"])
            if "cte_map" in node:
                own.update(entry["key"] for entry in node["cte_map"]["map"])
            for child in node.values():
                walk(child)
        elif isinstance(node, list):
            for child in node:
                walk(child)

    walk(tree)
    assert read - own == set(relations()[name].reads)


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_view_is_lower_case_says_its_row_and_uses_no_dialect(name):
    text = FILES[name]
    code = re.sub(r"--.*|'[^']*'", "", text)
    assert code == code.lower()
    assert re.search(r"\bone row per \w", relations()[name].grain)
    assert not re.search(r"\b(exclude|group by all|order by all|qualify|date_diff|now|current_date|asof|::)\b|::", code)


# ── what is there ────────────────────────────────────────────────────────────


def test_a_folder_without_a_lake_is_told_so(tmp_path):
    with pytest.raises(LakeMissing, match="no lake"):
        connect(tmp_path)


def test_every_view_answers_on_a_lake_where_nothing_was_ever_published(tmp_path):
    write_run(tmp_path, Seen(error="Refused: no"))
    con = connect(tmp_path)
    counts = {name: len(con.execute(f"from {name}").fetchall()) for name in relations()}
    assert {name: count for name, count in counts.items() if count} == {
        "observations": 1,
        "raw_pages": 1,
        "accounts": 1,
        "age_bands": 7,
        "partitions": 5,
    }


def test_a_published_file_that_is_missing_is_named_and_never_passes_for_nothing(tmp_path):
    write_run(tmp_path, Seen(images=[image("m-1", 20)]))
    for path in (tmp_path / "lake" / "image_disks").rglob("*.parquet"):
        path.unlink()
    with pytest.raises(LakeDamaged, match=r"the file of image_disks of run .* is missing: .*ens-images rebuild"):
        connect(tmp_path)


def test_a_copy_of_a_file_in_another_folder_adds_no_rows(tmp_path):
    write_run(tmp_path, Seen(images=[image("m-1", 20)]))
    (path,) = (tmp_path / "lake" / "images").rglob("*.parquet")
    (path.parent.parent / "observed_on=junk").mkdir()
    (path.parent.parent / "observed_on=junk" / path.name).write_bytes(path.read_bytes())
    assert ask(connect(tmp_path), "select count(*) as image_count from images")[0]["image_count"] == 1


def test_a_file_of_a_run_that_was_never_committed_is_not_seen(tmp_path):
    write_run(tmp_path, Seen(images=[image("m-1")]))
    run = write_run(tmp_path, Seen(at="2026-10-31 02:00", images=[image("m-2")]))
    next((tmp_path / "lake" / "observations").rglob(f"{run}.parquet")).unlink()
    (tmp_path / "lake" / ".staging" / run).mkdir(parents=True)  # its writer is at work
    assert pick(ask(connect(tmp_path), "from images"), "image_id") == [("m-1",)]


def test_a_file_of_a_run_whose_commit_record_is_gone_is_damage_and_not_a_smaller_lake(tmp_path):
    write_run(tmp_path, Seen(images=[image("m-1")]))
    run = write_run(tmp_path, Seen(at="2026-10-31 02:00", images=[image("m-2")]))
    next((tmp_path / "lake" / "observations").rglob(f"{run}.parquet")).unlink()
    with pytest.raises(LakeDamaged, match=f"It held the commit record of run {run}"):
        connect(tmp_path)


def test_the_day_comes_from_the_folder_as_a_date(tmp_path):
    data = tmp_path / "account=other" / "observed_on=1999-01-01"  # a folder above the lake says nothing
    write_run(data, Seen(at="2026-10-31 00:10", images=[image("m-1")]), began="2026-10-30 23:59")
    con = connect(data)
    for table in ("images", "observations", "images_latest", "raw_pages"):
        rows = ask(con, f"from {table}")
        assert pick(rows, "account", "observed_on") == [("default", dt.date(2026, 10, 30))]


def test_it_works_from_another_folder_and_under_a_name_with_a_quote(tmp_path, monkeypatch):
    data = tmp_path / "o'hare's \"data\" [1]*"
    write_run(data, Seen(images=[image("m-1")]))
    monkeypatch.chdir(data)
    con = connect(".")
    monkeypatch.chdir("/")
    assert len(con.execute("from images_latest").fetchall()) == 1


def test_a_column_that_an_old_file_lacks_is_null_there(tmp_path):
    old = write_run(tmp_path, Seen(images=[image("m-1")]))
    write_run(tmp_path, Seen(at="2026-10-31 02:00", images=[image("m-1", snapshot_id="sp-1")]))
    path = next((tmp_path / "lake" / "images").rglob(f"{old}.parquet"))
    pq.write_table(pq.ParquetFile(path).read().drop_columns(["snapshot_id", "status"]), path)
    commit_again(tmp_path / "lake" / "observations" / path.parent.name / path.name)
    rows = ask(connect(tmp_path), "from images order by observed_at_utc")
    assert pick(rows, "snapshot_id", "status") == [(None, None), ("sp-1", "Available")]


def test_a_commit_record_that_is_no_parquet_is_a_damaged_lake(tmp_path):
    write_run(tmp_path, Seen(images=[image("m-1")]))
    next((tmp_path / "lake" / "observations").rglob("*.parquet")).write_bytes(b"torn, and long enough to be a file")
    with pytest.raises(LakeDamaged, match="commit record"):
        connect(tmp_path)


def test_a_connection_goes_on_seeing_the_day_that_it_was_opened_on(tmp_path):
    write_run(tmp_path, Seen(images=[image("m-1")]))
    con = connect(tmp_path)
    write_run(tmp_path, Seen(at="2026-10-31 02:00", images=[image("m-2")]))
    write_catalog(tmp_path)
    assert pick(ask(con, "from images_latest"), "image_id") == [("m-1",)]
    assert pick(ask(connect(tmp_path), "from images_latest"), "image_id") == [("m-2",)]


# ── the script and the catalogue are the same views ──────────────────────────


def everything(con: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Every view's rows, and everything that is said about them."""
    ordered = {name: " order by all" * (name == "image_versions") for name in relations()}  # the others say their order
    rows = {name: con.execute(f"from {name}{order}").fetchall() for name, order in ordered.items()}
    rows["views"] = con.execute(
        "select view_name, comment from duckdb_views() where not internal order by view_name"
    ).fetchall()
    rows["columns"] = con.execute(
        "select table_name, column_name, data_type, comment from duckdb_columns() where not internal order by all"
    ).fetchall()
    rows["macros"] = con.execute(
        "select function_name, parameters, comment from duckdb_functions() "
        "where not internal and function_type like '%macro' and function_name <> 'catalog_is_current' "
        "order by function_name"
    ).fetchall()
    return rows


def write_lake(data: Path) -> Path:
    write_run(data, Seen(at="2026-10-29 02:00", images=[image("m-1", 20), image("m-2", region_id=None)]))
    write_run(
        data,
        Seen(images=[image("m-1", 30), image("m-3", 5, 6, image_owner="others")]),
        Seen("prod", images=[image("m-1")]),
    )
    return data


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return write_lake(tmp_path)


@pytest.fixture(scope="module")
def closed(tmp_path_factory) -> Path:
    """The same lake with its catalogue: not to be written to."""
    data = write_lake(tmp_path_factory.mktemp("closed"))
    write_catalog(data)
    return data


@pytest.fixture(scope="module")
def by_script(closed) -> dict[str, Any]:
    """What a bare DuckDB shows of that lake by the script."""
    with duckdb.connect() as con:
        con.execute(views_sql(closed)).fetchall()
        return everything(con)


def test_the_script_gives_any_duckdb_the_same_views(closed, by_script):
    (closed / "lake.duckdb").rename(closed / "aside")
    with connect(closed) as con:
        (closed / "aside").rename(closed / "lake.duckdb")
        assert everything(con) == by_script


def test_a_process_that_connects_often_copies_the_same_views(closed, by_script):
    (closed / "lake.duckdb").rename(closed / "aside")
    try:
        for _ in range(3):
            with connect(closed) as con:
                assert everything(con) == by_script
    finally:
        (closed / "aside").rename(closed / "lake.duckdb")


@pytest.mark.parametrize("as_of", [None, "2026-10-29"])
def test_versions_that_are_kept_give_the_same_answers(lake, as_of):
    with connect(lake, as_of=as_of) as plain, connect(lake, as_of=as_of, keeps_versions=True) as kept:
        expected = everything(plain)
        assert [kept.execute(f"from {name} order by all").fetchall() for name in relations()] == [
            plain.execute(f"from {name} order by all").fetchall() for name in relations()
        ]
        assert everything(kept)["views"] == expected["views"]


def test_too_many_versions_are_not_kept(lake, monkeypatch):
    monkeypatch.setattr(connection, "_MOST_KEPT_VERSIONS", 1)
    with connect(lake) as plain, connect(lake, keeps_versions=True) as con:
        assert everything(con)["views"] == everything(plain)["views"]
        assert (
            con.execute("select count(*) from image_versions").fetchall()
            == plain.execute("select count(*) from image_versions").fetchall()
        )
        assert con.execute("select count(*) from duckdb_tables() where not internal").fetchall() == [(1,)]


def test_the_script_says_until_when_it_is_right_and_fails_after_that(lake):
    printed = views_sql(lake)
    newest = max(path.stem for path in (lake / "lake" / "observations").rglob("*.parquet"))
    assert printed.splitlines()[0] == (
        f"-- Right until the next run, withdrawal, compaction or retention: the lake with {newest} as its last run."
    )
    copy = next((lake / "lake" / "images").rglob("*.parquet"))
    shutil.copy(copy, copy.with_name("a copy.parquet"))
    with duckdb.connect() as con:
        con.execute(printed).fetchall()
        before = con.execute("select count(*) from images").fetchall()
        with connect(lake) as other:
            assert other.execute("select count(*) from images").fetchall() == before

        assert con.execute("select catalog_is_current()").fetchall() == [(True,)]
        withdraw(lake, f"{newest}/prod")
        assert con.execute("select catalog_is_current()").fetchall() == [(False,)]
        restore(lake, f"{newest}/prod")
        assert con.execute("select catalog_is_current()").fetchall() == [(True,)]
        write_run(lake, Seen(at="2026-10-31 02:00", images=[image("m-9")]))
        assert con.execute("select catalog_is_current()").fetchall() == [(False,)]
    with duckdb.connect() as con, pytest.raises(duckdb.InvalidInputException, match="the lake has changed since"):
        con.execute(printed).fetchall()


def test_the_script_can_be_run_again_over_itself(closed, by_script):
    with connect(closed) as con:
        con.execute(views_sql(closed)).fetchall()
        assert everything(con) == by_script


def test_a_connection_made_from_the_catalogue_equals_one_made_by_the_script(closed, by_script, monkeypatch):
    monkeypatch.setattr(connection, "create_static_views", lambda *_: pytest.fail("the catalogue was not used"))
    with connect(closed) as con:
        assert everything(con) == by_script


def test_a_draft_that_is_not_finished_leaves_the_catalogue_as_it_was_and_nothing_beside_it(lake):
    before = write_catalog(lake).read_bytes()
    names = sorted(path.name for path in lake.iterdir())
    with pytest.raises(KeyError), begin_catalog(lake):
        raise KeyError
    assert (lake / "lake.duckdb").read_bytes() == before
    assert sorted(path.name for path in lake.iterdir()) == names


def test_a_draft_takes_no_notice_of_the_files_that_come_while_it_is_made(lake):
    with begin_catalog(lake) as builder:
        write_run(lake, Seen(at="2026-10-31 02:00", images=[image("m-9")]))
        path = write_catalog(lake, builder=builder)
    with duckdb.connect(path, read_only=True) as con:
        assert ("m-9",) in pick(ask(con, "from images_latest"), "image_id")


def test_the_catalogue_opens_by_itself_and_from_anywhere(lake, monkeypatch):
    path = write_catalog(lake)
    monkeypatch.chdir("/")
    with duckdb.connect(path, read_only=True) as con:
        assert len(con.execute("from images_latest").fetchall()) == 3
        assert con.execute("select tags from duckdb_databases() where database_name = 'lake'").fetchall()


def test_the_catalogue_is_written_for_duckdb_1_4(lake):
    head = write_catalog(lake).read_bytes()[8:20]
    assert head[:4] == b"DUCK"
    assert int.from_bytes(head[4:12], "little") == 67  # the storage version of 1.4: 1.5 has 68


@pytest.mark.parametrize("version", ["v1.3.2", "v1.2.0", "v0.10.3", "v1.3.3-dev12"])
def test_the_printed_views_are_refused_by_a_duckdb_that_would_show_them_without_rows(lake, version):
    printed = views_sql(lake)
    assert "-- For DuckDB 1.4 or newer.\n" in printed
    with duckdb.connect() as con:
        con.execute(f"create macro version() as '{version}'").fetchall()
        with pytest.raises(duckdb.InvalidInputException, match=f"need DuckDB 1.4 or newer, and this is {version}"):
            con.execute(printed).fetchall()


def test_a_client_that_asks_the_standard_catalog_finds_every_relation_as_a_view_with_its_comment(lake):
    with duckdb.connect(write_catalog(lake), read_only=True) as con:
        listed = con.execute(
            "select table_name, table_type, table_comment from information_schema.tables where table_schema = 'main'"
        ).fetchall()
        shown = [name for (name,) in con.execute("show tables").fetchall()]
        only_tables = con.execute("select table_name from duckdb_tables()").fetchall()
    assert sorted(listed) == sorted((name, "VIEW", each.grain) for name, each in relations().items())
    assert sorted(shown) == sorted(relations())
    assert only_tables == []  # docs/other-tools.md says why


@pytest.mark.parametrize("content", [b"", b"not a database at all", None])
def test_a_catalogue_that_is_stale_torn_or_missing_changes_no_answer(lake, content):
    write_catalog(lake)
    write_run(lake, Seen(at="2026-10-31 02:00", images=[image("m-9")]))
    if content is not None:
        (lake / "lake.duckdb").write_bytes(content)
    assert ("m-9",) in pick(ask(connect(lake), "from images_latest"), "image_id")


def test_a_lake_that_moved_is_read_where_it_is_now(lake, tmp_path):
    write_catalog(lake)
    moved = tmp_path / "moved"
    moved.mkdir()
    for room in ("lake", "raw", "lake.duckdb"):
        (lake / room).rename(moved / room)
    assert len(connect(moved).execute("from images_latest").fetchall()) == 3


def test_a_lake_that_was_copied_with_its_catalog_is_read_where_it_is_now(own_lake, tmp_path, monkeypatch):
    monkeypatch.chdir(own_lake.parent)
    write_catalog(own_lake.name)  # by a relative path, which the copy has too
    copied = tmp_path.parent / f"{tmp_path.name}-copied" / own_lake.name
    shutil.copytree(own_lake, copied)
    for file in (own_lake / "lake" / "images").rglob("*.parquet"):
        file.write_bytes(b"not of the copy")
    monkeypatch.chdir(copied.parent)

    assert len(connect(copied.name).execute("from images_latest").fetchall()) == 5
    with duckdb.connect(write_catalog(copied.name), read_only=True) as con:  # as the next run, or `rebuild`, does
        assert len(con.execute("from images_latest").fetchall()) == 5


def test_swapping_the_catalogue_leaves_nothing_beside_it_and_disturbs_no_reader(lake):
    with duckdb.connect(write_catalog(lake), read_only=True) as reader:
        write_run(lake, Seen(at="2026-10-31 02:00", images=[]))
        write_catalog(lake)
        assert len(reader.execute("from images_latest").fetchall()) == 3
    assert sorted(path.name for path in lake.iterdir()) == ["lake", "lake.duckdb", "lake.duckdb.sha256", "raw"]


# ── nothing but the lake ─────────────────────────────────────────────────────


@pytest.fixture
def locked(closed: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(closed, only_lake=True) as con:
        yield con


def test_a_locked_connection_reads_the_whole_lake(locked):
    for name in relations():
        locked.execute(f"from {name}").fetchall()


@pytest.mark.parametrize(
    "sql",
    [
        "copy (select 1) to '{there}/out.csv'",
        "copy images to '{there}/out.parquet' (format parquet)",
        "attach '{there}/out.duckdb'",
        "attach '{there}/lake.duckdb'",
        "select * from read_text('/etc/passwd')",
        "select * from read_csv('/etc/passwd')",
        "select * from '/etc/passwd'",
        "select * from read_parquet('{there}/lake/images/*/*.parquet')",
        "select * from glob('/etc/*')",
        "export database '{there}/out'",
        "install httpfs",
        "load httpfs",
        "set enable_external_access = true",
        "set allowed_paths = ['/etc/passwd']",
        "set lock_configuration = false",
        "reset enable_external_access",
        "select * from a_python_variable",
    ],
)
def test_a_locked_connection_forbids(locked, closed, sql):
    a_python_variable = [1]  # noqa: F841  (what the query must not find)
    before = sorted(closed.rglob("*"))
    with pytest.raises(duckdb.Error):
        locked.execute(sql.format(there=closed)).fetchall()
    assert sorted(closed.rglob("*")) == before


@pytest.mark.parametrize(
    "sql",
    [
        "copy (select 1) to '{file}' (use_tmp_file false)",
        "with x as (copy (select 1) to '{file}' (use_tmp_file false)) select 1",
        "explain analyze copy (select 1) to '{file}' (use_tmp_file false)",
        "explain analyze with x as (copy (select 1) to '{file}' (use_tmp_file false)) select 1",
        "explain (analyze) copy (select 1) to '{file}' (use_tmp_file false)",
        "/* */ explain analyze copy (select 1) to '{file}' (use_tmp_file false)",
        "prepare q as copy (select 1) to '{file}' (use_tmp_file false); execute q",
        "create macro m() as table (with x as (copy (select 1) to '{file}' (use_tmp_file false)) select 1)",
        "select 1; copy (select 1) to '{file}' (use_tmp_file false); select 2",
        "attach '{file}' as x",
        "set threads = 1",
        "pragma enable_profiling",
        "call enable_logging()",
        "install httpfs",
        "checkpoint",
    ],
)
def test_a_statement_that_does_not_only_read_is_refused_before_it_runs(locked, closed, sql):
    file = next((closed / "lake" / "images").rglob("*.parquet"))
    before = file.read_bytes()
    with pytest.raises(BadQuery):
        refuse_writes(locked, sql.format(file=file))
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "sql",
    [
        "from images_latest",
        "select 'copy to' as image_name from images where image_name like '%copy%'",
        "select 1; select 2",
        "with x as (select 1 as n) select * from x",
        "explain select * from images",
        "explain analyze select 1",
        "describe images",
        "summarize images_latest",
        "show tables",
        "values (1)",
        "create temp table t as select 1; select * from t",
        "pivot images_latest on platform using count(*) group by region_id",
    ],
)
def test_a_statement_that_reads_passes(locked, sql):
    refuse_writes(locked, sql)
    locked.execute(sql).fetchall()


def test_opening_a_lake_loads_neither_pandas_nor_arrow_nor_the_sdk(lake):
    code = (
        "import sys; import pipeline.views.connection as views\n"
        "assert 'duckdb' not in sys.modules\n"
        f"con = views.connect({str(lake)!r}, only_lake=True); con.execute('from images_latest').fetchall()\n"
        "print(*sorted(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pandas", "pyarrow", "aiohttp", "rich", "alibabacloud_tea_openapi"} & set(loaded)


# ── the latest ───────────────────────────────────────────────────────────────


def test_the_latest_rows_are_those_of_each_account_s_last_published_observation(tmp_path):
    write_run(tmp_path, Seen("a", images=[image("m-1", 1)]), Seen("b", images=[image("m-2", 2)]))
    write_run(
        tmp_path,
        Seen("a", "2026-10-31 02:00", [image("m-3", 3)]),
        Seen("b", "2026-10-31 02:00", error="Unreachable: no answer"),
    )
    con = connect(tmp_path)
    latest = ask(con, "from images_latest order by account")
    assert pick(latest, "account", "image_id") == [("a", "m-3"), ("b", "m-2")]
    disks = ask(con, "from image_disks_latest order by account")
    assert pick(disks, "account", "image_id", "disk_size_gib") == [("a", "m-3", 3), ("b", "m-2", 2)]


def test_an_account_that_became_empty_has_no_latest_rows(tmp_path):
    write_run(tmp_path, Seen(images=[image("m-1", 1)]))
    write_run(tmp_path, Seen(at="2026-10-31 02:00"))
    con = connect(tmp_path)
    assert con.execute("from images_latest").fetchall() == con.execute("from image_disks_latest").fetchall() == []


def test_the_last_observation_is_the_one_observed_last_not_the_one_run_last(tmp_path):
    write_run(tmp_path, Seen(at="2026-10-31 02:00", images=[image("m-now")]))
    write_run(tmp_path, Seen(at="2026-10-01 02:00", images=[image("m-then")]), began="2026-11-01 02:00")
    con = connect(tmp_path)
    assert pick(ask(con, "from images_latest"), "image_id") == [("m-now",)]
    assert pick(ask(con, "from accounts"), "observed_at_utc") == [(utc("2026-10-31 02:00"),)]


def test_the_latest_views_open_no_older_file(tmp_path):
    old = write_run(tmp_path, Seen(images=[image("m-1", 1)]))
    write_run(tmp_path, Seen(at="2026-10-31 02:00", images=[image("m-1", 1)]))
    con = connect(tmp_path)
    for table in ("images", "image_disks"):
        next((tmp_path / "lake" / table).rglob(f"{old}.parquet")).unlink()
    assert len(con.execute("from image_capacity").fetchall()) == 1


# ── capacity ─────────────────────────────────────────────────────────────────

CAPACITY = ("image_count", "image_size_gib", "unsized_image_count", "disk_count", "disk_size_gib")


def test_capacity_counts_owned_images_and_sets_the_others_apart(tmp_path):
    write_run(
        tmp_path,
        Seen(
            "a",
            images=[
                image("m-1", 20, 100),
                image("m-2", None, image_owner="SELF", image_size_gib=None),
                image("m-3", 7, image_owner="others", image_size_gib=9),
                image("m-4", image_owner=None, image_size_gib=11),
                image("m-5", image_owner="system", region_id="cn-beijing"),
            ],
        ),
        Seen("b", images=[image("m-6", region_id=None, platform="windows", image_size_gib=500)]),
    )
    con = connect(tmp_path)
    apart = ("shared_image_count", "shared_image_size_gib", "other_image_count")
    regions = ask(con, "from capacity_by_region")
    assert pick(regions, "region_id", "account_count", *CAPACITY, *apart) == [
        (None, 1, 1, 500, 0, 0, 0, 0, 0, 0),
        ("cn-wulanchabu", 1, 2, 20, 1, 3, 120, 1, 9, 1),
        ("cn-beijing", 1, 0, 0, 0, 0, 0, 0, 0, 1),
    ]
    platforms = ask(con, "from capacity_by_platform")
    assert pick(platforms, "platform", *CAPACITY) == [("windows", 1, 500, 0, 0, 0), ("centos", 2, 20, 1, 3, 120)]


def test_sums_stay_whole_numbers(lake):
    con = connect(lake)
    for name in relations():
        kinds = {row[0]: row[1] for row in con.execute(f"describe {name}").fetchall()}
        for column, kind in kinds.items():
            if column.endswith(("_count", "_gib", "_days")):
                assert kind == "BIGINT", f"{name}.{column}"


def test_a_day_is_its_last_observation_and_a_missing_one_is_carried_and_counted(tmp_path):
    write_run(
        tmp_path, Seen("a", "2026-10-01 02:00", [image("m-1", 10)]), Seen("b", "2026-10-01 02:00", [image("m-2")])
    )
    write_run(tmp_path, Seen("a", "2026-10-01 23:59", [image("m-1", 10), image("m-3", image_size_gib=5)]))
    write_run(tmp_path, Seen("a", "2026-10-04 00:00", []), Seen("b", "2026-10-03 23:59", error="StillThrottled: yes"))
    write_run(tmp_path, Seen("c", "2026-10-05 12:00", [image("m-4", image_owner="others")]))
    days = ask(connect(tmp_path), "from capacity_by_day")
    columns = (
        "account_count",
        "carried_account_count",
        "image_count",
        "image_size_gib",
        "disk_size_gib",
        "shared_image_count",
    )
    assert pick(days, "day_utc", *columns) == [
        (dt.date(2026, 10, 1), 2, 0, 3, 45, 10, 0),
        (dt.date(2026, 10, 2), 2, 2, 3, 45, 10, 0),
        (dt.date(2026, 10, 3), 2, 2, 3, 45, 10, 0),
        (dt.date(2026, 10, 4), 2, 1, 1, 20, 0, 0),
        (dt.date(2026, 10, 5), 3, 2, 1, 20, 0, 1),
    ]


def test_a_day_belongs_to_the_observation_and_not_to_the_run_s_folder(tmp_path):
    write_run(tmp_path, Seen(at="2026-10-02 00:01", images=[image("m-1")]), began="2026-10-01 23:59")
    assert pick(ask(connect(tmp_path), "from capacity_by_day"), "day_utc") == [(dt.date(2026, 10, 2),)]


def test_the_last_day_equals_the_sum_over_regions_platforms_and_ages(lake):
    con = connect(lake)
    columns = ("image_count", "image_size_gib", "unsized_image_count", "shared_image_count", "other_image_count")
    for view in ("capacity_by_region", "capacity_by_platform", "age_bands"):
        totals = tuple(map(sum, zip(*pick(ask(con, f"from {view}"), *columns), strict=True)))
        assert totals == pick(ask(con, "from capacity_by_day"), *columns)[-1]


# ── any history: the views against a computation in plain Python ─────────────

sizes = st.one_of(st.none(), st.integers(0, 3))
shapes = st.tuples(
    sizes,
    st.sampled_from(["self", "others", "Self", None]),
    st.sampled_from(["Available", None]),
    st.lists(sizes, max_size=2),
)
accounts = st.dictionaries(st.sampled_from(["m-1", "m-2", "m-3"]), shapes, max_size=3)
names = st.sampled_from("abcdef")  # to open a lake takes most of the time: several accounts share one
instants = st.integers(0, 9 * 4).map(lambda quarter: utc("2026-10-01 00:00") + dt.timedelta(hours=6 * quarter))
levels = st.sampled_from(["verified", "verified", "counted", "unproven"])
observed = st.dictionaries(instants, st.tuples(levels, accounts), min_size=1, max_size=8)
histories = st.dictionaries(names, observed, min_size=1)


def bare(size: int | None) -> dict[str, Any]:
    """A disk of which no more than the size is told, and perhaps not even that."""
    return {"disk_size_gib": size, "disk_type": None, "disk_format": None}


def rows_of(images: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        image(name, *map(bare, disks), image_size_gib=size, image_owner=owner, status=status)
        for name, (size, owner, status, disks) in images.items()
    ]


def live(data: Path, history: dict[str, Any]) -> duckdb.DuckDBPyConnection:
    """Write a history as one folded run: these two views do not ask which file a row lies in."""
    seen = [
        Seen(account, str(at), rows_of(images), level)
        for account, observations in history.items()
        for at, (level, images) in observations.items()
    ]
    write_run(data, *seen)
    return connect(data)


@settings(max_examples=settings.default.max_examples // 4)
@given(histories)
def test_any_history_by_day_is_what_plain_python_makes_of_it(history):
    with TemporaryDirectory() as folder, live(Path(folder), history) as con:
        found = pick(ask(con, "from capacity_by_day"), "day_utc", "account_count", "carried_account_count", *CAPACITY)
    every = [at.date() for observations in history.values() for at in observations]
    day, expected = min(every), []
    while day <= max(every):
        total, known, carried = Counter[str](), 0, 0
        for observations in history.values():
            so_far = [at for at in observations if at.date() <= day]
            if not so_far:
                continue
            known += 1
            carried += max(so_far).date() < day
            for size, owner, _, disks in observations[max(so_far)][1].values():
                if owner is not None and owner.lower() == "self":
                    total.update(
                        image_count=1,
                        image_size_gib=size or 0,
                        unsized_image_count=size is None,
                        disk_count=len(disks),
                        disk_size_gib=sum(disk or 0 for disk in disks),
                    )
        expected.append((day, known, carried, *(total[column] for column in CAPACITY)))
        day += dt.timedelta(days=1)
    assert found == expected


def told_by_python(history: dict[str, Any]) -> set[tuple[Any, ...]]:
    """Walk each account's observations, image by image, and say what became of it."""
    told = set()
    for account, observations in history.items():
        times = sorted(observations)
        for name in {name for _, images in observations.values() for name in images}:
            last = proof = None  # where it was last seen; the last verified observation since, without it
            for place, at in enumerate(times):
                level, images = observations[at]
                if name in images:
                    continues = last is not None and proof is None
                    if place and last != place - 1:
                        change = "seen" if proof is None else "appeared"
                        against = times[place - 1 if proof is None else proof]
                        told.add((account, at, against, name, change, None))
                    if continues:
                        old, new = observations[times[last]][1][name], images[name]
                        for number, field in enumerate(("image_size_gib", "image_owner", "status", "disks")):
                            if old[number] != new[number]:
                                told.add((account, at, times[last], name, "changed", field))
                    last, proof = place, None
                    continue
                if last is not None and level == "verified" and proof is None:
                    told.add((account, at, times[last], name, "gone", None))
                if last is not None and level != "verified" and place == last + 1:
                    told.add((account, at, times[last], name, "unseen", None))
                if level == "verified":
                    proof = place
    return told


@settings(max_examples=settings.default.max_examples // 4)
@given(histories)
def test_any_history_of_changes_is_what_plain_python_makes_of_it(history):
    with TemporaryDirectory() as folder, live(Path(folder), history) as con:
        rows, counts = ask(con, "from image_changes"), ask(con, "from changes_by_observation")
        every = con.execute("select account, observed_at_utc from observations where is_published").fetchall()
    columns = ("account", "observed_at_utc", "previous_observed_at_utc", "image_id", "change", "field")
    found = pick(rows, *columns)
    assert len(found) == len(set(found))
    assert set(found) == told_by_python(history)

    images = {(row["account"], row["observed_at_utc"], row["change"], row["image_id"]) for row in rows}
    counted = Counter(one[:3] for one in images)
    words = ("appeared", "gone", "changed", "seen", "unseen")
    told = {(row["account"], row["observed_at_utc"]): row for row in counts}
    assert len(told) == len(counts) == len(every) - len({account for account, _ in every})
    assert {(*key, word): row[f"{word}_image_count"] for key, row in told.items() for word in words} == {
        (*key, word): counted[*key, word] for key in told for word in words
    }
    assert not counted.keys() - {(*key, word) for key in told for word in words}
    sizes = {
        one[:4]: row["image_size_gib"] or 0
        for row in rows
        for one in [pick([row], "account", "observed_at_utc", "change", "image_id")[0]]
    }
    for word in ("appeared", "gone"):
        for key, row in told.items():
            assert row[f"{word}_image_size_gib"] == sum(n for one, n in sizes.items() if one[:3] == (*key, word))


def lives_by_python(con: duckdb.DuckDBPyConnection) -> list[tuple[Any, ...]]:
    """Walk the daily copies of each image: when it was born, seen and gone, and the row that was seen last."""
    observed: dict[str, list[tuple[Any, bool]]] = {}
    for account, at, level in con.execute(
        "select account, observed_at_utc, certificate from observations where is_published order by observed_at_utc"
    ).fetchall():
        observed.setdefault(account, []).append((at, level == "verified"))
    sightings: dict[tuple[str, str], dict[Any, Any]] = {}
    for account, name, at, size in con.execute(
        "select account, image_id, observed_at_utc, image_size_gib from images"
    ).fetchall():
        sightings.setdefault((account, name), {})[at] = size
    lives = []
    for (account, name), seen in sightings.items():
        life: list[Any] | None = None
        proof = None
        for at, is_verified in observed[account]:
            if at in seen:
                if life is None:
                    life = [account, name, proof, at, at, None, None]
                life[4], life[6] = at, seen[at]
            elif is_verified:
                proof = at
                if life is not None:
                    life[5] = at
                    lives.append(tuple(life))
                    life = None
        if life is not None:
            lives.append(tuple(life))
    return sorted(lives, key=str)


def growth_by_python(con: duckdb.DuckDBPyConnection) -> list[tuple[Any, ...]]:
    """Walk the months: what each account's last copies of it and of the month before hold, and whose ids are new."""
    observed: dict[str, list[tuple[Any, bool]]] = {}
    for account, at, level in con.execute(
        "select account, observed_at_utc, certificate from observations where is_published order by observed_at_utc"
    ).fetchall():
        observed.setdefault(account, []).append((at, level == "verified"))
    copies: dict[tuple[str, Any], dict[str, int]] = {(name, at): {} for name in observed for at, _ in observed[name]}
    for account, at, name, size in con.execute(
        "select account, observed_at_utc, image_id, coalesce(image_size_gib, 0) from images "
        "where lower(image_owner) = 'self'"
    ).fetchall():
        copies[account, at][name] = size
    every = [at.date().replace(day=1) for times in observed.values() for at, _ in times]
    month, found = min(every), []
    while month <= max(every):
        after = (month + dt.timedelta(days=32)).replace(day=1)
        start, end, new, known = Counter[str](), Counter[str](), 0, 0
        for account, times in observed.items():
            till = [at for at, _ in times if at.date() < after]
            if not till:
                continue
            before = [at for at in till if at.date() < month]
            known += 1
            new += not before
            for total, at in ((start, (before or till[:1])[-1]), (end, till[-1])):
                total.update(count=len(copies[account, at]), gib=sum(copies[account, at].values()))
        found.append((month, known, new, start["count"], end["count"], start["gib"], end["gib"]))
        month = after
    return found


months = st.integers(0, 7 * 4).map(lambda part: utc("2025-12-20 00:00") + dt.timedelta(days=part * 5 + part % 3))
owned = st.tuples(sizes, st.just("self"), st.none(), st.just([]))
listed = st.dictionaries(st.sampled_from(["m-1", "m-2", "m-3"]), owned)
years = st.dictionaries(names, st.dictionaries(months, st.tuples(levels, listed), min_size=1, max_size=8), min_size=1)


@settings(max_examples=settings.default.max_examples // 4)
@given(years)
def test_any_history_of_lives_and_by_month_is_what_plain_python_makes_of_the_daily_copies(history):
    with TemporaryDirectory() as folder, live(Path(folder), history) as con:
        lives, growth = ask(con, "from image_lifetimes"), ask(con, "from growth_by_month")
        expected_lives, expected_growth = lives_by_python(con), growth_by_python(con)
        last = dict(con.execute("select account, observed_at_utc from accounts").fetchall())
        sizes = {
            row[:3]: row[3] or 0
            for row in con.execute("select account, image_id, observed_at_utc, image_size_gib from images").fetchall()
        }
    proof = ("missing_until_utc", "life_began_utc", "last_seen_utc", "gone_at_utc")
    assert sorted(pick(lives, "account", "image_id", *proof, "image_size_gib"), key=str) == expected_lives
    moves = Counter[Any]()
    for row in lives:
        born, began, seen, gone = (row[name] for name in proof)
        here = "here" if seen == last[row["account"]] else "unseen"
        assert row["state"] == ("gone" if gone else here)
        assert row["seen_days"] == (seen - began).days
        assert row["at_most_days"] == ((gone - born).days if gone and born else None)
        for word, at, shown in (("appeared", born and began, began), ("gone", gone, seen)):
            if at:
                moves[word, "count", at.date().replace(day=1)] += 1
                moves[word, "size_gib", at.date().replace(day=1)] += sizes[row["account"], row["image_id"], shown]
    columns = ("account_count", "new_account_count", "start_image_count", "end_image_count")
    assert pick(growth, "month_utc", *columns, "start_image_size_gib", "end_image_size_gib") == expected_growth
    is_proven = all(level == "verified" for seen in history.values() for level, _ in seen.values())
    for row in growth:
        for kind in ("count", "size_gib"):
            assert row[f"appeared_image_{kind}"] == moves["appeared", kind, row["month_utc"]]
            assert row[f"gone_image_{kind}"] == moves["gone", kind, row["month_utc"]]
            assert row[f"grown_image_{kind}"] == row[f"end_image_{kind}"] - row[f"start_image_{kind}"]
        if is_proven:
            assert row["grown_image_count"] == row["appeared_image_count"] - row["gone_image_count"]


# ── what became of each image ────────────────────────────────────────────────


def days(data: Path, *listings: tuple[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Observe the account once a day, from 1 October on; what changed."""
    for number, (level, images) in enumerate(listings, start=1):
        write_run(data, Seen(at=f"2026-10-{number:02} 02:00", images=images, certificate=level))
    return ask(connect(data), "from image_changes order by observed_at_utc, image_id, change, field")


def test_the_first_observation_of_an_account_tells_of_no_change(tmp_path):
    assert days(tmp_path, ("verified", [image("m-1")])) == []


def test_a_changed_image_has_a_row_for_each_field_with_the_old_value_and_the_new(tmp_path):
    changes = days(
        tmp_path,
        ("verified", [image("m-1", 20, image_size_gib=None)]),
        (
            "verified",
            [image("m-1", 20, {"disk_size_gib": None, "disk_format": "raw"}, status="Unavailable", image_size_gib=40)],
        ),
    )
    assert pick(changes, "change", "field", "old_value", "new_value") == [
        ("changed", "disks", "Data 20 GiB qcow2", "Data 20 GiB qcow2, Data ? GiB raw"),
        ("changed", "image_size_gib", None, "40"),
        ("changed", "status", "Available", "Unavailable"),
    ]


def test_a_change_of_any_field_is_told(tmp_path):
    kinds = {
        "text": ("old", "new"),
        "integer": (1, 2),
        "gib": (1, 2),
        "timestamp": (utc("2026-01-01"), utc("2026-01-02")),
    }
    values = {field.name: kinds[IMAGES.column(field.name).kind] for field in IMAGE_FIELDS}
    values["extra"] = ('{"Tag":"old"}', '{"Tag":"new"}')
    before = [image(f"m-{field}", **{field: old}) for field, (old, _) in values.items()]
    after = [image(f"m-{field}", **{field: new}) for field, (_, new) in values.items()]
    changes = days(tmp_path, ("verified", before), ("verified", after))
    assert sorted(pick(changes, "image_id", "field", "old_value", "new_value")) == sorted(
        (f"m-{field}", field, str(old), str(new)) for field, (old, new) in values.items()
    )


@pytest.mark.parametrize("field", [field.name for field in DISK_FIELDS if field.name != "disk_number"])
def test_a_change_of_any_field_of_a_disk_is_told(tmp_path, field):
    values = {"text": ("old", "new"), "gib": (1, 2)}[IMAGE_DISKS.column(field).kind]
    if field == "extra":
        values = ('{"Tag":"old"}', '{"Tag":"new"}')
    before, after = ([image("m-1", {field: value})] for value in values)
    (change,) = days(tmp_path, ("verified", before), ("verified", after))
    assert change["field"] == "disks"
    assert str(values[0]) in change["old_value"]
    assert change["new_value"] == change["old_value"].replace(str(values[0]), str(values[1]))


def test_an_image_missing_from_an_uncertified_listing_is_unseen_and_not_gone(tmp_path):
    changes = days(tmp_path, ("verified", [image("m-1"), image("m-2")]), ("counted", [image("m-2")]))
    assert pick(changes, "image_id", "change") == [("m-1", "unseen")]


def test_an_image_that_was_only_overlooked_comes_back_neither_gone_nor_new(tmp_path):
    changes = days(
        tmp_path, ("verified", [image("m-1")]), ("unproven", []), ("verified", [image("m-1", status="Copying")])
    )
    assert pick(changes, "change", "field", "previous_observed_at_utc") == [
        ("unseen", None, utc("2026-10-01 02:00")),
        ("changed", "status", utc("2026-10-01 02:00")),
        ("seen", None, utc("2026-10-02 02:00")),
    ]


def test_an_image_is_gone_at_the_first_certified_listing_without_it_and_only_there(tmp_path):
    changes = days(
        tmp_path, ("verified", [image("m-1", image_name="old")]), ("counted", []), ("verified", []), ("verified", [])
    )
    assert pick(changes, "observed_at_utc", "previous_observed_at_utc", "change", "image_name") == [
        (utc("2026-10-02 02:00"), utc("2026-10-01 02:00"), "unseen", "old"),
        (utc("2026-10-03 02:00"), utc("2026-10-01 02:00"), "gone", "old"),
    ]


def test_an_image_appears_only_against_a_certified_listing_without_it(tmp_path):
    changes = days(tmp_path, ("counted", []), ("verified", [image("m-1")]), ("verified", [image("m-1"), image("m-2")]))
    assert pick(changes, "image_id", "change") == [("m-1", "seen"), ("m-2", "appeared")]


def test_a_try_that_published_nothing_makes_nothing_gone(tmp_path):
    write_run(tmp_path, Seen(images=[image("m-1")]))
    write_run(tmp_path, Seen(at="2026-10-31 02:00", error="IncompleteListing: it changed"))
    write_run(tmp_path, Seen(at="2026-11-01 02:00", images=[image("m-1")]))
    assert ask(connect(tmp_path), "from image_changes") == []


def test_the_same_image_in_two_accounts_is_two_images(tmp_path):
    write_run(tmp_path, Seen("a", images=[image("m-1")]), Seen("b", images=[image("m-1")]))
    write_run(tmp_path, Seen("a", "2026-10-31 02:00", []), Seen("b", "2026-10-31 02:00", [image("m-1")]))
    assert pick(ask(connect(tmp_path), "from image_changes"), "account", "change") == [("a", "gone")]


def test_a_life_says_what_is_proven_of_it_and_what_is_not(tmp_path):
    days(
        tmp_path,
        ("verified", [image("m-1"), image("m-2"), image("m-3")]),
        ("verified", [image("m-1", image_name="renamed"), image("m-3"), image("m-4")]),
        ("counted", [image("m-1", image_name="renamed")]),
        ("verified", [image("m-1", image_name="renamed"), image("m-3")]),
        ("counted", [image("m-3")]),
    )
    rows = ask(connect(tmp_path), "from image_lifetimes order by image_id")
    day = {number: utc(f"2026-10-0{number} 02:00") for number in range(1, 6)}
    columns = ("missing_until_utc", "life_began_utc", "last_seen_utc", "gone_at_utc", "state")
    assert pick(rows, "image_id", *columns, "seen_days", "at_most_days") == [
        ("m-1", None, day[1], day[4], None, "unseen", 3, None),
        ("m-2", None, day[1], day[1], day[2], "gone", 0, None),
        ("m-3", None, day[1], day[5], None, "here", 4, None),
        ("m-4", day[1], day[2], day[2], day[4], "gone", 0, 3),
    ]
    assert pick(rows, "image_name")[0] == ("renamed",)


def test_an_account_s_first_observation_is_no_growth(tmp_path):
    write_run(tmp_path, Seen("a", "2026-10-05 02:00", [image("m-1"), image("m-2")]))
    write_run(
        tmp_path,
        Seen("a", "2026-11-05 02:00", [image("m-1", image_size_gib=50), image("m-3", image_size_gib=7)]),
        Seen("b", "2026-11-05 02:00", [image("m-1", image_size_gib=1000)]),
    )
    rows = ask(connect(tmp_path), "from growth_by_month")
    count = ("start_image_count", "appeared_image_count", "gone_image_count", "end_image_count", "grown_image_count")
    assert pick(rows, "month_utc", "day_count", "account_count", "new_account_count", *count) == [
        (dt.date(2026, 10, 1), 27, 1, 1, 2, 0, 0, 2, 0),
        (dt.date(2026, 11, 1), 5, 2, 1, 3, 1, 1, 3, 0),
    ]
    assert pick(rows, *(name.replace("count", "size_gib") for name in count)) == [
        (40, 0, 0, 40, 0),
        (1040, 7, 20, 1057, 17),
    ]


# ── age, mismatch, failure, accounts ─────────────────────────────────────────


def test_age_is_whole_elapsed_days_as_of_the_observation(tmp_path):
    ages = {
        "m-whole": "2026-10-29 02:00",
        "m-short": "2026-10-29 02:00:00.000001",
        "m-leap": "2024-02-28 02:00",
        "m-none": None,
        "m-future": "2026-10-30 02:30",
    }
    write_run(tmp_path, Seen(images=[image(name, created_at_utc=at and utc(at)) for name, at in ages.items()]))
    rows = ask(connect(tmp_path), "from image_age")
    assert pick(rows, "image_id", "age_days") == [
        ("m-leap", 975),
        ("m-whole", 1),
        ("m-short", 0),
        ("m-future", 0),
        ("m-none", None),
    ]


def test_an_age_that_cannot_be_is_unknown(tmp_path):
    times = ["0001-01-01", "1970-01-01", "2008-12-31 23:59:59", "2009-01-01", "2026-10-31 01:59", "2026-10-31 02:00"]
    times.append("9999-12-31 23:59:59")
    write_run(tmp_path, Seen(images=[image(f"m-{n}", created_at_utc=utc(at)) for n, at in enumerate(times)]))
    lake = connect(tmp_path)
    ages = pick(ask(lake, "from image_age order by image_id"), "age_days")
    assert ages == [(None,), (None,), (None,), (6511,), (0,), (None,), (None,)]
    assert pick(ask(lake, "from age_bands where image_count > 0"), "age_band", "image_count") == [
        ("under 30 days", 1),
        ("2 years and over", 1),
        ("unknown", 5),
    ]
    assert ask(lake, "select sum(impossible_age_count) as n from age_bands") == [{"n": 5}]


def test_a_creation_time_that_was_rejected_as_impossible_is_counted_beside_the_bands(tmp_path):
    def reject(image_id, reason, field="CreationTime"):
        return {"item_id": image_id, "field": field, "reason": reason, "raw_json": "1"}

    images = [image(f"m-{n}", created_at_utc=None) for n in range(5)]
    rejects = [
        reject("m-0", "before 2009"),
        reject("m-1", "a day or more after the observation"),
        reject("m-2", "not a timestamp"),
        reject("m-3", "before 2009", field="Other"),
    ]
    write_run(tmp_path, Seen(at="2026-10-29 02:00", images=images, rejects=[reject("m-4", "before 2009")]))
    write_run(tmp_path, Seen(images=images, rejects=rejects))
    counts = ask(connect(tmp_path), "select age_band, impossible_age_count as n from age_bands where image_count > 0")

    assert counts == [{"age_band": "unknown", "n": 2}]


@given(st.datetimes(min_value=utc("2015-01-01"), max_value=utc("2026-10-30 02:00")))
def test_an_age_is_the_elapsed_seconds_over_86400_rounded_down(created):
    form = re.search(r"cast\(extract.* as bigint\)", FILES["image_age"])
    assert form
    sql = form[0].replace("observed_at_utc", "timestamp '2026-10-30 02:00'").replace("created_at_utc", "$1::timestamp")
    ((age_days,),) = PLAIN.execute(f"select {sql}", [created]).fetchall()
    assert age_days == (utc("2026-10-30 02:00") - created) // dt.timedelta(days=1)


def test_every_band_is_there_in_order_and_an_age_falls_into_one(tmp_path):
    edges = (0, 29, 30, 89, 90, 179, 180, 364, 365, 729, 730, 3000)
    images = [
        image(f"m-{days}", created_at_utc=utc("2026-10-30 02:00") - dt.timedelta(days=days), image_size_gib=1)
        for days in edges
    ]
    write_run(tmp_path, Seen(images=[*images, image("m-none", created_at_utc=None, image_size_gib=None)]))
    rows = ask(connect(tmp_path), "from age_bands")
    assert pick(rows, "age_band", "image_count", "image_size_gib", "unsized_image_count") == [
        ("under 30 days", 2, 2, 0),
        ("30–89 days", 2, 2, 0),  # noqa: RUF001
        ("90–179 days", 2, 2, 0),  # noqa: RUF001
        ("180–364 days", 2, 2, 0),  # noqa: RUF001
        ("1–2 years", 2, 2, 0),  # noqa: RUF001
        ("2 years and over", 2, 2, 0),
        ("unknown", 1, 0, 1),
    ]


def test_a_mismatch_needs_both_sizes(tmp_path):
    write_run(
        tmp_path,
        Seen(
            images=[
                image("m-equal", 15, 5),
                image("m-less", 15),
                image("m-more", 20, 100),
                image("m-none"),
                image("m-unknown", 15, None),
                image("m-unsized", 15, image_size_gib=None),
            ]
        ),
    )
    rows = ask(connect(tmp_path), "from disk_mismatch")
    assert pick(rows, "image_id", "image_size_gib", "disk_size_gib", "difference_gib") == [
        ("m-more", 20, 120, -100),
        ("m-less", 20, 15, 5),
    ]


def test_failed_unavailable_and_hanging_images_are_told_apart(tmp_path):
    made = {
        "m-1": ("Pack_failed", "2026-10-30 01:59"),
        "m-2": ("upload_FAILED", None),
        "m-3": ("Unavailable", "2026-10-01 00:00"),
        "m-4": ("Creating", "2026-10-29 23:59:59"),
        "m-5": ("Packing", "2026-10-30 00:00"),
        "m-6": ("Uploading", None),
        "m-7": ("Available", "2020-01-01 00:00"),
        "m-8": (None, "2020-01-01 00:00"),
    }
    images = [image(name, status=status, created_at_utc=at and utc(at)) for name, (status, at) in made.items()]
    write_run(tmp_path, Seen(images=images))
    assert pick(ask(connect(tmp_path), "from failed_images"), "image_id", "reason") == [
        ("m-3", "unavailable"),
        ("m-4", "hanging"),
        ("m-1", "failed"),
        ("m-2", "failed"),
    ]


def test_an_account_tells_its_last_observation_and_the_tries_that_failed_since(tmp_path):
    write_run(
        tmp_path,
        Seen("a", "2026-10-01 02:00", error="Refused: before"),
        Seen("c", "2026-10-01 02:00", error="Refused: c"),
    )
    run = write_run(
        tmp_path,
        Seen("a", "2026-10-02 02:00", [image("m-1", 1, 2)], "counted", unknown_field_count=2),
        Seen("b", "2026-10-02 02:00", [image("m-2")]),
    )
    write_run(tmp_path, Seen("a", "2026-10-03 02:00", error="Unreachable: first"))
    write_run(tmp_path, Seen("a", "2026-10-04 02:00", error="Unreachable: last"))
    at = utc("2026-10-02 02:00")
    assert connect(tmp_path).execute("from accounts").fetchall() == [
        ("a", at, run, "counted", None, None, 1, 2, 0, 2, 2, "Unreachable: last", True, *[None] * 5),
        ("b", at, run, "verified", None, None, 1, 0, 0, 0, 0, None, False, *[None] * 5),
        ("c", None, None, None, None, None, None, None, None, None, 1, "Refused: c", True, *[None] * 5),
    ]


def test_the_clock_on_the_wall_is_in_no_view():
    for name, text in FILES.items():
        assert not re.search(r"\b(now|today|current_\w+|localtime\w*)\b", re.sub(r"--.*", "", text)), name


def test_the_process_s_time_zone_changes_no_answer(lake):
    code = f"from pipeline import connect; print(connect({str(lake)!r}).execute('from capacity_by_day').fetchall())"
    told = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "TZ": zone}
        ).stdout
        for zone in ("UTC", "Pacific/Kiritimati", "America/Los_Angeles")
    }
    assert len(told) == 1


def test_capacity_is_the_same_where_a_file_lacks_the_sums_of_its_disks(tmp_path):
    write_run(tmp_path, Seen(images=[image("m-1", 5, 40), image("m-2")]))
    with connect(tmp_path) as con:
        rows = con.execute("from image_capacity order by all").fetchall()
    (path,) = (tmp_path / "lake" / "images").rglob("*.parquet")
    sums = ["disk_count", "unsized_disk_count", "disk_size_gib"]
    pq.write_table(pq.read_table(path, partitioning=None).drop_columns(sums), path)  # as an older version wrote it
    commit_again(tmp_path / "lake" / "observations" / path.parent.name / path.name)

    with connect(tmp_path) as con:
        assert con.execute("from image_capacity order by all").fetchall() == rows
