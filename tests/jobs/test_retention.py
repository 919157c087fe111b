"""What is taken out is gone for every reader at once; its bytes go after a grace, and up to then it can come back."""

import datetime as dt
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from lake_builder import Seen, image, write_run

from pipeline import connect, rebuild
from pipeline.credentials import key_account
from pipeline.emulator import Endpoint, Key, living_account
from pipeline.errors import AlreadyObserved, BadSetting, LakeDamaged, LakeMissing, UnknownName
from pipeline.extract.raw_pages import raw_paths
from pipeline.jobs.compaction import compact
from pipeline.jobs.retention import prune
from pipeline.jobs.run import run
from pipeline.jobs.status import folder_notes
from pipeline.jobs.withdrawal import restore, withdraw
from pipeline.lake.check import check
from pipeline.lake.tombstone_files import tombstones_copy, tombstones_path
from pipeline.reports.query import query
from pipeline.views.database import write_catalog
from pipeline.views.script import views_sql

DAY = dt.datetime(2026, 10, 1, 2)  # noqa: DTZ001  (UTC without a zone, as everywhere)
NOW = dt.datetime(2026, 10, 20)  # noqa: DTZ001
LATER = NOW + dt.timedelta(days=8)


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    """Four days of two accounts, a run a day; the second account is not read on the last one."""
    data = tmp_path_factory.mktemp("lived") / "data"
    keys = {name: Key("secret", living_account(images=12, seed=seed)) for seed, name in enumerate("ab", 1)}
    with Endpoint(keys) as endpoint:
        for day in range(4):
            endpoint.day = day
            accounts = [key_account(name, name, "secret") for name in ("ab" if day < 3 else "a")]
            at = DAY + dt.timedelta(days=day)
            run(data, accounts=accounts, endpoint=endpoint.url, rate=None, accept_shrink=True, observed_at=at)
    return data


@pytest.fixture
def data(lived, tmp_path) -> Path:
    """A copy of that lake."""
    shutil.copytree(lived, tmp_path / "data")
    write_catalog(tmp_path / "data")  # the catalog holds absolute paths
    return tmp_path / "data"


def run_id(day: int) -> str:
    return f"2026100{day + 1}T020000.000000Z"


def rows(data: Path, sql: str) -> list[tuple]:
    with connect(data) as con:
        return con.execute(sql).fetchall()


def latest(data: Path) -> dict[str, str]:
    return dict(rows(data, "select account, run_id from accounts"))


def files_of(data: Path, day: int) -> set[str]:
    return {path.parts[-3] for path in data.rglob(f"{run_id(day)}*.parquet")}


def by_folder(data: Path) -> dict[str, list[tuple]]:
    """Rows and GiB of each day and account, as any engine reads them from the folders."""
    return {table: _sums(f"read_parquet('{data}/lake/{table}/observed_on=*/*.parquet')", size) for table, size in SIZES}


def by_views(data: Path) -> dict[str, list[tuple]]:
    """The same, as the views answer."""
    with connect(data) as con:
        return {table: _sums(table, size, con) for table, size in SIZES}


SIZES = (("images", "image_size_gib"), ("image_disks", "disk_size_gib"))


def _sums(rows: str, size: str, con: duckdb.DuckDBPyConnection | None = None) -> list[tuple]:
    query = f"select observed_on, account, count(*), sum({size}) from {rows} group by all order by all"  # noqa: S608
    return (con or duckdb.connect()).execute(query).fetchall()


# ── withdrawing ──────────────────────────────────────────────────────────────


def test_a_withdrawn_observation_is_gone_at_once_and_the_one_before_is_the_latest(data):
    told = withdraw(data, f"{run_id(3)}/a", at=NOW)

    assert latest(data) == {"a": run_id(2), "b": run_id(2)}
    assert f"the latest of 'a' is now {run_id(2)}" in str(told)
    assert rows(data, "select count(*) from images where observed_at_utc >= timestamp '2026-10-04'") == [(0,)]
    assert rows(data, "select is_published, error from observations order by run_id desc limit 1") == [
        (False, "Withdrawn: taken out of the lake at 2026-10-20 00:00:00 UTC")
    ]


def test_only_the_rows_of_the_withdrawn_account_are_hidden(data):
    before = rows(data, "select * from images where account = 'b' order by all")
    withdraw(data, f"{run_id(1)}/a", grace="0s", at=NOW)

    assert rows(data, "select * from images where account = 'b' order by all") == before
    assert rows(data, "select distinct run_id from observations where is_published and account = 'a' order by 1") == [
        (run_id(0),),
        (run_id(2),),
        (run_id(3),),
    ]
    assert files_of(data, 1) == {"images", "image_disks", "rejects", "observations", "raw"}
    assert check(data, deep=True).findings == []


