"""Check names every damage with its file, and passes an intact lake."""

import contextlib
import errno
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lake_builder import Seen, commit_again, image, write_run

from pipeline import rebuild
from pipeline.credentials import key_account
from pipeline.emulator import Endpoint, Key, living_account
from pipeline.errors import BadSetting, LakeDamaged, LakeMissing, Refused
from pipeline.jobs.compaction import compact
from pipeline.jobs.demo import demo
from pipeline.jobs.run import run
from pipeline.jobs.withdrawal import withdraw
from pipeline.lake import verified_files
from pipeline.lake.check import check
from pipeline.lake.verified_files import VerifiedFiles
from pipeline.resources.tables import TABLES
from pipeline.views.connection import connect
from pipeline.views.database import write_catalog

EVERY_TABLE = [*(table.name for table in TABLES), "image_versions"]
RUN = "20261002T020000.000000Z"


@pytest.fixture(scope="module")
def three_days(tmp_path_factory):
    """Three days of an account on a local endpoint."""
    data = tmp_path_factory.mktemp("three_days") / "data"
    demo(data, days=3, images=60, print_line=lambda _: None)
    return data


@pytest.fixture
def data(three_days, tmp_path) -> Path:
    """A copy of that lake."""
    shutil.copytree(three_days, tmp_path / "data")
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
        commit_again_beside(path)

    return damage


def commit_again_beside(path: Path) -> None:
    """Commit the run of a file again, as if the file had been written so."""
    data = path.parents[3 if "lake" in path.parts else 2]
    commit_again(data / "lake" / "observations" / path.parent.name / path.name)


def and_committed(damage: Callable[[Path], None]) -> Callable[[Path], None]:
    """Damage a file before its run commits it: its digest is right."""

    def damage_and_commit(path: Path) -> None:
        damage(path)
        commit_again_beside(path)

    return damage_and_commit


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def foreign(path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), path)


def no_parquet(path: Path) -> None:
    path.write_text("a,b\n1,2\n")


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def link_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to("/nonexistent")


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


def test_an_intact_lake_passes_and_the_result_counts_what_was_examined(data):
    result = check(data, deep=True)

    assert result.findings == []
    assert (result.run_count, result.file_count, result.observation_count) == (3, 15, 3)
    assert (result.certificate_count, result.rebuilt_count) == (3, 3)
    assert str(result).startswith("3 runs, 15 files, ")


@pytest.mark.parametrize(
    ("table", "damage", "problem"),
    [
        *((table, truncated, "and was committed with") for table in ("images", "image_disks", "rejects", "raw")),
        *((table, foreign, "and was committed with") for table in ("images", "image_disks", "rejects", "raw")),
        *((table, no_parquet, "and was committed with") for table in ("images", "raw")),
        *((table, flipped, "and was committed as") for table in ("images", "image_disks", "rejects", "raw")),
        ("observations", truncated, "its own SHA-256 is"),
        ("observations", flipped, "its own SHA-256 is"),
        ("observations", foreign, "it is not a commit record"),
        ("observations", no_parquet, "cannot be read"),
        *((table, and_committed(foreign), "no file of this lake") for table in ("images", "image_disks", "rejects")),
        ("raw", and_committed(foreign), "no file of this lake"),
        *((table, and_committed(flipped), "cannot be read") for table in ("images", "raw")),
        *((table, Path.unlink, "missing") for table in ("images", "image_disks", "rejects")),
        ("images", rewrite(lambda rows: rows.slice(1)), "rows, and item_count is"),
        ("images", rewrite(lambda rows: rows.slice(1)), "other images than the observation counted"),
        ("images", rewrite(lambda rows: pa.concat_tables([rows, rows.slice(0, 1)])), "share their key"),
        ("images", rewrite(renamed), "column 'imageid' is not declared"),
        ("images", changed("image_id", None), "lack a part of their key"),
        ("images", changed("account", "other"), "of no published observation"),
        ("image_disks", changed("image_id", "m-x"), "belong to no image"),
        ("image_disks", rewrite(lambda rows: rows.slice(1)), "rows, and child_item_count is"),
        ("image_disks", rewrite(lambda rows: pa.concat_tables([rows, rows.slice(0, 1)])), "share their key"),
        ("observations", changed("certificate", "counted"), "certificate is 'counted', and 'verified' by the raw"),
        ("observations", changed("total_count", 7), "total_count is 7, and 6"),
        ("observations", changed("run_id", "x"), "it names run 'x', which is not its file name"),
        ("observations", changed("is_published", False), "is_published is False, and True by the raw pages"),
        ("raw", rewrite(lambda rows: rows.slice(1)), "by the raw pages"),
        ("raw", rewrite(lambda rows: rows.slice(0, len(rows) - 1)), "do not prove the listing as the header says"),
    ],
)
def test_a_damaged_file_is_named_with_its_problem(data, table, damage, problem):
    path = file(data, table)
    damage(path)
    findings = [str(finding) for finding in check(data).findings]

    assert any(RUN in line and problem in line for line in findings), findings


