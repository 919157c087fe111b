"""DescribeInstances: the instances of an account, as published.

    ImageId, Status, InstanceIds (a JSON list)  →  {"Code": 0, "Instances": {"Instance": […]}, "TotalCount": 60, …}

Page numbers, sizes and counts are numbers, though PageSize is text in the request. A page has 10 instances by default,
at most 100. OrderByParams sorts; without it the newest is first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.emulator.accounts import AccountWithInstances
from pipeline.emulator.action import Action, Children, Filter, SortKey

if TYPE_CHECKING:
    from pipeline.emulator.accounts import EmulatedAccount
    from pipeline.emulator.action import Item, ListResponse

ADDRESSES = ("PublicIpAddress.IpAddress", "InnerIpAddress.IpAddress", "NetworkAttributes.PrivateIpAddress.IpAddress")


def list_instances(account: EmulatedAccount, day: int) -> list[Item]:
    """Return the instances of an account on a day, in listing order."""
    return account.instances_on(day) if isinstance(account, AccountWithInstances) else []


def new_instance(account: EmulatedAccount, serial: int, day: int) -> Item:
    """Generate an instance that the account has on no day.

    Raises:
        TypeError: the account has images only.
    """
    if isinstance(account, AccountWithInstances):
        return account.new_instance(serial, day)
    raise TypeError(f"{type(account).__name__} has no instances: there is none to insert")


def build_envelope(response: ListResponse) -> dict[str, Any]:
    """Build the response body."""
    return {
        "Code": 0,
        "Instances": {"Instance": response.items},
        "RequestId": response.request_id,
        "PageSize": response.page_size,
        "PageNumber": response.page_number,
        "TotalCount": response.total_count,
    }


ACTION = Action(
    name="DescribeInstances",
    list_path=("Instances", "Instance"),
    id_field="InstanceId",
    filters=(
        Filter("InstanceId", is_exact=True),
        Filter("InstanceIds", is_list=True, paths=("InstanceId",)),
        Filter("InstanceName", is_exact=True),
        Filter("ImageId", is_exact=True),
        Filter("Status", is_exact=True),
        Filter("ServiceStatus", is_list=True),
        Filter("EnsRegionId", is_exact=True),
        Filter("EnsRegionIds", is_list=True, paths=("EnsRegionId",)),
        Filter("InstanceResourceType", is_exact=True),
        Filter("InstanceType", is_exact=True, paths=("SpecName",)),
        Filter("SearchKey", paths=("InstanceName", "InstanceId", *ADDRESSES)),
        Filter("NetworkId", is_exact=True, paths=("NetworkAttributes.NetworkId",)),
        Filter("VSwitchId", is_exact=True, paths=("NetworkAttributes.VSwitchId",)),
        Filter("SecurityGroupId", is_exact=True, paths=("SecurityGroupIds.SecurityGroupId",)),
        Filter("IntranetIp", is_exact=True, paths=ADDRESSES[1:]),
        Filter("EipAddresses", is_list=True, paths=ADDRESSES[:1]),
    ),
    order_parameter="OrderByParams",
    sort_keys=(
        SortKey("CreationTimeSort", "CreationTime", is_instant=True),
        SortKey("ExpireTimeSort", "ExpiredTime", is_instant=True),
        SortKey("InstanceNameSort", "InstanceName"),
        SortKey("EnsRegionId", "EnsRegionId"),
    ),
    default_page_size=10,
    largest_page_size=100,
    list_items=list_instances,
    new_item=new_instance,
    build_envelope=build_envelope,
    number_fields=("Cpu", "Memory", "Disk", "InternetMaxBandwidthIn", "InternetMaxBandwidthOut"),
    children=(
        Children("SystemDisk", number_fields=("Size", "storage")),
        Children("DataDisk", "DataDisk", number_fields=("Size", "storage", "DiskSize")),
    ),
    bad_values={"Memory": "plenty", "CreationTime": "yesterday", "InstanceName": {"zh": "实例"}},
)
