"""Objects in a bucket: `s3://bucket/prefix`, `oss://bucket/prefix`.

    BucketPath    the path of an object, or a prefix of several: list, HEAD, GET (bucket_path.py)
    BucketStore   ranges of objects for Arrow and DuckDB; `put_new`: a PUT that succeeds only if there is no such object

An object of a run is never changed or renamed, so a commit needs no lock: the commit record is put last, and only if
absent. When the answer to a PUT was lost, the PUT is repeated; the service refuses it, and the object there is
compared: with the same bytes it is ours.
"""

from __future__ import annotations

import contextlib
import functools
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pipeline.errors import LakeLocked, Unreachable
from pipeline.storage import configuration
from pipeline.storage.bucket_path import BucketPath, Stored
from pipeline.storage.configuration import first_line, no_bucket, translate_errors, translated
from pipeline.storage.object_file import FOOTER_BYTES, open_object
from pipeline.storage.staging import staging_folder
from pipeline.storage.store import FOOTERS_KEPT, Store

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    import duckdb

_PARALLEL_REQUESTS: Final = 32
_PUT_TRIES: Final = 4
"""Tries of a PUT without an answer; each of them is several of obstore's."""


class BucketStore(Store):
    """The objects of one bucket. An object does not change, so its footer is kept as long as its size and tag stay."""

    is_local: ClassVar = False
    has_lock: ClassVar = False
    extra: ClassVar = "cloud"

    def __init__(self, scheme: str, bucket: str) -> None:
        self._scheme = scheme
        self._bucket = bucket
        self._stored: dict[BucketPath, Stored] = {}
        self._current: set[BucketPath] = set()
        """The paths whose size and tag were requested since `look_again`."""
        self.footer = functools.lru_cache(maxsize=FOOTERS_KEPT)(self._read_footer)
        """Return the last bytes of an object."""

    def _client(self, *, is_writing: bool = False) -> Any:
        return configuration.object_client(self._scheme, self._bucket, is_writing=is_writing)

    def objects(self, prefix: BucketPath, first: str = "") -> Iterator[BucketPath]:
        """List every object below a prefix, one request per thousand; not those long before the name `first` there."""
        client = self._client()
        import obstore

        with translate_errors(prefix):
            # Whole, it may be the name of a prefix, and after that some services leave out all that is in it.
            offset = f"{prefix.key}/{first[:-1]}" if len(first) > 1 else None
            for page in obstore.list(client, f"{prefix.key}/" if prefix.key else None, offset=offset, chunk_size=1000):
                for entry in page:
                    path = BucketPath(f"{self._scheme}:/{self._bucket}/{entry['path']}")
                    self._remember(path, entry)
                    yield path

    def _remember(self, path: BucketPath, entry: Any) -> None:
        found = _stored(entry)
        if self._stored.get(path, found) != found:  # somebody else has put another
            self.footer.cache_clear()
        self._stored[path] = found
        self._current.add(path)

    def list_partitions(
        self, folder: Path, *, days: Collection[str] | None = None, without: Collection[str] = ()
    ) -> list[Path]:
        """List the Parquet objects in the `observed_on=…` prefixes of `folder`: one listing, not one a day."""
        if days is not None and not days:
            return []
        location = BucketPath(folder)
        paths = (
            path
            for path in self.objects(location, min(days) if days else "")
            if path.suffix == ".parquet" and path.parent.name.startswith("observed_on=") and path.stem not in without
        )
        return sorted((path for path in paths if days is None or path.parent.name in days), key=lambda path: path.name)

    def stored(self, path: BucketPath) -> Stored:
        """Return the size of an object, and when it was put; one request, unless a listing met it."""
        if path not in self._current or path not in self._stored:
            client = self._client()
            import obstore

            with translate_errors(path):
                self._remember(path, obstore.head(client, path.key))
        return self._stored[path]

    def look_again(self) -> None:
        """Request sizes and tags anew from here on."""
        self._current.clear()

    def size(self, path: Path) -> int:
        """Return the size of an object in bytes."""
        return self.stored(BucketPath(path)).size

    def content(self, path: Path) -> bytes:
        """Read an object: what was prefetched as its footer is all of it, if it is small."""
        location = BucketPath(path)
        small = self.stored(location).size <= FOOTER_BYTES
        return self.footer(location) if small else self.read(location)

    def identity(self, path: Path) -> tuple[str, float]:
        """Return size, tag and the time of its put."""
        stored = self.stored(BucketPath(path))
        return f"{stored.size} {stored.tag} {stored.put_at}", stored.put_at.timestamp()

    def tag(self, path: Path) -> str | None:
        """Return the tag of an object, as the listing has it."""
        return self.stored(BucketPath(path)).tag

    def read(self, path: BucketPath) -> bytes:
        """Read a whole object."""
        client = self._client()
        import obstore

        with translate_errors(path):
            return bytes(obstore.get(client, path.key).bytes())

    def read_range(self, path: BucketPath, start: int, end: int) -> bytes:
        """Read the bytes of an object from `start` up to `end`."""
        client = self._client()
        import obstore

        with translate_errors(path):
            return bytes(obstore.get_range(client, path.key, start=start, end=end))

    def _read_footer(self, path: BucketPath) -> bytes:
        size = self.stored(path).size
        return self.read_range(path, max(0, size - FOOTER_BYTES), size) if size else b""

    def open(self, path: Path) -> Any:
        """Open an object as a file that Arrow and DuckDB read ranges of."""
        return open_object(self, BucketPath(path))

    def prefetch_footers(self, paths: Sequence[Path]) -> None:
        """Fetch the footers of objects that are read next, in parallel: latency dominates."""
        with ThreadPoolExecutor(_PARALLEL_REQUESTS, thread_name_prefix="bucket") as pool:
            list(pool.map(self.footer, paths))

    def register_filesystem(self, con: duckdb.DuckDBPyConnection) -> None:
        """Let a DuckDB connection read objects."""
        from pipeline.storage.duckdb_filesystem import duckdb_filesystem

        con.register_filesystem(duckdb_filesystem())
        con.execute("set enable_external_file_cache = false").fetchall()  # it fetches whole blocks for one column

    # ── writing ──────────────────────────────────────────────────────────────

    def make_folder(self, folder: Path, mode: int | None = None) -> None:
        """Do nothing: a prefix exists by its objects."""

    def staging_dir(self, folder: Path) -> Path:
        """Make and return a folder of this machine that stands for the prefix `folder`."""
        local = staging_folder().joinpath(*folder.parts[1:])
        local.mkdir(parents=True, exist_ok=True)
        return local

    def commit_file(self, staged: Path, path: Path) -> str | None:
        """Put a finished file as a new object, and delete it here."""
        tag = self.put_new(BucketPath(path), staged.read_bytes())
        staged.unlink()
        return tag

    def replace_file(self, staged: Path, path: Path) -> str | None:
        """Put a finished file over an object that may be there, and delete it here."""
        client = self._client()
        import obstore

        location = BucketPath(path)
        with translate_errors(location):
            result = obstore.put(client, location.key, staged.read_bytes(), use_multipart=False)
        self._forget(location)
        staged.unlink()
        return result["e_tag"]

    def commit_files(self, moves: Mapping[Path, Path], *, is_replacing: bool = False) -> list[str | None]:
        """Put finished files one after the other, each as `commit_file` or `replace_file` does."""
        move = self.replace_file if is_replacing else self.commit_file
        return [move(staged, path) for staged, path in moves.items()]

    def put_new(self, path: BucketPath, body: bytes) -> str | None:
        """Put an object if there is none; an object there with the same bytes counts as this one.

        Returns: its tag.

        Raises:
            LakeLocked: there is an object with other bytes; it stays.
            Unreachable: no answer came: the object may be there or not.
        """
        client = self._client(is_writing=True)
        import obstore
        from obstore.exceptions import AlreadyExistsError, BaseError

        mode: Any = "overwrite" if self._scheme == "oss" else "create"  # the client's header forbids it to overwrite
        for number in range(_PUT_TRIES):
            time.sleep(number / 2)
            try:
                result = obstore.put(client, path.key, body, mode=mode, use_multipart=False)
            except AlreadyExistsError as error:
                there = self._read_if_there(path)
                if there == body:  # an earlier try whose answer was lost, or another rebuild of the same run
                    return self.tag(path)
                if there is not None:
                    raise LakeLocked(
                        f"{str(path)!r} is there already with other content: another machine or another version wrote "
                        "it; nothing of this run was published: run again"
                    ) from None
                last_error: Exception = error  # 409: of two concurrent puts the service took neither yet
            except (BaseError, FileNotFoundError) as error:
                ours = translated(path, error)
                if isinstance(ours, FileNotFoundError):  # a new object need not be there: its bucket must
                    ours = no_bucket(path)
                if not isinstance(ours, Unreachable):
                    raise ours from None
                last_error = error
            else:
                return result["e_tag"]
        raise Unreachable(
            f"no answer to the put of {str(path)!r}, and it is not known whether it is there "
            f"({first_line(last_error)}): `ens-images status` shows it, or run again"
        ) from None

    def _read_if_there(self, path: BucketPath) -> bytes | None:
        try:
            return self.read(path)
        except FileNotFoundError:
            return None

    def move(self, path: Path, target: Path) -> None:
        """Copy an object to `target`, and delete it: the command needs the right to delete."""
        with contextlib.suppress(FileNotFoundError):  # another machine has moved it
            self.bring_back(path, target)
            self.delete(path)

    def bring_back(self, path: Path, target: Path) -> None:
        """Copy an object to `target`."""
        client = self._client()
        import obstore

        with translate_errors(path):
            obstore.copy(client, BucketPath(path).key, BucketPath(target).key)
        self._forget(target)

    def _forget(self, path: Path) -> None:
        self._stored.pop(BucketPath(path), None)
        self.footer.cache_clear()

    def delete(self, path: Path) -> None:
        """Delete an object."""
        client = self._client()
        import obstore

        location = BucketPath(path)
        with contextlib.suppress(FileNotFoundError), translate_errors(location):
            obstore.delete(client, location.key)
        self._forget(location)

    def delete_folders(self, folders: Mapping[Path, Sequence[Path]], staging: Path) -> None:  # noqa: ARG002
        """Delete these objects."""
        self.delete_files([path for paths in folders.values() for path in paths])

    def delete_files(self, paths: Sequence[Path]) -> None:
        """Delete several objects, in parallel: latency dominates."""
        with ThreadPoolExecutor(_PARALLEL_REQUESTS, thread_name_prefix="bucket") as pool:
            list(pool.map(self.delete, paths))

    def unique_suffix(self) -> str:
        """Return `-` and eight random digits."""
        return f"-{secrets.token_hex(4)}"

    def lock(self, path: Path) -> contextlib.AbstractContextManager[None]:  # noqa: ARG002
        """Do nothing: a put is refused where there is an object, and the commit record decides."""
        return contextlib.nullcontext()

    def lock_holder(self, path: Path) -> None:  # noqa: ARG002
        """Return None: nobody locks a bucket."""
        return


def _stored(entry: Any) -> Stored:
    return Stored(entry["size"], entry["last_modified"], entry["e_tag"])


@functools.cache
def bucket_store(scheme: str, bucket: str) -> BucketStore:
    """Return the one store of a bucket in this process."""
    return BucketStore(scheme, bucket)
