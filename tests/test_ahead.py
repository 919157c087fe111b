"""What is flattened while the pages come is what is flattened when they are published."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from pipeline import ahead as room
from pipeline.ahead import PAGES_AT_ONCE, Ahead
from pipeline.flow import rebuild, run
from pipeline.landing import RawRun, landed
from pipeline.publish import read_answers

if TYPE_CHECKING:
    from pathlib import Path

ON = dt.datetime.fromisoformat("2026-10-01T02:00:00")
IMAGES = 50 * PAGES_AT_ONCE * 2 + 170


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

    monkeypatch.undo()
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


def test_what_waits_is_bounded(serve, account, tmp_path, made, monkeypatch):
    monkeypatch.setattr(room, "IMAGES_AHEAD", 50 * PAGES_AT_ONCE)
    endpoint = serve(images=IMAGES)
    run(tmp_path, accounts=[account], endpoint=endpoint.url, rate=None, certificate="counted", observed_at=ON)
    raw = RawRun(landed(tmp_path)[0])
    made.clear()
    with Ahead(lambda _account, _pass: True, at=ON) as ahead:
        answers = read_answers(raw, ahead)
        ((name, mine),) = answers.items()
        flats = list(ahead.flat(raw, name, ON, sorted(mine, key=lambda one: one[1].page_number), is_distinct=True))

    assert sum(len(flat.images) for flat in flats) == IMAGES
    assert len(made) == 3


def test_pages_for_which_there_is_no_room_are_not_held(serve, account, tmp_path, monkeypatch):
    waiting: list[int] = []

    class Watched(Ahead):
        def take(self, *answer):
            super().take(*answer)
            waiting.append(sum(len(reading.pages) for reading in self._readings.values()))

    monkeypatch.setattr(room, "IMAGES_AHEAD", 1)
    monkeypatch.setattr("pipeline.flow.Ahead", Watched)
    run(tmp_path, accounts=[account], endpoint=serve(images=IMAGES).url, rate=None, certificate="counted")
    assert max(waiting) <= PAGES_AT_ONCE + 8  # as many as fill a batch, beside those that eight workers bring
    assert waiting[-1] == 0


def test_an_answer_that_was_asked_for_again_is_not_taken_from_ahead(serve, account, tmp_path):
    endpoint = serve(images=IMAGES, faults=["short:page=70,times=1"])
    run(tmp_path, accounts=[account], endpoint=endpoint.url, rate=None, certificate="counted", observed_at=ON)
    raw = RawRun(landed(tmp_path)[0])
    with Ahead(lambda _account, _pass: True, at=ON) as ahead, Ahead() as none:
        answers = read_answers(raw, ahead)
        ((name, mine),) = answers.items()
        believed = [pair for _, pair in sorted({one.page_number: (place, one) for place, one in mine}.items())]
        for one, other in zip(
            ahead.flat(raw, name, ON, believed, is_distinct=True),
            none.flat(raw, name, ON, believed, is_distinct=True),
            strict=True,
        ):
            assert one.images.equals(other.images)
            assert one.image_disks.equals(other.image_disks)
