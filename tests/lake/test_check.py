"""What is not whole is named; what is whole passes."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipeline import rebuild
from pipeline.credentials import key_account
from pipeline.emulator import Endpoint, Key, living_account
from pipeline.errors import LakeMissing, Refused
from pipeline.jobs.demo import demo
from pipeline.jobs.run import run
from pipeline.lake.check import check

RUN = "20261002T020000.000000Z"


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    """Three days of an account on a local endpoint."""
    data = tmp_path_factory.mktemp("lived") / "data"
    demo(data, days=3, images=60, told=lambda _: None)
    return data


@pytest.fixture
def data(lived, tmp_path) -> Path:
    """A copy of that lake."""
    shutil.copytree(lived, tmp_path / "data")
    return tmp_path / "data"


def file(data: Path, table: str) -> Path:
    return data / ("raw" if table == "raw" else f"lake/{table}") / "observed_on=2026-10-02" / f"{RUN}.parquet"


def rewrite(change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    """Write the file again with other rows, the header as it was."""

    def damage(path: Path) -> None:
        table = pq.read_table(path, partitioning=None)
        header = pq.read_metadata(path).metadata
        changed_table = change(table)
        with pq.ParquetWriter(path, changed_table.schema.with_metadata(table.schema.metadata)) as writer:
            writer.write_table(changed_table.replace_schema_metadata(table.schema.metadata))
            writer.add_key_value_metadata({b"ens_images_run": header.get(b"ens_images_run", b"")})

    return damage


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def foreign(path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), path)


def no_parquet(path: Path) -> None:
    path.write_text("a,b\n1,2\n")


def flipped(path: Path) -> None:
    """Turn one bit in the middle of the data."""
    content = bytearray(path.read_bytes())
    content[len(content) // 4] ^= 1
    path.write_bytes(content)


def changed(name: str, value: object) -> Callable[[Path], None]:
    """Set a column to one value all over."""

    def change(table: pa.Table) -> pa.Table:
        place = table.schema.get_field_index(name)
        field = table.schema.field(place)
        return table.set_column(place, field, pa.array([value] * len(table), field.type))

    return rewrite(change)


def first_size_is_another(table: pa.Table) -> pa.Table:
    place = table.schema.get_field_index("image_size_gib")
    sizes = table.column(place).to_pylist()
    sizes[0] = (sizes[0] or 0) + 1
    return table.set_column(place, table.schema.field(place), pa.array(sizes, pa.int64()))


def renamed(table: pa.Table) -> pa.Table:
    return table.rename_columns(["imageid" if name == "image_id" else name for name in table.column_names])


def test_a_whole_lake_passes_and_the_check_says_what_it_looked_at(data):
    found = check(data, deep=True)

    assert found.findings == []
    assert (found.run_count, found.file_count, found.observation_count) == (3, 15, 3)
    assert (found.certificate_count, found.rebuilt_count) == (3, 3)
    assert str(found).startswith("3 runs, 15 files, ")


@pytest.mark.parametrize(
    ("table", "damage", "said"),
    [
        *(
            (table, truncated, "cannot be read")
            for table in ("images", "image_disks", "rejects", "observations", "raw")
        ),
        *((table, foreign, "no file of ours") for table in ("images", "image_disks", "rejects", "observations", "raw")),
        *((table, no_parquet, "cannot be read") for table in ("images", "observations", "raw")),
        *((table, Path.unlink, "missing") for table in ("images", "image_disks", "rejects")),
        ("images", flipped, "cannot be read"),
        ("raw", flipped, "cannot be read"),
        ("images", rewrite(lambda rows: rows.slice(1)), "rows, and image_count says"),
        ("images", rewrite(lambda rows: rows.slice(1)), "other images than the observation counted"),
        ("images", rewrite(lambda rows: pa.concat_tables([rows, rows.slice(0, 1)])), "share their key"),
        ("images", rewrite(renamed), "column 'imageid' is not declared"),
        ("images", changed("image_id", None), "lack a part of their key"),
        ("images", changed("account", "other"), "of no published observation"),
        ("image_disks", changed("image_id", "m-x"), "belong to no image"),
        ("image_disks", rewrite(lambda rows: rows.slice(1)), "rows, and disk_count says"),
        ("image_disks", rewrite(lambda rows: pa.concat_tables([rows, rows.slice(0, 1)])), "share their key"),
        ("observations", changed("certificate", "counted"), "certificate is 'counted', and 'verified' by the raw"),
        ("observations", changed("total_count", 7), "total_count is 7, and 6"),
        ("observations", changed("run_id", "x"), "it says run 'x', which is not its name"),
        ("observations", changed("is_published", False), "is_published is False, and True by the raw pages"),
        ("raw", rewrite(lambda rows: rows.filter(pc.equal(rows.column("pass_number"), 1))), "by the raw pages"),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_named_with_what_is_wrong(data, table, damage, said):
    path = file(data, table)
    damage(path)
    findings = [str(finding) for finding in check(data).findings]

    assert any(RUN in line and said in line for line in findings), findings


def test_a_value_that_no_count_betrays_is_found_by_building_it_again(data):
    rewrite(first_size_is_another)(file(data, "images"))

    assert check(data).findings == []
    (finding,) = check(data, deep=True).findings
    assert "not what the raw pages give: row 0, image_size_gib" in finding.what


def test_files_that_belong_to_nothing_are_named(data):
    file(data, "observations").unlink()
    (data / "lake" / "images" / "notes.txt").write_text("mine")
    found = {finding.where: finding.what for finding in check(data).findings}

    assert "no commit record" in found[str(file(data, "images").relative_to(data))]
    assert "landed, and not published" in found[str(file(data, "raw").relative_to(data))]
    assert "no file of the lake" in found["lake/images/notes.txt"]


def test_what_is_no_file_of_ours_is_named_wherever_it_lies(data):
    day = next((data / "raw").glob("observed_on=*"))
    strange = [data / "lake" / "strange.bin", data / "raw" / "junk.txt", day / "note.csv", day / "zzz.parquet"]
    for path in strange:
        path.write_bytes(b"PAR1")
    os.mkfifo(data / "lake" / "observations" / "observed_on=2026-10-02" / "pipe.parquet")
    (data / "lake" / "format").unlink()
    found = "\n".join(map(str, check(data).findings))

    assert all(path.name in found for path in strange)
    assert "pipe.parquet: no regular file" in found
    assert "lake/format: missing" in found
    assert "rebuild" not in found


def test_what_a_killed_writer_left_is_told_and_not_held_against_the_lake(data):
    (data / "lake" / ".staging" / "20261003T020000.000000Z-2").mkdir(parents=True)
    found = check(data)

    assert (found.findings, found.leftover_count) == ([], 1)


def test_a_catalogue_that_is_none_is_named(data):
    (data / "lake.duckdb").write_bytes(b"no database")

    assert [finding.where for finding in check(data).findings] == ["lake.duckdb"]


def test_observations_without_raw_pages_are_counted_and_not_held_against_the_lake(data):
    shutil.rmtree(data / "raw")
    found = check(data, deep=True)

    assert (found.findings, found.certificate_count, found.without_pages_count) == ([], 0, 3)


def test_a_rebuild_mends_what_the_check_finds_missing(data):
    for table in ("images", "rejects"):
        file(data, table).unlink()
    assert not check(data).is_whole
    rebuild(data)

    assert check(data, deep=True).findings == []


def test_an_account_that_was_refused_is_whole_too(tmp_path):
    stock = living_account(images=9)
    keys = {"a": Key("secret", stock), "b": Key("secret", stock, is_permitted=False)}
    with Endpoint(keys) as endpoint, pytest.raises(Refused):
        run(tmp_path, accounts=[key_account(name, name, "secret") for name in "ab"], endpoint=endpoint.url)

    assert check(tmp_path, deep=True).findings == []


def ens_images(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "pipeline", *arguments], capture_output=True, text=True, check=False)


def test_the_command_ends_with_6_and_a_list_and_no_traceback(data):
    whole = ens_images("check", "--deep", "--data", str(data))
    truncated(file(data, "images"))
    foreign(file(data, "raw"))
    damaged = ens_images("check", "--data", str(data))

    assert (whole.returncode, whole.stdout) == (0, "")
    assert "3 runs built again from the raw pages and compared row for row" in whole.stderr
    assert (damaged.returncode, damaged.stdout) == (6, "")
    assert "is not whole: 2 found" in damaged.stderr
    assert damaged.stderr.count(RUN) == 2
    assert "Traceback" not in damaged.stderr


def test_without_a_lake_there_is_nothing_to_check(tmp_path):
    with pytest.raises(LakeMissing):
        check(tmp_path)
