"""The documentation shows what the commands print."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bench import comparison

import pipeline
from pipeline import connect
from pipeline.reports.standing import STANDING
from pipeline.views.database import write_catalog

ROOT = Path(pipeline.__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def ens_images(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True)


@pytest.fixture(scope="module")
def after_the_demo(tmp_path_factory, demo_lake) -> Path:
    """A folder in which `make demo` has been."""
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(demo_lake, folder / "data" / "demo")
    write_catalog(folder / "data" / "demo")  # it holds absolute paths
    return folder


def shown() -> list[tuple[str, str]]:
    """Each command of the README's console blocks, and what it is shown to print."""
    blocks = re.findall(r"^```console\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    parts = [part for block in blocks for part in re.split(r"^\$ ", block, flags=re.MULTILINE) if part]
    return [(part.partition("\n")[0], part.partition("\n")[2]) for part in parts]


@pytest.mark.parametrize(("command", "output"), shown(), ids=[command for command, _ in shown()])
def test_a_command_of_the_readme_prints_what_the_readme_shows(after_the_demo, command, output):
    words = re.findall(r'"([^"]*)"|(\S+)', command.removeprefix(".venv/bin/ens-images "))
    done = ens_images(after_the_demo, *(quoted or plain for quoted, plain in words))

    assert done.stdout + done.stderr == output


def test_the_readme_shows_the_package_map():
    assert pipeline.__doc__
    packages = re.findall(r"^    (?:\w+\.py|\w+/) .*$", pipeline.__doc__, flags=re.MULTILINE)

    assert "\n".join(packages) in README


def test_the_readme_has_the_sections_of_the_house_style_within_200_lines():
    titles = re.findall(r"^## (.*)$", re.sub(r"^```.*?^```", "", README, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)

    assert titles == [
        "One screen of commands",
        "Data flow",
        "Package map",
        "Where to change what",
        "Data dictionary and documentation",
        "How to test",
    ]
    assert len(README.splitlines()) <= 200


def test_every_file_and_folder_that_the_readme_tells_to_change_exists():
    table = README.partition("## Where to change what")[2].partition("##")[0]
    paths = re.findall(r"`(pipeline/[\w/.]+?)(?:<name>\.\w+)?`", table)

    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_command_stands_in_the_readme():
    from pipeline.cli import commands

    for name in commands.commands:
        assert f"`{name}`" in README


def test_the_dictionary_is_what_the_code_says():
    said = ens_images(ROOT, "describe", "--format", "markdown").stdout

    assert (ROOT / "data" / "dictionary.md").read_text("utf-8") == said, "run `make docs`"


def test_the_questions_are_what_the_code_says():
    said = ens_images(ROOT, "questions", "--format", "markdown").stdout

    assert (ROOT / "data" / "questions.md").read_text("utf-8") == said, "run `make docs`"


def test_the_comparison_shows_the_last_measurement():
    found = json.loads((ROOT / "docs" / "benchmark.json").read_text("utf-8"))

    assert comparison(found) in (ROOT / "docs" / "comparison.md").read_text("utf-8"), "run `make bench`"


def test_the_links_of_the_documentation_lead_somewhere():
    for page in [ROOT / "README.md", *ROOT.glob("data/*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("notebooks/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8")):
            assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_demo_has_what_its_reports_tell(after_the_demo):
    with connect(after_the_demo / "data" / "demo") as lake:
        for view in STANDING:
            assert lake.execute(f"select count(*) from {view}").fetchall()[0][0] > 0  # noqa: S608  (a known name)