def test_a_file_is_deleted_when_every_account_in_it_is_past_its_grace_period(data):
    withdraw(data, f"{run_id(1)}/a", at=NOW)
    withdraw(data, f"{run_id(1)}/b", at=NOW + dt.timedelta(days=2))
    prune(data, at=LATER)
    before = files_of(data, 1)
    done = prune(data, at=LATER + dt.timedelta(days=2))

    assert before == {"images", "image_disks", "rejects", "observations", "raw"}
    assert files_of(data, 1) == {"observations", "raw"}
    assert (len(done.deleted), done.byte_count > 0) == (6, True)  # those of the run, and those without one account
    assert check(data, deep=True).findings == []


def test_no_rebuild_brings_a_withdrawn_observation_back(data, tmp_path):
    withdraw(data, f"{run_id(3)}/a", grace="0s", at=NOW)
    withdraw(data, f"{run_id(1)}/a", grace="0s", at=NOW)
    seen = rows(data, "select * from images order by all")

    assert rebuild(data) == []
    assert rows(data, "select * from images order by all") == seen
    rebuild(data, into=tmp_path / "other")
    assert rows(tmp_path / "other", "select * from images order by all") == seen
    for asked in ("account, run_id, is_published, error from observations order by all", "* from accounts"):
        assert rows(tmp_path / "other", f"select {asked}") == rows(data, f"select {asked}")


def test_a_withdrawal_can_be_undone_within_its_grace_period(data):
    before = rows(data, "select * from images order by all")
    withdraw(data, run_id(3), at=NOW)
    told = restore(data, run_id(3), at=NOW + dt.timedelta(days=6))

    assert rows(data, "select * from images order by all") == before
    assert latest(data)["a"] == run_id(3)
    assert "restored" in str(told)
    assert rows(data, "select count(*) from observations where error is not null") == [(0,)]

    withdraw(data, run_id(3), at=NOW)
    prune(data, at=LATER)
    with pytest.raises(BadSetting, match=r"cannot be restored: .*2026-10-27"):
        restore(data, run_id(3), at=LATER)


@pytest.mark.parametrize("is_compacted", [False, True])
@pytest.mark.parametrize("name", [run_id(3), f"{run_id(2)}/a"])
def test_a_withdrawn_observation_of_which_a_file_is_lost_comes_back_whole(data, name, is_compacted):
    before = rows(data, "select * from image_disks order by all")
    if is_compacted:
        compact(data)
    withdraw(data, name)
    _lose(data, name)

    assert "image_disks" in str(check(data).findings[0])
    with pytest.raises(LakeDamaged, match=r"rebuild --data .* writes"):
        restore(data, name)
    rebuild(data)
    assert check(data).findings == []
    assert by_folder(data) == by_views(data)
    restore(data, name)
    assert rows(data, "select * from image_disks order by all") == before
    assert by_folder(data) == by_views(data)
    assert check(data).findings == []


@pytest.mark.parametrize("is_compacted", [False, True])
@pytest.mark.parametrize("name", [run_id(3), f"{run_id(2)}/a"])
def test_a_withdrawn_observation_of_which_every_file_is_lost_comes_back_whole(data, name, is_compacted):
    before = by_views(data)
    if is_compacted:
        compact(data)
    withdraw(data, name)
    shutil.rmtree(data / "lake" / ".withdrawn")

    with pytest.raises(LakeDamaged, match=r"rebuild --data .* writes"):
        restore(data, name)
    assert rebuild(data) == [name.partition("/")[0]]
    assert rebuild(data) == []
    assert by_folder(data) == by_views(data)
    restore(data, name)
    assert by_folder(data) == by_views(data) == before
    assert check(data).findings == []


def test_a_withdrawn_observation_of_which_a_file_is_lost_is_gone_after_its_grace_period(data):
    compact(data, at=NOW)
    withdraw(data, run_id(3), at=NOW)
    _lose(data, run_id(3))
    with pytest.raises(BadSetting, match="cannot be restored: its grace period ended at 2026-10-27"):
        restore(data, run_id(3), at=LATER)


def test_what_a_withdrawn_observation_has_lost_asks_for_no_other_one_where_its_pages_are_gone_too(data):
    withdraw(data, f"{run_id(2)}/a")
    _lose(data, run_id(2))
    (data / "raw" / "observed_on=2026-10-03" / f"{run_id(2)}.parquet").unlink()
    before = by_views(data)

    assert [one for one in check(data).findings if not one.location.startswith("raw/")] == []
    with pytest.raises(LakeDamaged, match="its raw pages are gone too"):
        restore(data, f"{run_id(2)}/a")
    assert by_views(data) == by_folder(data) == before


