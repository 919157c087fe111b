"""A lake in a bucket is maintained as one in a folder, by any number of machines at once."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import buckets
import msgspec
import obstore
import pyarrow.parquet as pq
import pytest
from objects import put_object
from obstore.exceptions import GenericError, PermissionDeniedError

from pipeline import connect, rebuild, run
from pipeline.credentials import key_account
from pipeline.emulator import Endpoint, Key, living_account
from pipeline.errors import BadSetting, LakeDamaged, Unreachable
from pipeline.jobs.compaction import compact
from pipeline.jobs.retention import prune
from pipeline.jobs.withdrawal import restore, withdraw
from pipeline.lake.check import check
from pipeline.lake.compaction.manifest import newest_manifest
from pipeline.lake.orphans import delete_orphans, orphans
from pipeline.reports.query import duckdb_message
from pipeline.storage.store import open_location, store_of

account_here, bucket, folder = buckets.account_here, buckets.bucket, buckets.folder
lake, lived = buckets.lake, buckets.lived
DAYS = 6
"""Runs of the lake `lived`."""
TABLES = ("images", "image_disks", "image_versions", "observations")


def rows(data: Any, sql: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(connect(data, only_lake=True)) as con:
        return con.execute(sql).fetchall()


def everything(data: Any) -> dict[str, list[str]]:
    with contextlib.closing(connect(data, only_lake=True)) as con:
        return {name: sorted(map(repr, con.execute(f"from {name}").fetchall())) for name in TABLES}


def compacted_files(data: str) -> set[str]:
    """The names of the compacted files, without their folders."""
    return {path.name for path in open_location(data).rglob("*.parquet") if "=" not in path.parent.name}


# ── compaction ───────────────────────────────────────────────────────────────


def test_a_compaction_in_a_bucket_changes_no_row(bucket):
    before = everything(bucket)
    compact(bucket)
    assert everything(bucket) == before
    assert check(bucket).findings == []
    assert str(compact(bucket)) == "nothing to do"


def test_the_pages_of_compacted_runs_are_read_from_the_folders_of_their_days_alone(bucket):
    before = rows(bucket, "from raw_pages order by all")
    compact(bucket)
    for page in open_location(bucket).glob("raw/observed_on=2026-10-02/*.parquet"):
        put_object(f"{bucket}/raw/observed_on=2026-10-02 (1)/{page.name}", page.read_bytes())
    assert rows(bucket, "from raw_pages order by all") == before


def test_a_run_compacts_a_bucket_when_that_is_due_and_needs_no_right_to_delete(bucket, account_here, monkeypatch):
    def refused(*_: Any) -> None:
        raise PermissionDeniedError("403 Forbidden")

    monkeypatch.setattr(obstore, "delete", refused)
    result = run(bucket, **account_here, observed_at=dt.datetime(2026, 10, 7, 2))  # noqa: DTZ001
    assert result.compaction_error is None
    manifest = newest_manifest(open_location(bucket))
    assert manifest is not None
    assert len(manifest.runs) == DAYS + 1
    assert check(bucket).is_intact


def test_of_two_compactions_at_once_one_is_committed_and_the_other_leaves_nothing(bucket, account_here, monkeypatch):
    put, found = obstore.put, []

    def overtaken(client: Any, key: str, *rest: Any, **options: Any) -> Any:
        if "/manifests/" in key and not found:
            found.append(key)
            assert str(compact(bucket)) == "1 compaction written"
        return put(client, key, *rest, **options)

    before = everything(bucket)
    monkeypatch.setattr(obstore, "put", overtaken)
    assert str(compact(bucket)) == "nothing to do"
    manifest = newest_manifest(open_location(bucket))
    assert manifest is not None
    assert compacted_files(bucket) == {f"{manifest.stem}.parquet"}
    assert everything(bucket) == before
    run(bucket, **account_here)
    assert rows(bucket, "select count(distinct run_id) from observations") == [(DAYS + 1,)]


def test_two_compactors_and_three_writers_at_once_lose_nothing(bucket):
    labels = ("one", "two", "three")
    before = everything(bucket)
    keys = {name: Key(name, living_account(images=4, seed=seed)) for seed, name in enumerate(labels)}
    with Endpoint(keys) as endpoint, ThreadPoolExecutor(5) as pool:

        def write(label: str) -> None:
            run(bucket, accounts=[key_account(label, label, label)], endpoint=endpoint.url)

        work = [pool.submit(write, label) for label in labels]
        work += [pool.submit(lambda: [compact(bucket) for _ in range(2)]) for _ in range(2)]
        for one in work:
            one.result()
    assert rows(bucket, "select account, count(*) from observations group by all order by all") == [
        ("here", DAYS),
        *(("one", 1), ("there", DAYS), ("three", 1), ("two", 1)),
    ]
    assert set(before["images"]) <= set(everything(bucket)["images"])
    assert check(bucket).findings == []


# ── withdrawal ───────────────────────────────────────────────────────────────


def in_tables(data: Any) -> dict[str, int]:
    """Rows of each account in the folder of `images`, as any other engine reads them."""
    paths = open_location(data).joinpath("lake", "images").rglob("observed_on=*/*.parquet")
    accounts = [pq.read_table(store_of(path).open(path), columns=["account"]).column(0).to_pylist() for path in paths]
    return dict(Counter(itertools.chain(*accounts)))


def by_views(data: Any) -> dict[str, int]:
    return dict(rows(data, "select account, count(*) from images group by account"))


def names(data: Any) -> list[str]:
    """The observations, the oldest first, as commands take them."""
    return [name for (name,) in rows(data, "select run_id || '/' || account from observations order by all")]


def test_what_is_withdrawn_leaves_the_tables_of_a_bucket_and_comes_back(bucket):
    before = everything(bucket)
    here, there = names(bucket)[:2]
    for observation, accounts in ((here, {"here": 20, "there": 24}), (there, {"here": 20, "there": 20})):
        withdraw(bucket, observation)
        assert in_tables(bucket) == by_views(bucket) == accounts
    assert check(bucket).findings == []
    compact(bucket)
    assert by_views(bucket) == {"here": 20, "there": 20}

    for observation in (there, here):
        restore(bucket, observation)
    assert in_tables(bucket) == by_views(bucket) == {"here": 24, "there": 24}
    assert everything(bucket) == before


def test_of_two_withdrawals_at_once_both_hold(bucket, monkeypatch):
    put, found = obstore.put, []
    first, second = names(bucket)[:2]

    def overtaken(client: Any, key: str, *rest: Any, **options: Any) -> Any:
        if "/_tombstones/" in key and not found:
            found.append(key)
            withdraw(bucket, second)
        return put(client, key, *rest, **options)

    monkeypatch.setattr(obstore, "put", overtaken)
    withdraw(bucket, first)
    assert in_tables(bucket) == by_views(bucket) == {"here": 20, "there": 20}
    assert check(bucket).findings == []


def test_a_withdrawal_at_any_moment_of_another_machine_s_prune_holds(bucket, monkeypatch):
    get, left, withdrawn, reads_left = obstore.get, names(bucket), [], [0]
    withdraw(bucket, left.pop())

    def overtaken(client: Any, key: str, *rest: Any, **options: Any) -> Any:
        found = get(client, key, *rest, **options)
        reads_left[0] -= "tombstones/" in key
        if "tombstones/" in key and reads_left[0] == 0:
            withdrawn.append(left.pop())
            withdraw(bucket, withdrawn[-1])
        return found

    monkeypatch.setattr(obstore, "get", overtaken)
    for moment in range(1, 9):
        reads_left[0] = moment
        prune(bucket)
        hidden = rows(bucket, "select run_id || '/' || account from observations where error like 'Withdrawn%'")
        assert set(withdrawn) <= {name for (name,) in hidden}
    assert len(withdrawn) == 8
    assert in_tables(bucket) == by_views(bucket)
    assert check(bucket).findings == []


def test_a_restore_while_a_withdrawal_moves_files_loses_none(bucket, monkeypatch):
    delete, found = obstore.delete, []
    observation = names(bucket)[0]

    def overtaken(client: Any, key: str) -> None:
        if "/images/" in key and not found:
            found.append(key)
            restore(bucket, observation)
        delete(client, key)

    before = everything(bucket)
    monkeypatch.setattr(obstore, "delete", overtaken)
    withdraw(bucket, observation)
    assert found
    assert in_tables(bucket) == by_views(bucket) == {"here": 24, "there": 24}
    assert everything(bucket) == before
    assert check(bucket).findings == []


def test_a_lake_copied_from_a_bucket_keeps_what_was_withdrawn_there(bucket, tmp_path):
    first, second = names(bucket)[:2]
    withdraw(bucket, first)
    for place in ("raw/_tombstones.json", "lake/tombstones.json"):  # an older version reads these, and must not succeed
        with pytest.raises(ValueError, match="malformed"):
            msgspec.json.decode(open_location(f"{bucket}/{place}").read_bytes())
    data = tmp_path / "data"
    lake = open_location(bucket)
    for path in lake.rglob("*"):
        copy = data / path.relative_to(lake)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    assert in_tables(data) == by_views(data) == {"here": 20, "there": 24}
    restore(data, first)
    withdraw(data, second)
    assert in_tables(data) == by_views(data) == {"here": 24, "there": 20}
    assert check(data).findings == []


# ── retention ────────────────────────────────────────────────────────────────


def test_retention_keeps_every_row_of_the_views_and_a_day_in_which_a_run_came_late(bucket, account_here):
    now = dt.datetime(2026, 10, 7)  # noqa: DTZ001
    lines = str(prune(bucket, raw_older_than="3d", daily_older_than="3d", grace="1d", at=now))
    assert "a run is not compacted whole" in lines
    compact(bucket, at=now)
    lines = str(prune(bucket, raw_older_than="3d", daily_older_than="3d", grace="1d", at=now))
    assert "3 days expired in the folders, 2026-10-01 to 2026-10-03" in lines
    assert in_days(bucket, "raw") == in_days(bucket, "lake/images") == [1, 2, 3, 4, 5, 6]
    run(bucket, **account_here, observed_at=dt.datetime(2026, 10, 2, 5))  # noqa: DTZ001
    before = everything(bucket)["images"]
    now += dt.timedelta(days=2)
    prune(bucket, at=now)
    assert in_days(bucket, "lake/images") == [2, 4, 5, 6]
    assert everything(bucket)["images"] == before
    compact(bucket, at=now)
    prune(bucket, at=now)

    assert in_days(bucket, "lake/images") == in_days(bucket, "lake/observations") == [4, 5, 6]
    assert in_days(bucket, "raw") == [2, 4, 5, 6]
    assert everything(bucket)["images"] == before
    assert check(bucket).findings == []
    assert rebuild(bucket) == []


def in_days(data: str, folder: str) -> list[int]:
    """The days of October in a folder."""
    return sorted({int(path.parent.name[-2:]) for path in (open_location(data) / folder).rglob("*.parquet")})


# ── orphans ──────────────────────────────────────────────────────────────────


def test_where_no_raw_pages_are_left_their_table_is_empty(bucket):
    compact(bucket)
    raw = [path for path in open_location(bucket).rglob("*.parquet") if "/raw/" in str(path)]
    store_of(open_location(bucket)).delete_files(raw)

    assert rows(bucket, "select count(*) from raw_pages") == [(0,)]
    assert rows(bucket, "select count(*) > 0 from images") == [(True,)]


def test_orphans_are_deleted_when_they_are_old_and_nothing_else_is(bucket, account_here, monkeypatch):
    lake = open_location(bucket)
    first, second = names(bucket)[:2]
    withdraw(bucket, first)
    withdraw(bucket, second)
    restore(bucket, first)
    before = everything(bucket)
    put = obstore.put

    def killed(client: Any, key: str, *rest: Any, **options: Any) -> Any:
        if "/lake/observations/" in key or "/manifests/" in key:
            raise GenericError("the machine is gone")
        return put(client, key, *rest, **options)

    monkeypatch.setattr(obstore, "put", killed)
    for work in (lambda: run(bucket, **account_here), lambda: compact(bucket)):
        with pytest.raises(Unreachable):
            work()
    monkeypatch.setattr(obstore, "put", put)
    compact(bucket)
    there = set(lake.rglob("*"))
    assert orphans(lake) == []  # they are young: their writers may be at work
    deleted = set(delete_orphans(lake, older_than=dt.timedelta(0)))

    assert set(lake.rglob("*")) == there - deleted
    kinds = Counter(path.relative_to(lake / "lake").parts[0] for path in deleted if path.is_relative_to(lake / "lake"))
    assert kinds == {
        **dict.fromkeys(("images", "image_disks", "rejects"), 1),  # of the run without a commit record
        **dict.fromkeys(("image_versions_open", "compacted_observations"), 1),
        ".withdrawn": 2 * 3,  # a replacement that the restore made useless, and the copy of the one that counts
        "tombstones": 2,
    }
    assert everything(bucket) == before
    assert [finding.location[:4] for finding in check(bucket).findings] == ["raw/"]  # landed: a rebuild publishes it
    assert len(rebuild(bucket)) == 1


# ── rebuilding ───────────────────────────────────────────────────────────────


def test_a_lake_is_built_anew_into_a_bucket_and_a_killed_rebuild_goes_on(bucket, folder, monkeypatch):
    into, put, before = f"{bucket}-new", obstore.put, rows(folder, "from images order by all")

    def killed(client: Any, key: str, *rest: Any, **options: Any) -> Any:
        if "/lake/observations/observed_on=2026-10-03/" in key:
            raise GenericError("the machine is gone")
        return put(client, key, *rest, **options)

    monkeypatch.setattr(obstore, "put", killed)
    with pytest.raises(Unreachable):
        rebuild(folder, into=into)
    assert rows(into, "select distinct observed_on from images order by all") == [
        (dt.date(2026, 10, 1),),
        (dt.date(2026, 10, 2),),
    ]
    monkeypatch.setattr(obstore, "put", put)
    assert len(rebuild(folder, into=into)) == DAYS - 2
    assert rows(into, "from images order by all") == before
    assert rebuild(folder, into=into) == []
    with pytest.raises(BadSetting, match="holds a lake already"):
        rebuild(bucket, into=bucket)
    min((folder / "raw").rglob("*.parquet")).unlink()
    with pytest.raises(BadSetting, match="holds a lake already"):
        rebuild(folder, into=into)


def test_a_damaged_compaction_begins_again_in_a_bucket(bucket):
    compact(bucket)
    before = everything(bucket)
    damaged = next((open_location(bucket) / "lake" / "image_versions_open").iterdir())
    damaged.store.delete(damaged)
    with pytest.raises(LakeDamaged, match="rebuild"):
        everything(bucket)
    rebuild(bucket)
    assert everything(bucket) == before
    assert newest_manifest(open_location(bucket)) is not None
    assert check(bucket).findings == []


def test_a_connection_of_before_a_withdrawal_ends_with_an_error_where_its_file_is_gone(bucket):
    with contextlib.closing(connect(bucket)) as lake:
        for name in names(bucket)[:2]:
            withdraw(bucket, name)
        with pytest.raises(LakeDamaged, match="connect again"), duckdb_message():
            lake.execute("from images").fetchall()
