"""Store the answers of a run as received: a Parquet table of bytes.

    data/raw/observed_on=2026-11-23/<run>.parquet     one row per attempt; staged, synced, renamed into place
    └─ header   run, code version, reading version, endpoint, accounts, requested level, the user's choice about
                shrinking, a given observed_at, and for each account the decision and its reason

The lake can be built again from it without the network, by the decisions of
the run. A Parquet file without its footer is unreadable, so pages are safe
after landing, not before.
"""

from __future__ import annotations

import bisect
import contextlib
import datetime as dt
import hashlib
import itertools
import json
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, Self

from pipeline.errors import LakeDamaged, LakeTooNew
from pipeline.extract.reading_version import FIRST, READING
from pipeline.memory import raise_if_out_of_memory
from pipeline.resources.control import RAW_PAGES
from pipeline.storage.digest import FileDigest, digest_of
from pipeline.storage.partitions import STAGING, files_by_day, refuse_newer
from pipeline.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    import pyarrow as pa

    from pipeline.extract.response import Answer


_HEADER: Final = "ens_images_run"
_HEADER_DIGEST: Final = "ens_images_run_sha256"
"""The SHA-256 of the header: the checksums of Parquet cover the pages alone."""
_REPLACED: Final = "ens_images_replaced_sha256"
"""The SHA-256 of the file that this one replaces, without its secrets: a commit record names that one until it is
written anew."""
_GROUP_BYTES: Final = 8 << 20
_CACHED_GROUPS: Final = 4


class RawPagesWriter:
    """Writes the raw file of one run: a context manager. Without `finish`, the file is deleted."""

    def __init__(self, data: Path, run_id: str, observed_on: dt.date) -> None:
        self.path = raw_path(data, run_id, observed_on)
        self._store = store_of(data)
        self._store.make_folder(data / "raw", 0o700)
        self._staged = self._store.staging_dir(data / "raw" / STAGING) / f"{run_id}.parquet"
        self._rows: list[dict[str, object]] = []
        self._bytes = 0
        self.row_count = 0
        self._writer: Any = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="landing")
        self._flushing: Future[None] | None = None

    def __enter__(self) -> Self:
        self._schema = RAW_PAGES.arrow()
        self._writer = RAW_PAGES.writer(self._staged)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._thread.shutdown()
            if self._writer is not None:
                self._writer.close()
        finally:
            self._staged.unlink(missing_ok=True)

    def add(self, answer: Answer, body: bytes | None) -> None:
        """Add one answer. Rows keep the order of the calls."""
        row = {name: getattr(answer, name) for name in self._schema.names if name != "body"}
        self._rows.append({**row, "body": body})
        self.row_count += 1
        self._bytes += len(body or b"")
        if self._bytes >= _GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        """Write the rows as one group, in the background, after the group before."""
        self._wait()
        if self._rows:
            self._flushing = self._thread.submit(self._write, self._rows)
        self._rows, self._bytes = [], 0

    def _wait(self) -> None:
        if self._flushing is not None:
            self._flushing.result()
            self._flushing = None

    def _write(self, rows: list[dict[str, object]]) -> None:
        import pyarrow as pa

        self._writer.write_table(pa.Table.from_pylist(rows, schema=self._schema), row_group_size=len(rows))

    def finish(self, header: Mapping[str, object]) -> RawRun:
        """Write the header and commit the file: the pages are safe from here on. Returns: the file, open."""
        self._flush()
        self._wait()
        self._writer.add_key_value_metadata(_metadata({"reading_version": READING, **header}))
        self._writer.close()
        self._writer = None
        digest = digest_of(self._staged)
        return RawRun(
            self.path, FileDigest(digest.bytes, digest.sha256, self._store.commit_file(self._staged, self.path))
        )


def _metadata(header: Mapping[str, object]) -> dict[str, str]:
    text = json.dumps(header, ensure_ascii=False, default=str)
    return {_HEADER: text, _HEADER_DIGEST: _digest(text.encode())}


def _digest(header: bytes) -> str:
    return hashlib.sha256(header).hexdigest()


def raw_path(data: Path, run_id: str, observed_on: dt.date) -> Path:
    """The path of the raw file of a run."""
    return data / "raw" / f"observed_on={observed_on}" / f"{run_id}.parquet"


def raw_paths(data: Path) -> list[Path]:
    """The raw files under `data`, oldest run first."""
    return files_by_day(data / "raw")


