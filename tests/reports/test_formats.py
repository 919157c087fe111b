"""Any result in any format: it comes back as it was, and nothing in it is obeyed."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import os
import re
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from reading import HOSTILE, Terminal, golden, one, written

from pipeline.reports import formats
from pipeline.reports.formats import write_rows
from pipeline.reports.query import Rows, query
from pipeline.views.connection import connect

VALUES = """
select 'text' as words, 1234567 as whole, cast(-1234567.5 as double) as real, true as claim,
    cast(null as varchar) as nothing,
    timestamp '2017-12-08 12:10:03' as instant, timestamp '2017-12-08 12:10:03.5' as finer,
    date '2017-12-08' as day_utc,
    sum(9007199254740993) as large, cast(1.50 as decimal(9, 2)) as money, [1, 2] as list, {'a': 'b'} as pair,
    'bytes'::blob as body, '' as empty
"""


@pytest.mark.parametrize("output_format", ["table", "csv", "json", "markdown", "ndjson"])
def test_every_kind_of_value_in_every_format(lake, output_format):
    found = written(query(connect(lake), VALUES), output_format)
    golden(f"values.{'txt' if output_format == 'table' else output_format}", found)


def test_json_keeps_integers_whole(lake):
    (row,) = json.loads(written(query(connect(lake), VALUES), "json"))
    assert row["large"] == 9007199254740993
    assert isinstance(row["whole"], int)


INSTANTS = """
set timezone = 'Asia/Shanghai';
select timestamp '2017-12-08 12:10:03' as naive, timestamptz '2017-12-08 12:10:03.5+00' as zoned,
    [timestamp '2017-12-08 12:10:03'] as listed, {'at': timestamptz '2017-12-08 20:10:03+08'} as nested
