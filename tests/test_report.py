"""Reports and results: the same bytes each time, and nothing that the service sent is obeyed."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lake_builder import Seen, image, utc, write_run

from pipeline import report
from pipeline.errors import BadQuery, BadSetting, LakeDamaged, UnknownName
from pipeline.report import Rows, describe, dictionary, export, query, read, trust_line, write_rows
from pipeline.views import connect, connect_empty, relations

GOLDEN = Path(__file__).parent / "golden"
HOSTILE = "\x1b[31mred\x1b[0m [bold]x[/bold] :smile: a\tb\nc\r\x9b2J \u202eevil\u2028 <script>|`*"


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def golden(name: str, found: str) -> None:
    """Compare with a golden file; `ENS_IMAGES_GOLDEN=write` writes it anew, to be read in review."""
    path = GOLDEN / name
    if os.environ.get("ENS_IMAGES_GOLDEN") == "write":
        path.write_text(found, "utf-8", newline="")
    with path.open(encoding="utf-8", newline="") as file:
        assert found == file.read()


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Five days of two accounts: growth, a failed try, a listing without proof, and a name in Chinese."""
    first = [
        image("m-5qm2r6a", 20, 100, image_name="web", image_size_gib=120),
        image("m-5qm2r6b", 40, image_name="数据库", region_id="cn-beijing", created_at_utc=utc("2024-05-01 10:00")),
        image("m-5qm2r6c", image_name="legacy", image_size_gib=None, region_id=None, created_at_utc=None),
        image("m-5qm2r6d", 8, image_name="theirs", image_owner="others", platform="ubuntu", image_size_gib=8),
    ]
    grown = image("m-5qm2r6a", 20, 300, image_name="web", image_size_gib=1320, status="Unavailable")
    new = image("m-5qm2r6e", 60, image_name="edge", platform="windows", image_size_gib=60, status="Pack_failed")
    write_run(tmp_path, Seen("prod", "2026-10-26 02:00", first))
    write_run(tmp_path, Seen("prod", "2026-10-28 02:00", [*first, new]), Seen("test", "2026-10-28 02:01", [first[0]]))
    write_run(
        tmp_path,
        Seen(
            "prod",
            "2026-10-30 02:00",
            [grown, *first[1:3], new],
            rejects=[{"field": "ImageSize"}],
            unknown_field_count=2,
        ),
        Seen("test", "2026-10-30 02:00", error="StillThrottled: account 'test' was throttled"),
    )
    return tmp_path


def written(rows: Rows, output_format: report.Format, out: io.StringIO | None = None) -> str:
    out = out or io.StringIO()
    write_rows(rows, output_format, out)
    return out.getvalue()


def reported(data: Path, *views: str, output_format: report.Format = "table") -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    report.report(connect(data), views, output_format=output_format, out=out, err=err)
    return out.getvalue(), err.getvalue()


def one(value: object, kind: str = "VARCHAR") -> Rows:
    return Rows(("value",), (kind,), [(value,)])


# ── the standing reports ─────────────────────────────────────────────────────


def test_the_standing_reports_read_well(lake):
    golden("report.txt", reported(lake)[0])


def test_the_standing_reports_in_markdown(lake):
    golden("report.md", reported(lake, output_format="markdown")[0])


def test_any_view_can_be_reported(lake):
    golden("report_views.txt", reported(lake, "capacity_by_platform", "accounts", "disk_mismatch", "rejects")[0])


def test_the_standing_reports_of_a_lake_without_a_row_say_so():
    out = io.StringIO()
    report.report(connect_empty(), out=out, err=out)
    golden("report_empty.txt", out.getvalue())


