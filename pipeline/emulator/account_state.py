"""The items of an account as they are now: each encoded once, cut into pages, open to edits.

    items  →  [b'{"ImageId":…}', …]  →  Page: b'{"Code":0,"Images":{"Image":[…', compressed once

The journal keeps the ids of every version. Two answers with the same page differ only in their RequestId:
pages are cached in two parts, before and after it, and compressed once.
"""

from __future__ import annotations

import bisect
import struct
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from pipeline.emulator.action import ListResponse, Query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.emulator.action import Action, Item

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


class Edit(NamedTuple):
    """One edit of the items: where, and when by the server's clock (seconds since 1970)."""

    is_insertion: bool
    item_id: str
    position: int
    item: Item
    at: float


class Journal:
    """The ids of an account's items, at every version."""

    def __init__(self, ids: list[str]) -> None:
        self._first_ids = ids
        self._edits: list[Edit] = []

    @property
    def version(self) -> int:
        """The current version: the number of edits."""
        return len(self._edits)

    def version_at(self, at: float) -> int:
        """Return the version at an instant of the server's clock."""
        return bisect.bisect_right(self._edits, at, key=lambda edit: edit.at)

    def record(self, edit: Edit) -> None:
        """Begin a version."""
        self._edits.append(edit)

    def edits_since(self, version: int) -> list[Edit]:
        """Return the edits after this version."""
        return self._edits[version:]

    def ids_at(self, version: int) -> frozenset[str]:
        """Return the ids that existed at this version."""
        ids = set(self._first_ids)
        for edit in self._edits[:version]:
            (ids.add if edit.is_insertion else ids.discard)(edit.item_id)
        return frozenset(ids)


class AccountState:
    """The items that one action lists for one account on one day, edited in place.

    Edits of the `previous` day stay: what was deleted stays deleted, what was inserted stays.
    """

    def __init__(self, action: Action, items: Sequence[Item], previous: AccountState | None = None) -> None:
        self.action = action
        self._inserted: dict[str, Item] = dict(previous._inserted) if previous else {}  # noqa: SLF001 - its own kind
        self._deleted: set[str] = set(previous._deleted) if previous else set()  # noqa: SLF001
        edited = self._deleted | self._inserted.keys()
        kept = [item for item in items if action.item_id(item) not in edited] if edited else items
        self.items = [*self._inserted.values(), *kept]
        self.rows = [msgspec.json.encode(item) for item in self.items]
        self.journal = Journal([action.item_id(item) for item in self.items])
        self.marks: dict[Any, Any] = {}
        """Values that a fault keeps from one answer to the next."""
        self._pages: dict[tuple[Query, int, int], Page] = {}
        self._matching: dict[Query, list[bytes]] = {}

    def delete(self, position: int, at: float = 0.0) -> Item:
        """Delete the item at this position (from 0), at this time of the server's clock.

        Returns:
            The deleted item.
        """
        del self.rows[position]
        item = self.items.pop(position)
        item_id = self.action.item_id(item)
        self._inserted.pop(item_id, None)
        self._deleted.add(item_id)
        self.journal.record(Edit(is_insertion=False, item_id=item_id, position=position, item=item, at=at))
        self._clear_cache()
        return item

    def insert(self, position: int, item: Item, at: float = 0.0) -> None:
        """Insert an item at this position (from 0), at this time of the server's clock."""
        item_id = self.action.item_id(item)
        self.items.insert(position, item)
        self.rows.insert(position, msgspec.json.encode(item))
        self._inserted[item_id] = item
        self._deleted.discard(item_id)  # restored
        self.journal.record(Edit(is_insertion=True, item_id=item_id, position=position, item=item, at=at))
        self._clear_cache()

    def is_inserted(self, item_id: str) -> bool:
        """Return whether the item was inserted since the endpoint began."""
        return item_id in self._inserted

    def items_at(self, version: int) -> list[Item]:
        """Return the items of an earlier version, in listing order."""
        items = list(self.items)
        for edit in reversed(self.journal.edits_since(version)):
            if edit.is_insertion:
                del items[edit.position]
            else:
                items.insert(edit.position, edit.item)
        return items

    def page(self, query: Query, number: int, size: int) -> Page:
        """Render page `number` (from 1) of `size` items; past the end it is empty."""
        page = self._pages.get((query, number, size))
        if page is None:
            rows = self._matching_rows(query)
            items = msgspec.Raw(b"[" + b",".join(rows[(number - 1) * size : number * size]) + b"]")
            response = ListResponse(items, "", number, size, len(rows), query)
            page = Page(msgspec.json.encode(self.action.build_envelope(response)))
            _limit_size(self._pages)
            self._pages[query, number, size] = page
        return page

    def _matching_rows(self, query: Query) -> list[bytes]:
        if query == Query():
            return self.rows
        if query not in self._matching:
            pairs = query.select(zip(self.items, self.rows, strict=True), lambda pair: pair[0])
            _limit_size(self._matching)
            self._matching[query] = [row for _, row in pairs]
        return self._matching[query]

    def _clear_cache(self) -> None:
        self._pages.clear()
        self._matching.clear()


def _limit_size(cache: dict[Any, Any]) -> None:
    if len(cache) >= CACHED_PAGES:
        cache.clear()
