"""Images and disks as columns of text: the result of parsing, the input of casting."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from pipeline.resources.images import IMAGE_DISKS, IMAGES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.resources.schema import Column, Table

DISKS: Final = "DiskDeviceMappings"
DISK: Final = "DiskDeviceMapping"
NO_ID: Final = "no id: the image is left out"


def _fields(table: Table, *, without: str | None = None) -> dict[str, Column]:
    """The API's fields of a table, in declared order: API name → column."""
    return {column.api: column for column in table.columns if column.api and column.name != without}


IMAGE_FIELDS: Final = _fields(IMAGES)
DISK_FIELDS: Final = _fields(IMAGE_DISKS, without="image_id")
ID_INDEX: Final = list(IMAGE_FIELDS).index("ImageId")


def _strings(names: Iterable[str]) -> pa.Schema:
    return pa.schema([pa.field(name, pa.string()) for name in names])


IMAGE_SCHEMA: Final = _strings(IMAGE_FIELDS)
DISK_SCHEMA: Final = _strings(DISK_FIELDS)
_DISK_STRUCT: Final = pa.struct([pa.field(DISK, pa.list_(pa.struct(list(DISK_SCHEMA))))])
LIST_SCHEMA: Final = pa.schema([pa.field("Image", pa.list_(pa.struct([*IMAGE_SCHEMA, pa.field(DISKS, _DISK_STRUCT)])))])
BODY_SCHEMA: Final = pa.schema(
    [
        pa.field("Code", pa.int64()),
        pa.field("Images", pa.struct(list(LIST_SCHEMA))),
        *_strings(("RequestId", "PageSize", "PageNumber", "TotalCount")),
    ]
)


@dataclass(frozen=True, slots=True, order=True)
class Reject:
    """A value that was left out, ordered by its position."""

    image_row: int
    disk_number: int
    """0: a field of the image itself."""
    field_index: int
    field: str
    reason: str
    raw_json: str


@dataclass(slots=True)
class TextColumns:
    """Images and disks as columns of text, with the rejects and unknown fields found while parsing."""

    images: pa.RecordBatch
    disks: pa.RecordBatch
    disk_count: pa.Array
    """Disks per image."""
    disk_image_row: pa.Array
    disk_number: pa.Array
    image_extra: list[str | None] | None = None
    disk_extra: list[str | None] | None = None
    image_raw_json: dict[tuple[int, str], str] = field(default_factory=dict)
    """Values that were sent as JSON numbers: (row, field) → text."""
    disk_raw_json: dict[tuple[int, str], str] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    unknown_fields: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Position:
    """The position of a value: the row of its image, and the number of the disk (0: the image itself)."""

    image_row: int
    disk_number: int = 0

    def reject(self, field_index: int, name: str | None, reason: str, raw_json: str) -> Reject:
        """Reject the API field `name`; None: the whole disk."""
        parts = (f"{DISK}[{self.disk_number}]" if self.disk_number else None, name)
        path = ".".join(part for part in parts if part is not None)
        return Reject(self.image_row, self.disk_number, field_index, path, reason, raw_json)
