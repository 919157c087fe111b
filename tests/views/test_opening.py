"""Opening reads what is new; what is compacted is neither listed nor read row by row, and nothing of it is lost."""

import datetime as dt
import shutil

import duckdb
import pytest
from lake_builder import Seen, image, utc, write_run

from pipeline import connect
from pipeline.errors import LakeDamaged
from pipeline.jobs.withdrawal import withdraw
from pipeline.lake.compaction.compact import compact
from pipeline.lake.file_set import FileSet
from pipeline.lake.layout import table_path
from pipeline.resources.control import OBSERVATIONS
from pipeline.views.database import write_catalog

SEPTEMBER, OCTOBER = "2026-09-30 02:00", "2026-10-30 02:00"


def rows(con, sql):
    return con.execute(sql).fetchall()


def answers(con):
    """What a connection answers about every observation, as text."""
    return {
        name: sorted(map(repr, rows(con, f"from {name}")))
        for name in ("observations", "images", "images_latest", "image_versions", "raw_pages", "accounts")
    }


@pytest.fixture
def lake(tmp_path):
    """Two accounts over two months, compacted; one of them was last seen in the first month."""
    write_run(tmp_path, Seen("a", SEPTEMBER, [image("m-1", 40)]), Seen("b", SEPTEMBER, [image("m-2", 10)]))
    write_run(tmp_path, Seen("a", OCTOBER, [image("m-1", 40), image("m-3", 20)]))
    compact(tmp_path)
    return tmp_path