def _lose(data: Path, name: str) -> None:
    (path,) = data.glob(f"lake/.withdrawn/image_disks/*/{name.partition('/')[0]}.parquet")
    path.unlink()


def test_a_withdrawn_instant_can_be_observed_again_and_then_not_restored(data):
    withdraw(data, run_id(3), at=NOW)
    with Endpoint({"a": Key("secret", living_account(images=12, seed=1))}) as endpoint:
        accounts = [key_account("a", "a", "secret")]
        at = DAY + dt.timedelta(days=3)
        run(data, accounts=accounts, endpoint=endpoint.url, rate=None, accept_shrink=True, observed_at=at)

    assert latest(data)["a"] == f"{run_id(3)}-2"
    with pytest.raises(AlreadyObserved, match="observed again by run"):
        restore(data, run_id(3), at=NOW)
    assert check(data).findings == []


def test_an_unknown_observation_is_refused(data):
    for name in ("20991001T020000.000000Z", f"{run_id(0)}/c", "x/y/z", ""):
        with pytest.raises(UnknownName, match="is not a published observation"):
            withdraw(data, name, at=NOW)
    with pytest.raises(UnknownName, match="has 2 of them: name one"):
        withdraw(data, run_id(0), at=NOW)
    with pytest.raises(UnknownName, match="is not a withdrawn observation"):
        restore(data, f"{run_id(0)}/a", at=NOW)


def test_the_only_observation_of_an_account_can_be_withdrawn(tmp_path):
    name = write_run(tmp_path, Seen(images=[image("m-1")]))
    told = withdraw(tmp_path, name, at=NOW)

    assert "the latest of 'default' is none: nothing is left" in str(told)
    assert rows(tmp_path, "select count(*) from images_latest") == [(0,)]


# ── the folders ──────────────────────────────────────────────────────────────


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def parquet(data: Path, day: int) -> dict[str, list[str]]:
    """The files of images of a run, in the folder of the table and in that of withdrawn ones."""
    return {
        folder: sorted(path.name for path in (data / "lake" / folder / "images").rglob(f"{run_id(day)}*.parquet"))
        for folder in (".", ".withdrawn")
    }


@pytest.mark.parametrize("is_compacted", [False, True])
def test_folders_hold_what_the_views_give_after_withdrawals_and_restores(data, is_compacted):
    if is_compacted:
        compact(data, at=NOW)
    whole, expected = by_folder(data), by_views(data)
    assert whole == expected
    for change, day, account in (
        (withdraw, 1, "a"), (withdraw, 3, "a"), (withdraw, 1, "b"), (restore, 1, "a"), (restore, 3, "a"),
        (withdraw, 0, "b"), (restore, 1, "b"), (restore, 0, "b"),
    ):  # fmt: skip
        change(data, f"{run_id(day)}/{account}", at=NOW)
        assert by_folder(data) == by_views(data), (change, day, account)
        assert check(data).findings == []
    assert by_folder(data) == whole
    assert parquet(data, 1) == {".": [f"{run_id(1)}.parquet"], ".withdrawn": []}
    assert not list((data / "lake" / ".withdrawn").rglob("*.parquet"))


def test_a_file_without_the_withdrawn_rows_takes_the_place_of_the_whole_one(data):
    withdraw(data, f"{run_id(1)}/a", at=NOW)
    assert parquet(data, 1) == {".": [f"{run_id(1)}.1.parquet"], ".withdrawn": [f"{run_id(1)}.parquet"]}
    withdraw(data, f"{run_id(1)}/b", grace="30d", at=NOW)
    assert parquet(data, 1) == {".": [], ".withdrawn": [f"{run_id(1)}.1.parquet", f"{run_id(1)}.parquet"]}

    prune(data, at=LATER)  # of a for good; b can come back, without a
    assert parquet(data, 1)[".withdrawn"] == [f"{run_id(1)}.1.parquet", f"{run_id(1)}.parquet"]
    restore(data, f"{run_id(1)}/b", at=LATER)
    prune(data, at=LATER)
    assert parquet(data, 1) == {".": [f"{run_id(1)}.1.parquet"], ".withdrawn": []}
    assert by_folder(data) == by_views(data)
    with pytest.raises(BadSetting, match="cannot be restored"):
        restore(data, f"{run_id(1)}/a", at=LATER)
    withdraw(data, f"{run_id(1)}/b", at=LATER)
    restore(data, f"{run_id(1)}/b", at=LATER)
    assert by_folder(data) == by_views(data)
    assert check(data, deep=True).findings == []


def damage_replacement(data: Path, damage: Callable[[Path], object]) -> None:
    """Damage the file of images without account a, which waits in `.withdrawn` for a restore of b."""
    damage(data / "lake" / ".withdrawn" / "images" / "observed_on=2026-10-02" / f"{run_id(1)}.1.parquet")


