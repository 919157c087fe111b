"""The tables that follow from the declaration of a resource."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pipeline.resources.images import DISK_FIELDS, IMAGE_DISKS, IMAGE_FIELDS, IMAGE_VERSIONS, IMAGES, IMAGES_RESOURCE
from pipeline.resources.tables import RESOURCES, TABLES

FIELDS = [
    "image_name",
    "image_owner",
    "status",
    "platform",
    "os_version",
    "architecture",
    "compute_type",
    "region_id",
    "image_size_gib",
    "image_storage_size",
    "created_at_utc",
    "instance_id",
    "snapshot_id",
    "extra",
]
DISK = ["disk_number", "disk_type", "disk_size_gib", "disk_format", "disk_image_id", "extra"]
SUMS = ["disk_count", "unsized_disk_count", "disk_size_gib"]
BOUNDS = ["first_seen_utc", "last_seen_utc", "gone_at_utc", "life_began_utc", "previous_seen_utc", "next_seen_utc"]


def names(columns):
    return [column.name for column in columns]


def test_images_have_the_columns_that_their_files_have():
    assert names(IMAGES.columns) == ["account", "observed_at_utc", "observed_on", "image_id", *FIELDS, *SUMS]
    assert names(IMAGE_DISKS.columns) == ["account", "observed_at_utc", "observed_on", "image_id", *DISK]
    assert names(IMAGE_VERSIONS.columns) == ["account", "image_id", *BOUNDS, *FIELDS, *SUMS, "disks"]
    assert (names(IMAGE_FIELDS), names(DISK_FIELDS)) == (FIELDS, DISK)
    assert [table.format for table in (IMAGES, IMAGE_DISKS, IMAGE_VERSIONS)] == ["1", "1", "2"]
    assert [column.name for column in (*IMAGES.columns, *IMAGE_DISKS.columns) if column.since] == SUMS


def test_the_header_of_a_file_of_images_says_what_it_said():
    schema = IMAGE_DISKS.arrow()
    size = IMAGE_VERSIONS.arrow().field("disks")

    assert schema.metadata == {
        b"table": b"image_disks",
        b"grain": b"One disk of one image in one published observation.",
        b"key": b"account, observed_at_utc, image_id, disk_number",
        b"format": b"1",
        b"example": b"select observed_on, count(*) as disk_count from image_disks where disk_size_gib > 99 "
        b"group by observed_on",
    }
    assert IMAGES.arrow().metadata[b"grain"] == b"One image of one account in one published observation."
    assert (
        IMAGES.arrow().metadata[b"example"]
        == b"select observed_on, count(*) as image_count from images group by observed_on order by observed_on"
    )
    assert schema.field("disk_size_gib").metadata == {b"doc": b"Size of the disk.", b"unit": b"GiB", b"api": b"Size"}
    assert size.metadata == {b"doc": b"Its disks, in the order of their numbers.", b"api": b"DiskDeviceMapping"}
    assert size.type == pa.list_(pa.struct([column.arrow() for column in DISK_FIELDS]))


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.name)
def test_what_a_resource_names_is_declared(resource):
    columns = names((resource.key, *resource.columns))
    named = [resource.created, resource.owned and resource.owned[0], *dict(resource.action.filters)]

    assert {name for name in named if name} <= set(columns)
    assert {column.never for column in resource.columns if column.never} <= set(columns)
    assert {*resource.tables, resource.versions} <= set(TABLES)
    assert len({*names(resource.table.columns)}) == len(resource.table.columns)
    for child in resource.children:
        assert {rollup.of for rollup in child.rollups if rollup.of} <= set(names(child.columns))
        assert {name for path in child.paths for name, _ in path.values} <= set(names(child.columns))


def test_images_are_listed_by_their_action():
    action = IMAGES_RESOURCE.action

    assert (action.name, action.items, action.page_size) == ("DescribeSelfImages", ("Images", "Image"), 50)
    assert action.permission == "ens:DescribeSelfImages"
