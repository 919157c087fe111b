"""The doctor against real faults: each is found, named first, and ends with the code that a run would end with."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.server
import json
import os
import re
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest
from loopback import LoopbackServer

from pipeline.credentials import Account, key_account, profile_account
from pipeline.emulator import Endpoint, Key, living_account
from pipeline.errors import BadSetting
from pipeline.jobs import doctor
from pipeline.jobs.doctor import machine
from pipeline.jobs.run import run
from pipeline.lake.lock import lock
from pipeline.resources.tables import RESOURCES
from pipeline.storage.mounts import file_system_of

SECRET, TOKEN = "a-secret-of-thirty-characters", "a-token/that+is=secret"


def examined(data: Path, endpoint: str, *accounts: Account, **more):
    """What the doctor finds, by check; and the error of the first thing to mend."""
    findings = doctor.examine(data, accounts=lambda: accounts, endpoint=endpoint, **more)
    lines = doctor.as_lines(findings)
    assert SECRET not in lines
    assert TOKEN not in lines
    return {finding.check: finding for finding in findings}, doctor.first_to_fix(findings)


@contextlib.contextmanager
def server(
    *, ahead: dt.timedelta = dt.timedelta(), certificate: Path | None = None, body: bytes = b"hello", status: int = 200
):
    """A server that is not ENS, at a time of its own; with TLS where there is a certificate."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815  (the name is the protocol's)

        def date_time_string(self, timestamp=None):  # noqa: ARG002
            time = dt.datetime.now(dt.UTC) + ahead
            return super().date_time_string(time.timestamp())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with LoopbackServer(Answer, certificate) as server:
        yield server.url


def test_a_good_setup_passes_every_check(serve, account, tmp_path):
    endpoint = serve(images=60)
    run(tmp_path, accounts=[account], endpoint=endpoint.url)
    before = sorted(tmp_path.rglob("*"))
    found, wrong = examined(tmp_path, endpoint.url, account)

    assert wrong is None
    assert {finding.result for finding in found.values()} == {"good"}
    assert found["one image of 'default'"].found == "allowed: ens:DescribeSelfImages, 60 images"
    assert found["one instance of 'default'"].found == "allowed: ens:DescribeInstances, 0 instances"
    assert found[f"TLS of {endpoint.url}"].found == "none: plain http"
    assert found[f"clock beside {endpoint.url}"].found in {"right to the second", "2 s ahead of the service"}
    assert found[f"folder {str(tmp_path)!r}"].found == "writable"
    assert "the last run landed" in found["free space"].found
    assert sorted(tmp_path.rglob("*")) == before


def test_the_checks_come_in_the_order_in_which_to_fix_them(serve, account, tmp_path):
    url = serve().url
    found, _ = examined(tmp_path, url, account, settings=[("data", tmp_path, "default")])

    assert list(found) == [
        "setting data",
        "accounts",
        "credentials of 'default'",
        f"endpoint {url}",
        f"TLS of {url}",
        f"clock beside {url}",
        *(f"one {resource.noun} of 'default'" for resource in RESOURCES),
        f"folder {str(tmp_path)!r}",
        "file system",
        "free space",
        "versions",
        "lock",
    ]


def test_without_credentials_it_goes_as_far_as_it_can(serve, tmp_path):
    found, wrong = examined(tmp_path, (url := serve().url), profile_account("nobody-has-this"))

    assert (type(wrong).__name__, wrong.exit_code) == ("NoCredentials", 4)
    assert (found[f"endpoint {url}"].result, found["lock"].result) == ("good", "good")
    assert found["one image of 'nobody-has-this'"].result == "not known"


def test_credentials_are_named_by_their_provider_and_never_shown(tmp_path):
    account = key_account("default", "emulator", SECRET, TOKEN)
    with Endpoint({"emulator": Key(SECRET, living_account(images=3), security_token=TOKEN)}) as endpoint:
        found, wrong = examined(tmp_path, endpoint.url, account)

    assert wrong is None
    assert found["credentials of 'default'"].found == "found by static_sts"