def restored_after_rebuild(data: Path, name: str, expected: dict[str, list[tuple]]) -> None:
    """Restore what asks for a rebuild first, and look that every row is back."""
    with pytest.raises(LakeDamaged, match="rebuild"):
        restore(data, name)
    rebuild(data)
    assert check(data).findings == []
    restore(data, name)
    assert by_folder(data) == by_views(data) == expected
    assert check(data).findings == []


@pytest.mark.parametrize("damage", [Path.unlink, flip_a_bit])
@pytest.mark.parametrize("table", ["images", "rejects"])
def test_a_restore_brings_no_damaged_file_back(data, table, damage):
    withdraw(data, f"{run_id(1)}/a", grace="365d")
    expected = by_folder(data)
    withdraw(data, f"{run_id(1)}/b", grace="365d")
    damage(data / "lake" / ".withdrawn" / table / "observed_on=2026-10-02" / f"{run_id(1)}.1.parquet")

    restore(data, f"{run_id(1)}/b")
    assert by_folder(data) == by_views(data) == expected
    assert check(data).findings == []


@pytest.mark.parametrize("is_compacted", [False, True])
@pytest.mark.parametrize("damage", [Path.unlink, flip_a_bit])
def test_the_only_file_of_a_withdrawn_observation_is_written_again_before_it_comes_back(data, damage, is_compacted):
    if is_compacted:
        compact(data, at=NOW)
    withdraw(data, f"{run_id(1)}/a", at=NOW)
    prune(data, at=LATER)  # of a for good: the file with all rows is deleted
    expected = by_folder(data)
    withdraw(data, f"{run_id(1)}/b", grace="365d")
    damage_replacement(data, damage)

    assert [finding.problem for finding in check(data).findings if "rebuild" in finding.problem]
    restored_after_rebuild(data, f"{run_id(1)}/b", expected)


@pytest.mark.parametrize("damage", [Path.unlink, flip_a_bit])
def test_a_restore_whose_rows_are_lost_says_so_and_asks_for_no_withdrawal(data, damage):
    withdraw(data, f"{run_id(1)}/a", at=NOW)
    prune(data, at=LATER)
    withdraw(data, f"{run_id(1)}/b", grace="365d")
    shutil.rmtree(data / "raw")
    damage_replacement(data, damage)
    with pytest.raises(LakeDamaged, match="its raw pages are gone too") as told:
        restore(data, f"{run_id(1)}/b")
    assert "ens-images withdraw" not in str(told.value)


@pytest.mark.parametrize("day", [1, 3])  # of two accounts, and of one
@pytest.mark.parametrize("damage", [Path.unlink, flip_a_bit])
def test_what_the_versions_hold_of_a_withdrawn_observation_is_written_again_without_pages(data, damage, day):
    compact(data, at=NOW)
    before = by_views(data)
    withdraw(data, f"{run_id(day)}/a", grace="365d")
    next(path for path in raw_paths(data) if path.stem == run_id(day)).unlink()
    damage(data / "lake" / ".withdrawn" / "images" / f"observed_on=2026-10-0{day + 1}" / f"{run_id(day)}.parquet")

    (finding,) = check(data).findings
    assert finding.problem.endswith("writes it again from the compacted versions")
    restored_after_rebuild(data, f"{run_id(day)}/a", before)


@pytest.mark.parametrize("has_pages", [False, True])
def test_no_rebuild_takes_rows_out_of_the_versions_because_their_withdrawn_file_is_lost(data, has_pages):
    compact(data, at=NOW)
    before = by_views(data)
    withdraw(data, f"{run_id(1)}/a", grace="365d")
    prune(data, daily_older_than="17d", grace="365d", at=NOW)
    if not has_pages:
        shutil.rmtree(data / "raw" / "observed_on=2026-10-02")
    (data / "lake" / ".withdrawn" / "images" / "observed_on=2026-10-02" / f"{run_id(1)}.parquet").unlink()

    rebuild(data)
    restore(data, f"{run_id(1)}/a")
    assert by_views(data) == before


def test_a_prune_keeps_what_a_damaged_file_can_be_derived_from(data):
    withdraw(data, f"{run_id(1)}/a", at=NOW)
    expected = by_views(data)
    shutil.rmtree(data / "raw" / "observed_on=2026-10-02")
    flip_a_bit(data / "lake" / "images" / "observed_on=2026-10-02" / f"{run_id(1)}.1.parquet")

    prune(data, at=LATER)
    assert [finding.problem for finding in check(data).findings if "rebuild" in finding.problem]
    rebuild(data)
    assert check(data).findings == []
    assert by_folder(data) == by_views(data) == expected
    prune(data, at=LATER)
    assert parquet(data, 1)[".withdrawn"] == []


