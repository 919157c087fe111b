"""Parse a page that is not as published, value by value, with the raw JSON of each value at hand."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import msgspec
import pyarrow as pa

from pipeline.extract.doubled_keys import Doubled, doubled_values
from pipeline.extract.reading_version import READING
from pipeline.extract.response import decode_object, scalar_text
from pipeline.resources.images import IMAGES_RESOURCE
from pipeline.transform.text_columns import (
    AFTER_THE_FIELDS,
    WHOLE_CHILD,
    ChildRows,
    Position,
    Reject,
    TextColumns,
    TextRows,
    child_name,
    item_fields,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pipeline.extract.json_repair import Placeholders
    from pipeline.resources.resource import ChildPath, Resource
    from pipeline.resources.schema import Column
    from pipeline.transform.text_columns import ChildFields, Fields, ItemFields


TWICE: Final = "twice in one object: a list of its values"
"""The reason of a reject whose key stands twice, as stored."""
_NULL: Final = msgspec.Raw(b"null")
_BOOLEANS: Final = (b"true", b"false")

_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
decode_objects = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode


def parse_irregular(
    items: bytes, placeholders: Placeholders, reading: int = READING, resource: Resource = IMAGES_RESOURCE
) -> TextColumns:
    """Parse the raw JSON of one list of items."""
    fields = item_fields(resource)
    page = _Page(fields, placeholders, reading, _Rows(), [_Rows() for _ in fields.children])
    for raw_item in _decode_list(items):
        page.add_item(raw_item)
    return page.columns()


@dataclass(slots=True)
class _Rows:
    """Items of a page, or child items, row by row."""

    texts: list[dict[str, str | None]] = field(default_factory=list)
    extra: list[str | None] = field(default_factory=list)
    raw_json: dict[tuple[int, str], str] = field(default_factory=dict)
    counts: list[int] = field(default_factory=list)
    """Of child items: how many each item has."""
    item_rows: list[int] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    paths: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Page:
    """The rows of one page, item by item."""

    fields: ItemFields
    placeholders: Placeholders
    reading: int
    items: _Rows
    children: list[_Rows]
    rejects: list[Reject] = field(default_factory=list)
    unknown_fields: set[str] = field(default_factory=set)

    def add_item(self, raw_item: msgspec.Raw) -> None:
        """Add an item with its child items; without an id, it becomes a reject as a whole."""
        fields, items = self.fields, self.items
        position = Position(len(items.texts))
        unknown = _object(raw_item, self.reading) or {}
        texts = self._take_texts(unknown, fields, items, position)
        if not texts[fields.key]:
            texts[fields.key] = None
            raw_json = self.placeholders.original(raw_item)
            self.rejects.append(position.reject(fields.key_index, fields.key, fields.no_id, raw_json))
            items.extra.append(None)
            for rows in self.children:
                rows.counts.append(0)
            return
        for index, (child, rows) in enumerate(zip(fields.children, self.children, strict=True), start=1):
            before, places = len(rows.texts), dict[str, int]()
            taken = take_child_items(unknown, child, self.rejects, position, self.placeholders, self.reading)
            for number, (path, raw) in enumerate(taken, start=1):
                place = places[path.path[-1]] = places.get(path.path[-1], 0) + 1
                at = Position(position.item_row, index, number, child_name(path, place))
                self._add_child_item(raw, child, rows, path, at)
            rows.counts.append(len(rows.texts) - before)
        items.extra.append(as_json(self._readable(unknown, position)))
        self.unknown_fields.update(map(self.placeholders.readable_name, unknown))

    def _add_child_item(
        self, raw: msgspec.Raw, fields: ChildFields, rows: _Rows, path: ChildPath, position: Position
    ) -> None:
        unknown = _object(raw, self.reading)
        if unknown is None:
            raw_json = self.placeholders.original(raw)
            self.rejects.append(position.reject(WHOLE_CHILD, None, "not an object", raw_json))
            unknown = {}
        self._take_texts(unknown, fields, rows, position)
        rows.item_rows.append(position.item_row)
        rows.numbers.append(position.number)
        rows.paths.append(fields.child.paths.index(path))
        rows.extra.append(as_json(self._readable(unknown, position)))
        self.unknown_fields.update(f"{path.path[-1]}.{self.placeholders.readable_name(name)}" for name in unknown)

    def _take_texts(
        self, values: dict[str, bytes], fields: Fields, rows: _Rows, position: Position
    ) -> dict[str, str | None]:
        """Remove the declared and the excluded fields from `values`, and add the declared ones as a row of text."""
        texts: dict[str, str | None] = {}
        for index, (name, column) in enumerate(fields.columns.items()):
            value = values.pop(name, b"null")
            raw = bytes(value)
            if raw == b"null":
                texts[name] = None
                continue
            if isinstance(value, Doubled):
                texts[name] = None
                self.rejects.append(position.reject(index, name, TWICE, self.placeholders.original(raw)))
                continue
            is_boolean = column.kind == "boolean" and raw in _BOOLEANS
            texts[name] = text = raw.decode() if is_boolean else scalar_text(raw, self.placeholders)
            if text is None:
                is_unreadable = self.placeholders.occur_in(raw)
                reason = self.placeholders.reason(raw) if is_unreadable else _unfit(column)
                self.rejects.append(position.reject(index, name, reason, self.placeholders.original(raw)))
            elif raw[:1] != b'"':
                if text == "-0" and column.is_number:  # as the other parsers read a number
                    texts[name] = text = "0"
                rows.raw_json[len(rows.texts), name] = text
        for name in fields.excluded:
            values.pop(name, None)
        rows.texts.append(texts)
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
                self.rejects.append(position.reject(AFTER_THE_FIELDS, readable_name, reason, raw_json))
                readable[readable_name] = _NULL
        return readable

    def columns(self) -> TextColumns:
        """The page as columns."""
        return TextColumns(
            TextRows(_batch(self.items, self.fields), self.items.extra, self.items.raw_json),
            [
                ChildRows(
                    _batch(rows, fields),
                    rows.extra,
                    rows.raw_json,
                    count=pa.array(rows.counts, pa.int64()),
                    item_row=pa.array(rows.item_rows, pa.int64()),
                    number=pa.array(rows.numbers, pa.int64()),
                    path=pa.array(rows.paths, pa.int64()),
                )
                for rows, fields in zip(self.children, self.fields.children, strict=True)
            ],
            [replace(one, raw_json=self.fields.without_excluded(one.raw_json)) for one in self.rejects],
            self.unknown_fields,
        )


def _batch(rows: _Rows, fields: Fields) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(rows.texts, schema=fields.schema)


def _unfit(column: Column) -> str:
    return "neither true nor false" if column.kind == "boolean" else "neither text nor a number"


def take_child_items(
    unknown: dict[str, bytes],
    fields: ChildFields,
    rejects: list[Reject],
    position: Position,
    placeholders: Placeholders,
    reading: int,
) -> Iterator[tuple[ChildPath, msgspec.Raw]]:
    """Remove the child items from the fields of an item and yield them, each with its path; fields beside them stay."""

    def reject(path: str, reason: str, raw: bytes) -> None:
        rejects.append(position.reject(AFTER_THE_FIELDS, path, reason, placeholders.original(bytes(raw))))

    for path in fields.child.paths:
        raw = _take_at(unknown, path, reject, placeholders, reading)
        if raw is None:
            continue
        if path.is_object:
            if bytes(raw)[:1] == b"{":
                yield path, msgspec.Raw(raw)
            else:
                reject(".".join(path.path), "not an object", raw)
            continue
        try:
            raw_items = _decode_list(raw)
        except msgspec.ValidationError:
            reject(".".join(path.path), "not a list", raw)
            continue
        for raw_item in raw_items:
            yield path, raw_item


def _take_at(
    values: dict[str, bytes],
    path: ChildPath,
    reject: Callable[[str, str, bytes], None],
    placeholders: Placeholders,
    reading: int,
) -> bytes | None:
    """Remove the value at a path and return it; None: there is none, or what is there became a reject."""
    *outer, name = path.path
    holder, before = values, ""
    if outer:
        (before,) = outer
        raw = values.pop(before, None)
        if raw is None or bytes(raw) == b"null":
            return None
        found = None if isinstance(raw, Doubled) else _object(raw, reading)
        if found is None:
            reject(before, TWICE if isinstance(raw, Doubled) else "not an object", raw)
            return None
        holder, before = found, f"{before}."
    taken = holder.pop(name, _NULL)
    if outer:
        others: dict[str, bytes] = {}
        for other, value in holder.items():
            readable_name = placeholders.readable_name(other)
            others[readable_name] = value
            if isinstance(value, Doubled):
                reject(f"{before}{readable_name}", TWICE, value)
                others[readable_name] = _NULL
        if others:
            values[outer[0]] = msgspec.Raw((as_json(others) or "").encode())
    if bytes(taken) == b"null":
        return None
    if isinstance(taken, Doubled):
        reject(f"{before}{name}", TWICE, taken)
        return None
    return taken


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
