"""Reports: the same bytes each time, and nothing that the service sent is obeyed."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lake_builder import Seen, image, used, utc, write_run
from reading import HOSTILE, Terminal, golden, reported
from rich.cells import cell_len
from rich.console import Console

from pipeline.errors import BadSetting
from pipeline.reports import report as reports
from pipeline.reports.provenance import provenance_line
from pipeline.reports.report import REPORT_ROWS, report
from pipeline.reports.standing import DECLARED, STANDING, build_report, section
from pipeline.reports.standing.model import format_value
from pipeline.reports.terminal import LaidOutColumn, lay_out
from pipeline.views.connection import connect, connect_empty


def test_the_standing_reports_read_well(lake):
    golden("report.txt", reported(lake)[0])


def test_the_standing_reports_in_markdown(lake):
    golden("report.md", reported(lake, output_format="markdown")[0])


def test_what_could_go_stands_in_three_groups_by_what_is_known_of_its_use(tmp_path):
    used(tmp_path)
    of_use = [
        out[out.index(beginning) :]
        for beginning, output_format in (("Cleanup candidates: ", "table"), ("## cleanup_candidates", "markdown"))
        for out in (reported(tmp_path, output_format=output_format)[0],)
    ]
    golden("report_use.md", "\n".join(of_use))


def test_any_view_can_be_reported(lake):
    golden(
        "report_views.txt",
        reported(lake, "capacity_by_platform", "accounts", "disk_mismatch", "rejects")[0],
    )


def test_lifetimes_and_growth_read_well(own_lake):
    write_run(own_lake, Seen("prod", "2026-11-09 02:00", [image("m-5qm2r6a", image_size_gib=1400)]))
    write_run(own_lake, Seen("prod", "2026-12-03 02:00", [], "counted"))
    golden("report_history.txt", reported(own_lake, "growth_by_month", "image_lifetimes")[0])


def test_the_standing_reports_of_a_lake_without_a_row_say_so():
    out = io.StringIO()
    report(connect_empty(), out=out, err=out)
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
    report(connect(lake), out=out, err=out)
    assert "\x1b[" in out.getvalue()
    plain = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).splitlines()
    assert max(map(cell_len, plain)) <= 60


NUMBER = re.compile(r"[+\u2212]?\d[\d,]*[%+]?")


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Two accounts whose numbers are long, and whose names hold no digit: what is a number in a report is one."""
    data = tmp_path_factory.mktemp("large")
    old, new = utc("2019-03-01"), utc("2026-09-01")
    names = ["web", "数据库", "a-name-that-is-so-long-that-it-must-be-broken-somewhere-or-other", "the newer one"]

    def seen(size: int) -> list[dict[str, Any]]:
        return [
            image(
                f"m-{letter * (4 + 6 * place)}",
                size + 7_777 * place,
                image_name=name,
                image_owner=owner,
                region_id=f"cn-{letter * 5 * (place + 1)}",
                platform=letter * 9,
                architecture="x86_64",
                status="Pack_failed" if letter == "q" else "Available",
                image_size_gib=size + 1_234_567 * place,
                created_at_utc=new if letter == "z" else old,
            )
            for place, name in enumerate(names)
            for letter, owner in (("x", "self"), ("y", "self"), ("z", "self"), ("q", "others"))
        ]

    for day, size in enumerate([23_456_789_012, 123_456_789_012, 98_765_432_109], start=27):
        accounts = [Seen(account, f"2026-10-{day} 02:00", seen(size)) for account in ("production", "staging")]
        write_run(data, *accounts)
    with connect(data) as con:
        yield con


def at_width(width: int, con: Any, *views: str) -> list[str]:
    """What a terminal of a width shows, line by line, without its colours."""
    out = Terminal()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        patch.setenv("TERM", "xterm")
        report(con, views, out=out, err=out)
    return re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).splitlines()