def test_a_part_of_a_run_is_withdrawn_only_where_its_files_are_intact(data):
    before = by_views(data)
    flip_a_bit(data / "lake" / "image_disks" / "observed_on=2026-10-02" / f"{run_id(1)}.parquet")
    with pytest.raises(LakeDamaged, match=r"cannot be withdrawn in part.*rebuild"):
        withdraw(data, f"{run_id(1)}/a")
    withdraw(data, f"{run_id(3)}/a")
    rebuild(data)
    withdraw(data, f"{run_id(1)}/a")
    assert by_folder(data) == by_views(data) != before


@pytest.mark.parametrize("is_compacted", [False, True])
def test_withdrawn_rows_that_are_lost_cost_no_other_account(data, is_compacted):
    withdraw(data, f"{run_id(1)}/a", grace="365d")
    if is_compacted:  # b alone
        compact(data, at=NOW)
    expected = by_views(data)
    shutil.rmtree(data / "raw" / "observed_on=2026-10-02")
    flip_a_bit(data / "lake" / ".withdrawn" / "images" / "observed_on=2026-10-02" / f"{run_id(1)}.parquet")

    assert check(data).findings == []
    rebuild(data)
    withdraw(data, f"{run_id(1)}/b", grace="365d")
    assert check(data).findings == []
    rebuild(data)
    restore(data, f"{run_id(1)}/b")
    assert by_folder(data) == by_views(data) == expected
    with pytest.raises((LakeDamaged, BadSetting), match="cannot be restored"):
        restore(data, f"{run_id(1)}/a")
    assert check(data).findings == []


def test_an_accepted_loss_of_a_partly_withdrawn_run_leaves_no_finding(data, typed):
    withdraw(data, f"{run_id(1)}/a", grace="365d")
    shutil.rmtree(data / "raw" / "observed_on=2026-10-02")
    flip_a_bit(data / "lake" / "observations" / "observed_on=2026-10-02" / f"{run_id(1)}.parquet")
    for _ in range(3):
        told = "\n".join(finding.problem for finding in check(data).findings)
        for command in re.findall(r"`(ens-images [^`]*)`", told):
            typed(*shlex.split(command)[1:])
    assert check(data).findings == []
    assert {(day, account) for day, account, *_ in by_views(data)["images"]}


def test_a_run_is_intact_of_which_one_account_is_withdrawn_for_good_and_another_waits(tmp_path):
    name = write_run(tmp_path, *(Seen(account, images=[image(f"m-{account}", 5)]) for account in "abc"))
    shutil.rmtree(tmp_path / "raw")
    (tmp_path / "lake" / "format").write_text("5\n")
    withdraw(tmp_path, f"{name}/a", grace="0s")
    withdraw(tmp_path, f"{name}/b")

    found = check(tmp_path)
    assert (found.findings, found.row_count) == ([], 7)  # b and c with an image and a disk each, three observations
    restore(tmp_path, f"{name}/b")
    assert check(tmp_path).findings == []


def test_a_connection_of_before_a_withdrawal_ends_with_an_error_and_reads_no_smaller_number(data):
    with connect(data) as con:
        withdraw(data, f"{run_id(1)}/a", at=NOW)
        with pytest.raises(LakeDamaged, match="connect again"):
            list(query(con, "select count(*) from images").rows)
        assert list(query(con, "select count(*) from observations").rows) == [(7,)]


def test_a_name_is_never_given_to_other_rows(data):
    withdraw(data, f"{run_id(1)}/a", at=NOW)
    script = views_sql(data)
    with connect(data) as con:
        restore(data, f"{run_id(1)}/a", at=NOW)
        withdraw(data, f"{run_id(1)}/b", at=NOW)
        assert parquet(data, 1)["."] == [f"{run_id(1)}.2.parquet"]
        with pytest.raises(LakeDamaged, match="connect again"):
            list(query(con, "select account, count(*) from images group by account").rows)
    with pytest.raises(duckdb.Error, match="the lake has changed"):
        duckdb.connect().execute(script)
    assert by_folder(data) == by_views(data)


# ── by age ───────────────────────────────────────────────────────────────────


def test_old_raw_pages_expire_but_never_those_of_a_latest_observation(data):
    done = prune(data, raw_older_than="1d", at=NOW)

    assert [path.stem for path in done.expired_raw] == [run_id(0), run_id(1)]  # 2 is the latest of b, 3 of a
    assert rows(data, "select distinct observed_on from raw_pages order by all") == [
        (dt.date(2026, 10, 3),),
        (dt.date(2026, 10, 4),),
    ]
    assert len(raw_paths(data)) == 4
    prune(data, at=LATER)
    assert [path.stem for path in raw_paths(data)] == [run_id(2), run_id(3)]
    assert rows(data, "select count(distinct run_id) from observations where is_published") == [(4,)]
    assert (check(data, deep=True).findings, check(data).without_pages_count) == ([], 4)


