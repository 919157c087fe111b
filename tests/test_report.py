"""Reports: the same bytes each time, and nothing that the service sent is obeyed."""

from __future__ import annotations

import io
import json
import re

import pytest
from lake_builder import Seen, image, write_run
from reading import HOSTILE, Terminal, golden, reported

from pipeline.errors import BadSetting
from pipeline.report import STANDING, report
from pipeline.trust import trust_line
from pipeline.views import connect, connect_empty


def test_the_standing_reports_read_well(lake):
    golden("report.txt", reported(lake)[0])


def test_the_standing_reports_in_markdown(lake):
    golden("report.md", reported(lake, output_format="markdown")[0])


def test_any_view_can_be_reported(lake):
    golden(
        "report_views.txt",
        reported(lake, "capacity_by_platform", "accounts", "disk_mismatch", "rejects")[0],
    )


def test_lifetimes_and_growth_read_well(lake):
    write_run(lake, Seen("prod", "2026-11-09 02:00", [image("m-5qm2r6a", image_size_gib=1400)]))
    write_run(lake, Seen("prod", "2026-12-03 02:00", [], "counted"))
    golden("report_history.txt", reported(lake, "growth_by_month", "image_lifetimes")[0])


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
    assert max(map(len, plain[1:])) <= 60


def test_a_long_table_is_cut_and_says_how_many_more_and_how_to_see_them(tmp_path):
    write_run(tmp_path, Seen(images=[image(f"m-{number:02}", region_id=f"r-{number}") for number in range(33)]))
    for view in ("capacity_by_region", "image_age"):
        assert f"… and 13 more, with the SQL: from {view}" in reported(tmp_path, view)[0]


def test_json_of_several_views_is_one_object_of_arrays_and_the_trust_line_goes_aside(lake):
    out, err = reported(lake, output_format="json")
    told = json.loads(out)
    assert list(told) == list(STANDING)
    assert told["capacity_by_day"][0]["day_utc"] == "2026-10-26"
    assert err == trust_line(connect(lake)) + "\n"
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
