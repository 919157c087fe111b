"""An account's images as they stand: each rendered once, cut into pages, open to edits.

    images  →  [b'{"ImageId":…}', …]  →  Page: b'{"Code":0,"Images":{"Image":[…' + crc and deflated form

Every edit makes a new version, and the ids of any version can be told afterwards. A page's bytes end
before the RequestId, the one part that differs between two answers: so pages are kept, packed too.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.emulator.making import Image

HEAD = b'{"Code":0,"Images":{"Image":['
FOOT = b']},"RequestId":"'
GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
KEPT_PAGES = 4_096


class Filters(NamedTuple):
    """ImageId and ImageName are found anywhere in the value, case told apart; SnapshotId is compared whole."""

    image_id: str = ""
    image_name: str = ""
    snapshot_id: str = ""

    def admit(self, image: Image) -> bool:
        """Whether the image is among those asked for."""
        return (
            self.image_id in _text(image, "ImageId")
            and self.image_name in _text(image, "ImageName")
            and self.snapshot_id in ("", _text(image, "SnapshotId"))
        )


class Page:
    """The first part of an answer, up to its RequestId; `finish` adds the rest."""

    def __init__(self, rows: Sequence[bytes]) -> None:
        self._head = HEAD + b",".join(rows) + FOOT
        self._packed: bytes | None = None
        self._crc = 0

    def whole(self, tail: bytes) -> bytes:
        """The answer as it is."""
        return self._head + tail

    def packed(self, tail: bytes) -> bytes:
        """The answer as gzip: the kept part deflated once, the tail stored behind it as it is."""
        if self._packed is None:
            deflate = zlib.compressobj(1, wbits=-15)
            self._packed = GZIP_HEAD + deflate.compress(self._head) + deflate.flush(zlib.Z_FULL_FLUSH)
            self._crc = zlib.crc32(self._head)
        stored = struct.pack("<BHH", 1, len(tail), len(tail) ^ 0xFFFF) + tail
        size = (len(self._head) + len(tail)) & 0xFFFFFFFF
        return self._packed + stored + struct.pack("<LL", zlib.crc32(tail, self._crc), size)


class Stock:
    """One account's images on one day, edited in place."""

    def __init__(self, images: Sequence[Image]) -> None:
        self.images = list(images)
        self.rows = [msgspec.json.encode(image) for image in self.images]
        self.version = 0
        self._first_ids = [identity(image) for image in self.images]
        self._edits: list[tuple[bool, str]] = []  # (is_born, id): one a version
        self._pages: dict[tuple[Filters, int, int], Page] = {}
        self._found: dict[Filters, list[bytes]] = {}

    def delete(self, place: int) -> Image:
        """Take out the image at this place (from 0), and return it."""
        del self.rows[place]
        image = self.images.pop(place)
        self._edited(identity(image), is_born=False)
        return image

    def insert(self, place: int, image: Image) -> None:
        """Put an image with a new id at this place (from 0)."""
        self.images.insert(place, image)
        self.rows.insert(place, msgspec.json.encode(image))
        self._edited(identity(image), is_born=True)

    def found(self, filters: Filters) -> list[bytes]:
        """The rows that the filters admit, in order."""
        if filters == Filters():
            return self.rows
        if filters not in self._found:
            admitted = zip(self.images, self.rows, strict=True)
            _make_room(self._found)
            self._found[filters] = [row for image, row in admitted if filters.admit(image)]
        return self._found[filters]

    def page(self, filters: Filters, number: int, size: int) -> Page:
        """Page `number` (from 1) of `size` images; empty when it lies past the end."""
        page = self._pages.get((filters, number, size))
        if page is None:
            _make_room(self._pages)
            page = Page(self.found(filters)[(number - 1) * size : number * size])
            self._pages[filters, number, size] = page
        return page

    def ids_at(self, version: int) -> frozenset[str]:
        """The ids that were alive at this version."""
        ids = set(self._first_ids)
        for is_born, image_id in self._edits[:version]:
            (ids.add if is_born else ids.discard)(image_id)
        return frozenset(ids)

    def _edited(self, image_id: str, *, is_born: bool) -> None:
        self._edits.append((is_born, image_id))
        self.version += 1
        self._pages.clear()
        self._found.clear()


def identity(image: Image) -> str:
    """The image's id; without one, its JSON stands for it."""
    image_id = image.get("ImageId")
    return image_id if isinstance(image_id, str) else msgspec.json.encode(image).decode()


def _text(image: Image, field: str) -> str:
    value = image.get(field)
    return value if isinstance(value, str) else ""


def _make_room(kept: dict[Any, Any]) -> None:
    if len(kept) >= KEPT_PAGES:
        kept.clear()
