"""Instances, declared once: they tell which images are in use.

    instances ─┬─< instance_disks       (account, observed_at_utc, instance_id)
               │
    instance_versions                   slowly changing dimension, type 2: a row for each instance and version

Addresses, networks, keys and security groups are excluded: they stay in the raw pages alone.
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
        text("disk_type", ADDED, "`system` or `data`, by the field that holds the disk."),
        text("disk_id", "DiskId", "The disk.", is_distinct=True),
        text("disk_name", "DiskName", "Name of the disk.", is_distinct=True),
        text("category", "Category", "Category of the disk, such as cloud_efficiency, cloud_ssd, local_hdd."),
        gib("disk_size_gib", "Size", "Size of the disk.", is_from_mib=True, is_number=True),
        boolean("is_encrypted", "Encrypted", "True where the disk is encrypted."),
    ),
    example="select disk_type, sum(disk_size_gib) as disk_size_gib from instance_disks group by disk_type",
    rollups=(
        count("disk_count", "Disks of the instance."),
        count_null("unsized_disk_count", "disk_size_gib", "Those of its disks whose size is not known."),
        total_gib("disk_size_gib", "disk_size_gib", "Sizes of its disks, added up; null where none is known."),
    ),
    excluded=("device_type", "disk_type", "name", "storage", "uuid", "DiskSize", "EncryptKeyId"),
)

INSTANCES_RESOURCE = Resource(
    name="instances",
    noun="instance",
    action=Action(
        "DescribeInstances",
        items=("Instances", "Instance"),
        page_size=100,
        permission="ens:DescribeInstances",
        filters=(("image_id", "ImageId"), ("instance_id", "InstanceId"), ("instance_name", "InstanceName")),
        parameters=(("OrderByParams", '{"CreationTimeSort":"asc"}'),),
    ),
    key=_INSTANCE_ID,
    created="created_at_utc",
    columns=(
        text("instance_name", "InstanceName", "Name of the instance; not unique."),
        text("image_id", "ImageId", "Image that the instance runs from: custom, public or shared."),
        text("status", "Status", "Running, Stopped, Expired; more may come."),
        text("service_status", "ServiceStatus", "Status of the service, such as Normal."),
        text("resource_type", "InstanceResourceType", "Tells instances of edge services from those of one's own."),
        text("spec_name", "SpecName", "Specification of the instance."),
        text("region_id", "EnsRegionId", "Node that the instance runs on; not the region of an image."),
        integer("cpu_count", "Cpu", "Processors."),
        integer("memory_mb", "Memory", "Memory in MB.", is_number=True),
        timestamp_utc("created_at_utc", "CreationTime", "When the instance was created.", is_past=True),
        timestamp_utc(
            "expires_at_utc", "ExpiredTime", "When it expires; null where it never does.", never="is_pay_as_you_go"
        ),
        boolean("is_pay_as_you_go", ADDED, "True where the API tells an expiry in 2099 or later: it never expires."),
        timestamp_utc("auto_release_at_utc", "AutoReleaseTime", "When it is released by itself; null: never."),
        boolean("has_deletion_protection", "DeletionProtection", "True where it cannot be deleted."),
    ),
    children=(_DISKS,),
    excluded=(
        "HostName",
        "PublicIpAddress",
        "PublicIpAddresses",
        "InnerIpAddress",
        "PrivateIpAddresses",
        "NetworkAttributes",
        "NetworkInterfaces",
        "SecurityGroupIds",
        "KeyPairName",
        "InternetMaxBandwidthIn",
        "InternetMaxBandwidthOut",
    ),
)
