"""A lake in a bucket: the same lake, by puts that the service takes only if there is no such object.

The bucket is obstore's own in memory. `make cloud` does the same over HTTP, with faults, against a server.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import obstore
import pytest
from lake_builder import Seen, image, write_run
from obstore.exceptions import AlreadyExistsError, GenericError, PermissionDeniedError
from obstore.store import MemoryStore

from pipeline import connect, diff, export, rebuild, run
from pipeline.errors import BadSetting, LakeLocked, LakeMissing, NoCredentials, Unreachable
from pipeline.jobs.retention import prune
from pipeline.lake.check import check
from pipeline.storage import bucket
from pipeline.storage.bucket import BucketPath, open_location
from pipeline.storage.partitions import files_by_day

BODY = b"an object"


@pytest.fixture
def lake(monkeypatch) -> str:
    """The address of a bucket in memory, with nothing in it."""
    store = MemoryStore()
    monkeypatch.setattr(bucket, "_store", lambda *_, **__: store)
    monkeypatch.setattr(bucket, "_sizes", {})
    bucket._tail.cache_clear()  # noqa: SLF001
    monkeypatch.setattr("time.sleep", lambda _: None)
    return "s3://bucket/a/lake"


@pytest.fixture
def account_here(serve, account) -> dict[str, Any]:
    """What a run needs: an account, and the local endpoint that it lies at."""
    return {"accounts": [account], "endpoint": serve(images=12).url}


def rows(data: Any, sql: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(connect(data, only_lake=True)) as con:
        return con.execute(sql).fetchall()


def test_a_run_in_a_bucket_is_the_run_in_a_folder(lake, account_here, tmp_path):
    for data in (lake, tmp_path):
        for day in (1, 2):
            run(data, **account_here, observed_at=dt.datetime(2026, 11, day))  # noqa: DTZ001

    for name in ("capacity_by_region", "image_lifetimes", "images_latest", "image_versions"):
        assert sorted(map(repr, rows(lake, f"from {name}"))) == sorted(map(repr, rows(tmp_path, f"from {name}")))
    assert rows(lake, "select count(*) from pages") == rows(tmp_path, "select count(*) from pages")
    assert rows(lake, "select count(distinct run_id) from observations") == [(2,)]
    checked = check(lake, deep=True)
    assert (checked.findings, checked.leftover_count) == ([], 0)
    assert rebuild(lake) == []


def test_the_record_is_put_last_and_a_run_without_it_is_not_there(lake, account_here, monkeypatch):
    put, names = obstore.put, []

    def watched(store: Any, key: str, *rest: Any, **options: Any) -> Any:
        names.append(key.split("/")[3])
        assert options["mode"] == "create"
        if key.startswith("a/lake/lake/observations/") and is_refused:
            raise GenericError("cut off")
        return put(store, key, *rest, **options)

    monkeypatch.setattr(obstore, "put", watched)
    is_refused = True
    with pytest.raises(Unreachable, match="observations"):
        run(lake, **account_here)
    with pytest.raises(LakeMissing):
        connect(lake)
    is_refused = False
    (published,) = rebuild(lake)  # its pages were landed

    assert names[-1] == "observations"
    assert rows(lake, "select run_id from observations where is_published") == [(published,)]


def test_a_first_run_that_is_committed_while_a_reader_lists_is_seen_by_the_next(lake, monkeypatch):
    listed = BucketPath.objects
    record = BucketPath(f"{lake}/lake/observations/observed_on=2026-10-01/20261001T020000.000000Z-abcdefgh.parquet")

    def then_committed(self: BucketPath) -> Any:
        yield from listed(self)
        record.put_new(BODY)

    monkeypatch.setattr(BucketPath, "objects", then_committed)
    assert files_by_day(record.parents[1]) == []
    assert files_by_day(record.parents[1]) == [record]


def test_an_answer_that_was_lost_is_recognised_by_the_bytes(lake, monkeypatch):
    put, tries = obstore.put, []

    def lost(*given: Any, **options: Any) -> None:
        tries.append(given[1])
        put(*given, **options)
        raise GenericError("the connection was closed before the answer")

    monkeypatch.setattr(obstore, "put", lost)
    one = BucketPath(f"{lake}/one")
    with contextlib.suppress(Unreachable):  # the second try meets the first one's object
        one.put_new(BODY)
    assert one.read_bytes() == BODY


def test_two_puts_that_met_are_no_object_that_is_there(lake, monkeypatch):
    put, tries = obstore.put, []

    def met(*given: Any, **options: Any) -> Any:  # Amazon: 409 ConditionalRequestConflict, and neither was taken
        tries.append(given[1])
        if len(tries) == 1:
            raise AlreadyExistsError("409 ConditionalRequestConflict")
        return put(*given, **options)

    monkeypatch.setattr(obstore, "put", met)
    one = BucketPath(f"{lake}/one")
    one.put_new(BODY)
    assert (one.read_bytes(), len(tries)) == (BODY, 2)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (GenericError("status code: 400 Bad Request: <Code>AuthorizationHeaderMalformed</Code>"), BadSetting),
        (GenericError("Received redirect without LOCATION: an incorrectly configured region"), BadSetting),
        (GenericError("Error performing PUT http://169.254.169.254/latest/api/token"), NoCredentials),
        (FileNotFoundError("status code: 404 Not Found: <Code>NoSuchBucket</Code>"), BadSetting),
    ],
)
def test_a_put_that_was_refused_is_not_made_again(lake, monkeypatch, said, meant):
    tries = []

    def refused(*given: Any, **_: Any) -> None:
        tries.append(given[1])
        raise said

    monkeypatch.setattr(obstore, "put", refused)
    with pytest.raises(meant):
        BucketPath(f"{lake}/one").put_new(BODY)
    assert len(tries) == 1


def test_who_may_not_delete_may_write_all_the_same(lake, monkeypatch):
    def refused(*_: Any) -> None:
        raise PermissionDeniedError("403 Forbidden")

    monkeypatch.setattr(obstore, "delete", refused)
    assert "holds; '.tried-" in bucket.try_bucket(open_location(lake))


def test_without_the_extra_a_bucket_says_what_to_install(monkeypatch):
    bucket._store.cache_clear()  # noqa: SLF001
    for name in ("obstore", "obstore.store"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BadSetting, match=r"ens-images\[cloud\]"):
        connect("s3://bucket/lake")


def test_a_bucket_without_an_address_or_a_key_says_which(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    bucket._store.cache_clear()  # noqa: SLF001
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(NoCredentials, match="nobody"):
        connect("s3://bucket/lake")
    (tmp_path / "config").write_text("[profile nobody]\nregion = eu-central-1\n")
    (tmp_path / "credentials").write_text("[nobody]\naws_access_key_id = k\naws_secret_access_key = s\n")
    assert bucket._store("s3", "bucket").config["region"] == "eu-central-1"  # noqa: SLF001
    bucket._store.cache_clear()  # noqa: SLF001
    monkeypatch.setenv("AWS_ENDPOINT_URL", "s3.example.com")
    with pytest.raises(BadSetting, match="https://HOST"):
        connect("s3://bucket/lake")


def test_of_two_writers_of_one_object_the_first_stays(lake):
    one = BucketPath(f"{lake}/one")
    one.put_new(BODY)
    one.put_new(BODY)
    with pytest.raises(LakeLocked, match="is there already"):
        one.put_new(b"another")
    assert one.read_bytes() == BODY


def test_what_a_killed_writer_left_on_this_machine_goes_with_the_next_one(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    write = (
        "import sys, tempfile\n"
        "from pipeline.storage.bucket import aside_for, place\n"
        "tempfile.tempdir = sys.argv[1]\n"
        "aside = aside_for(place('s3://bucket/lake/raw'))\n"
        "aside.mkdir(parents=True)\n"
        "(aside / 'half.parquet').write_bytes(b'PAR1')\n"
        "print(flush=True)\n"
        "sys.stdin.read()\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", write, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    assert [writer.stdout.readline() for writer in writers if writer.stdout] == [b"\n", b"\n"]
    (tmp_path / "ens-images-aside-of-mine").symlink_to(Path(__file__).parent)
    there = sorted(tmp_path.iterdir())
    for path in there:
        os.utime(path, (0, 0), follow_symlinks=False)
    writers[0].kill()
    writers[0].communicate()
    bucket._scratch.__wrapped__().cleanup()  # noqa: SLF001
    left = sorted(tmp_path.iterdir())
    assert len(left) == len(there) - 1
    assert Path(__file__).exists()
    writers[1].communicate()  # and one that ends by itself leaves nothing
    assert len(list(tmp_path.iterdir())) == len(left) - 1


def test_only_the_columns_that_are_asked_for_are_read(lake):
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    noise = pa.array([bytes([n % 251]) * 7 + str(n * 7919).encode() for n in range(60_000)])
    pq.write_table(pa.table({"wide": noise, "narrow": list(range(60_000))}), sink, compression="none")
    body = sink.getvalue().to_pybytes()
    BucketPath(f"{lake}/one.parquet").put_new(body)
    bucket.traffic.clear()
    import duckdb

    with duckdb.connect() as con:
        bucket.register_filesystem(con, lake)
        assert con.execute(f"select sum(narrow) from '{lake}/one.parquet'").fetchall() == [(sum(range(60_000)),)]  # noqa: S608
    assert bucket.traffic["bytes_read"] < len(body) / 2


def test_each_commit_record_is_fetched_once_however_many_there_are(lake, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.views.script.AT_HAND", 2)
    monkeypatch.setattr(bucket, "_tail", functools.lru_cache(maxsize=2)(bucket._tail.__wrapped__))  # noqa: SLF001
    for day in range(1, 8):
        write_run(tmp_path, Seen("default", f"2026-10-{day:02} 02:00", [image("m-1", 40)]))
    for path in tmp_path.rglob("*.parquet"):
        BucketPath(f"{lake}/{path.relative_to(tmp_path)}").put_new(path.read_bytes())
    bucket.traffic.clear()
    connect(lake).close()
    assert bucket.traffic["get"] == 7 + 1  # and the end of the latest file of images, for what columns it has
    assert rows(lake, "select min(observed_at_utc), count(*) from observations") == [(dt.datetime(2026, 10, 1, 2), 7)]  # noqa: DTZ001


def test_a_lake_that_was_folded_in_a_folder_goes_on_in_a_bucket(lake, account_here, tmp_path):
    for day in range(1, 9):
        write_run(tmp_path, Seen("default", f"2026-10-{day:02} 02:00", [image("m-1", 40 + day // 4), image("m-2", 20)]))
    prune(tmp_path, fold=True)
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.relative_to(tmp_path).parts[0] in {"raw", "lake"}:
            BucketPath(f"{lake}/{path.relative_to(tmp_path)}").put_new(path.read_bytes())

    for name in ("images", "image_disks", "image_versions", "observations", "capacity_by_day"):
        assert sorted(map(repr, rows(lake, f"from {name}"))) == sorted(map(repr, rows(tmp_path, f"from {name}")))
    run(lake, **account_here)
    assert rows(lake, "select count(distinct run_id) from observations") == [(9,)]
    assert check(lake).findings == check(tmp_path).findings


@pytest.mark.parametrize(
    "said", ["gs://bucket/lake", "s3://", "http://bucket", "s3:bucket", "s3:///bucket", "s3://bucket/../lake"]
)
def test_what_is_no_bucket_is_named(said):
    with pytest.raises(BadSetting, match="bucket"):
        open_location(said)


def test_a_bucket_keeps_its_name_through_a_path(tmp_path):
    assert str(open_location("s3://bucket/a") / "b") == "s3://bucket/a/b"
    assert open_location(str(tmp_path)) == tmp_path
    assert open_location(tmp_path) is not None
    assert not bucket.is_bucket(open_location(tmp_path))


def test_what_a_bucket_cannot_do_says_what_to_do_instead(lake, tmp_path):
    with pytest.raises(BadSetting, match="pruning needs a folder"):
        prune(lake, fold=True)
    with pytest.raises(BadSetting, match="copy raw/ into the bucket"):
        rebuild(tmp_path, into=lake)
    with pytest.raises(BadSetting, match="needs a file on this machine"), open(open_location(lake)):  # noqa: PTH123
        pass


def test_a_service_that_overwrites_is_found_out(lake, monkeypatch):
    assert "holds" in bucket.try_bucket(open_location(lake))
    put = obstore.put
    monkeypatch.setattr(obstore, "put", lambda *given, **said: put(*given, **{**said, "mode": "overwrite"}))
    with pytest.raises(BadSetting, match="conditional puts"):
        bucket.try_bucket(open_location(lake))
    assert list(open_location(lake).rglob("*")) == []


def test_a_bucket_is_exported_and_compared(lake, account_here, tmp_path):
    run(lake, **account_here)
    export("capacity_by_region", tmp_path / "capacity.csv", lake)
    assert (tmp_path / "capacity.csv").read_text().count("\n") > 1
    assert diff("latest", "latest", lake) is not None
