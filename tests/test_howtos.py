"""Every command, query, script and setting that the documentation shows runs, in order, a page in a folder of its own.

The tools of other houses that a page calls (cron, systemd, docker, the vendor's own) are stood in for by one that
accepts everything: what is given to them is held to its promise by test_recipes.py. `pip` is stood in for by one that
knows the extras, `make` by itself, asked what it would do, and a bucket by a folder: `make cloud` has a server for it.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import in_this_process

from pipeline import cli, errors, settings
from pipeline.emulator import Endpoint, Key, living_account
from pipeline.extract.completeness import LEVELS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
SHOWN = ("README.md", "data/README.md", "notebooks/README.md", *(f"docs/{page.name}" for page in DOCS.glob("*.md")))
# Pages that are written by what they report on.
REPORTS = {"benchmark.md", "benchmark-history.md", "beyond.md", "engines.md", "reliability.md"}
PAGES = sorted(page.name for page in DOCS.glob("*.md") if page.name not in REPORTS)
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```\n", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?<=\n\n)(?: {4}.*\n)+")
RUN = {"sh", "sql", "python", "toml"}
DIAGRAMS = ("    API ", "    cli/ ")  # the README's data flow and package map; other indented blocks would run nowhere
NOT_RUN_HERE = {
    ("README.md", "console"): "test_documentation.py runs them, and compares what they print",
    ("docs/extending.md", "diff"): "test_extending.py applies them to a copy of the package",
    ("docs/extending.md", "sh"): "test_extending.py runs them there",
    ("docs/spark.md", "python"): "Spark wants Java and an environment of its own (`make spark`): it is parsed",
}
READERS_NOT_HERE = [
    name
    for name in ("dask", "fastparquet", "deltalake", "datafusion", "chdb")
    if importlib.util.find_spec(name) is None
]
FILLED_IN = {"KEY_ID=…": "KEY_ID=prod", "KEY_SECRET=…": "KEY_SECRET=emulator"}
ELSEWHERE = ("aliyun", "crontab", "systemctl", "docker")
PIP = """#!{python}
import re, sys, tomllib

known = tomllib.load(open({project!r}, "rb"))["project"]["optional-dependencies"]
command, *wanted = sys.argv[1:]
found = [re.fullmatch(r"ens-images\\[([\\w,]+)\\]", name) for name in wanted]
sys.exit(command != "install" or not found or any(not m or set(m[1].split(",")) - set(known) for m in found))
"""
BUCKET = """
import functools
from pathlib import Path

from pipeline.storage import configuration

@functools.cache
def object_client(_, name, **__):
    from obstore.store import LocalStore
    return LocalStore(Path.home() / "buckets" / name, mkdir=True)

