"""Generated accounts are repeatable, change from day to day and never reuse an id; files are read unchanged."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.emulator import living_account, read_account

DAY_0 = datetime(2026, 10, 1, tzinfo=UTC)

shapes = st.tuples(st.integers(0, 300), st.integers(0, 2**32))


@settings(max_examples=25, deadline=None)
@given(shapes, st.integers(0, 60))
def test_a_day_does_not_depend_on_the_days_read_before(shape, day):
    account = living_account(*shape)
    for other in (day + 2, 0, day // 2):
        account.images_on(other)

    assert account.images_on(day) == living_account(*shape).images_on(day)


@settings(max_examples=25, deadline=None)
@given(shapes)
def test_day_0_has_exactly_the_requested_number_of_images(shape):
    assert len(living_account(*shape).images_on(0)) == shape[0]


@settings(max_examples=10, deadline=None)
@given(shapes)
def test_an_id_is_never_reused(shape):
    account = living_account(*shape)
    seen: set[str] = set()
    before: set[str] = set()

    for day in range(40):
        ids = [image["ImageId"] for image in account.images_on(day)]
        assert len(ids) == len(set(ids))
        assert not (set(ids) - before) & seen
        before = set(ids)
        seen |= before


@settings(max_examples=10, deadline=None)
@given(shapes)
def test_no_image_is_created_after_its_day(shape):
    account = living_account(*shape)

    for day in (0, 1, 30):
        listed_at = DAY_0 + timedelta(days=day, hours=2)
        assert all(created(image) <= listed_at for image in account.images_on(day))


def created(image: dict[str, str]) -> datetime:
    return datetime.fromisoformat(image["CreationTime"])


@pytest.mark.parametrize(("images", "busy_days"), [(143, 25), (1_037, 29)])
def test_a_small_share_of_the_images_changes_on_most_days(images, busy_days):
    account = living_account(images, seed=3)
    busy = 0
    totals = {"created": 0, "deleted": 0, "changed": 0}

    for day in range(1, 31):
        before = {image["ImageId"]: image for image in account.images_on(day - 1)}
        after = {image["ImageId"]: image for image in account.images_on(day)}
        counts = {
            "created": len(after.keys() - before.keys()),
            "deleted": len(before.keys() - after.keys()),
            "changed": sum(before[image_id] != after[image_id] for image_id in before.keys() & after.keys()),
        }
        assert sum(counts.values()) < 0.05 * images
        busy += any(counts.values())
        totals = {kind: totals[kind] + count for kind, count in counts.items()}

    assert busy >= busy_days
    assert min(totals.values()) >= 5


def test_images_are_listed_newest_first():
    images = living_account(300).images_on(20)

    instants = [created(image).replace(second=0) for image in images]  # some have no seconds
    assert instants == sorted(instants, reverse=True)


def test_a_small_account_has_every_kind_of_image():
    images = living_account(143, seed=5).images_on(0)
    disks = [(image.get("DiskDeviceMappings") or {}).get("DiskDeviceMapping", []) for image in images]

    assert {image["Platform"] for image in images} == {"centos", "ubuntu", "debian", "alios", "rhel", "windows"}
    assert {image["Status"] for image in images} >= {"Available", "Pack_failed", "Upload_failed"}
    assert {image["ImageOwnerAlias"] for image in images} == {"self", "others"}
    assert {"x86_64", "arm64"} <= {image["Architecture"] for image in images}
    assert {0, 1, 2, 16} <= set(map(len, disks))
    assert sum("DiskDeviceMappings" not in image for image in images) > 2
    assert any("ImageSize" not in image for image in images)
    assert len({image["ImageName"] for image in images}) < 143
    assert any(re.search("[一-龥]", image["ImageName"]) for image in images)
    assert 8 <= len({image["RegionId"] for image in images}) <= 15
    assert min(map(created, images)) < DAY_0 - timedelta(days=5 * 365)
    assert len({image["InstanceId"] for image in images}) < 143


# --- Files ---


@pytest.mark.parametrize(
    "content", ["[]", '{"Images": null}', '{"Images": {"Image": null}}', '{"Images": {"Image": []}}']
)
def test_a_file_may_contain_an_empty_account(tmp_path, content):
    path = tmp_path / "images.json"
    path.write_text(content)

    assert read_account(path).images_on(0) == []


def test_a_file_may_be_a_list_of_images(tmp_path):
    path = tmp_path / "images.json"
    path.write_text('[{"ImageId": "m-1"}, {"ImageId": "m-2", "New": 1}]', encoding="utf-8")

    assert read_account(path).images_on(7) == [{"ImageId": "m-1"}, {"ImageId": "m-2", "New": 1}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Images:", "not JSON"),
        ('{"Snapshots": []}', "expected 'Images' or 'Instances', found Snapshots"),
        ("7", "found a number"),
        ('{"Images": {"Image": {"ImageId": "m-1"}}}', "found an object"),
        ('[{"ImageId": "m-1"}, "m-2"]', "image 2 is text"),
    ],
)
def test_a_file_of_another_shape_is_refused_with_its_name_and_content(tmp_path, content, message):
    path = tmp_path / "images.json"
    path.write_text(content)

    with pytest.raises(ValueError, match=re.escape(message)) as error:
        read_account(path)

    assert str(path) in str(error.value)