def test_an_expired_token_is_found_by_the_signed_call(serve, account, tmp_path):
    found, wrong = examined(tmp_path, serve(faults=["expired-token"]).url, account)

    assert (type(wrong).__name__, wrong.exit_code) == ("Refused", 4)
    assert re.search("InvalidSecurityToken.Expired: .*get new credentials", str(wrong))
    assert found["one image of 'default'"].error is wrong


def test_a_missing_right_that_a_run_does_without_is_optional(account, tmp_path):
    key = Key("emulator", living_account(3, 1, 2), permitted_days={"DescribeInstances": ()})
    with Endpoint({"emulator": key}) as endpoint:
        found, wrong = examined(tmp_path, endpoint.url, account)

    finding = found["one instance of 'default'"]
    assert (wrong, finding.result) == (None, "optional")
    assert finding.found == "ens:DescribeInstances is not granted: a run does without, and knows no instances"


def test_a_missing_permission_is_found_by_the_signed_call(account, tmp_path):
    with server(body=b'{"Code": "NoPermission", "Message": "Permission denied."}', status=400) as url:
        _, wrong = examined(tmp_path, url, account)

    assert (type(wrong).__name__, wrong.exit_code) == ("NotPermitted", 4)
    assert re.search("NoPermission: .*ens:DescribeSelfImages .*grant it in RAM", str(wrong))


def test_a_wrong_secret_is_found_by_the_signed_call(serve, tmp_path):
    _, wrong = examined(tmp_path, serve().url, key_account("default", "emulator", SECRET))

    assert (wrong.exit_code, "SignatureDoesNotMatch" in str(wrong)) == (4, True)


@pytest.mark.parametrize(("minutes", "direction"), [(20, "behind"), (-20, "ahead of")])
def test_a_clock_that_the_service_would_refuse_is_found_without_credentials(tmp_path, minutes, direction):
    with server(ahead=dt.timedelta(minutes=minutes)) as url:
        found, wrong = examined(tmp_path, url)

    assert (type(wrong).__name__, wrong.exit_code) == ("ClockIsWrong", 4)
    assert f"s {direction} the service, which accepts 15 minutes: set the clock" in str(wrong)
    assert found[f"endpoint {url}"].result == "good"


def test_a_clock_within_15_minutes_is_reported_and_accepted(tmp_path):
    with server(ahead=dt.timedelta(minutes=5)) as url:
        found, wrong = examined(tmp_path, url)

    assert wrong is None
    assert found[f"clock beside {url}"].found in {"299 s behind the service", "300 s behind the service"}


def test_checks_that_need_an_unreachable_endpoint_are_not_known(account, tmp_path):
    found, wrong = examined(tmp_path, "http://127.0.0.1:9", account)

    assert (type(wrong).__name__, wrong.exit_code) == ("Unreachable", 5)
    assert "no answer from http://127.0.0.1:9" in str(wrong)
    assert [name for name, finding in found.items() if finding.result == "not known"] == [
        "TLS of http://127.0.0.1:9",
        "clock beside http://127.0.0.1:9",
        *(f"one {resource.noun} of 'default'" for resource in RESOURCES),
    ]


def test_an_unknown_host_name_is_found(tmp_path):
    _, wrong = examined(tmp_path, "host.invalid")

    assert (wrong.exit_code, "host.invalid" in str(wrong)) == (5, True)


def test_an_untrusted_certificate_is_found_and_nothing_is_sent(self_signed, account, tmp_path):
    with server(certificate=self_signed) as url:
        found, wrong = examined(tmp_path, url, account)

    assert (type(wrong).__name__, wrong.exit_code) == ("Unreachable", 5)
    assert "certificate that is not trusted" in str(wrong)
    assert (found[f"endpoint {url}"].result, found[f"TLS of {url}"].result) == ("good", "wrong")
    assert found["one image of 'default'"].result == "not known"


def test_tls_to_a_port_without_tls_is_found(tmp_path):
    with server() as url:
        found, wrong = examined(tmp_path, secure := url.replace("http:", "https:"))

    assert (wrong.exit_code, found[f"TLS of {secure}"].error) == (5, wrong)


