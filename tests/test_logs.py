"""Log messages: each with its account, page and call; nothing by default; never a secret."""

from __future__ import annotations

import datetime as dt
import io
import logging
import re
from pathlib import Path

import pytest
import stamina

from pipeline import log as logs
from pipeline import run
from pipeline.credentials import key_account
from pipeline.emulator import FAULTS, Endpoint, Key, living_account
from pipeline.errors import EnsImagesError
from pipeline.extract.bounds import Bounds
from pipeline.extract.listing import extract
from pipeline.extract.retry import RetryPolicy
from pipeline.jobs.compaction import compact
from pipeline.jobs.retention import prune
from pipeline.lake.check import check

SECRET, TOKEN = "a-secret-of-thirty-characters", "a-token/that+is=secret"
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (INFO|DEBUG) pipeline\.[\w.]+ .+")


def logged(verbosity: int, work) -> list[str]:
    err = io.StringIO()
    with logs.shown(verbosity, err):
        work()
    return err.getvalue().splitlines()


def test_a_call_is_logged_with_its_run_account_page_and_number(serve, account, tmp_path):
    endpoint = serve(images=60)
    lines = logged(1, lambda: run(tmp_path, accounts=[account], endpoint=endpoint.url))
    calls = [line for line in lines if " 200, " in line]

    assert len(calls) == endpoint.calls == 5
    assert all(LINE.fullmatch(line) and " INFO " in line for line in lines)
    run_id = next(tmp_path.rglob("raw/*/*.parquet")).stem
    what = rf"run='{run_id}' account='default' pass=2 page=1 call='[0-9A-F-]{{36}}': 200, \d+ bytes, in \d+\.\d{{3}} s"
    assert len([line for line in calls if re.search(what, line)]) == 2  # page 1 again
    assert re.search(rf"run='{run_id}' account='default': verified, in \d+\.\d{{3}} s$", lines[-2])
    assert re.search(rf"run='{run_id}': landed 5 answers in '.*{run_id}\.parquet'$", lines[-1])


def test_compaction_retention_and_reading_are_logged(serve, account, tmp_path):
    endpoint = serve(images=3)
    for day in (1, 2):
        at = dt.datetime(2026, 10, day, 2)  # noqa: DTZ001  (UTC without a zone, as everywhere)
        run(tmp_path, accounts=[account], endpoint=endpoint.url, observed_at=at)
    first, second = sorted(path.stem for path in tmp_path.rglob("raw/*/*.parquet"))

    pruned = logged(1, lambda: [compact(tmp_path, grace="0s"), prune(tmp_path, raw_older_than="1d", grace="0s")])
    assert [re.split(r" pipeline\.[\w.]+ ", line)[1] for line in pruned if "deleted" not in line] == [
        "compaction 000001: 2 observations taken, 3 versions still open",
        f"raw pages of run {first} are expired",
    ]
    assert [line for line in pruned if re.search(rf"deleted '.*raw.*{first}.parquet'", line)]
    checked = logged(1, lambda: check(tmp_path))
    assert [line for line in checked if f"run='{second}': " in line]


def test_retries_waits_and_timings_are_logged_on_request(serve, account, tmp_path):
    endpoint = serve(
        images=3, faults=["503:times=1", "throttling:after=1,count=1,ms=20,times=1", "null:after=2,times=1"]
    )
    lines = logged(2, lambda: run(tmp_path, accounts=[account], endpoint=endpoint.url))

    for text in (
        r"page=1 call='\S+': throttled, Throttling\.User: .*, in",
        r"DEBUG .* page=1: throttled: at most \d+\.\d\d calls a second from here on",
        r"page=1: attempt 3, after \d+\.\d{3} s: {'transient': 1, 'throttled': 1}",
        r"transient, ServiceUnavailable: ",
        r"not accepted yet: ",
        r"credentials found by static_ak",
        r"publishing took \d+\.\d{3} s",
        r"the catalog took \d+\.\d{3} s",
    ):
        assert any(re.search(text, line) for line in lines), (text, lines)


def test_nothing_is_logged_by_default(serve, account, tmp_path, capfd):
    endpoint = serve(images=3, faults=["503:times=1"])
    assert logged(0, lambda: run(tmp_path, accounts=[account], endpoint=endpoint.url)) == []
    assert capfd.readouterr() == ("", "")
    assert not logging.getLogger("pipeline").isEnabledFor(logging.INFO)


def test_a_label_and_an_answer_cannot_control_a_terminal(serve, tmp_path):
    evil = key_account("\x1b[31mred\n2026-01-01T00:00:00.000Z INFO pipeline forged %s", "nobody", "emulator")

    def refused() -> None:
        with pytest.raises(EnsImagesError):
            run(tmp_path, accounts=[evil], endpoint=serve(images=3).url)

    lines = logged(2, refused)
    assert all(LINE.fullmatch(line) and line.isprintable() for line in lines)
    assert any(r"account='\x1b[31mred\n2026" in line for line in lines)


def test_a_handler_of_another_program_gets_the_same(serve, account, tmp_path, caplog):
    caplog.set_level(logging.DEBUG, "pipeline")
    run(tmp_path, accounts=[account], endpoint=serve(images=3).url)

    record = next(record for record in caplog.records if " bytes, in " in record.getMessage())
    assert record.about["account"] == "default"
    assert "account='default' pass=1 page=1" in record.getMessage()


@pytest.mark.parametrize("secret", [SECRET, "another secret of thirty chars"])
def test_no_secret_is_logged_whatever_fails(secret, caplog):
    """A canary, over every fault of the local endpoint, with all that can be told by anyone."""
    caplog.set_level(logging.DEBUG)
    quick = Bounds(
        passes=2,
        requests_per_page=2,
        repeat_seconds=0.1,
        pause_seconds=0.001,
        max_answer_mib=1,
        retry=RetryPolicy(back_off_seconds=0.001),
    )
    account = key_account("a", "emulator", secret, TOKEN)
    err = io.StringIO()
    with logs.shown(2, err), Endpoint({"emulator": Key(SECRET, living_account(images=60), security_token=TOKEN)}) as at:
        for fault in FAULTS:
            at.faults = [f"{fault}:ms=1,times=3" if fault in {"drip", "throttling", "silent"} else f"{fault}:times=3"]
            extract([account], lambda *_: None, endpoint=at.url, bounds=quick, rate=None)

    text = err.getvalue() + caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    assert text.count("DEBUG pipeline.") >= len(FAULTS)
    for canary in (SECRET, TOKEN, secret, "Authorization", "Signature="):
        assert canary not in text


def test_a_command_logs_as_much_as_it_is_asked(typed, monkeypatch, serve):
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_ID", "emulator")
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "emulator")
    words = ("run", "--endpoint", serve(images=3).url)

    assert " pipeline." not in typed(*words)[2]
    assert "INFO pipeline.extract.client" in (calls := typed(*words, "-v")[2])
    assert "DEBUG" not in calls
    assert " pages\n" not in calls  # no progress beside the log
    assert "DEBUG pipeline.jobs.run" in typed(*words, "-vv")[2]
    monkeypatch.setenv("ENS_IMAGES_VERBOSE", "1")
    assert "INFO pipeline.extract.client" in typed(*words)[2]


def test_the_retry_library_logs_nothing_by_itself(capfd):
    for attempt in stamina.retry_context(on=ValueError, attempts=2, wait_initial=0, wait_max=0, wait_jitter=0):
        with attempt:
            if attempt.num == 1:
                raise ValueError(SECRET)
    assert capfd.readouterr().err == ""
    assert Path(logs.__file__).exists()
