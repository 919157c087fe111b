"""Paths as users write them: `~` is the home everywhere, and what is no path is one line before anything is written."""

import os
from pathlib import Path

import pytest
from test_cli import KEYS

from pipeline import export, run
from pipeline.credentials import key_account
from pipeline.errors import BadSetting
from pipeline.storage.store import open_location


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A home of the user, beside the working folder."""
    folder = tmp_path.with_name(f"{tmp_path.name}-home")
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    return folder


def files_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".cache")


def test_a_tilde_is_the_home_in_every_option_and_variable(typed, serve, tmp_path, home, monkeypatch):
    (home / "settings.toml").write_text('[after_run]\nexport = "~/after"\n')
    monkeypatch.setenv("ENS_IMAGES_DATA", "~/lake")
    url = serve(images=3).url
    for words in (
        ["run", "--endpoint", url, "--summary", "~/summary.json", "--config", "~/settings.toml"],
        ["export", "images", "~/images.csv"],
        ["rebuild", "--data", "~/lake", "--into", "~/copy"],
    ):
        code, _, err = typed(*words)
        assert code == 0, err

    assert not list(tmp_path.iterdir())
    assert files_below(home) == [
        "after", "copy", "images.csv", "lake", "settings.toml", "summary.json"
    ]  # fmt: skip


def test_a_tilde_is_the_home_in_a_call(serve, home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("~/lake", accounts=[key_account("a", "emulator", "emulator")], endpoint=serve(images=3).url)
    export("images", "~/images.csv", "~/lake")

    assert files_below(home) == ["images.csv", "lake"]
    assert not list(tmp_path.iterdir())


WRONG = {"": "empty", "~nobody-here/x": "home that is not known", os.fsdecode(b"x\xff"): "not UTF-8"}


@pytest.mark.parametrize(("path", "reason"), WRONG.items())
@pytest.mark.parametrize(
    "words",
    [
        ["run", "--data"],
        ["run", "--summary"],
        ["run", "--config"],
        ["run", "--profiles-from"],
        ["status", "--data"],
        ["rebuild", "--into"],
        ["report", "--html"],
        ["export", "--all"],
        ["export", "images"],
        ["demo", "--data"],
        ["emulate", "--file"],
    ],
)
def test_what_is_no_path_is_one_error_that_says_why(typed, tmp_path, words, path, reason):
    code, out, err = typed(*words, path)

    assert (code, out) == (2, "")
    assert reason in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a\\b", "a?b", "\udcff"])
def test_a_folder_below_which_duckdb_writes_nothing_is_refused_first(typed, tmp_path, name, monkeypatch):
    with pytest.raises(BadSetting, match="rename"):
        open_location(tmp_path / name)
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)  # also where the folder above has that name
    with pytest.raises(BadSetting, match="rename the folder"):
        open_location("data")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    code, _, err = typed("run", "--data", name)

    assert code == 2, err
    assert not list((tmp_path / name).iterdir())


def test_a_query_that_is_not_utf_8_is_bad_sql(typed, lake):
    code, _, err = typed("sql", "--data", str(lake), "select '\udcff'")

    assert (code, "not UTF-8" in err) == (2, True)