def test_an_endpoint_that_is_not_ens_is_found(account, tmp_path):
    with server() as url:
        found, wrong = examined(tmp_path, url, account)

    assert (wrong.exit_code, "answers, but not as ENS" in str(wrong)) == (4, True)
    assert found[f"endpoint {url}"].result == "good"


@pytest.mark.skipif(not Path("/sys").is_dir(), reason="a folder that even root cannot write to")
def test_a_folder_that_cannot_be_written_to_is_found(serve, account):
    found, wrong = examined(Path("/sys/ens-images"), serve().url, account)

    assert (type(wrong).__name__, wrong.exit_code) == ("NoAccess", 6)
    assert "'/sys' cannot be written to" in str(wrong)
    assert found["file system"].found.startswith("sysfs")


def test_a_folder_below_a_file_is_found_also_that_of_a_step_after_the_run(serve, account, tmp_path):
    (tmp_path / "file").write_text("")
    url = serve().url
    first = examined(tmp_path / "file" / "lake", url, account)[1]
    second = examined(tmp_path / "lake", url, account, folders=[tmp_path / "file" / "out"])[1]

    for wrong in (first, second):
        assert (wrong.exit_code, "file' cannot be written to: Not a directory" in str(wrong)) == (2, True)


def test_a_missing_folder_is_good_if_it_can_be_made(serve, account, tmp_path):
    found, wrong = examined(tmp_path / "a" / "b", serve().url, account)

    assert wrong is None
    assert found[f"folder {str(tmp_path / 'a' / 'b')!r}"].found == f"will be made: {str(tmp_path)!r} is writable"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "result"), [("there", "writable"), ("new", "will be made: {!r} is writable")])
def test_a_relative_folder_is_found_from_the_working_folder(serve, account, tmp_path, monkeypatch, name, result):
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path)

    found, _ = examined(Path(name), serve().url, account)

    assert found[f"folder {name!r}"].found == result.format(str(tmp_path))


MOUNTS = [("/", "ext4"), ("/srv", "nfs4"), ("/srv/local", "xfs"), ("/srv/local", "cifs"), ("/srv2", "fuse.sshfs")]


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/home/x", "ext4"),
        ("/srv/lake", "nfs4"),
        ("/srv/local/lake", "cifs"),
        ("/srv2", "fuse.sshfs"),
        ("/srv3", "ext4"),
    ],
)
def test_the_file_system_is_that_of_the_last_mount_over_the_folder(place, kind):
    assert file_system_of(Path(place), MOUNTS) == kind


def test_a_network_file_system_is_refused(tmp_path):
    with pytest.raises(BadSetting, match="is on nfs4, a network file system"):
        machine.check_file_system(tmp_path, [("/", "ext4"), (str(tmp_path), "nfs4")])