def test_a_wrong_value_that_no_count_shows_is_found_by_deep(data):
    rewrite(first_size_is_another)(file(data, "images"))

    assert check(data).findings == []
    (finding,) = check(data, deep=True).findings
    assert "not what the raw pages give: account 'demo', image_id" in finding.problem
    assert ": image_size_gib is " in finding.problem


def answers(data: Path) -> dict[str, list[tuple[object, ...]]]:
    with contextlib.closing(connect(data)) as lake:
        return {name: sorted(lake.sql(f"from {name}").fetchall(), key=repr) for name in EVERY_TABLE}


def rotted(path: Path, monkeypatch) -> None:
    """Change a value in a file that is known as verified, as a disk does: the file system tells of no change."""
    monkeypatch.setattr(verified_files, "SETTLED_SECONDS", -1)
    rewrite(first_size_is_another)(path)
    known = VerifiedFiles(path.parents[3].resolve())
    known.add(known.unknown_key(path.resolve()) or b"")
    known.save()


@pytest.mark.parametrize("command", ["compact", "export images {}/images.csv"])
def test_nothing_is_written_from_a_file_that_rotted_since_it_was_verified(data, typed, tmp_path, monkeypatch, command):
    record = file(data, "observations")
    before = record.read_bytes()
    rotted(file(data, "images"), monkeypatch)
    record.write_bytes(before)
    assert typed("sql", "select count(*) from images", "--data", str(data))[0] == 0

    code, _, err = typed(*command.format(tmp_path).split(), "--data", str(data))

    assert code == 6
    assert f"lake/images/observed_on=2026-10-02/{RUN}.parquet' is damaged: " in err
    assert not list(data.glob("lake/manifests/*"))
    assert not (tmp_path / "images.csv").exists()


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [("images", "region_id", "other"), ("image_disks", "disk_size_gib", 1), ("observations", "total_count", 999)],
)
def test_versions_of_other_rows_than_an_intact_daily_file_are_a_finding_and_compacted_again(
    data, typed, table, column, value
):
    right = {path: path.read_bytes() for path in data.glob("lake/*/*/*.parquet")}
    expected = answers(data)
    rewrite_column = changed(column, value)
    rewrite_column(file(data, table))
    compact(data)
    for path, content in right.items():
        path.write_bytes(content)

    (finding,) = check(data, deep=True).findings

    assert finding.location == "lake/manifests/000001.json"
    assert re.search(f"give other [a-z_, ]*{table} of run {RUN} than its daily files, which are", finding.problem)
    (command,) = re.findall("`(ens-images [^`]*)`", finding.problem)
    assert typed(*shlex.split(command)[1:])[0] == 0
    assert check(data, deep=True).is_intact
    assert answers(data) == expected


