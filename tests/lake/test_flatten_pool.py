"""What is flattened while the pages come is what is flattened when they are published."""

from __future__ import annotations

import datetime as dt
from contextlib import closing
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from pipeline import connect
from pipeline.credentials import key_account
from pipeline.errors import IncompleteListing
from pipeline.extract.raw_pages import RawRun, raw_paths
from pipeline.jobs.rebuild import rebuild
from pipeline.jobs.run import run
from pipeline.lake import flatten_pool as room
from pipeline.lake.check import check
from pipeline.lake.commit import Publication
from pipeline.lake.flatten_pool import FlattenPool
from pipeline.lake.publish import publish, read_answers

if TYPE_CHECKING:
    from pathlib import Path

ON = dt.datetime.fromisoformat("2026-10-01T02:00:00")
PAGES_AT_ONCE = 16
IMAGES = 50 * PAGES_AT_ONCE * 2 + 170


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch):
    monkeypatch.setattr(room, "PAGES_AT_ONCE", PAGES_AT_ONCE)


def the_tables(data: Path) -> dict[str, bytes]:
    return {str(path.relative_to(data)): path.read_bytes() for path in sorted((data / "lake").rglob("*.parquet"))}


@pytest.fixture
def made(monkeypatch) -> list[int]:
    """How many pages were flattened, a number a batch, in the order in which that began."""
    batches: list[int] = []

    def counting(bodies, *rest, **more):
        batches.append(len(bodies))
        return flatten(bodies, *rest, **more)

    flatten = room.flatten
    monkeypatch.setattr(room, "flatten", counting)
    return batches


@pytest.mark.parametrize("certificate", ["counted", "verified"])
def test_a_run_that_flattens_ahead_gives_the_tables_of_one_that_does_not(
    serve, account, tmp_path, made, monkeypatch, certificate
):
    endpoint = serve(images=IMAGES)
    options = {"accounts": [account], "endpoint": endpoint.url, "rate": None, "certificate": certificate}
    run(tmp_path / "ahead", observed_at=ON, **options)
    assert sorted(made) == [4, PAGES_AT_ONCE, PAGES_AT_ONCE]  # each page once, of two passes one

    monkeypatch.setattr(room, "IMAGES_AHEAD", 0)
    run(tmp_path / "after", observed_at=ON, **options)
    tables = the_tables(tmp_path / "ahead")
    later = the_tables(tmp_path / "after")
    of_rows = [name for name in tables if "observations" not in name]
    assert len(of_rows) == 3
    assert [name for name in of_rows if tables[name] != later[name]] == []

    monkeypatch.setattr(room, "IMAGES_AHEAD", 1_000)
    rebuild(tmp_path / "ahead", into=tmp_path / "again")
    again = the_tables(tmp_path / "again")
    assert [name for name in of_rows if tables[name] != again[name]] == []


def test_of_an_account_that_is_read_again_only_the_last_pass_counts(serve, account, tmp_path):
    endpoint = serve(images=IMAGES, faults=["deletions:page=3,times=1"])
    options = {"accounts": [account], "endpoint": endpoint.url, "rate": None}
    told = run(tmp_path, observed_at=ON, **options).observations[0]
    assert told["certificate"] == "verified"
    assert told["pass_count"] > 2

    rebuild(tmp_path, into=tmp_path / "again")
    assert the_tables(tmp_path).items() >= the_tables(tmp_path / "again").items()


def account_at(label, endpoint):
    """An account of that endpoint."""
    one = key_account(label, "emulator", "emulator")
    one.endpoint = endpoint.url
    return one


def flats(ahead, raw, name, answers) -> list:
    """What publishing would write of these answers."""
    written = []

    class Kept:
        def add(self, _table, rows):
            written.append(rows)

    ahead.write(Kept(), raw, name, ON, answers, is_distinct=True)
    return written


def believed(answers) -> tuple[str, list]:
    """The account, and the last answer to each of its pages."""
    ((name, mine),) = answers.items()
    return name, [pair for _, pair in sorted({one.page_number: (place, one) for place, one in mine}.items())]


