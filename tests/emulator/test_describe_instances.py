"""DescribeInstances answers as published: envelope, pages, filters, order, rights; the vendor's client reads it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from alibabacloud_ens20171110 import models
from signed_calls import Got, call, vendor_client

from pipeline.emulator import Endpoint, Key, living_account, read_account

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
ACCOUNT = living_account(images=143, seed=1, instances=237)
ALL = ACCOUNT.instances_on(0)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with Endpoint({"emulator": Key("emulator", ACCOUNT)}) as open_endpoint:
        yield open_endpoint


def list_instances(endpoint: Endpoint, params: dict[str, str] | None = None) -> Got:
    return call(endpoint, params, x_acs_action="DescribeInstances")


def instances_of(got: Got) -> list[dict[str, Any]]:
    return got.body["Instances"]["Instance"]


def found(endpoint: Endpoint, params: dict[str, str]) -> list[str]:
    got = list_instances(endpoint, {**params, "PageSize": "100"})
    return [instance["InstanceId"] for instance in instances_of(got)]


def ids(instances: list[dict[str, Any]]) -> list[str]:
    return [instance["InstanceId"] for instance in instances]


def test_the_published_example_is_returned_unchanged(tmp_path):
    path = tmp_path / "example.json"
    path.write_text(json.dumps(PUBLISHED))

    with Endpoint({"emulator": ("emulator", read_account(path))}) as served:
        got = list_instances(served)

    sent = PUBLISHED | {"PageSize": 10, "TotalCount": 1}  # the example says 60 and 2, and lists one
    assert got.body | {"RequestId": ""} == sent | {"RequestId": ""}


def test_the_vendor_client_reads_every_instance_unchanged_in_the_order_of_creation(endpoint):
    client = vendor_client(endpoint)
    oldest_first = json.dumps({"CreationTimeSort": "asc"})

    pages = [
        client.describe_instances(
            models.DescribeInstancesRequest(page_number=number, page_size="100", order_by_params=oldest_first)
        ).body
        for number in (1, 2, 3)
    ]

    seen = [instance.to_map() for page in pages for instance in page.instances.instance]
    created = [datetime.fromisoformat(instance["CreationTime"]) for instance in seen]
    assert created == sorted(created)
    assert sorted(seen, key=lambda each: each["InstanceId"]) == sorted(ALL, key=lambda each: each["InstanceId"])
    assert [(page.code, page.page_number, page.page_size, page.total_count) for page in pages] == [
        (0, 1, 100, 237), (0, 2, 100, 237), (0, 3, 100, 237),
    ]  # fmt: skip


def test_the_vendor_client_filters_by_lists(endpoint):
    wanted = ids(ALL)[3:6]
    request = models.DescribeInstancesRequest(instance_ids=json.dumps(wanted), service_status=["Normal", "Expired"])

    body = vendor_client(endpoint).describe_instances(request).body

    assert [instance.instance_id for instance in body.instances.instance] == wanted


def test_sizes_and_counts_are_numbers_and_the_default_page_has_ten(endpoint):
    body = list_instances(endpoint).body

    assert [body[field] for field in ("Code", "PageSize", "PageNumber", "TotalCount")] == [0, 10, 1, 237]
    assert len(body["Instances"]["Instance"]) == 10


@pytest.mark.parametrize("size", ["100", "101", "5000"])
def test_a_page_has_a_hundred_instances_at_most(endpoint, size):
    got = list_instances(endpoint, {"PageSize": size})

    assert (len(instances_of(got)), got.body["PageSize"]) == (100, 100)


def test_an_account_without_instances_is_an_empty_list():
    class ImagesOnly:
        def images_on(self, day: int) -> list[dict[str, Any]]:
            return ACCOUNT.images_on(day)

        def new_image(self, serial: int, day: int) -> dict[str, Any]:
            return ACCOUNT.new_image(serial, day)

    for account in (living_account(3), ImagesOnly()):
        with Endpoint({"emulator": ("emulator", account)}) as served:
            got = list_instances(served)

        assert (instances_of(got), got.body["TotalCount"]) == ([], 0)


@pytest.mark.parametrize("field", ["InstanceId", "InstanceName", "ImageId", "Status", "EnsRegionId"])
def test_a_filter_compares_the_whole_value(endpoint, field):
    value = ALL[7][field]

    assert found(endpoint, {field: value}) == ids([each for each in ALL if each[field] == value])[:100]
    assert found(endpoint, {field: value[:-1]}) == []


def test_filters_are_combined_by_and_and_an_empty_value_is_no_filter(endpoint):
    expected = [each for each in ALL if each["Status"] == "Stopped" and each["InstanceResourceType"] == "EnsInstance"]

    both = found(endpoint, {"Status": "Stopped", "InstanceResourceType": "EnsInstance", "ImageId": ""})

    assert expected
    assert both == ids(expected)


def test_lists_of_ids_filter_and_an_empty_list_finds_nothing(endpoint):
    wanted = [ALL[40]["InstanceId"], ALL[3]["InstanceId"], "i-unknown"]
    nodes = [ALL[0]["EnsRegionId"]]

    assert found(endpoint, {"InstanceIds": json.dumps(wanted)}) == [ALL[3]["InstanceId"], ALL[40]["InstanceId"]]
    assert found(endpoint, {"EnsRegionIds": json.dumps(nodes)}) == ids(
        [each for each in ALL if each["EnsRegionId"] in nodes]
    )
    assert found(endpoint, {"InstanceIds": "[]"}) == []
    assert len(found(endpoint, {"InstanceIds": ""})) == 100


def test_a_search_key_is_a_part_of_the_name_the_id_or_an_address(endpoint):
    instance = next(each for each in ALL if each["PublicIpAddress"]["IpAddress"])

    for key in (
        instance["InstanceName"][2:],
        instance["InstanceId"][3:],
        instance["InnerIpAddress"]["IpAddress"][0],
        instance["PublicIpAddress"]["IpAddress"][0],
    ):
        assert instance["InstanceId"] in found(endpoint, {"SearchKey": key})


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"PageSize": "ten"}, "InvalidParameter.PageSize"),
        ({"PageNumber": "0"}, "InvalidParameter.PageNumber"),
        ({"InstanceIds": "i-1,i-2"}, "InvalidParameter.InstanceIds"),
        ({"InstanceIds": json.dumps(["i"] * 101)}, "InvalidParameter.InstanceIds"),
        ({"OrderByParams": "CreationTimeSort"}, "InvalidParameter.OrderByParams"),
        ({"OrderByParams": '{"CreationTimeSort": "up"}'}, "InvalidParameter.OrderByParams"),
        ({"OrderByParams": '{"CreationTime": "asc"}'}, "InvalidParameter.OrderByParams"),
    ],
)
def test_a_parameter_of_another_form_is_refused(endpoint, params, code):
    got = list_instances(endpoint, params)

    assert (got.status, got.body["Code"]) == (400, code)


def test_instances_are_sorted_by_several_keys(endpoint):
    order = json.dumps({"EnsRegionId": "desc", "CreationTimeSort": "asc"})

    pages = [list_instances(endpoint, {"PageNumber": n, "PageSize": "100", "OrderByParams": order}) for n in "123"]

    seen = [instance for page in pages for instance in instances_of(page)]
    oldest_first = sorted(ALL, key=lambda each: datetime.fromisoformat(each["CreationTime"]))
    assert len(seen) == 237
    assert [each["EnsRegionId"] for each in seen] == sorted((each["EnsRegionId"] for each in ALL), reverse=True)
    for node in {each["EnsRegionId"] for each in ALL}:
        expected = [each["CreationTime"] for each in oldest_first if each["EnsRegionId"] == node]
        assert [each["CreationTime"] for each in seen if each["EnsRegionId"] == node] == expected


def test_an_instance_that_is_created_during_the_listing_is_last_in_the_order_of_creation():
    order = {"OrderByParams": '{"CreationTimeSort": "asc"}', "PageSize": "100"}
    with Endpoint({"emulator": ("emulator", ACCOUNT)}, faults=["insertions:count=2,place=start,times=1"]) as served:
        pages = [list_instances(served, {**order, "PageNumber": number}) for number in "123"]

    seen = ids([instance for page in pages for instance in instances_of(page)])
    assert [page.body["TotalCount"] for page in pages] == [239] * 3
    assert len(set(seen)) == 239
    assert set(seen[-2:]) == set(seen) - set(ids(ALL))


def test_a_right_can_be_missing_come_late_and_be_revoked():
    days = {
        "never": {"DescribeInstances": ()},
        "late": {"DescribeInstances": range(2, 400)},
        "revoked": {"DescribeInstances": range(2)},
    }
    keys = {name: Key("emulator", ACCOUNT, permitted_days=permitted) for name, permitted in days.items()}
    allowed: dict[str, list[bool]] = {name: [] for name in keys}

    with Endpoint(keys) as served:
        for served.day in (0, 1, 2, 3):
            for name, answers in allowed.items():
                got = call(served, key=name, x_acs_action="DescribeInstances")
                answers.append(got.status == 200)
                assert got.status == 200 or got.body["Code"] == "NoPermission"
                assert call(served, key=name).status == 200

    assert allowed == {
        "never": [False] * 4,
        "late": [False, False, True, True],
        "revoked": [True, True, False, False],
    }


def test_all_numbers_can_be_text_and_all_number_texts_numbers():
    def first(fault: str) -> dict[str, Any]:
        with Endpoint({"emulator": ("emulator", ACCOUNT)}, faults=[fault]) as served:
            return list_instances(served).body

    text, numbers = first("numbers-as-text"), first("text-as-numbers")

    assert [text[field] for field in ("Code", "PageSize", "PageNumber", "TotalCount")] == ["0", "10", "1", "237"]
    for sent, as_text, as_numbers in zip(
        ALL, text["Instances"]["Instance"], numbers["Instances"]["Instance"], strict=False
    ):
        assert (as_text["Memory"], as_numbers["Cpu"]) == (str(sent["Memory"]), int(sent["Cpu"]))
        assert as_text["SystemDisk"]["Size"] == str(sent["SystemDisk"]["Size"])
        for disk, disk_as_text in zip(disks_of(sent), disks_of(as_text), strict=True):
            assert disk_as_text["DiskSize"] == str(disk["DiskSize"])


def test_a_fault_of_instances_changes_no_image_and_an_account_owns_all_of_its_instances():
    faults = [f"{name}:action=DescribeInstances,times=1" for name in ("deletions", "sharing", "owned-total")]
    with Endpoint({"emulator": ("emulator", ACCOUNT)}, faults=faults) as served:
        instances, images = list_instances(served, {"PageSize": "100"}), call(served, {"PageSize": "50"})

    assert instances.body["TotalCount"] == 236
    assert images.body["TotalCount"] == "143"
    assert images.body["Images"]["Image"] == ACCOUNT.images_on(0)[:50]


@contextmanager
def emulate(*options: str) -> Iterator[Any]:
    """Run the command on a free port; yields an object with its URL."""
    command = [sys.executable, "-m", "pipeline", "emulate", "--port", "0", *options]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield SimpleNamespace(url=re.search(r"http://127\.0\.0\.1:\d+", process.stderr.readline())[0])
        finally:
            process.send_signal(signal.SIGTERM)
    assert process.returncode == 0


def test_emulate_serves_as_many_instances_as_asked_and_denies_an_action():
    with emulate("--images", "9", "--instances", "12", "--seed", "4", "--deny", "DescribeSelfImages") as served:
        got = list_instances(served, {"PageSize": "100"})
        refused = call(served)

    assert instances_of(got) == living_account(9, 4, 12).instances_on(0)
    assert refused.body["Code"] == "NoPermission"


def test_emulate_serves_the_images_and_instances_of_a_file_and_other_ids_to_a_second_key(tmp_path):
    path = tmp_path / "account.json"
    images = {"Image": [{"ImageId": "m-1"}]}
    instances = [{"InstanceId": "i-1", "ImageId": "m-1"}, {"InstanceId": "i-2", "ImageId": "centos_7"}]
    path.write_text(json.dumps({"Images": images, "Instances": instances}))

    with emulate("--file", str(path), "--key", "one:secret", "--key", "two:secret") as served:
        first, second = (
            call(served, key=key, secret="secret", x_acs_action="DescribeInstances") for key in ("one", "two")
        )

    assert instances_of(first) == instances
    assert instances_of(second) == [
        {"InstanceId": "i-1-2", "ImageId": "m-1-2"},
        {"InstanceId": "i-2-2", "ImageId": "centos_7"},
    ]


def disks_of(instance: dict[str, Any]) -> list[dict[str, Any]]:
    return instance.get("DataDisk", {}).get("DataDisk", [])


PUBLISHED = {
    "Code": 0,
    "PageSize": 60,
    "PageNumber": 1,
    "RequestId": "473469C7-AA6F-4DC5-B3DB-A3DC0DE3C83E",
    "TotalCount": 2,
    "Instances": {
        "Instance": [
            {
                "CreationTime": "2019-07-26T06:40:43Z",
                "Status": "Running",
                "SpecName": "ens.sn1.stiny",
                "InstanceTypeFamily": "x86_vm",
                "InstanceResourceType": "EnsService",
                "HostName": "testHostName",
                "InstanceId": "i-instanc****",
                "InternetMaxBandwidthIn": 40,
                "InternetMaxBandwidthOut": 100,
                "EnsRegionId": "cn-hangzhou-telecom",
                "Cpu": "2",
                "ExpiredTime": "2119-07-13T02:38:57Z",
                "InstanceName": "i-5itef0f28t17bcdw9deu6meub",
                "Disk": 71680,
                "OSName": "centos 6.8 x86_64",
                "Memory": 2048,
                "ImageId": "m-****",
                "DataDisk": {
                    "DataDisk": [
                        {
                            "device_type": "pangu",
                            "disk_type": "system",
                            "Size": 51200,
                            "DiskName": "DiskName",
                            "uuid": "5431f898-1323-4e64-8ce1-6cad50ed****",
                            "storage": 20480,
                            "DiskId": "d-5ip4c2dhmas0vjd5u1r****",
                            "Category": "file",
                            "name": "name",
                            "DiskSize": 100,
                            "EncryptKeyId": "0e478b7a-4262-4802-b8cb-00d3fxxxxx",
                            "Encrypted": True,
                        }
                    ]
                },
                "PublicIpAddresses": {
                    "PublicIpAddress": [{"Ip": "119.147.xx.xx", "GateWay": "119.147.xx.xx", "Isp": "unicom"}]
                },
                "PrivateIpAddresses": {
                    "PrivateIpAddress": [{"Ip": "119.147.xx.xx", "GateWay": "119.147.xx.xx", "Isp": "cmcc"}]
                },
                "SecurityGroupIds": {"SecurityGroupId": ["sg-5kyicq2kfcapxrdds6ta****"]},
                "InnerIpAddress": {"IpAddress": ["10.170.xx.xx"]},
                "PublicIpAddress": {"IpAddress": ["119.147.xx.xx"]},
                "SystemDisk": {
                    "device_type": "pangu",
                    "disk_type": "system",
                    "Size": 51200,
                    "DiskName": "DiskName",
                    "uuid": "5431f898-1323-4e64-8ce1-6cad50ed****",
                    "storage": 20480,
                    "DiskId": "d-5ip4c2dhmas0rn7rt0p9****",
                    "Category": "file",
                    "name": "DiskName",
                },
                "NetworkAttributes": {
                    "NetworkId": "n-2zeuphj08tt7q3brd****",
                    "VSwitchId": "vsw-2zeh0r1pabwtg6wcs****",
                    "PrivateIpAddress": {"IpAddress": ["172.17.**.**"]},
                },
                "Tags": {"Tags": [{"TagValue": "value1", "TagKey": "key1"}]},
                "AutoReleaseTime": "2023-06-28T14:38:52Z",
                "SpotStrategy": "NoSpot",
                "KeyPairName": "TestKeyPairName",
                "NetworkInterfaces": {
                    "NetworkInterfaces": [
                        {
                            "Type": "Primary",
                            "MacAddress": "00:16:XXX:XXX:60:0a",
                            "PrimaryIpAddress": "10.XXX.XXX.25",
                            "NetworkInterfaceId": "eni-53afk8a0t5lklbi8m7j8iczdg",
                            "PrivateIpSets": {
                                "PrivateIpSet": [{"PrivateIpAddress": "192.XXX.XXX.130", "Primary": True}]
                            },
                            "Ipv6Sets": {"Ipv6Set": [{"Ipv6Address": "2605:340:cdb1:XXXX:XXXX:XXXX:XXXX:e2d6"}]},
                        }
                    ]
                },
                "ServiceStatus": "Expired",
                "DeletionProtection": False,
            }
        ]
    },
}  # the published page's example response, whole
