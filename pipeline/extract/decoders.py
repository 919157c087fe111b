"""Decoders of the answers of a resource's action, made from its declaration once.

body       as published: the list of items with key, creation time and owner     {"Images": {"Image": [{…}]}}
any_body   the same keys with values of any type, for what is not as published
items      the list of items alone
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.resources.resource import Resource

NULL = msgspec.Raw(b"null")


class Decoders:
    """The decoders of one resource, and the API names that they read."""

    def __init__(self, resource: Resource) -> None:
        columns = {column.name: column.api for column in (resource.key, *resource.columns)}
        owner, own = resource.owned or (None, "")
        self.path = resource.action.items
        self.key = columns[resource.key.name] or ""
        self.created = columns[resource.created] if resource.created else None
        self.owner = columns[owner] if owner else None
        self.own = f'"{own.lower()}"'.encode()
        """The value of the owner that marks the account's own items, as JSON in lower case."""
        self.key_start = f'"{self.key[:-1]}'.encode()
        """The start of the key as it stands in an answer: without its last letter it is found twice as fast."""
        names = {"id": self.key, "created": self.created, "owner": self.owner}
        rename = {name: api for name, api in names.items() if api}
        fields: list[Any] = [("id", str | None, None)]
        fields += [(name, msgspec.Raw, NULL) for name in list(rename)[1:]]
        item = msgspec.defstruct("Item", fields, rename=rename)
        body = _body(self.path, list[item | None] | None, str | int | None, None, str | None)  # type: ignore[valid-type]
        any_body = _body(self.path, list[msgspec.Raw] | None, msgspec.Raw, NULL, msgspec.Raw)
        self.body_names = body.__struct_encode_fields__
        self.body: Callable[[bytes], Any] = msgspec.json.Decoder(body).decode
        self.any_body: Callable[[bytes], Any] = msgspec.json.Decoder(any_body).decode
        self.items: Callable[[memoryview], list[Any]] = msgspec.json.Decoder(list[item]).decode  # type: ignore[valid-type]
        alone = msgspec.defstruct("Answer", [_list_field(self.path, msgspec.Raw, NULL)], rename={"items": self.path[0]})
        self.item_list: Callable[[bytes], Any] = msgspec.json.Decoder(alone).decode

    def list_of(self, decoded: Any) -> Any:
        """Return the list of items in a decoded answer; None: it has none."""
        items = decoded.items
        for _ in self.path[1:]:
            items = items and items.items
        return items


def _body(path: tuple[str, ...], items: Any, value: Any, absent: Any, request_id: Any) -> type[msgspec.Struct]:
    fields = [
        ("Code", value, absent),
        _list_field(path, items, None),
        *((name, value, absent) for name in ("TotalCount", "PageNumber", "PageSize")),
        ("RequestId", request_id, absent),
    ]
    return msgspec.defstruct("Answer", fields, rename={"items": path[0]})


def _list_field(path: tuple[str, ...], items: Any, absent: Any) -> tuple[str, Any, Any]:
    """The field `items` of an answer: what is at the first name of `path`."""
    field = ("items", items, absent)
    for name in reversed(path[1:]):
        field = ("items", msgspec.defstruct("List", [field], rename={"items": name}) | None, None)
    return field


@functools.cache
def decoders(resource: Resource) -> Decoders:
    """Return the decoders of a resource."""
    return Decoders(resource)
