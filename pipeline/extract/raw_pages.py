"""The pages of a run on disk, as they came: a table of bytes that anything which reads Parquet can read.

    data/raw/observed_on=2026-11-23/<run>.parquet     one row a try; written aside, synced, renamed in
    └─ header   run, code version, endpoint, accounts, level asked, the user's word on shrinking,
                a given observed_at, and for each account what was decided and why

Enough to build the lake again without the network, by the decisions of the
run that landed them. A Parquet file without its footer is unreadable, so the
pages are safe once landed, not before.
"""

from __future__ import annotations

import bisect
import datetime as dt
import itertools
import json
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, Self

from pipeline.errors import LakeDamaged
from pipeline.resources.control import RAW_PAGES
from pipeline.storage.partitions import STAGING, files_by_day, refuse_newer
from pipeline.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    import pyarrow as pa

    from pipeline.extract.response import Answer


_HEADER: Final = "ens_images_run"
_GROUP_BYTES: Final = 8 << 20
_GROUPS_KEPT: Final = 4


class RawPagesWriter:
    """The raw file of one run, being written: a context manager. Without `finish`, nothing is left of it."""

    def __init__(self, data: Path, run_id: str, observed_on: dt.date) -> None:
        self.path = raw_path(data, run_id, observed_on)
        self._store = store_of(data)
        self._store.make_folder(data / "raw", 0o700)
        self._aside = self._store.staging_dir(data / "raw" / STAGING) / f"{run_id}.parquet"
        self._rows: list[dict[str, object]] = []
        self._bytes = 0
        self.row_count = 0
        self._writer: Any = None
        self._aside_thread = ThreadPoolExecutor(1, thread_name_prefix="landing")
        self._writing: Future[None] | None = None

    def __enter__(self) -> Self:
        self._schema = RAW_PAGES.arrow()
        self._writer = RAW_PAGES.writer(self._aside)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._aside_thread.shutdown()
            if self._writer is not None:
                self._writer.close()
        finally:
            self._aside.unlink(missing_ok=True)

    def add(self, answer: Answer, body: bytes | None) -> None:
        """Add one answer; rows keep the order in which answers came."""
        row = {name: getattr(answer, name) for name in self._schema.names if name != "body"}
        self._rows.append({**row, "body": body})
        self.row_count += 1
        self._bytes += len(body or b"")
        if self._bytes >= _GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        """Let what is there be packed and written while the next answers come: one group at a time."""
        self._wait()
        if self._rows:
            self._writing = self._aside_thread.submit(self._write, self._rows)
        self._rows, self._bytes = [], 0

    def _wait(self) -> None:
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def _write(self, rows: list[dict[str, object]]) -> None:
        import pyarrow as pa

        self._writer.write_table(pa.Table.from_pylist(rows, schema=self._schema), row_group_size=len(rows))

    def finish(self, header: Mapping[str, object]) -> Path:
        """Write the header and put the file in its place: from here on the pages are safe."""
        self._flush()
        self._wait()
        self._writer.add_key_value_metadata({_HEADER: json.dumps(header, ensure_ascii=False, default=str)})
        self._writer.close()
        self._writer = None
        self._store.commit_file(self._aside, self.path)
        return self.path


def raw_path(data: Path, run_id: str, observed_on: dt.date) -> Path:
    """Where the raw pages of a run lie."""
    return data / "raw" / f"observed_on={observed_on}" / f"{run_id}.parquet"


def raw_paths(data: Path) -> list[Path]:
    """The raw files under `data`, oldest run first."""
    return files_by_day(data / "raw")


class RawRun:
    """A landed raw file, open for reading."""

    def __init__(self, path: Path) -> None:
        """Open `path` and read its header.

        Raises:
            LakeDamaged: it is no file of raw pages.
            LakeTooNew: a newer version has written it.
        """
        self.path = path
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            self._file = pq.ParquetFile(store_of(path).open(path), page_checksum_verification=True)
            about = self._file.metadata.metadata
            refuse_newer(about[b"format"].decode(errors="replace"), path)
            self.header: dict[str, Any] = json.loads(about[_HEADER.encode()])
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
            raise LakeDamaged(
                f"{self.path} is no file of raw pages: {str(error).splitlines()[0]}; move it away"
            ) from error
        rows = (self._file.metadata.row_group(number).num_rows for number in range(self._file.num_row_groups))
        self._starts = [0, *itertools.accumulate(rows)]
        self._kept: dict[int, pa.ChunkedArray] = {}
        self._at_hand: dict[int, bytes] = {}

    @property
    def observed_on(self) -> dt.date:
        """The UTC day on which the run began."""
        return dt.date.fromisoformat(self.header["observed_on"])

    @property
    def given_at_utc(self) -> dt.datetime | None:
        """The instant that the run was given to stand for its observations'; None: they have their own."""
        said = self.header["observed_at_utc"]
        return None if said is None else dt.datetime.fromisoformat(said)

    def answers(self) -> Iterator[tuple[dict[str, Any], bytes | None]]:
        """Every row in the order in which answers came: the columns beside the body, and the body."""
        for number in range(self._file.num_row_groups):
            for row in self._group(number).to_pylist():
                body = row.pop("body")
                yield row, body

    def bodies(self, rows: Iterable[int]) -> Iterator[bytes]:
        """The bodies of the given rows, in the order given, with a few row groups in memory at a time."""
        for row in rows:
            if row in self._at_hand:
                yield self._at_hand.pop(row)
                continue
            group = self._group_of(row)
            if group not in self._kept:
                while len(self._kept) >= _GROUPS_KEPT:
                    self._kept.pop(next(iter(self._kept)))
                self._kept[group] = self._group(group, ["body"]).column("body")
            body: bytes = self._kept[group][row - self._starts[group]].as_py()
            yield body

    def fetch(self, rows: Iterable[int]) -> None:
        """Have the bodies of these rows at hand, each until it is asked for; a row group is read once for all."""
        for group, some in itertools.groupby(sorted(rows), self._group_of):
            bodies = self._group(group, ["body"]).column("body")
            self._at_hand |= {row: bodies[row - self._starts[group]].as_py() for row in some}

    def _group_of(self, row: int) -> int:
        return bisect.bisect_right(self._starts, row) - 1

    def _group(self, number: int, columns: list[str] | None = None) -> pa.Table:
        import pyarrow as pa

        try:
            return self._file.read_row_group(number, columns=columns)
        except (pa.ArrowException, OSError) as error:
            raise LakeDamaged(f"{self.path} cannot be read: {str(error).splitlines()[0]}; move it away") from error
