"""A lake in a bucket: the same lake, by puts that the service accepts only if there is no such object.

The bucket is obstore's own in memory. `make cloud` does the same over HTTP, with faults, against a server.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import buckets
import duckdb
import obstore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lake_builder import Seen, image, write_run
from objects import counted_requests, put_object, upload
from obstore.exceptions import AlreadyExistsError, GenericError, PermissionDeniedError

from pipeline import connect, diff, export, rebuild, run
from pipeline.errors import BadSetting, LakeLocked, LakeMissing, NoCredentials, Unreachable
from pipeline.jobs.compaction import compact
from pipeline.jobs.withdrawal import withdraw
from pipeline.lake.check import check
from pipeline.lake.verified_files import VerifiedFiles
from pipeline.storage import bucket
from pipeline.storage.bucket import BucketStore, bucket_store
from pipeline.storage.bucket_path import BucketPath
from pipeline.storage.conditional_put import check_conditional_put
from pipeline.storage.configuration import configure, object_client
from pipeline.storage.duckdb_filesystem import duckdb_filesystem
from pipeline.storage.partitions import files_by_day
from pipeline.storage.store import open_location, store_of
from pipeline.views import records
from pipeline.views.database import write_catalog
from pipeline.views.script import views_sql

account_here, lake = buckets.account_here, buckets.lake
BODY = b"an object"


def rows(data: Any, sql: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(connect(data, only_lake=True)) as con:
        return con.execute(sql).fetchall()


# ── the lake ─────────────────────────────────────────────────────────────────


def test_a_run_in_a_bucket_is_the_run_in_a_folder(lake, account_here, tmp_path):
    for data in (lake, tmp_path):
        for day in (1, 2):
            run(data, **account_here, observed_at=dt.datetime(2026, 11, day))  # noqa: DTZ001

    for name in ("capacity_by_region", "image_lifetimes", "images_latest", "image_versions"):
        assert sorted(map(repr, rows(lake, f"from {name}"))) == sorted(map(repr, rows(tmp_path, f"from {name}")))
    assert rows(lake, "select count(*) from raw_pages") == rows(tmp_path, "select count(*) from raw_pages")
    assert rows(lake, "select count(distinct run_id) from observations") == [(2,)]
    checked = check(lake, deep=True)
    assert (checked.findings, checked.orphan_count) == ([], 0)
    assert rebuild(lake) == []


def test_the_commit_record_is_put_last_and_a_run_without_it_is_not_read(lake, account_here, monkeypatch):
    put, names = obstore.put, []

    def watched(client: Any, key: str, *rest: Any, **options: Any) -> Any:
        names.append(key.split("/")[3])
        assert options.get("mode") == "create" or key.endswith("/lake/format")  # which every writer writes alike
        if key.startswith("a/lake/lake/observations/") and is_refused:
            raise GenericError("cut off")
        return put(client, key, *rest, **options)

    monkeypatch.setattr(obstore, "put", watched)
    is_refused = True
    with pytest.raises(Unreachable, match="observations"):
        run(lake, **account_here)
    with pytest.raises(LakeMissing):
        connect(lake)
    is_refused = False
    (published,) = rebuild(lake)  # from its raw pages

    assert names[-2:] == ["observations", "states"]  # the state object is put after the commit
    assert rows(lake, "select run_id from observations where is_published") == [(published,)]


def test_a_printed_script_ends_with_an_error_once_the_lake_in_a_bucket_has_changed(lake, account_here):
    names = [run(lake, **account_here).run_id for _ in range(2)]
    withdraw(lake, names[0])
    printed = views_sql(lake)
    with duckdb.connect() as con:
        store_of(open_location(lake)).register_filesystem(con)
        con.execute(printed)
        assert con.execute("select run_id from accounts").fetchall() == [(names[1],)]
        run(lake, **account_here)
        with pytest.raises(duckdb.InvalidInputException, match="print it again with `ens-images views`"):
            con.execute(printed)


def test_a_star_in_a_pattern_stands_for_no_slash(lake):
    for name in ("a/x/file", "a/x/y/file", "b/file"):
        put_object(f"{lake}/{name}", BODY)
    assert duckdb_filesystem().glob(f"{lake}/a/*/file") == [f"{lake}/a/x/file"]
    assert duckdb_filesystem().glob(f"{lake}/*/file") == [f"{lake}/b/file"]


def test_a_run_committed_during_a_listing_is_in_the_next_listing(lake, monkeypatch):
    objects = BucketStore.objects
    record = BucketPath(f"{lake}/lake/observations/observed_on=2026-10-01/20261001T020000.000000Z-abcdef01.parquet")

    def then_committed(*asked: Any) -> Any:
        yield from objects(*asked)
        put_object(str(record), BODY)

    monkeypatch.setattr(BucketStore, "objects", then_committed)
    assert files_by_day(record.parents[1]) == []
    assert files_by_day(record.parents[1]) == [record]


def test_a_lake_compacted_in_a_folder_is_read_and_continued_in_a_bucket(lake, account_here, tmp_path):
    for day in range(1, 9):
        write_run(tmp_path, Seen("default", f"2026-10-{day:02} 02:00", [image("m-1", 40 + day // 4), image("m-2", 20)]))
    compact(tmp_path)
    upload(tmp_path, lake, "raw", "lake")

    for name in ("images", "image_disks", "image_versions", "observations", "capacity_by_day"):
        assert sorted(map(repr, rows(lake, f"from {name}"))) == sorted(map(repr, rows(tmp_path, f"from {name}")))
    run(lake, **account_here)
    assert rows(lake, "select count(distinct run_id) from observations") == [(9,)]
    assert check(lake).findings == check(tmp_path).findings


def test_a_bucket_is_exported_and_compared(lake, account_here, tmp_path):
    run(lake, **account_here)
    export("capacity_by_region", tmp_path / "capacity.csv", lake)
    assert (tmp_path / "capacity.csv").read_text().count("\n") > 1
    assert diff("latest", "latest", lake) is not None


def test_what_needs_a_file_of_this_machine_refuses_an_object(lake):
    with pytest.raises(BadSetting, match="needs a file on this machine"), open(open_location(lake)):  # noqa: PTH123
        pass


# ── puts ─────────────────────────────────────────────────────────────────────


def test_of_two_writers_of_one_object_the_first_stays(lake):
    path = put_object(f"{lake}/object", BODY)
    put_object(f"{lake}/object", BODY)
    with pytest.raises(LakeLocked, match="is there already"):
        put_object(f"{lake}/object", b"another")
    assert path.read_bytes() == BODY


def test_a_replaced_object_is_read_anew(lake, tmp_path):
    for body in (BODY, b"another body"):
        (tmp_path / "object").write_bytes(body)
        path = open_location(f"{lake}/object")
        store_of(path).replace_file(tmp_path / "object", path)
        assert path.read_bytes() == body
        with store_of(path).open(path) as file:
            assert file.read() == body


def test_a_put_whose_answer_was_lost_succeeds_if_the_object_has_its_bytes(lake, monkeypatch):
    put, tries = obstore.put, []

    def lost(*given: Any, **options: Any) -> None:
        tries.append(given[1])
        put(*given, **options)
        raise GenericError("the connection was closed before the answer")

    monkeypatch.setattr(obstore, "put", lost)
    assert put_object(f"{lake}/object", BODY).read_bytes() == BODY
    assert len(tries) == 2  # the second is refused, for the object is there


def test_a_put_refused_because_of_a_concurrent_one_is_repeated(lake, monkeypatch):
    put, tries = obstore.put, []

    def conflict(*given: Any, **options: Any) -> Any:  # Amazon: 409 ConditionalRequestConflict, and neither is accepted
        tries.append(given[1])
        if len(tries) == 1:
            raise AlreadyExistsError("409 ConditionalRequestConflict")
        return put(*given, **options)

    monkeypatch.setattr(obstore, "put", conflict)
    assert put_object(f"{lake}/object", BODY).read_bytes() == BODY
    assert len(tries) == 2


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (GenericError("status code: 400 Bad Request: <Code>AuthorizationHeaderMalformed</Code>"), BadSetting),
        (GenericError("Received redirect without LOCATION: an incorrectly configured region"), BadSetting),
        (GenericError("Error performing PUT http://169.254.169.254/latest/api/token"), NoCredentials),
        (FileNotFoundError("status code: 404 Not Found: <Code>NoSuchBucket</Code>"), BadSetting),
    ],
)
def test_a_put_that_the_service_refuses_for_good_is_not_repeated(lake, monkeypatch, answer, error):
    tries = []

    def refused(*given: Any, **_: Any) -> None:
        tries.append(given[1])
        raise answer

    monkeypatch.setattr(obstore, "put", refused)
    with pytest.raises(error):
        put_object(f"{lake}/object", BODY)
    assert len(tries) == 1


def test_doctor_finds_a_service_that_overwrites(lake, monkeypatch):
    assert "holds" in check_conditional_put(open_location(lake))
    put = obstore.put
    monkeypatch.setattr(obstore, "put", lambda *given, **options: put(*given, **{**options, "mode": "overwrite"}))
    with pytest.raises(BadSetting, match="conditional puts"):
        check_conditional_put(open_location(lake))
    assert list(open_location(lake).rglob("*")) == []


def test_a_writer_needs_no_right_to_delete(lake, monkeypatch):
    def refused(*_: Any) -> None:
        raise PermissionDeniedError("403 Forbidden")

    monkeypatch.setattr(obstore, "delete", refused)
    assert "holds; '.tried-" in check_conditional_put(open_location(lake))


# ── requests ─────────────────────────────────────────────────────────────────


def test_only_the_columns_of_a_query_are_read(lake):
    sink = pa.BufferOutputStream()
    noise = pa.array([bytes([n % 251]) * 7 + str(n * 7919).encode() for n in range(60_000)])
    pq.write_table(pa.table({"wide": noise, "narrow": list(range(60_000))}), sink, compression="none")
    body = sink.getvalue().to_pybytes()
    path = put_object(f"{lake}/object.parquet", body)
    with counted_requests() as traffic, duckdb.connect() as con:
        store_of(path).register_filesystem(con)
        assert con.execute("select sum(narrow) from read_parquet($1)", [str(path)]).fetchall() == [
            (sum(range(60_000)),)
        ]
    assert traffic["bytes_read"] < len(body) / 2


def test_each_commit_record_is_fetched_once_even_if_they_exceed_the_cache(lake, account_here, monkeypatch):
    monkeypatch.setattr(records, "FOOTERS_KEPT", 2)
    monkeypatch.setattr(bucket, "FOOTERS_KEPT", 2)
    days = [dt.datetime(2026, 10, day, 2) for day in range(1, 7)]  # noqa: DTZ001  (too few for a compaction)
    for day in days:
        run(lake, **account_here, observed_at=day)
    delete_states(lake)
    with counted_requests() as traffic:
        connect(lake).close()
    assert traffic["get"] == 6 + 2  # the format, and the latest file of images, for its columns
    assert rows(lake, "select min(observed_at_utc), count(*) from observations") == [(days[0], 6)]


def delete_states(lake: str) -> None:
    for path in list(BucketPath(f"{lake}/lake/states").objects()):
        path.store.delete(path)


def opened_elsewhere(lake: str) -> tuple[Any, list[Any]]:
    """Open a lake as on another machine. Returns: the requests, and what it answers."""
    bucket_store.cache_clear()
    VerifiedFiles._in_process.clear()  # noqa: SLF001
    with counted_requests() as traffic, connect(lake) as con:
        opening = dict(traffic)
        answers = [con.execute(f"from {name} order by all").fetchall() for name in ("observations", "images_latest")]
    return opening, answers


def test_the_state_object_saves_the_requests_for_commit_records(lake, account_here, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none" / "of" / "it"))
    days = [dt.datetime(2026, 10, day, 2) for day in range(1, 7)]  # noqa: DTZ001  (too few for a compaction)
    for day in days:
        run(lake, **account_here, observed_at=day)
    names = sorted(path.name for path in BucketPath(f"{lake}/lake/states").objects())
    assert names == ["000005.json", "000006.json"]

    opening, answers = opened_elsewhere(lake)
    assert opening["get"] <= 3  # the format, the state, and the latest file of images, for its columns
    delete_states(lake)
    without, answers_without = opened_elsewhere(lake)
    assert without["get"] == 6 + 2
    assert answers == answers_without


def _cut(_: str, states: list[BucketPath]) -> None:
    (newest,) = states[-1:]
    body = newest.read_bytes()
    newest.store.delete(newest)
    put_object(str(newest), body[: len(body) // 2])


def _forged(_: str, states: list[BucketPath]) -> None:
    (newest,) = states[-1:]
    body = newest.read_bytes().replace(b"2026-10-02", b"2026-10-09")
    newest.store.delete(newest)
    put_object(str(newest), body)


def _older(_: str, states: list[BucketPath]) -> None:
    states[-1].store.delete(states[-1])


def _record_gone(lake: str, _: list[BucketPath]) -> None:
    record = min(BucketPath(f"{lake}/lake/observations").objects(), key=lambda path: path.name)
    record.store.delete(record)


@pytest.mark.parametrize("harm", [_cut, _forged, _older, _record_gone])
def test_a_damaged_or_stale_state_object_changes_no_answer(lake, account_here, tmp_path, monkeypatch, harm):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none" / "of" / "it"))
    for day in range(1, 4):
        run(lake, **account_here, observed_at=dt.datetime(2026, 10, day, 2))  # noqa: DTZ001
    harm(lake, sorted(BucketPath(f"{lake}/lake/states").objects()))

    _, answers = opened_elsewhere(lake)
    delete_states(lake)
    assert opened_elsewhere(lake)[1] == answers


def test_a_deleted_format_file_is_written_again(lake, account_here):
    run(lake, **account_here)
    before = rows(lake, "from images_latest order by image_id")
    format_file = BucketPath(f"{lake}/lake/format")
    format_file.store.delete(format_file)

    assert [str(finding).partition(":")[0] for finding in check(lake).findings] == ["lake/format"]
    rebuild(lake)
    assert check(lake).is_intact
    assert rows(lake, "from images_latest order by image_id") == before


def test_the_files_of_a_lake_that_was_copied_into_a_bucket_are_verified_once(lake, tmp_path, monkeypatch):
    for day in range(1, 4):
        write_run(tmp_path, Seen("default", f"2026-10-{day:02} 02:00", [image("m-1", 40)]))
    upload(tmp_path, lake, "raw", "lake")
    fetched = []
    monkeypatch.setattr("pipeline.lake.verified_files.SETTLED_SECONDS", -1)
    for _ in range(2):
        bucket_store.cache_clear()
        VerifiedFiles._in_process.clear()  # as another process  # noqa: SLF001
        with counted_requests() as traffic:
            connect(lake).close()
        fetched.append(traffic["get"])
    assert fetched[0] >= 3 * 5
    assert fetched[1] <= 3 + 1


@pytest.mark.parametrize("days", [7, 40])
def test_opening_a_compacted_lake_takes_few_requests_however_long_it_is(lake, tmp_path, monkeypatch, days):
    for day in range(days):
        at = dt.datetime(2026, 9, 1, 2) + dt.timedelta(days=day)  # noqa: DTZ001
        write_run(tmp_path, Seen("default", f"{at:%Y-%m-%d %H:%M}", [image("m-1", 40)]))
    compact(tmp_path)
    upload(tmp_path, lake, "raw", "lake")
    monkeypatch.setattr("pipeline.lake.verified_files.SETTLED_SECONDS", -1)
    for limit in (9, 4):  # a lake that was copied there is verified once by each machine
        bucket_store.cache_clear()
        VerifiedFiles._in_process.clear()  # as another process  # noqa: SLF001
        with counted_requests() as traffic:
            connect(lake).close()
        assert traffic["get"] <= limit
        assert traffic["list"] <= 5
        assert traffic["bytes_read"] < 100_000
    write_catalog(lake)  # the state object, which says what was verified
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))
    assert opened_elsewhere(lake)[0]["get"] <= 4
    assert rows(lake, "select count(*) from raw_pages") == [(days,)]


# ── addresses, credentials, staging ──────────────────────────────────────────


@pytest.mark.parametrize(
    "address", ["gs://bucket/lake", "s3://", "http://bucket", "s3:bucket", "s3:///bucket", "s3://bucket/../lake"]
)
def test_an_address_that_is_no_bucket_is_refused(address):
    with pytest.raises(BadSetting, match="bucket"):
        open_location(address)


def test_an_address_says_which_store_it_is_in(tmp_path):
    assert str(open_location("s3://bucket/a") / "b") == "s3://bucket/a/b"
    assert not store_of(open_location("s3://bucket/a") / "b").is_local
    assert open_location(str(tmp_path)) == tmp_path
    assert store_of(open_location(tmp_path)).is_local


def test_without_the_extra_a_bucket_says_what_to_install(monkeypatch):
    configure(None, None)
    for name in ("obstore", "obstore.store"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BadSetting, match=r"ens-images\[cloud\]"):
        connect("s3://bucket/lake")


def test_a_missing_profile_and_a_wrong_endpoint_are_named(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    configure(None, None)
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(NoCredentials, match="nobody"):
        connect("s3://bucket/lake")
    (tmp_path / "config").write_text("[profile nobody]\nregion = eu-central-1\n")
    (tmp_path / "credentials").write_text("[nobody]\naws_access_key_id = k\naws_secret_access_key = s\n")
    assert object_client("s3", "bucket").config["region"] == "eu-central-1"
    configure("s3.example.com", None)
    with pytest.raises(BadSetting, match="https://HOST"):
        connect("s3://bucket/lake")
    configure(None, None)


STAGE = """
import sys
from pipeline.storage.store import open_location, store_of
raw = open_location("s3://bucket/lake/raw")
(store_of(raw).staging_dir(raw) / "part.parquet").write_bytes(b"PAR1")
print(flush=True)
sys.stdin.read()
"""


def test_staging_folders_of_killed_writers_are_deleted_by_the_next_one(tmp_path):
    def staging_writer() -> subprocess.Popen[bytes]:
        environment = {**os.environ, "TMPDIR": str(tmp_path)}
        process = subprocess.Popen(
            [sys.executable, "-c", STAGE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        assert process.stdout
        assert process.stdout.readline() == b"\n"
        return process

    killed, alive = staging_writer(), staging_writer()
    folders = set(tmp_path.iterdir())
    assert len(folders) == 2
    link = tmp_path / f"{min(folders).name}-link"
    link.symlink_to(Path(__file__).parent)
    for path in tmp_path.iterdir():
        os.utime(path, (0, 0), follow_symlinks=False)  # a process has a minute to lock its folder
    killed.kill()
    killed.communicate()
    after = staging_writer()
    assert len(folders & set(tmp_path.iterdir())) == 1
    assert Path(__file__).exists()  # nothing is deleted through a link
    for process in (alive, after):
        process.communicate()  # at its end
    assert list(tmp_path.iterdir()) == [link]
