"""Immutable files, published together; readers see the lake before a run or after it."""

import datetime as dt
import multiprocessing
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import LakeDamaged, LakeLocked, LakeMissing
from pipeline.lake import committed, layout
from pipeline.lake.commit import ROW_GROUP_ROWS, Publication
from pipeline.lake.committed import committed_files
from pipeline.lake.format import format_of, write_format
from pipeline.lake.layout import table_path
from pipeline.lake.lock import lock
from pipeline.lake.orphans import orphans
from pipeline.lake.verification import read_verified
from pipeline.resources.control import OBSERVATIONS, REJECTS
from pipeline.resources.images import IMAGE_DISKS, IMAGES
from pipeline.resources.schema import FORMAT
from pipeline.resources.tables import LAKE_TABLES, tables_of
from pipeline.storage.digest import FileDigest

DAY = dt.date(2026, 11, 23)
R1, R2 = "20261123T020000.000000Z", "20261123T030000.000000Z"
AT = dt.datetime(2026, 11, 23, 2)  # noqa: DTZ001  (UTC without a zone, as everywhere)


def images(count: int, first: int = 0) -> pa.Table:
    ids = [f"m-{number}" for number in range(first, first + count)]
    return IMAGES.to_arrow([{"account": "default", "observed_at_utc": AT, "image_id": name} for name in ids])


RAW = FileDigest(0, "0" * 64)


def records(run_id: str = R1, *, is_published: bool = True) -> list[dict[str, object]]:
    return [{"account": "default", "run_id": run_id, "is_published": is_published}]


def publication(data: Path, run_id: str = R1, count: int = 1) -> Publication:
    one = Publication(data, run_id, DAY)
    one.add(IMAGES, images(count))
    one.add(IMAGE_DISKS, IMAGE_DISKS.to_arrow([]))
    one.add(REJECTS, REJECTS.to_arrow([]))
    return one


def test_nothing_is_there_before_the_commit_and_everything_after_it(tmp_path):
    one = publication(tmp_path)
    with pytest.raises(LakeMissing, match="ens-images run --data"):
        committed_files(tmp_path)

    one.commit(records(), RAW)

    files = committed_files(tmp_path).daily
    assert {name: len(paths) for name, paths in files.items()} == {
        table.name: int(table in (*tables_of({"images"}), OBSERVATIONS)) for table in LAKE_TABLES
    }


def test_a_file_without_its_commit_record_belongs_to_nothing(tmp_path):
    publication(tmp_path, R1).commit(records(), RAW)
    publication(tmp_path, R2).commit(records(), RAW)
    table_path(tmp_path, OBSERVATIONS, R2, DAY).unlink()

    assert [path.stem for path in committed_files(tmp_path).daily["images"]] == [R1]


def test_the_next_writer_clears_away_what_a_killed_one_left(tmp_path):
    publication(tmp_path, R1).commit(records(), RAW)
    publication(tmp_path, R2).commit(records(), RAW)
    table_path(tmp_path, OBSERVATIONS, R2, DAY).unlink()
    publication(tmp_path, R2)  # killed before its last rename, it leaves files in the tables and this mark
    with lock(tmp_path):
        left = sorted(path.name for path in (tmp_path / "lake").rglob("*.parquet"))

    assert left == [f"{R1}.parquet"] * 4
    assert list((tmp_path / "lake" / ".staging").iterdir()) == []


def test_a_commit_record_that_was_lost_otherwise_costs_no_images(tmp_path):
    publication(tmp_path, R1).commit(records(), RAW)
    table_path(tmp_path, OBSERVATIONS, R1, DAY).unlink()
    with lock(tmp_path):
        pass

    assert table_path(tmp_path, IMAGES, R1, DAY).exists()


def test_a_run_that_is_committed_while_the_files_are_listed_is_left_out_whole(tmp_path, monkeypatch):
    publication(tmp_path, R1).commit(records(), RAW)
    one = publication(tmp_path, R2)
    list_files = layout.files  # the moment between two listings can be met nowhere else

    def list_and_commit(data, table):
        found = list_files(data, table)
        if table is OBSERVATIONS:
            one.commit(records(), RAW)
        return found

    monkeypatch.setattr(committed, "files", list_and_commit)

    assert {path.stem for paths in committed_files(tmp_path).daily.values() for path in paths} == {R1}


