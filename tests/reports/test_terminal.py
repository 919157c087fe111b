"""What a terminal shows, and what is shown off one."""

from __future__ import annotations

import io

from reading import Terminal, written

from pipeline.extract.time_limit import Estimate
from pipeline.reports.query import read
from pipeline.reports.terminal import progress
from pipeline.views.connection import connect


def test_a_table_too_wide_for_the_terminal_is_written_as_records(lake, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "dumb")
    out = written(read(connect(lake), "images_latest"), "table", Terminal())
    assert out.count("── ") == 5
    assert "image_storage_size  –" in out  # noqa: RUF001


def test_progress_off_a_terminal_is_a_plain_line_a_pass():
    err = io.StringIO()
    with progress(err) as tell:
        for page in range(1, 4):
            tell("prod\x1b", 1, page, 3, Estimate(0.15, 600.6))
    assert err.getvalue() == "prod\\x1b: pass 1, 3 of 3 pages\n"


def test_progress_shows_how_long_a_large_account_takes_and_when_it_is_given_up():
    err = io.StringIO()
    with progress(err) as tell:
        tell("prod", 1, 100, 2_000, Estimate(100, 1_000))
    assert err.getvalue() == "prod: pass 1, 100 of 2,000 pages, about 1 min 40 s a pass, at most 16 min 40 s\n"


def test_progress_on_a_terminal_is_a_bar_that_goes_away(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    err = Terminal()
    with progress(err) as tell:
        tell("[bold]prod", 1, 1, None, Estimate(0.05, 600.2))
        tell("[bold]prod", 2, 3, 3, Estimate(100, 1000))
    assert "[bold]prod, pass 2" in err.getvalue()
    assert "about 1 min 40 s a pass, at most 16 min 40 s" in err.getvalue()
