"""Declare an API action: its list of items, filters, page sizes and response envelope.

    parameters  →  Query (filters, order), page number, page size  →  items of the account  →  envelope

An action is data and three functions; everything else in this package works for any action. A new action
is a new module in `actions/` with an `ACTION`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar

import msgspec

from pipeline.emulator.api_errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from pipeline.emulator.accounts import EmulatedAccount

T = TypeVar("T")
Item: TypeAlias = dict[str, Any]  # as the API sends it, ready for JSON

LIST_LIMIT: Final = 100  # values of a filter that is a list


class Filter(NamedTuple):
    """A parameter that filters items by their values: by a part of one, or by the whole of one.

    `paths` lead to the values, level by level with dots between; without them, the field is named as the parameter.
    With `is_list` the parameter is a JSON array of whole values; an empty one finds nothing.
    """

    name: str
    is_exact: bool = False
    is_list: bool = False
    paths: tuple[str, ...] = ()

    def read(self, text: str) -> tuple[str, ...]:
        """Read the wanted values.

        Raises:
            ApiError: InvalidParameter, not a JSON array of at most 100 texts.
        """
        if not self.is_list:
            return (text,)
        values = _decode(self.name, text, list[str])
        if len(values) > LIST_LIMIT:
            raise ApiError(f"InvalidParameter.{self.name}")
        return tuple(values)

    def matches(self, item: Item, wanted: tuple[str, ...]) -> bool:
        """Compare the item with the values of the parameter; upper and lower case differ."""
        if self.is_exact or self.is_list:
            return any(text in wanted for text in self.texts(item))
        return any(wanted[0] in text for text in self.texts(item))

    def texts(self, item: Item) -> Iterator[str]:
        """Yield the values of the item that the parameter is compared with."""
        for path in self.paths or (self.name,):
            yield from _texts(item, path.split("."))


class SortKey(NamedTuple):
    """A key of the parameter that sorts, and the field that it sorts by."""

    name: str
    field: str
    is_instant: bool = False

    def value(self, item: Item) -> str | float:
        """Return the value to sort by; an item without one is first."""
        found = item.get(self.field)
        text = found if isinstance(found, str) else ""
        if not self.is_instant:
            return text
        try:
            return datetime.fromisoformat(text).timestamp()
        except ValueError:
            return 0.0


class Query(NamedTuple):
    """The filters of a request with their wanted values, and the keys to sort by, each with whether it descends."""

    filters: tuple[tuple[Filter, tuple[str, ...]], ...] = ()
    order: tuple[tuple[SortKey, bool], ...] = ()

    def select(self, entries: Iterable[T], item_of: Callable[[T], Item]) -> list[T]:
        """Return the entries whose item passes every filter, sorted; equal ones stay in listing order."""
        selected = [
            entry for entry in entries if all(each.matches(item_of(entry), wanted) for each, wanted in self.filters)
        ]
        for key, is_descending in reversed(self.order):
            selected.sort(key=lambda entry: key.value(item_of(entry)), reverse=is_descending)
        return selected


class Children(NamedTuple):
    """Objects nested in an item: the list `item[outer][inner]`, or `item[outer]` alone; and their fields of numbers."""

    outer: str
    inner: str | None = None
    number_fields: tuple[str, ...] = ()


class ListResponse(NamedTuple):
    """The content of a response, before it has the shape of one action."""

    items: Any  # a list of items, or the same as encoded JSON
    request_id: str
    page_number: int
    page_size: int
    total_count: int
    query: Query


@dataclass(frozen=True)
class Action:
    """One API action that lists items page by page.

    `list_path` is the field of the body that holds the items, or that and the field within it.
    `order_parameter` is a JSON object of `sort_keys` with "asc" or "desc". `build_envelope` must place the RequestId
    after the items. `number_fields` are fields of an item that hold a number, as text or as a number; `bad_values` are
    values that no column accepts; `owner_field` is "self" for an item that the account owns (None: it owns all). They,
    `created_field` and `children` are used by the faults.
    """

    name: str
    list_path: tuple[str] | tuple[str, str]
    id_field: str
    filters: tuple[Filter, ...]
    default_page_size: int
    largest_page_size: int
    list_items: Callable[[EmulatedAccount, int], list[Item]]  # (account, day)
    new_item: Callable[[EmulatedAccount, int, int], Item]  # (account, serial, day)
    build_envelope: Callable[[ListResponse], dict[str, Any]]
    order_parameter: str = ""
    sort_keys: tuple[SortKey, ...] = ()
    number_fields: tuple[str, ...] = ()
    children: tuple[Children, ...] = ()
    bad_values: Mapping[str, Any] = field(default_factory=dict)
    created_field: str = "CreationTime"
    owner_field: str | None = None

    def read_query(self, parameters: Mapping[str, str]) -> Query:
        """Read the filters and the order of a request; an empty parameter is none.

        Raises:
            ApiError: InvalidParameter, a value is not of the published form.
        """
        filters = tuple((each, each.read(parameters[each.name])) for each in self.filters if parameters.get(each.name))
        return Query(filters, self._read_order(parameters.get(self.order_parameter, "")))

    def _read_order(self, text: str) -> tuple[tuple[SortKey, bool], ...]:
        if not text:
            return ()
        known = {key.name: key for key in self.sort_keys}
        directions = _decode(self.order_parameter, text, dict[str, str])
        if not directions.keys() <= known.keys() or not set(directions.values()) <= {"asc", "desc"}:
            raise ApiError(f"InvalidParameter.{self.order_parameter}")
        return tuple((known[name], direction == "desc") for name, direction in directions.items())

    def item_id(self, item: Item) -> str:
        """Return the item's id; without one, its JSON."""
        value = item.get(self.id_field)
        return value if isinstance(value, str) else msgspec.json.encode(item).decode()


def _decode(name: str, text: str, form: type[T]) -> T:
    try:
        return msgspec.json.decode(text, type=form)
    except msgspec.DecodeError:  # of a wrong type too
        raise ApiError(f"InvalidParameter.{name}") from None


def _texts(value: Any, path: list[str]) -> Iterator[str]:
    """Yield the texts at the end of the path, through all elements of the lists on the way."""
    if isinstance(value, list):
        for element in value:
            yield from _texts(element, path)
    elif not path:
        if isinstance(value, str):
            yield value
    elif isinstance(value, dict):
        yield from _texts(value.get(path[0]), path[1:])
