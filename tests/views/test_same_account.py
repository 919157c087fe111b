"""An account with two names is counted once, in every view of capacity, age, changes and clean-up."""

from __future__ import annotations

import datetime as dt
import io
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lake_builder import Seen, image, utc, write_run

from pipeline import connect, diff, rebuild, run
from pipeline.credentials import key_account
from pipeline.emulator import Endpoint, Key
from pipeline.emulator.accounts import FileAccount
from pipeline.errors import AccountShrank, BadSetting
from pipeline.jobs.compaction import compact
from pipeline.jobs.scheduled import scheduled_run
from pipeline.jobs.withdrawal import withdraw
from pipeline.lake.check import check
from pipeline.reports.provenance import provenance_line
from pipeline.reports.report import report
from pipeline.settings import AfterRun, load
from pipeline.views.catalog import relations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.credentials import Account

ONCE = [name for name, relation in relations().items() if relation.is_view and name != "accounts"]
"""The views that count: all but the list of accounts."""
FIRST = utc("2026-10-01 02:00")


def shown(data: Path, as_of: Any = None) -> dict[str, list[tuple[Any, ...]]]:
    with connect(data, as_of=as_of) as lake:
        return {view: lake.execute(f"from {view} order by all").fetchall() for view in ONCE}


# ── any accounts, some of them under two names ───────────────────────────────

shapes = st.tuples(
    st.sampled_from([None, 20, 40]),
    st.sampled_from(["self", "self", "others", None]),
    st.sampled_from(["Available", "Pack_failed"]),
    st.sampled_from([(), (20,), (20, None)]),
)
listings = st.tuples(
    st.sampled_from(["verified", "verified", "counted"]),
    st.dictionaries(st.sampled_from(["1", "2", "3"]), shapes),
)
days = st.fixed_dictionaries(  # several accounts share one lake: to open it takes most of the time
    {
        "listed": st.fixed_dictionaries({"a": listings} | dict.fromkeys("bcde", st.none() | listings)),
        "again": st.fixed_dictionaries(dict.fromkeys("abcd", st.none() | listings)),
        "is_known": st.booleans(),
    }
)


def seen(account: str, label: str, at: dt.datetime, listing: Any, same_as: str | None = None) -> Seen:
    if listing is None:
        return Seen(label, str(at), error="Refused: no")
    level, images = listing
    rows = [
        image(f"m-{account}{name}", *disks, image_size_gib=size, image_owner=owner, status=status)
        for name, (size, owner, status, disks) in images.items()
    ]
    return Seen(label, str(at), rows, level, same_account_as=same_as)


def live(history: Sequence[Any], once: Path, twice: Path, compacted_after: int) -> list[dt.datetime]:
    """Write a history with each account once, and with some accounts under a second name from some run on."""
    published: set[str] = set()
    last_again = {
        account: max((number for number, day in enumerate(history) if day["again"][account]), default=-1)
        for account in "abcd"
    }
    instants = []
    for number, day in enumerate(history):
        at = FIRST + number * dt.timedelta(hours=6)  # all within two days: no name becomes a former one
        instants.append(at)
        each = [seen(account, account, at, listing) for account, listing in day["listed"].items()]
        published |= {account for account, listing in day["listed"].items() if listing}
        second = [
            seen(
                account,
                f"0{account}",  # before the other by name
                at + dt.timedelta(minutes=1),
                listing,
                account if day["is_known"] or number == last_again[account] else None,
            )
            for account, listing in day["again"].items()
            if account in published
        ]
        write_run(once, *each)
        write_run(twice, *second, *each, began=str(at))
        if number == compacted_after:
            for data in (once, twice):
                compact(data, grace="0h", at=at + dt.timedelta(hours=1))
    return instants


