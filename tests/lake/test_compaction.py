"""What is folded comes back exactly, whatever came late, was withdrawn or given back; and it costs what changed."""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lake_builder import Seen, image, utc, without_digests, write_run

from pipeline import connect, rebuild, run
from pipeline.credentials import key_account
from pipeline.emulator import Endpoint, Key, living_account
from pipeline.errors import BadSetting, LakeDamaged
from pipeline.extract.attempt import utc_now
from pipeline.jobs.compaction import compact
from pipeline.jobs.retention import prune
from pipeline.jobs.status import folder_notes
from pipeline.jobs.withdrawal import restore, withdraw
from pipeline.lake.check import check
from pipeline.lake.compaction.manifest import manifest_path, newest_manifest
from pipeline.lake.format import format_of
from pipeline.lake.orphans import orphans
from pipeline.lake.tombstone_files import read_tombstones
from pipeline.lake.versions import number_observations, versions
from pipeline.resources.tables import LAKE_TABLES
from pipeline.views.database import write_catalog

NOW = utc("2026-10-20 00:00")
HOUR = dt.timedelta(hours=1)
SHOWN = ("images", "image_disks", "rejects", "observations", "images_latest", "image_disks_latest", "image_versions")


def shown(data: Path, *views: str, as_of: Any = None) -> dict[str, list[tuple[Any, ...]]]:
    with connect(data, as_of=as_of) as con:
        return {view: con.execute(f"from {view} order by all").fetchall() for view in views or SHOWN}


# ── any history ──────────────────────────────────────────────────────────────

some_images = st.dictionaries(
    st.sampled_from(["m-1", "m-2", "m-3"]),
    st.tuples(st.sampled_from(["Available", "Creating", None]), st.sampled_from([(), (1,), (1, None)])),
)
observed = st.one_of(st.none(), st.tuples(st.sampled_from(["verified", "verified", "counted"]), some_images))
days = st.fixed_dictionaries({"a": observed, "b": observed})
steps = st.lists(
    st.one_of(
        st.tuples(st.just("day"), st.integers(1, 28), days),
        st.tuples(st.just("fold"), st.sampled_from([0, 9]), st.just(0)),
        st.tuples(st.just("withdraw"), st.integers(0, 99), st.sampled_from([0, 9])),
        st.tuples(st.just("restore"), st.integers(0, 99), st.just(0)),
    ),
    min_size=3,
    max_size=10,
)


def seen(day: int, accounts: dict[str, Any]) -> list[Seen]:
    """Each account of a run on a day of October: published, or tried in vain."""
    at, found = f"2026-10-{day:02} 02:00", []
    for account, told in accounts.items():
        if told is None:
            found.append(Seen(account, at, error="Refused: no"))
            continue
        level, images = told
        rows = [image(name, *disks, status=status) for name, (status, disks) in images.items()]
        bad = [{"item_id": name, "field": "Status", "reason": "is null"} for name in images if images[name][0] is None]
        found.append(Seen(account, at, rows, level, rejects=bad))
    return found


class Twins:
    """One history in two lakes, of which one is never folded."""

    def __init__(self, root: Path) -> None:
        self.plain, self.compacted = root / "plain", root / "folded"
        self.days: set[int] = set()
        self.now = NOW

    def live(self, step: str, one: int, other: Any) -> None:
        self.now += HOUR
        if step == "day" and one not in self.days:
            self.days.add(one)
            for data in (self.plain, self.compacted):
                write_run(data, *seen(one, other), began=f"2026-10-{one:02} 02:00")
        elif self.days and step == "fold":
            compact(self.compacted, grace=f"{one}h", at=self.now)
        elif self.days and step == "withdraw":
            names = [f"{run}/{account}" for account, run in self._published()]
            for data in (self.plain, self.compacted) if names else ():
                withdraw(data, names[one % len(names)], grace=f"{other}h", at=self.now)
        elif self.days and step == "restore":
            names = [each.name for each in read_tombstones(self.plain).active if each.until_utc > self.now]
            for data in (self.plain, self.compacted) if names else ():
                restore(data, names[one % len(names)], at=self.now)

    def _published(self) -> list[tuple[str, str]]:
        with connect(self.plain) as con:
            return con.execute("select account, run_id from observations where is_published order by all").fetchall()


