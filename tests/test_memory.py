"""Too little memory is one line and no damage; a query of a user has a limit."""

import errno
import os
import resource
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import OutOfMemory
from pipeline.jobs.run import run
from pipeline.lake.check import check
from pipeline.storage.folder import FolderStore
from pipeline.views.connection import connect

MIB = 1 << 20


@pytest.mark.parametrize("words", [["check"], ["report"], ["rebuild"], ["export", "images", "x.parquet"]])
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds the address space")
def test_a_command_without_enough_memory_ends_with_one_line(kept_lake, tmp_path, words):
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *words, "--data", str(kept_lake)],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (100 * MIB, 100 * MIB)),
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (5, "", 1), done.stderr
    assert done.stderr.startswith("error: OutOfMemory: there is too little memory")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("owner", "name", "error"),
    [
        (pq.ParquetFile, "read", pa.ArrowMemoryError("malloc of size 320 failed")),
        (pq.ParquetFile, "read_row_group", pa.ArrowMemoryError("malloc of size 320 failed")),
        (FolderStore, "content", OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))),
    ],
)
@pytest.mark.parametrize("deep", [False, True])
def test_check_does_not_take_too_little_memory_for_damage(
    serve, account, tmp_path, monkeypatch, owner, name, error, deep
):

    run(tmp_path / "data", accounts=[account], endpoint=serve(images=3).url)
    assert check(tmp_path / "data", deep=deep).is_intact

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(owner, name, fail)
    with pytest.raises(OutOfMemory, match="too little memory"):
        check(tmp_path / "data", deep=deep)


GREEDY = "select list(range) from range(100000000)"


def test_a_query_has_a_memory_limit(typed, lake, tmp_path):
    code, out, err = typed("sql", "--data", str(lake), "--memory-limit", "100MB", GREEDY)

    assert (code, out, err.count("\n")) == (5, "", 1), err
    assert "--memory-limit" in err
    (tmp_path / "ens-images.toml").write_text("memory_limit = '100MB'")
    assert typed("sql", "--data", str(lake), GREEDY)[0] == 5
    limit = "select current_setting('memory_limit') as size"
    assert "95.3 MiB" in typed("sql", "--data", str(lake), limit)[1]
    assert "190.7 MiB" in typed("sql", "--data", str(lake), "--memory-limit", "200 MB", limit)[1]


def test_the_limit_is_half_of_what_duckdb_may_use_by_default(typed, lake):
    half = connect(lake, memory_limit="50%").sql("select current_setting('memory_limit')").fetchall()[0][0]
    _, out, _ = typed("sql", "--data", str(lake), "--format", "csv", "select current_setting('memory_limit')")

    assert out.splitlines()[-1] == half
    assert half != connect(lake).sql("select current_setting('memory_limit')").fetchall()[0][0]


@pytest.mark.parametrize("size", ["", "0", "0%", "0MB", "lots", "-1", "4", "1e3GB", "50 %%", "4PB"])
def test_a_memory_limit_that_is_none_is_refused(typed, lake, size):
    code, _, err = typed("sql", "--data", str(lake), "--memory-limit", size, "select 1")

    assert (code, "is no amount of memory" in err) == (2, True)
