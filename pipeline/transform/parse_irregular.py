"""Parse a page that is not as published, value by value, with the raw JSON of each value at hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec
import pyarrow as pa

from pipeline.extract.response import scalar_text
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
    from pipeline.extract.json_repair import Placeholders
    from pipeline.resources.schema import Column


_AFTER_THE_FIELDS: Final = 1_000
"""The field index of what is not a declared field: sorted after those."""
_WHOLE_DISK: Final = -1
"""The field index of a disk as a whole: sorted before its fields."""

_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
decode_objects = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode


def parse_irregular(images: bytes, placeholders: Placeholders) -> TextColumns:
    """Parse the raw JSON of one list of images."""
    page = _Page(placeholders)
    for raw_image in _decode_list(images):
        page.add_image(raw_image)
    return page.columns()


@dataclass(slots=True)
class _Page:
    """The rows of one page, image by image."""

    placeholders: Placeholders
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
        unknown = _object(raw_image) or {}
        texts = self._take_texts(unknown, IMAGE_FIELDS, self.image_raw_json, position, len(self.images))
        self.images.append(texts)
        if not texts["ImageId"]:
            texts["ImageId"] = None
            self.rejects.append(position.reject(ID_INDEX, "ImageId", NO_ID, self.placeholders.original(raw_image)))
            self.image_extra.append(None)
            self.disk_counts.append(0)
            return
        raw_disks = take_disks(unknown, self.rejects, position, self.placeholders)
        for number, raw_disk in enumerate(raw_disks, start=1):
            self._add_disk(raw_disk, Position(position.image_row, number))
        self.disk_counts.append(len(raw_disks))
        self.image_extra.append(as_json(self._readable(unknown, position)))
        self.unknown_fields.update(map(self.placeholders.readable_name, unknown))

    def _add_disk(self, raw_disk: msgspec.Raw, position: Position) -> None:
        unknown = _object(raw_disk)
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
        values: dict[str, msgspec.Raw],
        fields: dict[str, Column],
        raw_json: dict[tuple[int, str], str],
        position: Position,
        row: int,
    ) -> dict[str, str | None]:
        """Remove the declared fields from `values` and return them as text."""
        texts: dict[str, str | None] = {}
        for index, name in enumerate(fields):
            raw = bytes(values.pop(name, b"null"))
            if raw == b"null":
                texts[name] = None
                continue
            texts[name] = text = scalar_text(raw, self.placeholders)
            if text is None:
                is_unreadable = self.placeholders.occur_in(raw)
                reason = self.placeholders.reason(raw) if is_unreadable else "neither text nor a number"
                self.rejects.append(position.reject(index, name, reason, self.placeholders.original(raw)))
            elif raw[:1] != b'"':
                raw_json[row, name] = text
        return texts

    def _readable(self, unknown: dict[str, msgspec.Raw], position: Position) -> dict[str, msgspec.Raw]:
        """The unknown fields with null for every unreadable value, which becomes a reject."""
        if not self.placeholders.prefix:
            return unknown
        readable = {}
        for name, raw in unknown.items():
            readable_name = self.placeholders.readable_name(name)
            readable[readable_name] = raw
            if self.placeholders.occur_in(raw):
                reason, raw_json = self.placeholders.reason(raw), self.placeholders.original(raw)
                self.rejects.append(position.reject(_AFTER_THE_FIELDS, readable_name, reason, raw_json))
                readable[readable_name] = msgspec.Raw(b"null")
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
    unknown: dict[str, msgspec.Raw], rejects: list[Reject], position: Position, placeholders: Placeholders
) -> list[msgspec.Raw]:
    """Remove the list of disks from the fields of an image and return it; fields beside it stay."""
    raw = unknown.pop(DISKS, None)
    if raw is None or bytes(raw) == b"null":
        return []
    mappings = _object(raw)
    if mappings is None:
        rejects.append(position.reject(_AFTER_THE_FIELDS, DISKS, "not an object", placeholders.original(raw)))
        return []
    raw_disks = mappings.pop(DISK, msgspec.Raw(b"null"))
    if mappings:
        others = {placeholders.readable_name(name): raw for name, raw in mappings.items()}
        unknown[DISKS] = msgspec.Raw((as_json(others) or "").encode())
    if bytes(raw_disks) == b"null":
        return []
    try:
        return _decode_list(raw_disks)
    except msgspec.ValidationError:
        path = f"{DISKS}.{DISK}"
        rejects.append(position.reject(_AFTER_THE_FIELDS, path, "not a list", placeholders.original(raw_disks)))
        return []


def _object(raw: msgspec.Raw) -> dict[str, msgspec.Raw] | None:
    try:
        return decode_object(raw)
    except msgspec.ValidationError:
        return None


def as_json(unknown: dict[str, msgspec.Raw]) -> str | None:
    """Unknown fields as one JSON object, each value as sent; None if there are none."""
    if not unknown:
        return None
    return "{" + ",".join(f"{json(name)}:{bytes(raw).decode()}" for name, raw in unknown.items()) + "}"


def json(text: str) -> str:
    """`text` as JSON."""
    return msgspec.json.encode(text).decode()
