"""A run that writes its first account while the pages come has the tables of one that does not."""

from __future__ import annotations

import datetime as dt
import threading
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from pipeline.credentials import key_account
from pipeline.errors import IncompleteListing
from pipeline.extract.raw_pages import RawRun, raw_paths
from pipeline.jobs.rebuild import rebuild
from pipeline.jobs.run import run
from pipeline.lake import flatten_pool, prefetch
from pipeline.lake.check import check
from pipeline.lake.commit import Publication
from pipeline.lake.prefetch import Prefetch
from pipeline.lake.publish import publish, read_answers

if TYPE_CHECKING:
    from pathlib import Path

ON = dt.datetime.fromisoformat("2026-10-01T02:00:00")
BATCH_PAGES = 16
IMAGES = 50 * BATCH_PAGES * 2 + 170


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch):
    for module in (flatten_pool, prefetch):
        monkeypatch.setattr(module, "BATCH_PAGES", BATCH_PAGES)


@pytest.fixture
def prefetched(monkeypatch) -> list[int]:
    """Rows that are prefetched: added in a thread of their own, where publishing adds in the main one."""
    rows: list[int] = []
    add = Publication.add

    def counting(publication, table, more):
        if threading.current_thread() is not threading.main_thread():
            rows.append(len(more))
        add(publication, table, more)

    monkeypatch.setattr(Publication, "add", counting)
    return rows


def tables(data: Path) -> dict[str, bytes]:
    """The files of images, disks and rejects, byte for byte."""
    names = ("images", "image_disks", "rejects")
    paths = [path for name in names for path in sorted((data / "lake" / name).rglob("*.parquet"))]
    assert len(paths) == 3
    return {str(path.relative_to(data)): path.read_bytes() for path in paths}


def published_afterwards(data: Path) -> dict[str, bytes]:
    """The tables as the raw pages give them without prefetching."""
    raw = RawRun(raw_paths(data)[0])
    publish(data / "afterwards", raw, read_answers(raw))
    return tables(data / "afterwards")


def account_at(label, endpoint):
    """An account of that endpoint."""
    account = key_account(label, "emulator", "emulator")
    account.endpoint = endpoint.url
    return account


@pytest.mark.parametrize("certificate", ["counted", "verified"])
def test_a_run_and_a_rebuild_have_the_tables_that_publishing_alone_writes(
    serve, account, tmp_path, prefetched, certificate
):
    options = {"accounts": [account], "endpoint": serve(images=IMAGES).url, "rate": None, "certificate": certificate}
    run(tmp_path, observed_at=ON, **options)
    assert sum(prefetched) >= 50 * BATCH_PAGES * 2

    rebuild(tmp_path, into=tmp_path / "again")
    assert tables(tmp_path) == tables(tmp_path / "again") == published_afterwards(tmp_path)


@pytest.mark.parametrize(
    "fault",
    [
        "deletions:page=3,times=1",
        "deletions:page=30,after=1,times=1",  # the second pass proves nothing either
        "short:page=20,times=1",  # asked for again
    ],
)
def test_only_the_answers_that_are_believed_in_the_end_are_published(serve, account, tmp_path, fault):
    endpoint = serve(images=IMAGES, faults=[fault])
    (observation,) = run(tmp_path, accounts=[account], endpoint=endpoint.url, rate=None, observed_at=ON).observations
    assert observation["certificate"] == "verified"
    assert observation["call_count"] > 2 * IMAGES // 50

    rebuild(tmp_path, into=tmp_path / "again")
    assert tables(tmp_path) == tables(tmp_path / "again") == published_afterwards(tmp_path)
    assert check(tmp_path, deep=True).findings == []


def test_a_first_account_that_is_not_published_leaves_no_row(serve, tmp_path, prefetched):
    doubled = serve(images=IMAGES, faults=["double:page=34"])
    two = [account_at("first", doubled), account_at("second", serve(images=10))]
    with pytest.raises(IncompleteListing):
        run(tmp_path, accounts=two, rate=None, certificate="counted")

    assert sum(prefetched) > 10
    assert tables(tmp_path) == published_afterwards(tmp_path)
    assert check(tmp_path, deep=True).findings == []


def test_a_failed_prefetch_is_no_failure_of_the_run(serve, account, tmp_path, monkeypatch):
    add = Publication.add
    failed: list[str] = []

    def failing(publication, table, rows):
        if not failed and table.name == "image_disks":
            failed.append(table.name)
            raise OSError(28, "No space left on device")
        add(publication, table, rows)

    monkeypatch.setattr(Publication, "add", failing)
    run(tmp_path, accounts=[account], endpoint=serve(images=IMAGES).url, rate=None, certificate="counted")

    assert failed
    assert tables(tmp_path) == published_afterwards(tmp_path)
    assert check(tmp_path, deep=True).findings == []


def test_few_pages_are_held_where_one_before_them_is_late(serve, account, tmp_path, monkeypatch):
    monkeypatch.setattr(prefetch, "WAITING_PAGES", 10)
    run(tmp_path, accounts=[account], endpoint=serve(images=IMAGES).url, rate=None, certificate="counted", workers=1)
    raw = RawRun(raw_paths(tmp_path)[0])
    ((name, answers),) = read_answers(raw).items()
    size = len(next(raw.bodies([0])))
    publication = Publication(tmp_path / "other", raw.header["run_id"], raw.observed_on)
    tracemalloc.start()
    try:
        with Prefetch(publication, name, lambda _: True, observed_at_utc=ON) as prefetching:
            for place, answer in answers:
                if answer.page_number != 2:
                    (body,) = raw.bodies([place])
                    prefetching.take(place, answer, bytes(bytearray(body)))
            assert tracemalloc.get_traced_memory()[0] < 15 * size
    finally:
        tracemalloc.stop()
