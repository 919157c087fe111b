"""A run over images and instances: one commit, a certificate each, and a right that may be missing."""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from lake_builder import Seen, image, instance, write_run

from pipeline import connect, rebuild
from pipeline.credentials import key_account
from pipeline.emulator import Endpoint, Key, living_account
from pipeline.errors import AccountShrank, BadSetting, NotPermitted
from pipeline.jobs.compaction import compact
from pipeline.jobs.run import run
from pipeline.jobs.status import status
from pipeline.jobs.withdrawal import restore, withdraw
from pipeline.lake.check import check

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("with_instances")

DAY = dt.datetime(2026, 10, 1, 2)  # noqa: DTZ001  (UTC without a zone, as everywhere)


class Living:
    """An account whose instances may be taken away."""

    def __init__(self) -> None:
        self._account = living_account(60, 1, 30)
        self.has_instances = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._account, name)

    def images_on(self, day: int) -> list[dict[str, Any]]:
        return self._account.images_on(day)

    def new_image(self, serial: int, day: int) -> dict[str, Any]:
        return self._account.new_image(serial, day)

    def instances_on(self, day: int) -> list[dict[str, Any]]:
        return self._account.instances_on(day) if self.has_instances else []

    def new_instance(self, serial: int, day: int) -> dict[str, Any]:
        return self._account.new_instance(serial, day)


def observe(data: Path, key: Key, *days: int, **options: Any) -> Any:
    """Run on these days. Returns: the last run."""
    with Endpoint({"emulator": key}) as endpoint:
        for day in days:
            endpoint.day = day
            result = run(
                data,
                accounts=[key_account("prod", "emulator", key.secret)],
                endpoint=endpoint.url,
                rate=None,
                observed_at=DAY + dt.timedelta(days=day),
                **options,
            )
    return result


def rows(data: Path, query: str) -> list[tuple[Any, ...]]:
    with connect(data) as con:
        return con.sql(query).fetchall()


def state(data: Path, day: int, **options: Any) -> Any:
    """The state of the instances on a day, and what is not fresh."""
    found, error = status(data, now=DAY + dt.timedelta(days=day, hours=1), **options)
    return dict(zip(found.columns, found.rows[0], strict=True))["instances_state"], error


def test_a_run_lists_images_and_instances_and_commits_them_together(tmp_path):
    account = living_account(60, 1, 30)
    result = observe(tmp_path, Key("s", account), 0, 1)

    assert str(result).splitlines()[1].startswith("prod/instances: verified, 30 instances, ")
    assert len(list((tmp_path / "lake" / "observations").rglob("*.parquet"))) == 2
    assert rows(
        tmp_path, "select resource, certificate, proof, item_count from observations order by run_id, resource"
    ) == [
        ("images", "verified", "quiet", len(account.images_on(0))),
        ("instances", "verified", "one page", len(account.instances_on(0))),
        ("images", "verified", "quiet", len(account.images_on(1))),
        ("instances", "verified", "one page", len(account.instances_on(1))),
    ]
    sent = {(one["InstanceId"], one["ImageId"], one["Status"]) for one in account.instances_on(1)}
    assert set(rows(tmp_path, "select instance_id, image_id, status from instances_latest")) == sent
    assert rows(tmp_path, "select sum(unknown_field_count), sum(reject_count) from observations") == [(0, 0)]
    assert rows(tmp_path, "select count(*) from instances_latest where extra is not null") == [(0,)]
    assert check(tmp_path, deep=True).findings == []
    rebuild(tmp_path, into=tmp_path / "again")
    for table in ("instances", "instance_disks", "instance_versions", "images"):
        query = f"from {table} order by all"
        assert rows(tmp_path / "again", query) == rows(tmp_path, query)


def test_without_the_right_images_are_published_and_the_run_says_what_to_add(tmp_path):
    key = Key("s", living_account(60, 1, 30), permitted_days={"DescribeInstances": range(2, 9)})
    result = observe(tmp_path, key, 0)

    assert result.exit_code == 0
    assert (
        str(result)
        .splitlines()[1]
        .startswith(
            "prod/instances: not permitted, so nothing is known of them: add ens:DescribeInstances to the policy"
        )
    )
    assert state(tmp_path, 0, max_age="26h") == ("not permitted", None)
    assert rows(tmp_path, "select count(*) from images_latest") == [(len(key.account.images_on(0)),)]
    assert check(tmp_path, deep=True).findings == []
    with pytest.raises(NotPermitted, match="ens:DescribeInstances") as refused:
        observe(tmp_path, key, 1, resources=["images", "instances"])
    assert refused.value.exit_code == refused.value.run.exit_code == 4
    assert rows(tmp_path, "select count(*) from observations where resource = 'images' and is_published") == [(2,)]

    assert str(observe(tmp_path, key, 2)).splitlines()[1].startswith("prod/instances: verified")
    assert state(tmp_path, 2)[0] == "ok"
    observe(tmp_path, key, 10)  # the right is gone again: that is news
    found, error = state(tmp_path, 10, max_age="300d")
    assert found == "failed since"
    assert "instances failed since (NotPermitted" in str(error)


def test_instances_that_are_all_gone_wait_for_the_user_s_word(tmp_path):
    account = Living()
    key = Key("s", account)
    observe(tmp_path, key, 0)
    account.has_instances = False
    with pytest.raises(AccountShrank, match=r"had 30 instances and has none now.*--accept-shrink instances"):
        observe(tmp_path, key, 1)
    with pytest.raises(AccountShrank):
        observe(tmp_path, key, 2, accept_shrink=["images"])
    assert rows(tmp_path, "select count(*) from instances_latest") == [(30,)]
    assert rows(tmp_path, "select count(*) from observations where resource = 'images' and is_published") == [(3,)]

    observe(tmp_path, key, 3, accept_shrink=["instances"])
    assert rows(tmp_path, "select count(*) from instances_latest") == [(0,)]
    assert rows(tmp_path, "select count(*) from instances where observed_at_utc = '2026-10-01 02:00'") == [(30,)]