def test_pages_of_an_observation_that_a_withdrawal_makes_the_latest_stay(data):
    prune(data, raw_older_than="1d", at=NOW)
    withdraw(data, f"{run_id(2)}/b", at=NOW)
    prune(data, at=LATER)

    assert latest(data)["b"] == run_id(1)
    assert run_id(1) in {path.stem for path in raw_paths(data)}


def test_pages_of_an_observation_that_can_be_restored_as_the_latest_stay(data):
    withdraw(data, f"{run_id(2)}/b", at=NOW)
    prune(data, raw_older_than="1d", grace="0s", at=NOW)

    assert {run_id(1), run_id(2), run_id(3)} <= {path.stem for path in raw_paths(data)}


def test_pages_of_a_run_that_the_lake_lacks_never_expire(data):
    for path in (data / "lake").rglob(f"{run_id(0)}.parquet"):
        path.unlink()
    done = prune(data, raw_older_than="1d", at=NOW)

    assert [path.stem for path in done.expired_raw] == [run_id(1)]
    assert rebuild(data) == [run_id(0)]


def test_an_open_connection_answers_within_the_grace_period(data):
    with connect(data) as con:
        before = con.execute("select count(*) from raw_pages").fetchall()
        withdraw(data, run_id(3), at=NOW)
        prune(data, raw_older_than="1d", at=NOW)
        assert con.execute("select count(*) from raw_pages").fetchall() == before


def test_a_run_does_not_reuse_the_id_of_one_whose_pages_are_deleted(data):
    prune(data, raw_older_than="1d", grace="0s", at=NOW)
    prune(data, at=LATER)
    before = rows(data, "select * from images order by all")
    with Endpoint({"c": Key("secret", living_account(images=3))}) as endpoint:
        done = run(data, accounts=[key_account("c", "c", "secret")], endpoint=endpoint.url, rate=None, observed_at=DAY)

    assert done.run_id == f"{run_id(0)}-2"
    assert rows(data, "select * from images where account <> 'c' order by all") == before


# ── daily files by age ───────────────────────────────────────────────────────


def days_of(data: Path, table: str = "images") -> list[int]:
    """The days of October in the folder of a table."""
    return sorted({int(path.parent.name[-2:]) for path in (data / "lake" / table).rglob("*.parquet")})


TABLES = ("images", "image_disks", "rejects", "observations")


def test_old_days_leave_the_folders_and_the_views_go_on_to_show_them(data, tmp_path):
    before = {view: rows(data, f"from {view} order by all") for view in (*TABLES, "image_versions", "accounts")}
    compact(data, at=NOW)
    done = prune(data, daily_older_than="17d", grace="1d", at=NOW)
    assert "2 days expired in the folders, 2026-10-01 to 2026-10-02" in str(done)
    assert days_of(data) == [1, 2, 3, 4]  # for their grace period
    (note,) = folder_notes(data)
    assert note.startswith("the Parquet folders hold every day from 2026-10-03 on: retention deleted the earlier ones")
    assert rows(
        data, "select complete_from_utc, missing_because, file_count from partitions where table_name = 'images'"
    ) == [(dt.date(2026, 10, 3), "retention", 2)]
    with connect(data) as con:
        prune(data, at=NOW + dt.timedelta(days=1))
        assert con.execute("from images order by all").fetchall() == before["images"]
    assert {table: days_of(data, table) for table in TABLES} == {table: [3, 4] for table in TABLES}
    assert {view: rows(data, f"from {view} order by all") for view in before} == before
    assert check(data, deep=True).findings == []
    assert rebuild(data) == []
    assert days_of(data) == [3, 4]
    assert by_folder(data) == {name: [row for row in found if row[0].day > 2] for name, found in by_views(data).items()}
    sizes = {table: sum(path.stat().st_size for path in (data / "lake" / table).rglob("*.parquet")) for table in TABLES}
    partitions = dict(rows(data, "select table_name, size_bytes from partitions"))
    assert {table: partitions[table] for table in TABLES[:-1]} == {table: sizes[table] for table in TABLES[:-1]}
    rebuild(data, into=tmp_path / "other")
    assert rows(tmp_path / "other", "from images order by all") == before["images"]


