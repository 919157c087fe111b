"""What was written once is read for ever: by every later version, and refused, with what to do, by every older one."""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from old_lake import OldAccount, answers

from pipeline import connect, rebuild, run
from pipeline.credentials import key_account
from pipeline.emulator import Endpoint, Key
from pipeline.errors import LakeDamaged, LakeTooNew
from pipeline.jobs.compaction import compact
from pipeline.jobs.retention import prune
from pipeline.jobs.status import folder_notes
from pipeline.jobs.withdrawal import restore, withdraw
from pipeline.lake.check import check
from pipeline.lake.format import format_of
from pipeline.resources.control import OBSERVATIONS, RAW_PAGES
from pipeline.resources.images import IMAGE_DISKS, IMAGES
from pipeline.resources.schema import FORMAT
from pipeline.resources.tables import LAKE_TABLES, tables_of

if TYPE_CHECKING:
    from collections.abc import Callable

KEPT = sorted((Path(__file__).parent / "data").glob("old_lake_v*"))


@pytest.fixture(params=KEPT, ids=[folder.name for folder in KEPT])
def kept(request) -> Path:
    """A lake that an earlier version made, and what it answered."""
    return request.param


@pytest.fixture
def old(kept, tmp_path) -> Path:
    """The same, unpacked."""
    with tarfile.open(kept / "data.tar.xz") as archive:
        archive.extractall(tmp_path / "old", filter="data")
    return tmp_path / "old"


def test_there_is_a_lake_of_every_earlier_format():
    assert [folder.name for folder in KEPT] == [f"old_lake_v{number}" for number in range(1, int(FORMAT))]


def test_an_old_lake_answers_as_it_did(kept, old):
    before = json.loads((kept / "answers.json").read_text("utf-8"))
    after = answers(old)

    assert {name: after[name] for name in before} == before


def test_of_an_old_lake_no_use_is_known(old):
    with connect(old) as lake:
        assert lake.execute("select distinct use_status from image_use").fetchall() == [("not known",)]
        assert lake.execute("select distinct use_status from image_use_by_day").fetchall() == [("not known",)]
        assert lake.execute("from instances_without_image").fetchall() == []


def test_a_lake_built_again_from_old_pages_answers_as_it_did(kept, old, tmp_path):
    rebuild(old, into=tmp_path / "new")

    before = json.loads((kept / "answers.json").read_text("utf-8"))
    after = answers(tmp_path / "new")
    for name in ("images", "extras", "disks", "rejects", "capacity", "latest"):
        assert after[name] == before[name]


def test_an_old_lake_is_intact(old):
    assert check(old, deep=True).findings == []


def test_an_old_lake_says_once_that_its_files_have_no_digests_and_a_rebuild_gives_them(old, caplog, monkeypatch):
    monkeypatch.setattr("pipeline.lake.verified_files.SETTLED_SECONDS", -1)
    for _ in range(2):
        connect(old).close()
    assert caplog.text.count("of an older version without a digest") == 1
    assert "without digests" in str(check(old))
    rebuild(old)
    caplog.clear()
    connect(old).close()
    assert caplog.text == ""
    assert "without digests" not in str(check(old))


@pytest.mark.parametrize("has_pages", [True, False])
def test_a_rebuild_gives_every_file_of_an_old_lake_the_declared_columns(old, has_pages):
    if not has_pages:
        shutil.rmtree(old / "raw")
    before = answers(old)
    assert any("rebuild" in note for note in folder_notes(old))
    rebuild(old)

    for table in LAKE_TABLES:
        for path in (old / "lake" / table.name).rglob("*.parquet"):
            assert pq.read_schema(path).equals(table.arrow()), path
    assert not any("rebuild" in note for note in folder_notes(old))
    assert {name: rows for name, rows in answers(old).items() if name != "observations"} == {
        name: rows for name, rows in before.items() if name != "observations"
    }
    assert check(old).findings == []


def test_a_rebuild_gives_the_declared_columns_to_a_run_of_which_one_account_was_withdrawn_for_good(old):
    for path in (old / "raw").rglob("*.parquet"):
        path.unlink()
    withdraw(old, "20260102T020000.000000Z/test", grace="0s")
    rebuild(old)

    paths = [(table, path) for table in LAKE_TABLES for path in (old / "lake" / table.name).rglob("*.parquet")]
    assert "20260102T020000.000000Z.1.parquet" in {path.name for _, path in paths}
    assert [path for table, path in paths if not pq.read_schema(path).equals(table.arrow())] == []
    assert not any("rebuild" in note for note in folder_notes(old))
    assert check(old).findings == []


