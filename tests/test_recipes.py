"""The recipes, as far as they run without a tool of their own; `make recipes` does the rest."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pipeline import cli, settings
from pipeline.errors import EnsImagesError
from pipeline.resources.tables import RESOURCES

RECIPES = Path(__file__).parent.parent / "docs" / "recipes"
HERE = str(Path(sys.executable).parent / "ens-images")
THERE = "/opt/ens-images/.venv/bin/ens-images"


def read(name: str) -> str:
    return (RECIPES / name).read_text("utf-8")


def commands_of(text: str) -> list[list[str]]:
    """The words of every call in a recipe, without what the shell takes."""
    return [re.split(r"\s+\d?>", line)[0].split() for line in re.findall(rf"{THERE} (.*)$", text, re.MULTILINE)]


@pytest.mark.parametrize("name", ["crontab", "ens-images.service"])
def test_every_command_of_a_recipe_is_one_that_there_is(name, monkeypatch):
    monkeypatch.setattr(settings, "load", lambda _: (settings.Settings(), None))
    calls = commands_of(read(name))

    assert calls
    for command, *words in calls:
        with cli.commands.commands[command].make_context(command, words):
            pass


def test_the_lines_of_the_crontab_are_lines_of_a_crontab():
    jobs = [
        line
        for line in read("crontab").splitlines()
        if line and not line.startswith("#") and "=" not in line.split()[0]
    ]

    assert len(jobs) == 2
    for job in jobs:
        assert re.fullmatch(r"(\d+|\*) (\d+|\*) (\S+) (\S+) (\S+) +/\S+ .*", job)
        assert "%" not in job  # cron takes it for a line's end


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not here")
def test_systemd_finds_nothing_in_the_units(tmp_path):
    for name in ("ens-images.service", "ens-images.timer"):
        (tmp_path / name).write_text(read(name).replace(THERE, HERE))
    units = [tmp_path / "ens-images.timer", tmp_path / "ens-images.service"]
    command = ["systemd-analyze", "verify", "--man=no", *map(str, units)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_the_service_tries_again_after_the_one_code_for_which_that_can_help():
    codes = {kind.exit_code for kind in everything_raised(EnsImagesError)}
    (said,) = re.findall(r"^RestartPreventExitStatus=(.*)$", read("ens-images.service"), re.MULTILINE)

    assert {int(code) for code in said.split()} == codes - {5}
    tree = ast.parse(read("ens_images_dag.py"))
    later = [
        node.value.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "TRY_LATER"
    ]
    assert later == [5]


def everything_raised(kind: type[EnsImagesError]) -> list[type[EnsImagesError]]:
    return [kind, *(each for sub in kind.__subclasses__() for each in everything_raised(sub))]


def test_the_image_is_small_runs_as_nobody_in_particular_and_writes_to_one_folder():
    text = read("Dockerfile")
    instructions = re.findall(r"^([A-Z]+) (.*)$", text, re.MULTILINE)
    of = {name: [value for each, value in instructions if each == name] for name, _ in instructions}

    assert of["USER"] == ["10001"]
    assert of["VOLUME"] == of["WORKDIR"][-1:] == ["/srv/ens-images"]
    assert [image.split()[0].rpartition("-")[2] for image in of["FROM"]] == ["slim", "slim"]
    assert "ADD" not in of
    assert not re.search("secret|token|password", text, re.IGNORECASE)
    assert "--read-only" in text
    command = json.loads(of["ENTRYPOINT"][0]) + json.loads(of["CMD"][0])
    assert command == ["ens-images", "run"]
    project = tomllib.loads((RECIPES.parent.parent / "pyproject.toml").read_text("utf-8"))["project"]
    copied = {word for line in of["COPY"] for word in line.split()[:-1]}
    assert {"pyproject.toml", "pipeline", project["readme"], *project["license-files"]} <= copied


def test_the_policy_allows_the_calls_that_are_made_and_no_others():
    policy = json.loads(read("ram-policy.json"))
    actions = [resource.action.permission for resource in RESOURCES]

    assert policy == {"Version": "1", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}


def test_the_settings_are_settings():
    said, _ = settings.load(RECIPES / "ens-images.toml")

    assert [entry.name for entry in said.accounts] == ["prod", "test"]
    assert said.after_run.prune


def test_the_dag_is_python_and_imports_nothing_of_ours():
    tree = ast.parse(read("ens_images_dag.py"))
    modules = {node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}

    assert modules == {"__future__", "airflow"}