configuration.object_client = object_client
"""


def blocks(page: str) -> list[tuple[str, str]]:
    """The fenced blocks of a page, in order: language and text."""
    found = BLOCK.findall((ROOT / page).read_text("utf-8"))
    return [(language, re.sub(rf"^{indent}", "", text, flags=re.MULTILINE)) for indent, language, text in found]


def is_of_a_reader_that_is_not_here(text: str) -> bool:
    """True for a script of another reader that is not installed: `make readers` installs these and runs the page."""
    return any(f"\nfrom {name}" in f"\n{text}" or f"\nimport {name}" in f"\n{text}" for name in READERS_NOT_HERE)


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
    for folder in ("bin", "units", "dags", "instead"):
        (tmp_path / folder).mkdir()
    tools = dict.fromkeys(ELSEWHERE, "#!/bin/sh\nexit 0\n")
    tools["git"] = "#!/bin/sh\nmkdir ens-images\n"
    tools["make"] = f'#!/bin/sh\nexec {shutil.which("make")} --dry-run --silent --directory {ROOT} "$@"\n'
    tools["pip"] = PIP.format(python=sys.executable, project=str(ROOT / "pyproject.toml"))
    for name, text in tools.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "instead" / "sitecustomize.py").write_text(BUCKET)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ALIBABA_", "ENS_IMAGES_"))}
    stocks = {"prod": living_account(images=60, seed=4), "test": living_account(images=60, seed=5)}
    keys = {name: Key("emulator", stock) for name, stock in stocks.items()}
    with Endpoint(keys) as endpoint:
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
    for blank, filled in FILLED_IN.items():
        text = text.replace(blank, filled)
    if language == "sql":
        done = in_this_process(home, "sql", text, environment=desk)
    else:
        command = {"sh": ["bash", "-euo", "pipefail", "-c", text], "python": [sys.executable, "-c", text]}[language]
        done = subprocess.run(command, cwd=home, env=desk, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.mark.parametrize("page", sorted(page for page in SHOWN if blocks(page)))
def test_what_a_page_shows_runs(page, desk):
    there = [
        (language, text)
        for language, text in blocks(page)
        if (page, language) not in NOT_RUN_HERE and not is_of_a_reader_that_is_not_here(text)
    ]
    if any("s3://" in text for _, text in there):
        desk["PYTHONPATH"] = os.pathsep.join([str(Path(desk["HOME"]) / "instead"), desk.get("PYTHONPATH", "")])
    first = [text for language, text in there if language == "sh" and "ens-images run" in text]
    if not first and any(re.search("ens-images (?!views --engine)|from pipeline|^select|^from", x) for _, x in there):
        run("sh", "ens-images run --profile prod", desk)  # a page that reads begins with a lake

    said = "".join(run(language, text, desk) for language, text in there)
    assert "Traceback" not in said


@pytest.mark.parametrize("page", SHOWN)
def test_nothing_that_a_page_shows_is_left_out(page):
    text = (ROOT / page).read_text("utf-8")
    plain = BLOCK.sub("", text)
    languages = {language for language, _ in blocks(page)}

    assert "```" not in plain, "a block without a language"
    assert [block for block in INDENTED.findall(plain) if not block.startswith(DIAGRAMS)] == []
    assert {(page, language) for language in languages - RUN} <= {*NOT_RUN_HERE}


@pytest.mark.parametrize("page", [page for page, language in NOT_RUN_HERE if language == "python"])
def test_python_that_is_only_parsed_imports_what_there_is(page):
    code = ast.parse("".join(text for language, text in blocks(page) if language == "python"))
    imports = [node for node in ast.walk(code) if isinstance(node, ast.ImportFrom)]
    ours = [(node.module, name.name) for node in imports for name in node.names if node.module.startswith("pipeline")]

    assert ours
    assert [name for module, name in ours if not hasattr(importlib.import_module(module), name)] == []


@pytest.mark.parametrize("page", SHOWN)
def test_a_command_in_a_sentence_is_one_that_there_is(page):
    text = BLOCK.sub("", (ROOT / page).read_text("utf-8"))
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]

    assert {*re.findall(r"`make ([\w-]+)", text)} <= {*targets}
    assert {*re.findall(r"ens-images\[(\w+)\]", text)} <= {*extras}
    for said in re.findall(r"`ens-images ([^`\n]+)`", text):
        name, *words = shlex.split(said)
        if name.startswith("-"):
            assert name in {spelled for option in cli.commands.params for spelled in option.opts}
        else:
            cli.commands.commands[name].make_context(name, words).close()


def test_every_page_is_linked_from_the_readme():
    readme = (DOCS.parent / "README.md").read_text("utf-8")

    assert [page for page in PAGES if f"(docs/{page})" not in readme] == []


def test_every_recipe_is_linked_from_a_page():
    said = "".join((DOCS / page).read_text("utf-8") for page in PAGES)

    assert [file.name for file in (DOCS / "recipes").iterdir() if f"(recipes/{file.name})" not in said] == []


def test_every_exit_code_error_and_certificate_is_told():
    text = (DOCS / "exit-codes.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d) \|[^|]*\|([^|]*)\|", text, re.MULTILINE)
    told_apart = (errors.Refused, *(kind for kind in raised(errors.EnsImagesError) if not kind.__subclasses__()))
    leaves = [kind for kind in raised(errors.EnsImagesError) if kind in told_apart]
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