def test_files_without_a_commit_record_are_named(data):
    file(data, "observations").unlink()
    (data / "lake" / "images" / "notes.txt").write_text("mine")
    found = {finding.location: finding.problem for finding in check(data).findings}

    assert "no commit record" in found[str(file(data, "images").relative_to(data))]
    assert "landed, and not published" in found[str(file(data, "raw").relative_to(data))]
    assert "no file of the lake" in found["lake/images/notes.txt"]


def test_a_foreign_file_is_named_in_any_folder(data):
    day = next((data / "raw").glob("observed_on=*"))
    strange = [data / "lake" / "strange.bin", data / "raw" / "junk.txt", day / "note.csv", day / "zzz.parquet"]
    strange.append(data / "lake" / ".withdrawn" / "images" / day.name / "run (1).parquet")
    strange[-1].parent.mkdir(parents=True)
    for path in strange:
        path.write_bytes(b"PAR1")
    for table in ("observations", "raw"):
        os.mkfifo(file(data, table).with_stem("20261002T030000.000000Z"))
    file(data, "raw").with_stem("20261002T040000.000000Z").mkdir()
    (data / "lake" / "format").unlink()
    findings = "\n".join(map(str, check(data).findings))

    assert all(path.name in findings for path in strange)
    assert findings.count("20261002T030000.000000Z.parquet: ") == 2
    assert findings.count("a file of the lake belongs there: `") == 3
    assert "20261002T040000.000000Z.parquet: a folder, and a file of the lake belongs there: `" in findings
    assert "lake/format: missing" in findings
    assert findings.count("rebuild") == 4


@pytest.mark.parametrize("table", ["observations", "images", "image_disks", "rejects", "raw"])
def test_a_copy_that_another_tool_made_is_named_and_not_read(data, table):
    with contextlib.closing(connect(data)) as lake:
        rows = {name: lake.sql(f"from {name} order by all").fetchall() for name in EVERY_TABLE}
    original = file(data, table)
    names = (" (1)", " 2", ".sync-conflict-20261003-1", "-copy", ".parquet")
    copies = [original.with_name(f"{original.stem}{name}.parquet") for name in names]
    copies += [original.with_name(name) for name in (f"._{original.name}", f"{original.name}.part", "Thumbs.db")]
    copies.append(original.parents[1] / "observed_on=2026-11-30" / original.name)
    copies[-1].parent.mkdir()
    for path in copies:
        shutil.copy(original, path)
    folders = [original.parents[1] / name for name in ("observed_on=2026-10-02 (1)", "observed_on=__HIVE__", "@eaDir")]
    for folder in folders:
        shutil.copytree(original.parent, folder)
    with contextlib.closing(connect(data)) as lake:
        assert {name: lake.sql(f"from {name} order by all").fetchall() for name in EVERY_TABLE} == rows
    found = [(finding.location, finding.problem) for finding in check(data).findings]

    expected = {str(path.relative_to(data)) for path in (*copies, *folders)}
    assert sorted(found) == sorted((path, "no file of the lake: move it away") for path in expected)


def test_status_says_that_there_are_files_which_are_not_the_lake_s(data, typed):
    original = file(data, "images")
    shutil.copy(original, original.with_stem(f"{original.stem} (1)"))
    code, _, told = typed("status", "--data", str(data))

    assert code == 0
    assert "1 file or folder of other tools, not read" in told


def test_each_damaged_run_is_named_with_its_own_count(data):
    """The rules hold for many runs at once."""
    first, last = (sorted((data / "lake" / "images").rglob("*.parquet"))[place] for place in (0, -1))
    for path, count in ((first, 1), (last, 2)):
        rewrite(lambda rows, count=count: pa.concat_tables([rows, rows.slice(0, count)]))(path)
    shared = {f.location: f.problem.split()[0] for f in check(data).findings if "share their key" in f.problem}

    assert shared == {str(first.relative_to(data)): "2", str(last.relative_to(data)): "4"}


def test_orphans_of_a_killed_writer_are_counted_and_are_no_finding(data):
    (data / "lake" / ".staging" / "20261003T020000.000000Z-2").mkdir(parents=True)
    result = check(data)

    assert (result.findings, result.orphan_count) == ([], 1)


