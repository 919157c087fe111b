"""The lake: immutable Parquet files, published together.

    data/lake/format                                              version of the layout, once, before the first run
    data/lake/.staging/<run>/…                                      written and synced here first
    data/lake/images/observed_on=2026-11-23/<run>.parquet         renamed in, one after the other
    data/lake/image_disks/observed_on=2026-11-23/<run>.parquet
    data/lake/rejects/observed_on=2026-11-23/<run>.parquet
    data/lake/observations/observed_on=2026-11-23/<run>.parquet   renamed in last: now the run is there
    data/lake/image_versions/<fold>.parquet, …                    runs folded together: stretches instead of days
    data/lake/manifests/<n>.json                                 renamed in last: now they are folded
    data/lake.duckdb                                              made anew beside the old one, renamed in

The order, and why a kill or a power cut between any two steps is harmless:

1.  `.staging/<run>` is made, and its name synced: as long as it stands, the
    run's files in the tables may be half of a publication.
2.  Every file is written there, whole, and synced: on the same file system, so
    that a rename moves it in one step. A reader never sees a file grow.
3.  Each is renamed in, and the name synced, with the folders made for it. A
    file without its run in `observations` belongs to nothing: no reader takes it.
4.  `observations` goes last. That one rename is the commit: before it a reader
    sees the lake without the run, after it the whole run. Synced names of step 3
    are on the disk before it can be.
5.  `.staging/<run>` goes. The catalogue is made anew and swapped; where a kill
    leaves the old one, that shows the lake before the run, until the next writer.

Who comes after a killed writer clears away what step 1 marks and has no commit
record, then the mark. Without the mark nothing is cleared: a commit record that
was lost otherwise costs no images; `check` names them.

A fold is published by the same steps, its record last. That record says which
runs nothing is read of any more but what is folded: so one rename takes a reader
from the plain files to the folded ones, and both are there while it does. The
plain files, and the files of the fold before, go after a grace that counts from it.

Readers take no lock, and read in the opposite order: what was taken out, then
the commit records, then the newest fold, then the files of those runs. A run that
is folded after its commit record was met is read from the fold; one that is
committed after the records were listed is in neither. Were the fold read before
the records, a run could be folded and its plain files gone in between: it would be
in neither, though it had been there. Writers take one lock, `data/.lock`, which
the system frees when its holder dies.

In a bucket (`s3://bucket/prefix`) nothing is renamed and nobody holds a lock. The
files are written on this machine and put under the same names, each only if there
is no such object, `observations` last: that put is the commit. A run's id ends in
letters of chance there, so that two machines never mean the same one. What a killed
writer left belongs to nothing, and stays: it may be another machine's, at work.
Nothing is folded or pruned there, and there is no catalogue.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
from typing import TYPE_CHECKING, Any, Final

from pipeline.errors import BadSetting
from pipeline.lake.compaction.manifest import PLACES, Manifest, compacted_path, manifest_path
from pipeline.lake.format import format_of, write_format
from pipeline.lake.layout import table_path
from pipeline.lake.orphans import delete
from pipeline.resources.schema import FORMAT
from pipeline.resources.tables import LAKE_TABLES
from pipeline.storage.folder import commit_file, make_folder, sync_folder
from pipeline.storage.partitions import STAGING
from pipeline.storage.store import store_of

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa

    from pipeline.resources.schema import Table

ROW_GROUP_ROWS: Final = 65_536
"""Rows in a row group: fixed, so that the same rows always give the same bytes."""


@contextlib.contextmanager
def new_lake(data: Path) -> Iterator[Path]:
    """A folder to build a whole lake in, aside in `data`, which has none: in the end it is renamed in, all at once.

    Raises:
        BadSetting: there is something in the way.
    """
    aside = data / ".new"
    make_folder(aside, 0o700)
    yield aside
    shutil.rmtree(data / "lake" / STAGING, ignore_errors=True)
    try:
        (aside / "lake").rename(data / "lake")
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise
        raise BadSetting(f"{str(data / 'lake')!r} is not empty, and is no lake: give an empty folder") from error
    sync_folder(data)
    delete(aside)


class Publication:
    """The files of one run, being written: invisible until `commit`."""

    def __init__(self, data: Path, run_id: str, observed_on: dt.date) -> None:
        self._data = data
        self._run_id = run_id
        self._observed_on = observed_on
        self._store = store_of(data)
        self._store.make_folder(data / "lake", 0o700)
        self._aside = self._store.staging_dir(data / "lake" / STAGING / run_id)
        self._writers: dict[str, _TableWriter] = {}

    def add(self, table: Table, rows: pa.Table) -> None:
        """Add rows to the run's file of `table`."""
        if table.name not in self._writers:
            self._writers[table.name] = _TableWriter(table, self._aside / f"{table.name}.parquet")
        self._writers[table.name].add(rows)

    def begin_again(self) -> None:
        """Take back every row that was added."""
        for writer in self._writers.values():
            writer.drop()
        self._writers.clear()

    def commit(self) -> None:
        """Put the files in their places, `observations` last."""
        for writer in self._writers.values():
            writer.close()
        if format_of(self._data) is None:
            write_format(self._data)
        for table in LAKE_TABLES:
            if table.name in self._writers:
                path = table_path(self._data, table, self._run_id, self._observed_on)
                self._store.commit_file(self._aside / f"{table.name}.parquet", path)
        self._aside.rmdir()
        sync_folder(self._aside.parent)


