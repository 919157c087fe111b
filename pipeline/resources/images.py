"""Images, declared once: every column, its API field, type, unit and meaning. The only place.

    images ─┬─< image_disks        (account, observed_at_utc, image_id)
       │    │
    image_versions                 slowly changing dimension, type 2: a row for each image and version
            │
    observations                   (account, run_id): the commit record of each account and run
            │
    rejects                        values that could not be typed
    raw_pages                      the responses of the API, byte for byte (raw)

Keys are natural. Instants are UTC without a zone. Text is stored as sent.
"""

from __future__ import annotations

from pipeline.resources.resource import Action, Child, ChildPath, Resource, count, count_null, total_gib
from pipeline.resources.schema import ADDED, gib, integer, text, timestamp_utc

_IMAGE_ID = text("image_id", "ImageId", "The image, unique in the account.", is_distinct=True)

_DISKS = Child(
    name="image_disks",
    noun="disk",
    item_key=_IMAGE_ID,
    grain="One disk of one image in one published observation.",
    paths=(ChildPath(("DiskDeviceMappings", "DiskDeviceMapping")),),
    number=integer("disk_number", ADDED, "Place of the disk in the image's list, from 1."),
    columns=(
        text("disk_type", "Type", "`system` or `data`, in the API's own letters: compare without case."),
        gib("disk_size_gib", "Size", "Size of the disk."),
        text("disk_format", "Format", "`raw` or `qcow2`."),
        text(
            "disk_image_id",
            "imageId",
            "Image of the disk itself; what it refers to is not documented.",
            is_distinct=True,
        ),
    ),
    example="select observed_on, count(*) as disk_count from image_disks where disk_size_gib > 99 group by observed_on",
    rollups=(
        count("disk_count", "Disks of the image; null where an older version wrote the file.", since="0.1.0"),
        count_null("unsized_disk_count", "disk_size_gib", "Those of its disks whose size is not known.", since="0.1.0"),
        total_gib(
            "disk_size_gib", "disk_size_gib", "Sizes of its disks, added up; null where none is known.", since="0.1.0"
        ),
    ),
    format="1",
)

IMAGES_RESOURCE = Resource(
    name="images",
    noun="image",
    action=Action(
        "DescribeSelfImages",
        items=("Images", "Image"),
        page_size=50,
        permission="ens:DescribeSelfImages",
        filters=(("image_id", "ImageId"), ("image_name", "ImageName"), ("snapshot_id", "SnapshotId")),
    ),
    key=_IMAGE_ID,
    created="created_at_utc",
    owned=("image_owner", "self"),
    columns=(
        text("image_name", "ImageName", "Name of the image; not unique."),
        text("image_owner", "ImageOwnerAlias", "`self`: the account's own; `others`: shared with it."),
        text("status", "Status", "Creating, Packing, Uploading, Pack_failed, Upload_failed, Available, …"),
        text("platform", "Platform", "Operating system family: centos, ubuntu, debian, windows, …"),
        text("os_version", "OsVersion", "Version of the operating system."),
        text("architecture", "Architecture", "Processor architecture: x86_64, i386, arm64, …"),
        text("compute_type", "ComputeType", "Runs on: ens_vm, ens, bare_metal, arm_vm, arm_bare_metal, pcfarm."),
        text("region_id", "RegionId", "Region that the image is stored in."),
        gib("image_size_gib", "ImageSize", "Size of the image."),
        integer("image_storage_size", "ImageStorageSize", "Size in storage; the API does not state its unit."),
        timestamp_utc("created_at_utc", "CreationTime", "When the image was created.", is_past=True),
        text("instance_id", "InstanceId", "Instance that the image was made from.", is_distinct=True),
        text("snapshot_id", "SnapshotId", "Disk snapshot that the image was made from.", is_distinct=True),
    ),
    children=(_DISKS,),
    format="1",
    versions_format="2",
)

IMAGES = IMAGES_RESOURCE.table
IMAGE_DISKS = _DISKS.table
IMAGE_VERSIONS = IMAGES_RESOURCE.versions
IMAGE_FIELDS = IMAGES_RESOURCE.fields
"""The fields of an image: its columns without the key and the sums over its disks."""
DISK_FIELDS = _DISKS.fields
"""The fields of a disk: its number and its columns without the key of the image."""
