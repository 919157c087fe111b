"""The answers of a run on disk, as received."""

import datetime as dt

import duckdb
import pyarrow.parquet as pq
import pytest
from conftest import page
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import LakeDamaged, LakeTooNew
from pipeline.extract.raw_pages import RawPagesWriter, RawRun, raw_paths
from pipeline.extract.response import Answer

DAY = dt.date(2026, 11, 23)
RUN = "20261123T020000.000000Z"
AT = dt.datetime(2026, 11, 23, 2)  # noqa: DTZ001  (UTC without a zone, as everywhere)


def answer(number: int, status: int | None = 200) -> Answer:
    return Answer("default", 1, number, 1, f"R{number}", status, AT, AT, 0.0, None, None, None, None)


def land(data, *bodies: bytes | None):
    with RawPagesWriter(data, RUN, DAY) as writer:
        for number, body in enumerate(bodies, 1):
            writer.add(answer(number), body)
        return writer.finish({"run_id": RUN}).path


def test_bodies_are_read_back_byte_for_byte(tmp_path):
    bodies = [page([{"ImageId": "a"}]), None, b"", b"\x00\xff<html>"]
    path = land(tmp_path, *bodies)

    assert [body for _, body in RawRun(path).answers()] == bodies
    assert raw_paths(tmp_path) == [path] == [tmp_path / "raw" / "observed_on=2026-11-23" / f"{RUN}.parquet"]


def test_any_parquet_reader_reads_the_pages(tmp_path):
    land(tmp_path, page([{"ImageId": "a"}]))
    found = duckdb.sql(f"select decode(body)::json->>'$.Images.Image[0].ImageId' from '{tmp_path}/raw/*/*.parquet'")  # noqa: S608  (a path of the test's own)

    assert found.fetchall() == [("a",)]
    assert pq.read_table(tmp_path / "raw").column("observed_on").to_pylist() == ["2026-11-23"]


def test_an_unfinished_file_is_deleted(tmp_path):
    with RawPagesWriter(tmp_path, RUN, DAY) as writer:
        writer.add(answer(1), b"{}")

    assert raw_paths(tmp_path) == []
    assert list(tmp_path.rglob("*.parquet")) == []


def test_the_header_is_read_back(tmp_path):
    with RawPagesWriter(tmp_path, RUN, DAY) as writer:
        path = writer.finish({"run_id": RUN, "accounts": [{"account": "名字"}]}).path

    assert RawRun(path).header == {"reading_version": 2, "run_id": RUN, "accounts": [{"account": "名字"}]}


def test_pages_of_a_newer_reading_are_refused_with_what_to_do(tmp_path):
    newer = {"run_id": RUN, "reading_version": 3, "accounts": []}
    with (
        RawPagesWriter(tmp_path, RUN, DAY) as writer,
        pytest.raises(LakeTooNew, match=r"reading version 3.* knows 2 at most: pip install --upgrade"),
    ):
        writer.finish(newer)


@pytest.fixture(scope="module")
def thirty_large(tmp_path_factory):
    """The file of thirty bodies, too many for one row group."""
    return land(tmp_path_factory.mktemp("data"), *(b"%d" % number * 400_000 for number in range(30)))


@given(rows=st.lists(st.integers(0, 29), max_size=40))
def test_bodies_are_read_in_the_requested_order(thirty_large, rows):
    assert list(RawRun(thirty_large).bodies(rows)) == [b"%d" % row * 400_000 for row in rows]


@pytest.mark.parametrize("content", [b"", b"PAR1 and then nothing", None])
def test_a_file_that_is_not_raw_pages_is_named(tmp_path, content):
    path = land(tmp_path, b"{}")
    if content is None:
        pq.write_table(pq.read_table(path), path)
    else:
        path.write_bytes(content)

    with pytest.raises(LakeDamaged, match=f"{path} is not a file of raw pages"):
        RawRun(path)