def test_a_disk_without_space_for_ten_more_runs_is_found(serve, account, tmp_path):
    last_run = tmp_path / "raw" / "observed_on=2026-11-23" / "20261123T020000.000000Z.parquet"
    last_run.parent.mkdir(parents=True)
    with last_run.open("wb") as sparse:  # as large as an eighth of the free space, without taking any
        sparse.truncate(shutil.disk_usage(tmp_path).free // 8)
    _, wrong = examined(tmp_path, serve().url, account)

    assert (type(wrong).__name__, wrong.exit_code) == ("DiskFull", 5)
    assert re.search(r"[\d,]+ MiB are free, and [\d,]+ MiB should be", str(wrong))


def test_doctor_and_run_report_a_folder_below_a_file_alike(serve, account, tmp_path):
    (tmp_path / "file").touch()
    data, endpoint = tmp_path / "file" / "sub", serve(images=1).url
    with pytest.raises(BadSetting, match="file' cannot be written to: Not a directory: name another folder") as error:
        run(data, accounts=[account], endpoint=endpoint)
    _, wrong = examined(data, endpoint, account)

    assert (str(wrong), wrong.exit_code) == (str(error.value), 2)


def test_the_process_that_locked_the_lake_is_named(serve, account, tmp_path):
    url = serve().url
    with lock(tmp_path):
        found, wrong = examined(tmp_path, url, account)
    assert (type(wrong).__name__, wrong.exit_code) == ("LakeLocked", 5)
    assert f"is locked by process {os.getpid()} since " in str(wrong)

    found, wrong = examined(tmp_path, url, account)
    assert (wrong, found["lock"].found) == (None, "free")


@pytest.fixture
def declare(tmp_path_factory, monkeypatch):
    """Let the installed ens-images require `lines`: its metadata, in a folder that comes first on the path."""

    def write(*lines: str) -> None:
        folder = tmp_path_factory.mktemp("site-packages")
        record = folder / f"ens_images-{version('ens-images')}.dist-info"
        record.mkdir()
        head = ["Metadata-Version: 2.4", "Name: ens-images", f"Version: {version('ens-images')}"]
        (record / "METADATA").write_text("\n".join([*head, *(f"Requires-Dist: {line}" for line in lines), ""]))
        monkeypatch.syspath_prepend(str(folder))

    return write


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["duckdb>=99.1"], r"duckdb is \d.*, and 99\.1 or newer is needed: pip install --upgrade ens-images"),
        (["duckdb<1"], r"duckdb is \d.*, and <1 is needed"),
        (["nonsense-package>=1"], "nonsense-package is missing, and 1 or newer is needed"),
        (["nonsense-package"], "nonsense-package is missing, and any version is needed"),
        (["duckdb>=1", "nonsense-package>=1; python_version > '3'"], "nonsense-package is missing"),
    ],
)
def test_a_package_that_is_too_old_or_missing_is_named(lines, message, serve, account, tmp_path, declare):
    declare(*lines)
    found, wrong = examined(tmp_path, serve().url, account)

    assert re.search(message, found["versions"].found)
    assert wrong.exit_code == 2


def test_a_requirement_of_another_python_or_of_an_extra_is_ignored(serve, account, tmp_path, declare):
    declare("duckdb>=1", "nonsense-package; python_version < '3'", "nonsense-package>=1; extra == 'dev'")
    found, wrong = examined(tmp_path, serve().url, account)

    assert (wrong, found["versions"].result) == (None, "good")


def test_a_missing_extra_is_named_with_the_setting_that_needs_it(tmp_path, typed, declare):
    lines = ["[after_run]", "html = 'out/report.html'", "export = 'out/reports'", "export_formats = ['xlsx']"]
    (tmp_path / "ens-images.toml").write_text("\n".join(lines))
    rows = json.loads(typed("doctor", "--endpoint", "http://127.0.0.1:9", "--format", "json")[1])
    assert {row["check"]: row["result"] for row in rows if row["check"].startswith("extra")} == {
        "extra report": "good",
        "extra excel": "good",
    }
    assert {"setting after_run.export_formats": "xlsx  (ens-images.toml)"}.items() <= {
        row["check"]: row["found"] for row in rows
    }.items()

    declare(*(f"nonsense-package>=1; extra == '{extra}'" for extra in ("report", "excel", "cloud")))
    for words, key, extra in (
        (["--data", "data"], "after_run.html", "report"),
        (["--data", "data"], "after_run.export_formats", "excel"),
        (["--data", "s3://bucket/lake"], "data", "cloud"),
    ):
        command = ("doctor", "--endpoint", "http://127.0.0.1:9", "--format", "json", *words)
        (row,) = [row for row in json.loads(typed(*command)[1]) if row["check"] == f"extra {extra}"]
        assert row["found"].startswith(f"BadSetting: {key}: ")
        assert f"is needed: pip install 'ens-images[{extra}]'" in row["found"]


@pytest.mark.parametrize("endpoint", ["http://somebody:hunter2@h", "somebody:hun/ter2@h", "https://:hunter2@h/x"])
def test_no_password_of_an_endpoint_is_shown(endpoint, tmp_path, typed, monkeypatch):
    texts = []
    for words in (["doctor"], ["doctor", "--format", "json"], ["run", "-vv"], ["list"]):
        texts.append("".join(map(str, typed(*words, "--endpoint", endpoint))))
        monkeypatch.setenv("ENS_IMAGES_ENDPOINT", endpoint)
        texts.append("".join(map(str, typed(*words))))
        monkeypatch.delenv("ENS_IMAGES_ENDPOINT")
    line = f"endpoint = '{endpoint}'\n"
    (tmp_path / "ens-images.toml").write_text(f"{line}[[accounts]]\nlabel = 'a'\n{line}[bucket]\n{line}")
    texts += [
        "".join(map(str, typed(*words))) for words in (["doctor"], ["run"], ["sql", "--data", "s3://b/x", "from x"])
    ]

    assert [text for text in texts if "ter2" in text or "somebody" in text or "***@h" not in text] == []


