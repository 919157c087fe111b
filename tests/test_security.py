"""What comes from outside stays what it is: no path, no SQL, no order to a terminal or a spreadsheet.

And no secret goes out, nobody else is let in, and nobody else is believed.
"""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import http.server
import io
import json
import logging
import os
import re
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import certifi
import duckdb
import pyarrow.parquet as pq
import pytest
from conftest import in_this_process
from loopback import LoopbackServer

from pipeline import cli, connect, export, rebuild, run
from pipeline.credentials import key_account
from pipeline.emulator import Endpoint, Key, living_account
from pipeline.errors import BadQuery, BadSetting, EnsImagesError, LakeDamaged, Refused, Unreachable
from pipeline.extract.endpoint import endpoint_url
from pipeline.reports.formats import write_rows
from pipeline.reports.query import query as ask
from pipeline.reports.query import read
from pipeline.views.script import views_sql

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET, TOKEN = "a-secret-of-thirty-characters", "a-token/that+is=secret"
HOSTILE = [
    "../../../tmp/x",
    "/etc/passwd",
    "a'b; drop table images; --",
    'a"b',
    "a\\b",
    "$(touch x)`touch y`",
    "=cmd()",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\x1b]0;title\x07\x1b[31mred",
    "\x9b31m",
    "\u202eleft",
    "a\nb,c",
    "nul\0nul",
    "[bold]x[/bold]",
    "{0}%s",
    "observed_on=2026-01-01",
    ".",
    "..",
    " ",
    "a/b",
    "😀",
]
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
LABELS = ["../x", "a'b", 'q"q', "=cmd()", "\x1b[31mred", "x\ny", "/abs", "nul\0", "a\\b"]


class Hostile:
    """An account whose every text is one that somebody made up to do harm."""

    def images_on(self, _: int) -> list[dict[str, Any]]:
        fields = ("ImageName", "Status", "Platform", "RegionId", "OsVersion", "ImageOwnerAlias", "SnapshotId")
        return [
            {
                "ImageId": f"{text}{number}" if text in HOSTILE[:number] else text,
                **dict.fromkeys(fields, text),
                "ImageSize": text,
                "CreationTime": "2020-01-01T00:00:00Z",
                text: text,
                "DiskDeviceMappings": {"DiskDeviceMapping": [{"Type": text, "Size": text, "imageId": text}]},
            }
            for number, text in enumerate(HOSTILE)
        ]

    def new_image(self, serial: int, day: int) -> dict[str, Any]:
        return {"ImageId": f"{day}-{serial}"}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> Path:
    """A lake of hostile accounts, under labels that are no better; two days of it."""
    home = tmp_path_factory.mktemp("home")
    with Endpoint({"emulator": Key("emulator", Hostile())}) as endpoint:
        accounts = [key_account(label, "emulator", "emulator") for label in LABELS]
        for day in (1, 2):
            run(
                home / "data",
                accounts=accounts,
                endpoint=endpoint.url,
                rate=None,
                observed_at=dt.datetime(2026, 1, day, tzinfo=dt.UTC),
            )
    return home


def environment(home: Path, **more: str) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("ALIBABA_", "ENS_IMAGES_", "SSL_"))
    }
    return {**kept, "HOME": str(home), "COLUMNS": "100", **more}