def test_off_a_terminal_a_report_is_plain_and_at_most_80_wide(lake, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("FORCE_COLOR", "1")
    out = reported(lake)[0]
    assert "\x1b" not in out
    assert max(map(len, out.splitlines()[1:])) <= 80  # the trust line is one line
    assert all(line == line.rstrip() for line in out.splitlines())


def test_on_a_terminal_a_report_has_colour_and_keeps_to_the_width(lake, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = Terminal()
    report.report(connect(lake), out=out, err=out)
    assert "\x1b[" in out.getvalue()
    plain = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).splitlines()
    assert max(map(len, plain[1:])) <= 60


def test_a_long_table_is_cut_and_says_how_many_more_and_how_to_see_them(tmp_path):
    write_run(tmp_path, Seen(images=[image(f"m-{number:02}", region_id=f"r-{number}") for number in range(33)]))
    for view in ("capacity_by_region", "image_age"):
        assert f"… and 13 more, with the SQL: from {view}" in reported(tmp_path, view)[0]


def test_json_of_several_views_is_one_object_of_arrays_and_the_trust_line_goes_aside(lake):
    out, err = reported(lake, output_format="json")
    told = json.loads(out)
    assert list(told) == list(report.STANDING)
    assert told["capacity_by_day"][0]["day_utc"] == "2026-10-26"
    assert err == trust_line(connect(lake)) + "\n"
    assert json.loads(reported(lake, "capacity_by_platform", output_format="json")[0])[0]["platform"] == "centos"


def test_csv_holds_one_view_and_says_so(lake):
    out, err = reported(lake, "capacity_by_day", output_format="csv")
    assert len(out.splitlines()) == 1 + 5
    assert err.startswith("2 accounts")
    with pytest.raises(BadSetting, match="csv holds one table"):
        reported(lake, output_format="csv")


# ── the trust line ───────────────────────────────────────────────────────────


def test_the_trust_line_of_one_account(tmp_path):
    write_run(tmp_path, Seen(images=[image(f"m-{number}") for number in range(143)]))
    assert trust_line(connect(tmp_path)) == (
        "1 account · as of 2026-10-30 02:00 UTC · verified · 143 images · 0 rejects · 0 unknown fields"
    )


def test_the_trust_line_of_several_accounts_names_the_stale_ones_and_counts_the_certificates(lake):
    write_run(
        lake,
        Seen("late", "2026-10-31 02:00", error="Refused: no"),
        Seen("new", "2026-10-31 02:00", [image("m")], "counted"),
    )
    assert trust_line(connect(lake)) == (
        "4 accounts (1 stale: test; 1 never published: late) · as of 2026-10-28 02:01 to 2026-10-31 02:00 UTC"
        " · 1 counted, 2 verified · 6 images · 1 reject · 2 unknown fields"
    )


def test_the_trust_line_names_three_accounts_at_most_and_obeys_none(tmp_path):
    names = ["a\x1b[2J", "b", "c", "d", "e"]
    write_run(tmp_path, *(Seen(name, error="Refused: no") for name in names))
    expected = "5 accounts (5 never published: a\\x1b[2J, b, c and 2 more) · nothing is published"
    assert trust_line(connect(tmp_path)) == expected


def test_the_trust_line_of_an_empty_lake():
    assert trust_line(connect_empty()) == "0 accounts · nothing is published"


# ── any result, in any format ────────────────────────────────────────────────

VALUES = """
select 'text' as words, 1234567 as whole, cast(-1234567.5 as double) as real, true as claim,
    cast(null as varchar) as nothing,
    timestamp '2017-12-08 12:10:03' as instant, timestamp '2017-12-08 12:10:03.5' as finer,
    date '2017-12-08' as day_utc,
    sum(9007199254740993) as large, cast(1.50 as decimal(9, 2)) as money, [1, 2] as list, {'a': 'b'} as pair,
    'bytes'::blob as body, '' as empty
"""


@pytest.mark.parametrize("output_format", ["table", "csv", "json", "markdown"])
def test_every_kind_of_value_in_every_format(lake, output_format):
    found = written(query(connect(lake), VALUES), output_format)
    golden(f"values.{'txt' if output_format == 'table' else output_format}", found)


def test_json_keeps_integers_whole_and_instants_as_iso_text(lake):
    (row,) = json.loads(written(query(connect(lake), VALUES), "json"))
    assert row["large"] == 9007199254740993
    assert row["instant"] == "2017-12-08T12:10:03"
    assert isinstance(row["whole"], int)


@pytest.mark.parametrize(
    ("value", "expected"), [(float("nan"), None), (float("inf"), None), (Decimal(2), 2), (0.5, 0.5)]
)
def test_json_holds_what_json_can_hold(value, expected):
    assert json.loads(written(one(value, "DOUBLE"), "json")) == [{"value": expected}]


def test_json_names_columns_of_one_name_apart(lake):
    assert json.loads(written(query(connect(lake), "select 1 as a, 2 as a"), "json")) == [{"a": 1, "a_2": 2}]


@pytest.mark.parametrize("output_format", ["table", "csv", "json", "markdown"])
def test_a_result_without_a_row_is_still_a_result(lake, output_format):
    found = written(query(connect(lake), "select 1 as a where false"), output_format)
    assert (
        found.split()
        == {
            "table": ["a", "───"],
            "csv": ["a"],
            "json": ["[]"],
            "markdown": ["|", "a", "|", "|---:|"],
        }[output_format]
        or output_format == "table"
    )


@given(st.lists(st.tuples(st.one_of(st.none(), st.text()), st.one_of(st.none(), st.integers())), max_size=5))
def test_csv_comes_back_as_it_was_but_for_the_apostrophes(rows):
    text = written(Rows(("words", "whole"), ("VARCHAR", "BIGINT"), rows), "csv")
    back = list(csv.reader(io.StringIO(text, newline=""), strict=True))[1:]
    safe = [
        ("'" + words if (words or "").startswith(("=", "+", "-", "@", "\t", "\r")) else words or "", whole)
        for words, whole in rows
    ]
    assert back == [[words, "" if whole is None else str(whole)] for words, whole in safe]


@given(st.lists(st.tuples(st.one_of(st.none(), st.text(), st.booleans()), st.integers(), st.datetimes()), max_size=5))
def test_json_comes_back_as_it_was(rows):
    back = json.loads(written(Rows(("a", "b", "c"), ("VARCHAR", "BIGINT", "TIMESTAMP"), rows), "json"))
    assert back == [{"a": a, "b": b, "c": c.isoformat()} for a, b, c in rows]


@pytest.mark.parametrize("formula", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1"])
def test_csv_text_that_a_spreadsheet_would_run_gets_an_apostrophe(formula):
    assert next(csv.reader([written(one(formula), "csv").split("\r\n", 1)[1]]))[0].startswith("'")


def test_csv_numbers_get_none_and_null_and_empty_text_differ():
    assert written(one(-5, "BIGINT"), "csv") == "value\r\n-5\r\n"
    rows = Rows(("a", "b"), ("VARCHAR", "VARCHAR"), [(None, "")])
    assert written(rows, "csv") == 'a,b\r\n,""\r\n'


@pytest.mark.parametrize("output_format", ["table", "csv", "json", "markdown"])
def test_what_the_service_sent_is_shown_and_never_obeyed(output_format):
    rows = Rows((HOSTILE, "b"), ("VARCHAR", "VARCHAR"), [(HOSTILE, "[red]b[/red]")])
    out = Terminal()
    write_rows(rows, output_format, out)
    found = out.getvalue().replace("\r\n", "\n")
    kept = found.replace("\x1b[1m", "").replace("\x1b[0m", "").replace("\x1b[2m", "")  # the table's own bold and dim
    assert not set(kept) & set("\x1b\x9b\r\t\u202e\u2028")
    assert "[red]b[/red]" in kept.replace("\\", "")
    if output_format == "json":
        assert json.loads(found)[0][HOSTILE] == HOSTILE


def test_a_hostile_name_in_a_report_is_shown_and_never_obeyed(tmp_path):
    names = [
        image(f"m{HOSTILE}{number}", image_name=HOSTILE, region_id=HOSTILE, status=f"{HOSTILE}_failed")
        for number in "12"
    ]
    write_run(tmp_path, Seen(at="2026-10-29 02:00", images=names[:1]))
    write_run(tmp_path, Seen(images=names[1:]))
    for output_format in ("table", "markdown", "json"):
        out = reported(tmp_path, output_format=output_format)[0]
        assert not set(out) & set("\x1b\x9b\r\t\u202e\u2028")
        assert "<script>" not in out or output_format != "markdown"


def test_a_table_too_wide_for_the_terminal_is_written_as_records(lake, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "dumb")
    out = written(read(connect(lake), "images_latest"), "table", Terminal())
    assert out.count("── ") == 5
    assert "image_storage_size  –" in out  # noqa: RUF001


def test_a_long_result_as_a_table_is_cut_and_says_so(lake):
    found = written(query(connect(lake), "select range as number from range(1005)"), "table")
    assert found.endswith("… and 5 more: `--format csv` writes them all\n")
    assert len(written(query(connect(lake), "from range(25000)"), "csv").splitlines()) == 25_001


# ── names and queries that do not fit ────────────────────────────────────────


def test_an_unknown_view_names_the_nearest_and_all_that_there_are(lake):
    with pytest.raises(
        UnknownName, match=r"'capcity_by_regoin': did you mean capacity_by_region.* there are images, image_disks"
    ):
        read(connect(lake), "capcity_by_regoin")
    with pytest.raises(UnknownName) as caught:
        reported(lake, "zzz\x1b[2J")
    assert "did you mean" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("select nope from images", 'Binder Error: Referenced column "nope" not found'),
        ("selec 1", "Parser Error: syntax error"),
        ("from nowhere", "Catalog Error: Table with name nowhere does not exist"),
        ("select cast('a' as integer)", "Conversion Error"),
        ("select * from read_text('/etc/passwd')", "Permission Error"),
        ("", "there is no query"),
        (" ; ", "there is no query"),
        ("copy images to 'x.csv'", "only queries are run here"),
    ],
)
def test_a_query_that_cannot_run_ends_with_duckdb_s_own_words(lake, sql, words):
    with pytest.raises(BadQuery) as caught:
        written(query(connect(lake, only_lake=True), sql), "csv")
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 4


