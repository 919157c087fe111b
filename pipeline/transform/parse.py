"""Parse pages into columns of text, by pyarrow's JSON reader wherever it can.

parse_bodies       whole answers as published          fastest, the usual case
parse_lists        their lists of items                a little slower
                   with unknown fields beside          half as fast
parse_irregular    page by page, value by value        anything else
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from pipeline.extract.doubled_keys import doubled_values
from pipeline.extract.json_repair import NO_PLACEHOLDERS, Placeholders
from pipeline.extract.reading_version import FIRST, READING
from pipeline.extract.response import decode_object, item_list, require_utf8
from pipeline.resources.images import IMAGES_RESOURCE
from pipeline.transform.parse_irregular import as_json, decode_objects, parse_irregular, take_child_items
from pipeline.transform.text_columns import ChildRows, Position, TextColumns, TextRows, item_fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    import msgspec

    from pipeline.resources.resource import Resource
    from pipeline.transform.text_columns import ChildFields, Fields, ItemFields


_MAX_BYTES: Final = 1 << 30
"""Bytes that are parsed at once: Arrow's offsets have 32 bits."""


def parse_pages(bodies: Sequence[bytes], reading: int = READING, resource: Resource = IMAGES_RESOURCE) -> TextColumns:
    """Parse the bodies of some pages by the fastest parser that can."""
    fields = item_fields(resource)
    columns = None if fields.has_excluded else parse_bodies(bodies, resource)
    return columns or _parse_any_lists([item_list(body, resource) for body in bodies], reading, fields)


def _parse_any_lists(lists: list[tuple[bytes, Placeholders]], reading: int, fields: ItemFields) -> TextColumns:
    if not lists:
        return parse_irregular(b"[]", NO_PLACEHOLDERS, reading, fields.resource)
    if all(placeholders is NO_PLACEHOLDERS for _, placeholders in lists):
        raw_lists = [raw for raw, _ in lists]
        may_be_plain = len(raw_lists) > 1 and not fields.has_excluded
        columns = (parse_lists(raw_lists, fields.resource) if may_be_plain else None) or _parse_lists_with_extras(
            raw_lists, reading, fields
        )
        if columns is not None:
            return columns
    if len(lists) == 1:
        return parse_irregular(*lists[0], reading, fields.resource)
    return concatenate([_parse_any_lists([page], reading, fields) for page in lists])


def parse_bodies(bodies: Sequence[bytes], resource: Resource = IMAGES_RESOURCE) -> TextColumns | None:
    """Parse whole answers by pyarrow; None if anything in them is not as published."""
    fields = item_fields(resource)
    table = _read_json(bodies, fields.body_schema) if bodies else None
    if table is None:
        return None
    root, *inner = resource.action.items
    lists = table.column(root).combine_chunks()
    for name in inner:
        lists = pc.struct_field(lists, name)
    return _columns(lists, fields)


def parse_lists(
    lists: Sequence[bytes], resource: Resource = IMAGES_RESOURCE, unknown_fields: str = "error"
) -> TextColumns | None:
    """Parse lists of items by pyarrow; None if anything in them is not as published."""
    fields = item_fields(resource)
    (name,) = fields.list_schema.names
    table = _read_json([b'{"%b":%b}' % (name.encode(), raw) for raw in lists], fields.list_schema, unknown_fields)
    return None if table is None else _columns(table.column(name).combine_chunks(), fields)


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


def _columns(lists: pa.Array, fields: ItemFields) -> TextColumns | None:
    """Columns of text from one list of items per page; None if an item is null or has no id."""
    items = pc.list_flatten(lists)
    arrays = items.flatten()  # in the order of the schema; a null item is null in every field
    texts, outer = arrays[: len(fields.columns)], arrays[len(fields.columns) :]
    ids = texts[fields.key_index]
    if items.null_count or ids.null_count or pc.any(pc.equal(ids, "")).as_py():
        return None
    names = [field.name for field in items.type][len(fields.columns) :]
    holders = dict(zip(names, outer, strict=True))
    children = [_child_rows(holders, child) for child in fields.children]
    found = [rows for rows in children if rows is not None]
    if len(found) < len(children):
        return None
    return TextColumns(TextRows(_batch(texts, fields), bare=fields.bare), found)


def _batch(arrays: list[pa.Array], fields: Fields) -> pa.RecordBatch:
    """The values as text: numbers and booleans as they stand in JSON."""
    texts = [values if pa.types.is_string(values.type) else values.cast(pa.string()) for values in arrays]
    return pa.RecordBatch.from_arrays(texts, schema=fields.schema)