"""


@pytest.mark.parametrize(
    ("output_format", "expected"),
    [
        (
            "json",
            (
                '"naive": "2017-12-08T12:10:03.000000Z", "zoned": "2017-12-08T12:10:03.500000Z", '
                '"listed": ["2017-12-08T12:10:03.000000Z"], "nested": {"at": "2017-12-08T12:10:03.000000Z"}'
            ),
        ),
        (
            "csv",
            (
                "2017-12-08 12:10:03.000000,2017-12-08 12:10:03.500000,"
                '"[""2017-12-08T12:10:03.000000Z""]","{""at"": ""2017-12-08T12:10:03.000000Z""}"'
            ),
        ),
    ],
)
def test_an_instant_is_utc_with_six_digits_of_a_second_whatever_the_zone_of_the_session(lake, output_format, expected):
    assert expected in written(query(connect(lake), INSTANTS, only_reads=False), output_format)


def test_other_programs_read_the_instants_of_json_as_the_same_instants(lake):
    found = written(query(connect(lake), "select timestamp '2026-10-30 02:00:00' as observed_at_utc"), "json")
    seconds = 1793325600  # date -u -d 2026-10-30T02:00:00Z +%s
    (read,) = pd.to_datetime(pd.read_json(io.StringIO(found), dtype=False)["observed_at_utc"])
    assert read == pd.Timestamp(seconds, unit="s", tz="UTC")
    (value,) = (row["observed_at_utc"] for row in json.loads(found))
    for command in (
        ["jq", "-n", "--arg", "at", value, '$at | sub("[.][0-9]+Z"; "Z") | fromdateiso8601'],
        ["node", "-e", "console.log(Date.parse(process.argv[1]) / 1000)", value],
        ["date", "-d", value, "+%s"],
    ):
        if shutil.which(command[0]):
            done = subprocess.run(
                command, env={**os.environ, "TZ": "Asia/Shanghai"}, capture_output=True, text=True, check=True
            )
            assert int(done.stdout) == seconds, command


def test_readers_of_csv_infer_one_type_for_instants_with_and_without_a_fraction(tmp_path):
    instants = [(dt.datetime(2026, 10, 30, 2, 0, 0, fraction),) for fraction in (0, 500_000, 1)]  # noqa: DTZ001  (UTC without a zone)
    text = written(Rows(("seen",), ("TIMESTAMP",), instants), "csv")
    (tmp_path / "a.csv").write_text(text, newline="")
    expected = [at for (at,) in instants]

    assert pd.read_csv(io.StringIO(text), parse_dates=["seen"])["seen"].dt.to_pydatetime().tolist() == expected
    assert pl.read_csv(io.StringIO(text), try_parse_dates=True)["seen"].to_list() == expected
    assert duckdb.sql(f"select seen from '{tmp_path / 'a.csv'}'").fetchall() == instants  # noqa: S608


@pytest.mark.parametrize(
    ("value", "expected"), [(float("nan"), None), (float("inf"), None), (Decimal(2), 2), (0.5, 0.5)]
)
def test_json_holds_what_json_can_hold(value, expected):
    assert json.loads(written(one(value, "DOUBLE"), "json")) == [{"value": expected}]


def test_json_names_columns_of_one_name_apart(lake):
    assert json.loads(written(query(connect(lake), "select 1 as a, 2 as a"), "json")) == [{"a": 1, "a_2": 2}]


@pytest.mark.parametrize("output_format", ["table", "csv", "json", "markdown", "ndjson"])
def test_a_result_without_a_row_is_still_a_result(lake, output_format):
    found = written(query(connect(lake), "select 1 as a where false"), output_format)
    assert (
        found.split()
        == {
            "table": ["a", "───"],
            "csv": ["a"],
            "json": ["[]"],
            "markdown": ["|", "a", "|", "|---:|"],
            "ndjson": [],
        }[output_format]
        or output_format == "table"
    )


@example([(" =", None)])
@given(st.lists(st.tuples(st.one_of(st.none(), st.text()), st.one_of(st.none(), st.integers())), max_size=5))
def test_csv_comes_back_as_it_was_but_for_the_apostrophes(rows):
    text = written(Rows(("words", "whole"), ("VARCHAR", "BIGINT"), rows), "csv")
    back = list(csv.reader(io.StringIO(text, newline=""), strict=True))[1:]
    assert [number for _, number in back] == ["" if whole is None else str(whole) for _, whole in rows]
    for (cell, _), (words, _) in zip(back, rows, strict=True):
        sent = words or ""
        bare = re.sub(r"\A[\s\ufeff\u200b-\u200f\u2060]+", "", sent)
        is_formula = bare[:1] in tuple("=+-@\uff1d\uff0b\uff0d\uff20") or sent[:1] in ("\t", "\r")
        assert cell == (f"'{sent}" if is_formula else sent)


@given(st.lists(st.tuples(st.one_of(st.none(), st.text(), st.booleans()), st.integers(), st.datetimes()), max_size=5))
def test_json_comes_back_as_it_was(rows):
    back = json.loads(written(Rows(("a", "b", "c"), ("VARCHAR", "BIGINT", "TIMESTAMP"), rows), "json"))
    assert back == [{"a": a, "b": b, "c": f"{c.isoformat(timespec='microseconds')}Z"} for a, b, c in rows]


@pytest.mark.parametrize("formula", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1", " =1", "\ufeff=1", "\uff1d1"])
def test_csv_text_that_a_spreadsheet_would_run_gets_an_apostrophe(formula):
    assert next(csv.reader([written(one(formula), "csv").split("\n", 1)[1]]))[0].startswith("'")


def test_csv_numbers_get_none_and_null_and_empty_text_differ():
    assert written(one(-5, "BIGINT"), "csv") == "value\n-5\n"
    rows = Rows(("a", "b"), ("VARCHAR", "VARCHAR"), [(None, "")])
    assert written(rows, "csv") == 'a,b\n,""\n'


@pytest.mark.parametrize("output_format", ["table", "csv", "json", "markdown", "ndjson"])
def test_what_the_service_sent_is_shown_and_never_obeyed(output_format):
    rows = Rows((HOSTILE, "b"), ("VARCHAR", "VARCHAR"), [(HOSTILE, "[red]b[/red]")])
    out = Terminal()
    write_rows(rows, output_format, out)
    found = out.getvalue()
    kept = found.replace("\x1b[1m", "").replace("\x1b[0m", "").replace("\x1b[2m", "")  # the table's own bold and dim
    assert not set(kept) & set("\x1b\x9b\r\t\u202e\u2028")
    assert "[red]b[/red]" in kept.replace("\\", "")
    if output_format in {"json", "ndjson"}:
        (row,) = [json.loads(found)] if output_format == "ndjson" else json.loads(found)
        assert row[HOSTILE] == HOSTILE


def test_a_long_result_as_a_table_is_cut_and_says_so(lake):
    found = written(query(connect(lake), "select range as number from range(1005)"), "table")
    assert found.endswith("… and 5 more: `--format csv` writes them all\n")
    assert len(written(query(connect(lake), "from range(25000)"), "csv").splitlines()) == 25_001


def test_a_new_module_is_a_new_format_of_the_command_line(lake, tmp_path):
    folder = tmp_path / "pipeline" / "reports" / "formats"
    shutil.copytree(
        Path(formats.__file__).parents[2], tmp_path / "pipeline", ignore=shutil.ignore_patterns("__pycache__")
    )
    (folder / "lines.py").write_text(
        "from pipeline.reports.formats import OutputFormat\n"
        "def write(rows, out):\n    return sum(bool(out.write(f'{row}\\n')) for row in rows.rows)\n"
        "def export(con, relation, path):\n    path.write_text(relation.name)\n    return 1\n"
        "FORMAT = OutputFormat(write=write, export=export)\n"
    )

    def typed(*words: str) -> str:
        command = [sys.executable, "-m", "pipeline", *words, "--data", str(lake)]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    assert typed("sql", "select 1 as a, 'x' as b", "--format", "lines") == "(1, 'x')\n"
    typed("export", "accounts", "accounts.lines")
    assert (tmp_path / "accounts.lines").read_text() == "accounts"
