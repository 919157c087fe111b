"""Pages are flattened in batches with bounded memory, and each row group is read once for many accounts."""

from __future__ import annotations

import datetime as dt

import pyarrow.parquet as pq
import pytest

from pipeline.credentials import key_account
from pipeline.emulator import Endpoint, Key, living_account
from pipeline.emulator.accounts import FileAccount
from pipeline.extract.raw_pages import RawRun, raw_paths
from pipeline.jobs.rebuild import rebuild
from pipeline.jobs.run import run
from pipeline.lake import flatten_pool
from pipeline.lake.flatten_pool import THREADS, FlattenPool, batches_of, group_accounts
from pipeline.lake.publish import read_answers

ON = dt.datetime.fromisoformat("2026-10-01T02:00:00")
BATCH_PAGES = 4


class CountingRun(RawRun):
    """Counts the pages that were asked for."""

    page_count = 0

    def bodies(self, rows):
        rows = list(rows)
        self.page_count += len(rows)
        return super().bodies(rows)


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch):
    monkeypatch.setattr(flatten_pool, "BATCH_PAGES", BATCH_PAGES)


@pytest.mark.parametrize("is_distinct", [True, False])
def test_a_reader_that_waits_leaves_most_pages_in_the_file(serve, account, tmp_path, is_distinct):
    count = 50 * BATCH_PAGES * (THREADS + 8)
    run(tmp_path, accounts=[account], endpoint=serve(images=count).url, rate=None, certificate="counted", workers=1)
    raw = CountingRun(raw_paths(tmp_path)[0])
    (((name, _), answers),) = read_answers(raw).items()
    batches = batches_of([place for place, _ in answers])
    with FlattenPool() as pool:
        flats = pool.flatten(raw, name, ON, batches, seen=None if is_distinct else set())
        first = next(flats)
        assert raw.page_count <= BATCH_PAGES * (THREADS + 1)
        rest = list(flats)

    images = [image_id for flat in (first, *rest) for image_id in flat.items.column("image_id").to_pylist()]
    assert images == [image_id for _, answer in answers for image_id in answer.page.ids]
    assert len(images) == count


def test_an_account_without_pages_has_one_empty_batch():
    assert batches_of([]) == [()]


def test_accounts_are_read_in_groups_of_limited_size(monkeypatch):
    monkeypatch.setattr(flatten_pool, "GROUP_PAGES", 7)
    pages = {"a": [1, 2, 3], "b": [4], "large": list(range(10, 20)), "c": [5, 6, 7], "d": [8, 9], "empty": []}

    assert group_accounts(pages) == {"a": [1, 2, 3, 4, 5, 6, 7], "d": [8, 9]}


def test_a_row_group_is_read_once_for_all_accounts_of_a_group(tmp_path, monkeypatch):
    groups: list[int] = []
    read = pq.ParquetFile.read_row_group

    def counting(file, number, **options):
        groups.append(number)
        return read(file, number, **options)

    images = living_account(images=3_000).images_on(0)
    keys = {f"key {number}": Key("emulator", FileAccount(images, number=number)) for number in range(1, 9)}
    accounts = [key_account(key, key, "emulator") for key in keys]
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counting)
    with Endpoint(keys) as endpoint:
        run(tmp_path, accounts=accounts, endpoint=endpoint.url, rate=None, certificate="counted")
    (path,) = raw_paths(tmp_path)
    every = list(range(pq.ParquetFile(path).num_row_groups))
    assert len(every) > 1
    assert sorted(groups) == every

    groups.clear()
    rebuild(tmp_path, into=tmp_path / "again")
    assert sorted(groups) == sorted(every * 2)  # the answers first, then the pages
