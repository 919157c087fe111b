"""Every column of every table: its API field, type, unit and meaning. The only place.

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

from pipeline.resources.columns import ACCOUNT, EXTRA, IMAGE_ID, OBSERVED_AT, OBSERVED_ON
from pipeline.resources.schema import ADDED, Table, gib, integer, rows, text, timestamp_utc

_DISK_SUMS = (
    integer("disk_count", ADDED, "Disks of the image; null where an older version wrote the file.", since="0.1.0"),
    integer("unsized_disk_count", ADDED, "Those of its disks whose size is not known.", since="0.1.0"),
    gib("disk_size_gib", ADDED, "Sizes of its disks, added up; null where none is known.", since="0.1.0"),
)
"""Sums over the disks of an image, stored so that capacity needs no join with `image_disks`."""

IMAGES = Table(
    name="images",
    grain="One image of one account in one published observation.",
    key=("account", "observed_at_utc", "image_id"),
    columns=(
        ACCOUNT,
        OBSERVED_AT,
        OBSERVED_ON,
        IMAGE_ID,
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
        text("extra", ADDED, EXTRA),
        *_DISK_SUMS,
    ),
    example="select observed_on, count(*) as image_count from images group by observed_on order by observed_on",
)

IMAGE_DISKS = Table(
    name="image_disks",
    grain="One disk of one image in one published observation.",
    key=("account", "observed_at_utc", "image_id", "disk_number"),
    columns=(
        ACCOUNT,
        OBSERVED_AT,
        OBSERVED_ON,
        IMAGE_ID,
        integer("disk_number", ADDED, "Place of the disk in the image's list, from 1."),
        text("disk_type", "Type", "`system` or `data`, in the API's own letters: compare without case."),
        gib("disk_size_gib", "Size", "Size of the disk."),
        text("disk_format", "Format", "`raw` or `qcow2`."),
        text(
            "disk_image_id",
            "imageId",
            "Image of the disk itself; what it refers to is not documented.",
            is_distinct=True,
        ),
        text("extra", ADDED, EXTRA),
    ),
    example="select observed_on, count(*) as disk_count from image_disks where disk_size_gib > 99 group by observed_on",
)

IMAGE_FIELDS = tuple(column for column in IMAGES.stored if column.name not in IMAGES.key and column not in _DISK_SUMS)
"""The fields of an image: its columns without the key and the sums over its disks."""
DISK_FIELDS = tuple(column for column in IMAGE_DISKS.stored if column.name not in IMAGES.key)
"""The fields of a disk: its number and its columns without the key of the image."""

IMAGE_VERSIONS = Table(
    name="image_versions",
    grain=(
        "One image with equal values over consecutive published observations of its account (a slowly changing "
        "dimension, type 2). Any absence ends a version. A life is a chain of versions without a proof of absence "
        "between them."
    ),
    key=("account", "image_id", "first_seen_utc"),
    columns=(
        ACCOUNT,
        IMAGE_ID,
        timestamp_utc("first_seen_utc", ADDED, "The first observation of the version."),
        timestamp_utc("last_seen_utc", ADDED, "The last observation of the version."),
        timestamp_utc("gone_at_utc", ADDED, "The first verified observation without it; null until then."),
        timestamp_utc(
            "life_began_utc", ADDED, "The first observation of its life: the same in every version of a life."
        ),
        timestamp_utc(
            "previous_seen_utc", ADDED, "The last observation of the version before; null on the first of a life."
        ),
        timestamp_utc("next_seen_utc", ADDED, "The first observation of the next version; null on the last of a life."),
        *IMAGE_FIELDS,
        *_DISK_SUMS,
        rows("disks", "DiskDeviceMapping", "Its disks, in the order of their numbers.", of=DISK_FIELDS),
    ),
    format="2",
    example="select image_id, first_seen_utc, last_seen_utc from image_versions where gone_at_utc is not null",
)