def test_a_day_that_is_not_compacted_stays_and_every_later_one(data):
    done = prune(data, daily_older_than="1d", grace="0s", at=NOW)
    assert "the days from 2026-10-01 on stay in the folders" in str(done)
    assert days_of(data) == [1, 2, 3, 4]

    withdraw(data, f"{run_id(1)}/a", at=NOW)  # can be restored: its run is not compacted as a whole
    compact(data, at=NOW)
    prune(data, daily_older_than="1d", grace="0s", at=NOW)
    assert days_of(data) == [2, 3, 4]
    restore(data, f"{run_id(1)}/a", at=NOW)
    assert by_folder(data) == {name: [row for row in found if row[0].day > 1] for name, found in by_views(data).items()}


def test_an_expired_day_is_withdrawn_and_restored_in_the_views_alone(data):
    compact(data, at=NOW)
    prune(data, daily_older_than="1d", grace="0s", at=NOW)
    before = rows(data, "from images order by all")
    withdraw(data, f"{run_id(1)}/a", at=NOW)
    assert len(rows(data, "from images")) < len(before)
    restore(data, f"{run_id(1)}/a", at=NOW)

    assert rows(data, "from images order by all") == before
    assert [path for table in TABLES for path in (data / "lake" / table).rglob("*.parquet")] == []
    assert check(data).findings == []


def test_an_expired_day_holds_what_the_views_give_until_its_files_are_deleted(data):
    compact(data, at=NOW)
    whole = by_views(data)
    withdraw(data, f"{run_id(0)}/a", at=NOW)
    prune(data, daily_older_than="17d", at=NOW)
    restore(data, f"{run_id(0)}/a", at=NOW)
    withdraw(data, f"{run_id(1)}/b", grace="30d", at=NOW)
    assert by_folder(data) == by_views(data) != whole
    assert (days_of(data), check(data).orphan_count) == ([1, 2, 3, 4], 0)

    prune(data, at=LATER)
    assert days_of(data) == [3, 4]
    restore(data, f"{run_id(1)}/b", at=LATER)  # from the versions
    assert by_views(data) == whole
    assert not list((data / "lake" / ".withdrawn").rglob("*.parquet"))
    assert check(data, deep=True).findings == []


@pytest.mark.parametrize("is_withdrawn_before", [True, False])
def test_a_partly_withdrawn_run_leaves_the_folders_with_its_day_and_nothing_is_missing(data, is_withdrawn_before):
    compact(data, at=NOW)
    if is_withdrawn_before:
        withdraw(data, f"{run_id(1)}/a", grace="0s", at=NOW)
    prune(data, daily_older_than="17d", at=NOW)
    if not is_withdrawn_before:
        withdraw(data, f"{run_id(1)}/a", grace="0s", at=NOW)
    assert (days_of(data), check(data, deep=True).findings) == ([1, 2, 3, 4], [])
    prune(data, at=LATER)
    before = by_views(data)

    assert (days_of(data), check(data, deep=True).findings) == ([3, 4], [])
    assert rebuild(data) == []
    assert (days_of(data), check(data).findings, by_views(data)) == ([3, 4], [], before)


def test_versions_that_give_other_rows_than_the_daily_files_expire_none(data):
    compact(data, at=NOW)
    path = data / "lake" / "images" / "observed_on=2026-10-02" / f"{run_id(1)}.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)

    with pytest.raises(LakeDamaged, match=f"other images of run {run_id(1)}"):
        prune(data, daily_older_than="1d", at=NOW)


def test_a_compaction_that_is_lost_is_made_again_from_raw_pages_and_the_days_leave_again(data):
    compact(data, at=NOW)
    prune(data, daily_older_than="17d", grace="0s", at=NOW)
    before = rows(data, "from images order by all")
    for path in (data / "lake" / "image_versions_open").iterdir():
        path.unlink()
    rebuild(data)

    assert rows(data, "from images order by all") == before
    prune(data, at=NOW)
    assert days_of(data) == [3, 4]
    assert check(data).findings == []


# ── the rest ─────────────────────────────────────────────────────────────────


def test_a_dry_run_reports_and_changes_nothing(data):
    (data / "raw" / ".staging").mkdir(exist_ok=True)
    (data / "raw" / ".staging" / "half.parquet").write_bytes(b"PAR1")
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    pruned = prune(data, raw_older_than="1d", grace="0s", dry_run=True, at=NOW)
    withdrawn = withdraw(data, run_id(3), grace="0s", dry_run=True, at=NOW)

    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before
    assert (len(pruned.expired_raw), len(pruned.orphans)) == (2, 1)
    assert {path.stem for path in withdrawn.deleted} == {run_id(3)}
    assert "would be deleted" in str(pruned)
    assert "would be deleted" in str(withdrawn)


