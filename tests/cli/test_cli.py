"""The command line as its users meet it: what it prints where, and how it ends."""

import csv
import inspect
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pytest
from conftest import EXAMPLE, in_this_process

from pipeline import cli
from pipeline.cli import collect, options
from pipeline.emulator import Endpoint, Key, living_account, read_account
from pipeline.extract.bounds import Bounds
from pipeline.extract.completeness import LEVELS
from pipeline.jobs import demo as demo_job
from pipeline.jobs import list as list_job
from pipeline.jobs import run as run_job

KEYS = {"ALIBABA_CLOUD_ACCESS_KEY_ID": "emulator", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "emulator"}


def environment(home: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ALIBABA_", "ENS_IMAGES_"))}
    return {**kept, "HOME": str(home), "COLUMNS": "100", **more}


def ens_images(cwd: Path, *arguments: str, stdin: str | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command in `cwd`, without a process of its own."""
    return in_this_process(cwd, *arguments, environment=environment(cwd, **{**KEYS, **more}), stdin=stdin)


def as_a_user(cwd: Path, *arguments: str, stdin: str | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command in `cwd`, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        cwd=cwd,
        env=environment(cwd, **{**KEYS, **more}),
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def lake(tmp_path_factory) -> Path:
    """A folder in which a run has been."""
    folder = tmp_path_factory.mktemp("user")
    with Endpoint({"emulator": Key("emulator", living_account(images=60))}) as endpoint:
        done = as_a_user(folder, "run", "--endpoint", endpoint.url)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_levels_are_those_of_the_certificate():
    assert options.LEVELS == LEVELS


def as_text(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


@pytest.mark.parametrize(
    ("command", "step"), [("run", run_job.run), ("list", list_job.list_live), ("demo", demo_job.demo)]
)
def test_an_option_has_the_default_of_its_job(command, step, monkeypatch):
    monkeypatch.delenv("ENS_IMAGES_RESOURCE")
    theirs = {name: parameter.default for name, parameter in inspect.signature(step).parameters.items()}
    context = cli.commands.commands[command].make_context(command, [])
    ours = {name: value for name, value in context.params.items() if name in theirs and name != "profiles"}

    assert {name: as_text(value) for name, value in ours.items()} == {name: as_text(theirs[name]) for name in ours}
    assert len(ours) > 2


def test_the_help_names_the_bounds_of_a_run():
    bounds, help_text = Bounds(), " ".join((collect.run.help or "").split())

    assert f"at most {bounds.passes} times over" in help_text
    assert f"begun {bounds.seconds_after_two:g} s after the second" in help_text
    assert f"throttled for {bounds.retry.throttled_seconds:g} s" in help_text
    assert f"{bounds.listing_passes:g} times what the announced pages take at --rate" in help_text
    assert f"and {bounds.listing_seconds / 60:g} minutes" in help_text


@pytest.mark.parametrize(
    "arguments",
    [
        *(
            ["run", f"{option}={value}"]
            for option in ("--rate", "--timeout", "--max-shrink", "--max-answer")
            for value in ("nan", "inf")
        ),
        ["run", "--rate=-1"],
        ["run", "--rate=fast"],
        ["run", "--timeout=0"],
        ["run", "--workers=0"],
        ["run", "--max-shrink=101"],
        ["list", "--rate=-inf"],
        ["emulate", "--latency-ms=nan"],
        ["emulate", "--qps=inf"],
        ["emulate", "--qps=0"],
    ],
)
def test_a_number_out_of_range_is_refused_with_the_name_of_its_option(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"^2$"):
        cli.main(arguments)
    option, _, value = arguments[1].partition("=")
    error = capsys.readouterr().err

    assert option in error
    assert value in error
    assert not list(tmp_path.iterdir())


def test_a_run_prints_its_result_to_stderr_and_leaves_a_lake(serve, tmp_path):
    done = as_a_user(tmp_path, "run", "--endpoint", serve(images=60).url)

    assert (done.returncode, done.stdout) == (0, "")
    assert re.search(
        r"^default: verified, 60 images, \d+ disks, 0 rejects, as of .* UTC \(5 calls\)$", done.stderr, re.MULTILINE
    )
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [
        ".lock",
        "lake",
        "lake.duckdb",
        "lake.duckdb.sha256",
        "raw",
    ]


def test_every_option_has_an_environment_variable(serve, tmp_path):
    url = serve(images=3).url
    done = as_a_user(tmp_path, "run", ENS_IMAGES_ENDPOINT=url, ENS_IMAGES_DATA="elsewhere")

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "elsewhere" / "lake.duckdb").exists()
    for command in cli.commands.commands.values():
        for parameter in command.params:
            if isinstance(parameter, click.Option) and parameter.name not in {"help", "list_faults"}:
                assert str(parameter.envvar).startswith("ENS_IMAGES_")


def test_data_goes_to_stdout_and_the_provenance_line_to_stderr(lake):
    done = as_a_user(lake, "sql", "--format", "csv", "select image_id, created_at_utc from images_latest")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))

    assert len(rows) == 60
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}", row["created_at_utc"]) for row in rows)
    assert re.fullmatch(
        r"1 account · as of .* UTC · verified · 60 images · instances verified · 0 instances"
        r".* · 0 rejects · 0 unknown fields\n",
        done.stderr,
    )


def test_sql_is_read_from_standard_input(lake):
    done = as_a_user(lake, "sql", "--format", "json", stdin="select count(*) as image_count from images")

    assert json.loads(done.stdout) == [{"image_count": 60}]


@pytest.mark.parametrize("output_format", ["table", "csv", "json", "markdown"])
def test_a_result_is_written_in_every_format(lake, output_format):
    done = as_a_user(lake, "sql", "--format", output_format, "select 'a,b' as x, 1234 as y")

    assert done.returncode == 0
    assert "1234" in done.stdout.replace(",", "") or output_format == "table"


def test_report_prints_the_standing_reports(lake):
    done = as_a_user(lake, "report")

    assert done.returncode == 0
    assert "By region: " in done.stdout
    assert "verified · 60 images" in done.stdout


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet"])
def test_export_writes_every_row_of_a_view(lake, suffix):
    done = as_a_user(lake, "export", "images_latest", f"out/images.{suffix}")

    assert done.returncode == 0, done.stderr
    assert f"60 rows of images_latest in 'out/images.{suffix}'" in done.stderr
    assert [path.name for path in (lake / "out").glob(f"*.{suffix}")] == [f"images.{suffix}"]


def test_the_script_of_the_views_runs_in_any_duckdb(lake, tmp_path):
    script = as_a_user(lake, "views").stdout
    code = "import duckdb, sys; c = duckdb.connect(); c.execute(sys.stdin.read()); print(len(c.sql('from image_age')))"
    done = subprocess.run(
        [sys.executable, "-c", code], input=script, cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert done.stdout == "60\n"


def test_describe_needs_no_lake(tmp_path):
    described = as_a_user(tmp_path, "describe", "--format", "json", "images")
    every = ens_images(tmp_path, "describe", "--format", "markdown")

    size = next(row for row in json.loads(described.stdout) if row["column"] == "image_size_gib")
    assert (size["type"], size["unit"], size["api"]) == ("BIGINT", "GiB", "ImageSize")
    assert "## images" in every.stdout


def test_list_stores_nothing(serve, tmp_path):
    emulated = living_account(images=60)
    name = emulated.images_on(0)[3]["ImageName"]
    url = serve(emulated).url
    part = as_a_user(tmp_path, "list", "--endpoint", url, "--format", "json", "--image-name", name[:-1])
    whole = ens_images(tmp_path, "list", "--endpoint", url, "--format", "json", "--image-name", name[:-1], "--exact")

    assert name in {row["image_name"] for row in json.loads(part.stdout)}
    assert json.loads(whole.stdout) == [row for row in json.loads(part.stdout) if row["image_name"] == name[:-1]]
    assert list(tmp_path.iterdir()) == []


def test_list_filters_each_resource_by_what_its_action_can(serve, tmp_path):
    emulated = living_account(images=60, instances=30)
    image_id = emulated.instances_on(0)[3]["ImageId"]
    listing = ("list", "--endpoint", serve(emulated).url, "--format", "json", "--resource", "instances")
    found = as_a_user(tmp_path, *listing, "--image-id", image_id, "--exact")
    refused = ens_images(tmp_path, *listing, "--snapshot-id", "s-1")

    expected = {item["InstanceId"] for item in emulated.instances_on(0) if item["ImageId"] == image_id}
    assert {row["instance_id"] for row in json.loads(found.stdout)} == expected
    assert refused.returncode == 2
    assert "no filter of instances by snapshot_id: it has instance_id, instance_name, image_id" in refused.stderr


def test_profiles_come_from_options_and_from_a_file(serve, tmp_path):
    (tmp_path / ".aliyun").mkdir()
    profiles = [
        {"name": name, "mode": "AK", "access_key_id": "emulator", "access_key_secret": "emulator"} for name in "abc"
    ]
    (tmp_path / ".aliyun" / "config.json").write_text(json.dumps({"current": "a", "profiles": profiles}))
    (tmp_path / "names.txt").write_text("b  # the second\n\nc\n")
    url = serve(images=3).url
    done = as_a_user(tmp_path, "run", "--endpoint", url, "--profile", "a", "--profiles-from", "names.txt")

    assert done.returncode == 0, done.stderr
    found = ens_images(tmp_path, "sql", "--format", "csv", "select account from accounts").stdout.split()
    assert found == ["account", "a", "b", "c"]


# ── how it ends when it cannot do what was asked ─────────────────────────────


def refused(done: subprocess.CompletedProcess[str], code: int, message: str) -> None:
    """It ended with `code`, one or two lines that say what and what to do, and no traceback."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert re.search(message, done.stderr), done.stderr
    assert len(done.stderr.splitlines()) <= 6


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nonsense"], 2, "No such command 'nonsense'"),
        (["run", "--workers", "0"], 2, "workers"),
        (["run", "--endpoint", "http://example.com"], 2, "in the clear: use https"),
        (["run", "--endpoint", "ftp://x"], 2, "not a host name"),
        (["run", "--profile", "a", "--profile", "a"], 2, "'a' is named twice"),
        (["report"], 6, "no lake in 'data': `ens-images run --data data` makes one"),
        (["sql", "select 1"], 6, "no lake in"),
        (["rebuild"], 6, "nothing to rebuild from"),
        (["describe", "imagse"], 2, "did you mean images"),
        (["emulate", "--key", "nocolon"], 2, "ID:SECRET"),
        (["emulate", "--fault", "nonsense"], 2, "nonsense"),
        (["emulate", "--deny", "DescribeDisks"], 2, "there are .*DescribeInstances, DescribeSelfImages"),
        (["run", "--endpoint", "http://127.0.0.1:9", "--timeout", "0.2"], 5, "no usable answer came from"),
    ],
)
def test_an_error_names_the_cause_and_the_remedy(tmp_path, arguments, code, message):
    refused(ens_images(tmp_path, *arguments), code, message)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("selct 1", "syntax error"),
        ("from nonsense", "nonsense"),
        ("from stale_images(years := 1)", r"\n    stale_images\(older_than_days := 180"),
        ("", "there is no query"),
        ("copy images to 'x.csv'", "only queries"),
        ("select * from read_csv('/etc/passwd')", "."),
        ("attach 'x.duckdb'", "only queries"),
    ],
)
def test_bad_sql_is_wrong_usage_and_reaches_only_the_lake(lake, query, message):
    refused(ens_images(lake, "sql", query), 2, message)
    assert not (lake / "x.csv").exists()


