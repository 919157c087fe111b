"""Settings: one file, each key typed and known, no secret in it; a flag before a variable before the file."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pipeline import cli, settings
from pipeline.cli.options import settings_key
from pipeline.credentials import key_account, profile_account
from pipeline.errors import BadSetting
from pipeline.jobs.accounts import select_accounts
from pipeline.settings import AccountEntry
from pipeline.views.connection import connect

WHOLE = """
data = "lake"
endpoint = "ens.example.com"
allow_plain_http = false
rate = 5
workers = 2
profiles_from = "names.txt"
certificate = "counted"
strict = true
resource = ["images"]
share_check = true
timeout = 600
max_answer = 16
max_shrink = 10
raw_older_than = "90d"
daily_older_than = "400d"
grace = "1d"
max_age = "26h"
lock_dir = "locks"
delta = true
memory_limit = "25%"
summary = "out/summary.json"

[[accounts]]
profile = "prod"
label = "production"
endpoint = "ens.ap-southeast-1.aliyuncs.com"

[[accounts]]
profile = "test"

[after_run]
prune = true
export = "out/views"
html = "out/report.html"
"""


def load(folder: Path, text: str) -> settings.Settings:
    file = folder / settings.FILE
    file.write_text(text, "utf-8")
    return settings.load(file)[0]


def test_every_key_is_read_and_paths_are_relative_to_the_file(tmp_path):
    loaded = load(tmp_path, WHOLE)

    unset = [name for name in loaded.__struct_fields__ if getattr(loaded, name) is None]
    assert unset == []
    assert (loaded.data, loaded.summary) == (str(tmp_path / "lake"), str(tmp_path / "out" / "summary.json"))
    assert loaded.lock_dir == str(tmp_path / "locks")
    assert loaded.after_run.html == str(tmp_path / "out" / "report.html")
    assert [entry.name for entry in loaded.accounts] == ["production", "test"]
    assert loaded.folders() == [tmp_path / "out"]


def test_every_key_but_the_tables_is_an_option_of_some_command():
    options = {settings_key(option) for command in cli.commands.commands.values() for option in command.params}

    assert {*settings.Settings.__struct_fields__} - {"accounts", "after_run", "thresholds", "bucket"} == options - {
        None
    }


def test_without_a_file_nothing_is_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert settings.load() == (settings.Settings(), None)
    with pytest.raises(BadSetting, match=r"there is no settings file 'elsewhere\.toml'"):
        settings.load(Path("elsewhere.toml"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dta = 'x'", r"dta is not a setting: did you mean data\? there are data, endpoint"),
        ("max-shrink = 3", r"max-shrink is not a setting: did you mean max_shrink\?"),
        ("accept_shrink = true", "accept_shrink is not a setting"),
        ("[[accounts]]\nprofile = 'a'\n[[accounts]]\nlable = 'b'", r"accounts\[2\]\.lable is not a setting.*\.label\?"),
        ("[after_run]\nprnue = true", r"after_run\.prnue is not a setting: did you mean after_run\.prune\?"),
        ("rate = 'fast'", "rate: a number is expected, and this is text in quotes"),
        ("workers = 1.5", "workers: a whole number is expected, and this is a number"),
        ("allow_plain_http = 1", "allow_plain_http: true or false is expected, and this is a whole number"),
        ("max_age = 2026-11-23", "max_age: text in quotes is expected, and this is a date"),
        (
            "[[accounts]]\nprofile = 7",
            r"accounts\[1\]\.profile: text in quotes is expected, and this is a whole number",
        ),
        ("accounts = 7", r"accounts: a table headed \[\[accounts\]\] is expected, and this is a whole number"),
        ("[accounts]\nprofile = 'a'", r"accounts: a table headed \[\[accounts\]\] is expected, and this is a table"),
        ("accounts = ['a']", r"accounts\[1\]: a table headed \[\[accounts\]\] is expected, and this is text"),
        ("after_run = 'x'", r"after_run: a table headed \[after_run\] is expected, and this is text"),
        ("[[bucket]]\nregion = 'x'", r"bucket: a table headed \[bucket\] is expected, and this is a list"),
        ("[after_run]\nexport_formats = 'csv'", r"after_run\.export_formats: a list is expected, and this is text"),
        ("summary = 'out/a.json'\n[after_run]\nexport = 'out'", "after_run.export would overwrite summary: give"),
        ("data = 'lake'\n[after_run]\nexport = '.'", "after_run.export would overwrite this file"),
        ("data = 'lake'\n[after_run]\nexport = 'lake'", "after_run.export would overwrite data"),
        ("[after_run]\nhtml = 'ens-images.toml'", "after_run.html would overwrite this file"),
        ("[after_run]\nexport = 's3://b/out'", "after_run.export cannot be in a bucket"),
        ("rate = 1\ndata = ?", "is not TOML: .*line 2"),
        ("[[accounts]]\nendpoint = 'x'", r"accounts\[1\] has neither a profile nor a label"),
        ("[[accounts]]\nprofile = 'a'\n[[accounts]]\nprofile = 'b'\nlabel = 'a'", r"accounts\[2\] is called 'a', and"),
    ],
)
def test_an_unknown_key_or_value_is_an_error_that_names_its_place_and_the_nearest(tmp_path, text, message):
    with pytest.raises(BadSetting, match=message):
        load(tmp_path, text)


@pytest.mark.parametrize(
    "key", ["access_key_secret", "security_token", "password", "accounts.secret", "AccessKeyId", "credentials"]
)
def test_a_secret_is_refused_and_never_repeated(tmp_path, key):
    table, _, name = key.rpartition(".")
    text = f"[[{table}]]\n{name} = 'hunter2'" if table else f"{key} = 'hunter2'"

    with pytest.raises(BadSetting, match=r"looks like a secret.*aliyun configure") as error:
        load(tmp_path, text)
    assert "hunter2" not in str(error.value)


def test_a_flag_beats_a_variable_beats_the_file_beats_the_default(tmp_path, typed, monkeypatch):
    monkeypatch.setenv("ENS_IMAGES_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("ENS_IMAGES_RATE", "3")
    monkeypatch.setenv("ENS_IMAGES_RAET", "4")
    (tmp_path / settings.FILE).write_text("rate = 5\nworkers = 2\nmax_age = '26h'\n[after_run]\nprune = true\n")
    code, out, err = typed("doctor", "--data", "elsewhere", "--profile", "a", "--profile", "b", "--format", "json")
    found = {row["check"]: row["found"] for row in json.loads(out)}

    assert found["setting data"] == "elsewhere  (flag --data)"
    assert found["setting profile"] == "a, b  (flag --profile)"
    assert found["setting rate"] == "3  (environment ENS_IMAGES_RATE)"
    assert found["setting workers"] == f"2  ({settings.FILE})"
    assert found["setting max_age"] == f"26h  ({settings.FILE})"
    assert found["setting after_run.prune"] == f"True  ({settings.FILE})"
    assert found["setting certificate"] == "verified  (default)"
    assert found["setting timeout"].endswith("(default)")
    assert (code, "did you mean ENS_IMAGES_RATE?" in err) == (2, True)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("status", "DATA"),
        ("status", "CONFIG"),
        ("run", "PROFILE"),
        ("run", "RATE"),
        ("run", "DRY_RUN"),
        ("sql", "VERBOSE"),
    ],
)
def test_an_empty_variable_is_an_error_where_no_flag_takes_its_place(typed, monkeypatch, command, name):
    monkeypatch.setenv(f"ENS_IMAGES_{name}", "")

    told = f"error: BadSetting: the variable ENS_IMAGES_{name} is empty: give it a value, or unset it\n"
    assert typed(command) == (2, "", told)
    assert typed(command, "--help")[0] == 0


def test_a_flag_takes_the_place_of_an_empty_variable_and_doctor_names_those_of_other_commands(typed, lake, monkeypatch):
    monkeypatch.setenv("ENS_IMAGES_DATA", "")
    assert typed("sql", "--data", str(lake), "select 1")[0] == 0

    monkeypatch.delenv("ENS_IMAGES_DATA")
    monkeypatch.setenv("ENS_IMAGES_MAX_AGE", "")
    assert "ENS_IMAGES_MAX_AGE is empty" in "".join(typed("doctor", "--endpoint", "http://127.0.0.1:9")[1:])


def test_a_value_of_the_file_has_the_range_of_its_option(tmp_path, typed):
    (tmp_path / settings.FILE).write_text("rate = -1")
    for command in ("status", "doctor"):  # of which the one has no such option
        code, _, err = typed(command)
        assert (code, err) == (2, "error: BadSetting: 'ens-images.toml': rate: -1.0 is not in the range x>=0.\n")
    (tmp_path / settings.FILE).write_text("certificate = 'sure'")
    assert typed("run")[2].startswith("error: BadSetting: 'ens-images.toml': certificate: 'sure' is not one of")


def test_the_thresholds_of_the_file_apply_to_every_command_that_reads(lake, serve, typed, tmp_path):
    file = f"data = '{lake}'\nendpoint = '{serve(images=1).url}'\n"
    commands = {
        "report": ["report", "--format", "csv", "stale_images"],
        "sql": ["sql", "--format", "csv", "from stale_images"],
        "export": ["export", "stale_images", "out.csv"],
        "views": ["views"],
    }

    (tmp_path / settings.FILE).write_text(file)
    before = typed(*commands["report"])[1]
    (tmp_path / settings.FILE).write_text(f"{file}[thresholds.stale_images]\nolder_than_days = 500\n")
    after = {name: typed(*words)[1] for name, words in commands.items()}
    after["export"] = (tmp_path / "out.csv").read_text()
    found = {row["check"]: row["found"] for row in json.loads(typed("doctor", "--format", "json")[1])}

    assert "300 days old" in before
    assert [name for name, text in after.items() if "300 days old" in text] == []
    assert [name for name, text in after.items() if "m-5qm2r6b" not in text] == ["views"]
    assert "500 as older_than_days" in after["views"]
    assert found["setting thresholds.stale_images.older_than_days"] == f"500  ({settings.FILE})"
    with connect(lake) as con:  # which reads no settings
        assert len(con.execute("from stale_images").fetchall()) == before.count("\n") - 1


def test_the_thresholds_of_the_file_apply_to_the_steps_after_a_run(serve, typed, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "pipeline.jobs.accounts.environment_account", lambda: key_account("default", "emulator", "emulator")
    )
    file = f"endpoint = '{serve(images=30).url}'\n[after_run]\nhtml = 'out/page.html'\nexport = 'out/reports'\n"
    (tmp_path / settings.FILE).write_text(
        f"{file}[thresholds.cleanup_candidates]\nolder_than_days = 1\nkeep_newest = 0\n"
    )
    assert typed("run")[0] == 0

    assert "The rule: our own, 1 day old or more" in (tmp_path / "out" / "page.html").read_text("utf-8")
    lines = (tmp_path / "out" / "reports" / "cleanup_candidates.csv").read_text("utf-8").splitlines()
    with connect(tmp_path / "data") as con:
        every = con.execute("from cleanup_candidates(older_than_days := 1, keep_newest := 0)").fetchall()
        assert len(lines) - 1 == len(every) > len(con.execute("from cleanup_candidates").fetchall())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("thresholds = 7", r"thresholds: a table headed \[thresholds\] is expected, and this is a whole number"),
        (
            "[thresholds]\nolder_than_days = 7",
            r"thresholds\.older_than_days: of which view\? thresholds\.\w+\.older_than",
        ),
        (
            "[thresholds.stale_image]\nx = 7",
            r"thresholds\.stale_image is not a view .*did you mean stale_images\? there are",
        ),
        (
            "[thresholds]\nstale_images = 7",
            r"stale_images = 7: a table headed \[thresholds\.stale_images\] is expected",
        ),
        (
            "[thresholds.stale_images]\nolder_than = 7",
            r"older_than is not a threshold: did you mean older_than_days\? there",
        ),
        ("[thresholds.stale_images]\nwatched_days = -1", "watched_days = -1: a whole number is expected, 0 or more"),
        ("[thresholds.stale_images]\nwatched_days = 7.5", r"watched_days = 7\.5: a whole number"),
        ("[thresholds.stale_images]\nwatched_days = true", "watched_days = True: a whole number"),
        ("[thresholds.cleanup_candidates]\nignored_in_name = '('", r"= '\(' is not a regular expression"),
        ("[thresholds.cleanup_candidates]\nignored_in_name = 3", "ignored_in_name = 3: text in quotes is expected"),
        ("[tresholds.stale_images]\nx = 1", r"tresholds is not a setting: did you mean thresholds\?"),
        (
            "grace = 'soon'\n[after_run]\nexport_formats = ['cvs']",
            r"export_formats: .* called cvs: did you mean csv\? there are csv, json, ndjson, parquet, xlsx",
        ),
        ("[after_run]\nexport_formats = []", "export_formats names no format"),
    ],
)
def test_a_wrong_threshold_or_format_ends_the_command_at_once(tmp_path, typed, text, message):
    (tmp_path / settings.FILE).write_text(text)
    for command in ("doctor", "run", "report"):
        code, _, err = typed(command, "--endpoint", "http://127.0.0.1:9") if command != "report" else typed(command)
        assert (code, re.search(f"'ens-images.toml': .*{message}", err) is not None) == (2, True), err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("line", ["max_age = '26'", "grace = 'soon'", "raw_older_than = '400x'"])
def test_a_wrong_time_span_ends_the_command_at_once(tmp_path, typed, line):
    (tmp_path / settings.FILE).write_text(line)
    for command in ("doctor", "run"):
        code, _, err = typed(command, "--endpoint", "http://127.0.0.1:9")
        assert (code, "is not a time span" in err, line.split()[0] in err) == (2, True, True), err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "words", [["run", "--summary"], ["report", "--html"], ["export", "--all"], ["export", "capacity_by_day"]]
)
def test_a_local_output_cannot_be_a_bucket(tmp_path, typed, words):
    code, _, err = typed(*words, "s3://bucket/out.csv")

    assert (code, "only --data can be a bucket" in err, list(tmp_path.iterdir())) == (2, True, [])


def test_config_names_another_file(tmp_path, typed):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "mine.toml").write_text("data = 'lake'")

    _, out, _ = typed("doctor", "--config", "etc/mine.toml", "--format", "json", "--endpoint", "http://127.0.0.1:9")
    assert f"{tmp_path / 'etc' / 'lake'}  (etc/mine.toml)" in out


def test_emulate_and_describe_ignore_the_settings_file(tmp_path, typed):
    (tmp_path / settings.FILE).write_text("nonsense")

    assert typed("emulate", "--list-faults")[0] == 0
    assert typed("describe", "accounts")[0] == 0


# ── who is listed ────────────────────────────────────────────────────────────

ENTRIES = (
    AccountEntry(profile="prod", label="production", endpoint="ens.example.com"),
    AccountEntry(profile="prod", label="singapore", endpoint="ens.ap-southeast-1.aliyuncs.com"),
    AccountEntry(label="role"),
)


def named(*profiles: str) -> list[tuple[str, str | None]]:
    return [(account.label, account.endpoint) for account in select_accounts(profiles, entries=ENTRIES)]


def test_the_accounts_of_the_file_are_selected_unless_others_are_named():
    assert named() == [(entry.name, entry.endpoint) for entry in ENTRIES]
    assert named("other") == [("other", None)]
    assert [account.label for account in select_accounts(accounts=[profile_account("x")], entries=ENTRIES)] == ["x"]
    assert [account.label for account in select_accounts()] == ["default"]


def test_a_profile_that_the_file_knows_keeps_its_label_and_endpoint():
    assert named("singapore") == [("singapore", "ens.ap-southeast-1.aliyuncs.com")]
    assert [label for label, _ in named("prod")] == ["production", "singapore"]
    with pytest.raises(BadSetting, match="'production' is named twice"):
        named("prod", "production")


def test_files_are_read_with_a_byte_order_mark_and_comments(tmp_path):
    (tmp_path / settings.FILE).write_text("# of the edge team\nrate = 5  # a second\n", "utf-8-sig")
    (tmp_path / "names.txt").write_text("prod # first\n", "utf-8-sig")

    assert settings.load(tmp_path / settings.FILE)[0].rate == 5
    assert [account.label for account in select_accounts(profiles_from=tmp_path / "names.txt")] == ["prod"]


@pytest.mark.parametrize("content", [b"a = 1\n# caf\xe9\n", "a = 1\n".encode("utf-16")], ids=["latin-1", "utf-16"])
def test_a_file_that_is_not_utf_8_is_named_with_its_line(tmp_path, content):
    file = tmp_path / settings.FILE
    file.write_bytes(content)
    line = 1 + content.startswith(b"a")

    for read in (settings.load, lambda file: select_accounts(profiles_from=file)):
        with pytest.raises(BadSetting, match=f"line {line}: not UTF-8: save the file as UTF-8") as error:
            read(file)
        assert repr(str(file)) in str(error.value)


NESTED = "[" * 50_000 + "]" * 50_000


@pytest.mark.parametrize(
    ("line", "message"),
    [
        *(
            (f"{table}{key} = {value}", rf"{key}: .*{reason}")
            for table, key in (
                ("", "data"),
                ("", "summary"),
                ("", "profiles_from"),
                ("[after_run]\n", "export"),
                ("[after_run]\n", "html"),
            )
            for value, reason in (('""', "empty"), ('"a\\u0000b"', "NUL"), ('"~nobody-here/x"', "home"))
        ),
        ('data = "s3://a\\u0000b/c"', "control character"),
        (f"rate = {NESTED}", "nested too deeply"),
        (f"[thresholds.stale_images]\nolder_than_days{'.a' * 5000} = 1", "nested too deeply"),
    ],
)
def test_a_value_that_is_no_path_or_has_no_end_is_one_line(typed, tmp_path, line, message):
    (tmp_path / "ens-images.toml").write_text(line)
    code, out, err = typed("status")

    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert re.search(message, err), err
    assert files_below(tmp_path) == ["ens-images.toml"]


def files_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
