"""Pages → typed tables, and rejects with a reason. Pure: no files, no network.

    bodies ─┬─ pyarrow's JSON reader over whole bodies: every field as text         fast, the usual way
            └─ where anything is not as published: the list of images in each, byte for byte
                 ├─ the same reader over whole lists                                a little slower
                 ├─ where a field is not known: the same, and those beside it       half as fast
                 └─ where anything else is odd: page by page, value by value
           ─→ text → declared type, a column at a time; what does not fit: null, and a row in `rejects`

Every way ends in the same columns of text, so a value is typed in one place
only. Fields that are not declared go to `extra`; one bad value never costs its
neighbours; only an image without an id is left out whole.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.extract.response import image_list
from pipeline.resources.control import REJECTS
from pipeline.resources.images import IMAGE_DISKS, IMAGES
from pipeline.resources.schema import Table
from pipeline.transform.cast import typed
from pipeline.transform.parse import page_texts, read_bodies
from pipeline.transform.texts import DISK_FIELDS, IMAGE_FIELDS, NO_ID, Texts

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from pipeline.transform.texts import Line


@dataclass(frozen=True, slots=True)
class Flat:
    """Some pages of one observation as tables, and the names of the fields that were not known."""

    images: pa.Table
    image_disks: pa.Table
    rejects: pa.Table
    unknown_fields: frozenset[str]


def flatten(
    bodies: Sequence[bytes], account: str, observed_at_utc: dt.datetime, *, seen: set[str] | None = None
) -> Flat:
    """Flatten the bodies of some pages of one observation, rows in the order listed.

    `seen` holds the ids of the pages before and takes up those of these: an image whose id is in
    it is left out, so that the first of two stays. None: the ids are known to be distinct.
    The bodies are pages that `read_page` could read.
    """
    texts = read_bodies(bodies) or page_texts([image_list(body) for body in bodies])
    rejects = list(texts.rejects)
    images = typed(texts.images, IMAGE_FIELDS, texts.raw, rejects, disks=None)
    disks = typed(texts.disks, DISK_FIELDS, texts.raw_disk, rejects, disks=texts)
    keep = _kept(texts.images.column("ImageId"), seen)
    return Flat(
        images=_image_table({**images, **_disk_sums(disks, texts)}, texts, keep, account, observed_at_utc),
        image_disks=_disk_table(disks, texts, keep, account, observed_at_utc),
        rejects=_reject_table(rejects, texts, keep, account, observed_at_utc),
        unknown_fields=frozenset(texts.unknown_fields),
    )


_schema = functools.cache(Table.arrow)


def _kept(ids: pa.Array, seen: set[str] | None) -> pa.Array | None:
    """Which images stay: those with an id that was not there before. None: all of them."""
    if seen is None:
        return pc.is_valid(ids) if ids.null_count else None
    keep = []
    for image_id in ids.to_pylist():
        keep.append(image_id is not None and image_id not in seen)
        seen.add(image_id)
    return None if all(keep) else pa.array(keep)


def _assemble(table: Table, account: str, observed_at_utc: dt.datetime, rows: int, columns: dict[str, Any]) -> pa.Table:
    schema = _schema(table)
    said: dict[str, Any] = {
        "account": pa.repeat(pa.scalar(account, pa.string()), rows),
        "observed_at_utc": pa.repeat(pa.scalar(observed_at_utc, pa.timestamp("us")), rows),
        **columns,
    }
    return pa.Table.from_arrays([_as(said[name.name], name.type, rows) for name in schema], schema=schema)


def _as(values: Any, kind: pa.DataType, rows: int) -> pa.Array:
    if values is None:
        return pa.nulls(rows, kind)
    return pa.array(values, kind) if isinstance(values, list) else values.cast(kind)


def _disk_sums(disks: dict[str, pa.Array], texts: Texts) -> dict[str, pa.Array]:
    """What the disks of each image come to; they lie in the order of their images."""
    counts, sizes = texts.disk_count, disks["disk_size_gib"]
    ends = pc.cumulative_sum(counts)
    starts = pc.subtract(ends, counts)

    def summed(values: pa.Array) -> pa.Array:
        so_far = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(values)])
        return pc.subtract(so_far.take(ends), so_far.take(starts))

    unsized = summed(pc.is_null(sizes).cast(pa.int64()))
    size = pc.if_else(pc.equal(unsized, counts), None, summed(pc.fill_null(sizes, 0)))
    return {"disk_count": counts, "unsized_disk_count": unsized, "disk_size_gib": size}


def _image_table(
    columns: dict[str, Any], texts: Texts, keep: pa.Array | None, account: str, at: dt.datetime
) -> pa.Table:
    table = _assemble(IMAGES, account, at, len(texts.images), {**columns, "extra": texts.image_extra})
    return table if keep is None else table.filter(keep)


def _disk_table(
    columns: dict[str, Any], texts: Texts, keep: pa.Array | None, account: str, at: dt.datetime
) -> pa.Table:
    of_disk = {
        "image_id": pc.take(texts.images.column("ImageId"), texts.disk_image_row),
        "disk_number": texts.disk_number,
        "extra": texts.disk_extra,
    }
    table = _assemble(IMAGE_DISKS, account, at, len(texts.disks), {**columns, **of_disk})
    return table if keep is None else table.filter(pc.take(keep, texts.disk_image_row))


def _reject_table(rejects: list[Line], texts: Texts, keep: pa.Array | None, account: str, at: dt.datetime) -> pa.Table:
    ids = texts.images.column("ImageId")
    rows = [
        {
            "account": account,
            "observed_at_utc": at,
            "image_id": ids[line.image_row].as_py(),
            "field": line.field,
            "reason": line.reason,
            "raw_json": line.raw,
        }
        for line in sorted(rejects)
        if keep is None or keep[line.image_row].as_py() or line.reason == NO_ID
    ]
    return pa.Table.from_pylist(rows, schema=_schema(REJECTS))
