"""Flatten pages into typed tables, and rejects with a reason. Pure: no files, no network.

    bodies ─→ parse ─→ columns of text ─→ cast ─→ columns of the declared types ─→ assemble ─→ tables
                │                           │
                └─ unknown fields: `extra`  └─ values that do not fit: null, and a row of `rejects`

Every parser yields the same columns of text, so that values are cast in one
place. One bad value never affects its neighbours; only an item without an id
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
from pipeline.resources.images import IMAGES_RESOURCE
from pipeline.resources.schema import Table
from pipeline.transform.cast import Cast
from pipeline.transform.parse import parse_pages
from pipeline.transform.text_columns import item_fields

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from pipeline.resources.resource import Child, Resource
    from pipeline.transform.text_columns import ChildRows, ItemFields, Reject, TextColumns, TextRows


@dataclass(frozen=True, slots=True)
class FlatTables:
    """Some pages of one observation of a resource as tables, and the names of unknown fields."""

    items: pa.Table
    children: tuple[pa.Table, ...]
    """The child items, in the order in which the resource declares them."""
    rejects: pa.Table
    unknown_fields: frozenset[str]
    resource: Resource

    @property
    def by_table(self) -> dict[Table, pa.Table]:
        """The rows of each table."""
        return {**dict(zip(self.resource.tables, (self.items, *self.children), strict=True)), REJECTS: self.rejects}


def flatten(
    bodies: Sequence[bytes],
    account: str,
    observed_at_utc: dt.datetime,
    *,
    resource: Resource = IMAGES_RESOURCE,
    seen: set[str] | None = None,
    reading: int = READING,
) -> FlatTables:
    """Flatten the bodies of some pages of one observation; rows stay in the order listed.

    The bodies are pages that `read_page` can decode, by the same version of `reading`. `seen` is the set of ids of
    earlier pages, extended here: an item whose id is in it is left out, so that the first of two stays. None: the
    ids are known to be distinct.
    """
    texts = parse_pages(bodies, reading, resource)
    return assemble(texts, account, observed_at_utc, resource=resource, seen=seen, reading=reading)


def assemble(
    texts: TextColumns,
    account: str,
    observed_at_utc: dt.datetime,
    *,
    resource: Resource = IMAGES_RESOURCE,
    seen: set[str] | None = None,
    reading: int = READING,
) -> FlatTables:
    """Cast parsed pages and put them into tables."""
    fields = item_fields(resource)
    rejects = list(texts.rejects)
    cast = Cast(reading, observed_at_utc, rejects)
    columns = cast.columns(texts.items, fields)
    ids = columns[resource.key.name]
    keep = _items_to_keep(ids, seen)

    def table(table: Table, rows: TextRows, columns: dict[str, Any], is_kept: pa.Array | None) -> pa.Table:
        made = _table(table, account, observed_at_utc, len(rows.texts), {**columns, "extra": rows.extra})
        return made if is_kept is None else made.filter(is_kept)

    children = []
    for index, (child_fields, rows) in enumerate(zip(fields.children, texts.children, strict=True), start=1):
        child = child_fields.child
        position = functools.partial(rows.position, index=index, child=child)
        child_columns = {
            **cast.columns(rows, child_fields, position),
            **_path_columns(child, rows),
            child.number.name: rows.number,
            resource.key.name: pc.take(ids, rows.item_row),
        }
        columns |= _rollups(child, child_columns, rows)
        children.append(table(child.table, rows, child_columns, None if keep is None else pc.take(keep, rows.item_row)))
    return FlatTables(
        items=table(resource.table, texts.items, columns, keep),
        children=tuple(children),
        rejects=_reject_table(rejects, fields, ids, keep, account, observed_at_utc),
        unknown_fields=frozenset(texts.unknown_fields),
        resource=resource,
    )


_schema = functools.cache(Table.arrow)


def _items_to_keep(ids: pa.Array, seen: set[str] | None) -> pa.Array | None:
    """A mask of the items that have an id not yet in `seen`; None: all of them."""
    if seen is None:
        return pc.is_valid(ids) if ids.null_count else None
    keep = []
    for item_id in ids.to_pylist():
        keep.append(item_id is not None and item_id not in seen)
        seen.add(item_id)
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


def _path_columns(child: Child, rows: ChildRows) -> dict[str, pa.Array]:
    """The columns that the path of a child item tells."""
    names = dict.fromkeys(name for path in child.paths for name, _ in path.values)
    texts = {name: pa.array([dict(path.values).get(name) for path in child.paths], pa.string()) for name in names}
    return {name: pc.take(values, rows.path) for name, values in texts.items()}


def _rollups(child: Child, columns: dict[str, pa.Array], rows: ChildRows) -> dict[str, pa.Array]:
    """Sum up the child items of each item. They are in the order of their items."""
    ends = pc.cumulative_sum(rows.count)
    starts = pc.subtract(ends, rows.count)

    def sum_per_item(values: pa.Array) -> pa.Array:
        running = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(values)])
        return pc.subtract(running.take(ends), running.take(starts))

    found = {}
    for rollup in child.rollups:
        if rollup.of is None:
            found[rollup.column.name] = rows.count
            continue
        values = columns[rollup.of]
        null_count = sum_per_item(pc.is_null(values).cast(pa.int64()))
        if rollup.how == "count_null":
            found[rollup.column.name] = null_count
        else:
            total = sum_per_item(pc.fill_null(values, 0))
            found[rollup.column.name] = pc.if_else(pc.equal(null_count, rows.count), None, total)
    return found


def _reject_table(
    rejects: list[Reject],
    fields: ItemFields,
    ids: pa.Array,
    keep: pa.Array | None,
    account: str,
    observed_at_utc: dt.datetime,
) -> pa.Table:
    rows = [
        {
            "account": account,
            "resource": fields.resource.name,
            "observed_at_utc": observed_at_utc,
            "item_id": ids[reject.item_row].as_py(),
            "field": reject.field,
            "reason": reject.reason,
            "raw_json": reject.raw_json,
        }
        for reject in sorted(rejects)
        if keep is None or keep[reject.item_row].as_py() or reject.reason == fields.no_id
    ]
    return pa.Table.from_pylist(rows, schema=_schema(REJECTS))