def test_an_unknown_view_is_named_with_the_nearest(lake):
    refused(ens_images(lake, "report", "image_agee"), 2, "did you mean image_age")
    refused(ens_images(lake, "export", "image_agee", "x.csv"), 2, "did you mean image_age")
    refused(ens_images(lake, "export", "image_age", "x.doc"), 2, "by its suffix")


def test_a_refusal_of_the_service_ends_with_4(serve, tmp_path):
    done = ens_images(tmp_path, "run", "--endpoint", serve(images=3).url, ALIBABA_CLOUD_ACCESS_KEY_SECRET="wrong")

    refused(done, 4, "SignatureDoesNotMatch")
    assert "wrong" not in done.stderr


def test_missing_credentials_end_with_4(tmp_path):
    done = as_a_user(tmp_path, "run", "--endpoint", "http://127.0.0.1:9", "--profile", "prod")

    refused(done, 4, "no credentials for account 'prod'")


def test_an_account_that_became_empty_ends_with_3_unless_accepted(tmp_path):
    class Shelf:
        def images_on(self, day: int) -> list[dict[str, Any]]:
            return [] if day else read_account(EXAMPLE).images_on(0)

        def new_image(self, serial: int, day: int) -> dict[str, Any]:
            return {"ImageId": f"{day}-{serial}"}

    with Endpoint({"emulator": Key("emulator", Shelf())}) as endpoint:
        assert ens_images(tmp_path, "run", "--endpoint", endpoint.url).returncode == 0
        endpoint.day = 1
        refused(ens_images(tmp_path, "run", "--endpoint", endpoint.url), 3, "is empty now.*--accept-shrink images")
        assert ens_images(tmp_path, "run", "--endpoint", endpoint.url, "--accept-shrink", "images").returncode == 0


