"""One interface to the files of a lake, wherever they are.

    open_location("data")         a Path          its store: FolderStore   fsync, rename, one writer by a lock
    open_location("s3://b/p")     a BucketPath    its store: BucketStore   PUT if absent, any number of writers
    store_of(path)                the store that holds this path

A path says which file; its store says how to read, write and lock it. Code above this package calls the store and asks
for a capability (`is_local`, `has_lock`), never for the kind of store. For a folder, nothing of a bucket is imported.
"""

from __future__ import annotations

import errno
import re
import stat
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pipeline.errors import BadSetting
from pipeline.paths import is_utf8, user_path
from pipeline.redaction import redact_userinfo

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    import duckdb

_ADDRESS: Final = re.compile(r"(s3|oss):(/{0,2})([^/]*)")
FOOTERS_KEPT: Final = 2048
"""Prefetched footers that a store keeps in memory: 64 MiB at most."""


class Store(ABC):
    """Where a lake's files are: what a path alone cannot do.

    The paths that it is given are its own; they list and read themselves, as every Path does.
    """

    is_local: ClassVar[bool]
    """Its files are files of this machine: other programs open them by path, and a rename moves them."""
    has_lock: ClassVar[bool]
    """It has one writer at a time. Without a lock, a file that no commit names may be another writer's, at work."""
    extra: ClassVar[str | None] = None
    """The extra of this package that it needs."""

    # ── reading ──────────────────────────────────────────────────────────────

    @abstractmethod
    def list_partitions(
        self, folder: Path, *, days: Collection[str] | None = None, without: Collection[str] = ()
    ) -> list[Path]:
        """List the Parquet files in the `observed_on=…` folders of `folder`; none where there is no such folder.

        `days` names the folders to list, by default all. The files of the runs `without` are left out.

        Raises:
            NoAccess: a folder cannot be read: its files must not be taken for deleted.
        """

    @abstractmethod
    def open(self, path: Path) -> Any:
        """Open a file for Arrow. Returns: a path, or a file object."""

    @abstractmethod
    def size(self, path: Path) -> int:
        """Return the size of a file in bytes.

        Raises:
            FileNotFoundError: there is no such file.
        """

    @abstractmethod
    def content(self, path: Path) -> bytes:
        """Return the whole content of a small file, such as a commit record.

        Raises:
            OSError: it is not there, or cannot be read.
        """

    @abstractmethod
    def identity(self, path: Path) -> tuple[str, float]:
        """Return what changes whenever somebody writes the file, without reading it; and when it last changed.

        Raises:
            FileNotFoundError: there is no such file.
        """

    def look_again(self) -> None:  # noqa: B027  (a folder has nothing to forget)
        """Begin a reading of the lake: what other programs changed since the last one is found from here on."""

    @abstractmethod
    def tag(self, path: Path) -> str | None:
        """Return the tag of an object, which changes with its content; None in a store without tags."""

    @abstractmethod
    def prefetch_footers(self, paths: Sequence[Path]) -> None:
        """Fetch the footers of files that are read next, in parallel: at most `FOOTERS_KEPT` of them."""

    @abstractmethod
    def register_filesystem(self, con: duckdb.DuckDBPyConnection) -> None:
        """Let a DuckDB connection read the files of this store."""

    # ── writing ──────────────────────────────────────────────────────────────

    @abstractmethod
    def make_folder(self, folder: Path, mode: int | None = None) -> None:
        """Make a folder and those above it that are missing; without `mode`, with the mode of the folder above."""

    @abstractmethod
    def staging_dir(self, folder: Path) -> Path:
        """Make and return the local folder to write in before a commit: `folder` itself, if it is local."""

    @abstractmethod
    def commit_file(self, staged: Path, path: Path) -> str | None:
        """Move a finished file from its staging folder to `path`: readers see all of it or nothing.

        Returns: the tag that the store gave to it, if it gives any (see `tag`).

        Raises:
            LakeLocked: the store replaces no file, and another writer has written this one with other content.
        """

    @abstractmethod
    def replace_file(self, staged: Path, path: Path) -> str | None:
        """Move a finished file to `path`, over one that may be there: for what every writer writes alike.

        Returns: its tag, as `commit_file` does.
        """

    @abstractmethod
    def commit_files(self, moves: Mapping[Path, Path], *, is_replacing: bool = False) -> list[str | None]:
        """Move finished files to these paths, in this order, with as little time between two of them as can be.

        Returns: their tags, as `commit_file` does, or `replace_file` with `is_replacing`.
        """

    @abstractmethod
    def move(self, path: Path, target: Path) -> None:
        """Move a file of the lake to `target`, over one that may be there: a killed writer leaves one, or both."""

    @abstractmethod
    def bring_back(self, path: Path, target: Path) -> None:
        """Undo a move. Without a lock, the file stays at `path` too: another machine may be moving it once more."""

    @abstractmethod
    def delete(self, path: Path) -> None:
        """Delete a file, or a folder with its content."""

    def delete_files(self, paths: Sequence[Path]) -> None:
        """Delete several files."""
        for path in paths:
            self.delete(path)

    @abstractmethod
    def delete_folders(self, folders: Mapping[Path, Sequence[Path]], staging: Path) -> None:
        """Delete folders with these files, that other programs list.

        If folders can be renamed, each by way of `staging`: at one instant.
        """

    @abstractmethod
    def unique_suffix(self) -> str:
        """Return what makes a name differ from those of writers at work: nothing under a lock, else random digits."""

    @abstractmethod
    def lock(self, path: Path) -> contextlib.AbstractContextManager[None]:
        """Take the one writer's lock, the file `path`; without a lock in this store, do nothing.

        Raises:
            LakeLocked: another process has it; the message says which one, and since when.
        """

    @abstractmethod
    def lock_holder(self, path: Path) -> str | None:
        """Return which process has the lock `path`, and since when; None: no process has it."""

    def require_local(self, data: Path, operation: str, instead: str) -> None:
        """Refuse an operation that needs a local folder.

        Raises:
            BadSetting: `data` is in a bucket.
        """
        if not self.is_local:
            raise BadSetting(f"{str(data)!r} is a bucket, and {operation} needs a folder: {instead}")


