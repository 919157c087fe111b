"""The lake: immutable Parquet files, published together.

    data/lake/.aside/<run>/…                                      written and synced here first
    data/lake/images/observed_on=2026-11-23/<run>.parquet         renamed in, one after the other
    data/lake/image_disks/observed_on=2026-11-23/<run>.parquet
    data/lake/rejects/observed_on=2026-11-23/<run>.parquet
    data/lake/observations/observed_on=2026-11-23/<run>.parquet   renamed in last: now the run is there

A run only adds files. Kill it anywhere: a reader sees the lake before the
run or after it, for a file without its run in `observations` belongs to
nothing. Readers take no lock. Writers take one, `data/.lock`, which the
system frees when its holder dies.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipeline.errors import LakeIsHeld, LakeMissing
from pipeline.landing import put_in_place
from pipeline.tables import LAKE_TABLES, OBSERVATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from pipeline.schema import Table

ROW_GROUP_ROWS: Final = 65_536
"""Rows in a row group: fixed, so that the same rows always give the same bytes."""


# ── reading ──────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class CommittedFiles:
    """What a reader may see: for each table, the files of committed runs, oldest run first."""

    of: dict[str, tuple[Path, ...]]

    def of_runs(self, table: Table, runs: frozenset[str]) -> tuple[Path, ...]:
        """The files of `table` that belong to `runs`."""
        return tuple(path for path in self.of[table.name] if path.stem in runs)


def committed_files(data: Path) -> CommittedFiles:
    """List the files of every committed run under `data`; nothing is opened.

    Raises:
        LakeMissing: no run was ever committed there.
    """
    found = {table.name: _files(data, table) for table in LAKE_TABLES}
    runs = {path.stem for path in found[OBSERVATIONS.name]}
    if not runs:
        typed = data.relative_to(Path.cwd()) if data.is_relative_to(Path.cwd()) else data
        raise LakeMissing(f"no lake in {str(typed)!r}: `ens-images run --data {typed}` makes one")
    return CommittedFiles({name: tuple(path for path in paths if path.stem in runs) for name, paths in found.items()})


def _files(data: Path, table: Table) -> list[Path]:
    return sorted((data / "lake" / table.name).glob("observed_on=*/*.parquet"), key=lambda path: path.name)


def has_published(record: Path) -> bool:
    """Whether a commit record says that anything was published."""
    import pyarrow.parquet as pq

    return any(pq.read_table(record, columns=["is_published"]).column(0).to_pylist())


def table_path(data: Path, table: Table, run_id: str, observed_on: dt.date) -> Path:
    """Where the file of one table of one run lies."""
    return data / "lake" / table.name / f"observed_on={observed_on}" / f"{run_id}.parquet"


# ── writing ──────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def held(data: Path) -> Iterator[None]:
    """Hold the lake for writing, and clear away what a killed writer left.

    Raises:
        LakeIsHeld: another process holds it; the message says which, and since when.
    """
    for folder in (data, data / "raw", data / "lake"):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (data / ".lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            holder = lock.read().strip() or "another process"
            raise LakeIsHeld(f"the lake in {str(data)!r} is held by {holder}: wait until it is done") from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()} since {dt.datetime.now(dt.UTC):%F %T} UTC")
        lock.flush()
        _clear_leftovers(data)
        yield


def _clear_leftovers(data: Path) -> None:
    for room in ("raw", "lake"):
        shutil.rmtree(data / room / ".aside", ignore_errors=True)
    committed = {path.stem for path in _files(data, OBSERVATIONS)}
    for table in LAKE_TABLES:
        for path in _files(data, table):
            if path.stem not in committed:
                path.unlink()


class Publication:
    """The files of one run, being written: invisible until `commit`."""

    def __init__(self, data: Path, run_id: str, observed_on: dt.date) -> None:
        self._data = data
        self._run_id = run_id
        self._observed_on = observed_on
        self._aside = data / "lake" / ".aside" / run_id
        self._aside.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._writers: dict[str, _TableWriter] = {}

    def add(self, table: Table, rows: pa.Table) -> None:
        """Add rows to the run's file of `table`."""
        if table.name not in self._writers:
            self._writers[table.name] = _TableWriter(table, self._aside / f"{table.name}.parquet")
        self._writers[table.name].add(rows)

    def commit(self) -> None:
        """Put the files in their places, `observations` last."""
        for writer in self._writers.values():
            writer.close()
        for table in LAKE_TABLES:
            if table.name in self._writers:
                path = table_path(self._data, table, self._run_id, self._observed_on)
                put_in_place(self._aside / f"{table.name}.parquet", path)
        self._aside.rmdir()


class _TableWriter:
    """One Parquet file with row groups of a fixed size, however the rows arrive."""

    def __init__(self, table: Table, path: Path) -> None:
        import pyarrow.parquet as pq

        self._schema = table.arrow()
        self._writer: Any = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._waiting: list[pa.Table] = []
        self._rows = 0

    def add(self, rows: pa.Table) -> None:
        self._waiting.append(rows)
        self._rows += len(rows)
        if self._rows >= ROW_GROUP_ROWS:
            self._write(self._rows - self._rows % ROW_GROUP_ROWS)

    def _write(self, rows: int) -> None:
        import pyarrow as pa

        waiting = pa.concat_tables(self._waiting) if self._waiting else self._schema.empty_table()
        self._writer.write_table(waiting.slice(0, rows).combine_chunks(), row_group_size=ROW_GROUP_ROWS)
        rest = waiting.slice(rows)
        self._waiting, self._rows = [rest], len(rest)

    def close(self) -> None:
        self._write(self._rows)
        self._writer.close()
