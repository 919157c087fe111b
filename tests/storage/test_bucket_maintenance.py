"""A lake in a bucket is maintained as one in a folder, by any number of machines at once."""

from __future__ import annotations

import contextlib
import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import obstore
from obstore.exceptions import PermissionDeniedError

from pipeline import connect, run
from pipeline.credentials import key_account
from pipeline.emulator import Endpoint, Key, living_account
from pipeline.jobs.compaction import compact
from pipeline.lake.check import check
from pipeline.lake.compaction.manifest import newest_manifest
from pipeline.storage.store import open_location

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
    checked = check(bucket, deep=True)
    assert (checked.findings, checked.orphan_count) == ([], 0)
    assert str(compact(bucket)) == "nothing to do"


def test_a_run_compacts_a_bucket_when_that_is_due(bucket, account_here):
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


def test_a_compaction_needs_no_right_to_delete(bucket, account_here, monkeypatch):
    def refused(*_: Any) -> None:
        raise PermissionDeniedError("403 Forbidden")

    compact(bucket, grace="0s")
    run(bucket, **account_here)
    monkeypatch.setattr(obstore, "delete", refused)
    compact(bucket)
    for _ in range(2):
        result = run(bucket, **account_here)
    monkeypatch.undo()
    assert result.compaction_error is None


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
