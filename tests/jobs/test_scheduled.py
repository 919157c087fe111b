"""A run and what follows it: each step tried and told, the largest code, a summary that is old or new."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from pipeline.credentials import key_account
from pipeline.errors import BadSetting, LakeDamaged
from pipeline.jobs import scheduled as module
from pipeline.jobs.scheduled import scheduled_run
from pipeline.lake.lock import lock
from pipeline.settings import AfterRun

if TYPE_CHECKING:
    from pathlib import Path

FINE = key_account("fine", "emulator", "emulator")
REFUSED = key_account("refused", "emulator", "wrong")


@pytest.fixture(autouse=True)
def accounts(monkeypatch):
    """The accounts that are listed: the one that is fine, unless a test says otherwise."""
    listed = [FINE]
    monkeypatch.setattr(module, "select_accounts", lambda *_: listed)
    return listed


def night(data: Path, url: str, *, raw_older_than: str | None = "0d", **after: Any):
    retention = {"raw_older_than": raw_older_than, "grace": "0s"}
    file = data / "out" / "night.json"
    return scheduled_run(data, after=AfterRun(**after), retention=retention, endpoint=url, summary=file)


def summary(data: Path) -> dict[str, Any]:
    return json.loads((data / "out" / "night.json").read_text("utf-8"))


def test_a_run_alone_is_a_run_and_a_summary(serve, tmp_path):
    done = night(tmp_path, serve(images=3).url)

    assert (done.exit_code, [step.name for step in done.steps]) == (0, ["run"])
    assert str(done).startswith("fine: verified, 3 images")
    told = summary(tmp_path)
    assert (told["exit_code"], told["run_id"]) == (0, done.run.run_id)
    (account,) = told["accounts"]
    expected = {"account": "fine", "is_published": True, "certificate": "verified", "image_count": 3, "exit_code": 0}
    assert expected.items() <= account.items()
    assert told["ended_at_utc"] >= told["began_at_utc"]


def test_each_step_has_its_line_and_its_result(serve, tmp_path):
    url = serve(images=3).url
    night(tmp_path, url)
    views, page = tmp_path / "views", tmp_path / "html" / "report.html"
    done = night(tmp_path, url, prune=True, export=str(views), export_formats=("csv", "parquet"), page=str(page))

    assert [(step.name, step.exit_code) for step in done.steps] == [
        ("run", 0),
        ("prune", 0),
        ("export", 0),
        ("page", 0),
    ]
    _, prune, export, paged = str(done).splitlines()
    written = [file.name for file in views.iterdir() if file.suffix != ".json"]
    assert prune.startswith("prune: ")
    assert export == f"export: {len(written)} files in {str(views)!r}"
    assert {"capacity_by_region.csv", "capacity_by_region.parquet"} <= set(written)
    assert paged == f"page: {str(page)!r}"
    assert "<html" in page.read_text("utf-8")[:200]
    assert [step["step"] for step in summary(tmp_path)["steps"]] == ["run", "prune", "export", "page"]


def test_a_step_that_cannot_be_done_says_what_is_in_the_way(serve, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    done = night(tmp_path, serve(images=3).url, export=str(tmp_path / "mine"))

    assert [step.exit_code for step in done.steps] == [0, 2]
    assert "is no earlier export" in str(done)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "mine"


def test_the_largest_code_is_the_nights_and_no_step_costs_another(serve, tmp_path, accounts, monkeypatch):
    accounts.append(REFUSED)

    def damaged(*_: object, **__: object) -> str:
        raise LakeDamaged("a file is missing")

    monkeypatch.setattr(module, "prune", damaged)
    done = night(tmp_path, serve(images=3).url, prune=True)

    assert (done.exit_code, [step.exit_code for step in done.steps]) == (6, [4, 6])
    assert str(done).splitlines()[-1] == "prune: error: LakeDamaged: a file is missing"
    assert {row["account"]: row["exit_code"] for row in summary(tmp_path)["accounts"]} == {"fine": 0, "refused": 4}


def test_nothing_follows_a_run_that_did_not_come_to_its_end(serve, tmp_path):
    with lock(tmp_path):
        done = night(tmp_path, serve(images=3).url, prune=True)

    assert (done.exit_code, [step.name for step in done.steps]) == (5, ["run"])
    assert str(done).startswith("error: LakeLocked: ")
    assert (summary(tmp_path)["exit_code"], summary(tmp_path)["accounts"]) == (5, [])


def test_what_was_asked_in_vain_is_a_result_too(tmp_path, monkeypatch):
    def twice(*_: object) -> None:
        raise BadSetting("account 'a' is named twice")

    monkeypatch.setattr(module, "select_accounts", twice)
    assert night(tmp_path, "http://127.0.0.1:9").exit_code == summary(tmp_path)["exit_code"] == 2


def test_a_mistake_of_ours_is_no_silent_success(tmp_path, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(module, "run", broken)
    with pytest.raises(ZeroDivisionError):
        night(tmp_path, "http://127.0.0.1:9")
    assert summary(tmp_path)["exit_code"] == 1
    assert summary(tmp_path)["steps"][-1]["said"] == "ended by ZeroDivisionError"


def test_the_summary_is_the_old_one_until_it_is_the_new_one(serve, tmp_path, monkeypatch):
    url = serve(images=3).url
    night(tmp_path, url)
    before = summary(tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device", "x")))
        broken.setattr(module, "run", lambda *_, **__: (_ for _ in ()).throw(BadSetting("x")))
        done = night(tmp_path, url)

    assert summary(tmp_path) == before
    assert (done.exit_code, done.steps[-1].name) == (2, "summary")
    assert "No space left" in str(done)


def test_accounts_at_endpoints_of_their_own_are_one_run(serve, tmp_path, accounts):
    first, second = serve(images=3), serve(images=5)
    other = key_account("other", "emulator", "emulator")
    other.endpoint = second.url
    accounts.append(other)
    done = night(tmp_path, first.url)

    assert {row["account"]: (row["image_count"], row["endpoint"]) for row in done.run.observations} == {
        "fine": (3, first.url),
        "other": (5, second.url),
    }
    (record,) = (tmp_path / "lake" / "observations").rglob("*.parquet")
    assert pq.read_table(record).column("endpoint").to_pylist() == [first.url, second.url]


def test_the_settings_say_what_follows(serve, typed, tmp_path):
    url = serve(images=3).url
    (tmp_path / "ens-images.toml").write_text(
        f"endpoint = '{url}'\ndata = 'lake'\nraw_older_than = '0d'\nsummary = 'night.json'\n[after_run]\nprune = true\n"
    )
    assert typed("run")[0] == 0
    code, out, err = typed("run")

    assert (code, out) == (0, "")
    assert err.splitlines()[-1].startswith("prune: ")
    told = json.loads((tmp_path / "night.json").read_text())
    assert (told["data"], [step["step"] for step in told["steps"]]) == (str(tmp_path / "lake"), ["run", "prune"])
    (tmp_path / "ens-images.toml").write_text("raw_older_than = 'soon'\n[after_run]\nprune = true\n")
    code, _, err = typed("run", "--endpoint", url)
    assert (code, err.count("verified")) == (2, 0)  # known before the night begins
    assert "raw_older_than: 'soon' is no span of time" in err


@pytest.mark.parametrize(
    ("words", "line", "says"),
    [
        (["--ratee", "3", "--summary", "night.json"], "", "error: No such option"),
        (["--summary=night.json", "--rate", "fast"], "", "error: Invalid value for '--rate'"),
        (["--summary", "night.json", "more"], "", "error: Got unexpected extra argument"),
        (["--summary", "night.json", "--config", "none.toml"], "", "error: BadSetting: there is no settings file"),
        ([], "summary = 'night.json'\nratee = 3", "error: BadSetting: 'ens-images.toml': ratee is no setting"),
        ([], "summary = 'night.json'\nrate = -3", "error: BadSetting: 'ens-images.toml': rate: -3.0 is not in"),
        (["--profiles-from", "none.txt"], "summary = 'night.json'", "error: Invalid value for '--profiles-from'"),
    ],
)
def test_a_wrong_line_leaves_no_summary_of_yesterday(typed, tmp_path, words, line, says):
    (tmp_path / "night.json").write_text('{"exit_code": 0}')
    (tmp_path / "ens-images.toml").write_text(line)
    code, _, _ = typed("run", *words)

    told = json.loads((tmp_path / "night.json").read_text())
    assert (code, told["exit_code"], told["accounts"]) == (2, 2, [])
    assert told["steps"][0]["said"].startswith(says)


def test_a_run_that_was_ended_by_a_signal_is_no_mistake_of_ours(tmp_path, monkeypatch):
    def ended(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "run", ended)
    with pytest.raises(KeyboardInterrupt):
        scheduled_run(tmp_path, after=AfterRun(), retention={}, summary=tmp_path / "out" / "night.json")
    assert (summary(tmp_path)["exit_code"], summary(tmp_path)["steps"][-1]["said"]) == (130, "ended by SIGINT")
