"""Parse pages into columns of text, by pyarrow's JSON reader wherever it can.

parse_bodies       whole answers as published          fastest, the usual case
parse_lists        their lists of images               a little slower
                   with unknown fields beside          half as fast
parse_irregular    page by page, value by value        anything else
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from pipeline.extract.doubled_keys import doubled_values
from pipeline.extract.json_repair import NO_PLACEHOLDERS, Placeholders
from pipeline.extract.reading_version import FIRST, READING
from pipeline.extract.response import decode_object, item_list, require_utf8
from pipeline.transform.parse_irregular import (
    as_json,
    decode_objects,
    parse_irregular,
    take_disks,
)
from pipeline.transform.text_columns import (
    BODY_SCHEMA,
    DISK,
    DISK_FIELDS,
    DISK_SCHEMA,
    DISKS,
    ID_INDEX,
    IMAGE_FIELDS,
    IMAGE_SCHEMA,
    LIST_SCHEMA,
    Position,
    TextColumns,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import msgspec


_MAX_BYTES: Final = 1 << 30
"""Bytes that are parsed at once: Arrow's offsets have 32 bits."""


def parse_pages(bodies: Sequence[bytes], reading: int = READING) -> TextColumns:
    """Parse the bodies of some pages by the fastest parser that can."""
    return parse_bodies(bodies) or _parse_any_lists([item_list(body) for body in bodies], reading)


def _parse_any_lists(lists: list[tuple[bytes, Placeholders]], reading: int) -> TextColumns:
    if not lists:
        return parse_irregular(b"[]", NO_PLACEHOLDERS)
    if all(placeholders is NO_PLACEHOLDERS for _, placeholders in lists):
        raw_lists = [raw for raw, _ in lists]
        columns = (parse_lists(raw_lists) if len(raw_lists) > 1 else None) or _parse_lists_with_extras(
            raw_lists, reading
        )
        if columns is not None:
            return columns
    if len(lists) == 1:
        return parse_irregular(*lists[0], reading)
    return concatenate([_parse_any_lists([page], reading) for page in lists])


def parse_bodies(bodies: Sequence[bytes]) -> TextColumns | None:
    """Parse whole answers by pyarrow; None if anything in them is not as published."""
    table = _read_json(bodies, BODY_SCHEMA) if bodies else None
    return None if table is None else _columns(pc.struct_field(table.column("Images").combine_chunks(), "Image"))


def parse_lists(lists: Sequence[bytes], unknown_fields: str = "error") -> TextColumns | None:
    """Parse lists of images by pyarrow; None if anything in them is not as published."""
    table = _read_json([b'{"Image":%b}' % raw for raw in lists], LIST_SCHEMA, unknown_fields)
    return None if table is None else _columns(table.column("Image").combine_chunks())


def _read_json(pages: Sequence[bytes], schema: pa.Schema, unknown_fields: str = "error") -> pa.Table | None:
    if sum(map(len, pages)) > _MAX_BYTES:
        return None
    try:
        for page in pages:
            require_utf8(page)  # pyarrow does not check it
        # one line per page: a raw line break is only allowed between JSON's tokens
        lines = b"\n".join([page.replace(b"\n", b" ").replace(b"\r", b" ") for page in pages])
        table = pyarrow.json.read_json(
            pa.BufferReader(lines),
            read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=max(len(lines) + 1, 1 << 16)),
            parse_options=pyarrow.json.ParseOptions(
                explicit_schema=schema, newlines_in_values=False, unexpected_field_behavior=unknown_fields
            ),
        )
    except (pa.ArrowInvalid, UnicodeDecodeError):
        return None
    return table if len(table) == len(pages) else None


