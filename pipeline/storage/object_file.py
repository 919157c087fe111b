"""An object in a bucket as a file, for Arrow and DuckDB: each read is one range request.

The footer is the exception: it is fetched once, and every read in it is served from memory.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pipeline.storage.bucket import BucketStore
    from pipeline.storage.bucket_path import BucketPath

FOOTER_BYTES: Final = 32 << 10
"""Fetched from the end of an object at once: the footer of a Parquet file, or all of a small one."""


def open_object(store: BucketStore, path: BucketPath) -> io.RawIOBase:
    """Open an object for reading.

    Raises:
        FileNotFoundError: there is no such object.
    """
    return _ObjectFile(store, path)


class _ObjectFile(io.RawIOBase):
    def __init__(self, store: BucketStore, path: BucketPath) -> None:
        self._store = store
        self._path = path
        self._position = 0
        self._size = store.stored(path).size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        rest = self._size - self._position
        count = rest if size is None or size < 0 else min(size, rest)
        data = self._range(self._position, self._position + count) if count > 0 else b""
        self._position += len(data)
        return data

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _range(self, start: int, end: int) -> bytes:
        footer_start = max(0, self._size - FOOTER_BYTES)
        if start < footer_start:
            return self._store.read_range(self._path, start, end)
        return self._store.footer(self._path)[start - footer_start : end - footer_start]
