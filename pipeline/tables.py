"""Every column of every table: its API field, type, unit and meaning. The only place.

    images ─┬─< image_disks        (account, observed_at_utc, image_id)
       │    │
    image_versions                 the same, folded: a row per image and stretch of equal sightings
            │
    observations                   (account, run_id): the commit record of each account and run
            │
    rejects                        values that could not be typed
    pages                          what the service said, byte for byte (raw)

Keys are natural. Instants are UTC without a zone. Text is stored as sent.
"""

import dataclasses

from pipeline.schema import (
    ADDED,
    FOLDED_FORMAT,
    Table,
    day,
    flag,
    gib,
    instant_utc,
    raw_bytes,
    rows,
    seconds,
    text,
    whole,
)

_ACCOUNT = text("account", ADDED, "Label of the credentials that were used: the profile's name, else `default`.")
_OBSERVED_AT = instant_utc(
    "observed_at_utc",
    ADDED,
    "The instant at which the account looked like this: the first answer of the last pass of its listing.",
)
_OBSERVED_ON = day("observed_on", ADDED, "UTC day on which the run began; the name of the folder.")
_IMAGE_ID = text("image_id", "ImageId", "The image, unique in the account.", is_distinct=True)
_EXTRA = "JSON text of the fields that this version does not know; null where there are none."

_DISK_SUMS = (
    whole("disk_count", ADDED, "Disks of the image; null where an older version wrote the file.", since="0.1.0"),
    whole("unsized_disk_count", ADDED, "Those of its disks whose size is not known.", since="0.1.0"),
    gib("disk_size_gib", ADDED, "Sizes of its disks, added up; null where none is known.", since="0.1.0"),
)
"""What the disks of an image come to: it is in `image_disks` too, and capacity is asked for without a join."""

IMAGES = Table(
    name="images",
    grain="One image of one account in one published observation.",
    key=("account", "observed_at_utc", "image_id"),
    columns=(
        _ACCOUNT,
        _OBSERVED_AT,
        _OBSERVED_ON,
        _IMAGE_ID,
        text("image_name", "ImageName", "Name of the image; not unique."),
        text("image_owner", "ImageOwnerAlias", "`self`: the account's own; `others`: shared with it."),
        text("status", "Status", "Creating, Packing, Uploading, Pack_failed, Upload_failed, Available, …"),
        text("platform", "Platform", "Operating system family: centos, ubuntu, debian, windows, …"),
        text("os_version", "OsVersion", "Version of the operating system."),
        text("architecture", "Architecture", "Processor architecture: x86_64, i386, arm64, …"),
        text("compute_type", "ComputeType", "Runs on: ens_vm, ens, bare_metal, arm_vm, arm_bare_metal, pcfarm."),
        text("region_id", "RegionId", "Region that the image is stored in."),
        gib("image_size_gib", "ImageSize", "Size of the image."),
        whole("image_storage_size", "ImageStorageSize", "Size in storage; the API does not state its unit."),
        instant_utc("created_at_utc", "CreationTime", "When the image was created."),
        text("instance_id", "InstanceId", "Instance that the image was made from.", is_distinct=True),
        text("snapshot_id", "SnapshotId", "Disk snapshot that the image was made from.", is_distinct=True),
        text("extra", ADDED, _EXTRA),
        *_DISK_SUMS,
    ),
    example="select observed_on, count(*) as image_count from images group by observed_on order by observed_on",
)

IMAGE_DISKS = Table(
    name="image_disks",
    grain="One disk of one image in one published observation.",
    key=("account", "observed_at_utc", "image_id", "disk_number"),
    columns=(
        _ACCOUNT,
        _OBSERVED_AT,
        _OBSERVED_ON,
        _IMAGE_ID,
        whole("disk_number", ADDED, "Place of the disk in the image's list, from 1."),
        text("disk_type", "Type", "`system` or `data`, in the API's own letters: compare without case."),
        gib("disk_size_gib", "Size", "Size of the disk."),
        text("disk_format", "Format", "`raw` or `qcow2`."),
        text(
            "disk_image_id",
            "imageId",
            "Image of the disk itself; what it refers to is not documented.",
            is_distinct=True,
        ),
        text("extra", ADDED, _EXTRA),
    ),
    example="select observed_on, count(*) as disk_count from image_disks where disk_size_gib > 99 group by observed_on",
)

REJECTS = Table(
    name="rejects",
    grain="One value that could not be typed; it is null in its row, and the rest of the row stays.",
    key=(),
    columns=(
        _ACCOUNT,
        _OBSERVED_AT,
        _OBSERVED_ON,
        text("image_id", ADDED, "The image that it belongs to; null where the image has no usable id."),
        text("field", ADDED, "The API field, such as `ImageSize` or `DiskDeviceMapping[2].Size`."),
        text("reason", ADDED, "Why it could not be typed."),
        text("raw_json", ADDED, "The value as it was sent, as JSON text."),
    ),
    example="select field, reason, count(*) as reject_count from rejects group by field, reason",
)