def _child_rows(holders: dict[str, pa.Array], fields: ChildFields) -> ChildRows | None:
    """The child items of all items, in their order; None if one of a list is null."""
    parts, item_rows, counts, paths = [], [], None, []
    for index, path in enumerate(fields.child.paths):
        root, *inner = path.path
        values = holders[root]
        for name in inner:
            values = pc.struct_field(values, name)
        if path.is_object:
            is_there = pc.is_valid(values)
            part, rows, count = values.filter(is_there), pc.indices_nonzero(is_there), is_there.cast(pa.int64())
        else:
            part, rows = pc.list_flatten(values), pc.list_parent_indices(values)
            count = pc.fill_null(pc.list_value_length(values), 0).cast(pa.int64())
        if part.null_count:
            return None
        parts.append(part)
        item_rows.append(rows.cast(pa.int64()))
        counts = count if counts is None else pc.add(counts, count)
        paths.append(pa.repeat(pa.scalar(index, pa.int64()), len(part)))
    part, item_row, path_of = parts[0], item_rows[0], paths[0]
    if len(parts) > 1:
        item_row = pa.concat_arrays(item_rows)
        order = pc.sort_indices(item_row)  # stable: of one item, the paths stay in their order
        part, item_row, path_of = (
            values.take(order) for values in (pa.concat_arrays(parts), item_row, pa.concat_arrays(paths))
        )
    starts = pc.subtract(pc.cumulative_sum(counts), counts)
    ordinals = pc.cumulative_sum(pa.repeat(pa.scalar(1, pa.int64()), len(part)))
    return ChildRows(
        _batch(part.flatten(), fields),
        bare=fields.bare,
        count=counts,
        item_row=item_row,
        number=pc.subtract(ordinals, pc.take(starts, item_row)),
        path=path_of,
    )


def _parse_lists_with_extras(lists: list[bytes], reading: int, fields: ItemFields) -> TextColumns | None:
    """Parse lists of items that are as published except for unknown fields; None for any other."""
    columns = parse_lists(lists, fields.resource, "ignore")
    if columns is None:
        return None
    items = [decode_objects(raw) for raw in lists]
    if reading > 1 and any(map(_may_have_doubled, lists, items)):
        return None
    columns.items.extra = []
    for rows in columns.children:
        rows.extra = []
    for item in itertools.chain.from_iterable(items):
        unknown: dict[str, bytes] = {name: raw for name, raw in item.items() if name not in fields.known}
        holders = {path.path[0]: unknown.get(path.path[0]) for child in fields.children for path in child.child.paths}
        for child, rows in zip(fields.children, columns.children, strict=True):
            for path, raw in take_child_items(unknown, child, [], Position(0), NO_PLACEHOLDERS, FIRST):
                values = decode_object(raw)
                rest = {name: value for name, value in values.items() if name not in child.known}
                if rest and reading > 1 and doubled_values(raw, values):  # of known fields pyarrow tells it
                    return None
                rows.extra.append(as_json(rest))  # type: ignore[union-attr]
                columns.unknown_fields.update(f"{path.path[-1]}.{name}" for name in rest)
        for name, holder in holders.items():
            if name in unknown and reading > 1 and doubled_values(holder or b"", decode_object(holder or b"{}")):
                return None
        columns.items.extra.append(as_json(unknown))
        columns.unknown_fields.update(unknown)
    return columns


def _may_have_doubled(raw_list: bytes, items: list[dict[str, msgspec.Raw]]) -> bool:
    """Whether a key may stand twice in an item: as `doubled_values` finds it, for a whole list at once."""
    values = b"".join(itertools.chain.from_iterable(item.values() for item in items))
    return raw_list.count(b":") - values.count(b":") != sum(map(len, items))


def concatenate(parts: Sequence[TextColumns]) -> TextColumns:
    """Concatenate pages parsed one by one, with the result of parsing them together."""
    first_rows = [0, *itertools.accumulate(len(part.items.texts) for part in parts)]
    items = TextRows(**_concatenated([part.items for part in parts]))
    children = []
    for each in zip(*(part.children for part in parts), strict=True):
        item_rows = [pc.add(rows.item_row, first) for rows, first in zip(each, first_rows, strict=False)]
        children.append(
            ChildRows(
                **_concatenated(each),
                count=pa.concat_arrays([rows.count for rows in each]),
                item_row=pa.concat_arrays(item_rows),
                number=pa.concat_arrays([rows.number for rows in each]),
                path=pa.concat_arrays([rows.path for rows in each]),
            )
        )
    rejects = [
        replace(reject, item_row=reject.item_row + first)
        for part, first in zip(parts, first_rows, strict=False)
        for reject in part.rejects
    ]
    return TextColumns(items, children, rejects, set().union(*(part.unknown_fields for part in parts)))


def _concatenated(parts: Sequence[TextRows]) -> dict[str, Any]:
    """The texts, unknown fields and raw JSON of rows one after the other."""
    extra: list[str | None] = []
    raw_json: dict[tuple[int, str], str] = {}
    first = 0
    for part in parts:
        extra += part.extra or [None] * len(part.texts)
        raw_json.update({(row + first, name): raw for (row, name), raw in part.raw_json.items()})
        for name in part.bare:
            texts = part.texts.column(name).to_pylist()
            raw_json.update({(row, name): text for row, text in enumerate(texts, first) if text is not None})
        first += len(part.texts)
    return {
        "texts": pa.concat_batches([part.texts for part in parts]),
        "extra": extra,
        "raw_json": raw_json,
    }
