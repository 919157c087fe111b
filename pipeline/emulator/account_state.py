"""The items of an account as they are now: each encoded once, cut into pages, open to edits.

    items  →  [b'{"ImageId":…}', …]  →  Page: b'{"Code":0,"Images":{"Image":[…', compressed once

The journal keeps the ids of every version. Two answers with the same page differ only in their RequestId:
pages are cached in two parts, before and after it, and compressed once.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

import msgspec

from pipeline.emulator.action import ListResponse, matches_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.emulator.action import Action, Filters, Item

GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
CACHED_PAGES = 4_096


class Page:
    """A cached response body, complete but for its RequestId."""

    def __init__(self, body: bytes) -> None:
        head, key, tail = body.rpartition(b'"RequestId":"')
        self._head = head + key
        self._tail = tail
        self._compressed: bytes | None = None
        self._crc = 0

    def render(self, request_id: str) -> bytes:
        """Return the body with this RequestId."""
        return self._head + request_id.encode() + self._tail

    def render_gzip(self, request_id: str) -> bytes:
        """Return the body as gzip: the cached part compressed once, the rest appended uncompressed."""
        if self._compressed is None:
            deflate = zlib.compressobj(1, wbits=-15)
            self._compressed = GZIP_HEADER + deflate.compress(self._head) + deflate.flush(zlib.Z_FULL_FLUSH)
            self._crc = zlib.crc32(self._head)
        tail = request_id.encode() + self._tail
        stored = struct.pack("<BHH", 1, len(tail), len(tail) ^ 0xFFFF) + tail
        size = (len(self._head) + len(tail)) & 0xFFFFFFFF
        return self._compressed + stored + struct.pack("<LL", zlib.crc32(tail, self._crc), size)


class Journal:
    """The ids of an account's items, at every version."""

    def __init__(self, ids: list[str]) -> None:
        self._first_ids = ids
        self._edits: list[tuple[bool, str]] = []  # (is an insertion, id)

    @property
    def version(self) -> int:
        """The current version: the number of edits."""
        return len(self._edits)

    def record_insertion(self, item_id: str) -> None:
        """Begin a version with this id."""
        self._edits.append((True, item_id))

    def record_deletion(self, item_id: str) -> None:
        """Begin a version without this id."""
        self._edits.append((False, item_id))

    def ids_at(self, version: int) -> frozenset[str]:
        """Return the ids that existed at this version."""
        ids = set(self._first_ids)
        for is_insertion, item_id in self._edits[:version]:
            (ids.add if is_insertion else ids.discard)(item_id)
        return frozenset(ids)


class AccountState:
    """The items that one action lists for one account on one day, edited in place.

    Edits of the `previous` day stay: what was deleted stays deleted, what was inserted stays.
    """

    def __init__(self, action: Action, items: Sequence[Item], previous: AccountState | None = None) -> None:
        self.action = action
        self._inserted: dict[str, Item] = dict(previous._inserted) if previous else {}  # noqa: SLF001 - its own kind
        self._deleted: set[str] = set(previous._deleted) if previous else set()  # noqa: SLF001
        kept = [item for item in items if action.item_id(item) not in self._deleted] if self._deleted else items
        self.items = [*self._inserted.values(), *kept]
        self.rows = [msgspec.json.encode(item) for item in self.items]
        self.journal = Journal([action.item_id(item) for item in self.items])
        self._pages: dict[tuple[Filters, int, int], Page] = {}
        self._matching: dict[Filters, list[bytes]] = {}

    def delete(self, position: int) -> Item:
        """Delete the item at this position (from 0).

        Returns:
            The deleted item.
        """
        del self.rows[position]
        item = self.items.pop(position)
        item_id = self.action.item_id(item)
        self._inserted.pop(item_id, None)
        self._deleted.add(item_id)
        self.journal.record_deletion(item_id)
        self._clear_cache()
        return item

    def insert(self, position: int, item: Item) -> None:
        """Insert an item with a new id at this position (from 0)."""
        item_id = self.action.item_id(item)
        self.items.insert(position, item)
        self.rows.insert(position, msgspec.json.encode(item))
        self._inserted[item_id] = item
        self.journal.record_insertion(item_id)
        self._clear_cache()

    def matching_items(self, filters: Filters) -> list[Item]:
        """Return the items that pass the filters, in listing order."""
        return [item for item in self.items if matches_all(filters, item)] if filters else list(self.items)

    def page(self, filters: Filters, number: int, size: int) -> Page:
        """Render page `number` (from 1) of `size` items; past the end it is empty."""
        page = self._pages.get((filters, number, size))
        if page is None:
            rows = self._matching_rows(filters)
            items = msgspec.Raw(b"[" + b",".join(rows[(number - 1) * size : number * size]) + b"]")
            response = ListResponse(items, "", number, size, len(rows))
            page = Page(msgspec.json.encode(self.action.build_envelope(response)))
            _limit_size(self._pages)
            self._pages[filters, number, size] = page
        return page

    def _matching_rows(self, filters: Filters) -> list[bytes]:
        if not filters:
            return self.rows
        if filters not in self._matching:
            pairs = zip(self.items, self.rows, strict=True)
            _limit_size(self._matching)
            self._matching[filters] = [row for item, row in pairs if matches_all(filters, item)]
        return self._matching[filters]

    def _clear_cache(self) -> None:
        self._pages.clear()
        self._matching.clear()


def _limit_size(cache: dict[Any, Any]) -> None:
    if len(cache) >= CACHED_PAGES:
        cache.clear()