def test_the_views_are_kept_for_the_next_connection_and_made_anew_where_they_are_damaged(lake, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with connect(lake) as con:
        before = answers(con)
        views = rows(con, "select view_name, sql from duckdb_views() order by all")
    (kept,) = (tmp_path / "cache" / "ens-images").glob("views-*.duckdb")

    for content in (None, b"", kept.read_bytes().replace(b"image_id", b"image_ix")):
        if content is not None:
            kept.write_bytes(content)
        with connect(lake) as con:
            assert answers(con) == before
            assert rows(con, "select view_name, sql from duckdb_views() order by all") == views
            assert rows(con, "select count(*) from stale_images(older_than_days := 1)") is not None


def test_no_file_of_a_compacted_run_is_listed(lake):
    files = FileSet.read(lake, only_new=True)

    assert set(files.daily.values()) == {()}
    assert files.settled_months == ("observed_on=2026-09", "observed_on=2026-10")
    with connect(lake) as con:
        assert rows(con, "select account, observed_at_utc from accounts order by 1") == [
            ("a", utc(OCTOBER)),
            ("b", utc(SEPTEMBER)),
        ]
        assert rows(con, "select count(distinct observed_on) from raw_pages") == [(2,)]


def test_a_catalog_and_a_connection_without_one_answer_alike(lake):
    with connect(lake) as con:
        without = answers(con)
    write_catalog(lake)
    with connect(lake) as con:
        assert answers(con) == without


def test_a_run_that_comes_late_into_a_settled_month_is_read_and_its_lost_record_is_found(lake):
    with connect(lake) as con:
        assert rows(con, "select count(*) from observations") == [(3,)]
    run_id = write_run(lake, Seen("b", "2026-09-29 02:00", [image("m-2", 10), image("m-4", 30)]))

    with connect(lake) as con:
        assert rows(con, "select count(*) from observations") == [(4,)]
        assert rows(con, "select count(*) from images where observed_on = '2026-09-29'") == [(2,)]
        assert rows(con, "select image_id from images_latest where account = 'b'") == [("m-2",)]

    table_path(lake, OBSERVATIONS, run_id, dt.date(2026, 9, 29)).unlink()
    with pytest.raises(LakeDamaged, match=f"the commit record of run {run_id}"):
        connect(lake)


@pytest.mark.parametrize("where", ["a page", "the metadata"])
def test_damaged_pages_of_a_settled_month_end_a_query_of_them_and_no_other(lake, where):
    raw = next((lake / "raw").glob("observed_on=2026-09-30/*"))
    content = bytearray(raw.read_bytes())
    content[40 if where == "a page" else -12] ^= 1  # DuckDB by itself: "ZSTD Decompression failure", "Invalid data"
    raw.write_bytes(content)

    for _ in range(2):  # without a catalog, and with one
        with connect(lake) as con:
            assert rows(con, "select count(*) from images_latest") == [(3,)]
            with pytest.raises(duckdb.Error, match=r"LakeDamaged: .* is damaged"):
                con.execute("select count(*) from raw_pages")
            with pytest.raises(duckdb.Error, match=r"LakeDamaged: .* is damaged"):
                con.cursor().execute("select body from raw_pages limit 1")
        write_catalog(lake)


def test_a_month_whose_pages_were_deleted_by_hand_is_empty_in_the_catalog_too(lake):
    for raw in (lake / "raw").glob("observed_on=2026-09-30/*"):
        raw.unlink()

    write_catalog(lake)

    with connect(lake) as con, duckdb.connect(str(lake / "lake.duckdb"), read_only=True) as catalog:
        for each in (con, catalog):
            assert rows(each, "select distinct observed_on from raw_pages") == [(dt.date(2026, 10, 30),)]


def test_pages_beside_those_of_compacted_runs_are_not_read(lake):
    raw = next((lake / "raw").glob("observed_on=2026-09-30/*"))
    with connect(lake) as con:
        before = rows(con, "select count(*) from raw_pages")
        raw.with_name("20260930T030000Z.parquet").write_bytes(raw.read_bytes())  # landed, not committed
        raw.with_name(f"{raw.stem} (1).parquet").write_bytes(raw.read_bytes())
        shutil.copytree(raw.parent, raw.parent.with_name(f"{raw.parent.name} (1)"))
        assert rows(con, "select count(*) from raw_pages") == before
    with connect(lake, only_lake=True) as con:
        assert rows(con, "select count(*) from raw_pages") == before


def test_as_of_an_instant_each_account_has_its_last_observation_however_old(lake):
    with connect(lake, as_of="2026-10-29") as con:
        assert rows(con, "select account, observed_at_utc from accounts order by 1") == [
            ("a", utc(SEPTEMBER)),
            ("b", utc(SEPTEMBER)),
        ]
    with connect(lake, as_of="20261030T020000Z/a") as con:
        assert rows(con, "select max(observed_at_utc) from accounts") == [(utc(OCTOBER),)]


def test_of_a_withdrawn_compacted_observation_the_one_before_is_the_latest(lake):
    withdraw(lake, "20261030T020000Z/a")

    with connect(lake) as con:
        assert rows(con, "select observed_at_utc from accounts where account = 'a'") == [(utc(SEPTEMBER),)]
        assert rows(con, "select image_id from images_latest where account = 'a'") == [("m-1",)]


def test_a_lake_of_which_no_run_is_compacted_as_a_whole_is_opened(tmp_path):
    run_id = write_run(tmp_path, Seen("a", OCTOBER, [image("m-1", 40)]), Seen("b", OCTOBER, [image("m-2", 10)]))
    withdraw(tmp_path, f"{run_id}/b")  # it can be restored
    compact(tmp_path)

    with connect(tmp_path) as con:
        assert rows(con, "select image_id from images_latest") == [("m-1",)]
    write_run(tmp_path, Seen("b", "2026-10-31 02:00", [image("m-3", 10)]))
    with connect(tmp_path) as con:
        assert rows(con, "select image_id from images_latest order by 1") == [("m-1",), ("m-3",)]
    with connect(tmp_path, as_of="2026-10-30") as con:
        assert rows(con, "select image_id from images_latest") == [("m-1",)]


def test_a_new_run_that_claims_a_compacted_observation_is_refused(lake):
    write_run(lake, Seen("a", OCTOBER, [image("m-1", 40)]), began="2026-10-30 01:59")

    with pytest.raises(LakeDamaged, match="runs 20261030T015900Z and 20261030T020000Z both publish account 'a'"):
        connect(lake)


def test_two_compacted_runs_that_claim_one_observation_are_refused(tmp_path):
    write_run(tmp_path, Seen("c", OCTOBER, []), Seen("d", OCTOBER, []))
    write_run(tmp_path, Seen("c", OCTOBER, []), began="2026-10-30 01:00")
    compact(tmp_path)

    with pytest.raises(LakeDamaged, match="runs 20261030T010000Z and 20261030T020000Z both publish account 'c'"):
        connect(tmp_path)
    withdraw(tmp_path, "20261030T020000Z/c")
    with connect(tmp_path) as con:
        assert rows(con, "select account, count(*) from accounts group by 1 order by 1") == [("c", 1), ("d", 1)]


def test_of_very_many_accounts_each_has_its_last_observation(tmp_path):
    names = [f"it's {number}" for number in range(60)]
    write_run(tmp_path, *(Seen(name, SEPTEMBER, [image("m-1", 40)]) for name in names))
    write_run(tmp_path, *(Seen(name, OCTOBER, [image("m-2", 40)]) for name in names[:55]))
    compact(tmp_path)
    with connect(tmp_path) as con:
        assert rows(con, "select image_id, count(*) from images_latest group by 1 order by 1") == [
            ("m-1", 5),
            ("m-2", 55),
        ]
        assert rows(con, "select count(*) from image_versions where is_current") == [(60,)]
    with connect(tmp_path, as_of="2026-10-01") as con:
        assert rows(con, "select image_id, count(*) from images_latest group by 1") == [("m-1", 60)]
