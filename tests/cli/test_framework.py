"""Every command: help with examples, suggestions, completion, versions."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import requires, version

import pytest

from pipeline import cli
from pipeline.cli.framework import Command

COMMANDS = cli.commands.commands


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_ends_with_examples_that_are_commands(name, typed, tmp_path):
    (tmp_path / "nightly.toml").touch()
    code, out, _ = typed(name, "--help")
    shown = re.findall(r"^  ens-images (.*)$", out.partition("\nExamples:\n")[2], re.MULTILINE)

    assert code == 0
    assert shown
    assert isinstance(COMMANDS[name], Command)
    for example in shown:
        command, *words = shlex.split(re.sub(r" > \S+$", "", example))
        assert command == name
        with COMMANDS[name].make_context(name, words):
            pass


def test_the_list_of_commands_shows_each_summary_to_its_end(typed):
    _, out, _ = typed("--help")
    commands = out.partition("\nCommands:\n")[2]

    assert [line.split()[0] for line in commands.splitlines()] == [*COMMANDS]
    assert "..." not in commands


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rnu"], "No such command 'rnu'. Did you mean 'run'?"),
        (["exprot", "x", "y.csv"], "No such command 'exprot'. Did you mean 'export'?"),
        (["xyz"], "No such command 'xyz'.\n"),
        (["run", "--profle", "x"], "No such option '--profle'. (Did you mean one of: '--profile', '--profiles-from'?)"),
        (["status", "--fromat", "csv"], "Did you mean '--format'?"),
        (
            ["run", "--ratee", "3"],
            "No such option '--ratee'. (Did you mean one of: '--certificate', '--data', '--rate'?)",
        ),
        (["run", "-x"], "No such option '-x'.\n"),
        (["report", "--xyz"], "No such option '--xyz'.\n"),
        (["--verison"], "No such option '--verison'. Did you mean '--version'?"),
        (["-vv", "status"], "'-v' is an option of a command, and goes behind it: ens-images status -v"),
        (["--config", "x", "run"], "goes behind it: ens-images run --config"),
        (["--html", "x"], "goes behind it: ens-images report --html"),
        (["describe", "image_agee"], "did you mean image_age? there are images, "),
        (["emulate", "--fault", "deletion"], "no fault is called 'deletion': did you mean deletions? there are "),
    ],
)
def test_a_misspelled_word_is_named_with_the_nearest(typed, words, message):
    code, _, err = typed(*words)

    assert (code, message in err) == (2, True), err


@pytest.mark.parametrize("words", [["report"], ["export"], ["sql"]])
def test_a_misspelled_view_is_named_with_the_nearest(typed, lake, words):
    more = {"report": ["age_band"], "export": ["age_band", "x.csv"], "sql": ["from age_band"]}[words[0]]
    code, _, err = typed(*words, "--data", str(lake), *more)

    assert (code, "age_bands" in err.partition("there are")[0]) == (2, True), err


def test_a_misspelled_column_is_named_with_the_nearest(typed, lake):
    code, _, err = typed("sql", "--data", str(lake), "select image_nme from images_latest")

    assert (code, '"image_name"' in err) == (2, True), err
    code, _, err = typed("sql", "--data", str(lake), "from image_agee")
    assert (code, "image_age" in err.replace("image_agee", "")) == (2, True), err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_completion_script(shell, typed, monkeypatch):
    monkeypatch.setenv("_ENS_IMAGES_COMPLETE", f"{shell}_source")
    code, out, _ = typed()

    assert (code, "_ENS_IMAGES_COMPLETE" in out) == (0, True)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ens-images st", {"status"}),
        ("ens-images report age", {"age_bands"}),
        ("ens-images export image_a", {"image_age"}),
        ("ens-images run --cert", {"--certificate"}),
        ("ens-images run --certificate ver", {"verified"}),
    ],
)
def test_a_partial_command_line_is_completed(line, expected, typed, monkeypatch):
    monkeypatch.setenv("_ENS_IMAGES_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split()) - 1))
    _, out, _ = typed()

    assert {row.partition(",")[2] for row in out.split()} == expected


def test_the_completion_script_is_valid_bash():
    script = subprocess.run(
        [sys.executable, "-m", "pipeline"],
        env={**os.environ, "_ENS_IMAGES_COMPLETE": "bash_source"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    checked = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)  # noqa: S607

    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_version_lists_every_core_dependency(typed):
    code, out, _ = typed("--version")

    assert (code, out.splitlines()[0]) == (0, f"ens-images {version('ens-images')}")
    assert f"Python {sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}, " in out
    for line in requires("ens-images"):
        if "extra ==" not in line:
            name = re.match(r"[\w.-]+", line)[0]
            assert f"{name} {version(name)}" in out