def test_no_rebuild_of_an_old_lake_brings_back_a_day_that_has_expired(old):
    rebuild(old)
    restore(old, "20260103T020000.000000Z/test")
    before = answers(old)
    compact(old, grace="0s")
    prune(old, daily_older_than="3d", grace="0s", at=dt.datetime(2026, 1, 7))  # noqa: DTZ001

    for _ in range(2):
        days = {path.name for table in LAKE_TABLES for path in (old / "lake" / table.name).glob("observed_on=*")}
        assert days == {"observed_on=2026-01-04"}
        assert rebuild(old) == []
    assert answers(old)["images"] == before["images"]
    assert check(old).findings == []


def test_what_was_withdrawn_from_an_old_lake_leaves_its_folders_with_the_next_command_and_comes_back(old):
    def by_account() -> Counter[str]:
        folder = old / "lake" / "images" / "observed_on=2026-01-03"
        return Counter(pq.read_table(folder, columns=["account"]).column("account").to_pylist())

    both = by_account()
    assert set(both) == {"prod", "test"}
    prune(old)
    assert by_account() == {"prod": both["prod"]}
    restore(old, "20260103T020000.000000Z/test")
    assert by_account() == both


def test_an_old_lake_is_written_to(kept, old):
    before = json.loads((kept / "answers.json").read_text("utf-8"))
    with Endpoint({"a": Key("emulator", OldAccount())}, day=4) as endpoint:
        run(old, accounts=[key_account("prod", "a", "emulator")], endpoint=endpoint.url, certificate="counted")

    after = answers(old)
    assert [row for row in after["images"] if row[1] < "2026-01-05"] == before["images"]
    assert len(after["images"]) == len(before["images"]) + 9
    assert format_of(old) == FORMAT
    assert sorted(path.name for path in (old / "raw").glob("_*")) == ["_tombstones.json"]
    assert check(old).findings == []


# ── read anew ────────────────────────────────────────────────────────────────

NO_INSTANT, OFFSET_TIME = "2021-02-30T00:00Z", "2021-02-28T08:00:00.5+08:00"


@pytest.fixture(params=KEPT[:3], ids=[folder.name for folder in KEPT[:3]])
def misread(request, tmp_path) -> Path:
    """A lake whose raw pages hold an offset time and doubled keys, with what its version made of them."""
    with tarfile.open(request.param / "data.tar.xz") as archive:
        archive.extractall(tmp_path / "old", filter="data")
    for path in (tmp_path / "old").rglob("*.parquet"):
        change(path, "body", pa.large_binary(), as_sent)
        change(path, "raw_json", pa.string(), lambda text: text.replace(NO_INSTANT, OFFSET_TIME))
    return tmp_path / "old"


def change(path: Path, name: str, kind: pa.DataType, new: Callable[[Any], Any]) -> None:
    """Change the values of a column, where the file has it."""
    with pq.ParquetFile(path) as file:
        header = {key: value for key, value in file.metadata.metadata.items() if key != b"ARROW:schema"}
        rows = file.read().replace_schema_metadata(header)
    if name in rows.column_names:
        values = pa.array([value and new(value) for value in rows.column(name).to_pylist()], kind)
        index = rows.column_names.index(name)
        pq.write_table(rows.set_column(index, rows.schema.field(name), values), path)


def as_sent(body: bytes) -> bytes:
    """The body with an offset time, which was a reject, and with a key twice, whose last value counted."""
    body = body.replace(NO_INSTANT.encode(), OFFSET_TIME.encode())
    return re.sub(rb'("ImageId": ?"m-3")', rb'\1,"ImageSize":"1"', body)


def test_pages_that_read_better_now_leave_an_old_lake_intact_and_are_told(misread):
    before = answers(misread)
    result = check(misread, deep=True)

    assert result.findings == []
    assert result.read_differently_count > 0
    assert f"{result.read_differently_count} rows read differently since 0.1.0" in str(result)
    assert "read differently" not in str(check(misread))

    rebuild(misread)
    lost = max((misread / "lake" / "images").rglob("*.parquet"))
    lost.unlink()
    rebuild(misread)
    assert answers(misread) == before
    assert check(misread, deep=True).findings == []


