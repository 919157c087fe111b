"""Generated instances run from the account's images, change from day to day, and change nothing about the images."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.emulator import living_account
from pipeline.emulator.instance_generator import PUBLIC_IMAGES

DAY_0 = datetime(2026, 10, 1, 2, tzinfo=UTC)
PUBLIC = {image_id for image_id, _ in PUBLIC_IMAGES}

shapes = st.tuples(st.integers(0, 200), st.integers(0, 2**32), st.integers(0, 90))


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def by_id(instances: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {instance["InstanceId"]: instance for instance in instances}


@settings(max_examples=20, deadline=None)
@given(shapes, st.integers(0, 40))
def test_a_day_does_not_depend_on_the_days_read_before_and_has_the_same_images_without_instances(shape, day):
    account = living_account(*shape)
    for other in (day + 2, 0, day // 2):
        account.instances_on(other)

    assert len(account.instances_on(0)) == shape[2]
    assert account.instances_on(day) == living_account(*shape).instances_on(day)
    assert account.images_on(day) == living_account(*shape[:2]).images_on(day)


@settings(max_examples=10, deadline=None)
@given(shapes)
def test_an_instance_is_younger_than_its_image_and_its_id_is_never_reused(shape):
    account = living_account(*shape)
    seen: set[str] = set()
    before: set[str] = set()

    for day in range(25):
        images = {image["ImageId"]: image for image in account.images_on(day)}
        instances = by_id(account.instances_on(day))
        assert len(instances) == len(account.instances_on(day))
        assert not (instances.keys() - before) & seen
        for instance_id in instances.keys() - before:
            instance = instances[instance_id]
            created = instant(instance["CreationTime"])
            assert created <= DAY_0 + timedelta(days=day)
            if day and instance["ImageId"] not in PUBLIC:
                assert images[instance["ImageId"]]["Status"] == "Available"
            if instance["ImageId"] in images:
                assert instant(images[instance["ImageId"]]["CreationTime"]) < created + timedelta(minutes=1)
        before = set(instances)
        seen |= before


def test_instances_run_from_own_public_and_deleted_images_and_many_images_are_unused():
    account = living_account(143, 1, 60)
    deleted_since = 0

    for day in (0, 10, 20, 30):
        images = {image["ImageId"] for image in account.images_on(day)}
        used = Counter(instance["ImageId"] for instance in account.instances_on(day))
        gone = used.keys() - images - PUBLIC
        assert 20 <= len(images & used.keys()) <= 60
        assert max(used.values()) >= 4
        assert used.keys() & PUBLIC
        assert gone
        deleted_since += len(gone & {image["ImageId"] for image in account.images_on(0)})
    assert deleted_since


def test_every_kind_of_change_happens_within_a_month():
    account = living_account(143, 1, 60)
    changes: Counter[str] = Counter()
    for day in range(1, 31):
        before, after = by_id(account.instances_on(day - 1)), by_id(account.instances_on(day))
        changes["created"] += len(after.keys() - before.keys())
        changes["released"] += len(before.keys() - after.keys())
        for instance_id in before.keys() & after.keys():
            old, new = before[instance_id], after[instance_id]
            assert new["CreationTime"] == old["CreationTime"]
            changes.update(field for field in old if old[field] != new[field])
            changes[f"{old['Status']} to {new['Status']}"] += 1

    assert min(changes["created"], changes["released"], changes["ImageId"], changes["ExpiredTime"]) >= 10
    assert min(changes["Running to Stopped"], changes["Stopped to Running"], changes["Running to Expired"]) >= 3
    assert min(changes["AutoReleaseTime"], changes["DeletionProtection"], changes["InstanceName"]) >= 2


def test_a_status_is_expired_exactly_if_the_term_has_ended_and_nobody_outlives_its_release():
    account = living_account(143, 3, 90)

    for day in range(0, 60, 3):
        now = DAY_0 + timedelta(days=day)
        for instance in account.instances_on(day):
            assert (instance["Status"] == "Expired") == (instant(instance["ExpiredTime"]) <= now)
            assert instant(instance["ExpiredTime"]) > now - timedelta(days=15)
            assert not instance.get("AutoReleaseTime") or instant(instance["AutoReleaseTime"]) > now
            assert (instance["InstanceResourceType"] == "EnsInstance") == (instance["ExpiredTime"][:4] < "2099")


def test_disk_sizes_are_whole_gib_in_mib_and_add_up():
    for instance in living_account(143, 1, 90).instances_on(5):
        disks = instance.get("DataDisk", {}).get("DataDisk", [])
        sizes_mib = [disk["Size"] for disk in (instance["SystemDisk"], *disks)]

        assert instance["Disk"] == sum(sizes_mib)
        assert all(size % 1_024 == 0 for size in sizes_mib)
        assert [disk["DiskSize"] * 1_024 for disk in disks] == sizes_mib[1:]


def test_a_small_account_has_every_kind_of_instance():
    instances = living_account(143, 1, 60).instances_on(0)

    assert {each["Status"] for each in instances} == {"Running", "Stopped", "Expired"}
    assert {each["InstanceResourceType"] for each in instances} == {
        "EnsInstance", "EnsPostPaidInstance", "EnsService", "BuildMachine",
    }  # fmt: skip
    assert {each["ExpiredTime"][:4] for each in instances} >= {"2099", "2119"}
    assert {len(each["DataDisk"]["DataDisk"]) for each in instances if "DataDisk" in each} >= {0, 1, 2}
    assert any("DataDisk" not in each for each in instances)
    assert any(len(each["CreationTime"]) == len("2026-10-01T02:00Z") for each in instances)
