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


TWICE = """
import signal, sys
import click
from pipeline.cli.exit_codes import run_command

class Stderr:
    def write(self, text):
        signal.raise_signal(signal.SIGINT)  # Ctrl-C once more, while the message of the first is written
    def flush(self):
        pass

@click.command()
def command():
    sys.stderr = Stderr()
    signal.raise_signal(signal.SIGINT)

code = run_command(command, [])
sys.stderr = sys.__stderr__
print(code)
"""


def test_a_second_interrupt_while_the_message_of_the_first_is_written_is_no_traceback(tmp_path):
    command, env = [sys.executable, "-c", TWICE], environment(tmp_path)
    done = subprocess.run(command, cwd=tmp_path, env=env, text=True, capture_output=True, timeout=30, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "130\n", "")