def test_a_new_lake_is_read_anew_and_stays_intact_beside_the_old_pages(misread, tmp_path):
    rebuild(misread, into=tmp_path / "new")
    shutil.copytree(misread / "raw", tmp_path / "new" / "raw", dirs_exist_ok=True)

    for _ in range(2):
        result = check(tmp_path / "new", deep=True)
        assert (result.findings, result.read_differently_count) == ([], 0)
        with connect(tmp_path / "new") as lake:
            read = "select distinct image_id, image_size_gib, created_at_utc::varchar from images where image_id in "
            assert lake.execute(f"{read} ('m-3', 'm-4') order by 1").fetchall() == [
                ("m-3", None, "2025-12-08 12:10:03"),
                ("m-4", None, "2021-02-28 00:00:00.5"),
            ]
            assert lake.execute("select distinct reading_version from observations").fetchall() == [(2,)]
            rejected = "select distinct item_id, field, raw_json from rejects where item_id in ('m-3', 'm-4')"
            assert lake.execute(f"{rejected} order by all").fetchall() == [
                ("m-3", "ImageSize", '["1","30"]'),
                ("m-4", "ImageSize", '"20GiB"'),
            ]
        max((tmp_path / "new" / "lake" / "images").rglob("*.parquet")).unlink()
        rebuild(tmp_path / "new")  # by the reading of the commit record, not of the pages


def test_an_answer_that_is_unusable_now_is_published_by_no_new_lake(misread, tmp_path):
    path = max((misread / "raw").rglob("*.parquet"))
    total = rb'"TotalCount": ?("?[0-9]+"?)'
    change(path, "body", pa.large_binary(), lambda body: re.sub(total, rb'"TotalCount":"7","TotalCount":\1', body))
    assert check(misread, deep=True).findings == []

    rebuild(misread, into=tmp_path / "new")
    shutil.copytree(misread / "raw", tmp_path / "new" / "raw", dirs_exist_ok=True)
    assert check(tmp_path / "new", deep=True).findings == []
    with connect(tmp_path / "new") as lake:
        asked = "select is_published, error from observations where account = 'prod' order by run_id desc limit 1"
        ((is_published, error),) = lake.execute(asked).fetchall()
    assert (is_published, "by reading version 2 1 page of the last pass unusable" in error) == (False, True)


# ── newer ones ───────────────────────────────────────────────────────────────


@pytest.fixture
def newer(old) -> Path:
    """A lake to which a later version has written."""
    (old / "lake" / "format").write_text(f"{int(FORMAT) + 1}\n")
    return old


def test_a_newer_lake_is_refused_with_what_to_do_by_whatever_reads_or_writes(newer, serve):
    before = {path: path.read_bytes() for path in newer.rglob("*") if path.is_file()}
    accounts, url = [key_account("a", "emulator", "emulator")], serve(images=3).url
    refused = rf"lake/format.*has format {int(FORMAT) + 1}, .* reads {FORMAT} at most: pip install --upgrade"
    for act in (
        lambda: connect(newer),
        lambda: run(newer, accounts=accounts, endpoint=url),
        lambda: rebuild(newer),
        lambda: prune(newer),
        lambda: check(newer),
    ):
        with pytest.raises(LakeTooNew, match=refused):
            act()

    assert {path: path.read_bytes() for path in newer.rglob("*") if path.is_file() and path.name != ".lock"} == before


def test_newer_pages_are_refused_with_what_to_do(old, tmp_path):
    path = max((old / "raw").rglob("*.parquet"))
    pages = pq.read_table(path)
    pq.write_table(pages.replace_schema_metadata({**pages.schema.metadata, b"format": b"99"}), path)

    with pytest.raises(LakeTooNew, match=rf"{re.escape(path.name)}.*format 99.*pip install --upgrade"):
        rebuild(old, into=tmp_path / "new")


@pytest.mark.parametrize("said", ["", "one", "-1", "1.0", "²"])
def test_a_format_that_is_none_is_named(old, said):
    (old / "lake" / "format").write_text(said)

    with pytest.raises(LakeDamaged, match="lake/format"):
        connect(old)


def test_a_newer_lake_ends_a_command_with_6(newer):
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "report", "--data", str(newer)], capture_output=True, text=True, check=False
    )

    assert (done.returncode, len(done.stderr.splitlines())) == (6, 1)


# ── columns that were added later ────────────────────────────────────────────