def ens_images(home: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command in `home`, without a process of its own."""
    return in_this_process(home, *arguments, environment=environment(home, **more))


def as_a_user(home: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command in `home`, in a process of its own."""
    command = [sys.executable, "-m", "pipeline", *arguments]
    return subprocess.run(
        command, cwd=home, env=environment(home, **more), capture_output=True, encoding="utf-8", check=False
    )


# ── what comes from outside ──────────────────────────────────────────────────


def test_nothing_that_the_service_or_a_label_says_becomes_a_path(hostile):
    assert [path.name for path in hostile.iterdir()] == ["data"]
    day_and_run = r"observed_on=2026-01-0\d(/2026010\dT000000\.000000Z\.parquet)?"
    rooms = rf"raw/{day_and_run}|lake/(images|image_disks|rejects|observations)(/{day_and_run})?"
    allowed = rf"\.lock|lake\.duckdb(\.sha256)?|lake/format|raw|lake|(raw|lake)/\.staging|{rooms}"
    for path in (hostile / "data").rglob("*"):
        assert re.fullmatch(allowed, str(path.relative_to(hostile / "data"))), path


def test_hostile_texts_are_stored_as_they_were_sent(hostile):
    with connect(hostile / "data") as lake:
        names = {row[0] for row in lake.execute("select image_name from images_latest").fetchall()}
        labels = {row[0] for row in lake.execute("select account from accounts").fetchall()}

    assert (names, labels) == (set(HOSTILE), set(LABELS))


def test_hostile_texts_are_texts_in_sql(hostile, tmp_path):
    with contextlib.closing(duckdb.connect()) as other:
        other.execute(views_sql(hostile / "data"))
        for name in [
            row[0] for row in other.execute("select view_name from duckdb_views() where not internal").fetchall()
        ]:
            assert other.execute(f"select count(*) from {name}").fetchall()  # noqa: S608  (a view's own name)
        assert len(other.execute("from images_latest").fetchall()) == len(HOSTILE) * len(LABELS)
    assert rebuild(hostile / "data", into=tmp_path / "again")
    with connect(tmp_path / "again") as lake:
        assert len(lake.execute("from images_latest").fetchall()) == len(HOSTILE) * len(LABELS)


@pytest.mark.parametrize("output_format", ["table", "csv", "json", "markdown"])
def test_no_text_gives_orders_to_the_terminal(hostile, output_format, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for query in ("from images_latest", "from image_disks_latest", "from rejects", "from observations"):
        out, err = Terminal(), Terminal()
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        monkeypatch.setenv("NO_COLOR", "1")
        with pytest.raises(SystemExit, match=r"^0$"):
            cli.main(["sql", "--data", str(hostile / "data"), "--format", output_format, query])
        ours = (
            re.sub("\x1b\\[[0-9;]*m", "", out.getvalue() + err.getvalue())
            if output_format == "table"
            else out.getvalue()
        )
        assert not CONTROLS.search(ours)
        assert "\x1b[31m" not in out.getvalue() + err.getvalue()


@pytest.mark.parametrize("arguments", [["report"], ["report", "--format", "markdown"], ["report", "accounts"]])
def test_no_report_and_no_trust_line_gives_orders_to_the_terminal(hostile, arguments):
    done = ens_images(hostile, *arguments)

    assert done.returncode == 0, done.stderr
    assert not CONTROLS.search(done.stdout + done.stderr)


def test_no_label_and_no_error_gives_orders_to_the_terminal(serve, tmp_path):
    (tmp_path / ".aliyun").mkdir()
    profiles = [
        {"name": name, "mode": "AK", "access_key_id": key, "access_key_secret": "emulator"}
        for name, key in (("\x1b[31mred\nnot published", "emulator"), ("\x1b[32mgreen", "nobody"))
    ]
    (tmp_path / ".aliyun" / "config.json").write_text(json.dumps({"current": "x", "profiles": profiles}))
    chosen = [word for profile in profiles for word in ("--profile", profile["name"])]
    done = as_a_user(tmp_path, "run", "--endpoint", serve(images=3).url, *chosen)

    assert done.returncode == 4, done.stderr
    assert not CONTROLS.search(done.stderr)
    assert r"\x1b[31mred\nnot published: verified, 3 images" in done.stderr


def test_what_the_service_says_in_an_error_gives_no_orders_to_the_terminal(tmp_path):
    body = json.dumps({"Code": "No\x1b[31m", "Message": "\x1b]0;x\x07\nsecond"}).encode()
    with answering(400, body) as server:
        done = ens_images(tmp_path, "run", "--endpoint", f"http://127.0.0.1:{server.port}", **KEYS)

    assert done.returncode == 4, done.stderr
    assert not CONTROLS.search(done.stderr)


@pytest.mark.parametrize("view", ["images_latest", "image_disks_latest", "rejects", "accounts"])
def test_no_cell_of_a_csv_is_a_formula(hostile, tmp_path, view):
    printed = io.StringIO(newline="")
    with connect(hostile / "data") as lake:
        write_rows(read(lake, view), "csv", printed)
    export(view, tmp_path / "exported.csv", hostile / "data")
    for text in (printed.getvalue(), (tmp_path / "exported.csv").read_bytes().decode()):
        rows = list(csv.reader(io.StringIO(text, newline="")))
        assert len({len(row) for row in rows}) == 1
        assert not [cell for row in rows for cell in row if re.match(r"[=+@\t\r]|-[^\d]", cell)]


# ── what goes out ────────────────────────────────────────────────────────────


KEYS = {"ALIBABA_CLOUD_ACCESS_KEY_ID": "emulator", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "emulator"}
STS = {
    "ALIBABA_CLOUD_ACCESS_KEY_ID": "emulator",
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET": SECRET,
    "ALIBABA_CLOUD_SECURITY_TOKEN": TOKEN,
}


@pytest.mark.parametrize(("theirs", "code"), [(SECRET, 0), ("another secret of thirty chars", 4)])
def test_no_secret_stands_in_what_is_printed_or_kept_with_the_vendors_debugging_on(tmp_path, theirs, code):
    with Endpoint({"emulator": Key(theirs, living_account(images=3), security_token=TOKEN)}) as endpoint:
        done = as_a_user(tmp_path, "run", "--endpoint", endpoint.url, **STS, DEBUG="sdk", PYTHONASYNCIODEBUG="1")
        listed = as_a_user(tmp_path, "list", "--endpoint", endpoint.url, **STS, DEBUG="sdk")

    assert (done.returncode, listed.returncode) == (code, code), done.stderr
    said = done.stdout + done.stderr + listed.stdout + listed.stderr
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.parts[-3] == "raw" for path in kept)
    cells = [str(row) for path in kept if path.suffix == ".parquet" for row in pq.read_table(path).to_pylist()]
    headers = [str(pq.read_metadata(path).metadata) for path in kept if path.suffix == ".parquet"]
    for what in (said, *cells, *headers, *(path.read_bytes().decode("latin-1") for path in kept)):
        assert SECRET not in what
        assert TOKEN not in what
        assert "Authorization" not in what
        assert "Signature=" not in what


def test_no_secret_stands_in_a_log_however_much_is_logged(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    keys = {"emulator": Key(SECRET, living_account(images=60), security_token=TOKEN)}
    with Endpoint(keys, qps=5) as endpoint:
        for secret in (SECRET, "another secret of thirty chars"):
            with contextlib.suppress(EnsImagesError):
                run(tmp_path, accounts=[key_account("a", "emulator", secret, TOKEN)], endpoint=endpoint.url, rate=None)

    logged = caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    assert SECRET not in logged
    assert TOKEN not in logged


def test_no_secret_can_be_given_where_other_users_see_it():
    """`ps` shows a command's arguments to everyone: only the local endpoint, whose keys are toys, takes one there."""
    options = {
        f"{name} {parameter.name}"
        for name, command in cli.commands.commands.items()
        for parameter in command.params
        if re.search("key|secret|token|password|credential", " ".join(parameter.opts).lower())
    }
    assert options == {"emulate keys"}


def test_no_secret_stands_in_an_account_or_in_its_error():
    account = key_account("prod", "id", SECRET, TOKEN)
    key = account.resolve()

    assert SECRET not in f"{account!r} {account} {key!r} {key} {vars(account)}"
    assert TOKEN not in f"{account!r} {account} {key!r} {key} {vars(account)}"


# ── who may read it ──────────────────────────────────────────────────────────


def modes(data: Path) -> dict[str, str]:
    return {name: oct(stat.S_IMODE((data / name).stat().st_mode)) for name in (".", "raw", "lake", "lake/images")}


def test_a_new_lake_is_its_owners_alone_whatever_the_umask(serve, tmp_path):
    before = os.umask(0)
    try:
        run(tmp_path / "data", accounts=[key_account("a", "emulator", "emulator")], endpoint=serve(images=3).url)
    finally:
        os.umask(before)

    assert modes(tmp_path / "data") == dict.fromkeys((".", "raw", "lake", "lake/images"), "0o700")


def test_a_folder_that_was_opened_to_others_stays_open_and_no_other_is(serve, tmp_path):
    endpoint, accounts = serve(images=3), [key_account("a", "emulator", "emulator")]
    (tmp_path / "data" / "lake").mkdir(parents=True)
    for folder in (tmp_path / "data", tmp_path / "data" / "lake"):
        folder.chmod(0o755)
    for _ in range(2):
        run(tmp_path / "data", accounts=accounts, endpoint=endpoint.url)

    assert modes(tmp_path / "data") == {".": "0o755", "raw": "0o700", "lake": "0o755", "lake/images": "0o755"}


# ── whom it talks to ─────────────────────────────────────────────────────────


@contextlib.contextmanager
def answering(status: int, body: bytes, certificate: Path | None = None) -> Iterator[LoopbackServer]:
    """A server on loopback that answers all the same; with TLS where there is a certificate, and counting its calls."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.server.calls += 1
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with LoopbackServer(Answer, certificate) as server:
        server.server.calls = 0
        yield server


def test_a_certificate_that_nobody_vouches_for_ends_the_run_before_anything_is_sent(self_signed, tmp_path):
    with answering(200, b"{}", self_signed) as server:
        with pytest.raises(Unreachable, match=r"CERTIFICATE_VERIFY_FAILED.*certificate") as error:
            run(
                tmp_path,
                accounts=[key_account("a", "emulator", "emulator")],
                endpoint=f"https://127.0.0.1:{server.port}",
            )
        assert server.server.calls == 0
    assert error.value.run.observations[0]["call_count"] == 1


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_certificate_that_the_user_vouches_for_is_believed(self_signed, tmp_path, variable):
    body = json.dumps({"Code": "NoPermission", "Message": "Permission denied."}).encode()
    with answering(400, body, self_signed) as server:
        url = f"https://127.0.0.1:{server.port}"
        done = ens_images(tmp_path, "run", "--endpoint", url, **KEYS, **{variable: str(self_signed)})

        assert (done.returncode, server.server.calls) == (4, 1), done.stderr
    assert "NoPermission" in done.stderr


def test_each_bundle_adds_to_the_others(self_signed, tmp_path):
    with answering(400, b"{}", self_signed) as server:
        url = f"https://127.0.0.1:{server.port}"
        bundles = {"SSL_CERT_FILE": certifi.where(), "CURL_CA_BUNDLE": certifi.where()}
        done = ens_images(tmp_path, "doctor", "--endpoint", url, **bundles, REQUESTS_CA_BUNDLE=str(self_signed))

    assert "the certificate is trusted" in done.stdout


def test_a_bundle_that_is_not_there_is_named(tmp_path):
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        done = ens_images(tmp_path, "run", **KEYS, **{name: "/nowhere/ca.pem"})

        assert done.returncode == 2, done.stderr
        assert f"{name} names '/nowhere/ca.pem': No such file or directory" in done.stderr


@pytest.mark.parametrize("endpoint", ["http://example.com", "http://10.0.0.1:80", "http://localhost.example.com"])
def test_plain_http_leaves_this_machine_only_when_asked_for(endpoint, tmp_path):
    done = ens_images(tmp_path, "run", "--endpoint", endpoint, **KEYS)

    assert (done.returncode, "in the clear" in done.stderr) == (2, True)
    with pytest.raises(BadSetting, match="in the clear"):
        endpoint_url(endpoint)
    assert endpoint_url(endpoint, allow_plain_http=True) == endpoint


def test_plain_http_is_asked_for_by_an_option(tmp_path):
    done = ens_images(
        tmp_path, "run", "--endpoint", "http://host.invalid", "--allow-plain-http", "--timeout", "1", **KEYS
    )

    assert done.returncode == 5, done.stderr
    assert "in the clear" not in done.stderr


@pytest.mark.parametrize(
    "host", ["ens.aliyuncs.com", "https://ens.aliyuncs.com", "http://127.0.0.1:80", "http://[::1]:80"]
)
def test_https_and_this_machine_need_not_be_asked_for(host):
    assert endpoint_url(host)


def test_a_redirect_is_not_followed(tmp_path):
    with answering(307, b"") as server:
        with pytest.raises(Refused):
            run(
                tmp_path,
                accounts=[key_account("a", "emulator", "emulator")],
                endpoint=f"http://127.0.0.1:{server.port}",
            )
        assert server.server.calls == 1


# ── SQL that somebody typed ──────────────────────────────────────────────────

OUTSIDE = [
    "select * from read_csv('{outside}')",
    "select * from read_text('{outside}')",
    "select * from read_blob('{outside}')",
    "select * from '{outside}'",
    "select * from glob('{home}/*')",
    "select * from read_parquet('{home}/data/lake/**/*.parquet')",
    "from read_csv('https://example.com/x.csv')",
    "copy (select 1) to '{home}/made.csv'",
    "copy images to '{home}/made.parquet'",
    "with x as (copy (select 1) to '{home}/made.csv') from x",
    "export database '{home}/made'",
    "attach '{home}/made.db' as made",
    "attach '{home}/data/lake.duckdb' as lake2",
    "install httpfs",
    "load httpfs",
    "set enable_external_access = true",
    "set lock_configuration = false",
    "reset enable_external_access",
    "pragma enable_logging",
    "set allowed_directories = ['/']",
    "create secret (type s3, key_id 'x', secret 'y')",
    "drop view images",
    "select 1; copy (select 1) to '{home}/made.csv'",
    "explain analyze copy (select 1) to '{home}/made.csv'",
    "prepare p as copy (select 1) to '{home}/made.csv'",
    "import database '{home}'",
    "checkpoint",
    "call pragma_version()",
]


def _files_but_the_cache(folder: Path) -> list[Path]:
    """`connect` keeps which files it verified."""
    return sorted(path for path in folder.rglob("*") if path.name != ".verified")


@pytest.mark.parametrize("query", OUTSIDE)
def test_a_query_reads_the_lake_and_nothing_else_and_writes_nothing(hostile, query, tmp_path):
    outside = tmp_path / "outside.csv"
    outside.write_text("secret\n1\n")
    before = _files_but_the_cache(hostile)
    with contextlib.closing(connect(hostile / "data", only_lake=True)) as lake:
        with pytest.raises((BadQuery, LakeDamaged)):
            write_rows(ask(lake, query.format(outside=outside, home=hostile)), "csv", io.StringIO())
        assert lake.execute("select count(*) > 0 from images").fetchall() == [(True,)]
    assert _files_but_the_cache(hostile) == before


def test_the_command_asks_by_the_same_rules(hostile, tmp_path):
    (tmp_path / "outside.csv").write_text("secret\n1\n")
    read = ens_images(hostile, "sql", f"from '{tmp_path}/outside.csv'")
    written = ens_images(hostile, "sql", f"copy images to '{tmp_path}/made.csv'")

    assert (read.returncode, written.returncode) == (2, 2), read.stderr + written.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["outside.csv"]


def test_a_query_sees_no_variable_of_the_environment(hostile):
    done = as_a_user(hostile, "sql", "select getenv('ALIBABA_CLOUD_ACCESS_KEY_SECRET')", **STS)

    assert SECRET not in done.stdout + done.stderr


def test_a_query_reaches_other_files_when_that_is_allowed(hostile, tmp_path):
    (tmp_path / "regions.csv").write_text("region,name\nx,y\n")
    made = tmp_path / "made.csv"
    read = ens_images(hostile, "sql", "--allow-files", "--format", "csv", f"select name from '{tmp_path}/regions.csv'")  # noqa: S608
    written = ens_images(hostile, "sql", "--allow-files", f"copy (select image_id from images) to '{made}'")  # noqa: S608

    assert (read.returncode, read.stdout.split()) == (0, ["name", "y"]), read.stderr
    assert (written.returncode, made.exists()) == (0, True), written.stderr