def test_no_key_in_the_address_of_a_bucket_is_shown(typed):
    code, out, err = typed("doctor", "--data", "s3://somebody:hunter2@bucket/lake")

    assert (code, "hunter2" in out + err, "'s3://***@bucket/lake' names no bucket" in err) == (2, False, True)


def test_an_account_with_an_endpoint_of_its_own_is_called_there(serve, account, tmp_path):
    first, other = serve(images=3), serve(images=5)
    second = key_account("second", "emulator", "emulator")
    second.endpoint = other.url
    found, wrong = examined(tmp_path, first.url, account, second)

    assert wrong is None
    assert (found["one image of 'default'"].found[-8:], found["one image of 'second'"].found[-8:]) == (
        "3 images",
        "5 images",
    )


def test_a_wrong_setting_is_the_first_thing_to_fix(serve, account, tmp_path):
    _, wrong = examined(tmp_path, "ftp://x", account, unknown=["ENS_IMAGES_RAET is not a setting"])
    assert (wrong.exit_code, str(wrong)) == (2, "ENS_IMAGES_RAET is not a setting")

    def twice():
        raise BadSetting("named twice")

    findings = doctor.examine(tmp_path, accounts=twice, endpoint=serve().url)
    assert str(doctor.first_to_fix(findings)) == "named twice"
    assert [finding.check for finding in findings][-1] == "lock"


def test_the_command_prints_every_check_and_ends_with_the_first_thing_to_fix(typed, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    words = ("doctor", "--endpoint", "http://127.0.0.1:9", "--profile", "nobody")
    code, out, err = typed(*words)
    rows = json.loads(typed(*words, "--format", "json")[1])

    assert (code, err.partition(":")[0], "NoCredentials" in err) == (4, "error", True)
    assert out.splitlines()[0].split() == ["good", "setting", "data", "data", "(default)"]
    assert "wrong      credentials of 'nobody'" in out
    assert {"check": "lock", "result": "good", "found": "free", "exit_code": 0} in rows
    assert next(row["exit_code"] for row in rows if row["check"].startswith("endpoint")) == 5


def test_each_call_is_logged_with_its_account(serve, tmp_path, caplog):
    caplog.set_level("INFO", logger="pipeline")
    examined(tmp_path, serve(images=3).url, key_account("fine", "emulator", "emulator"))

    assert [record.message.partition(" call=")[0] for record in caplog.records if " 200, " in record.message] == [
        "account='fine'"
    ] * len(RESOURCES)


def times_of(folder: Path) -> dict[str, tuple[int, int]]:
    """When each file and folder was written and changed last."""
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_ctime_ns) for path in (folder, *folder.rglob("*"))}


def test_it_changes_nothing_not_even_the_time_of_a_folder(serve, account, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    (tmp_path / "home").mkdir()
    (tmp_path / "out").mkdir()
    url = serve(images=3).url
    run(tmp_path / "data", accounts=[account], endpoint=url)
    before = times_of(tmp_path)
    for data in ("data", "new"):
        found, _ = examined(tmp_path / data, url, account, folders=[tmp_path / "out", tmp_path / "reports" / "html"])
        assert all(found[f"folder '{tmp_path / name}'"].result == "good" for name in (data, "out", "reports/html"))

    assert times_of(tmp_path) == before


def test_it_restores_the_time_of_a_folder_where_a_file_needs_a_name(serve, account, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile._O_TMPFILE_WORKS", False)  # as on a file system without such files
    (tmp_path / "data").mkdir()
    os.utime(tmp_path / "data", (1, 2))
    examined(tmp_path / "data", serve().url, account)

    assert (tmp_path / "data").stat().st_mtime == 2
    assert not list((tmp_path / "data").iterdir())
