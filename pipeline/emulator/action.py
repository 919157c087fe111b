"""Declare an API action: its list of items, filters, page sizes and response envelope.

    parameters  →  filters, page number, page size  →  items of the account  →  envelope

An action is data and three functions; everything else in this package works for any action. A new action
is a new module in `actions/` with an `ACTION`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipeline.emulator.accounts import EmulatedAccount

Item: TypeAlias = dict[str, Any]  # as the API sends it, ready for JSON
Filters: TypeAlias = tuple[tuple["Filter", str], ...]  # the filters of a request, each with its value


class Filter(NamedTuple):
    """A parameter that filters by the field of the same name: a part of the value, or the whole value."""

    name: str
    is_exact: bool = False

    def matches(self, item: Item, value: str) -> bool:
        """Compare a field of the item with the value of the parameter; upper and lower case differ."""
        found = item.get(self.name)
        text = found if isinstance(found, str) else ""
        return text == value if self.is_exact else value in text


class ChildList(NamedTuple):
    """A list nested in an item: `item[outer][inner]`, and its fields that hold a number as text."""

    outer: str
    inner: str
    number_fields: tuple[str, ...] = ()


class ListResponse(NamedTuple):
    """The content of a response, before it has the shape of one action."""

    items: Any  # a list of items, or the same as encoded JSON
    request_id: str
    page_number: int
    page_size: int
    total_count: int


@dataclass(frozen=True)
class Action:
    """One API action that lists items page by page.

    `build_envelope` must place the RequestId after the items. `number_fields` are fields of an item that hold a
    number as text; `bad_values` are values that no column accepts; `owner_field` is "self" for an item that the account
    owns. They, `created_field` and `children` are used by the faults.
    """

    name: str
    list_path: tuple[str, str]
    id_field: str
    filters: tuple[Filter, ...]
    default_page_size: int
    largest_page_size: int
    list_items: Callable[[EmulatedAccount, int], list[Item]]  # (account, day)
    new_item: Callable[[EmulatedAccount, int, int], Item]  # (account, serial, day)
    build_envelope: Callable[[ListResponse], dict[str, Any]]
    number_fields: tuple[str, ...] = ()
    children: tuple[ChildList, ...] = ()
    bad_values: Mapping[str, Any] = field(default_factory=dict)
    created_field: str = "CreationTime"
    owner_field: str = "ImageOwnerAlias"

    def read_filters(self, parameters: Mapping[str, str]) -> Filters:
        """Read the filters of a request; an empty value does not filter."""
        return tuple((each, parameters[each.name]) for each in self.filters if parameters.get(each.name))

    def item_id(self, item: Item) -> str:
        """Return the item's id; without one, its JSON."""
        value = item.get(self.id_field)
        return value if isinstance(value, str) else msgspec.json.encode(item).decode()


def matches_all(filters: Filters, item: Item) -> bool:
    """Test whether an item passes every filter."""
    return all(each.matches(item, value) for each, value in filters)