@settings(max_examples=settings.default.max_examples // 20)
@given(st.lists(days, min_size=2, max_size=4), st.integers(0, 6), st.none() | st.integers(0, 3))
def test_every_view_of_any_lake_is_that_of_the_lake_with_each_account_once(history, compacted_after, as_of):
    with TemporaryDirectory() as root:
        once, twice = Path(root) / "once", Path(root) / "twice"
        instants = live(history, once, twice, compacted_after)
        if as_of is not None:
            at = instants[min(as_of, len(instants) - 1)] + dt.timedelta(minutes=2)
            assert shown(twice, at) == shown(once, at)
            return
        assert shown(twice) == shown(once)
        tables = []
        for data in (once, twice):
            with diff(instants[0] + dt.timedelta(minutes=2), data=data) as differences:
                tables.append((differences.changes.fetchall(), differences.capacity_by_region.fetchall()))
        assert tables[0] == tables[1]


# ── real runs ────────────────────────────────────────────────────────────────


def stock(*names: str, shared: Sequence[str] = ()) -> FileAccount:
    owners = {**dict.fromkeys(names, "self"), **dict.fromkeys(shared, "others")}
    return FileAccount(
        [{"ImageId": f"m-{name}", "ImageOwnerAlias": owner, "ImageSize": "20"} for name, owner in owners.items()]
    )


def list_once(data: Path, day: int, stocks: dict[str, FileAccount], **by_hand: str) -> str:
    """Run over these accounts, each with a key of its own. Returns: the lines of the run."""
    accounts: list[Account] = []
    for label in stocks:
        accounts.append(key_account(label, label, "secret"))
        accounts[-1].same_account_as = by_hand.get(label)
    at = FIRST + dt.timedelta(days=day)
    with Endpoint({label: Key("secret", images) for label, images in stocks.items()}) as endpoint:
        return str(run(data, accounts=accounts, endpoint=endpoint.url, observed_at=at, accept_shrink=True))


def counted(data: Path) -> dict[str, str | None]:
    with connect(data) as lake:
        names = dict(lake.execute("select account, same_account_as from accounts").fetchall())
        owned = {account for (account,) in lake.execute("select distinct account from images_latest").fetchall()}
    assert owned <= {account for account, other in names.items() if other is None}
    return names


@pytest.fixture
def two_names(tmp_path: Path) -> tuple[Path, str]:
    """Two days of `prod`, listed as `again` too from the second on, and of an account of its own; the second run."""
    ours, other = stock("1", "2", "3"), stock("8", "9", shared=["1"])
    list_once(tmp_path, 0, {"prod": ours})
    return tmp_path, list_once(tmp_path, 1, {"again": ours, "prod": stock("1", "2", "4"), "test": other})


def test_a_run_says_which_accounts_are_one_and_how_many_ids_are_common(two_names):
    data, printed = two_names
    assert "again: another name of account 'prod': 2 of its 3 owned images are in both; views count one name" in printed
    assert printed.count("another name") == 1
    assert counted(data) == {"again": "prod", "prod": None, "test": None}


def test_tables_keep_every_row_and_views_count_one_name(two_names):
    data, _ = two_names
    with connect(data) as lake:
        rows = lake.execute("select account, count(*) from images group by all order by all").fetchall()
        versions = lake.execute("select distinct account from image_versions where is_current order by all").fetchall()
        ((images, gib),) = lake.execute(
            "select image_count, image_size_gib from capacity_by_day limit 1 offset 1"
        ).fetchall()
        line = provenance_line(lake)
    assert rows == [("again", 3), ("prod", 6), ("test", 3)]
    assert versions == [("again",), ("prod",), ("test",)]
    assert (images, gib) == (5, 100)
    assert line.startswith(
        "2 accounts (2 names of one account: prod, again) · as of 2026-10-02 02:00 UTC · verified · 6 images"
    )


def test_the_report_and_a_diff_count_once_and_say_so(two_names):
    data, _ = two_names
    out = io.StringIO()
    with connect(data) as lake:
        report(lake, output_format="markdown", out=out, err=io.StringIO())
    assert "2 names of one account: prod, again" in out.getvalue()
    with diff("2026-10-01", data=data) as differences:
        accounts = [row[0] for row in differences.accounts.fetchall()]
    with diff("2026-10-01", data=data, accounts=["again"]) as differences:
        asked = [row[0] for row in differences.accounts.fetchall()]
    assert (accounts, asked) == (["prod", "test"], ["again"])


def test_a_rebuild_gives_the_same_names(two_names, tmp_path_factory):
    data, _ = two_names
    into = tmp_path_factory.mktemp("new") / "lake"
    rebuild(data, into=into)
    assert counted(into) == counted(data)
    assert shown(into) == shown(data)
    assert check(data, deep=True).findings == []


def test_the_second_name_is_found_in_a_run_of_its_own(tmp_path):
    ours = stock("1", "2")
    list_once(tmp_path, 0, {"o'prod": ours})
    assert "2 of its 2 owned images" in list_once(tmp_path, 1, {"again": ours})
    assert counted(tmp_path) == {"again": "o'prod", "o'prod": None}


def test_images_shared_with_several_accounts_make_no_account_another_name(tmp_path):
    shared = ["s1", "s2"]
    printed = list_once(tmp_path, 0, {"a": stock("1", shared=shared), "b": stock("2", shared=shared)})
    assert "another name" not in printed
    assert counted(tmp_path) == {"a": None, "b": None}


def test_a_lake_that_holds_two_names_already_counts_them_once_from_its_next_run_on(tmp_path):
    rows = [image("m-1"), image("m-2")]
    write_run(tmp_path, Seen("prod", "2026-09-29 02:00", rows), Seen("again", "2026-09-29 02:01", rows))
    assert counted(tmp_path) == {"again": None, "prod": None}

    list_once(tmp_path, 0, {"again": stock("1", "2"), "prod": stock("1", "2")})

    assert counted(tmp_path) == {"again": "prod", "prod": None}
    with connect(tmp_path) as lake:
        days = lake.execute("select image_count from capacity_by_day order by day_utc").fetchall()
    assert days == [(2,), (2,), (2,)]


def test_an_account_stays_another_name_while_nothing_contradicts(tmp_path):
    ours, empty = stock("1", "2"), stock()
    list_once(tmp_path, 0, {"prod": ours, "again": ours})
    list_once(tmp_path, 1, {"prod": empty, "again": empty})
    assert counted(tmp_path) == {"again": "prod", "prod": None}
    list_once(tmp_path, 2, {"again": empty})
    assert counted(tmp_path) == {"again": "prod", "prod": None}

    list_once(tmp_path, 3, {"prod": ours, "again": stock("8")})  # the label belongs to another account now

    assert counted(tmp_path) == {"again": None, "prod": None}


def test_settings_say_what_ids_do_not(tmp_path):
    ours, other = stock("1", "2"), stock("8")
    list_once(tmp_path / "one", 0, {"prod": ours, "again": other}, again="prod")
    list_once(tmp_path / "two", 0, {"prod": ours, "again": ours}, again="none")
    list_once(tmp_path / "turned", 0, {"prod": ours, "again": ours}, prod="again")
    assert counted(tmp_path / "one") == {"again": "prod", "prod": None}
    assert counted(tmp_path / "two") == {"again": None, "prod": None}
    assert counted(tmp_path / "turned") == {"again": None, "prod": "again"}

    list_once(tmp_path / "one", 1, {"prod": ours, "again": ours})
    list_once(tmp_path / "one", 2, {"prod": ours, "again": ours}, prod="none")  # of either account it tells of both

    assert counted(tmp_path / "one") == {"again": None, "prod": None}


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ('[[accounts]]\nprofile = "a"\nsame_account_as = "b"', "the name of another account of this file"),
        ('[[accounts]]\nprofile = "a"\nsame_account_as = "a"', "the name of another account of this file"),
        (
            '[[accounts]]\nprofile = "a"\nsame_account_as = "b"\n[[accounts]]\nprofile = "b"\nsame_account_as = "a"',
            "'b' has a same_account_as itself",
        ),
    ],
)
def test_a_wrong_name_in_the_settings_is_an_error(tmp_path, entries, problem):
    (tmp_path / "ens-images.toml").write_text(entries)
    with pytest.raises(BadSetting, match=problem):
        load(tmp_path / "ens-images.toml")