class CompactionCommit:
    """The files of one fold, being written: invisible until `commit`."""

    def __init__(self, data: Path, name: str) -> None:
        self._data = data
        self._name = name
        self.aside = data / "lake" / STAGING / name
        """A folder for this fold alone: it is cleared away with it."""
        make_folder(self.aside)
        self._writers: dict[str, _TableWriter] = {}

    def add(self, place: str, rows: pa.Table) -> None:
        """Add rows to the fold's file in one of its folders."""
        if place not in self._writers:
            self._writers[place] = _TableWriter(PLACES[place], self.aside / f"{place}.parquet", is_repeatable=False)
        self._writers[place].add(rows)

    def written(self, *places: str) -> list[Path]:
        """End the files in these folders that rows were added to, and say where they lie until `commit`."""
        for place in places:
            if place in self._writers:
                self._writers[place].close()
        return [self.aside / f"{place}.parquet" for place in places if place in self._writers]

    def commit(self, record: Manifest) -> None:
        """Put the files in their places, the record last."""
        for place in self._writers:
            self.written(place)
            commit_file(self.aside / f"{place}.parquet", compacted_path(self._data, place, self._name))
        if format_of(self._data) != FORMAT:
            write_format(self._data)
        aside = self.aside / "record.json"
        aside.write_bytes(record.encoded())
        commit_file(aside, manifest_path(self._data, self._name))
        shutil.rmtree(self.aside)
        sync_folder(self.aside.parent)


class _TableWriter:
    """One Parquet file with row groups of a fixed size; repeatable: the same bytes, however the rows arrive."""

    def __init__(self, table: Table, path: Path, *, is_repeatable: bool = True) -> None:
        self._path = path
        self._is_repeatable = is_repeatable
        self._schema = table.arrow()
        self._writer: Any = table.writer(path)
        self._waiting: list[pa.Table] = []
        self._rows = 0
        self._is_open = True

    def add(self, rows: pa.Table) -> None:
        self._waiting.append(rows)
        self._rows += len(rows)
        if self._rows >= ROW_GROUP_ROWS:
            self._write(self._rows - self._rows % ROW_GROUP_ROWS)

    def _write(self, rows: int) -> None:
        import pyarrow as pa

        waiting = pa.concat_tables(self._waiting) if self._waiting else self._schema.empty_table()
        now = waiting.slice(0, rows)
        self._writer.write_table(now.combine_chunks() if self._is_repeatable else now, row_group_size=ROW_GROUP_ROWS)
        rest = waiting.slice(rows)
        self._waiting, self._rows = [rest], len(rest)

    def close(self) -> None:
        """End the file; once is enough."""
        if self._is_open:
            self._write(self._rows)
            self._writer.close()
            self._is_open = False

    def drop(self) -> None:
        """Give the file up, whatever is wrong with it."""
        with contextlib.suppress(Exception):  # a full disk, say: the footer is not wanted
            self._writer.close()
        self._path.unlink(missing_ok=True)