def test_what_waits_is_bounded(serve, account, tmp_path, made, monkeypatch):
    monkeypatch.setattr(room, "IMAGES_AHEAD", 50 * PAGES_AT_ONCE)
    endpoint = serve(images=IMAGES)
    run(tmp_path, accounts=[account], endpoint=endpoint.url, rate=None, certificate="counted", observed_at=ON)
    raw = RawRun(raw_paths(tmp_path)[0])
    made.clear()
    with FlattenPool(lambda _account, _pass: True, at=ON) as ahead:
        name, answers = believed(read_answers(raw, ahead))
        images = flats(ahead, raw, name, answers)[::3]

    assert sum(map(len, images)) == IMAGES
    assert len(made) == 3


@pytest.fixture
def waiting(monkeypatch) -> list[int]:
    """How many pages of all accounts wait for their batch, a number an answer."""
    counts: list[int] = []

    class Watched(FlattenPool):
        def take(self, *answer):
            super().take(*answer)
            counts.append(sum(len(reading.pages) for reading in self._readings.values()))

    monkeypatch.setattr("pipeline.jobs.run.FlattenPool", Watched)
    return counts


def test_pages_for_which_there_is_no_room_are_not_held(serve, tmp_path, monkeypatch, waiting):
    monkeypatch.setattr(room, "IMAGES_AHEAD", 1)
    two = [account_at("first", serve(images=10)), account_at("second", serve(images=IMAGES))]
    run(tmp_path, accounts=two, rate=None, certificate="counted")
    assert max(waiting) <= PAGES_AT_ONCE + 8 + 1  # as many as fill a batch, beside those that eight workers bring
    assert waiting[-1] <= 1


def test_pages_that_can_fill_no_batch_are_not_held(serve, tmp_path, waiting):
    endpoint = serve(images=50 * (PAGES_AT_ONCE - 1))
    run(tmp_path, accounts=[account_at("first", endpoint), account_at("second", endpoint)], rate=None)
    assert set(waiting) == {0}


def test_however_many_accounts_are_read_side_by_side_no_more_pages_wait(serve, tmp_path, monkeypatch, waiting):
    monkeypatch.setattr(room, "IMAGES_AHEAD", 50 * 20)
    endpoint = serve(images=50 * PAGES_AT_ONCE)
    accounts = [account_at(f"account {number}", endpoint) for number in range(6)]
    run(tmp_path, accounts=accounts, rate=None, certificate="counted")
    assert PAGES_AT_ONCE < max(waiting) <= 20 + PAGES_AT_ONCE
    assert check(tmp_path, deep=True).findings == []


def test_an_answer_that_was_asked_for_again_is_not_taken_from_ahead(serve, account, tmp_path):
    endpoint = serve(images=IMAGES, faults=["short:page=20,times=1"])
    run(tmp_path, accounts=[account], endpoint=endpoint.url, rate=None, certificate="counted", observed_at=ON)
    raw = RawRun(raw_paths(tmp_path)[0])
    with FlattenPool(lambda _account, _pass: True, at=ON) as ahead, FlattenPool() as none:
        name, answers = believed(read_answers(raw, ahead))
        for one, other in zip(flats(ahead, raw, name, answers), flats(none, raw, name, answers), strict=True):
            assert one.equals(other)


def test_each_page_is_read_back_once_at_most_and_each_row_is_written_once(serve, account, tmp_path, monkeypatch):
    groups: list[int] = []
    rows: list[int] = []
    read, add = RawRun._group, Publication.add  # noqa: SLF001  (what is counted)

    def reading(raw, number, *columns):
        groups.append(number)
        return read(raw, number, *columns)

    def adding(publication, table, more):
        rows.append(len(more))
        add(publication, table, more)

    monkeypatch.setattr("pipeline.extract.raw_pages._GROUP_BYTES", 100_000)
    monkeypatch.setattr(RawRun, "_group", reading)
    monkeypatch.setattr(Publication, "add", adding)
    endpoint = serve(images=IMAGES)
    (told,) = run(tmp_path, accounts=[account], endpoint=endpoint.url, rate=None, workers=1).observations
    of_a_run = told["image_count"] + told["disk_count"] + told["reject_count"] + 1
    assert sum(rows) == of_a_run
    assert len(groups) <= 2  # those of the last pages, which fill no batch

    rows.clear()
    rebuild(tmp_path, into=tmp_path / "again")
    assert sum(rows) == of_a_run
    count = pq.ParquetFile(raw_paths(tmp_path)[0]).num_row_groups
    assert count > 10
    assert len(groups) <= count + 2 * 2


