"""NDJSON and Parquet: what readers of other projects get is what the query gave."""

from __future__ import annotations

import datetime as dt
import io
import json
from decimal import Decimal

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import HOSTILE, one, written

from pipeline.errors import BadSetting
from pipeline.reports.formats import unique_names, write_rows
from pipeline.reports.query import Rows, query
from pipeline.views.connection import connect

VALUES = """
select 'text' as words, 1234567 as whole, cast(-1.5 as double) as real, true as claim, cast(null as varchar) as nothing,
    timestamp '2017-12-08 12:10:03.5' as instant, timestamptz '2017-12-08 20:10:03+08' as zoned,
    date '2017-12-08' as day_utc, sum(9007199254740993) as large, cast(1.50 as decimal(9, 2)) as money,
    [1, null] as list, {'a': 'b', 'c': [timestamp '2017-12-08 12:10:03']} as pair, 'bytes'::blob as body, '' as empty
"""
ROW = {
    "words": "text",
    "whole": 1234567,
    "real": -1.5,
    "claim": True,
    "nothing": None,
    "instant": dt.datetime(2017, 12, 8, 12, 10, 3, 500_000),  # noqa: DTZ001  (UTC without a zone)
    "zoned": dt.datetime(2017, 12, 8, 12, 10, 3, tzinfo=dt.UTC),
    "day_utc": dt.date(2017, 12, 8),
    "large": Decimal(9007199254740993),
    "money": Decimal("1.50"),
    "list": [1, None],
    "pair": {"a": "b", "c": [dt.datetime(2017, 12, 8, 12, 10, 3)]},  # noqa: DTZ001  (UTC without a zone)
    "body": b"bytes",
    "empty": "",
}

ROWS = st.lists(st.tuples(st.none() | st.text(), st.integers(-(2**63), 2**63 - 1), st.datetimes()), max_size=5)


def parquet(rows: Rows) -> bytes:
    out = io.TextIOWrapper(io.BytesIO())
    write_rows(rows, "parquet", out)
    return out.buffer.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_every_reader_of_parquet_gets_every_kind_of_value(lake, tmp_path):
    content = parquet(query(connect(lake), VALUES))
    path = tmp_path / "x.parquet"
    path.write_bytes(content)

    assert pq.read_table(path).to_pylist() == [ROW]
    assert pl.read_parquet(path).to_dicts() == [ROW]
    read = duckdb.connect()
    read.execute("set timezone = 'UTC'")
    found = dict(zip(ROW, read.execute(f"from '{path}'").fetchall()[0], strict=True))
    assert found == ROW
    frame = pd.read_parquet(path)
    assert (frame["whole"][0], frame["large"][0], frame["zoned"][0]) == (1234567, ROW["large"], ROW["zoned"])
    assert frame["nothing"].isna().all()


def test_parquet_of_no_row_has_the_columns_with_their_types(lake):
    of_rows, of_none = (parquet(query(connect(lake), f"from ({VALUES}) {where}")) for where in ("", "where false"))
    assert pq.read_table(io.BytesIO(of_none)).num_rows == 0
    assert pq.read_schema(io.BytesIO(of_none)) == pq.read_schema(io.BytesIO(of_rows))


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("'6ba7b810-9dad-11d1-80b4-00c04fd430c8'::uuid", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
        ("interval 1 day", "1 day, 0:00:00"),
        ("['6ba7b810-9dad-11d1-80b4-00c04fd430c8'::uuid]", '["6ba7b810-9dad-11d1-80b4-00c04fd430c8"]'),
        ("'a'::enum('a', 'b')", "a"),
        ("'0101'::bit", "0101"),
        ("map {'a': 1}", [("a", 1)]),
        ("null", None),
        ("[]", []),
        ("18446744073709551615::ubigint", 18446744073709551615),
    ],
)
def test_a_type_that_parquet_lacks_is_text_and_every_other_one_itself(lake, sql, expected):
    content = parquet(query(connect(lake), f"select {sql} as value"))
    assert pq.read_table(io.BytesIO(content)).to_pylist() == [{"value": expected}]


def test_a_number_that_parquet_cannot_hold_is_named_with_its_column(lake):
    with pytest.raises(BadSetting, match=r"column 'huge' does not fit in Parquet as HUGEINT.*cast it to varchar"):
        parquet(query(connect(lake), "select 170141183460469231731687303715884105727::hugeint as huge"))


