"""The steps in order: run, rebuild, export. Real signatures, a real socket, real Parquet, real DuckDB."""

import datetime as dt
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import EXAMPLE
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import connect, rebuild, run
from pipeline.credentials import Account, key_account
from pipeline.emulator import Endpoint, Key, living_account, read_account
from pipeline.errors import (
    AccountShrank,
    AlreadyObserved,
    BadSetting,
    IncompleteListing,
    LakeDamaged,
    LakeMissing,
    Refused,
)
from pipeline.jobs.compaction import compact
from pipeline.jobs.withdrawal import withdraw
from pipeline.lake.check import check

ON = dt.datetime(2026, 10, 1, 2)  # noqa: DTZ001  (UTC without a zone, as everywhere)


class Shelf:
    """An account of the endpoint whose images a test sets."""

    def __init__(self, *images: dict[str, Any]) -> None:
        self.by_day = [list(images)]

    def images_on(self, day: int) -> list[dict[str, Any]]:
        return self.by_day[min(day, len(self.by_day) - 1)]

    def new_image(self, serial: int, day: int) -> dict[str, Any]:
        return {"ImageId": f"new-{day}-{serial}"}


def numbered(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [{"ImageId": f"m-{number}", "ImageSize": "1"} for number in range(first, first + count)]


def run_once(data: Path, endpoint: Endpoint, account: Account, **options: Any):
    return run(data, accounts=[account], endpoint=endpoint.url, rate=None, **options)


def rows(data: Path, sql: str) -> list[Any]:
    with connect(data) as con:
        return con.execute(sql).fetchall()


def lake_files(data: Path, *tables: str) -> dict[str, bytes]:
    return {
        str(path.relative_to(data)): path.read_bytes()
        for table in tables
        for path in sorted((data / "lake" / table).rglob("*.parquet"))
    }


def test_the_published_example_arrives_in_the_parquet_value_for_value(serve, account, tmp_path):
    result = run_once(tmp_path, serve(read_account(EXAMPLE)), account, observed_at=ON)

    assert str(result) == "default: verified, 1 image, 1 disk, 0 rejects, as of 2026-10-01 02:00:00 UTC (1 call)"
    image = pq.read_table(tmp_path / "lake" / "images").to_pylist()[0]
    disk = pq.read_table(tmp_path / "lake" / "image_disks").to_pylist()[0]
    assert (image["image_id"], image["image_size_gib"], image["image_storage_size"]) == (
        "centos_6_08_64_20G_a****",
        20,
        400,
    )
    assert image["created_at_utc"] == dt.datetime(2017, 12, 8, 12, 10, 3)  # noqa: DTZ001
    assert (disk["disk_number"], disk["disk_type"], disk["disk_size_gib"]) == (1, "Data", 100)


def test_a_thousand_images_arrive_with_every_disk_and_every_gib(serve, account, tmp_path):
    emulated = living_account(images=1037, seed=11)
    run_once(tmp_path, serve(emulated), account)

    check_against(tmp_path, emulated.images_on(0))


def check_against(data: Path, images: list[dict[str, Any]]) -> None:
    """The lake's tables hold what the endpoint was made from, and nothing else."""
    stored = {row["image_id"]: row for row in pq.read_table(data / "lake" / "images").to_pylist()}
    assert sorted(stored) == sorted(image["ImageId"] for image in images)
    for image in images:
        size = image.get("ImageSize")
        assert stored[image["ImageId"]]["image_size_gib"] == (int(size) if size else None)
        assert stored[image["ImageId"]]["image_name"] == image.get("ImageName")
    disks = [
        (image["ImageId"], number, int(disk["Size"]) if disk.get("Size") else None)
        for image in images
        for number, disk in enumerate((image.get("DiskDeviceMappings") or {}).get("DiskDeviceMapping") or [], 1)
    ]
    table = pq.read_table(data / "lake" / "image_disks").to_pylist()
    found = [(row["image_id"], row["disk_number"], row["disk_size_gib"]) for row in table]
    assert sorted(found, key=str) == sorted(disks, key=str)


SIZES = st.none() | st.just("") | st.integers(0, 10**6).map(str)
DISKS = st.lists(st.fixed_dictionaries({"Type": st.sampled_from(["system", "Data"]), "Size": SIZES}), max_size=17)
IMAGES = st.lists(
    st.fixed_dictionaries(
        {"ImageName": st.text(st.characters(codec="utf-8"), max_size=9), "ImageSize": SIZES},
        optional={"DiskDeviceMappings": st.none() | DISKS.map(lambda disks: {"DiskDeviceMapping": disks})},
    ),
    max_size=120,
)


@given(IMAGES)
@settings(max_examples=settings.default.max_examples // 5)
def test_every_image_and_every_gib_reaches_the_lake(tmp_path_factory, images):
    data = tmp_path_factory.mktemp("data")
    emulated = Shelf(*({"ImageId": f"m-{number}", **image} for number, image in enumerate(images)))
    with Endpoint({"emulator": Key("emulator", emulated)}) as endpoint:
        run_once(data, endpoint, key_account("default", "emulator", "emulator"))

    check_against(data, emulated.images_on(0))


def test_pandas_reads_the_folder_of_a_table(serve, account, tmp_path):
    endpoint = serve(images=60)
    for day in range(3):
        endpoint.day = day
        run_once(tmp_path, endpoint, account, observed_at=ON + dt.timedelta(days=day))
    frame = pd.read_parquet(tmp_path / "lake" / "images")

    assert frame.groupby("observed_on", observed=True).size().index.astype(str).tolist() == [
        "2026-10-01",
        "2026-10-02",
        "2026-10-03",
    ]
    assert str(frame["image_size_gib"].dtype) in {"int64", "float64"}
    assert str(frame["created_at_utc"].dtype) == "datetime64[us]"


def test_duckdb_reads_the_catalog_from_another_folder(serve, account, tmp_path):
    run_once(tmp_path / "data", serve(images=7), account)
    code = "import duckdb, sys; print(len(duckdb.connect(sys.argv[1], read_only=True).sql('from images_latest')))"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    arguments = [sys.executable, "-c", code, str(tmp_path / "data" / "lake.duckdb")]

    assert subprocess.run(arguments, cwd=elsewhere, capture_output=True, text=True, check=True).stdout == "7\n"


def test_an_open_connection_answers_during_and_after_a_run(serve, account, tmp_path):
    endpoint = serve(images=60)
    run_once(tmp_path, endpoint, account, observed_at=ON)
    answers = []
    with connect(tmp_path) as before:
        ask = lambda *_: answers.append(before.execute("select count(*) from images").fetchall()[0][0])  # noqa: E731
        run_once(tmp_path, endpoint, account, observed_at=ON + dt.timedelta(days=1), progress=ask)
        ask()

    assert set(answers) == {60}
    assert rows(tmp_path, "select count(*) from images") == [(120,)]


# ── rebuild ──────────────────────────────────────────────────────────────────

DATA_TABLES = ("images", "image_disks", "rejects")


def history(data: Path, endpoint: Endpoint, account: Account, days: int = 3) -> None:
    for day in range(days):
        endpoint.day = day
        run_once(data, endpoint, account, observed_at=ON + dt.timedelta(days=day))


def test_a_rebuild_of_an_empty_lake_gives_the_same_files_byte_for_byte(serve, account, tmp_path):
    history(tmp_path / "data", serve(images=123), account)
    rebuilt = rebuild(tmp_path / "data", into=tmp_path / "other")

    assert len(rebuilt) == 3
    assert lake_files(tmp_path / "data", *DATA_TABLES) == lake_files(tmp_path / "other", *DATA_TABLES)
    both = [pq.read_table(tmp_path / name / "lake" / "observations").to_pylist() for name in ("data", "other")]
    assert both[0] == both[1]


def test_a_rebuild_adds_only_what_the_lake_lacks(serve, account, tmp_path):
    history(tmp_path, serve(images=60), account)
    before = lake_files(tmp_path, *DATA_TABLES, "observations")
    for path in (tmp_path / "lake").rglob("observed_on=2026-10-02/*.parquet"):
        path.unlink()

    assert rebuild(tmp_path) == ["20261002T020000.000000Z"]
    assert rebuild(tmp_path) == []
    assert lake_files(tmp_path, *DATA_TABLES, "observations") == before


def test_a_rebuild_does_not_publish_what_a_run_refused(account, tmp_path):
    emulated = Shelf(*numbered(20))
    emulated.by_day.append([])
    with Endpoint({"emulator": Key("emulator", emulated)}) as endpoint:
        run_once(tmp_path / "data", endpoint, account, observed_at=ON)
        endpoint.day = 1
        with pytest.raises(AccountShrank):
            run_once(tmp_path / "data", endpoint, account, observed_at=ON + dt.timedelta(days=1))
    rebuild(tmp_path / "data", into=tmp_path / "other")

    assert rows(tmp_path / "other", "select is_published from observations order by run_id") == [(True,), (False,)]


def test_a_rebuild_of_a_moved_folder_writes_its_catalog(serve, account, tmp_path):
    run_once(tmp_path / "data", serve(images=3), account, observed_at=ON)
    (tmp_path / "data").rename(tmp_path / "moved")
    catalog = tmp_path / "moved" / "lake.duckdb"

    assert rebuild(tmp_path / "moved") == []
    with duckdb.connect(str(catalog), read_only=True) as con:
        assert con.execute("select count(*) from images_latest").fetchall() == [(3,)]


def test_a_rebuild_without_raw_pages_is_refused(tmp_path):
    with pytest.raises(LakeMissing, match="nothing to rebuild from"):
        rebuild(tmp_path)


def test_a_rebuild_into_an_existing_lake_is_refused(serve, account, tmp_path):
    history(tmp_path, serve(images=3), account, days=1)

    with pytest.raises(BadSetting, match="holds a lake already"):
        rebuild(tmp_path, into=tmp_path)


def test_a_run_killed_before_publishing_shows_nothing_and_loses_no_page(serve, account, tmp_path):
    endpoint = serve(images=60)
    run_once(tmp_path, endpoint, account, observed_at=ON)
    code = (
        "import os, signal, sys, datetime as dt\n"
        "from pathlib import Path\n"
        "from pipeline import credentials\n"
        "from pipeline.jobs import run as job\n"
        "job.publish = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
        "account = credentials.key_account('default', 'emulator', 'emulator')\n"
        "job.run(Path(sys.argv[1]), accounts=[account], endpoint=sys.argv[2], rate=None, "
        "observed_at=dt.datetime(2026, 10, 2, 2))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path), endpoint.url], check=False)

    assert done.returncode == -signal.SIGKILL
    assert rows(tmp_path, "select count(*) from observations") == [(1,)]
    assert rebuild(tmp_path) == ["20261002T020000.000000Z"]
    assert rows(tmp_path, "select count(*) from images") == [(120,)]


# ── what is published, and what is not ───────────────────────────────────────


def test_a_failed_account_has_a_row_with_the_reason_and_stops_no_other(tmp_path):
    keys = {
        "a": Key("secret", living_account(images=9)),
        "b": Key("secret", living_account(images=9, seed=2), is_permitted=False),
    }
    accounts = [key_account("fine", "a", "secret"), key_account("refused", "b", "secret")]
    with Endpoint(keys) as endpoint, pytest.raises(Refused) as error:
        run(tmp_path, accounts=accounts, endpoint=endpoint.url)

    told = rows(tmp_path, "select account, is_published, certificate, error from observations order by account")
    assert told[0] == ("fine", True, "verified", None)
    assert told[1][:3] == ("refused", False, None)
    assert told[1][3].startswith("NotPermitted: NoPermission")
    assert rows(tmp_path, "select distinct account from images") == [("fine",)]
    assert error.value.run.exit_code == 4


def test_an_account_below_the_required_certificate_is_not_published(account, tmp_path, serve):
    with pytest.raises(IncompleteListing, match="read 5 times and is not proven 'verified': 60 ids of 60"):
        run_once(tmp_path, serve(images=60, faults=["missing-id:page=1"]), account)

    assert rows(tmp_path, "select count(*) from images") == [(0,)]
    assert rows(tmp_path, "select count(*) > 10 from raw_pages") == [(True,)]


@pytest.mark.parametrize(
    ("before", "after", "is_published"),
    [(20, 10, True), (20, 9, False), (9, 1, True), (1, 0, False), (0, 0, True), (0, 20, True)],
)
def test_an_account_that_lost_more_than_half_of_its_images_is_not_published_unless_accepted(
    account, tmp_path, before, after, is_published
):
    emulated = Shelf(*numbered(before))
    emulated.by_day.append(numbered(after))
    with Endpoint({"emulator": Key("emulator", emulated)}) as endpoint:
        run_once(tmp_path, endpoint, account, observed_at=ON)
        endpoint.day = 1
        later = ON + dt.timedelta(days=1)
        if is_published:
            run_once(tmp_path, endpoint, account, observed_at=later)
        else:
            with pytest.raises(AccountShrank, match=rf"had {before} images?\b"):
                run_once(tmp_path, endpoint, account, observed_at=later)
            assert rows(tmp_path, "select count(*) from images_latest") == [(before,)]
            run_once(tmp_path, endpoint, account, observed_at=later, accept_shrink=True)

    assert rows(tmp_path, "select count(*) from images_latest") == [(after,)]


def test_new_images_do_not_hide_that_the_old_ones_are_gone(account, tmp_path):
    emulated = Shelf(*numbered(20))
    emulated.by_day.append(numbered(20, first=100))
    with Endpoint({"emulator": Key("emulator", emulated)}) as endpoint:
        run_once(tmp_path, endpoint, account, observed_at=ON)
        endpoint.day = 1
        with pytest.raises(AccountShrank, match=r"has lost 20 of them \(100 %\)"):
            run_once(tmp_path, endpoint, account, observed_at=ON + dt.timedelta(days=1))


def test_an_instant_is_observed_once_per_account(serve, account, tmp_path):
    endpoint = serve(images=3)
    run_once(tmp_path, endpoint, account, observed_at=ON)

    with pytest.raises(AlreadyObserved, match="'default' has a published observation at 2026-10-01 02:00:00 UTC"):
        run_once(tmp_path, endpoint, account, observed_at=ON.replace(tzinfo=dt.UTC))


def test_two_runs_at_one_instant_for_two_accounts_are_two_runs(serve, tmp_path):
    for seed, label in enumerate("ab"):
        endpoint = serve(images=3, seed=seed)
        run_once(tmp_path, endpoint, key_account(label, "emulator", "emulator"), observed_at=ON)

    assert rows(tmp_path, "select account, run_id from observations order by account") == [
        ("a", "20261001T020000.000000Z"),
        ("b", "20261001T020000.000000Z-2"),
    ]


def test_an_account_selected_twice_is_refused(serve, account, tmp_path):
    with pytest.raises(BadSetting, match="'default' is named twice"):
        run(tmp_path, accounts=[account, account], endpoint=serve().url)


def test_the_files_of_a_run_lie_under_the_day_on_which_it_began(serve, account, tmp_path):
    run_once(tmp_path, serve(images=3), account)
    (path,) = (tmp_path / "lake" / "images").rglob("*.parquet")
    (began,) = rows(tmp_path, "select started_at_utc::date from observations")[0]

    assert path.parent.name == f"observed_on={began}"


def test_no_secret_is_stored(tmp_path):
    token, secret = "token-that-is-secret", "secret-that-is-secret"
    keys = {
        "a": Key(secret, living_account(images=3), security_token=token),
        "b": Key("other", living_account(images=3, seed=2)),
    }
    accounts = [key_account("fine", "a", secret, token), key_account("refused", "b", secret, token)]
    with Endpoint(keys) as endpoint, pytest.raises(Refused):
        run(tmp_path, accounts=accounts, endpoint=endpoint.url)

    with connect(tmp_path) as con:
        everything = json.dumps(
            [con.execute(f"from {name}").fetchall() for name in ("observations", "raw_pages")], default=str
        )
    assert token not in everything
    assert secret not in everything
    for path in tmp_path.rglob("*.parquet"):
        assert secret.encode() not in path.read_bytes()


def test_a_fresh_notebook_gets_a_data_frame(serve, account, tmp_path):
    run_once(tmp_path, serve(images=60), account)
    code = (
        "import sys; from pipeline import connect, run, rebuild, export\n"
        "frame = connect(sys.argv[1]).sql('from capacity_by_region').df()\n"
        "print(frame['image_count'].sum(), frame['image_size_gib'].dtype)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True, cwd=os.sep
    )

    count, kind = done.stdout.split()
    assert (int(count), kind) == (60 - len(shared(tmp_path)), "int64")


def shared(data: Path) -> list[Any]:
    return rows(data, "from images_latest where image_owner <> 'self'")


# ── a damaged lake ───────────────────────────────────────────────────────────


def test_a_damaged_lake_loses_no_listing_and_the_rebuild_publishes_it(serve, account, tmp_path):
    endpoint = serve(images=60)
    run_once(tmp_path, endpoint, account, observed_at=ON)
    (path,) = (tmp_path / "lake" / "images").rglob("*.parquet")
    path.write_bytes(b"junk")
    endpoint.day = 1
    with pytest.raises(LakeDamaged, match="the pages of this run are kept, and a rebuild publishes them too"):
        run_once(tmp_path, endpoint, account, observed_at=ON + dt.timedelta(days=1))

    assert rebuild(tmp_path) == ["20261001T020000.000000Z", "20261002T020000.000000Z"]
    assert rows(tmp_path, "select count(distinct observed_at_utc) from images") == [(2,)]


def leave_undecided(data, endpoint, account):
    """Publish a run, damage its file, and let the next day's run meet the damage."""
    run_once(data, endpoint, account, observed_at=ON)
    (path,) = (data / "lake" / "images").rglob("*.parquet")
    path.write_bytes(b"junk")
    endpoint.day = 1
    with pytest.raises(LakeDamaged):
        run_once(data, endpoint, account, observed_at=ON + dt.timedelta(days=1))


def test_a_rebuild_decides_what_a_damaged_lake_left_undecided(account, tmp_path):
    emulated = Shelf(*numbered(20))
    emulated.by_day.append([])
    with Endpoint({"emulator": Key("emulator", emulated)}) as endpoint:
        leave_undecided(tmp_path, endpoint, account)
    rebuild(tmp_path)

    assert rows(tmp_path, "select is_published from observations order by run_id") == [(True,), (False,)]
    assert rows(tmp_path, "select count(*) from images_latest") == [(20,)]

    withdraw(tmp_path, "20261001T020000.000000Z")  # with nothing before it, the empty listing is no longer a loss
    rebuild(tmp_path, into=tmp_path / "new")
    of_observations = "select run_id, is_published, error from observations order by run_id"
    assert rows(tmp_path / "new", of_observations) == rows(tmp_path, of_observations)


@pytest.mark.parametrize("is_compacted", [False, True])
@pytest.mark.parametrize("table", ["observations", "images"])
def test_what_a_rebuild_decided_the_next_one_decides_too_whatever_came_since(account, tmp_path, table, is_compacted):
    emulated = Shelf(*numbered(20))
    emulated.by_day += [numbered(15), numbered(30, 100)]
    with Endpoint({"emulator": Key("emulator", emulated)}) as endpoint:
        leave_undecided(tmp_path, endpoint, account)
        rebuild(tmp_path)
        endpoint.day = 2  # compared with this one, the account would have shrunk
        run_once(tmp_path, endpoint, account, observed_at=ON + dt.timedelta(days=2), accept_shrink=True)
    if is_compacted:
        compact(tmp_path)
    published = "select run_id, is_published, item_count from observations where resource = 'images' order by all"
    before = rows(tmp_path, published)
    assert [row[1:] for row in before] == [(True, 20), (True, 15), (True, 30)]
    (path,) = (tmp_path / "lake" / table / "observed_on=2026-10-02").glob("*.parquet")
    path.write_bytes(b"")

    rebuild(tmp_path)

    assert rows(tmp_path, published) == before
    assert check(tmp_path).findings == []


@pytest.mark.parametrize("options", [{"observed_at": "2026-01-01"}, {"profiles": "prod"}])
def test_arguments_of_the_wrong_kind_are_named(tmp_path, options):
    with pytest.raises(BadSetting):
        run(tmp_path, **options)