def test_a_damaged_file_ends_with_6_and_is_named(serve, tmp_path):
    as_a_user(tmp_path, "run", "--endpoint", serve(images=3).url)
    (path,) = (tmp_path / "data" / "lake" / "images").rglob("*.parquet")
    path.write_bytes(b"not parquet")

    refused(ens_images(tmp_path, "sql", "select * from images"), 6, path.name)


@pytest.mark.usefixtures("default_sigint")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_cleanly(serve, tmp_path, number, code):
    endpoint = serve(images=2000, latency_ms=300)
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "run", "--endpoint", endpoint.url, "--workers", "1"],
        cwd=tmp_path,
        env=environment(tmp_path, **KEYS),
        stderr=subprocess.PIPE,
        text=True,
    )
    while endpoint.calls < 2 and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)

    assert process.returncode == code, err
    assert "Traceback" not in err
    assert "stopped" in err
    assert list((tmp_path / "data").rglob("*.parquet")) == []


def test_emulate_prints_how_to_call_it_and_serves_the_published_example(tmp_path):
    command = [sys.executable, "-m", "pipeline", "emulate", "--port", "0", "--file", str(EXAMPLE)]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(tmp_path), stderr=subprocess.PIPE, text=True
    ) as process:
        lines = [process.stderr.readline() for _ in range(3)]
        url = re.search(r"http://127\.0\.0\.1:\d+", lines[0])[0]
        listed = as_a_user(tmp_path, "list", "--endpoint", url, "--format", "json")
        process.send_signal(signal.SIGTERM)

        assert process.wait(30) == 0
    assert [row["image_id"] for row in json.loads(listed.stdout)] == ["centos_6_08_64_20G_a****"]
    assert "ALIBABA_CLOUD_ACCESS_KEY_ID=emulator" in lines[1]


