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


class Journal:
    """The ids of a stock, at every version that it had."""

    def __init__(self, ids: list[str]) -> None:
        self._first_ids = ids
        self._edits: list[tuple[bool, str]] = []  # (is_born, id)

    @property
    def version(self) -> int:
        """The version now: how many edits there were."""
        return len(self._edits)

    def born(self, image_id: str) -> None:
        """From the next version on this id is alive."""
        self._edits.append((True, image_id))

    def gone(self, image_id: str) -> None:
        """From the next version on this id is not."""
        self._edits.append((False, image_id))

    def ids_at(self, version: int) -> frozenset[str]:
        """The ids that were alive at this version."""
        ids = set(self._first_ids)
        for is_born, image_id in self._edits[:version]:
            (ids.add if is_born else ids.discard)(image_id)
        return frozenset(ids)


class Stock:
    """One account's images on one day, edited in place. The edits of the day `before` hold on."""

    def __init__(self, images: Sequence[Image], before: Stock | None = None) -> None:
        self.born: dict[str, Image] = dict(before.born) if before else {}  # by edits only
        self.gone: set[str] = set(before.gone) if before else set()
        kept = [image for image in images if identity(image) not in self.gone] if self.gone else images
        self.images = [*self.born.values(), *kept]
        self.rows = [msgspec.json.encode(image) for image in self.images]
        self.journal = Journal([identity(image) for image in self.images])
        self._pages: dict[tuple[Filters, int, int], Page] = {}
        self._found: dict[Filters, list[bytes]] = {}

    def delete(self, place: int) -> Image:
        """Take out the image at this place (from 0), and return it."""
        del self.rows[place]
        image = self.images.pop(place)
        image_id = identity(image)
        self.born.pop(image_id, None)
        self.gone.add(image_id)
        self.journal.gone(image_id)
        self._forget_pages()
        return image

    def insert(self, place: int, image: Image) -> None:
        """Put an image with a new id at this place (from 0)."""
        self.images.insert(place, image)
        self.rows.insert(place, msgspec.json.encode(image))
        self.born[identity(image)] = image
        self.journal.born(identity(image))
        self._forget_pages()

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

    def _forget_pages(self) -> None:
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
