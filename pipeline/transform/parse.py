"""Pages to columns of text, fast."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from pipeline.extract.json_repair import NO_PLACEHOLDERS, Placeholders
from pipeline.extract.response import require_utf8
from pipeline.transform.parse_odd import (
    as_json,
    decode_object,
    decode_objects,
    disk_entries,
    read_carefully,
)
from pipeline.transform.texts import (
    BODY_SCHEMA,
    DISK,
    DISK_FIELDS,
    DISK_TEXTS,
    ID_PLACE,
    IMAGE_FIELDS,
    IMAGE_TEXTS,
    LIST_SCHEMA,
    Place,
    Texts,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


_LONGEST_AT_ONCE: Final = 1 << 30
"""Bytes that are read at once: Arrow counts them in 32 bits."""


def page_texts(pages: list[tuple[bytes, Placeholders]]) -> Texts:
    """Read these pages into columns of text: the fastest of three readers that can."""
    if not pages:
        return read_carefully(b"[]", NO_PLACEHOLDERS)
    if all(aside is NO_PLACEHOLDERS for _, aside in pages):
        lists = [page for page, _ in pages]
        texts = (_read_quickly(lists) if len(lists) > 1 else None) or _read_with_extras(lists)
        if texts is not None:
            return texts
    return read_carefully(*pages[0]) if len(pages) == 1 else _joined([page_texts([page]) for page in pages])


def read_bodies(bodies: Sequence[bytes]) -> Texts | None:
    """Let pyarrow read whole answers as published; None where anything in them is not as published."""
    table = _read_lines(bodies, BODY_SCHEMA) if bodies else None
    return None if table is None else _as_texts(pc.struct_field(table.column("Images").combine_chunks(), "Image"))


def _read_quickly(lists: Sequence[bytes], unknown_fields: str = "error") -> Texts | None:
    """The same of their lists of images alone."""
    table = _read_lines([b'{"Image":%b}' % one for one in lists], LIST_SCHEMA, unknown_fields)
    return None if table is None else _as_texts(table.column("Image").combine_chunks())


def _read_lines(pages: Sequence[bytes], schema: pa.Schema, unknown_fields: str = "error") -> pa.Table | None:
    if sum(map(len, pages)) > _LONGEST_AT_ONCE:
        return None
    try:
        for page in pages:
            require_utf8(page)  # pyarrow lets it through
        # a line a page: a raw line break can only stand between JSON's tokens
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


def _as_texts(lists: pa.Array) -> Texts | None:
    """Columns of text from a list of images a page; None where an image is null, or has no id."""
    images = pc.list_flatten(lists)
    *texts, around = images.flatten()  # as in the schema: a null image is null in every field
    ids = texts[ID_PLACE]
    if images.null_count or ids.null_count or pc.any(pc.equal(ids, "")).as_py():
        return None
    (lists,) = around.flatten()
    disks = pc.list_flatten(lists)
    if disks.null_count:
        return None
    rows = pc.list_parent_indices(lists)
    counts = pc.fill_null(pc.list_value_length(lists), 0).cast(pa.int64())
    starts = pc.subtract(pc.cumulative_sum(counts), counts)
    places = pc.cumulative_sum(pa.repeat(pa.scalar(1, pa.int64()), len(disks)))
    return Texts(
        images=pa.RecordBatch.from_arrays(texts, schema=IMAGE_TEXTS),
        disks=pa.RecordBatch.from_arrays(disks.flatten(), schema=DISK_TEXTS),
        disk_count=counts,
        disk_image_row=rows,
        disk_number=pc.subtract(places, pc.take(starts, rows)),
    )


def _read_with_extras(pages: list[bytes]) -> Texts | None:
    """The same where the only thing not as published is that there are more fields."""
    texts = _read_quickly(pages, "ignore")
    if texts is None:
        return None
    texts.image_extra, texts.disk_extra = [], []
    for image in itertools.chain.from_iterable(map(decode_objects, pages)):
        unknown = {name: raw for name, raw in image.items() if name not in IMAGE_FIELDS}
        for disk in disk_entries(unknown, [], Place(0), NO_PLACEHOLDERS):
            unknown_of_disk = {name: raw for name, raw in decode_object(disk).items() if name not in DISK_FIELDS}
            texts.disk_extra.append(as_json(unknown_of_disk))
            texts.unknown_fields.update(f"{DISK}.{name}" for name in unknown_of_disk)
        texts.image_extra.append(as_json(unknown))
        texts.unknown_fields.update(unknown)
    return texts


def _joined(parts: Sequence[Texts]) -> Texts:
    """Pages read one by one, as if they had been read together."""
    image_extra: list[str | None] = []
    disk_extra: list[str | None] = []
    rows: list[pa.Array] = []
    out = replace(
        parts[0],
        images=pa.concat_batches([part.images for part in parts]),
        disks=pa.concat_batches([part.disks for part in parts]),
        disk_count=pa.concat_arrays([part.disk_count for part in parts]),
        disk_number=pa.concat_arrays([part.disk_number for part in parts]),
        image_extra=image_extra,
        disk_extra=disk_extra,
        raw={},
        raw_disk={},
        rejects=[],
        unknown_fields=set(),
    )
    image_rows = disk_rows = 0
    for part in parts:
        rows.append(pc.add(part.disk_image_row, image_rows))
        image_extra += part.image_extra or [None] * len(part.images)
        disk_extra += part.disk_extra or [None] * len(part.disks)
        out.raw.update({(row + image_rows, name): raw for (row, name), raw in part.raw.items()})
        out.raw_disk.update({(row + disk_rows, name): raw for (row, name), raw in part.raw_disk.items()})
        out.rejects += [replace(line, image_row=line.image_row + image_rows) for line in part.rejects]
        out.unknown_fields |= part.unknown_fields
        image_rows += len(part.images)
        disk_rows += len(part.disks)
    out.disk_image_row = pa.concat_arrays(rows)
    return out
