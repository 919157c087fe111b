"""The path of an object in a bucket, or the prefix of several: `s3://bucket/prefix`, `oss://bucket/prefix`.

It is never a file of this machine: what a bucket cannot do raises BadSetting. Its requests are those of the
BucketStore.
"""

from __future__ import annotations

import contextlib
from pathlib import PosixPath
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from pipeline.errors import BadSetting

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator

    from pipeline.storage.bucket import BucketStore


class Stored(NamedTuple):
    """An object as a listing describes it."""

    size: int
    put_at: dt.datetime
    tag: str | None


class BucketPath(PosixPath):
    """The path of an object, or a prefix of several, with the reading methods of Path that the lake uses."""

    __slots__ = ()

    def __str__(self) -> str:
        """Return the address, with both slashes."""
        return super().__str__().replace(":/", "://", 1)

    def __fspath__(self) -> NoReturn:
        raise BadSetting(f"{str(self)!r} is in a bucket, and this needs a file on this machine")

    @property
    def store(self) -> BucketStore:
        """The store of its bucket."""
        from pipeline.storage.bucket import bucket_store

        return bucket_store(self.parts[0][:-1], self.parts[1])

    @property
    def key(self) -> str:
        """The key of the object in its bucket."""
        return "/".join(self.parts[2:])

    def resolve(self, strict: bool = False) -> BucketPath:  # noqa: ARG002, FBT001, FBT002  (as Path has it)
        """Return it unchanged: it is absolute."""
        return self

    def absolute(self) -> BucketPath:
        """Return it unchanged: it is absolute."""
        return self

    def objects(self) -> Iterator[BucketPath]:
        """List every object below this prefix: one request per thousand."""
        return self.store.objects(self)

    def iterdir(self) -> Iterator[BucketPath]:  # type: ignore[override]
        """List objects and prefixes one level below."""
        depth = len(self.parts)
        entries = dict.fromkeys(BucketPath(*path.parts[: depth + 1]) for path in self.objects())
        if not entries:
            raise FileNotFoundError(str(self))
        yield from entries

    def glob(self, pattern: str, **_: Any) -> Iterator[BucketPath]:  # type: ignore[override]
        """List objects and prefixes one level below whose names match."""
        with contextlib.suppress(FileNotFoundError):
            yield from (path for path in self.iterdir() if path.match(pattern))

    def rglob(self, pattern: str, **_: Any) -> Iterator[BucketPath]:  # type: ignore[override]
        """List every object below whose name matches."""
        return (path for path in self.objects() if path.match(pattern))

    def stored(self) -> Stored:
        """Return the size of the object, and when it was put.

        Raises:
            FileNotFoundError: there is no such object.
        """
        return self.store.stored(self)

    def is_file(self, **_: Any) -> bool:
        """Return whether there is such an object."""
        try:
            self.stored()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self, **_: Any) -> bool:
        """Return whether there are objects below it, and it is none itself."""
        return not self.is_file() and any(self.objects())

    def exists(self, **_: Any) -> bool:
        """Return whether there is such an object; a prefix by itself does not exist."""
        return self.is_file()

    def read_bytes(self) -> bytes:
        """Read the whole object.

        Raises:
            FileNotFoundError: there is no such object.
        """
        return self.store.read(self)

    def read_text(self, encoding: str | None = None, errors: str | None = None, **_: Any) -> str:
        """Read the whole object as text."""
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")

    def open(self, mode: str = "rb", **_: Any) -> Any:  # type: ignore[override]
        """Open the object for reading."""
        if mode != "rb":
            raise BadSetting(f"{str(self)!r} is an object: it is written once, as a whole")
        return self.store.open(self)
