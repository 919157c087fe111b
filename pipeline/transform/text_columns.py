"""Items and child items as columns of text: the result of parsing, the input of casting."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from pipeline.resources.resource import Child, ChildPath, Resource
    from pipeline.resources.schema import Column


class Fields:
    """The API fields of an item or a child item: API name → column, in declared order."""

    def __init__(self, columns: Iterable[Column], excluded: Iterable[str]) -> None:
        self.columns = {column.api: column for column in columns if column.api}
        self.excluded = frozenset(excluded)
        self.known = self.excluded.union(self.columns)
        self.schema = pa.schema([pa.field(name, pa.string()) for name in self.columns])
        types = {"number": pa.int64(), "boolean": pa.bool_(), "text": pa.string()}
        self.sent_schema = pa.schema([pa.field(name, types[column.sent]) for name, column in self.columns.items()])
        """The types as the API publishes them."""
        self.bare = [name for name, column in self.columns.items() if column.sent != "text"]
        """The fields that are no text in JSON."""


class ChildFields(Fields):
    """The API fields of a child item, and where it stands in its item."""

    def __init__(self, child: Child) -> None:
        super().__init__(child.columns, child.excluded)
        self.child = child


class ItemFields(Fields):
    """The API fields of an item, those of its child items, and the Arrow schemas of its JSON."""

    def __init__(self, resource: Resource) -> None:
        super().__init__((resource.key, *resource.columns), resource.excluded)
        self.resource = resource
        self.key = resource.key.api or ""
        self.key_index = list(self.columns).index(self.key)
        self.no_id = f"no id: the {resource.noun} is left out"
        """The reason of a reject, as stored."""
        self.children = tuple(map(ChildFields, resource.children))
        self.has_excluded = any(fields.excluded for fields in (self, *self.children))
        struct = pa.struct([*self.sent_schema, *_child_fields(self.children)])
        *outer, name = resource.action.items
        self.list_schema = pa.schema([pa.field(name, pa.list_(struct))])
        """The list of items alone, under its own name."""
        items = self.list_schema.field(0)
        for outer_name in reversed(outer):
            items = pa.field(outer_name, pa.struct([items]))
        texts = [pa.field(text, pa.string()) for text in ("RequestId", "PageSize", "PageNumber", "TotalCount")]
        self.body_schema = pa.schema([pa.field("Code", pa.int64()), items, *texts])
        """A whole answer."""

    def without_excluded(self, raw_json: str) -> str:
        """Leave the excluded fields out of the JSON of a reject, at any depth; all of it where it cannot be read."""
        if not self.has_excluded or raw_json[:1] not in {"{", "["}:
            return raw_json
        names = self.excluded.union(*(child.excluded for child in self.children))
        try:
            return msgspec.json.encode(_without(msgspec.json.decode(raw_json), names)).decode()
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return "null"


def _without(value: object, names: AbstractSet[str]) -> object:
    """Return a JSON value without the fields of these names."""
    if isinstance(value, dict):
        return {name: _without(each, names) for name, each in value.items() if name not in names}
    return [_without(each, names) for each in value] if isinstance(value, list) else value


def _child_fields(children: Iterable[ChildFields]) -> list[pa.Field]:
    """The fields of an item that hold its child items: those of one name are one field."""
    found: dict[str, pa.Field] = {}
    for fields in children:
        for path in fields.child.paths:
            kind = pa.struct(list(fields.sent_schema))
            made = pa.field(path.path[-1], kind if path.is_object else pa.list_(kind))
            for name in reversed(path.path[:-1]):
                made = pa.field(name, pa.struct([made]))
            root = found.get(made.name)
            found[made.name] = made if root is None else pa.field(made.name, pa.struct([*root.type, *made.type]))
    return list(found.values())


@functools.cache
def item_fields(resource: Resource) -> ItemFields:
    """Return the fields of a resource."""
    return ItemFields(resource)


@dataclass(frozen=True, slots=True, order=True)
class Reject:
    """A value that was left out, ordered by its position."""

    item_row: int
    child: int
    """0: a field of the item itself; from 1: which of its children it is in."""
    number: int
    """The number of the child item."""
    field_index: int
    field: str
    reason: str
    raw_json: str


@dataclass(slots=True)
class TextRows:
    """Items as columns of text."""

    texts: pa.RecordBatch
    extra: list[str | None] | None = None
    raw_json: dict[tuple[int, str], str] = field(default_factory=dict)
    """Values that were sent as other JSON than text: (row, field) → its text."""
    bare: Sequence[str] = ()
    """Fields of which every value was sent as a number or a boolean, and is not in `raw_json`."""


@dataclass(slots=True, kw_only=True)
class ChildRows(TextRows):
    """Child items as columns of text, in the order of their items and numbers."""

    count: pa.Array
    """Child items of each item."""
    item_row: pa.Array
    number: pa.Array
    path: pa.Array
    """Which of the child's paths each was at, from 0."""

    def position(self, row: int, index: int, child: Child) -> Position:
        """The position of a row, given the index of the child from 1."""
        path = self.path[row].as_py()
        number = self.number[row].as_py()
        if len(child.paths) > 1:  # its place in the list of its path
            item, before = self.item_row[row], row
            while before and self.item_row[before - 1] == item and self.path[before - 1].as_py() == path:
                before -= 1
            place = row - before + 1
        else:
            place = number
        return Position(self.item_row[row].as_py(), index, number, child_name(child.paths[path], place))


@dataclass(slots=True)
class TextColumns:
    """Items and their child items, with the rejects and unknown fields found while parsing."""

    items: TextRows
    children: list[ChildRows]
    """In the order in which the resource declares them."""
    rejects: list[Reject] = field(default_factory=list)
    unknown_fields: set[str] = field(default_factory=set)


def child_name(path: ChildPath, place: int) -> str:
    """The name of a child item in a reject: `DataDisk[2]`, `SystemDisk`."""
    return path.path[-1] if path.is_object else f"{path.path[-1]}[{place}]"


@dataclass(frozen=True, slots=True)
class Position:
    """The position of a value: the row of its item, and the child item (child 0: the item itself)."""

    item_row: int
    child: int = 0
    number: int = 0
    name: str | None = None

    def reject(self, field_index: int, name: str | None, reason: str, raw_json: str) -> Reject:
        """Reject the API field `name`; None: the whole child item."""
        path = ".".join(part for part in (self.name, name) if part is not None)
        return Reject(self.item_row, self.child, self.number, field_index, path, reason, raw_json)


AFTER_THE_FIELDS: Final = 1_000
"""The field index of what is not a declared field: sorted after those."""
WHOLE_CHILD: Final = -1
"""The field index of a child item as a whole: sorted before its fields."""
