"""A lake in a bucket, over HTTP, with faults: `make cloud`. In no other run of the tests, for it wants a server.

The server is that of `s3_server.py`. In front of it stands a proxy that loses, delays and cuts.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import http.client
import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pyarrow.parquet as pq
import pytest
import test_howtos
from lake_builder import Seen, image, write_run
from objects import counted_requests, put_object, upload
from s3_server import BUCKET, KEY, SECRET, s3_server

from pipeline import connect, run
from pipeline.credentials import key_account
from pipeline.emulator import Endpoint, Key, living_account
from pipeline.errors import LakeLocked, LakeMissing, NoAccess, Unreachable
from pipeline.jobs.compaction import compact
from pipeline.jobs.retention import prune
from pipeline.jobs.withdrawal import restore, withdraw
from pipeline.lake.check import check
from pipeline.storage.bucket_path import BucketPath
from pipeline.storage.conditional_put import check_conditional_put
from pipeline.storage.configuration import configure
from pipeline.storage.duckdb_filesystem import duckdb_filesystem
from pipeline.storage.store import open_location, store_of
from pipeline.views.script import views_sql

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

desk = test_howtos.desk
RECORD, PUTS = 6, 7
"""Objects of a first run: raw pages, the format, three tables, the commit record; and then the state."""


class Proxy(http.server.ThreadingHTTPServer):
    """Hands requests on; `fault` says what happens to a put, a copy or a deletion instead, by its number."""

    daemon_threads = True

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = urlsplit(behind)
        self.fault: Any = lambda _number: ""
        self.puts = 0
        self.lock = threading.Lock()

    def handle_error(self, *_: Any) -> None:
        """A client that is gone is none."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def handle_any(self) -> None:
        fault = ""
        if self.command in {"PUT", "DELETE"}:
            with self.server.lock:
                self.server.puts += 1
                fault = self.server.fault(self.server.puts)
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if fault == "503":
            return self.answer(503, {}, b"<Error><Code>SlowDown</Code></Error>")
        if fault == "slow":
            time.sleep(1.5)
        if fault == "kill before":
            os.kill(self.server.victim, signal.SIGKILL)
            return self.hang_up()
        behind = self.server.behind
        is_oss = self.headers.get("x-oss-forbid-overwrite") == "true"
        with contextlib.closing(http.client.HTTPConnection(behind.hostname, behind.port, timeout=30)) as hop:
            hop.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                hop.putheader(name, value)
            if is_oss:
                hop.putheader("If-None-Match", "*")
            hop.endheaders((body[: length // 2] if fault == "cut" else body) or None)
            if fault == "cut":  # the service has half of the body, then both lines are dead
                return self.hang_up()
            said = hop.getresponse()
            answer = said.read()
        if is_oss and said.status == 412:  # as OSS's documentation has it
            return self.answer(409, {}, b"<Error><Code>FileAlreadyExists</Code></Error>")
        if fault == "kill after":
            os.kill(self.server.victim, signal.SIGKILL)
        if fault in {"lost", "kill after"}:  # the service has it, and nobody hears of that
            return self.hang_up()
        return self.answer(said.status, dict(said.getheaders()), answer)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = handle_any  # noqa: N815

    def hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                self.send_header(name, value)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        print(f"the server of S3: {server.name}")  # noqa: T201
        yield server


@pytest.fixture(scope="session")
def proxy(server):
    with Proxy(server.url) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{proxy.server_port}"
        yield proxy
        proxy.shutdown()


@pytest.fixture
def lake(proxy, request):
    proxy.fault, proxy.puts = (lambda _number: ""), 0
    yield f"s3://lake/{abs(hash(request.node.name))}-{time.time_ns()}"
    proxy.fault = lambda _number: ""


@pytest.fixture(scope="session")
def ens():
    with Endpoint({"emulator": Key("emulator", living_account(images=12))}) as endpoint:
        yield {"accounts": [key_account("default", "emulator", "emulator")], "endpoint": endpoint.url}


def runs(data: str) -> int:
    """How many runs a reader sees; each of them whole."""
    try:
        with connect(data, only_lake=True) as con:
            seen = con.execute(
                "select run_id, "
                "item_count = (select count(*) from images as i where i.observed_at_utc = record.observed_at_utc)"
                " from observations as record where resource = 'images'"
            ).fetchall()
    except LakeMissing:
        return 0
    assert all(is_complete for _, is_complete in seen)
    return len(seen)


@pytest.mark.parametrize("fault", ["503", "cut", "lost", "slow"])
@pytest.mark.parametrize("number", range(1, PUTS + 1))
def test_one_put_that_goes_wrong_costs_a_try_and_nothing_else(lake, proxy, ens, fault, number, record_property):
    proxy.fault = lambda n: fault if n == number else ""
    run(lake, **ens)
    assert proxy.puts == PUTS + (fault != "slow")
    assert runs(lake) == 1
    assert check(lake).findings == []
    record_property("fault", f"{fault}, put {number}")


@pytest.mark.parametrize("fault", ["cut", "lost"])
def test_a_commit_that_never_gets_an_answer_leaves_the_old_lake_or_the_new_one(
    lake, proxy, ens, fault, record_property
):
    run(lake, **ens)
    proxy.puts, proxy.fault = 0, lambda n: fault if n >= RECORD - 1 else ""  # the format is there already
    if fault == "lost":  # the second try is refused, and its refusal lost too
        with pytest.raises(Unreachable, match="status"):
            run(lake, **ens)
        assert runs(lake) == 2
    else:
        with pytest.raises(Unreachable):
            run(lake, **ens)
        assert runs(lake) == 1
    record_property("fault", f"{fault}, every try of the commit")


WRITER = """
import sys
from pipeline import run
from pipeline.credentials import key_account
run(sys.argv[1], accounts=[key_account("default", "emulator", "emulator")], endpoint=sys.argv[2])
"""


def writer(data: str, ens: dict[str, Any]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WRITER, data, ens["endpoint"]])


@pytest.mark.parametrize("when", ["kill before", "kill after"])
@pytest.mark.parametrize("number", range(1, PUTS + 3))  # this writer lists instances too: two tables more
def test_a_writer_killed_at_a_put_leaves_nothing_or_the_whole_run(lake, proxy, ens, when, number, record_property):
    proxy.fault = lambda n: when if n == number else ""
    with writer(lake, ens) as process:
        proxy.victim = process.pid
        assert process.wait(60) == -signal.SIGKILL
    proxy.fault = lambda _number: ""
    published = int(number + (when == "kill after") > RECORD + 2)
    assert runs(lake) == published
    run(lake, **ens)  # what was left is in nobody's way
    assert runs(lake) == published + 1
    record_property("kill", f"{when}, put {number}")


def test_machines_that_publish_at_once_all_do(lake, ens):
    started = [writer(lake, ens) for _ in range(3)]
    seen = []
    while any(process.poll() is None for process in started):
        seen.append(runs(lake))
    assert [process.wait() for process in started] == [0, 0, 0]
    assert runs(lake) == 3
    assert seen == sorted(seen)


# ── maintenance ──────────────────────────────────────────────────────────────

MAINTAINER = """
import datetime as dt, sys
from pipeline.jobs.compaction import compact
from pipeline.jobs.retention import prune
from pipeline.jobs.withdrawal import restore, withdraw
act, data, *more = sys.argv[1:]
at = dt.datetime(2026, 12, 31)
{"compact": lambda: compact(data, at=at), "prune": lambda: prune(data, daily_older_than="1d", at=at),
 "withdraw": lambda: withdraw(data, *more, at=at), "restore": lambda: restore(data, *more, at=at)}[act]()
"""


def maintainer(act: str, data: str, *more: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", MAINTAINER, act, data, *more])


def maintain(act: str, data: str, *more: str) -> None:
    with maintainer(act, data, *more) as process:
        assert process.wait(60) == 0


def rows_of(data: str) -> list[tuple[Any, ...]]:
    with connect(data, only_lake=True) as con:
        return con.execute("select run_id, account, image_id, disk_number from image_disks join observations "
                           "using (account, observed_at_utc) order by all").fetchall()  # fmt: skip


def rows_in_tables(data: str) -> int:
    paths = open_location(f"{data}/lake/images").rglob("*.parquet")
    return sum(pq.read_metadata(store_of(path).open(path)).num_rows for path in list(paths))


@pytest.mark.parametrize("when", ["kill before", "kill after"])
@pytest.mark.parametrize("act", ["compact", "withdraw", "restore", "prune"])
def test_a_maintainer_killed_at_a_change_leaves_the_lake_before_or_after(lake, proxy, ens, act, when, record_property):
    """At every change that it makes: puts, copies and deletions, one after the other."""
    first = run(lake, **ens).run_id
    run(lake, **ens)
    name = f"{first}/default" if act in {"withdraw", "restore"} else ""
    if act == "restore":
        maintain("withdraw", lake, name)
    if act == "prune":
        maintain("compact", lake)
    before, number = rows_of(lake), 0
    while True:
        number += 1
        proxy.puts, proxy.fault = 0, lambda n, number=number: when if n == number else ""
        with maintainer(act, lake, *([] if act in {"compact", "prune"} else [name])) as process:
            proxy.victim = process.pid
            code = process.wait(60)
        proxy.fault = lambda _number: ""
        seen = rows_of(lake)
        if code == 0:  # it has no more changes
            break
        if code != -signal.SIGKILL:  # there is nothing to do: the one before did it, and was killed after it
            assert act in {"withdraw", "restore"}
            assert seen != before
            act, before, number = "prune", seen, 0  # it left files to move: the next maintainer is killed at them
            continue
        assert seen == before or (act, 2 * len(seen)) in {("withdraw", len(before)), ("restore", 4 * len(before))}
    maintain("prune", lake)
    assert check(lake).findings == []
    if name:
        with connect(lake, only_lake=True) as con:
            assert con.execute("select count(*) from images").fetchall() == [(rows_in_tables(lake),)]
    record_property("kill", f"{act}, {when}, at {number - 1} changes")


def test_two_compactors_and_three_writers_at_once_lose_nothing(lake, ens, record_property):
    code = (
        "import sys\nfrom pipeline import run\nfrom pipeline.credentials import key_account\n"
        "for _ in range(4):\n    run(sys.argv[1], endpoint=sys.argv[2], "
        "accounts=[key_account(sys.argv[3], 'emulator', 'emulator')])"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, lake, ens["endpoint"], label])
        for label in ("one", "two", "three")
    ]
    compactions, seen = 0, []
    while any(process.poll() is None for process in writers):
        if runs(lake) > 1:
            both = [maintainer("compact", lake) for _ in range(2)]
            assert [process.wait(120) for process in both] == [0, 0]
            compactions += 2
        seen.append(runs(lake))
    assert [process.wait() for process in writers] == [0, 0, 0]
    assert seen == sorted(seen)
    assert runs(lake) == 12
    with connect(lake, only_lake=True) as con:
        by_account = "select account, count(distinct run_id) from observations group by all order by all"
        counted = con.execute(by_account).fetchall()
    assert counted == [("one", 4), ("three", 4), ("two", 4)]
    assert check(lake, deep=True).findings == []
    record_property("compactions", compactions)


AT_RANDOM = """
import random, sys
from pipeline.errors import UnknownName
from pipeline.jobs.compaction import compact
from pipeline.jobs.retention import prune
from pipeline.jobs.withdrawal import restore, withdraw
seed, data, *names = sys.argv[1:]
draw = random.Random(int(seed))
for _ in range(8):
    act = draw.choice((withdraw, restore, lambda data, _: compact(data), lambda data, _: prune(data)))
    try:
        act(data, draw.choice(names))
    except UnknownName:  # another machine has done it
        pass
"""


def test_three_maintainers_at_random_and_a_writer_at_once_end_in_one_state(lake, ens, record_property):
    names = [f"{run(lake, **ens).run_id}/default" for _ in range(3)]
    before = rows_of(lake)
    seed = time.time_ns() % 1_000_000
    maintainers = [
        subprocess.Popen([sys.executable, "-c", AT_RANDOM, str(seed + number), lake, *names]) for number in range(3)
    ]
    run(lake, **ens)
    assert [process.wait(300) for process in maintainers] == [0, 0, 0], seed
    prune(lake)
    with connect(lake, only_lake=True) as con:
        assert con.execute("select count(*) from images").fetchall() == [(rows_in_tables(lake),)], seed
        withdrawn = con.execute(
            "select run_id || '/default' from observations where error like 'Withdrawn%'"
        ).fetchall()
    assert check(lake).findings == [], seed
    for (name,) in withdrawn:
        restore(lake, name)
    assert set(before) <= set(rows_of(lake)), seed
    record_property("withdrawn at the end", len(withdrawn))


# ── others ───────────────────────────────────────────────────────────────────

BY_HTTPFS = """
import duckdb_extension_httpfs, os, sys, duckdb
from pathlib import Path
(extension,) = Path(duckdb_extension_httpfs.__file__).parent.rglob("httpfs.duckdb_extension")
con = duckdb.connect()
con.execute(f"load '{extension}'")
endpoint = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
key, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
con.execute(
    f"create secret (type s3, key_id '{key}', secret '{secret}', endpoint '{endpoint}', url_style 'path', "
    "use_ssl false, region 'us-east-1')"
)
con.execute(sys.stdin.read())
views = ("images", "image_versions", "capacity_by_region")
print([con.execute(f"from {view} order by all").fetchall() for view in views])
"""


def by_httpfs(script: str) -> subprocess.CompletedProcess[str]:
    """Run the printed script in a DuckDB of another version, with its own extension for buckets; print three views."""
    python = os.environ.get("ENS_IMAGES_HTTPFS")
    if python is None:
        pytest.skip("DuckDB's own extension for buckets is not installed: make cloud does it")
    return subprocess.run([python, "-c", BY_HTTPFS], input=script, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("change", [run, compact, withdraw])
def test_the_printed_script_reads_the_bucket_and_ends_with_an_error_after_a_change(lake, ens, change):
    names = [f"{run(lake, **ens).run_id}/default" for _ in range(3)]
    withdraw(lake, names[0])
    script = views_sql(lake)
    found = by_httpfs(script)
    assert (found.returncode, found.stderr) == (0, "")
    with connect(lake) as con:
        views = ("images", "image_versions", "capacity_by_region")
        assert found.stdout.strip() == str([con.execute(f"from {view} order by all").fetchall() for view in views])

    run(lake, **ens) if change is run else change(lake, *names[1 : 1 + (change is withdraw)])
    found = by_httpfs(script)
    assert found.returncode == 1
    assert "print it again with `ens-images views`" in found.stderr


# ── puts ─────────────────────────────────────────────────────────────────────


def test_of_writers_of_one_record_at_once_one_stays(lake):
    outcomes = []

    def put(body: bytes) -> None:
        try:
            put_object(f"{lake}/record", body)
            outcomes.append(body)
        except LakeLocked:
            outcomes.append(None)

    threads = [threading.Thread(target=put, args=(bytes([n]) * 1000,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (kept,) = [body for body in outcomes if body]
    assert open_location(f"{lake}/record").read_bytes() == kept


def test_of_some_days_the_first_is_listed_and_matched_by_a_pattern_too(lake):
    days = [f"observed_on=2026-10-{day:02}" for day in (1, 2, 3)]
    for day in days:
        put_object(f"{lake}/raw/{day}/run.parquet", b"rows")
    folder = BucketPath(f"{lake}/raw")
    store_of(folder).look_again()

    assert [path.parent.name for path in store_of(folder).list_partitions(folder, days=days[1:])] == days[1:]
    for pattern, expected in (
        (f"{days[1]}*", days[1:2]),
        ("observed_on=2026-10-[0-9][0-9]", days),
        ("*-0[23]", days[1:]),
    ):
        found = duckdb_filesystem().glob(f"{folder}/{pattern}/*.parquet")
        assert [name.split("/")[-2] for name in found] == expected


def test_a_wrong_secret_is_told_as_such(lake, server, monkeypatch):
    if not server.is_real:
        pytest.skip("moto checks no signature")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    configure(None, None)
    with pytest.raises(NoAccess, match="may not be read or written"):
        put_object(f"{lake}/object", b"an object")
    monkeypatch.undo()
    configure(None, None)


def test_the_header_of_oss_does_what_if_none_match_does(lake, proxy, ens, monkeypatch, record_property):
    monkeypatch.setenv("OSS_ENDPOINT", f"http://127.0.0.1:{proxy.server_port}")
    monkeypatch.setenv("OSS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("OSS_ACCESS_KEY_SECRET", SECRET)
    there = lake.replace("s3:", "oss:")
    assert "holds" in check_conditional_put(open_location(there))
    proxy.puts, proxy.fault = 0, lambda n: "lost" if n == RECORD else ""
    run(there, **ens)
    assert (runs(there), proxy.puts) == (1, PUTS + 1)
    record_property("fault", f"lost, put {RECORD}, by the header of OSS")


def test_the_commands_of_the_page_run_against_a_server(server, desk):
    """By the profile that the page names, and nothing else of the environment."""
    home = Path(desk["HOME"])
    (home / ".aws").mkdir()
    (home / ".aws" / "credentials").write_text(f"[lake]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n")
    plain = {name: value for name, value in desk.items() if not name.startswith("AWS_")}
    texts = [text for language, text in test_howtos.blocks("docs/bucket.md") if language == "sh"]

    assert any("ens-images run" in text for text in texts)
    for text in texts:
        here = text.replace("s3://my-bucket/", f"s3://{BUCKET}/page/")
        test_howtos.run("sh", here, {**plain, "AWS_ENDPOINT_URL": server.url})


def test_of_a_thousand_days_a_question_reads_its_own_alone(lake, server, tmp_path, monkeypatch, record_property):
    """Prints what docs/bucket.md and docs/beyond.md tell; past the proxy."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    configure(None, None)
    regions = ("cn-beijing", "cn-shanghai", "cn-wulanchabu", "eu-central-1")
    for day in range(1000):
        at = f"{dt.date(2024, 1, 1) + dt.timedelta(days=day)} 02:00"
        numbers = range(day // 20, day // 20 + 300)
        images = [image(f"m-{n:06}", 20, 40 + n % 50, region_id=regions[n % 4], image_size_gib=20) for n in numbers]
        write_run(tmp_path, Seen("default", at, images))
    upload(tmp_path, lake)
    sizes = [path.stat().st_size for path in tmp_path.rglob("*.parquet")]
    record_property("objects", len(sizes))
    record_property("bytes", sum(sizes))
    with measured("open") as traffic:
        con = connect(lake)
    record_property("opening: objects", traffic["get"])
    record_property("opening: bytes", traffic["bytes_read"])
    with con:
        BucketPath(lake).store.footer.cache_clear()  # else it reads nothing: opening has read that footer
        with measured("latest capacity by region") as traffic:
            con.execute("from capacity_by_region").fetchall()
        assert 1 <= traffic["get"] <= 4
        assert traffic["bytes_read"] < 100_000
        record_property("latest: objects", traffic["get"])
        record_property("latest: bytes", traffic["bytes_read"])
        with measured("one day"):
            con.execute("select count(image_id) from images where observed_on = date '2025-06-01'").fetchall()
        with measured("one column of all days"):
            con.execute("select sum(image_size_gib) from images").fetchall()
    now = dt.datetime(2026, 9, 27)  # noqa: DTZ001
    name = "20240102T020000Z/default"
    for command, act in {
        "compact": lambda: compact(lake),
        "compact again": lambda: compact(lake),
        "withdraw": lambda: withdraw(lake, name),
        "restore": lambda: restore(lake, name),
        "prune, 500 days expire": lambda: prune(lake, daily_older_than="500d", at=now),
        "prune, they are deleted": lambda: prune(lake, at=now + dt.timedelta(days=8)),
    }.items():
        with measured(command):
            act()
    assert len(list(open_location(f"{lake}/lake/images").rglob("*.parquet"))) == 500
    monkeypatch.undo()
    configure(None, None)


@contextlib.contextmanager
def measured(question: str) -> Iterator[Counter[str]]:
    began = time.perf_counter()
    with counted_requests() as traffic:
        yield traffic
    print(f"{question}: {dict(traffic)}, {time.perf_counter() - began:.2f} s")  # noqa: T201
