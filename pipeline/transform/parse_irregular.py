"""Parse a page that is not as published, value by value, with the raw JSON of each value at hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec
import pyarrow as pa

from pipeline.extract.doubled_keys import Doubled, doubled_values
from pipeline.extract.reading_version import READING
from pipeline.extract.response import decode_object, scalar_text
from pipeline.transform.text_columns import (
    DISK,
    DISK_FIELDS,
    DISK_SCHEMA,
    DISKS,
    ID_INDEX,
    IMAGE_FIELDS,
    IMAGE_SCHEMA,
    NO_ID,
    Position,
    Reject,
    TextColumns,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.extract.json_repair import Placeholders
    from pipeline.resources.schema import Column


_AFTER_THE_FIELDS: Final = 1_000
"""The field index of what is not a declared field: sorted after those."""
_WHOLE_DISK: Final = -1
"""The field index of a disk as a whole: sorted before its fields."""

TWICE: Final = "twice in one object: a list of its values"
"""The reason of a reject whose key stands twice, as stored."""
_NULL: Final = msgspec.Raw(b"null")

_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
decode_objects = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode


def parse_irregular(images: bytes, placeholders: Placeholders, reading: int = READING) -> TextColumns:
    """Parse the raw JSON of one list of images."""
    page = _Page(placeholders, reading)
    for raw_image in _decode_list(images):
        page.add_image(raw_image)
    return page.columns()


@dataclass(slots=True)
class _Page:
    """The rows of one page, image by image."""

    placeholders: Placeholders
    reading: int
    images: list[dict[str, str | None]] = field(default_factory=list)
    disks: list[dict[str, str | None]] = field(default_factory=list)
    disk_counts: list[int] = field(default_factory=list)
    disk_image_rows: list[int] = field(default_factory=list)
    disk_numbers: list[int] = field(default_factory=list)
    image_extra: list[str | None] = field(default_factory=list)
    disk_extra: list[str | None] = field(default_factory=list)
    image_raw_json: dict[tuple[int, str], str] = field(default_factory=dict)
    disk_raw_json: dict[tuple[int, str], str] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    unknown_fields: set[str] = field(default_factory=set)

    def add_image(self, raw_image: msgspec.Raw) -> None:
        """Add an image with its disks; without an id, it becomes a reject as a whole."""
        position = Position(len(self.images))
        unknown = _object(raw_image, self.reading) or {}
        texts = self._take_texts(unknown, IMAGE_FIELDS, self.image_raw_json, position, len(self.images))
        self.images.append(texts)
        if not texts["ImageId"]:
            texts["ImageId"] = None
            self.rejects.append(position.reject(ID_INDEX, "ImageId", NO_ID, self.placeholders.original(raw_image)))
            self.image_extra.append(None)
            self.disk_counts.append(0)
            return
        raw_disks = take_disks(unknown, self.rejects, position, self.placeholders, self.reading)
        for number, raw_disk in enumerate(raw_disks, start=1):
            self._add_disk(raw_disk, Position(position.image_row, number))
        self.disk_counts.append(len(raw_disks))
        self.image_extra.append(as_json(self._readable(unknown, position)))
        self.unknown_fields.update(map(self.placeholders.readable_name, unknown))

    def _add_disk(self, raw_disk: msgspec.Raw, position: Position) -> None:
        unknown = _object(raw_disk, self.reading)
        if unknown is None:
            raw_json = self.placeholders.original(raw_disk)
            self.rejects.append(position.reject(_WHOLE_DISK, None, "not an object", raw_json))
            unknown = {}
        self.disks.append(self._take_texts(unknown, DISK_FIELDS, self.disk_raw_json, position, len(self.disks)))
        self.disk_image_rows.append(position.image_row)
        self.disk_numbers.append(position.disk_number)
        self.disk_extra.append(as_json(self._readable(unknown, position)))
        self.unknown_fields.update(f"{DISK}.{self.placeholders.readable_name(name)}" for name in unknown)

    def _take_texts(
        self,
        values: dict[str, bytes],
        fields: dict[str, Column],
        raw_json: dict[tuple[int, str], str],
        position: Position,
        row: int,
    ) -> dict[str, str | None]:
        """Remove the declared fields from `values` and return them as text."""
        texts: dict[str, str | None] = {}
        for index, name in enumerate(fields):
            value = values.pop(name, b"null")
            raw = bytes(value)
            if raw == b"null":
                texts[name] = None
                continue
            if isinstance(value, Doubled):
                texts[name] = None
                self.rejects.append(position.reject(index, name, TWICE, self.placeholders.original(raw)))
                continue
            texts[name] = text = scalar_text(raw, self.placeholders)
            if text is None:
                is_unreadable = self.placeholders.occur_in(raw)
                reason = self.placeholders.reason(raw) if is_unreadable else "neither text nor a number"
                self.rejects.append(position.reject(index, name, reason, self.placeholders.original(raw)))
            elif raw[:1] != b'"':
                raw_json[row, name] = text
        return texts

    def _readable(self, unknown: dict[str, bytes], position: Position) -> dict[str, bytes]:
        """The unknown fields with null for every value that is unreadable or one of two, which becomes a reject."""
        readable = {}
        for name, raw in unknown.items():
            readable_name = self.placeholders.readable_name(name)
            readable[readable_name] = raw
            if isinstance(raw, Doubled) or self.placeholders.occur_in(raw):
                reason = TWICE if isinstance(raw, Doubled) else self.placeholders.reason(raw)
                raw_json = self.placeholders.original(raw)
                self.rejects.append(position.reject(_AFTER_THE_FIELDS, readable_name, reason, raw_json))
                readable[readable_name] = _NULL
        return readable

    def columns(self) -> TextColumns:
        """The page as columns."""
        return TextColumns(
            images=pa.RecordBatch.from_pylist(self.images, schema=IMAGE_SCHEMA),
            disks=pa.RecordBatch.from_pylist(self.disks, schema=DISK_SCHEMA),
            disk_count=pa.array(self.disk_counts, pa.int64()),
            disk_image_row=pa.array(self.disk_image_rows, pa.int64()),
            disk_number=pa.array(self.disk_numbers, pa.int64()),
            image_extra=self.image_extra,
            disk_extra=self.disk_extra,
            image_raw_json=self.image_raw_json,
            disk_raw_json=self.disk_raw_json,
            rejects=self.rejects,
            unknown_fields=self.unknown_fields,
        )


def take_disks(
    unknown: dict[str, bytes],
    rejects: list[Reject],
    position: Position,
    placeholders: Placeholders,
    reading: int,
) -> list[msgspec.Raw]:
    """Remove the list of disks from the fields of an image and return it; fields beside it stay."""

    def reject(path: str, reason: str, raw: bytes) -> None:
        rejects.append(position.reject(_AFTER_THE_FIELDS, path, reason, placeholders.original(bytes(raw))))

    raw = unknown.pop(DISKS, None)
    if raw is None or bytes(raw) == b"null":
        return []
    mappings = None if isinstance(raw, Doubled) else _object(raw, reading)
    if mappings is None:
        reject(DISKS, TWICE if isinstance(raw, Doubled) else "not an object", raw)
        return []
    raw_disks = mappings.pop(DISK, _NULL)
    others: dict[str, bytes] = {}
    for name, value in mappings.items():
        readable_name = placeholders.readable_name(name)
        others[readable_name] = value
        if isinstance(value, Doubled):
            reject(f"{DISKS}.{readable_name}", TWICE, value)
            others[readable_name] = _NULL
    if others:
        unknown[DISKS] = msgspec.Raw((as_json(others) or "").encode())
    if bytes(raw_disks) == b"null":
        return []
    if isinstance(raw_disks, Doubled):
        reject(f"{DISKS}.{DISK}", TWICE, raw_disks)
        return []
    try:
        return _decode_list(raw_disks)
    except msgspec.ValidationError:
        reject(f"{DISKS}.{DISK}", "not a list", raw_disks)
        return []


def _object(raw: bytes, reading: int) -> dict[str, bytes] | None:
    """The values of an object by key; None: `raw` is none. By reading 1, the last of two equal keys counts."""
    try:
        values = decode_object(raw)
    except msgspec.ValidationError:
        return None
    return {**values, **(doubled_values(raw, values) if reading > 1 else {})}


def as_json(unknown: Mapping[str, bytes]) -> str | None:
    """Unknown fields as one JSON object, each value as sent; None if there are none."""
    if not unknown:
        return None
    return "{" + ",".join(f"{json(name)}:{bytes(raw).decode()}" for name, raw in unknown.items()) + "}"


def json(text: str) -> str:
    """`text` as JSON."""
    return msgspec.json.encode(text).decode()