def open_location(data: str | Path) -> Path:
    """Return the path of a lake: a local folder, or a prefix in a bucket.

    Raises:
        BadSetting: the address names no bucket, an unknown service, or no prefix; it is no path (see `user_path`); or
            DuckDB cannot write below a folder of that name.
    """
    address = str(data)
    match = _ADDRESS.match(address)
    if match is None:
        if "://" in address:
            raise BadSetting(f"{address!r} is neither a folder nor a bucket: s3://BUCKET/PREFIX, oss://BUCKET/PREFIX")
        folder = user_path(data)
        whole = str(folder.resolve())
        if not is_utf8(whole):
            raise BadSetting(f"{whole!a} is not UTF-8, and DuckDB writes no file below it: rename the folder")
        for character in "?\\":
            if character in whole:
                wrong = f"{whole!r} has a {character} in its name"
                raise BadSetting(f"{wrong}, below which DuckDB writes no file: rename the folder")
        return folder

    from pipeline.storage.bucket_path import BucketPath

    if isinstance(data, BucketPath):
        return data
    scheme, slashes, bucket = match.groups()
    if not (slashes and bucket):
        raise BadSetting(f"{address!r} names no bucket: {scheme}://BUCKET/PREFIX is expected")
    if "@" in bucket:
        raise BadSetting(f"{redact_userinfo(address)!r} names no bucket: a key belongs in the environment or a profile")
    if not address.isprintable():
        raise BadSetting(f"{address!a} names no bucket: it holds a control character")
    if ".." in address.split("/"):
        raise BadSetting(f"{address!r} is not a prefix in a bucket: a bucket has no folders, and none above")
    return BucketPath(address)


def read_whole(path: Path) -> bytes:
    """Read a small file or object; a FIFO or a folder in its place is refused, at which a reader would wait for ever.

    Raises:
        FileNotFoundError: it is not there.
        OSError: it cannot be read, or is not a file.
    """
    if store_of(path).is_local and not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is not a file")
    return path.read_bytes()


def store_of(path: Path) -> Store:
    """Return the store that holds a path from `open_location`, or a path below one."""
    from pipeline.storage.folder import FOLDER

    store: Store = getattr(path, "store", FOLDER)  # only a BucketPath has one
    return store


def prefetch_footers(paths: Sequence[Path]) -> None:
    """Fetch the footers of files of one store that are read next, if reading them singly is slow there."""
    if paths:
        store_of(paths[0]).prefetch_footers(paths)