def test_a_file_says_its_schema_with_meaning_and_unit(tmp_path):
    publication(tmp_path).commit(records(), RAW)
    schema = pq.read_schema(table_path(tmp_path, IMAGES, R1, DAY))

    assert schema.equals(IMAGES.arrow(), check_metadata=True)
    assert schema.field("image_size_gib").metadata[b"unit"] == b"GiB"
    assert schema.metadata[b"format"] == b"1"


@pytest.mark.parametrize("parts", [[150_000], [1, 65_535, 84_464], [50_000, 50_000, 50_000]])
def test_the_same_rows_give_the_same_bytes_however_they_arrive(tmp_path, parts):
    one, other = Publication(tmp_path / "a", R1, DAY), Publication(tmp_path / "b", R1, DAY)
    one.add(IMAGES, images(150_000))
    first = 0
    for count in parts:
        other.add(IMAGES, images(count, first))
        first += count
    one.commit(records(), RAW)
    other.commit(records(), RAW)
    paths = [table_path(tmp_path / name, IMAGES, R1, DAY) for name in "ab"]

    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert pq.ParquetFile(paths[0]).metadata.row_group(0).num_rows == ROW_GROUP_ROWS


def _hold(data: Path, ready, done) -> None:
    with lock(data):
        ready.set()
        done.wait(30)


def test_a_second_writer_is_told_who_holds_the_lake_and_a_dead_one_holds_nothing(tmp_path):
    fork = multiprocessing.get_context("spawn")
    ready, done = fork.Event(), fork.Event()
    holder = fork.Process(target=_hold, args=(tmp_path, ready, done))
    holder.start()
    assert ready.wait(30)
    with pytest.raises(LakeLocked, match=rf"locked by process {holder.pid} since 20.* UTC: wait"), lock(tmp_path):
        pass

    holder.kill()
    holder.join()

    with lock(tmp_path):
        pass


def test_folders_are_made_for_their_owner_only(tmp_path):
    previous = os.umask(0o022)
    try:
        with lock(tmp_path / "data"):
            publication(tmp_path / "data").commit(records(), RAW)
    finally:
        os.umask(previous)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").iterdir() if path.is_dir()}

    assert modes == {"raw": 0o700, "lake": 0o700}
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_a_column_in_which_every_row_differs_has_no_dictionary_in_the_file(tmp_path):
    publication(tmp_path, count=1_000).commit(records(), RAW)

    group = pq.read_metadata(table_path(tmp_path, IMAGES, R1, DAY)).row_group(0)
    columns = {group.column(n).path_in_schema: group.column(n) for n in range(group.num_columns)}
    with_dictionary = {name for name, column in columns.items() if column.has_dictionary_page}
    assert {"image_id", "instance_id", "snapshot_id"}.isdisjoint(with_dictionary)
    assert {"account", "region_id", "status"} <= with_dictionary


def test_what_is_taken_back_wants_no_room_on_a_full_disk(tmp_path, monkeypatch):
    class Full:
        def close(self):
            raise OSError(28, "No space left on device")

    one = publication(tmp_path, count=3)
    monkeypatch.setattr(one._writers["images"], "_writer", Full())  # noqa: SLF001
    one.begin_again()
    for table, rows in ((IMAGES, images(2)), (IMAGE_DISKS, IMAGE_DISKS.to_arrow([]))):
        one.add(table, rows)
    one.commit(records(), RAW)

    assert pq.ParquetFile(table_path(tmp_path, IMAGES, R1, DAY)).metadata.num_rows == 2


def test_workers_of_one_job_state_the_format_at_the_same_time(tmp_path):
    with ThreadPoolExecutor(8) as workers:
        list(workers.map(write_format, [tmp_path] * 200))

    assert format_of(tmp_path) == FORMAT
    assert orphans(tmp_path) == [tmp_path / "lake" / "format"]  # no run is committed yet


def test_a_file_whose_column_names_are_no_text_is_damaged(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"account": ["prod"]}), path)
    path.write_bytes(path.read_bytes().replace(b"account", b"\xf5ccount"))

    with pytest.raises(LakeDamaged, match="it cannot be read"):
        read_verified(path)