def test_a_closed_pipe_is_no_error(lake):
    command = f"{sys.executable} -m pipeline sql --format csv 'from range(100000)'"
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -1; exit ${{PIPESTATUS[0]}}"],  # noqa: S607  (a user's shell)
        cwd=lake,
        env=environment(lake),
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, "range\n")
    assert "Traceback" not in done.stderr


def test_sigterm_ends_a_background_job_of_a_script(serve, tmp_path):
    endpoint = serve(images=2000, latency_ms=300)
    script = (
        f"{sys.executable} -m pipeline run --workers 1 --endpoint {endpoint.url} & job=$!; "
        "until test -s marker; do sleep 0.1; done; kill -TERM $job; wait $job"
    )
    process = subprocess.Popen(["sh", "-c", script], cwd=tmp_path, env=environment(tmp_path, **KEYS))  # noqa: S607
    while endpoint.calls < 2 and process.poll() is None:
        time.sleep(0.05)
    (tmp_path / "marker").write_text("now")

    assert process.wait(30) == 143


def test_a_profile_without_a_name_is_refused(tmp_path):
    refused(ens_images(tmp_path, "run", "--profile", ""), 2, "name is empty")


def test_a_path_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").write_text("")

    refused(ens_images(tmp_path, "run", "--data", "file/sub"), 2, "file")


# ── the demo ─────────────────────────────────────────────────────────────────


def test_the_demo_runs_once_a_day_and_empties_its_folder_first(tmp_path):
    lines: list[str] = []
    first = ens_images(tmp_path, "demo", "--days", "2", ENS_IMAGES_DATA="mine")
    demo_job.demo(tmp_path / "data" / "demo", days=1, instances=5, print_line=lines.append)

    assert first.returncode == 0
    assert "143 images and 60 instances on day 0, 2 days" in first.stderr
    assert "143 images and 5 instances on day 0, 1 day" in lines[0]
    assert not (tmp_path / "mine").exists()
    for title in (
        "By region",
        "Capacity over time",
        "Age",
        "Changes",
        "Failed images",
        "Cleanup candidates",
        "Try next",
    ):
        assert title in first.stdout
    assert len(list((tmp_path / "data" / "demo" / "raw").rglob("*.parquet"))) == 1


def test_the_demo_refuses_a_lake_with_another_account(serve, tmp_path):
    demo_job.demo(tmp_path / "data" / "demo", days=1, print_line=lambda _: None)
    ens_images(tmp_path, "run", "--data", "data/demo", "--endpoint", serve(images=3).url)

    refused(ens_images(tmp_path, "demo", "--days", "1"), 2, "is not a demo's folder")


def test_the_demo_deletes_only_an_earlier_demo(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.txt").write_text("mine")

    refused(ens_images(tmp_path, "demo", "--data", "data"), 2, "is not a demo's folder")
    assert (tmp_path / "data" / "mine.txt").exists()
