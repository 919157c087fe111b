"""Delta logs: exact rows of every table for other engines, or an error; never the truth of the lake."""

from __future__ import annotations

import datetime as dt
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from buckets import bucket_in_memory
from hypothesis import given, settings
from hypothesis import strategies as st
from lake_builder import Seen, image, utc, write_run
from objects import upload

from pipeline import connect, rebuild, run
from pipeline.credentials import key_account
from pipeline.emulator import Endpoint, Key, living_account
from pipeline.errors import BadSetting
from pipeline.jobs.compaction import compact
from pipeline.jobs.retention import prune
from pipeline.jobs.status import delta_log_notes
from pipeline.jobs.withdrawal import restore, withdraw
from pipeline.lake.check import check
from pipeline.lake.delta_log import delta_log_flaws, has_delta_log, write_delta_logs
from pipeline.lake.foreign_files import foreign_files
from pipeline.lake.tombstone_files import read_tombstones
from pipeline.resources.images import IMAGES_RESOURCE
from pipeline.resources.tables import LAKE_TABLES, ROW_TABLES

deltalake = pytest.importorskip("deltalake")

NOW = utc("2026-10-20 00:00")
HOUR = dt.timedelta(hours=1)


def folder(data: Path, table: Any) -> Path:
    return data / "lake" / table.name


def by_view(data: Path, table: Any) -> list[str]:
    columns = ", ".join(column.name for column in table.columns)
    with connect(data) as con:
        return sorted(map(repr, con.execute(f"select {columns} from {table.name}").fetchall()))  # noqa: S608


def by_deltalake(data: Path, table: Any, version: int | None = None) -> list[str]:
    rows = deltalake.DeltaTable(folder(data, table), version=version).to_pyarrow_table()
    names = [column.name for column in table.columns]
    return sorted(repr(tuple(row[name] for name in names)) for row in rows.to_pylist())


def by_polars(data: Path, table: Any) -> list[str]:
    frame = pl.read_delta(str(folder(data, table))).select([column.name for column in table.columns])
    return sorted(map(repr, frame.rows()))


def by_folder(data: Path, table: Any, pattern: str) -> int:
    (count,) = duckdb.sql(f"select count(*) from read_parquet('{folder(data, table)}/{pattern}')").fetchall()[0]  # noqa: S608
    return int(count)


def is_exact(data: Path) -> bool:
    """Compare each table by its Delta log with the view; a table without a log is one that cannot be exact."""
    withdrawn = bool(read_tombstones(data).active)
    for table in ROW_TABLES:
        if not (folder(data, table) / "_delta_log").exists():
            assert withdrawn
            continue
        rows = by_view(data, table)
        assert by_deltalake(data, table) == rows
        assert by_polars(data, table) == rows
    assert delta_log_flaws(data) == {}
    return True


# ── any history ──────────────────────────────────────────────────────────────

observed = st.one_of(st.none(), st.dictionaries(st.sampled_from(["m-1", "m-2"]), st.sampled_from([(), (1, None)])))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("day"), st.integers(1, 28), st.fixed_dictionaries({"a": observed, "b": observed})),
        st.tuples(st.sampled_from(["withdraw", "restore", "compact", "damage"]), st.integers(0, 99), st.just(0)),
    ),
    min_size=3,
    max_size=8,
)