def _columns(lists: pa.Array) -> TextColumns | None:
    """Columns of text from one list of images per page; None if an image is null or has no id."""
    images = pc.list_flatten(lists)
    *texts, mappings = images.flatten()  # in the order of the schema; a null image is null in every field
    ids = texts[ID_INDEX]
    if images.null_count or ids.null_count or pc.any(pc.equal(ids, "")).as_py():
        return None
    (disk_lists,) = mappings.flatten()
    disks = pc.list_flatten(disk_lists)
    if disks.null_count:
        return None
    image_rows = pc.list_parent_indices(disk_lists)
    counts = pc.fill_null(pc.list_value_length(disk_lists), 0).cast(pa.int64())
    starts = pc.subtract(pc.cumulative_sum(counts), counts)
    ordinals = pc.cumulative_sum(pa.repeat(pa.scalar(1, pa.int64()), len(disks)))
    return TextColumns(
        images=pa.RecordBatch.from_arrays(texts, schema=IMAGE_SCHEMA),
        disks=pa.RecordBatch.from_arrays(disks.flatten(), schema=DISK_SCHEMA),
        disk_count=counts,
        disk_image_row=image_rows,
        disk_number=pc.subtract(ordinals, pc.take(starts, image_rows)),
    )


def _parse_lists_with_extras(lists: list[bytes], reading: int) -> TextColumns | None:
    """Parse lists of images that are as published except for unknown fields; None for any other."""
    columns = parse_lists(lists, "ignore")
    if columns is None:
        return None
    images = [decode_objects(raw) for raw in lists]
    if reading > 1 and any(map(_may_have_doubled, lists, images)):
        return None
    columns.image_extra, columns.disk_extra = [], []
    for image in itertools.chain.from_iterable(images):
        unknown: dict[str, bytes] = {name: raw for name, raw in image.items() if name not in IMAGE_FIELDS}
        mappings = unknown.get(DISKS, b"")
        for disk in take_disks(unknown, [], Position(0), NO_PLACEHOLDERS, FIRST):
            values = decode_object(disk)
            unknown_in_disk = {name: raw for name, raw in values.items() if name not in DISK_FIELDS}
            if unknown_in_disk and reading > 1 and doubled_values(disk, values):  # of known fields pyarrow tells it
                return None
            columns.disk_extra.append(as_json(unknown_in_disk))
            columns.unknown_fields.update(f"{DISK}.{name}" for name in unknown_in_disk)
        if DISKS in unknown and reading > 1 and doubled_values(mappings, decode_object(mappings)):
            return None
        columns.image_extra.append(as_json(unknown))
        columns.unknown_fields.update(unknown)
    return columns


def _may_have_doubled(raw_list: bytes, images: list[dict[str, msgspec.Raw]]) -> bool:
    """Whether a key may stand twice in an image: as `doubled_values` finds it, for a whole list at once."""
    values = b"".join(itertools.chain.from_iterable(image.values() for image in images))
    return raw_list.count(b":") - values.count(b":") != sum(map(len, images))


def concatenate(parts: Sequence[TextColumns]) -> TextColumns:
    """Concatenate pages parsed one by one, with the result of parsing them together."""
    image_extra: list[str | None] = []
    disk_extra: list[str | None] = []
    disk_image_rows: list[pa.Array] = []
    out = replace(
        parts[0],
        images=pa.concat_batches([part.images for part in parts]),
        disks=pa.concat_batches([part.disks for part in parts]),
        disk_count=pa.concat_arrays([part.disk_count for part in parts]),
        disk_number=pa.concat_arrays([part.disk_number for part in parts]),
        image_extra=image_extra,
        disk_extra=disk_extra,
        image_raw_json={},
        disk_raw_json={},
        rejects=[],
        unknown_fields=set(),
    )
    first_image = first_disk = 0
    for part in parts:
        disk_image_rows.append(pc.add(part.disk_image_row, first_image))
        image_extra += part.image_extra or [None] * len(part.images)
        disk_extra += part.disk_extra or [None] * len(part.disks)
        out.image_raw_json.update({(row + first_image, name): raw for (row, name), raw in part.image_raw_json.items()})
        out.disk_raw_json.update({(row + first_disk, name): raw for (row, name), raw in part.disk_raw_json.items()})
        out.rejects += [replace(reject, image_row=reject.image_row + first_image) for reject in part.rejects]
        out.unknown_fields |= part.unknown_fields
        first_image += len(part.images)
        first_disk += len(part.disks)
    out.disk_image_row = pa.concat_arrays(disk_image_rows)
    return out
