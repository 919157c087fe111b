"""Standard streams that are closed, full, or not UTF-8: no command fails for its log, none ends in a traceback."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from test_cli import KEYS, environment

from pipeline.emulator import Endpoint, Key, living_account
from pipeline.reports.query import Rows
from pipeline.reports.terminal import as_table, bar, console_on, sparkline
from pipeline.views.connection import connect


def in_a_shell(cwd: Path, line: str) -> subprocess.CompletedProcess[str]:
    """Type a command line with redirections."""
    return subprocess.run(
        ["/bin/sh", "-c", f"{sys.executable} -m pipeline {line}"],
        cwd=cwd,
        env=environment(cwd, **KEYS),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def url():
    with Endpoint({"emulator": Key("emulator", living_account(images=60))}) as endpoint:
        yield endpoint.url


@pytest.fixture(scope="module")
def lake(url, tmp_path_factory) -> Path:
    """A folder in which a run has been, whose log the disk had no space for."""
    folder = tmp_path_factory.mktemp("user")
    done = in_a_shell(folder, f"run --endpoint {url} 2>/dev/full")
    assert (done.returncode, done.stdout) == (0, "")
    return folder


def test_a_run_whose_log_cannot_be_written_publishes_the_day(lake):
    assert connect(lake / "data").sql("select count(*) from images").fetchall() == [(60,)]
    assert (lake / "data" / "lake.duckdb").is_file()


@pytest.mark.parametrize(
    "command", ["run --endpoint {url}", "list --endpoint {url}", "check", "export images x.csv", "sql"]
)
def test_a_command_without_any_stream_does_its_work(lake, url, command):
    done = in_a_shell(lake, command.format(url=url) + " >&- 2>&- <&-")

    assert done.returncode == (2 if command == "sql" else 0)  # no query on a closed standard input
    assert not command.startswith("export") or (lake / "x.csv").stat().st_size > 1000


@pytest.mark.parametrize(
    "command",
    [
        "report",
        "views",
        "--version",
        "sql 'select 1 as one'",
        "sql 'select range from range(100000)'",
        "sql --format csv 'select range from range(100000)'",
        "sql --format json 'select range from range(100000)'",
    ],
)
def test_a_full_disk_behind_standard_output_is_one_line(lake, command):
    done = in_a_shell(lake, f"{command} >/dev/full")

    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr == "error: standard output cannot be written: No space left on device\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_drawing_is_ascii_where_the_stream_prints_nothing_else_and_data_keeps_its_codes(encoding):
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace")
    rows = Rows(("name", "size"), ("VARCHAR", "BIGINT"), [("数据", 1200), (None, None)])

    with console_on(out) as console:
        console.print(as_table(rows, console))
        console.print(bar(0.8, 4), sparkline([1, 2, 3, 9], 4))
    out.flush()
    printed = out.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]

    lines = [" ".join(line.split()) for line in printed.splitlines()]
    assert lines == ["name size", "-" * 11, "\\u6570\\u636e 1,200", "- -", "###- _.,#"]
    assert out.errors == "backslashreplace"