def test_a_lake_file_that_is_gone_is_a_damaged_lake_and_no_bad_query(lake):
    con = connect(lake)
    for path in (lake / "lake" / "images").rglob("*.parquet"):
        path.write_bytes(b"no parquet, but long enough for one")
    with pytest.raises(LakeDamaged, match="cannot be read"):
        written(query(con, "from images_latest"), "csv")
    for path in (lake / "lake" / "image_disks").rglob("*.parquet"):
        path.unlink()
    with pytest.raises(LakeDamaged, match="cannot be read"):
        written(query(con, "from image_disks_latest"), "csv")


def test_of_several_statements_the_last_one_answers(lake):
    assert written(query(connect(lake), "create temp table t as select 7 as n; from t"), "csv") == "n\r\n7\r\n"


def test_a_query_and_its_csv_load_neither_pandas_nor_arrow_nor_rich_nor_the_sdk(lake):
    code = (
        "import sys; from pipeline import report, views\n"
        f"con = views.connect({str(lake)!r}, only_lake=True)\n"
        "report.write_rows(report.query(con, 'from images_latest'), 'csv', sys.stderr); report.trust_line(con)\n"
        "print(*sorted(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pandas", "pyarrow", "rich", "aiohttp", "alibabacloud_tea_openapi"} & set(loaded)