def test_the_settings_file_reaches_the_lake(tmp_path, monkeypatch):
    (tmp_path / "ens-images.toml").write_text(
        '[[accounts]]\nlabel = "prod"\n[[accounts]]\nlabel = "again"\nsame_account_as = "prod"\n'
    )
    entries = load(tmp_path / "ens-images.toml")[0].accounts
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "secret")
    with Endpoint({"key": Key("secret", stock())}) as endpoint:
        result = scheduled_run(
            tmp_path / "lake", after=AfterRun(), retention={}, entries=entries, endpoint=endpoint.url
        )
    assert [row["same_account_as"] for row in result.summary()["accounts"]] == [None, "prod"]
    assert counted(tmp_path / "lake") == {"again": "prod", "prod": None}


def test_a_former_name_counts_no_more_after_two_days(tmp_path):
    ours = stock("1", "2")
    list_once(tmp_path, 0, {"prod": ours, "again": ours})
    list_once(tmp_path, 2, {"again": stock("1", "2", "3")})
    assert counted(tmp_path) == {"again": "prod", "prod": None}
    list_once(tmp_path, 3, {"again": stock("1", "2", "3")})
    assert counted(tmp_path) == {"again": None, "prod": "again"}
    list_once(tmp_path, 4, {"again": stock("1", "2", "3")})
    list_once(tmp_path, 5, {"again": stock("1", "2", "3"), "prod": ours})
    assert counted(tmp_path) == {"again": None, "prod": "again"}
    with connect(tmp_path) as lake:
        ((images,),) = lake.execute("select sum(image_count) from capacity_by_region").fetchall()
    assert images == 3


def test_another_name_of_a_withdrawn_account_is_counted(tmp_path):
    ours = stock("1", "2")
    list_once(tmp_path, 0, {"prod": ours, "again": ours})
    withdraw(tmp_path, "20261001T020000.000000Z/prod")
    assert counted(tmp_path)["again"] is None


def test_another_name_that_lost_most_of_its_images_is_not_published(two_names):
    data, _ = two_names
    with Endpoint({"again": Key("secret", stock())}) as endpoint, pytest.raises(AccountShrank, match="is empty now"):
        run(data, accounts=[key_account("again", "again", "secret")], endpoint=endpoint.url)
