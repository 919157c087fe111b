"""DescribeSelfImages answers as published: envelope, page sizes, filters."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from alibabacloud_ens20171110 import models
from signed_calls import call, images_of, vendor_client

from pipeline.emulator import Endpoint, Key, living_account, read_account

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with Endpoint({"emulator": Key("emulator", living_account(images=143, seed=1))}) as open_endpoint:
        yield open_endpoint


def test_the_published_example_is_returned_unchanged(tmp_path):
    path = tmp_path / "example.json"
    path.write_text(json.dumps(PUBLISHED))

    with Endpoint({"emulator": ("emulator", read_account(path))}) as served:
        got = call(served)

    assert got.body | {"RequestId": ""} == PUBLISHED | {"RequestId": ""}


def test_the_vendor_client_reads_every_image_unchanged(endpoint):
    client = vendor_client(endpoint)

    pages = [
        client.describe_self_images(models.DescribeSelfImagesRequest(page_number=number, page_size=50)).body
        for number in (1, 2, 3)
    ]

    seen = [image.to_map() for page in pages for image in page.images.image]
    kept = living_account(images=143, seed=1).images_on(day=0)
    assert [page.total_count for page in pages] == ["143"] * 3
    assert [image["ImageId"] for image in seen] == [image["ImageId"] for image in kept]
    for ours, theirs in zip(kept, seen, strict=True):
        for field in ours.keys() - {"DiskDeviceMappings"}:  # its model drops an empty list
            assert theirs[field] == ours[field]


def test_sizes_and_counts_are_text_and_the_code_is_a_number(endpoint):
    body = call(endpoint, {"PageSize": "50"}).body

    assert (body["Code"], body["PageSize"], body["PageNumber"], body["TotalCount"]) == (0, "50", "1", "143")
    assert all(isinstance(image.get("ImageSize", ""), str) for image in body["Images"]["Image"])


def test_a_page_has_ten_images_by_default(endpoint):
    got = call(endpoint)

    assert len(images_of(got)) == 10
    assert (got.body["PageNumber"], got.body["PageSize"]) == ("1", "10")


def test_a_page_size_above_fifty_is_cut_and_the_response_contains_fifty(endpoint):
    got = call(endpoint, {"PageSize": "100"})

    assert len(images_of(got)) == 50
    assert got.body["PageSize"] == "50"


def test_a_page_size_above_fifty_is_refused_with_the_option():
    with Endpoint({"emulator": ("emulator", living_account(60))}, refuse_large_pages=True) as served:
        assert call(served, {"PageSize": "51"}).body["Code"] == "InvalidParameter.PageSize"
        assert len(images_of(call(served, {"PageSize": "50"}))) == 50


def test_the_pages_contain_every_image_once(endpoint):
    pages = [images_of(call(endpoint, {"PageNumber": str(n), "PageSize": "20"})) for n in range(1, 9)]

    assert [image for page in pages for image in page] == living_account(143, 1).images_on(0)


def test_a_page_past_the_end_is_empty(endpoint):
    got = call(endpoint, {"PageNumber": "4", "PageSize": "50"})

    assert (got.status, images_of(got), got.body["PageNumber"]) == (200, [], "4")
    assert got.body["TotalCount"] == "143"


def test_an_empty_account_is_an_empty_list():
    with Endpoint({"emulator": ("emulator", living_account(0))}) as served:
        got = call(served)

    assert (images_of(got), got.body["TotalCount"]) == ([], "0")


@pytest.mark.parametrize(
    ("params", "field", "wanted"),
    [({"ImageName": "频转"}, "ImageName", "频转"), ({"ImageId": "5a"}, "ImageId", "5a")],
)
def test_names_and_ids_are_filtered_by_a_part(endpoint, params, field, wanted):
    got = call(endpoint, {**params, "PageSize": "50"})

    expected = [image for image in living_account(143, 1).images_on(0) if wanted in image[field]]
    assert expected
    assert images_of(got) == expected
    assert got.body["TotalCount"] == str(len(expected))


def test_snapshots_are_filtered_by_the_whole_id(endpoint):
    snapshot = next(i["SnapshotId"] for i in living_account(143, 1).images_on(0) if "SnapshotId" in i)

    whole = images_of(call(endpoint, {"SnapshotId": snapshot}))
    part = images_of(call(endpoint, {"SnapshotId": snapshot[:-1]}))

    assert whole
    assert {image["SnapshotId"] for image in whole} == {snapshot}
    assert part == []


PUBLISHED = {
    "Code": 0,
    "Images": {
        "Image": [
            {
                "Architecture": "x86_64",
                "CreationTime": "2017-12-08T12:10:03Z",
                "ImageId": "centos_6_08_64_20G_a****",
                "ImageName": "centos_6_08_64_20G_a****",
                "ImageOwnerAlias": "self",
                "ImageSize": "20",
                "InstanceId": "i-5iqczfxps7csjrxeca****",
                "OsVersion": "7.2",
                "Platform": "centos",
                "Status": "Creating",
                "ComputeType": "ens_vm",
                "SnapshotId": "sp-5yt3bdedxzdz6t6uuw****",
                "DiskDeviceMappings": {
                    "DiskDeviceMapping": [
                        {
                            "Type": "Data",
                            "Size": "100",
                            "Format": "Image format.\nraw\nqcow2",
                            "imageId": "i-test",
                        }
                    ]
                },
                "ImageStorageSize": "400",
                "RegionId": "cn-wulanchabu",
            }
        ]
    },
    "RequestId": "A8B8EB73-B4FD-4262-8EF6-680DF39C9BA0",
    "PageSize": "10",
    "PageNumber": "1",
    "TotalCount": "1",
}  # the published page's example response, whole
