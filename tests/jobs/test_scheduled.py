"""A run and the steps after it: every step is tried, the largest exit code wins, the summary is replaced as a whole."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from pipeline.credentials import Account, key_account
from pipeline.jobs.scheduled import ScheduledRun, scheduled_run
from pipeline.lake.lock import lock
from pipeline.settings import AfterRun

if TYPE_CHECKING:
    from pathlib import Path

FINE = key_account("fine", "emulator", "emulator")
REFUSED = key_account("refused", "emulator", "another-secret")


def scheduled(
    data: Path,
    url: str,
    *,
    accounts: tuple[Account, ...] = (FINE,),
    options: dict[str, Any] | None = None,
    **after: Any,
) -> ScheduledRun:
    """Run with `options`, then the steps `after`; every raw page is past its retention."""
    return scheduled_run(
        data,
        after=AfterRun(**after),
        retention={"raw_older_than": "0d", "grace": "0s"},
        endpoint=url,
        summary=data / "out" / "summary.json",
        accounts=accounts,
        **(options or {}),
    )


def summary(data: Path) -> dict[str, Any]:
    return json.loads((data / "out" / "summary.json").read_text("utf-8"))


def test_a_run_without_steps_after_it_is_summarized(serve, tmp_path):
    done = scheduled(tmp_path, serve(images=3).url)

    assert (done.exit_code, [step.name for step in done.steps]) == (0, ["run"])
    assert str(done).startswith("fine: verified, 3 images")
    written = summary(tmp_path)
    assert (written["exit_code"], written["run_id"]) == (0, done.run.run_id)
    (account,) = written["accounts"]
    expected = {"account": "fine", "is_published": True, "certificate": "verified", "item_count": 3, "exit_code": 0}
    assert expected.items() <= account.items()
    assert written["ended_at_utc"] >= written["began_at_utc"]


def test_each_step_has_its_line_and_its_result(serve, tmp_path):
    url = serve(images=3).url
    scheduled(tmp_path, url)
    folder, page = tmp_path / "views", tmp_path / "html" / "report.html"
    done = scheduled(tmp_path, url, prune=True, export=str(folder), export_formats=("csv", "parquet"), html=str(page))

    assert [(step.name, step.exit_code) for step in done.steps] == [
        ("run", 0),
        ("prune", 0),
        ("export", 0),
        ("html", 0),
    ]
    _, prune, export, html = str(done).splitlines()
    written = [file.name for file in folder.iterdir() if file.suffix != ".json"]
    assert prune.startswith("prune: ")
    assert export == f"export: {len(written)} files in {str(folder)!r}"
    assert {"capacity_by_region.csv", "capacity_by_region.parquet"} <= set(written)
    assert html == f"html: {str(page)!r}"
    assert "<html" in page.read_text("utf-8")[:200]
    assert [step["step"] for step in summary(tmp_path)["steps"]] == ["run", "prune", "export", "html"]


def test_a_failed_step_names_its_cause(serve, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    done = scheduled(tmp_path, serve(images=3).url, export=str(tmp_path / "mine"))

    assert [step.exit_code for step in done.steps] == [0, 2]
    assert "is not an earlier export" in str(done)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "mine"


def test_the_largest_exit_code_wins_and_no_failed_step_stops_the_next(serve, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    page = tmp_path / "report.html"
    done = scheduled(
        tmp_path, serve(images=3).url, accounts=(FINE, REFUSED), export=str(tmp_path / "mine"), html=str(page)
    )

    assert (done.exit_code, [step.exit_code for step in done.steps]) == (4, [4, 2, 0])
    assert page.exists()
    assert {row["account"]: row["exit_code"] for row in summary(tmp_path)["accounts"]} == {"fine": 0, "refused": 4}


def test_no_step_follows_a_run_that_could_not_start(serve, tmp_path):
    with lock(tmp_path):
        done = scheduled(tmp_path, serve(images=3).url, prune=True)

    assert (done.exit_code, [step.name for step in done.steps]) == (5, ["run"])
    assert str(done).startswith("error: LakeLocked: ")
    assert (summary(tmp_path)["exit_code"], summary(tmp_path)["accounts"]) == (5, [])


def test_a_wrong_selection_of_accounts_is_a_result(tmp_path):
    done = scheduled(tmp_path, "http://127.0.0.1:9", accounts=(FINE, FINE))

    assert done.exit_code == summary(tmp_path)["exit_code"] == 2
    assert "named twice" in str(done)


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("options", "error", "exit_code", "message"),
    [
        ({"no_such_option": 1}, TypeError, 1, "ended by TypeError"),
        ({"progress": interrupted}, KeyboardInterrupt, 130, "ended by SIGINT"),
    ],
)
def test_a_bug_and_a_signal_replace_the_summary_of_the_day_before(serve, tmp_path, options, error, exit_code, message):
    url = serve(images=3).url
    scheduled(tmp_path, url)
    with pytest.raises(error):
        scheduled(tmp_path, url, options=options)

    written = summary(tmp_path)
    assert (written["exit_code"], written["steps"][-1]["message"]) == (exit_code, message)


def test_a_summary_that_cannot_be_written_leaves_the_old_one_and_is_a_result(serve, tmp_path, monkeypatch):
    url = serve(images=3).url
    scheduled(tmp_path, url)
    before = summary(tmp_path)
    with monkeypatch.context() as full_disk:
        full_disk.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device", "x")))
        done = scheduled(tmp_path, "ftp://wrong")

    assert summary(tmp_path) == before
    assert (done.exit_code, done.steps[-1].name, done.steps[-1].exit_code) == (2, "summary", 0)
    assert "No space left" in str(done)


def test_a_summary_that_cannot_be_written_fails_no_run(serve, tmp_path):
    (tmp_path / "out" / "summary.json").mkdir(parents=True)
    done = scheduled(tmp_path, serve(images=3).url)

    assert (done.exit_code, done.steps[-1].name) == (0, "summary")
    assert "not written" in str(done)


def test_accounts_at_endpoints_of_their_own_are_one_run(serve, tmp_path):
    first, second = serve(images=3), serve(images=5)
    other = key_account("other", "emulator", "emulator")
    other.endpoint = second.url
    done = scheduled(tmp_path, first.url, accounts=(FINE, other))

    assert {row["account"]: (row["item_count"], row["endpoint"]) for row in done.run.observations} == {
        "fine": (3, first.url),
        "other": (5, second.url),
    }
    (record,) = (tmp_path / "lake" / "observations").rglob("*.parquet")
    assert pq.read_table(record).column("endpoint").to_pylist() == [first.url, second.url]


def test_the_settings_file_declares_the_steps_after_a_run(serve, typed, tmp_path, monkeypatch):
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_ID", "emulator")
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "emulator")
    url = serve(images=3).url
    (tmp_path / "ens-images.toml").write_text(
        f"endpoint = '{url}'\ndata = 'lake'\nraw_older_than = '0d'\nsummary = 'out.json'\n"
        "[[accounts]]\nlabel = 'fine'\n[after_run]\nprune = true\n"
    )
    assert typed("run")[0] == 0
    code, out, err = typed("run")

    assert (code, out) == (0, "")
    assert err.splitlines()[-1].startswith("prune: ")
    written = json.loads((tmp_path / "out.json").read_text())
    assert (written["data"], [step["step"] for step in written["steps"]]) == (str(tmp_path / "lake"), ["run", "prune"])


def test_a_wrong_setting_of_a_step_ends_the_command_before_the_run(typed, tmp_path):
    (tmp_path / "ens-images.toml").write_text("raw_older_than = 'soon'\n[after_run]\nprune = true\n")
    code, _, err = typed("run", "--endpoint", "http://127.0.0.1:9")

    assert code == 2
    assert "raw_older_than: 'soon' is not a time span" in err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("words", "line", "message"),
    [
        (["--ratee", "3", "--summary", "out.json"], "", "error: No such option"),
        (["--summary=out.json", "--rate", "fast"], "", "error: Invalid value for '--rate'"),
        (["--summary", "out.json", "more"], "", "error: Got unexpected extra argument"),
        (["--summary", "out.json", "--config", "none.toml"], "", "error: BadSetting: there is no settings file"),
        ([], "summary = 'out.json'\nratee = 3", "error: BadSetting: 'ens-images.toml': ratee is not a setting"),
        ([], "summary = 'out.json'\nrate = -3", "error: BadSetting: 'ens-images.toml': rate: -3.0 is not in"),
        (["--profiles-from", "none.txt"], "summary = 'out.json'", "error: Invalid value for '--profiles-from'"),
    ],
)
def test_a_wrong_command_line_replaces_the_summary_of_the_day_before(typed, tmp_path, words, line, message):
    (tmp_path / "out.json").write_text('{"exit_code": 0}')
    (tmp_path / "ens-images.toml").write_text(line)
    code, _, _ = typed("run", *words)

    written = json.loads((tmp_path / "out.json").read_text())
    assert (code, written["exit_code"], written["accounts"]) == (2, 2, [])
    assert written["steps"][0]["message"].startswith(message)
