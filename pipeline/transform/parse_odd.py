"""Pages to columns of text, one value at a time."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import msgspec
import pyarrow as pa

from pipeline.extract.response import scalar_text
from pipeline.transform.texts import (
    DISK,
    DISK_FIELDS,
    DISK_TEXTS,
    DISKS,
    ID_PLACE,
    IMAGE_FIELDS,
    IMAGE_TEXTS,
    NO_ID,
    Line,
    Place,
    Texts,
)

if TYPE_CHECKING:
    from pipeline.extract.json_repair import Placeholders
    from pipeline.resources.schema import Column


_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
decode_objects = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode


def read_carefully(page: bytes, aside: Placeholders) -> Texts:
    """Read one page field by field, with each value's raw JSON at hand."""
    images: list[dict[str, str | None]] = []
    disks: list[dict[str, str | None]] = []
    rows: list[int] = []
    numbers: list[int] = []
    counts = Counter[int]()
    image_extra: list[str | None] = []
    disk_extra: list[str | None] = []
    raw: dict[tuple[int, str], str] = {}
    raw_disk: dict[tuple[int, str], str] = {}
    rejects: list[Line] = []
    unknown_fields: set[str] = set()
    for image_row, raw_image in enumerate(_decode_list(page)):
        where = Place(image_row)
        unknown = _object(raw_image) or {}
        values = _scalars(unknown, IMAGE_FIELDS, raw, rejects, where, image_row, aside)
        images.append(values)
        if not values["ImageId"]:
            values["ImageId"] = None
            rejects.append(where.line(ID_PLACE, "ImageId", NO_ID, aside.original(raw_image)))
            image_extra.append(None)
            continue
        for number, raw_disk_entry in enumerate(disk_entries(unknown, rejects, where, aside), start=1):
            disk = _object(raw_disk_entry)
            of_disk = Place(image_row, number)
            if disk is None:
                rejects.append(of_disk.line(-1, None, "not an object", aside.original(raw_disk_entry)))
                disk = {}
            disks.append(_scalars(disk, DISK_FIELDS, raw_disk, rejects, of_disk, len(disks), aside))
            rows.append(image_row)
            numbers.append(number)
            counts[image_row] = number
            disk_extra.append(as_json(_readable(disk, rejects, of_disk, aside)))
            unknown_fields.update(f"{DISK}.{aside.readable_name(name)}" for name in disk)
        image_extra.append(as_json(_readable(unknown, rejects, where, aside)))
        unknown_fields.update(map(aside.readable_name, unknown))
    return Texts(
        images=pa.RecordBatch.from_pylist(images, schema=IMAGE_TEXTS),
        disks=pa.RecordBatch.from_pylist(disks, schema=DISK_TEXTS),
        disk_count=pa.array([counts[row] for row in range(len(images))], pa.int64()),
        disk_image_row=pa.array(rows, pa.int64()),
        disk_number=pa.array(numbers, pa.int64()),
        image_extra=image_extra,
        disk_extra=disk_extra,
        raw=raw,
        raw_disk=raw_disk,
        rejects=rejects,
        unknown_fields=unknown_fields,
    )


_AFTER_THE_FIELDS: Final = 1_000


def _object(raw: msgspec.Raw) -> dict[str, msgspec.Raw] | None:
    try:
        return decode_object(raw)
    except msgspec.ValidationError:
        return None


def _scalars(
    values: dict[str, msgspec.Raw],
    fields: dict[str, Column],
    raw_of: dict[tuple[int, str], str],
    rejects: list[Line],
    where: Place,
    row: int,
    aside: Placeholders,
) -> dict[str, str | None]:
    """Take the declared fields out of `values`, as text; the others stay there."""
    texts: dict[str, str | None] = {}
    for place, name in enumerate(fields):
        raw = bytes(values.pop(name, b"null"))
        if raw == b"null":
            texts[name] = None
            continue
        texts[name] = text = scalar_text(raw, aside)
        if text is None:
            reason = aside.reason(raw) if aside.occur_in(raw) else "neither text nor a number"
            rejects.append(where.line(place, name, reason, aside.original(raw)))
        elif raw[:1] != b'"':
            raw_of[row, name] = text
    return texts


def disk_entries(
    unknown: dict[str, msgspec.Raw], rejects: list[Line], where: Place, aside: Placeholders
) -> list[msgspec.Raw]:
    """Take the list of disks out of the fields that are left; what stands around it stays there."""
    raw = unknown.pop(DISKS, None)
    if raw is None or bytes(raw) == b"null":
        return []
    around = _object(raw)
    if around is None:
        rejects.append(where.line(_AFTER_THE_FIELDS, DISKS, "not an object", aside.original(raw)))
        return []
    listed = around.pop(DISK, msgspec.Raw(b"null"))
    if around:
        rest = {aside.readable_name(name): raw for name, raw in around.items()}
        unknown[DISKS] = msgspec.Raw((as_json(rest) or "").encode())
    if bytes(listed) == b"null":
        return []
    try:
        return _decode_list(listed)
    except msgspec.ValidationError:
        rejects.append(where.line(_AFTER_THE_FIELDS, f"{DISKS}.{DISK}", "not a list", aside.original(listed)))
        return []


def _readable(
    unknown: dict[str, msgspec.Raw], rejects: list[Line], where: Place, aside: Placeholders
) -> dict[str, msgspec.Raw]:
    """The unknown fields as any reader of JSON can read them: what cannot be read is null, and a reject."""
    if not aside.prefix:
        return unknown
    readable = {}
    for name, raw in unknown.items():
        said = aside.readable_name(name)
        readable[said] = raw
        if aside.occur_in(raw):
            rejects.append(where.line(_AFTER_THE_FIELDS, said, aside.reason(raw), aside.original(raw)))
            readable[said] = msgspec.Raw(b"null")
    return readable


def as_json(unknown: dict[str, msgspec.Raw]) -> str | None:
    """Write unknown fields as one JSON object, each value as sent; None where there are none."""
    if not unknown:
        return None
    return "{" + ",".join(f"{json(name)}:{bytes(raw).decode()}" for name, raw in unknown.items()) + "}"


def json(text: str) -> str:
    """Write a text as JSON."""
    return msgspec.json.encode(text).decode()