# ── the dictionary ───────────────────────────────────────────────────────────


def test_describe_tells_type_unit_api_field_and_meaning():
    rows = {row[0]: row[1:] for row in describe("images").rows}
    assert rows["image_size_gib"] == ("BIGINT", "GiB", "ImageSize", "Size of the image.")
    assert rows["account"][:3] == ("VARCHAR", None, None)
    assert [row[0] for row in describe("image_age").rows][-1] == "age_days"


def test_describe_without_a_name_tells_every_column():
    rows = list(describe().rows)
    assert len(rows) == sum(len(one.columns) for one in relations().values())
    assert all(kind and meaning for _, _, kind, _, _, meaning in rows)


def test_describe_refuses_a_name_that_is_none():
    with pytest.raises(UnknownName, match="did you mean image_age"):
        describe("image_agee")


def test_the_dictionary_has_the_tables_first_then_the_views_each_with_its_grain_and_every_column():
    text = dictionary()
    sections = [line.removeprefix("### ") for line in text.splitlines() if line.startswith("### ")]
    assert sections == list(relations())
    for one in relations().values():
        assert one.grain in text
        for column in one.columns:
            assert f"| {column.name} | " in text
    assert text.index("## Tables") < text.index("### images") < text.index("## Views") < text.index("### images_latest")