@settings(max_examples=settings.default.max_examples // 20)
@given(steps, st.integers(1, 28))
def test_any_history_reads_the_same_whether_folded_or_not(history, as_of):
    with TemporaryDirectory() as root:
        twins = Twins(Path(root))
        for step in history:
            twins.live(*step)
            if twins.days and step[0] != "day":  # of a day alone the next step tells as well
                assert shown(twins.compacted, "images", "image_versions") == shown(
                    twins.plain, "images", "image_versions"
                )
        if twins.days:
            twins.live("fold", 0, 0)
            views = (*SHOWN, "image_changes", "changes_by_observation", "capacity_by_day", "accounts")
            views += ("image_lifetimes", "growth_by_month")
            assert shown(twins.compacted, *views) == shown(twins.plain, *views)
            then = dt.date(2026, 10, as_of)
            try:
                before = shown(twins.plain, *views, as_of=then)
            except BadSetting:
                with pytest.raises(BadSetting, match="there was no published observation"):
                    connect(twins.compacted, as_of=then)
            else:
                assert shown(twins.compacted, *views, as_of=then) == before


# ── a lake of real runs ──────────────────────────────────────────────────────


DAY0 = utc("2026-10-01 02:00")


@pytest.fixture(scope="module")
def lived(tmp_path_factory) -> Path:
    """Eight days of two accounts that live, a real run a day; of the second there are only some."""
    data = tmp_path_factory.mktemp("lived") / "data"
    keys = {name: Key("secret", living_account(images=40, seed=seed)) for seed, name in enumerate("ab", 1)}
    with Endpoint(keys) as endpoint:
        for day in range(8):
            endpoint.day = 20 * day
            accounts = [key_account(name, name, "secret") for name in ("a" if day in {2, 7} else "ab")]
            at = DAY0 + dt.timedelta(days=day)
            run(data, accounts=accounts, endpoint=endpoint.url, rate=None, accept_shrink=True, observed_at=at)
    return data


@pytest.fixture
def data(lived, tmp_path) -> Path:
    """A copy of that lake."""
    shutil.copytree(lived, tmp_path / "data")
    write_catalog(tmp_path / "data")  # it holds absolute paths
    return tmp_path / "data"


def plain(data: Path, table: str = "images") -> list[str]:
    return sorted(path.stem for path in (data / "lake" / table).rglob("*.parquet"))


def run_id(day: int) -> str:
    return f"2026100{day + 1}T020000.000000Z"


def test_the_seventh_run_folds_and_the_lake_says_its_format(lived):
    there = newest_manifest(lived)

    assert there is not None
    assert sorted(there.runs) == [run_id(day) for day in range(7)]
    assert format_of(lived) == "5"
    assert len(plain(lived)) == 8  # the grace goes on


def test_a_folded_lake_is_what_its_raw_pages_say_and_a_rebuild_lacks_nothing(data, tmp_path):
    checked = check(data, deep=True)

    assert (checked.findings, checked.rebuilt_count, checked.run_count) == ([], 8, 8)
    assert rebuild(data) == []
    rebuild(data, into=tmp_path / "other")
    assert shown(tmp_path / "other") == shown(data)


def test_the_millionth_compaction_is_newer_than_the_one_before(tmp_path, monkeypatch):
    write_run(tmp_path, Seen("a", "2026-10-01 02:00", [image("m-1")]))
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.lake.compaction.plan.next_name", lambda _: "999999")
        assert compact(tmp_path).compactions == ("999999",)
    for number, day in enumerate((2, 3)):
        write_run(tmp_path, Seen("a", f"2026-10-0{day} 02:00", [image("m-1")]))
        assert compact(tmp_path).compactions == (str(1_000_000 + number),)
    assert connect(tmp_path).sql("select count(*), max(last_seen_utc)::text from image_versions").fetchall() == [
        (1, "2026-10-03 02:00:00")
    ]


def test_compaction_deletes_no_daily_file_and_what_it_replaced_after_the_grace_period(data):
    before = shown(data, *SHOWN, "raw_pages", "image_changes")
    compact(data)
    prune(data, at=utc_now() + dt.timedelta(days=8))  # the runs were compacted by the clock

    assert len(plain(data)) == len(plain(data, "observations")) == 8
    assert shown(data, *SHOWN, "raw_pages", "image_changes") == before
    assert check(data, deep=True).findings == []
    assert not list((data / "lake").rglob("000001.json"))


@pytest.mark.parametrize("table", ["images", "image_disks", "rejects", "observations"])
def test_the_daily_files_of_compacted_runs_come_back_from_the_versions_where_the_pages_are_gone(data, table):
    shutil.rmtree(data / "raw")
    before = shown(data)
    with duckdb.connect() as con:
        columns = "(observed_on, committed_files)" if table == "observations" else "(observed_on)"
        daily = f"from read_parquet('{data}/lake/{table}/*/*.parquet') select * exclude {columns} order by all"
        rows = con.execute(daily).fetchall()
        for path in sorted((data / "lake" / table).rglob("*.parquet"))[:5]:
            path.unlink()
        assert len({finding.location for finding in check(data).findings}) == 5
        rebuild(data)
        assert con.execute(daily).fetchall() == rows
    assert check(data, deep=True).findings == []
    assert shown(data) == before


def test_a_lake_whose_daily_files_an_older_version_deleted_answers_as_before(data):
    compact(data, grace="0s", at=NOW)
    without_digests(data)
    before = shown(data, *SHOWN, "raw_pages", "image_changes")
    for table in LAKE_TABLES:
        for path in (data / "lake" / table.name).rglob("*.parquet"):
            if path.stem not in {run_id(6), run_id(7)}:
                path.unlink()

    assert shown(data, *SHOWN, "raw_pages", "image_changes") == before
    assert check(data, deep=True).findings == []
    note, of_columns = folder_notes(data)
    assert f"every day from {run_id(6)[:4]}-{run_id(6)[4:6]}-{run_id(6)[6:8]} on: an older version deleted" in note
    assert "the oldest files of observations are of an older version" in of_columns  # without digests
    with connect(data) as con:
        days = con.execute("select distinct complete_from_utc, missing_because, size_bytes from partitions").fetchall()
    assert days == [(dt.datetime.strptime(run_id(6)[:8], "%Y%m%d").date(), "an older version", None)]  # noqa: DTZ007


@pytest.mark.parametrize("is_withdrawn", [False, True])
def test_a_lost_commit_record_of_a_compacted_run_makes_no_day_one_that_was_deleted(data, is_withdrawn):
    for account in ("a", "b") if is_withdrawn else ():
        withdraw(data, f"{run_id(1)}/{account}", at=NOW)
    before = shown(data, *SHOWN, "partitions")
    (data / "lake" / "observations" / "observed_on=2026-10-02" / f"{run_id(1)}.parquet").unlink()

    assert shown(data, *SHOWN, "partitions") == before
    assert [finding.location for finding in check(data).findings] == [
        f"lake/observations/observed_on=2026-10-02/{run_id(1)}.parquet"
    ]


def test_what_has_ended_is_never_written_again(data):
    ended = data / "lake" / "image_versions" / "000001.parquet"
    before = (ended.stat().st_mtime_ns, ended.stat().st_ino)
    compact(data, grace="0s", at=NOW)

    assert newest_manifest(data).name == "000002"
    assert (ended.stat().st_mtime_ns, ended.stat().st_ino) == before


def test_an_open_connection_and_the_catalogue_of_before_read_on_while_the_grace_lasts(data):
    with connect(data) as con:
        before = con.execute("from images order by all").fetchall()
        compact(data)
        prune(data, at=dt.datetime.now(dt.UTC) + dt.timedelta(days=6))
        assert con.execute("from images order by all").fetchall() == before


def test_a_failed_compaction_is_reported_and_the_run_is_published(data, serve, monkeypatch):
    monkeypatch.setattr("pipeline.jobs.compaction.compaction.needs_compaction", lambda _: True)
    monkeypatch.setattr("pipeline.lake.compaction.merge.versions", lambda *_: "select 1 as account")
    done = run(data, accounts=[key_account("c", "emulator", "emulator")], endpoint=serve(images=3).url, rate=None)

    assert "not compacted: " in str(done)
    assert newest_manifest(data).name == "000001"
    assert orphans(data) == []
    assert check(data).findings == []
    monkeypatch.undo()
    compact(data)
    assert shown(data, "observations")["observations"][-1][0] == "c"


def test_compaction_refuses_rows_it_cannot_restore(tmp_path):
    write_run(tmp_path, Seen(images=[image("m-1", 20), image("m-1", 20)]))

    with pytest.raises(LakeDamaged, match=r"cannot be compacted: .*ens-images check"):
        compact(tmp_path)
    assert newest_manifest(tmp_path) is None


def test_disks_that_exchange_a_value_are_a_change_that_comes_back(tmp_path):
    fields = ("disk_type", "disk_size_gib", "disk_format", "disk_image_id", "extra")
    for day, places in enumerate(((0, 1), (1, 0), (0, None), (None, 0)), start=1):
        images = []
        for field in fields:
            values = (1, 2) if field == "disk_size_gib" else ("one", "other")
            disks = ({"disk_size_gib": 10, field: None if place is None else values[place]} for place in places)
            images.append(image(f"m-{field}", *disks))
        write_run(tmp_path, Seen(at=f"2026-10-0{day} 02:00", images=images))
    before = shown(tmp_path)
    compact(tmp_path, grace="0s")
    prune(tmp_path)

    assert len(before["image_versions"]) == 4 * len(fields)
    assert shown(tmp_path) == before


@pytest.mark.parametrize(("name", "like"), [("lake [of] old", "lake o old"), ("any*", "anyone")])
def test_a_folder_whose_name_is_a_pattern_is_that_folder_alone(lived, tmp_path, name, like):
    for folder in (name, like):  # the pattern means the other one too, or it alone
        shutil.copytree(lived, tmp_path / folder)
    prune(tmp_path / name, grace=dt.timedelta(0))
    assert check(tmp_path / name).findings == []
    write_run(tmp_path / name, Seen("prod", "2026-12-01 00:00", [image("m-new")]))
    write_catalog(tmp_path / name)

    assert shown(tmp_path / name, as_of="2026-10-08") == shown(lived)
    with connect(tmp_path / name, only_lake=True) as con:
        assert con.execute("select image_id from images_latest where account = 'prod'").fetchall() == [("m-new",)]
    with pytest.raises(BadSetting, match=r"a \? in its name.*rename the folder"):
        connect(tmp_path / "why?")


@pytest.mark.parametrize("place", ["image_versions", "image_versions_open", "compacted_observations"])
def test_a_missing_or_torn_compacted_file_is_named(data, place):
    path = data / "lake" / place / "000001.parquet"
    whole = path.read_bytes()
    before = shown(data, *SHOWN)
    for damage in (lambda: path.write_bytes(whole[: len(whole) // 2]), path.unlink):
        damage()
        assert [place in finding.location for finding in check(data).findings] == [True]
        with pytest.raises(LakeDamaged, match=rf"{place}/000001.parquet"):
            connect(data)
    rebuild(data)

    assert check(data, deep=True).findings == []
    assert shown(data, *SHOWN) == before


def test_a_compacted_file_whose_metadata_make_a_text_bytes_is_named(data):
    path = data / "lake" / "compacted_observations" / "000001.parquet"
    rows = pq.read_table(path)
    position = rows.schema.get_field_index("endpoint")
    pq.write_table(rows.set_column(position, "endpoint", rows.column("endpoint").cast(pa.binary())), path)

    assert ["compacted_observations" in finding.location for finding in check(data).findings] == [True]


def test_a_withdrawn_observation_leaves_the_versions_after_its_grace_period(data):
    name = f"{run_id(3)}/a"
    before = shown(data, "images", "image_versions")
    withdraw(data, name, at=NOW)
    hidden = shown(data, "images", "image_versions")
    restore(data, name, at=NOW)
    assert shown(data, "images", "image_versions") == before
    withdraw(data, name, at=NOW)
    prune(data, at=NOW + dt.timedelta(days=8))

    assert shown(data, "images", "image_versions") == hidden
    assert ("a", "images") not in newest_manifest(data).covered[run_id(3)]
    assert check(data, deep=True).findings == []
    with pytest.raises(BadSetting, match="cannot be restored"):  # though its daily file is there, with another account
        restore(data, name, at=NOW + dt.timedelta(days=9))


def test_a_restore_refuses_what_a_later_compaction_took_in_without_it(tmp_path):
    runs = [write_run(tmp_path, Seen(at=f"2026-10-0{day} 02:00", images=[image("m-1"), image(f"m-{day}")]))
            for day in (2, 3, 4)]  # fmt: skip
    withdraw(tmp_path, runs[1], grace="1s", at=NOW)
    compact(tmp_path, at=NOW + dt.timedelta(hours=1))
    before = shown(tmp_path, "images", "image_versions")
    with pytest.raises(BadSetting, match="cannot be restored"):
        restore(tmp_path, runs[1], at=NOW + dt.timedelta(hours=2))

    assert shown(tmp_path, "images", "image_versions") == before


def test_only_the_daily_files_of_a_run_withdrawn_for_good_are_deleted(tmp_path):
    first, second = (write_run(tmp_path, Seen(at=f"2026-10-0{day} 02:00", images=[image("m-1")])) for day in (1, 2))
    compact(tmp_path, at=NOW)
    withdraw(tmp_path, second, grace="0s", at=NOW)
    for day in (8, 9):
        compact(tmp_path, at=NOW + dt.timedelta(days=day))
        assert plain(tmp_path) == [first]
    third = write_run(tmp_path, Seen(at="2026-10-03 02:00", images=[image("m-1")]))
    compact(tmp_path, grace="0s", at=NOW + dt.timedelta(days=10))
    prune(tmp_path, at=NOW + dt.timedelta(days=10))
    assert plain(tmp_path) == [first, third]
    assert [one for one in check(tmp_path).findings if one.location.startswith("lake")] == []


def test_a_lake_without_a_withdrawn_observation_is_intact_though_its_rejects_were_folded(tmp_path):
    bad = [{"item_id": "m-1", "field": "Status", "reason": "is null"}]
    for day in (1, 2):
        each = (Seen(account, f"2026-10-0{day} 02:00", [image("m-1")], rejects=bad) for account in "ab")
        run_of_day = write_run(tmp_path, *each)
    compact(tmp_path, at=NOW)
    for at, grace in ((NOW, "7d"), (NOW + dt.timedelta(days=8), "0s")):
        withdraw(tmp_path, f"{run_of_day}/{'a' if grace == '7d' else 'b'}", grace=grace, at=at)
        prune(tmp_path, at=at)
        assert [one for one in check(tmp_path).findings if one.location.startswith("lake")] == []


def test_the_record_of_a_fold_names_an_account_no_oftener_for_more_runs(tmp_path):
    labels = ["a", "b", "c"]
    counts = []
    for day in range(1, 7):
        write_run(tmp_path, *(Seen(label, f"2026-10-0{day} 02:00", [image("m-1")]) for label in labels))
        if day in {3, 6}:
            compact(tmp_path, at=NOW)
            fold = newest_manifest(tmp_path)
            said = manifest_path(tmp_path, fold.name).read_text()
            counts.append([said.count(f'"{label}"') for label in labels])
            assert list(fold.covered.values()) == [tuple((label, "images") for label in labels)] * day
    assert counts[0] == counts[1]


def test_no_join_of_a_fold_pairs_the_days_of_an_account_with_each_other():
    days = 1500
    with duckdb.connect() as con:
        con.execute(
            "create table told as select 'prod' as account, timestamp '2026-01-01 02:00' + to_days(day::int) as "
            "observed_at_utc, true as is_verified, day < $1 as is_covered from range($1 + 1) as one(day)",
            [days],
        ).fetchall()
        con.execute("""
            create table stretch as
            select
                account, 'm-' || observed_at_utc as item_id, observed_at_utc as first_seen_utc,
                max(observed_at_utc) over () as last_seen_utc, observed_at_utc as life_began_utc,
                null::timestamp as previous_seen_utc, 1::ubigint as fingerprint
            from told where is_covered;
            create table print as
            select account, observed_at_utc, 'm-1' as item_id, 1::ubigint as fingerprint
            from told where not is_covered""").fetchall()
        made = versions(number_observations("from told"), "from stretch", "from print")
        plan = con.execute(f"explain analyze {made}").fetchall()[0][1]
    counts = [int(said.replace(",", "")) for said in re.findall(r"([0-9,]+) rows", plan)]

    assert days <= max(counts) <= 4 * days


# ── as it was ────────────────────────────────────────────────────────────────


def test_as_of_is_the_end_of_a_day_an_instant_or_an_observation(data):
    def latest(as_of: Any) -> Any:
        with connect(data, as_of=as_of) as con:
            return con.execute("select observed_at_utc from accounts where account = 'a'").fetchall()[0][0]

    assert latest("2026-10-02") == latest(dt.date(2026, 10, 2)) == DAY0 + dt.timedelta(days=1)
    assert latest("2026-10-02T01:59:59Z") == DAY0
    assert latest("latest") == latest(" latest ") == latest(None) == DAY0 + dt.timedelta(days=7)
    assert latest("2026-10-02T10:00+08:00") == latest(run_id(1)) == latest(f"{run_id(1)}/a") == latest("2026-10-02")


def test_as_of_before_the_first_observation_names_the_first(data):
    with pytest.raises(BadSetting, match="the first is of 2026-10-01 02:00:00 UTC"):
        connect(data, as_of="2026-09-30")
    with pytest.raises(BadSetting, match="a day such as 2026-10-01"):
        connect(data, as_of="spring")


def test_as_of_the_ends_of_time_is_a_moment_or_told(data):
    with connect(data, as_of="9999-12-31") as con:
        assert con.execute("select max(observed_at_utc) from images").fetchall() == [(DAY0 + dt.timedelta(days=7),)]
    for outside in ("9999-12-31T23:00-08:00", "0001-01-01T00:00+08:00"):
        with pytest.raises(BadSetting, match="outside of the years 1 to 9999"):
            connect(data, as_of=outside)


def test_the_commands_show_the_lake_as_it_was_and_say_so(data, tmp_path, typed):
    asked = ["--data", str(data), "--as-of", "2026-10-02"]
    code, out, err = typed("sql", *asked, "--format", "csv", "select max(observed_at_utc) as at from images")
    assert (code, out) == (0, "at\n2026-10-02 02:00:00.000000\n")
    said = "(the lake as it was at 2026-10-02 23:59 UTC)"
    assert said in err
    for words in (["images", "images.csv"], ["--all", "all"]):
        code, _, err = typed("export", *asked, *words)
        assert (code, said in err) == (0, True)
    assert "2026-10-03" not in (tmp_path / "images.csv").read_text("utf-8")
    assert '"as_of_utc": "2026-10-02T02:00:00.000000Z"' in (tmp_path / "all" / "manifest.json").read_text("utf-8")
    assert said in typed("report", *asked, "image_age")[1]
    assert said in typed("questions", *asked, "1")[2]
    assert typed("report", *asked, "--html", "page.html")[0] == 0
    assert said in (tmp_path / "page.html").read_text("utf-8")
    with duckdb.connect() as con:
        con.execute(typed("views", *asked)[1]).fetchall()
        assert con.execute("select max(observed_at_utc) from accounts").fetchall() == [(DAY0 + dt.timedelta(days=1),)]


def test_the_page_and_every_export_show_the_lake_as_it_was_and_say_so(data, tmp_path, typed):
    asked = ["--data", str(data), "--as-of", "2026-10-02"]
    for command in (
        ["report", *asked, "--html", str(tmp_path / "p.html")],
        ["export", *asked, "--all", str(tmp_path / "all")],
    ):
        code, _, err = typed(*command)
        assert code == 0
        assert "(the lake as it was at 2026-10-02 23:59 UTC)" in err
    page = (tmp_path / "p.html").read_text("utf-8")
    manifest = json.loads((tmp_path / "all" / "manifest.json").read_text("utf-8"))

    assert "(the lake as it was at 2026-10-02 23:59 UTC)</bdi>" in page
    assert "2026-10-02" in page
    assert "2026-10-03" not in page
    assert manifest["as_of_utc"] == "2026-10-02T02:00:00.000000Z"
    assert "(the lake as it was" in manifest["provenance"]
    days = (tmp_path / "all" / "capacity_by_day.csv").read_text("utf-8").splitlines()
    assert [line[:10] for line in days[1:]] == ["2026-10-01", "2026-10-02"]