class RawRun:
    """A landed raw file, open for reading."""

    def __init__(self, path: Path, digest: FileDigest | None = None) -> None:
        """Open `path` and read its header; `digest` is that of its content, where it is known.

        Raises:
            LakeDamaged: it is not a file of raw pages.
            LakeTooNew: a newer version wrote it.
        """
        self.path = path
        self._digest = digest
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            self._file = pq.ParquetFile(store_of(path).open(path), page_checksum_verification=True)
            metadata = self._file.metadata.metadata
            refuse_newer(metadata[b"format"].decode(errors="replace"), path)
            text = metadata[_HEADER.encode()]
            if metadata.get(_HEADER_DIGEST.encode(), _digest(text).encode()) != _digest(text).encode():
                raise ValueError("its header is damaged")  # noqa: TRY301
            self.header: dict[str, Any] = json.loads(text)
            if self.header["run_id"] != path.stem:
                raise ValueError(f"it names run {self.header['run_id']!r}, which is not its file name")  # noqa: TRY301
            if self.reading > READING:
                raise LakeTooNew(
                    f"{str(path)!r} was landed by reading version {self.reading}, and this version of ens-images knows "
                    f"{READING} at most: pip install --upgrade ens-images"
                )
            for name in ("observed_on", "observed_at_utc"):
                dt.datetime.fromisoformat(self.header.get(name) or "2026-01-01")
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
            raise_if_out_of_memory(error)
            raise LakeDamaged(
                f"{self.path} is not a file of raw pages: {str(error).splitlines()[0]}; move it away"
            ) from error
        rows = (self._file.metadata.row_group(number).num_rows for number in range(self._file.num_row_groups))
        self._starts = [0, *itertools.accumulate(rows)]
        self._cache: dict[int, pa.ChunkedArray] = {}
        self._prefetched: dict[int, bytes] = {}

    @property
    def digest(self) -> FileDigest:
        """The digest of the file."""
        if self._digest is None:
            found = digest_of(self.path)
            self._digest = FileDigest(found.bytes, found.sha256, store_of(self.path).tag(self.path))
        return self._digest

    @property
    def schema(self) -> pa.Schema:
        """The schema of the file."""
        return self._file.schema_arrow

    @property
    def reading(self) -> int:
        """The version of reading that landed the pages."""
        return int(self.header.get("reading_version", FIRST))

    @property
    def observed_on(self) -> dt.date:
        """The UTC day on which the run began."""
        return dt.date.fromisoformat(self.header["observed_on"])

    @property
    def is_decided(self) -> bool:
        """Whether the run decided about every account; a damaged lake may have left some to its rebuild."""
        return all(account["is_published"] is not None for account in self.header["accounts"])

    @property
    def given_at_utc(self) -> dt.datetime | None:
        """The `observed_at` that the user gave for all observations of the run; None: each has its own."""
        given = self.header["observed_at_utc"]
        return None if given is None else dt.datetime.fromisoformat(given)

    def answers(self, groups: Iterable[pa.Table] | None = None) -> Iterator[tuple[dict[str, Any], bytes | None]]:
        """Every row in the order in which answers arrived: its columns without the body, and the body.

        `groups` are those of the file, where the caller uses them as well.
        """
        for group in self.groups() if groups is None else groups:
            for row in group.to_pylist():
                body = row.pop("body")
                yield row, body

    def groups(self) -> Iterator[pa.Table]:
        """Every row with all of its columns, a row group at a time."""
        for number in range(self._file.num_row_groups):
            yield self._group(number)

    @property
    def replaced_sha256(self) -> str | None:
        """The SHA-256 of the file that this one replaces, without its secrets; None: it is as it was landed."""
        text: bytes | None = self._file.metadata.metadata.get(_REPLACED.encode())
        return None if text is None else text.decode()

    @contextlib.contextmanager
    def writer_like(self, path: Path, header: Mapping[str, object]) -> Iterator[Any]:
        """Yield a writer of a raw file with the same columns as this one, which it is to replace."""
        ours = (_HEADER, _HEADER_DIGEST, _REPLACED)
        schema = self._file.schema_arrow
        about = {name: text for name, text in (schema.metadata or {}).items() if name.decode() not in ours}
        with RAW_PAGES.writer(path, schema.with_metadata(about)) as writer:
            yield writer
            writer.add_key_value_metadata({**_metadata(header), _REPLACED: self.digest.sha256})

    def bodies(self, rows: Iterable[int]) -> Iterator[bytes]:
        """The bodies of the given rows, in the order given; a few row groups are in memory at a time."""
        for row in rows:
            if row in self._prefetched:
                yield self._prefetched.pop(row)
                continue
            group = self._group_of(row)
            if group not in self._cache:
                while len(self._cache) >= _CACHED_GROUPS:
                    self._cache.pop(next(iter(self._cache)))
                self._cache[group] = self._group(group, ["body"]).column("body")
            body: bytes = self._cache[group][row - self._starts[group]].as_py()
            yield body

    def prefetch(self, rows: Iterable[int]) -> None:
        """Read the bodies of these rows into memory, each row group once; `bodies` drops each as it yields it."""
        for group, group_rows in itertools.groupby(sorted(rows), self._group_of):
            bodies = self._group(group, ["body"]).column("body")
            self._prefetched |= {row: bodies[row - self._starts[group]].as_py() for row in group_rows}

    def _group_of(self, row: int) -> int:
        return bisect.bisect_right(self._starts, row) - 1

    def _group(self, number: int, columns: list[str] | None = None) -> pa.Table:
        import pyarrow as pa

        try:
            return self._file.read_row_group(number, columns=columns)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise_if_out_of_memory(error)
            raise LakeDamaged(f"{self.path} cannot be read: {str(error).splitlines()[0]}; move it away") from error