def live(data: Path, now: dt.datetime, step: str, number: int, accounts: Any) -> None:
    if step == "day":
        at = f"2026-10-{number:02} 02:00"
        found = [
            Seen(name, at, error="Refused: no")
            if images is None
            else Seen(name, at, [image(i, *d) for i, d in images.items()])
            for name, images in accounts.items()
        ]
        if not (folder(data, LAKE_TABLES[-1]) / f"observed_on=2026-10-{number:02}").exists():
            write_run(data, *found)
            assert all(line.startswith("no Delta log of") for line in write_delta_logs(data, begin=True))
    elif step == "compact":
        compact(data, grace="0s", at=now)
    elif step == "withdraw":
        with connect(data) as con:
            names = con.execute(
                "select run_id || '/' || account from observations where is_published order by all"
            ).fetchall()
        if names:
            withdraw(data, names[number % len(names)][0], at=now)
    elif step == "restore":
        names = [each.name for each in read_tombstones(data).active if each.until_utc > now]
        if names:
            restore(data, names[number % len(names)], at=now)
    else:
        log = folder(data, LAKE_TABLES[number % len(LAKE_TABLES)]) / "_delta_log"
        newest = max(log.glob("*.json"), default=None)
        if number % 3 == 0:
            shutil.rmtree(log, ignore_errors=True)
        elif newest is not None and number % 3 == 1:
            newest.unlink()
        elif newest is not None:
            newest.write_bytes(newest.read_bytes()[:-40])
        write_delta_logs(data, begin=True)


