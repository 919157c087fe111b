"""What a terminal shows, and what is shown off one."""

from __future__ import annotations

import io

from reading import Terminal, written

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
            tell("prod\x1b", 1, page, 3)
    assert err.getvalue() == "prod\\x1b: pass 1, 3 of 3 pages\n"


def test_progress_on_a_terminal_is_a_bar_that_goes_away(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    err = Terminal()
    with progress(err) as tell:
        tell("[bold]prod", 1, 1, None)
        tell("[bold]prod", 2, 3, 3)
    assert "[bold]prod, pass 2" in err.getvalue()