def test_a_row_group_is_read_once_for_all_small_accounts(serve, tmp_path, monkeypatch):
    groups: list[int] = []
    read = RawRun._group  # noqa: SLF001  (what is counted)

    def reading(raw, number, *columns):
        groups.append(number)
        return read(raw, number, *columns)

    monkeypatch.setattr("pipeline.extract.raw_pages._GROUP_BYTES", 50_000)
    monkeypatch.setattr(RawRun, "_group", reading)
    endpoint = serve(images=240)
    accounts = [account_at(f"account {number}", endpoint) for number in range(8)]
    run(tmp_path, accounts=accounts, rate=None, certificate="counted")
    count = pq.ParquetFile(raw_paths(tmp_path)[0]).num_row_groups
    assert count > 8
    assert len(groups) == count

    groups.clear()
    monkeypatch.setattr(room, "PAGES_AT_HAND", 20)
    rebuild(tmp_path, into=tmp_path / "again")
    assert len(groups) <= 3 * count  # to read the answers, and for half of the accounts each
    assert check(tmp_path, deep=True).findings == []
    again = the_tables(tmp_path / "again")
    assert [
        name for name, said in the_tables(tmp_path).items() if "observations" not in name and said != again[name]
    ] == []


# ── written ahead ────────────────────────────────────────────────────────────


@pytest.fixture
def begun_again(monkeypatch) -> list[int]:
    """A number for each time that files were begun again."""
    times: list[int] = []

    def counting(publication):
        times.append(1)
        begin_again(publication)

    begin_again = Publication.begin_again
    monkeypatch.setattr(Publication, "begin_again", counting)
    return times


def test_a_first_account_is_written_while_it_is_read_however_little_may_wait(
    serve, account, tmp_path, made, monkeypatch, begun_again
):
    monkeypatch.setattr(room, "IMAGES_AHEAD", 1)
    at_once: list[int] = []

    def published(*said, **more):
        at_once.append(sum(made))
        return publish(*said, **more)

    monkeypatch.setattr("pipeline.jobs.run.publish", published)
    run(tmp_path, accounts=[account], endpoint=serve(images=IMAGES).url, rate=None, certificate="counted")
    assert at_once == [2 * PAGES_AT_ONCE]
    assert sum(made) == 2 * PAGES_AT_ONCE + 4
    assert begun_again == []


def test_what_was_written_of_a_pass_that_proved_nothing_is_taken_back(serve, account, tmp_path, begun_again):
    endpoint = serve(images=IMAGES, faults=["deletions:page=30,after=1,times=1"])
    told = run(tmp_path, accounts=[account], endpoint=endpoint.url, rate=None, observed_at=ON).observations[0]
    assert told["certificate"] == "verified"
    assert begun_again
    with closing(connect(tmp_path)) as lake:
        assert lake.execute("select count(*) from images").fetchall() == [(told["image_count"],)]
    assert check(tmp_path, deep=True).findings == []


def test_a_first_account_that_is_not_published_leaves_no_row(serve, tmp_path, begun_again):
    doubled = serve(images=IMAGES, faults=["double:page=34"])
    two = [account_at("first", doubled), account_at("second", serve(images=10))]
    with pytest.raises(IncompleteListing):
        run(tmp_path, accounts=two, rate=None, certificate="counted")
    with closing(connect(tmp_path)) as lake:
        assert lake.execute("select distinct account from images").fetchall() == [("second",)]
    assert begun_again
    assert check(tmp_path, deep=True).findings == []


def test_what_fails_while_it_is_written_ahead_is_written_again(serve, account, tmp_path, monkeypatch, begun_again):
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
    assert begun_again
    assert check(tmp_path, deep=True).findings == []