def test_resources_are_chosen_by_name(tmp_path):
    key = Key("s", living_account(60, 1, 30))
    observe(tmp_path, key, 0, resources=["instances"])
    assert rows(tmp_path, "select resource from observations") == [("instances",)]
    observe(tmp_path, key, 1, resources=["images"])
    assert state(tmp_path, 1)[0] == "not listed now"
    for wrong in (["none"], "images"):
        with pytest.raises(BadSetting, match="resources is a list of names from images, instances, not"):
            observe(tmp_path, key, 2, resources=wrong)


def test_one_resource_of_an_observation_can_be_withdrawn(tmp_path):
    key = Key("s", living_account(60, 1, 30))
    run_id = observe(tmp_path, key, 0, 1).run_id
    withdraw(tmp_path, f"{run_id}/prod/instances", at=DAY)
    said = str(withdraw(tmp_path, f"{run_id}/prod/images", at=DAY, dry_run=True))
    assert said.startswith(f"{run_id}/prod/images: would be withdrawn")
    assert re.search(rf"restore .*{run_id}/prod/images`? .*brings it back", said)  # not the instances too
    published = "select resource, count(*) from observations where is_published group by all order by all"
    assert rows(tmp_path, published) == [("images", 2), ("instances", 1)]
    assert rows(tmp_path, "select distinct observed_at_utc from instances_latest") == [(DAY,)]
    restore(tmp_path, f"{run_id}/prod/instances", at=DAY)
    withdraw(tmp_path, f"{run_id}/prod", at=DAY)
    assert rows(tmp_path, published) == [("images", 1), ("instances", 1)]
    assert check(tmp_path).findings == []


TABLES = {"images": "images", "image_disks": "images", "instances": "instances", "instance_disks": "instances"}
"""Table → its resource; those of `rejects` are in its column."""


def by_pandas(data: Path) -> Counter[tuple[str, str, str, str]]:
    """Count the rows by resource, account, day and table, as pandas reads the folders."""
    found = Counter()
    for name in (*TABLES, "rejects"):
        frame = pd.read_parquet(data / "lake" / name)
        resources = frame["resource"] if name == "rejects" else [TABLES[name]] * len(frame)
        found.update(
            zip(resources, frame["account"], frame["observed_on"].astype(str), [name] * len(frame), strict=True)
        )
    return found


def by_views(data: Path) -> Counter[tuple[str, str, str, str]]:
    """The same, as the views answer."""
    resources = {name: f"'{resource}'" for name, resource in TABLES.items()} | {"rejects": "resource"}
    queries = (
        f"select {resource}, account, cast(observed_on as text), '{name}' from {name}"  # noqa: S608
        for name, resource in resources.items()
    )
    return Counter(rows(data, " union all ".join(queries)))


@pytest.mark.parametrize("is_compacted", [False, True])
def test_a_withdrawn_resource_of_one_account_leaves_every_other_row_in_the_folders(tmp_path, is_compacted):
    for at in ("2026-10-01 02:00", "2026-10-02 02:00"):
        listed = {
            "images": [image("m-1", 5), image("m-2")],
            "instances": [instance("i-1", "m-1"), instance("i-2", None)],
        }
        rejects = [{"resource": resource, "item_id": "x", "field": "y"} for resource in listed]
        run_id = write_run(tmp_path, *(Seen(account, at, **listed, rejects=rejects) for account in "ab"))
    if is_compacted:
        compact(tmp_path, at=DAY)
    before, findings = by_pandas(tmp_path), check(tmp_path).findings  # of the raw pages, which are made up
    assert before["instances", "b", "2026-10-02", "instance_disks"] == 2
    assert len(before) == 2 * 2 * (4 + 2)
    files = sorted((tmp_path / "lake" / "images").rglob("*.parquet"))

    withdrawn: set[tuple[str, ...]] = set()
    for change, account, resource in (
        (withdraw, "b", "instances"), (withdraw, "a", "images"), (restore, "b", "instances"),
        (withdraw, "a", "instances"), (restore, "a", "images"), (restore, "a", "instances"),
    ):  # fmt: skip
        change(tmp_path, f"{run_id}/{account}/{resource}", at=DAY)
        withdrawn ^= {(resource, account, "2026-10-02")}
        assert by_pandas(tmp_path) == by_views(tmp_path) == {
            key: count for key, count in before.items() if key[:3] not in withdrawn
        }  # fmt: skip
        assert check(tmp_path).findings == findings
        if not any(resource == "images" for resource, *_ in withdrawn):
            assert sorted((tmp_path / "lake" / "images").rglob("*.parquet")) == files
    assert not list((tmp_path / "lake" / ".withdrawn").rglob("*.parquet"))


def test_calls_for_1037_images_and_300_instances(tmp_path):
    with Endpoint({"emulator": Key("s", living_account(1037, 1, 300))}) as endpoint:
        account = key_account("prod", "emulator", "s")
        counts = []
        for _ in range(2):
            before = endpoint.calls
            run(tmp_path, accounts=[account], endpoint=endpoint.url, rate=None)
            counts.append(endpoint.calls - before)
    assert counts == [43 + 8, 22 + 5]  # 3 full pages of instances, and the empty one past the end