def test_the_catalog_shows_what_connect_shows_after_a_prune(data):
    withdraw(data, run_id(3), at=NOW)
    prune(data, raw_older_than="1d", at=NOW)
    for view in ("images", "raw_pages", "accounts", "images_latest"):
        with duckdb.connect(str(data / "lake.duckdb"), read_only=True) as con:
            shown = con.execute(f"from {view} order by all").fetchall()
        assert shown == rows(data, f"from {view} order by all")


@pytest.mark.parametrize("span", ["", "7", "d", "-1d", "1.5d", "7 weeks", "99999999d"])
def test_a_wrong_time_span_is_refused(data, span):
    with pytest.raises(BadSetting, match="is not a time span"):
        prune(data, raw_older_than=span)


def test_nothing_is_older_than_a_span_longer_than_the_calendar(data):
    done = prune(data, raw_older_than="999999d", daily_older_than="999999d", at=NOW, dry_run=True)
    assert str(done) == "nothing to do"


def test_the_command_withdraws_and_restores(data):
    done = [
        subprocess.run(
            [sys.executable, "-m", "pipeline", *command, "--data", str(data)],
            capture_output=True,
            text=True,
            check=True,
        )
        for command in (["withdraw", run_id(3), "--dry-run"], ["withdraw", run_id(3)], ["restore", run_id(3)])
    ]

    assert [command.stdout for command in done] == [""] * 3
    assert [command.stderr.split(",")[0] for command in done] == [
        f"{run_id(3)}/a: {what}" for what in ("would be withdrawn", "withdrawn", "restored")
    ]
    assert latest(data)["a"] == run_id(3)


def test_a_missing_lake_cannot_be_pruned(tmp_path):
    with pytest.raises(LakeMissing):
        prune(tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "damage", [Path.unlink, flip_a_bit, lambda path: path.write_text("{"), lambda path: path.write_text("")]
)
@pytest.mark.parametrize("name", ["raw/_tombstones.json", "lake/tombstones.json"])
def test_damaged_tombstones_are_read_from_their_copy_and_mended(data, name, damage):
    withdraw(data, run_id(3), at=NOW)
    content, before = (data / name).read_bytes(), latest(data)
    damage(data / name)

    assert latest(data) == before
    is_missing_copy = damage is Path.unlink and name.startswith("lake")
    assert [finding.location for finding in check(data).findings] == ([] if is_missing_copy else [name])
    rebuild(data)
    assert check(data).findings == []
    assert (data / name).read_bytes() == content


def test_tombstones_of_which_neither_copy_is_intact_end_every_query(data):
    withdraw(data, run_id(3), at=NOW)
    for path in (tombstones_path(data), tombstones_copy(data)):
        flip_a_bit(path)

    with pytest.raises(LakeDamaged, match=r"_tombstones\.json"):
        connect(data)
    found = [finding.location for finding in check(data).findings]
    assert {"raw/_tombstones.json", "lake/tombstones.json"} <= set(found)


def test_the_copy_of_the_tombstones_outlives_either_folder(data):
    withdraw(data, run_id(3), at=NOW)
    before = latest(data)
    shutil.rmtree(data / "lake")
    rebuild(data)
    assert latest(data) == before
    shutil.rmtree(data / "raw")
    assert latest(data) == before


def test_an_observation_comes_back_whole_beside_a_failed_try_that_stays_withdrawn(tmp_path):
    run_id = write_run(
        tmp_path, Seen("a", images=[image("m-1")]), Seen("b", error="Refused: no"), began="2026-10-30 02:00"
    )
    for account in "ab":
        withdraw(tmp_path, f"{run_id}/{account}", at=NOW)
    restore(tmp_path, f"{run_id}/a", at=NOW)

    assert rows(tmp_path, "select account, image_id from images") == [("a", "m-1")]
    prune(tmp_path, at=LATER)
    assert rows(tmp_path, "select account, image_id from images") == [("a", "m-1")]


@pytest.mark.parametrize("is_compacted", [False, True])
def test_a_loss_beside_a_withdrawn_observation_is_mended_or_accepted_as_advised(data, typed, is_compacted):
    withdraw(data, f"{run_id(1)}/a", grace="0s", at=NOW)
    if is_compacted:
        compact(data, at=NOW)
    before = rows(data, "select account, image_id from images order by all")
    (data / "raw" / "observed_on=2026-10-02" / f"{run_id(1)}.parquet").unlink()
    flip_a_bit(data / "lake" / "images" / "observed_on=2026-10-02" / f"{run_id(1)}.1.parquet")
    for command in re.findall("`(ens-images [^`]*)`", "\n".join(map(str, check(data).findings))):
        assert typed(*shlex.split(command)[1:])[0] == 0

    assert check(data).findings == []
    assert (rows(data, "select account, image_id from images order by all") == before) == is_compacted
