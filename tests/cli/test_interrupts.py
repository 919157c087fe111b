"""Ctrl-C at any time: 130, at most one line, no traceback."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_cli import KEYS, environment

pytestmark = pytest.mark.usefixtures("default_sigint")
ENDLESS = "select count(*) from range(3000000) a, range(1000000) b where a.range * b.range % 7 = 3"


def interrupted(
    cwd: Path, *words: str, once_loaded: str, pauses: tuple[float, ...] = (0,)
) -> subprocess.CompletedProcess:
    """Interrupt a command after each pause, the first once it has loaded a library of this name."""
    with subprocess.Popen(
        [sys.executable, "-m", "pipeline", *words],
        cwd=cwd,
        env=environment(cwd, **KEYS),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        maps = Path(f"/proc/{process.pid}/maps")
        while process.poll() is None and once_loaded not in maps.read_text():
            time.sleep(0.002)
        for pause in pauses:
            time.sleep(pause)
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    return subprocess.CompletedProcess(words, process.returncode, out, err)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux says which libraries a process has loaded")
@pytest.mark.parametrize(
    ("words", "once_loaded", "pauses"),
    [
        (["report"], "msgspec", (0,)),  # while the command line is imported
        (["run", "--endpoint", "http://127.0.0.1:9"], "msgspec", (0.05,)),
        (["run", "--endpoint", "http://127.0.0.1:9"], "pyarrow", (0, 0.01)),  # twice, while the command is
        (["sql", ENDLESS], "duckdb", (1,)),
        (["sql", ENDLESS], "duckdb", (1, 0.02)),
    ],
)
def test_an_interrupt_ends_a_command_with_130_and_no_traceback(kept_lake, tmp_path, words, once_loaded, pauses):
    data = tmp_path / "new" if "run" in words else kept_lake
    done = interrupted(tmp_path, *words, "--data", str(data), once_loaded=once_loaded, pauses=pauses)

    assert done.returncode in {130, -signal.SIGINT}  # which a shell reports as 130 too
    assert done.stdout == ""
    assert done.stderr in {"", "stopped: no partial result was published\n"}