def test_a_catalog_that_cannot_be_opened_is_named(data):
    (data / "lake.duckdb").write_bytes(b"no database")

    assert [finding.location for finding in check(data).findings] == ["lake.duckdb"]


def test_observations_without_raw_pages_are_counted_and_are_no_finding(data):
    shutil.rmtree(data / "raw")
    result = check(data, deep=True)

    assert (result.findings, result.certificate_count, result.without_pages_count) == ([], 0, 3)


def test_rebuild_restores_the_tables_that_check_finds_missing(data):
    for table in ("images", "rejects"):
        file(data, table).unlink()
    assert not check(data).is_intact
    rebuild(data)

    assert check(data, deep=True).findings == []


def test_a_lake_with_a_refused_account_is_intact(tmp_path):
    keys = {
        "a": Key("secret", living_account(images=9)),
        "b": Key("secret", living_account(images=9, seed=2), is_permitted=False),
    }
    with Endpoint(keys) as endpoint, pytest.raises(Refused):
        run(tmp_path, accounts=[key_account(name, name, "secret") for name in "ab"], endpoint=endpoint.url)

    assert check(tmp_path, deep=True).findings == []


def ens_images(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "pipeline", *arguments], capture_output=True, text=True, check=False)


def test_the_command_exits_with_6_and_lists_the_findings(data):
    intact = ens_images("check", "--deep", "--data", str(data))
    truncated(file(data, "images"))
    foreign(file(data, "raw"))
    damaged = ens_images("check", "--data", str(data))

    assert (intact.returncode, intact.stdout) == (0, "")
    assert "3 runs built again from the raw pages and compared row for row" in intact.stderr
    assert (damaged.returncode, damaged.stdout) == (6, "")
    assert "is not intact: 2 findings" in damaged.stderr
    assert damaged.stderr.count(f"{RUN}.parquet") == 2
    assert "Traceback" not in damaged.stderr


def test_a_folder_without_a_lake_raises_lake_missing(tmp_path):
    with pytest.raises(LakeMissing):
        check(tmp_path)


def test_two_runs_that_publish_one_observation_are_damage_and_not_a_sum(tmp_path, typed):
    for began in ("2026-10-30 01:00", "2026-10-30 01:30"):
        write_run(tmp_path, Seen(at="2026-10-30 02:00", images=[image("m-1")]), began=began)
    with pytest.raises(LakeDamaged, match=r"both publish account 'default'"):
        connect(tmp_path)
    finding = next(str(finding) for finding in check(tmp_path).findings if "as well" in str(finding))
    (command,) = re.findall("`(ens-images withdraw [^`]*)`", finding)
    assert typed(*shlex.split(command)[1:])[0] == 0

    with contextlib.closing(connect(tmp_path)) as lake:
        assert lake.sql("select count(*) from images").fetchall() == [(1,)]


# ── the catalog, the lock ────────────────────────────────────────────────────


def test_a_log_that_another_program_left_beside_the_catalog_is_kept_by_the_next_writer(data, caplog):
    with duckdb.connect(str(data / "lake.duckdb")) as other:
        other.execute("pragma disable_checkpoint_on_shutdown; create table mine as select 42 as answer")
    assert (data / "lake.duckdb.wal").exists()
    assert [finding.location for finding in check(data).findings] == ["lake.duckdb"]
    rebuild(data)

    assert not (data / "lake.duckdb.wal").exists()
    assert "another program changed lake.duckdb: it is kept as" in caplog.text
    (kept,) = data.glob("lake-kept-*.duckdb")
    with duckdb.connect(str(kept)) as other:
        assert other.execute("from mine").fetchall() == [(42,)]
    with duckdb.connect(str(data / "lake.duckdb"), read_only=True) as other:
        assert other.execute("select count(*) from images_latest").fetchall()[0][0] > 0
    assert check(data).findings == []