# ── export ───────────────────────────────────────────────────────────────────


def test_an_export_holds_what_the_view_holds(lake, tmp_path):
    con = connect(lake)
    expected = con.execute("from image_age").fetchall()
    out = tmp_path / "out" / "deeper"
    for suffix in ("csv", "json", "parquet"):
        assert export(con, "image_age", out / f"age.{suffix}") == len(expected)
    assert pq.read_table(out / "age.parquet").num_rows == len(expected)
    assert duckdb.connect().execute(f"from '{out}/age.parquet'").fetchall() == expected
    assert len(json.loads((out / "age.json").read_text("utf-8"))) == len(expected)
    with (out / "age.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image_id"] for row in rows] == [row[2] for row in expected]
    assert rows[0]["created_at_utc"] == "2024-05-01 10:00:00"
    assert sorted(path.name for path in out.iterdir()) == ["age.csv", "age.json", "age.parquet"]


def test_a_parquet_export_says_in_its_header_what_it_holds(lake, tmp_path):
    export(connect(lake), "image_age", tmp_path / "age.parquet")
    header = pq.read_metadata(tmp_path / "age.parquet").metadata
    assert header[b"table"] == b"image_age"
    assert b"Unit: days." in header[b"column age_days"]


@pytest.mark.parametrize("name", ["age.xls", "age", ".csv"])
def test_an_export_needs_a_suffix_that_it_knows(lake, tmp_path, name):
    with pytest.raises(BadSetting, match=r"\.csv, \.json or \.parquet"):
        export(connect(lake), "image_age", tmp_path / name)


def test_an_export_that_cannot_be_written_says_so_and_leaves_nothing(lake, tmp_path):
    (tmp_path / "taken.csv").mkdir()
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "taken.csv", tmp_path / "file" / "age.json"):
        with pytest.raises(BadSetting, match="cannot be written"):
            export(connect(lake), "image_age", path)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_an_export_that_fails_leaves_the_old_file(lake, tmp_path):
    path = tmp_path / "images.csv"
    path.write_text("old")
    con = connect(lake)
    for file in (lake / "lake" / "images").rglob("*.parquet"):
        file.unlink()
    with pytest.raises(LakeDamaged):
        export(con, "images", path)
    assert path.read_text() == "old"
    assert not list(tmp_path.glob(".images.csv*"))


# ── progress ─────────────────────────────────────────────────────────────────


def test_progress_off_a_terminal_is_a_plain_line_a_pass():
    err = io.StringIO()
    with report.progress(err) as tell:
        for page in range(1, 4):
            tell("prod\x1b", 1, page, 3)
    assert err.getvalue() == "prod\\x1b: pass 1, 3 of 3 pages\n"


def test_progress_on_a_terminal_is_a_bar_that_goes_away(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    err = Terminal()
    with report.progress(err) as tell:
        tell("[bold]prod", 1, 1, None)
        tell("[bold]prod", 2, 3, 3)
    assert "[bold]prod, pass 2" in err.getvalue()
