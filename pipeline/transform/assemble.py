"""Flatten pages into typed tables, and rejects with a reason. Pure: no files, no network.

    bodies ─→ parse ─→ columns of text ─→ cast ─→ columns of the declared types ─→ assemble ─→ tables
                │                           │
                └─ unknown fields: `extra`  └─ values that do not fit: null, and a row of `rejects`

Every parser yields the same columns of text, so that values are cast in one
place. One bad value never affects its neighbours; only an image without an id
is left out.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.extract.reading_version import READING
from pipeline.resources.control import REJECTS
from pipeline.resources.images import IMAGE_DISKS, IMAGES
from pipeline.resources.schema import Table
from pipeline.transform.cast import Cast
from pipeline.transform.parse import parse_pages
from pipeline.transform.text_columns import DISK_FIELDS, IMAGE_FIELDS, NO_ID

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from pipeline.transform.text_columns import Reject, TextColumns


@dataclass(frozen=True, slots=True)
class FlatTables:
    """Some pages of one observation as tables, and the names of unknown fields."""

    images: pa.Table
    image_disks: pa.Table
    rejects: pa.Table
    unknown_fields: frozenset[str]


def flatten(
    bodies: Sequence[bytes],
    account: str,
    observed_at_utc: dt.datetime,
    *,
    seen: set[str] | None = None,
    reading: int = READING,
) -> FlatTables:
    """Flatten the bodies of some pages of one observation; rows stay in the order listed.

    The bodies are pages that `read_page` can decode, by the same version of `reading`. `seen` is the set of ids of
    earlier pages, extended here: an image whose id is in it is left out, so that the first of two stays. None: the
    ids are known to be distinct.
    """
    return assemble(parse_pages(bodies, reading), account, observed_at_utc, seen=seen, reading=reading)


def assemble(
    texts: TextColumns,
    account: str,
    observed_at_utc: dt.datetime,
    *,
    seen: set[str] | None = None,
    reading: int = READING,
) -> FlatTables:
    """Cast parsed pages and put them into tables."""
    rejects = list(texts.rejects)
    cast = Cast(reading, observed_at_utc, rejects)
    images = cast.columns(texts.images, IMAGE_FIELDS, texts.image_raw_json, disks=None)
    disks = cast.columns(texts.disks, DISK_FIELDS, texts.disk_raw_json, disks=texts)
    keep = _images_to_keep(texts.images.column("ImageId"), seen)
    return FlatTables(
        images=_image_table({**images, **_disk_rollups(disks, texts)}, texts, keep, account, observed_at_utc),
        image_disks=_disk_table(disks, texts, keep, account, observed_at_utc),
        rejects=_reject_table(rejects, texts, keep, account, observed_at_utc),
        unknown_fields=frozenset(texts.unknown_fields),
    )


_schema = functools.cache(Table.arrow)


def _images_to_keep(ids: pa.Array, seen: set[str] | None) -> pa.Array | None:
    """A mask of the images that have an id not yet in `seen`; None: all of them."""
    if seen is None:
        return pc.is_valid(ids) if ids.null_count else None
    keep = []
    for image_id in ids.to_pylist():
        keep.append(image_id is not None and image_id not in seen)
        seen.add(image_id)
    return None if all(keep) else pa.array(keep)


def _table(
    table: Table, account: str, observed_at_utc: dt.datetime, row_count: int, columns: dict[str, Any]
) -> pa.Table:
    schema = _schema(table)
    all_columns: dict[str, Any] = {
        "account": pa.repeat(pa.scalar(account, pa.string()), row_count),
        "observed_at_utc": pa.repeat(pa.scalar(observed_at_utc, pa.timestamp("us")), row_count),
        **columns,
    }
    arrays = [_array(all_columns[field.name], field.type, row_count) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _array(values: Any, kind: pa.DataType, row_count: int) -> pa.Array:
    if values is None:
        return pa.nulls(row_count, kind)
    return pa.array(values, kind) if isinstance(values, list) else values.cast(kind)


def _disk_rollups(disks: dict[str, pa.Array], texts: TextColumns) -> dict[str, pa.Array]:
    """Count and size of the disks of each image. Disks are in the order of their images."""
    counts, sizes = texts.disk_count, disks["disk_size_gib"]
    ends = pc.cumulative_sum(counts)
    starts = pc.subtract(ends, counts)

    def sum_per_image(values: pa.Array) -> pa.Array:
        running = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(values)])
        return pc.subtract(running.take(ends), running.take(starts))

    unsized = sum_per_image(pc.is_null(sizes).cast(pa.int64()))
    size = pc.if_else(pc.equal(unsized, counts), None, sum_per_image(pc.fill_null(sizes, 0)))
    return {"disk_count": counts, "unsized_disk_count": unsized, "disk_size_gib": size}


def _image_table(
    columns: dict[str, Any], texts: TextColumns, keep: pa.Array | None, account: str, observed_at_utc: dt.datetime
) -> pa.Table:
    columns = {**columns, "extra": texts.image_extra}
    table = _table(IMAGES, account, observed_at_utc, len(texts.images), columns)
    return table if keep is None else table.filter(keep)


def _disk_table(
    columns: dict[str, Any], texts: TextColumns, keep: pa.Array | None, account: str, observed_at_utc: dt.datetime
) -> pa.Table:
    columns = {
        **columns,
        "image_id": pc.take(texts.images.column("ImageId"), texts.disk_image_row),
        "disk_number": texts.disk_number,
        "extra": texts.disk_extra,
    }
    table = _table(IMAGE_DISKS, account, observed_at_utc, len(texts.disks), columns)
    return table if keep is None else table.filter(pc.take(keep, texts.disk_image_row))


def _reject_table(
    rejects: list[Reject], texts: TextColumns, keep: pa.Array | None, account: str, observed_at_utc: dt.datetime
) -> pa.Table:
    ids = texts.images.column("ImageId")
    rows = [
        {
            "account": account,
            "resource": IMAGES.name,
            "observed_at_utc": observed_at_utc,
            "item_id": ids[reject.image_row].as_py(),
            "field": reject.field,
            "reason": reject.reason,
            "raw_json": reject.raw_json,
        }
        for reject in sorted(rejects)
        if keep is None or keep[reject.image_row].as_py() or reject.reason == NO_ID
    ]
    return pa.Table.from_pylist(rows, schema=_schema(REJECTS))