@pytest.mark.parametrize("view", DECLARED)
def test_at_any_width_no_line_is_wider_and_no_number_is_cut_or_broken(large, view, monkeypatch):
    told = section(large, view)
    monkeypatch.setattr(reports, "section", lambda *_: told)  # asked once, shown at every width
    monkeypatch.setattr(reports, "provenance_line", lambda _: "1,234 accounts · as of 2026-10-29 02:00 UTC · verified")
    whole = {number for line in at_width(1000, large, view) for number in NUMBER.findall(line)}
    essential = {
        number
        for row in told.table.rows[: 1 if view == "capacity_by_day" else REPORT_ROWS]
        for column in told.table.columns
        if column.kind == "number" and not column.rank
        for number in NUMBER.findall(format_value(row[column.name], column))
    }
    assert len(whole) > 4
    for width in (*range(20, 61), *range(61, 201, 7)):
        lines = at_width(width, large, view)
        found = {number for line in lines if not line.startswith("── ") for number in NUMBER.findall(line)}
        assert max(map(cell_len, lines)) <= width
        assert essential <= found <= whole, width


@pytest.mark.parametrize("width", [20, 41, 80, 133, 200])
def test_at_any_width_the_story_is_told_to_its_end(large, width):
    lines = at_width(width, large)
    assert max(map(cell_len, lines)) <= width
    for report_section in build_report(large).sections:
        assert "".join(f"{report_section.topic}:{report_section.finding}".split()) in "".join("".join(lines).split())


texts = st.text(st.sampled_from("ab 数\u0301-_→"), max_size=40)
columns = st.lists(st.tuples(texts, st.booleans(), st.integers(0, 3)), min_size=1, max_size=7)


@given(columns, st.integers(20, 200), st.data())
def test_a_table_of_anything_keeps_to_its_width_and_breaks_no_number(asked, width, data):
    count = data.draw(st.integers(1, 3))
    cells = {True: st.integers(-(10**12), 10**12).map("{:,}".format), False: texts}
    laid = [
        LaidOutColumn(
            heading, data.draw(st.lists(cells[is_number], min_size=count, max_size=count)), is_number, 0, rank
        )
        if is_number
        else LaidOutColumn(heading, data.draw(st.lists(texts, min_size=count, max_size=count)), breaks=12, rank=rank)
        for heading, is_number, rank in asked
    ]
    out = io.StringIO()
    Console(file=out, width=width).print(lay_out(laid, width))
    lines = out.getvalue().splitlines()
    assert max(map(cell_len, lines), default=0) <= width
    said = set(re.findall(r"-?\d[\d,]*", out.getvalue()))
    for column in laid:
        if column.is_number and not column.rank:
            assert set(column.cells) <= said


def test_a_long_table_is_cut_and_says_how_many_more_and_how_to_see_them(tmp_path):
    write_run(tmp_path, Seen(images=[image(f"m-{number:02}", region_id=f"r-{number}") for number in range(33)]))
    for view in ("capacity_by_region", "image_age"):
        assert f"… and 13 more, with the SQL: from {view}" in reported(tmp_path, view)[0]


def test_a_text_that_would_fill_the_screen_is_cut_and_an_empty_one_is_told(tmp_path):
    write_run(tmp_path, Seen(images=[image("m-1", region_id="x" * 3000), image("m-2", region_id="")]))
    shown = reported(tmp_path, "capacity_by_region")[0]
    assert shown.count("x") < 250
    assert "…" in shown
    assert "(none)" in shown


def test_json_of_several_views_is_one_object_of_arrays_and_the_trust_line_goes_aside(lake):
    out, err = reported(lake, output_format="json")
    told = json.loads(out)
    assert list(told) == ["accounts", *STANDING]
    assert {row["account"]: row["certificate"] for row in told["accounts"]} == {"test": "verified", "prod": "verified"}
    assert told["capacity_by_day"][0]["day_utc"] == "2026-10-26"
    assert err == provenance_line(connect(lake)) + "\n"
    assert json.loads(reported(lake, "capacity_by_platform", output_format="json")[0])[0]["platform"] == "centos"


def test_csv_holds_one_view_and_says_so(lake):
    out, err = reported(lake, "capacity_by_day", output_format="csv")
    assert len(out.splitlines()) == 1 + 5
    assert err.startswith("2 accounts")
    with pytest.raises(BadSetting, match="csv holds one table"):
        reported(lake, output_format="csv")


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
