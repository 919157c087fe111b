"""Images and disks as columns of text: what every reader of pages makes, and what typing takes."""

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
ID_PLACE: Final = list(IMAGE_FIELDS).index("ImageId")


def _strings(names: Iterable[str]) -> pa.Schema:
    return pa.schema([pa.field(name, pa.string()) for name in names])


IMAGE_TEXTS: Final = _strings(IMAGE_FIELDS)
DISK_TEXTS: Final = _strings(DISK_FIELDS)
_DISK_STRUCT: Final = pa.struct([pa.field(DISK, pa.list_(pa.struct(list(DISK_TEXTS))))])
LIST_SCHEMA: Final = pa.schema([pa.field("Image", pa.list_(pa.struct([*IMAGE_TEXTS, pa.field(DISKS, _DISK_STRUCT)])))])
BODY_SCHEMA: Final = pa.schema(
    [
        pa.field("Code", pa.int64()),
        pa.field("Images", pa.struct(list(LIST_SCHEMA))),
        *_strings(("RequestId", "PageSize", "PageNumber", "TotalCount")),
    ]
)


@dataclass(frozen=True, slots=True, order=True)
class Line:
    """One reject: where it stands (image row, disk number or 0, place of the field), and what it says."""

    image_row: int
    disk_number: int
    place: int
    field: str
    reason: str
    raw: str


@dataclass(slots=True)
class Texts:
    """Images and disks as columns of text, and what the way there has found."""

    images: pa.RecordBatch
    disks: pa.RecordBatch
    disk_count: pa.Array
    """Of each image."""
    disk_image_row: pa.Array
    disk_number: pa.Array
    image_extra: list[str | None] | None = None
    disk_extra: list[str | None] | None = None
    raw: dict[tuple[int, str], str] = field(default_factory=dict)
    """Raw JSON of values that were no JSON strings: (row, field) → text."""
    raw_disk: dict[tuple[int, str], str] = field(default_factory=dict)
    rejects: list[Line] = field(default_factory=list)
    unknown_fields: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands: an image's row, and the number of the disk in it (0: the image itself)."""

    image_row: int
    disk_number: int = 0

    def line(self, place: int, name: str | None, reason: str, raw: str) -> Line:
        """A reject at this place; `name` is the API field, None the disk as a whole."""
        parts = (f"{DISK}[{self.disk_number}]" if self.disk_number else None, name)
        where = ".".join(part for part in parts if part is not None)
        return Line(self.image_row, self.disk_number, place, where, reason, raw)
