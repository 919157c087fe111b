"""A container with a user id that no file lists, without HOME: every command works, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.emulator import Endpoint, Key, living_account

CLONE = Path(__file__).parent.parent

NOBODY = ["unshare", "--user", "--map-user=54321"]
"""Runs a command as a user id that no file lists: a namespace of its own, as a container has."""

pytestmark = pytest.mark.skipif(
    subprocess.run([*NOBODY, "true"], capture_output=True, check=False).returncode != 0
    if shutil.which(NOBODY[0])
    else True,
    reason="this machine grants no user namespace",
)


def without_home(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    folder.chmod(0o777)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(CLONE), **more}
    command = [*NOBODY, sys.executable, "-m", "pipeline", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False)


def test_a_run_with_everything_after_it_works_without_a_home(tmp_path):
    (tmp_path / "ens-images.toml").write_text(
        '[after_run]\nprune = true\nexport = "exports"\nexport_formats = ["csv", "xlsx"]\nhtml = "page.html"\n'
    )
    keys = {"ALIBABA_CLOUD_ACCESS_KEY_ID": "emulator", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "emulator"}
    with Endpoint({"emulator": Key("emulator", living_account(images=3))}) as endpoint:
        done = without_home(tmp_path, "run", "--endpoint", endpoint.url, **keys)

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "page.html").stat().st_size > 100_000
    assert [*(tmp_path / "exports").glob("*.xlsx")]
    assert {path.name for path in tmp_path.iterdir()} == {"ens-images.toml", "data", "exports", "page.html"}


def test_every_command_that_reads_works_without_a_home(own_lake, tmp_path):
    (tmp_path / "unwritable").mkdir(mode=0o555)
    homes: list[dict[str, str]] = [{}, {"HOME": "/nonexistent"}, {"HOME": str(tmp_path / "unwritable")}]
    for command, home in zip((["report"], ["sql", "select 1"], ["status"]), homes, strict=True):
        done = without_home(tmp_path, *command, "--data", str(own_lake), **home)

        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert [*(tmp_path / "unwritable").iterdir()] == []
    assert not (tmp_path / "~").exists()


def test_a_path_in_a_home_that_is_not_there_is_an_error_in_one_line(tmp_path):
    (tmp_path / "ens-images.toml").write_text('data = "~/lake"\n')

    done = without_home(tmp_path, "status")

    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "'~/lake'" in done.stderr
    assert "give the path in full" in done.stderr