@settings(max_examples=settings.default.max_examples // 20)
@given(steps)
def test_any_history_gives_the_same_rows_by_delta_log_and_by_view(history):
    with TemporaryDirectory() as root:
        data, now = Path(root) / "data", NOW
        for step in history:
            now += HOUR
            if step[0] == "day" or has_delta_log(data):
                live(data, now, *step)
        assert not has_delta_log(data) or is_exact(data)


# ── one lake of real runs ────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def three_days(tmp_path_factory) -> Path:
    """Three days of one account, mirrored from the first run on."""
    data = tmp_path_factory.mktemp("mirrored") / "data"
    with Endpoint({"a": Key("secret", living_account(images=30, seed=1))}) as endpoint:
        for day in range(3):
            endpoint.day = 20 * day
            at = utc("2026-10-01 02:00") + dt.timedelta(days=day)
            account = key_account("a", "a", "secret")
            result = run(
                data,
                accounts=[account],
                endpoint=endpoint.url,
                rate=None,
                observed_at=at,
                delta=True,
                accept_shrink=True,
            )
            assert result.delta_errors == ()
    return data


@pytest.fixture
def lake(three_days, tmp_path) -> Path:
    return shutil.copytree(three_days, tmp_path / "data")


def version_count(data: Path, table: Any) -> int:
    return len(list((folder(data, table) / "_delta_log").glob("*.json")))


def test_each_run_is_a_version_with_its_run_id(lake):
    for table in LAKE_TABLES:
        assert by_deltalake(lake, table) == by_view(lake, table) == by_polars(lake, table)
        if not by_view(lake, table):  # the endpoint lists no instances
            continue
        history = deltalake.DeltaTable(folder(lake, table)).history()
        assert [each["run_id"][:8] for each in history] == ["20261003", "20261002", "20261001"]
    with connect(lake, as_of=dt.date(2026, 10, 2)) as con:
        before = con.execute("select count(*) from images").fetchall()
    assert before == [(len(by_deltalake(lake, ROW_TABLES[0], version=1)),)]


def test_readers_of_the_folders_do_not_see_the_log(lake):
    for day in range(1, 13):  # delta-rs writes a checkpoint after ten commits by default
        write_run(lake, Seen("b", f"2026-11-{day:02} 02:00", [image("m-1", 1)]))
        assert write_delta_logs(lake) == []
    assert version_count(lake, ROW_TABLES[0]) == 15
    for table in (*IMAGES_RESOURCE.tables, LAKE_TABLES[-1]):
        expected = len(by_view(lake, table))
        assert by_folder(lake, table, "**/*.parquet") == by_folder(lake, table, "observed_on=*/*.parquet") == expected
        assert (
            len(pl.scan_parquet(f"{folder(lake, table)}/**/*.parquet", missing_columns="insert").collect()) == expected
        )
        assert len(pd.read_parquet(folder(lake, table))) == expected
    assert foreign_files(lake) == []


def test_a_version_ends_with_an_error_once_its_files_are_gone(lake):
    run_id = min(path.stem for path in folder(lake, LAKE_TABLES[-1]).glob("*/*.parquet"))
    withdraw(lake, run_id, grace="0s")
    assert is_exact(lake)
    table = folder(lake, ROW_TABLES[0])
    for version in range(3):
        with pytest.raises(FileNotFoundError):
            pl.read_delta(str(table), version=version)
        with pytest.raises(FileNotFoundError):
            deltalake.DeltaTable(table, version=version).to_pyarrow_table()


def test_days_that_retention_takes_from_the_folders_leave_the_log(lake):
    table = folder(lake, ROW_TABLES[0])
    days = sorted(path.name.removeprefix("observed_on=") for path in table.glob("observed_on=*"))
    compact(lake, grace="0s", at=NOW)
    prune(lake, daily_older_than="1d", grace="0s", at=utc(f"{days[-1]} 12:00"))
    left = {path.relative_to(table).as_posix() for path in table.glob("observed_on=*/*.parquet")}

    assert 0 < len(left) < len(days)
    assert set(deltalake.DeltaTable(table).file_uris()) == {str(table / path) for path in left}
    assert delta_log_flaws(lake) == {}
    assert check(lake).is_intact
    with pytest.raises(FileNotFoundError):
        pl.read_delta(str(table), version=0)


def test_a_copy_of_a_lake_is_exact_whatever_the_times_of_its_files(lake, tmp_path):
    copy = shutil.copytree(lake, tmp_path / "copy", copy_function=shutil.copyfile)
    shutil.rmtree(lake)

    assert is_exact(copy)
    assert check(copy).is_intact
    assert delta_log_notes(copy) == []
    before = version_count(copy, ROW_TABLES[0])
    rebuild(copy)
    assert version_count(copy, ROW_TABLES[0]) == before


def test_a_missing_file_is_an_error_and_never_fewer_rows(lake):
    table = folder(lake, ROW_TABLES[0])
    shutil.rmtree(min(table.glob("observed_on=*")))
    assert write_delta_logs(lake) == []
    with pytest.raises(FileNotFoundError):
        pl.read_delta(str(table))
    shutil.rmtree(table / "_delta_log")
    (line,) = write_delta_logs(lake)
    assert "is missing" in line
    assert "rebuild" in line
    rebuild(lake)
    assert is_exact(lake)
    assert check(lake).is_intact


def test_a_wrong_row_count_in_a_log_is_found_and_mended(lake):
    table = folder(lake, ROW_TABLES[0])
    newest, expected = max((table / "_delta_log").glob("*.json")), len(by_view(lake, ROW_TABLES[0]))
    newest.write_text(newest.read_text().replace('numRecords\\": ', 'numRecords\\": 1'))

    assert deltalake.DeltaTable(table).count() > expected
    assert "another row count" in str(check(lake).findings[0])
    rebuild(lake)
    assert deltalake.DeltaTable(table).count() == expected
    assert is_exact(lake)
    assert check(lake).is_intact


@pytest.mark.parametrize(
    "damage",
    ["behind", "deleted", "half", "empty", "checkpoint", "another day", "another name", "a folder", "no folder"],
)
def test_check_and_status_name_a_log_that_is_not_as_the_lake_and_rebuild_mends_it(lake, damage):
    log = folder(lake, ROW_TABLES[0]) / "_delta_log"
    newest = max(log.glob("*.json"))
    if damage == "behind":
        newest.unlink()
    elif damage == "deleted":
        shutil.rmtree(log)
    elif damage == "checkpoint":
        deltalake.DeltaTable(log.parent).create_checkpoint()
    elif damage == "another day":
        newest.write_text(newest.read_text().replace('"observed_on":"2026-10-03"', '"observed_on":"2026-10-13"'))
    elif damage == "another name":
        newest.write_text(newest.read_text().replace("000000Z.parquet", "000000Z (1).parquet"))
    elif damage == "a folder":
        newest.unlink()
        newest.mkdir()
    elif damage == "no folder":
        shutil.rmtree(log)
        log.write_text("a file in its place")
    else:
        newest.write_bytes(newest.read_bytes()[: 100 if damage == "half" else 0])
    found = check(lake)
    assert not found.is_intact
    assert all("_delta_log" in finding.location for finding in found.findings)
    if damage == "checkpoint":
        return
    (finding,) = found.findings
    assert "rebuild" in str(finding)
    assert len(delta_log_notes(lake)) == 1
    rebuild(lake, delta=True)
    assert is_exact(lake)
    assert check(lake).is_intact


def test_a_log_that_cannot_be_written_fails_no_command(lake):
    log = folder(lake, ROW_TABLES[0]) / "_delta_log"
    shutil.rmtree(log)
    log.write_text("a file in its place")
    run_id = max(path.stem for path in folder(lake, LAKE_TABLES[-1]).glob("*/*.parquet"))
    assert "the Delta log of" in str(withdraw(lake, run_id))
    log.unlink()
    restore(lake, run_id)
    assert is_exact(lake)


def test_a_writer_killed_at_any_table_leaves_logs_that_the_next_one_ends(lake):
    write_run(lake, Seen("b", "2026-11-01 02:00", [image("m-1", 1)]))
    program = (
        "import os, sys, deltalake, pathlib; from pipeline.lake import delta_log\n"
        "write, left = delta_log._write_log, int(sys.argv[2])\n"
        "def dying(files, table, log, examined):\n"
        "    global left\n"
        "    write(files, table, log, examined) if left else os._exit(9)\n"
        "    left -= 1\n"
        "delta_log._write_log = dying\n"
        "delta_log.write_delta_logs(pathlib.Path(sys.argv[1]))\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(lake), "1"], check=False)
    assert killed.returncode == 9
    left = [folder(lake, ROW_TABLES[0]) / "_delta_log" / name for name in ("_commit_1.json.tmp", f"{1:020}.json#1")]
    for path in left:
        path.write_text("{")
    assert [log.parent.name for log in delta_log_flaws(lake)] == ["image_disks", "rejects", "observations"]
    assert foreign_files(lake) == []
    assert write_delta_logs(lake) == []
    assert is_exact(lake)
    assert [path for path in left if path.exists()] == []


def test_a_column_that_was_added_later_is_null_in_older_versions(lake):
    table = folder(lake, ROW_TABLES[0])
    shutil.rmtree(table / "_delta_log")
    full = deltalake.DeltaTable(folder(lake, ROW_TABLES[1]))
    assert full.metadata().partition_columns == ["observed_on"]
    path = min(table.glob("*/*.parquet"))
    older = pq.read_table(path, partitioning=None).drop_columns(["extra"])
    pq.write_table(older, path)
    assert write_delta_logs(lake) == []
    frame = pl.read_delta(str(table)).filter(pl.col("observed_on") == dt.date(2026, 10, 1))
    assert frame["extra"].null_count() == len(frame) == len(older)


def test_a_bucket_has_no_delta_log():
    with pytest.raises(BadSetting, match="is a bucket, and a Delta log needs a folder"):
        run("s3://bucket/lake", accounts=[key_account("a", "a", "secret")], delta=True)


def test_a_new_lake_has_a_delta_log_where_it_lies_in_a_folder(lake, tmp_path, monkeypatch):
    with pytest.raises(BadSetting, match="is a bucket, and a Delta log needs a folder"):
        rebuild(lake, into="s3://bucket/new", delta=True)
    bucket = bucket_in_memory(monkeypatch)
    upload(lake, bucket, "raw")
    rebuild(bucket, into=tmp_path / "new", delta=True)
    assert is_exact(tmp_path / "new")
    assert by_view(tmp_path / "new", ROW_TABLES[0]) == by_view(lake, ROW_TABLES[0])
