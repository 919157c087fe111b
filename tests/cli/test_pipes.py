"""What a user types after a command: a pipe, a redirection, a test of the shell."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

import polars as pl
import pyarrow.parquet as pq
import pytest
from test_cli import environment

from pipeline import cli
from pipeline.text import json_value

if TYPE_CHECKING:
    from pathlib import Path

ENS_IMAGES = f"{sys.executable} -m pipeline"


def in_a_shell(cwd: Path, script: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a script of /bin/sh, in which `ens-images` is the command."""
    return subprocess.run(
        ["/bin/sh", "-euc", f'ens_images() {{ {ENS_IMAGES} "$@"; }}\n{script}'],
        cwd=cwd,
        env=environment(cwd, **more),
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )


@pytest.fixture
def here(lake, tmp_path) -> Path:
    """A folder whose settings name the lake."""
    (tmp_path / "ens-images.toml").write_text(f"data = {json.dumps(str(lake))}\n")
    return tmp_path


def test_a_shell_takes_numbers_words_and_columns_out_of_csv(here):
    done = in_a_shell(
        here,
        """
        n=$(ens_images sql --format csv "select count(*) as n from images_latest" | tail -1)
        [ "$n" -eq 5 ]
        ens_images export images_latest - | cut -d, -f4 | sort > ids
        [ "$(sed -n 1p ids)" = image_id ]
        ens_images sql --format csv "select region_id, image_count from capacity_by_region where image_count = 2" |
            tail -n +2 | while IFS=, read -r region count; do [ "$region" = cn-hangzhou ]; [ "$count" -eq 2 ]; done
        """,
    )
    assert done.returncode == 0, done.stderr
    assert len((here / "ids").read_text().split()) == 6


COMMANDS = (
    ("sql", "from capacity_by_region"),
    ("questions", "5"),
    ("questions",),
    ("report", "accounts"),
    ("diff", "2026-10-26", "latest"),
    ("describe",),
    ("export", "accounts", "-"),
)


def piped(*arguments: str) -> bytes:
    """Return what a command writes to a pipe."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit, match=r"^0$"):
        cli.main(arguments)
    return out.buffer.getvalue()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_with_formats_writes_the_same_rows_in_each(here, monkeypatch, command):
    monkeypatch.chdir(here)
    csv_bytes, json_bytes, ndjson, parquet = (
        piped(*command, "--format", name) for name in ("csv", "json", "ndjson", "parquet")
    )
    assert b"\r" not in csv_bytes
    rows = [json.loads(line) for line in ndjson.decode().splitlines()]
    assert rows
    whole = json.loads(json_bytes)
    assert (whole["changes"] if command[0] == "diff" else whole) == rows
    assert csv_bytes.decode().split("\n", 1)[0].split(",") == [*rows[0]]
    columns = pq.read_table(io.BytesIO(parquet)).to_pydict()
    assert [*columns] == [*rows[0]]
    for name, values in columns.items():
        texts = [row[name] for row in rows]
        assert [json_value(value) for value in values] == texts, name


def test_a_monitor_reads_the_status_as_parquet(here, monkeypatch):
    monkeypatch.chdir(here)
    columns = pq.read_table(io.BytesIO(piped("status", "--format", "parquet"))).to_pydict()
    assert columns["account"] == ["prod", "test"]
    assert {type(hours) for hours in columns["age_hours"]} == {float}


def test_another_program_reads_each_format_from_a_pipe(here):
    done = in_a_shell(
        here,
        """
        ens_images sql --format ndjson "select image_id, image_name from images_latest order by all" |
            while read -r line; do echo "$line" >> lines; done
        ens_images sql --format parquet "from images_latest" | cat > x.parquet
        ens_images export images_latest - --format parquet | cat > y.parquet
        ens_images export images_latest z.parquet
        """,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (here / "lines").read_text("utf-8").splitlines()]
    assert [line["image_id"] for line in lines] == sorted(line["image_id"] for line in lines)
    assert "数据库" in {line["image_name"] for line in lines}
    assert (here / "y.parquet").read_bytes() == (here / "z.parquet").read_bytes()
    x, z = (pl.read_parquet(here / f"{name}.parquet") for name in "xz")
    assert x.schema == z.schema
    assert x.sort("account", "image_id").equals(z.sort("account", "image_id"))


def test_data_is_the_same_bytes_in_every_locale(here):
    script = "".join(
        f"ens_images sql --format {output_format} \"select '数据😀é' as word\" > $OUT.{output_format}\n"
        for output_format in ("csv", "json")
    )
    for out, encoding in (("a", "utf-8"), ("b", "gbk")):
        assert in_a_shell(here, script, OUT=out, PYTHONIOENCODING=encoding).returncode == 0
    for output_format in ("csv", "json"):
        first, other = ((here / f"{name}.{output_format}").read_bytes() for name in "ab")
        assert first == other
        assert "数据😀é" in first.decode()


@pytest.mark.parametrize(
    "command",
    [
        "sql --format ndjson 'select range from range(1000000)'",
        "sql --format parquet 'select range, hash(range) from range(200000)'",
        "export accounts -",
    ],
)
def test_a_closed_pipe_ends_quietly_and_a_full_disk_is_one_line(here, command):
    done = in_a_shell(here, f"{{ ens_images {command}; echo $? >&2; }} | true")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "0")
    assert "rror" not in done.stderr

    done = in_a_shell(here, f"ens_images {command} >/dev/full")
    assert (done.returncode, done.stderr) == (2, "error: standard output cannot be written: No space left on device\n")


@pytest.mark.parametrize(
    "command",
    ["export images x.csv", "export images x.parquet", "export images x.xlsx",
     "export --all x.duckdb", "export images - --format parquet"],
)  # fmt: skip
def test_a_file_that_the_disk_cannot_hold_is_one_line_and_leaves_nothing(here, command):
    (here / "tmp").mkdir()
    done = in_a_shell(here, f"ulimit -f 1; ens_images {command}", TMPDIR=str(here / "tmp"))
    assert done.returncode == 2
    first = done.stderr.splitlines()[0]
    assert first.startswith("error: BadSetting: ")
    assert "cannot be written: File too large" in first
    assert sorted(path.name for path in here.iterdir()) == ["ens-images.toml", "tmp"]
    assert [*(here / "tmp").iterdir()] == []


@pytest.mark.parametrize(
    "command",
    [
        "sql --format parquet 'from no_such_table'",  # refused before the query is looked at
        "export accounts - --format xlsx",
    ],
)
def test_what_is_no_text_is_refused_on_a_terminal(here, command):
    ours, terminal = pty.openpty()
    done = subprocess.run(
        ["/bin/sh", "-c", f"{ENS_IMAGES} {command}"],
        cwd=here,
        env=environment(here),
        stdout=terminal,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(terminal)
    try:
        shown = os.read(ours, 100)
    except OSError:  # Linux: nothing was written
        shown = b""
    os.close(ours)
    assert (done.returncode, shown) == (2, b"")
    assert done.stderr.count("\n") == 1
    assert "is no text, and standard output is a terminal: add `> FILE." in done.stderr
