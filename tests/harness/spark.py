"""Every table and view on DuckDB and on Spark, row by row, and a rebuild by both: `make spark`; it wants Java 17."""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import subprocess
import sys
import tarfile
import textwrap
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from engine_readers import BY_FOLDER, spark_session
from folders import compare
from lake_builder import Seen, image, instance, strange, used, utc, write_run
from objects import upload
from pyspark.errors import PySparkException
from s3_server import Server, s3_server
from test_howtos import blocks
from test_old_lakes import KEPT, LATER
from use_model import write_history

from pipeline import connect, run
from pipeline import rebuild as rebuild_here
from pipeline.credentials import key_account
from pipeline.emulator import Endpoint, Key, living_account
from pipeline.errors import LakeLocked, LakeMissing
from pipeline.jobs.withdrawal import withdraw
from pipeline.lake.check import check
from pipeline.lake.compaction.compact import compact
from pipeline.lake.lock import lock
from pipeline.spark import SPARK_SYNTAX, rebuild, register, views_spark_sql
from pipeline.storage.store import open_location
from pipeline.views.catalog import relations
from pipeline.views.database import write_catalog

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from pyspark.sql import SparkSession


@pytest.fixture(scope="session", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of S3; begun before Spark, whose workers take over the environment that says where it is."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """A session of this machine, where the `python3` of the path has nothing installed."""
    bare = tmp_path_factory.mktemp("bare") / "python3"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    os.environ["PATH"] = f"{bare.parent}:{os.environ['PATH']}"
    os.environ.pop("PYSPARK_PYTHON", None)
    session = spark_session()
    yield session
    session.stop()


compared: dict[str, int] = {}
"""How many rows of each table and view were compared last."""


def unlike(spark: SparkSession, data: Path | str) -> dict[str, list[Any]]:
    """By table and view, the rows that only one engine has, and the columns that are not alike."""
    register(spark, data)
    return unlike_there(spark, data)


def unlike_there(spark: SparkSession, data: Path | str, names: Iterable[str] = ()) -> dict[str, list[Any]]:
    """The same, of what is registered, or some of it."""
    found: dict[str, list[Any]] = {}
    compared.clear()
    with connect(data) as lake:
        for name in names or relations():
            here = lake.sql(f"from {name}").to_arrow_table()
            there = spark.table(name).toArrow()
            # what an element of a list is called is not part of its type
            names, others = (
                [(field.name, re.sub(r"list<\w+: ", "list<", str(field.type))) for field in table.schema]
                for table in (here, there)
            )
            rows, others_rows = (sorted(map(repr, table.to_pylist())) for table in (here, there))
            compared[name] = len(rows)
            differing = sorted(set(rows) ^ set(others_rows))
            if names != others or rows != others_rows:
                found[name] = [set(names) ^ set(others), len(rows), len(others_rows), differing[:6]]
    return found


@pytest.fixture(scope="session")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight days of two accounts that live, a real run a day; of the second there are only some."""
    data: Path = tmp_path_factory.mktemp("lived") / "data"
    keys = {name: Key("secret", living_account(images=60, seed=seed)) for seed, name in enumerate("ab", 1)}
    with Endpoint(keys) as endpoint:
        for day in range(8):
            endpoint.day = 20 * day
            accounts = [key_account(name, name, "secret") for name in ("a" if day in {2, 7} else "ab")]
            at = utc("2026-10-01 02:00") + dt.timedelta(days=day)
            run(data, accounts=accounts, endpoint=endpoint.url, rate=None, accept_shrink=True, observed_at=at)
    return data


@pytest.fixture
def data(lived: Path, tmp_path: Path) -> Path:
    """A copy of that lake."""
    shutil.copytree(lived, tmp_path / "data")
    write_catalog(tmp_path / "data")  # it holds absolute paths
    return tmp_path / "data"


def test_every_table_and_view_is_the_same_over_a_strange_lake(spark, tmp_path):
    strange(tmp_path)
    assert unlike(spark, tmp_path) == {}


def test_every_table_and_view_is_the_same_over_a_lake_with_instances(spark, tmp_path):
    used(tmp_path / "used")
    assert unlike(spark, tmp_path / "used") == {}
    assert compared["instances"] > compared["instances_latest"] > 0
    for seed in range(2):
        write_history(tmp_path / f"{seed}", seed)
        assert unlike(spark, tmp_path / f"{seed}") == {}
    assert compared["image_use"] > 0
    assert compared["instances_without_image"] > 0


def test_every_table_and_view_counts_an_account_with_two_names_once(spark, tmp_path):
    for day in (1, 2, 3):
        images = [image(f"m-{number}", 20, status="Available" if day > 1 else "Creating") for number in range(3 + day)]
        at, later = f"2026-10-0{day} 02:00", f"2026-10-0{day} 02:01"
        listed = [instance("i-1", "m-1")]  # by the second name alone: the key of the first has no right
        again = Seen("again", later, images[1:], same_account_as="prod", instances=listed)
        write_run(tmp_path, Seen("prod", at, images), *([again] if day > 1 else []))
    assert unlike(spark, tmp_path) == {}
    assert {row.account for row in spark.table("images").select("account").distinct().collect()} == {"prod", "again"}
    assert {row.account for row in spark.table("images_latest").select("account").distinct().collect()} == {"prod"}
    assert [row.image_count for row in spark.table("capacity_by_day").collect()] == [4, 5, 6]
    assert [row.account for row in spark.table("instances_latest").collect()] == ["again"]


def test_the_session_keeps_its_time_zone_so_that_all_is_compared_here_in_another_than_utc(spark, tmp_path):
    write_run(tmp_path, Seen("prod", "2026-10-01 02:00", [image("m-1", 5)]))
    register(spark, tmp_path)
    assert spark.conf.get("spark.sql.session.timeZone") == "America/New_York"
    said = spark.sql("select observed_at_utc, observed_on from images").collect()
    assert [tuple(row) for row in said] == [(utc("2026-10-01 02:00"), dt.date(2026, 10, 1))]


def test_workers_run_the_python_that_runs_here_unless_somebody_says_which(spark, tmp_path, monkeypatch):
    write_run(tmp_path, Seen("prod", "2026-10-01 02:00", [image("m-1", 5)]))
    monkeypatch.setattr(spark.sparkContext, "pythonExec", "python3")
    monkeypatch.setenv("PYSPARK_PYTHON", "python3")
    register(spark, tmp_path)
    with pytest.raises(PySparkException, match="No module named"):
        spark.table("image_versions").count()
    monkeypatch.delenv("PYSPARK_PYTHON")
    register(spark, tmp_path)
    assert spark.table("image_versions").count() == 1


def test_the_views_that_are_printed_are_taken_as_they_say(spark, tmp_path):
    strange(tmp_path)
    register(spark, tmp_path)
    for name, relation in relations().items():
        if relation.query:
            spark.catalog.dropTempView(name)
    printed = [sys.executable, "-m", "pipeline", "views", "--engine", "spark"]
    text = subprocess.run(printed, capture_output=True, text=True, check=True).stdout
    loop = [line.removeprefix("--") for line in text.partition("\n\n")[0].splitlines() if line.startswith("--  ")]
    assert len(loop) == 2
    exec(textwrap.dedent("\n".join(loop)), {"text": text, "spark": spark})  # noqa: S102  (our own words)
    assert unlike_there(spark, tmp_path) == {}


def test_every_word_that_spark_says_otherwise_stands_in_a_view():
    queries = "".join(relation.query or "" for relation in relations().values())
    assert [word for word in SPARK_SYNTAX if word not in queries] == []
    assert [word for word in SPARK_SYNTAX if word in views_spark_sql()] == []


def test_every_table_and_view_is_the_same_over_a_living_account(spark, data):
    assert unlike(spark, data) == {}


def test_they_are_the_same_once_it_is_folded_and_goes_on(spark, data):
    assert compact(data, now=utc("2027-01-01 00:00"))
    assert unlike(spark, data) == {}
    write_run(data, Seen("a", "2027-01-02 02:00", [image("m-1", 5), image("m-2")]))
    assert unlike(spark, data) == {}


def test_they_are_the_same_once_an_observation_was_withdrawn(spark, data):
    withdraw(data, "20261003T020000.000000Z/a")
    assert unlike(spark, data) == {}


@pytest.mark.usefixtures("spark")
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_spark_reads_from_the_folders_what_the_views_give(seed):
    assert compare(seed, steps=6, engines={"pyspark": BY_FOLDER["pyspark"]}) == []


def put(folder: Path, lake: str) -> str:
    """Copy what lies in a folder into the bucket; where it is then."""
    upload(folder, lake)
    return lake


def test_every_table_and_view_is_the_same_over_a_bucket(spark, tmp_path):
    strange(tmp_path)
    assert unlike(spark, put(tmp_path, "s3://lake/strange")) == {}


def test_a_folded_lake_in_a_bucket_is_the_same(spark, data):
    assert compact(data, now=utc("2027-01-01 00:00"))
    assert unlike(spark, put(data, "s3://lake/compacted")) == {}


ADDED = """
import spark as by_both

session = by_both.spark_session()
by_both.register(session, sys.argv[1])
names = ("images", "image_disks", "images_latest", "image_disks_latest", "image_versions", "image_lifetimes")
print(by_both.unlike_there(session, sys.argv[1], names))
print(session.sql("select count(*) from images where boot_gib is not null").collect()[0][0])
session.stop()
"""


def test_a_column_that_was_added_later_is_what_extra_holds_of_it(tmp_path):
    with tarfile.open(KEPT[0] / "data.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    code = LATER.partition("\nfrom pipeline import connect")[0] + ADDED
    said = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert said.returncode == 0, said.stderr
    alike, filled = said.stdout.splitlines()
    assert alike == "{}"
    assert int(filled) > 0


def test_a_session_goes_on_showing_what_it_was_registered_with(spark, tmp_path):
    write_run(tmp_path, Seen("prod", "2026-10-01 02:00", [image("m-1", 5)]))
    register(spark, tmp_path)
    write_run(tmp_path, Seen("prod", "2026-10-02 02:00", [image("m-1", 5), image("m-2")]))
    assert spark.table("images").count() == spark.table("image_versions").count() == 1


def test_a_lake_that_spark_rebuilds_is_the_local_one_row_for_row_and_file_for_file(spark, data, tmp_path):
    for name in ("there", "here"):
        shutil.copytree(data / "raw", tmp_path / name / "raw")
    runs = rebuild(spark, tmp_path / "there")
    assert runs == rebuild_here(tmp_path / "here")
    assert len(runs) == 8
    there, here = (
        {str(path.relative_to(root)): path.read_bytes() for path in (root / "lake").rglob("*.parquet")}
        for root in (tmp_path / "there", tmp_path / "here")
    )
    assert there.keys() == here.keys()
    assert [name for name in here if there[name] != here[name]] == []
    with connect(tmp_path / "there") as theirs, connect(tmp_path / "here") as ours:
        for name in relations():
            rows, others = (sorted(map(repr, con.sql(f"from {name}").fetchall())) for con in (theirs, ours))
            assert rows == others, name
    assert rebuild(spark, tmp_path / "there") == []


def test_a_rebuild_by_spark_and_a_local_writer_keep_out_of_each_others_way(spark, data, tmp_path, monkeypatch):
    shutil.copytree(data / "raw", tmp_path / "lake" / "raw")
    with lock(tmp_path / "lake"), pytest.raises(LakeLocked):
        rebuild(spark, tmp_path / "lake")

    def meanwhile(folder: Path) -> None:
        with pytest.raises(LakeLocked):
            rebuild_here(folder)
        write_catalog(folder)

    monkeypatch.setattr("pipeline.spark.write_catalog", meanwhile)
    assert len(rebuild(spark, tmp_path / "lake")) == 8
    assert rebuild_here(tmp_path / "lake") == []
    assert check(tmp_path / "lake").findings == []


def test_spark_a_local_rebuild_and_a_run_publish_into_one_bucket_at_once(spark, data, tmp_path):
    upload(data, "s3://lake/both", "raw")
    shutil.copytree(data / "raw", tmp_path / "here" / "raw")
    runs = rebuild_here(tmp_path / "here")
    with Endpoint({"c": Key("secret", living_account(images=20))}) as endpoint, ThreadPoolExecutor() as pool:
        beside = subprocess.Popen([sys.executable, "-m", "pipeline", "rebuild", "--data", "s3://lake/both"])
        options = {"accounts": [key_account("c", "c", "secret")], "endpoint": endpoint.url}
        listed = pool.submit(run, "s3://lake/both", **options)
        by_spark = rebuild(spark, "s3://lake/both")
        meanwhile = listed.result().run_id
        assert beside.wait() == 0
    assert set(by_spark) <= {*runs, meanwhile}  # whoever is first publishes the raw pages of a run that is under way
    names = [path.relative_to(tmp_path / "here") for path in (tmp_path / "here" / "lake").rglob("*.parquet")]
    names = [name for name in names if name.parts[1] != "observations"]  # in a bucket, a record holds tags of objects
    assert names
    there, here = open_location("s3://lake/both"), tmp_path / "here"
    assert [name for name in names if (there / name).read_bytes() != (here / name).read_bytes()] == []
    assert check("s3://lake/both").findings == []
    with connect("s3://lake/both") as lake:
        assert lake.sql("select count(distinct run_id) from observations").fetchall() == [(9,)]
    assert rebuild(spark, "s3://lake/both") == []


def test_a_folder_without_pages_says_so(spark, tmp_path):
    with pytest.raises(LakeMissing, match="nothing to rebuild from"):
        rebuild(spark, tmp_path)
    with pytest.raises(LakeMissing):
        register(spark, tmp_path)


@pytest.mark.usefixtures("spark")  # the page asks for the session that there is
def test_what_the_page_shows_runs(data, capsys):
    shown = "".join(text for language, text in blocks("docs/spark.md") if language == "python")

    assert "/shared/ens" in shown
    exec(shown.replace("/shared/ens", str(data)), {})  # noqa: S102  (the page's own)
    assert "image_count" in capsys.readouterr().out