def test_a_view_that_another_program_changed_in_the_catalog_is_not_answered_and_kept(data):
    write_catalog(data)
    with contextlib.closing(connect(data)) as lake:
        before = lake.execute("from capacity_by_region order by all").fetchall()
    with duckdb.connect(str(data / "lake.duckdb")) as other:
        other.execute("create or replace view capacity_by_region as select 'x' as region, 42 as gib")
    with contextlib.closing(connect(data)) as lake:
        assert lake.execute("from capacity_by_region order by all").fetchall() == before
    assert [finding.location for finding in check(data).findings] == ["lake.duckdb"]
    rebuild(data)
    rebuild(data)

    assert check(data).findings == []
    assert len(list(data.glob("lake-kept-*.duckdb"))) == 1


def test_a_catalog_that_a_process_kept_open_says_that_it_is_old(data, serve, account):
    write_catalog(data)  # it holds absolute paths
    with duckdb.connect(str(data / "lake.duckdb"), read_only=True) as kept:
        assert kept.execute("select catalog_is_current()").fetchall() == [(True,)]
        run(data, accounts=[account], endpoint=serve(images=9).url)
        with duckdb.connect(str(data / "lake.duckdb"), read_only=True) as again:  # the same instance
            assert again.execute("select catalog_is_current()").fetchall() == [(False,)]
    with duckdb.connect(str(data / "lake.duckdb"), read_only=True) as fresh:
        assert fresh.execute("select catalog_is_current()").fetchall() == [(True,)]