OBSERVATIONS = Table(
    name="observations",
    grain="One account in one run, tried or done. What has no published observation is not in the lake.",
    key=("account", "run_id"),
    columns=(
        _ACCOUNT,
        text("run_id", ADDED, "The run, named for the instant at which it began; the name of its files."),
        instant_utc("observed_at_utc", ADDED, f"{_OBSERVED_AT.doc} Null where no listing came to an end."),
        _OBSERVED_ON,
        flag("is_published", ADDED, "True where the run's rows of this account are in the lake."),
        text("certificate", ADDED, "What the listing proves: verified, counted, unproven; null where none ended."),
        text("asked_certificate", ADDED, "The level that was asked for."),
        whole("pass_count", ADDED, "Times that the whole account was read."),
        whole("page_count", ADDED, "Pages of the last pass."),
        whole("call_count", ADDED, "Tries of calls, answered or not."),
        whole("retry_count", ADDED, "Tries that followed a try without a usable answer."),
        whole("throttle_count", ADDED, "Tries that the service refused as too many."),
        seconds("waited_seconds", ADDED, "Time spent backing off before tries."),
        whole("hiccup_count", ADDED, "Answers that did not hold together, and did when asked again."),
        whole("clamp_count", ADDED, "Answers with fewer rows a page than asked for, and saying so."),
        whole("drift_count", ADDED, "Answers with another TotalCount than the first of their pass."),
        whole("contradiction_count", ADDED, "Answers that did not hold together however often they were asked."),
        whole("total_count", "TotalCount", "TotalCount of the first answer of the last pass; null where not sent."),
        text("image_ids_sha256", ADDED, "SHA-256 over the sorted ids of the last pass: equal sets, equal digests."),
        text("first_request_id", "RequestId", "The service's name for the first answer of the last pass."),
        text("last_request_id", "RequestId", "The service's name for the last answer of the listing."),
        whole("image_count", ADDED, "Images in the last pass, each counted once."),
        whole("disk_count", ADDED, "Disks of those images."),
        whole("reject_count", ADDED, "Values that could not be typed."),
        whole("unknown_field_count", ADDED, "Different fields that this version does not know, kept in `extra`."),
        instant_utc("started_at_utc", ADDED, "When the first call was sent."),
        instant_utc("ended_at_utc", ADDED, "When the last answer came."),
        text("error", ADDED, "Why nothing was published; null where it was."),
        text("code_version", ADDED, "Version of ens-images that read the account."),
        text("endpoint", ADDED, "Where the calls went."),
    ),
    example="select run_id, account, error from observations where not is_published order by run_id",
)

IMAGE_FIELDS = tuple(column for column in IMAGES.stored if column.name not in IMAGES.key and column not in _DISK_SUMS)
"""What an image is like: its columns without the key, and without what follows from its disks."""
DISK_FIELDS = tuple(column for column in IMAGE_DISKS.stored if column.name not in IMAGES.key)
"""A disk of an image: its place, and what it is like."""

IMAGE_VERSIONS = Table(
    name="image_versions",
    grain=(
        "One image in one stretch: a longest run of consecutive published observations of its account in which it "
        "was there with equal values. Any absence ends a stretch. A life is a chain of stretches without proof of "
        "absence between them."
    ),
    key=("account", "image_id", "first_seen_utc"),
    columns=(
        _ACCOUNT,
        _IMAGE_ID,
        instant_utc("first_seen_utc", ADDED, "The first observation of the stretch."),
        instant_utc("last_seen_utc", ADDED, "The last observation of the stretch."),
        instant_utc("gone_at_utc", ADDED, "The first verified observation without it; null while its life goes on."),
        instant_utc("life_began_utc", ADDED, "The first observation of its life: the same in every stretch of a life."),
        instant_utc(
            "previous_seen_utc", ADDED, "The last observation of the stretch before; null on the first of a life."
        ),
        instant_utc("next_seen_utc", ADDED, "The first observation of the stretch after; null on the last of a life."),
        *IMAGE_FIELDS,
        *_DISK_SUMS,
        rows("disks", "DiskDeviceMapping", "Its disks, in the order of their numbers.", of=DISK_FIELDS),
    ),
    format=FOLDED_FORMAT,
    example="select image_id, first_seen_utc, last_seen_utc from image_versions where gone_at_utc is not null",
)

PAGES = Table(
    name="pages",
    grain="One try of one call, with the answer's bytes as they came.",
    key=("account", "pass_number", "page_number", "attempt_number"),
    columns=(
        _ACCOUNT,
        _OBSERVED_ON,
        whole("pass_number", ADDED, "Which reading of the whole account, from 1."),
        whole("page_number", ADDED, "The PageNumber that was asked for."),
        whole("attempt_number", ADDED, "Which try of this page in this pass, from 1; the last usable one counts."),
        text(
            "request_id",
            "RequestId",
            "The service's name for the call; null where there was no answer.",
            is_distinct=True,
        ),
        whole("status", ADDED, "HTTP status; null where there was no answer."),
        instant_utc("sent_at_utc", ADDED, "When the call was sent."),
        instant_utc("received_at_utc", ADDED, "When the answer was complete, or the try given up."),
        seconds("waited_seconds", ADDED, "Back-off before this try."),
        text("error_code", "Code", "The service's error code, or ours for what has none; null where all was well."),
        text("error", ADDED, "What went wrong with this try; null where all was well."),
        raw_bytes("body", ADDED, "The answer's body, unpacked, byte for byte; null where there was no answer."),
    ),
    example="select account, error_code, count(*) as page_count from pages group by account, error_code",
)

LAKE_TABLES = (IMAGES, IMAGE_DISKS, REJECTS, OBSERVATIONS)
"""The tables of the lake, in the order in which a run writes them: `observations`, the commit record, last."""

TABLES = (*LAKE_TABLES, IMAGE_VERSIONS, PAGES)
"""Every declared table."""


def _folded(table: Table) -> Table:
    """The table as a fold keeps it: many runs in one file, so that each row says its run and its day."""
    names = {column.name for column in table.columns}
    run = () if "run_id" in names else (text("run_id", ADDED, "The run."),)
    columns = tuple(dataclasses.replace(column, in_folder=False) for column in (*run, *table.columns))
    return dataclasses.replace(table, name=f"folded_{table.name}", columns=columns, format=FOLDED_FORMAT)


FOLDED_OBSERVATIONS = _folded(OBSERVATIONS)
FOLDED_REJECTS = _folded(REJECTS)
