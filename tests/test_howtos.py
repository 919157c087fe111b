"""Every command, query, script and setting of docs/ runs, in order, a page in a folder of its own.

The tools of other houses that a page calls (cron, systemd, docker, the vendor's own) are stood in for by one that
accepts everything: what is given to them is held to its promise by test_recipes.py.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import errors, settings
from pipeline.certificate import LEVELS
from pipeline.emulator import Endpoint, Key, living_account

DOCS = Path(__file__).parent.parent / "docs"
REPORTS = {"benchmark.md", "benchmark-history.md", "reliability.md"}  # written by what they report on
PAGES = sorted(page.name for page in DOCS.glob("*.md") if page.name not in REPORTS)
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
ELSEWHERE = ("aliyun", "crontab", "systemctl", "docker")


def blocks(page: str) -> list[tuple[str, str]]:
    """The fenced blocks of a page, in order: language and text."""
    found = BLOCK.findall((DOCS / page).read_text("utf-8"))
    return [(language, re.sub(rf"^{indent}", "", text, flags=re.MULTILINE)) for indent, language, text in found]


@pytest.fixture
def desk(tmp_path):
    """A user's folder: two profiles, an endpoint, and the repository's docs beside it; the environment to work in."""
    (tmp_path / ".aliyun").mkdir()
    profiles = [
        {"name": name, "mode": "AK", "access_key_id": name, "access_key_secret": "emulator"}
        for name in ("prod", "test")
    ]
    (tmp_path / ".aliyun" / "config.json").write_text(json.dumps({"current": "prod", "profiles": profiles}))
    (tmp_path / "docs").symlink_to(DOCS)
    for folder in ("bin", "units", "dags"):
        (tmp_path / folder).mkdir()
    for name in ELSEWHERE:
        (tmp_path / "bin" / name).write_text("#!/bin/sh\nexit 0\n")
        (tmp_path / "bin" / name).chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ALIBABA_", "ENS_IMAGES_"))}
    with Endpoint({name: Key("emulator", living_account(images=60, seed=4)) for name in ("prod", "test")}) as endpoint:
        yield {
            **kept,
            "HOME": str(tmp_path),
            "PATH": f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "UNITS": str(tmp_path / "units"),
            "DAGS": str(tmp_path / "dags"),
            "ENS_IMAGES_ENDPOINT": endpoint.url,
            "COLUMNS": "100",
        }


def run(language: str, text: str, desk: dict[str, str]) -> str:
    """Run one block as its reader would; what it printed."""
    home = Path(desk["HOME"])
    if language == "toml":
        (home / settings.FILE).write_text(text)
        settings.load(home / settings.FILE)
        return ""
    command = {
        "sh": ["bash", "-euo", "pipefail", "-c", text],
        "sql": [sys.executable, "-m", "pipeline", "sql", text],
        "python": [sys.executable, "-c", text],
    }[language]
    done = subprocess.run(command, cwd=home, env=desk, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_shows_runs(page, desk):
    there = blocks(page)
    first = [text for language, text in there if language == "sh" and "ens-images run" in text]
    if not first:  # a page that reads begins with a lake
        run("sh", "ens-images run --profile prod", desk)

    said = "".join(run(language, text, desk) for language, text in there)
    assert said
    assert "Traceback" not in said


def test_every_page_is_linked_from_the_readme():
    readme = (DOCS.parent / "README.md").read_text("utf-8")

    assert [page for page in PAGES if f"(docs/{page})" not in readme] == []


def test_every_recipe_is_linked_from_a_page():
    said = "".join((DOCS / page).read_text("utf-8") for page in PAGES)

    assert [file.name for file in (DOCS / "recipes").iterdir() if f"(recipes/{file.name})" not in said] == []


def test_every_exit_code_error_and_certificate_is_told():
    text = (DOCS / "exit-codes.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d) \|[^|]*\|([^|]*)\|", text, re.MULTILINE)
    leaves = [kind for kind in raised(errors.EnsImagesError) if not kind.__subclasses__()]
    codes = {kind.exit_code: [x.__name__ for x in leaves if x.exit_code == kind.exit_code] for kind in leaves}

    assert {int(code): re.findall(r"`(\w+)`", names) for code, names in rows} == {0: [], **codes}
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == [*reversed(LEVELS)]


def raised(kind: type[Exception]) -> list[type[Exception]]:
    """An error and all below it, in the order of the tree."""
    return [kind, *(each for sub in kind.__subclasses__() for each in raised(sub))]


def test_each_way_to_schedule_has_five_lines_on_when_to_choose_it():
    text = (DOCS / "scheduling.md").read_text("utf-8")
    sections = re.findall(r"^## .*?\n\n(.*?)\n\n```", text, re.MULTILINE | re.DOTALL)

    assert [len(section.splitlines()) for section in sections] == [5, 5, 5, 5]
    assert all(section.startswith("Choose it ") for section in sections)