LATER = """
import dataclasses, json, pathlib, sys
from pipeline.resources import control, images, schema, tables

def more(declared, **changes):
    return dataclasses.replace(declared, columns=(*declared.columns, *changes.pop("columns")), **changes)

disks = more(
    images.IMAGES_RESOURCE.children[0],
    columns=(schema.text("serial", "Serial", "Its serial number.", since="0.2"),),
)
resource = more(
    images.IMAGES_RESOURCE,
    columns=(
        schema.timestamp_utc("last_used_at_utc", "LastUsed", "When it was last used.", since="0.2"),
        schema.gib("boot_gib", "BootGib", "Size of its boot disk.", since="0.2"),
        schema.text("tags", "Tags", "A list, and so no text.", since="0.2"),
        schema.text("kernel", "Kernel", "Sent by nobody yet.", since="0.2"),
    ),
    children=(disks,),
)
images.IMAGES_RESOURCE, images.IMAGES, images.IMAGE_DISKS = resource, *resource.tables
images.IMAGE_FIELDS, images.DISK_FIELDS, images.IMAGE_VERSIONS = resource.fields, disks.fields, resource.versions
tables.RESOURCES = (resource, *tables.RESOURCES[1:])
tables.ROW_TABLES = (*(table for one in tables.RESOURCES for table in one.tables), control.REJECTS)
tables.LAKE_TABLES = (*tables.ROW_TABLES, control.OBSERVATIONS)
tables.TABLES = (*tables.LAKE_TABLES, *(one.versions for one in tables.RESOURCES), control.RAW_PAGES)

from pipeline import connect, rebuild
from pipeline.lake.check import check

old, new = sys.argv[1:]
said = []
rebuild(old, into=new)
for data in (old, new):
    assert [str(finding) for finding in check(data, deep=True).findings] == []
    with connect(data) as lake:
        for view in ("images", "images_latest"):
            said.append(lake.execute(
                "select image_id, last_used_at_utc::varchar, boot_gib, tags, kernel, image_name "
                f"from {view} where account = 'test' and (boot_gib is not null or image_id = 'm-4') order by all"
            ).fetchall())
        said.append(lake.execute(
            "select image_id, disk_number, serial from image_disks "
            "where account = 'test' and serial is not null order by all"
        ).fetchall())
        said.append(lake.execute("select distinct extra from images order by all").fetchall())
last = max(pathlib.Path(old, "raw").rglob("*.parquet"))
for path in pathlib.Path(old, "lake").rglob(last.name):
    path.unlink()
rebuild(old)  # the last run has the columns, those before it have extra
changes = "select field, count(*) from image_changes where change = 'changed' group by all order by 1"
for data in (old, new):
    with connect(data) as lake:
        said.append(lake.execute(changes).fetchall())
print(json.dumps(said))
"""


def test_a_column_that_was_added_later_reads_from_extra_until_a_rebuild_fills_it(tmp_path):
    with tarfile.open(KEPT[0] / "data.tar.xz") as archive:
        archive.extractall(tmp_path / "old", filter="data")
    done = subprocess.run(
        [sys.executable, "-c", LATER, str(tmp_path / "old"), str(tmp_path / "new")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    images, latest, disks, extra, *again, extra_again, changes, changes_again = json.loads(done.stdout)
    assert latest == [
        ["m-4", None, None, None, None, "名 4"],
        ["m-5", "2026-01-01 00:00:00", 7, None, None, "名 5"],
    ]
    assert sorted(map(str, images)) == sorted(map(str, latest * 2))
    assert disks == [["m-6", 1, "s"]] * 2
    assert again == [images, latest, disks]
    assert changes == changes_again
    assert extra == extra_again == [[None]]


def test_a_column_that_no_file_holds_and_no_extra_is_null(tmp_path):
    with tarfile.open(KEPT[0] / "data.tar.xz") as archive:
        archive.extractall(tmp_path / "old", filter="data")
    code = (
        "import dataclasses, sys; from pipeline.resources import control, schema, tables\n"
        "late = schema.integer('late_count', schema.ADDED, 'Counted by a later version.', since='0.2')\n"
        "columns = (*control.OBSERVATIONS.columns, late)\n"
        "control.OBSERVATIONS = dataclasses.replace(control.OBSERVATIONS, columns=columns)\n"
        "tables.LAKE_TABLES = (*tables.ROW_TABLES, control.OBSERVATIONS)\n"
        "tables.TABLES = (*tables.LAKE_TABLES, *tables.TABLES[len(tables.LAKE_TABLES):])\n"
        "from pipeline import connect\n"
        "print(connect(sys.argv[1]).execute('select distinct late_count from observations').fetchall())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "old")], capture_output=True, text=True, check=False
    )

    assert done.stdout == "[(None,)]\n", done.stderr


def test_every_column_that_the_first_version_lacks_says_since_when_it_is_there(tmp_path):
    with tarfile.open(KEPT[0] / "data.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    for table in (*tables_of({"images"}), OBSERVATIONS, RAW_PAGES):
        folder = tmp_path / "raw" if table is RAW_PAGES else tmp_path / "lake" / table.name
        first = pq.read_schema(next(folder.rglob("*.parquet"))).names

        assert {column.renamed_from or column.name for column in table.stored if column.since is None} == set(first)


@pytest.mark.parametrize("table", [IMAGES, IMAGE_DISKS], ids=lambda table: table.name)
def test_a_column_keeps_its_name_and_type_for_ever(table, tmp_path):
    with tarfile.open(KEPT[0] / "data.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    now = {field.name: field.type for field in table.arrow()}
    for field in pq.read_schema(next((tmp_path / "lake" / table.name).rglob("*.parquet"))):
        assert now[field.name] == field.type