def test_columns_of_one_name_get_numbers_that_no_other_column_has(lake):
    assert unique_names(["a", "a_2", "a", "a"]) == ["a", "a_2", "a_3", "a_4"]
    sql = "select 1 as a, 2 as a_2, 3 as a"
    assert json.loads(written(query(connect(lake), sql), "ndjson")) == {"a": 1, "a_2": 2, "a_3": 3}
    assert pq.read_table(io.BytesIO(parquet(query(connect(lake), sql)))).to_pylist() == [{"a": 1, "a_2": 2, "a_3": 3}]


@given(
    st.lists(st.tuples(st.one_of(st.none(), st.text()), st.integers(-(2**63), 2**63 - 1), st.datetimes()), max_size=5)
)
def test_every_line_of_ndjson_is_one_object_and_comes_back_as_it_was(rows):
    text = written(Rows(("a", "b", "c"), ("VARCHAR", "BIGINT", "TIMESTAMP"), rows), "ndjson")
    lines = text.splitlines(keepends=True)
    assert all(line.endswith("}\n") for line in lines)
    expected = [{"a": a, "b": b, "c": f"{c.isoformat(timespec='microseconds')}Z"} for a, b, c in rows]
    assert [json.loads(line) for line in lines] == expected


@given(
    st.lists(st.tuples(st.one_of(st.none(), st.text()), st.integers(-(2**63), 2**63 - 1), st.datetimes()), max_size=5)
)
def test_every_row_of_parquet_comes_back_as_it_was(rows):
    content = parquet(Rows(("a", "b", "c"), ("VARCHAR", "BIGINT", "TIMESTAMP"), rows))
    assert [tuple(row.values()) for row in pq.read_table(io.BytesIO(content)).to_pylist()] == rows


def test_other_readers_of_ndjson_get_text_with_line_breaks_quotes_and_control_characters(tmp_path):
    text = f"数据 \"a\", 'b' \\ \r\n{HOSTILE}😀"
    path = tmp_path / "x.ndjson"
    path.write_text(written(one(text), "ndjson"), "utf-8", newline="")
    assert path.read_bytes().count(b"\n") == 1
    assert duckdb.sql(f"select value from read_ndjson('{path}')").fetchall() == [(text,)]  # noqa: S608
    assert pl.read_ndjson(path)["value"].to_list() == [text]
    assert pd.read_json(path, lines=True)["value"].tolist() == [text]


def test_other_readers_of_csv_get_text_with_line_breaks_quotes_and_commas(tmp_path):
    texts = ["数据 \"a\", b; 'c'", "a\nb", "a\r\nb", "😀", "x"]
    path = tmp_path / "x.csv"
    rows = Rows(("text", "whole"), ("VARCHAR", "BIGINT"), [*((text, -(2**63)) for text in texts), (None, None)])
    path.write_text(written(rows, "csv"), "utf-8", newline="")
    whole = [-(2**63)] * len(texts) + [None]
    assert duckdb.sql(f"select text, whole from read_csv('{path}')").fetchall() == [  # noqa: S608
        *zip([*texts, None], whole, strict=True)
    ]
    frame = pl.read_csv(path)
    assert (frame["text"].to_list(), frame["whole"].to_list()) == ([*texts, None], whole)
    read = pd.read_csv(path, dtype={"whole": "Int64"})
    assert (read["text"].tolist()[:-1], read["whole"].tolist()[:-1]) == (texts, whole[:-1])
    assert read.isna().sum().tolist() == [1, 1]


@pytest.mark.parametrize("output_format", ["csv", "json", "ndjson", "parquet"])
def test_the_first_bytes_leave_before_the_last_row_is_read(output_format):
    below = io.BytesIO()
    out = io.TextIOWrapper(below, encoding="utf-8")
    written_before_the_last_row = 0

    def rows():
        nonlocal written_before_the_last_row
        for number in range(200_000):
            yield (number,)
        written_before_the_last_row = below.tell()

    write_rows(Rows(("number",), ("BIGINT",), rows()), output_format, out)
    assert written_before_the_last_row > 50_000
    if output_format == "parquet":
        file = pq.ParquetFile(below)
        assert file.metadata.num_row_groups == 2
        assert file.read()["number"] == pa.chunked_array([range(200_000)])
