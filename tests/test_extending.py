"""Every patch of docs/extending.md applies to this package, and the commands after it work."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pipeline
from pipeline.emulator import Endpoint, Key, living_account

ROOT = Path(pipeline.__file__).parent.parent
PAGE = (ROOT / "docs" / "extending.md").read_text("utf-8")
SECTIONS = re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL)
PATCHED = [(title, text) for title, text in SECTIONS if "```diff" in text]


def block(text: str, language: str) -> str:
    return "".join(re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize(("title", "text"), PATCHED, ids=[title for title, _ in PATCHED])
def test_a_change_applies_and_its_commands_work(title, text, tmp_path):
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "pipeline", tmp_path / "pipeline", ignore=ignored)
    patch = ["git", "apply", "--recount", "-C1", "--whitespace=nowarn", "-"]
    subprocess.run(patch, cwd=tmp_path, input=block(text, "diff"), text=True, check=True)

    with Endpoint({"emulator": Key("emulator", living_account(images=60, seed=4))}) as endpoint:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("ALIBABA_", "ENS_IMAGES_"))},
            "ALIBABA_CLOUD_ACCESS_KEY_ID": "emulator",
            "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "emulator",
            "ENS_IMAGES_ENDPOINT": endpoint.url,
            "HOME": str(tmp_path),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(tmp_path),
        }
        command = ["bash", "-euo", "pipefail", "-c", block(text, "sh")]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, f"{title}\n{done.stdout}{done.stderr}"
    assert done.stdout


def test_a_patch_touches_only_the_files_that_the_readme_names():
    readme = (ROOT / "README.md").read_text("utf-8").partition("## Where to change what")[2].partition("\n## ")[0]
    named = re.findall(r"`(pipeline/[\w/.]+?)(?:<name>\.\w+)?`", readme)
    touched = re.findall(r"^\+\+\+ b/(.*)$", PAGE, flags=re.MULTILINE)

    assert touched
    assert [
        path
        for path in touched
        if path not in named and not path.startswith(tuple(n for n in named if n.endswith("/")))
    ] == []
