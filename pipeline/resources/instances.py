"""Instances, declared once: which images are in use, and by what.

    instances ─┬─< instance_disks      (account, observed_at_utc, instance_id)
       │
    instance_versions                  slowly changing dimension, type 2: a row for each instance and version

An account that lacks the right to list them is read without.
"""

from __future__ import annotations

from pipeline.resources.resource import Action, Child, ChildPath, Resource, count, count_null, total_gib
from pipeline.resources.schema import ADDED, boolean, gib, integer, text, timestamp_utc

_INSTANCE_ID = text("instance_id", "InstanceId", "The instance, unique in the account.", is_distinct=True)

_DISKS = Child(
    name="instance_disks",
    noun="disk",
    item_key=_INSTANCE_ID,
    grain="One disk of one instance in one published observation.",
    paths=(
        ChildPath(("SystemDisk",), is_object=True, values=(("disk_type", "system"),)),
        ChildPath(("DataDisk", "DataDisk"), values=(("disk_type", "data"),)),
    ),
    number=integer("disk_number", ADDED, "Place of the disk, from 1: the system disk, then the data disks."),
    columns=(
        text("disk_type", ADDED, "`system` or `data`: where the API lists it."),
        text("disk_id", "DiskId", "The disk.", is_distinct=True),
        text("disk_category", "Category", "Category of the disk's storage."),
        gib("disk_size_gib", "Size", "Size of the disk; the API sends MiB.", is_from_mib=True, is_number=True),
        boolean("is_encrypted", "Encrypted", "True where the disk is encrypted; null where the API does not say."),
    ),
    example="select disk_type, count(*) as disk_count from instance_disks group by disk_type",
    rollups=(
        count("disk_count", "Disks of the instance."),
        count_null("unsized_disk_count", "disk_size_gib", "Those of its disks whose size is not known."),
        total_gib("disk_size_gib", "disk_size_gib", "Sizes of its disks, added up; null where none is known."),
    ),
    # doubles of the fields above, and the key of the encryption
    excluded=("DiskName", "DiskSize", "EncryptKeyId", "device_type", "disk_type", "name", "storage", "uuid"),
)

INSTANCES_RESOURCE = Resource(
    name="instances",
    noun="instance",
    action=Action(
        "DescribeInstances",
        items=("Instances", "Instance"),
        page_size=100,
        permission="ens:DescribeInstances",
        filters=(("instance_id", "InstanceId"), ("instance_name", "InstanceName"), ("image_id", "ImageId")),
        parameters=(("OrderByParams", '{"CreationTimeSort":"asc"}'),),  # oldest first: new ones come last
    ),
    key=_INSTANCE_ID,
    created="created_at_utc",
    columns=(
        text("instance_name", "InstanceName", "Name of the instance; not unique."),
        text("image_id", "ImageId", "Image that the instance runs from: the account's own, public or shared."),
        text("status", "Status", "Running, Stopped, Expired, …"),
        text("service_status", "ServiceStatus", "Status of the service of the instance."),
        text("resource_type", "InstanceResourceType", "EnsInstance, EnsPostPaidInstance, EnsService, …"),
        text("spec", "SpecName", "Specification: family and size."),
        text("region_id", "EnsRegionId", "Node that the instance runs on; not the region of an image."),
        integer("cpu_count", "Cpu", "Processors."),
        integer("memory_mb", "Memory", "Memory in MB.", is_number=True),
        gib(
            "stated_disk_size_gib",
            "Disk",
            "Size of all disks as the instance states it; the API sends MiB.",
            is_from_mib=True,
            is_number=True,
        ),
        timestamp_utc("created_at_utc", "CreationTime", "When the instance was created.", is_past=True),
        timestamp_utc(
            "expires_at_utc",
            "ExpiredTime",
            "When the subscription ends; null where it is paid as it goes.",
            never="is_pay_as_you_go",
        ),
        boolean("is_pay_as_you_go", ADDED, "True where ExpiredTime is in 2099 or later, which means never."),
        timestamp_utc("auto_release_at_utc", "AutoReleaseTime", "When the instance is released by itself."),
        boolean("is_deletion_protected", "DeletionProtection", "True where the instance cannot be deleted."),
    ),
    children=(_DISKS,),
    is_optional=True,
    excluded=(
        # addresses and names in the network, keys and groups: they would be in every report
        "HostName",
        "InnerIpAddress",
        "KeyPairName",
        "NetworkAttributes",
        "NetworkInterfaces",
        "PrivateIpAddresses",
        "PublicIpAddress",
        "PublicIpAddresses",
        "SecurityGroupIds",
        # what no report here asks for
        "InstanceTypeFamily",
        "InternetMaxBandwidthIn",
        "InternetMaxBandwidthOut",
        "OSName",
        "SpotStrategy",
        "Tags",
    ),
)