def test_a_run_whose_catalog_cannot_be_written_is_published_and_says_so(tmp_path, serve, account, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pipeline.views.database_file.commit_file", full)
    done = run(tmp_path, accounts=[account], endpoint=serve(images=9).url)

    assert "lake.duckdb is deleted, because a new one cannot be written: OSError" in str(done)
    assert not (tmp_path / "lake.duckdb").exists()
    assert check(tmp_path).findings == []


def test_a_lock_that_is_a_link_is_refused_and_its_target_stays(data):
    precious = data.parent / "precious.txt"
    precious.write_text("mine")
    (data / ".lock").unlink()
    (data / ".lock").symlink_to(precious)
    with pytest.raises(BadSetting, match="is a link, and a lock is a file"):
        rebuild(data)

    assert precious.read_text() == "mine"


def test_a_record_copied_under_another_run_id_promises_no_rebuild(data, typed):
    path = file(data, "observations")
    shutil.copy(path, path.with_name(path.name.replace("T020000", "T030000")))

    with pytest.raises(LakeDamaged, match="lists all damage, and prints the command for each"):
        connect(data)
    (finding,) = check(data).findings
    (command,) = re.findall("`(ens-images [^`]*)`", finding.problem)
    assert typed(*shlex.split(command)[1:])[0] == 0
    assert check(data).is_intact


def test_a_lock_that_is_a_folder_is_refused_in_words(data):
    (data / ".lock").unlink(missing_ok=True)
    (data / ".lock").mkdir()
    with pytest.raises(BadSetting, match="a lock is a file: move the folder away"):
        rebuild(data)


def test_a_damaged_record_of_a_compacted_run_does_not_prevent_its_withdrawal(data, typed):
    compact(data)
    emptied(file(data, "observations"))

    assert typed("withdraw", f"{RUN}/nobody", "--data", str(data))[0] == 6
    assert typed("withdraw", f"{RUN}/demo", "--data", str(data))[0] == 0


@pytest.mark.parametrize("name", ["20261304T020000.000000Z", "20261004T250000.000000Z", "20260230T020000.000000Z"])
def test_a_run_of_an_instant_that_cannot_be_is_unknown_and_its_file_foreign(data, typed, name):
    code, _, err = typed("withdraw", f"{name}/demo", "--data", str(data))
    assert code == 2
    assert "UnknownName" in err
    path = data / "lake" / "images" / f"observed_on={name[:4]}-{name[4:6]}-{name[6:8]}" / f"{name}.parquet"
    path.parent.mkdir()
    shutil.copy(file(data, "images"), path)
    assert [finding.problem for finding in check(data).findings] == ["no file of the lake: move it away"]


@pytest.mark.parametrize(
    "damage", [truncated, flipped, Path.unlink, lambda path: path.write_bytes(b""), link_to_nothing]
)
def test_a_damaged_record_of_a_run_after_the_last_compaction_is_a_finding_and_mended(data, damage):
    before = file(data, "observations").with_name(f"{RUN}.parquet").read_bytes()
    last = max((data / "lake" / "observations").rglob("*.parquet"))
    whole = last.read_bytes()
    last.unlink()
    raw = max((data / "raw").rglob("*.parquet"))
    pages = raw.read_bytes()
    raw.unlink()
    for table in ("images", "image_disks", "rejects"):
        max((data / "lake" / table).rglob("*.parquet")).unlink()
    compact(data)
    raw.parent.mkdir(exist_ok=True)
    raw.write_bytes(pages)
    rebuild(data)
    assert last.read_bytes() == whole
    damage(last)

    assert any(last.name in finding.location for finding in check(data).findings)
    rebuild(data)
    assert check(data).findings == []
    assert last.read_bytes() == whole
    assert file(data, "observations").read_bytes() == before


# ── what nothing brings back ─────────────────────────────────────────────────


@pytest.mark.parametrize("table", ["images", "image_disks", "rejects", "observations"])
@pytest.mark.parametrize("damage", [truncated, flipped, Path.unlink])
def test_a_loss_is_named_and_accepted_by_the_command_that_check_prints(data, typed, table, damage):
    shutil.rmtree(data / "raw")
    damage(file(data, table))
    with pytest.raises(LakeDamaged):
        connect(data)
    with pytest.raises(LakeDamaged, match=RUN):
        rebuild(data)
    findings = "\n".join(map(str, check(data).findings))
    for command in dict.fromkeys(re.findall("`(ens-images withdraw [^`]*)`", findings)):
        code, _, told = typed(*shlex.split(command)[1:])
        assert code == 0
        assert "brings it back until" not in told

    assert check(data).findings == []
    with contextlib.closing(connect(data)) as lake:
        assert lake.sql("select count(distinct observed_at_utc) from images").fetchall() == [(2,)]


@pytest.mark.parametrize("table", ["observations", ".withdrawn/images"])
def test_a_lost_record_of_a_withdrawn_run_is_named_and_its_rest_moved_away(data, typed, table):
    """Readers need the record of a withdrawn run too: it says what was withdrawn."""
    shutil.rmtree(data / "raw")
    withdraw(data, RUN)
    flipped(file(data, table))
    if table != "observations":
        assert check(data).findings == []
    else:
        with pytest.raises(LakeDamaged):
            connect(data)
        (command,) = {*re.findall("`(ens-images withdraw [^`]*)`", "\n".join(map(str, check(data).findings)))}
        assert typed(*shlex.split(command)[1:])[0] == 0

    assert check(data).findings == []
    with contextlib.closing(connect(data)) as lake:
        assert lake.sql("select count(distinct observed_at_utc) from images").fetchall() == [(2,)]


def emptied_folder(name: str) -> Callable[[Path], None]:
    return lambda data: shutil.rmtree(data / "lake" / name)


def flipped_manifest(data: Path) -> None:
    flipped(next((data / "lake" / "manifests").iterdir()))


@pytest.mark.parametrize(
    ("damage", "last_day"),
    [
        (emptied_folder("image_versions_open"), 3),
        (emptied_folder("compacted_observations"), 3),
        (flipped_manifest, 2),
    ],
)
def test_days_that_a_lost_compaction_alone_held_are_named_and_accepted(tmp_path, typed, damage, last_day):
    """An older version deleted the daily files of what it compacted; here two days, and perhaps a third after it."""

    def write(day: int) -> None:
        at = f"2026-10-0{day} 02:00"
        write_run(tmp_path, *(Seen(account, at=at, images=[image("m-1")]) for account in ("prod", "test")))

    write(1)
    write(2)
    compact(tmp_path)
    for table in ("images", "image_disks", "rejects", "observations"):
        shutil.rmtree(tmp_path / "lake" / table)
    for day in range(3, last_day + 1):
        write(day)
    shutil.rmtree(tmp_path / "raw")
    damage(tmp_path)
    findings = "\n".join(map(str, check(tmp_path).findings))
    commands = list(dict.fromkeys(re.findall("`(ens-images (?:withdraw|rebuild) [^`]*)`", findings)))
    with pytest.raises(LakeDamaged, match="20261001T020000Z/prod"):
        rebuild(tmp_path)

    assert [command.split()[1] for command in commands] == [*["withdraw"] * 4, "rebuild"]
    for command in commands:
        assert typed(*shlex.split(command)[1:])[0] == 0
    if last_day == 2:
        with pytest.raises(LakeMissing):
            check(tmp_path)
    else:
        assert check(tmp_path).findings == []
        with contextlib.closing(connect(tmp_path)) as lake:
            assert lake.sql("select observed_on::varchar, count(*) from images group by all").fetchall() == [
                ("2026-10-03", 2)
            ]


# ── what stands in the way ───────────────────────────────────────────────────


def file_for_folder(name: str) -> Callable[[Path], None]:
    def replace(data: Path) -> None:
        folder = data / "lake" / name
        if folder.exists():
            shutil.rmtree(folder)
        folder.write_text("x")

    return replace


def folder_for_file(table: str) -> Callable[[Path], None]:
    def replace(data: Path) -> None:
        file(data, table).unlink()
        file(data, table).mkdir()
        (file(data, table) / "note.txt").write_text("x")

    return replace


def folder_in_place_of(name: str) -> Callable[[Path], None]:
    def replace(data: Path) -> None:
        withdraw(data, f"{RUN}/demo")
        compact(data)
        path = data / name
        path.unlink(missing_ok=True)
        path.mkdir()
        (path / "note.txt").write_text("x")

    return replace


_SINGLE_FILES = ["raw/_tombstones.json", "lake/tombstones.json", "lake/format", "lake.duckdb", "lake.duckdb.wal"]


@pytest.mark.parametrize(
    "damage",
    [
        *(folder_in_place_of(name) for name in (*_SINGLE_FILES, "lake/manifests/000001.json")),
        lambda data: link_to_nothing(file(data, "raw")),
        lambda data: link_to_nothing(file(data, "images")),
        lambda data: (file(data, "images").unlink(), os.mkfifo(file(data, "images"))),
        *(file_for_folder(name) for name in ("images", "manifests", "image_versions")),
        *(folder_for_file(table) for table in ("images", "observations", "raw")),
    ],
)
def test_a_file_for_a_folder_and_a_folder_for_a_file_are_moved_aside_by_the_advised_rebuild(data, typed, damage):
    before = images_but_of_withdrawn(data)
    damage(data)
    found = check(data).findings
    findings = "\n".join(map(str, found))
    (command,) = {*re.findall("`(ens-images [^`]*)`", findings)}
    assert "move it away" not in findings
    assert len({finding.location for finding in found}) == len(found)
    assert typed(*shlex.split(command)[1:])[0] == 0

    assert check(data).findings == []
    assert any((data / "lake" / ".damaged").iterdir())
    assert images_but_of_withdrawn(data) == before


def images_but_of_withdrawn(data: Path) -> list[tuple[object, ...]]:
    with contextlib.closing(connect(data)) as lake:
        return lake.sql("from images where observed_on <> '2026-10-02' order by all").fetchall()


def test_status_names_a_run_of_which_only_the_raw_pages_are_left(data, typed):
    for path in (data / "lake").rglob(f"{RUN}.parquet"):
        path.unlink()
    _, _, told = typed("status", "--data", str(data))
    (command,) = re.findall(f"of run {RUN}: `(ens-images rebuild [^`]*)` publishes", told)
    assert typed(*shlex.split(command)[1:])[0] == 0

    assert "only the raw pages" not in typed("status", "--data", str(data))[2]
