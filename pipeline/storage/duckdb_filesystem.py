"""Objects as DuckDB reads them: a file system registered with a connection, and no extension.

DuckDB asks for ranges of a file; sizes come from the listing that found the object, not from a request of their own.
"""

from __future__ import annotations

import functools
import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from pipeline.storage.bucket_path import BucketPath
from pipeline.storage.configuration import needs_extra

if TYPE_CHECKING:
    import datetime as dt


@functools.cache
def duckdb_filesystem() -> Any:
    """Return the file system of `s3://` and `oss://` for DuckDB, which takes one in the shape of fsspec.

    Raises:
        BadSetting: the extra `cloud` is not installed.
    """
    with needs_extra():
        from fsspec import AbstractFileSystem

    class ObjectFileSystem(AbstractFileSystem):  # type: ignore[misc, unused-ignore]
        protocol = ("s3", "oss")
        cachable = False

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return path

        def _open(self, path: str, mode: str = "rb", **_: Any) -> Any:
            return BucketPath(path).open(mode)

        def info(self, path: str, **_: Any) -> dict[str, Any]:
            return {"name": path, "size": BucketPath(path).stored().size, "type": "file"}

        def modified(self, path: str) -> dt.datetime:
            return BucketPath(path).stored().put_at

        def glob(self, path: str, **_: Any) -> list[str]:
            fixed = re.split(r"[*?[]", path, maxsplit=1)[0]
            if fixed == path:
                return [path] if BucketPath(path).is_file() else []
            folder, _slash, first = fixed.rpartition("/")
            below = map(str, BucketPath(folder).store.objects(BucketPath(folder), first))
            return [name for name in below if _matches(name, path)]

    return ObjectFileSystem()


def _matches(name: str, pattern: str) -> bool:
    """Whether a name matches a pattern part by part: a `*` stands for no slash."""
    parts, patterns = name.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))
