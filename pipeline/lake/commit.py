"""Commit immutable Parquet files to the lake: all files of a run, or of a compaction, appear at once.

    data/lake/.staging/<run>/…                                    1, 2  written and synced here
    data/lake/format                                                    the layout, before the first file
    data/lake/rejects/observed_on=2026-11-23/<run>.parquet        3     renamed in, one after the other
    data/lake/image_disks/observed_on=2026-11-23/<run>.parquet
    data/lake/images/observed_on=2026-11-23/<run>.parquet
    data/lake/observations/observed_on=2026-11-23/<run>.parquet   4     renamed in last: the commit of a run
    data/lake/image_versions/<n>.parquet, …                       3     the files of a compaction
    data/lake/manifests/<n>.json                                  4     renamed in last: the commit of a compaction
    data/lake.duckdb                                              5     written beside the old one, renamed in

A kill or a power cut between any two steps is harmless:

1.  `.staging/<name>` is created, and its name synced. While it exists, files of
    this name in the tables may belong to an incomplete commit.
2.  Every file is written there and synced. It is on the same file system, so a
    rename moves it in one step: no reader sees a file grow.
3.  Each file is renamed in, all at once but for the renames themselves, then their
    names are synced. No reader of ours uses a file whose run is not in
    `observations`. Another engine reads it: `images` comes last, so that no image is
    there without its disks, nor as unused because the instances are missing.
4.  The commit record is renamed in last. Before this rename a reader sees the
    lake without the run, after it the whole run. The names of step 3 are on the
    disk before the record can be.
5.  `.staging/<name>` is deleted. The catalog is written again; after a kill the
    old one shows the lake before the run, until the next writer.

The next writer deletes the files that step 1 marks and that no commit record
names, then the mark. Without the mark it deletes nothing: a lost commit record
must not cost the images; `check` names them.

The manifest of a compaction names the runs that readers take from the versions
from now on. The daily files of these runs are there before and after it.

Readers take no lock, and read in the opposite order: tombstones, commit records,
the newest manifest, the files of the runs. A run that is compacted after its
commit record was listed is read from the versions; a run that is committed after
the listing is in neither. If the manifest were read first, a run that is compacted
and deleted in between would be in neither, though it was there before. Writers
take one lock, `data/.lock`, which the system releases when its holder dies.

A bucket (`s3://bucket/prefix`) has no rename and no lock. The files are written on
this machine and put under the same names, each only if there is no such object,
`observations` last: that put is the commit. A run id there ends in random letters,
so that two machines never choose the same one. So do the names of compacted files;
of two machines that compact at once, the first to put the next manifest wins. What
a killed writer left stays: it may belong to another machine at work. A bucket has
no catalog.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
from typing import TYPE_CHECKING, Any, Final

import msgspec

from pipeline.errors import BadSetting, LakeLocked, NoAccess
from pipeline.lake.committed_digests import COMMITTED_FILES, encode_digests
from pipeline.lake.compaction.manifest import COMPACTED, Manifest, compacted_path, manifest_path
from pipeline.lake.format import format_of, write_format
from pipeline.lake.layout import table_path
from pipeline.lake.orphans import delete
from pipeline.resources.control import OBSERVATIONS, RAW_PAGES
from pipeline.resources.schema import FORMAT
from pipeline.resources.tables import LAKE_TABLES
from pipeline.storage.digest import OWN_DIGEST, UNKNOWN_DIGEST, FileDigest, digest_of, write_own_digest
from pipeline.storage.folder import make_folder, sync_folder
from pipeline.storage.partitions import STAGING
from pipeline.storage.store import store_of

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from pipeline.resources.schema import Table

ROW_GROUP_ROWS: Final = 65_536
"""Rows in a row group: fixed, so that the same rows always give the same bytes."""


@contextlib.contextmanager
def new_lake(data: Path) -> Iterator[Path]:
    """Yield a folder in `data` to build a lake in; at the end the lake is renamed in, all at once.

    In a bucket nothing is renamed: it is `data` itself, where each run appears with its commit record.

    Raises:
        BadSetting: `data` has a folder `lake` with something in it.
    """
    if not store_of(data).is_local:
        yield data
        return
    building = data / ".new"
    make_folder(building, 0o700)
    yield building
    shutil.rmtree(data / "lake" / STAGING, ignore_errors=True)
    try:
        (building / "lake").rename(data / "lake")
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise
        raise BadSetting(f"{str(data / 'lake')!r} is not empty, and not a lake: give an empty folder") from error
    sync_folder(data)
    delete(building)


class _StagedFiles:
    """Parquet files that are written in a staging folder and committed together, the commit record last."""

    def __init__(self, data: Path, name: str, *, is_repeatable: bool) -> None:
        self._data = data
        self._is_repeatable = is_repeatable
        self._store = store_of(data)
        self._store.make_folder(data / "lake", 0o700)
        self.staging = self._store.staging_dir(data / "lake" / STAGING / name)
        """A folder for this commit alone: it is deleted with it."""
        self._writers: dict[str, _TableWriter] = {}

    def _path(self, name: str) -> Path:
        return self.staging / f"{name}.parquet"

    def _add(self, name: str, table: Table, rows: pa.Table) -> None:
        if name not in self._writers:
            self._writers[name] = _TableWriter(table, self._path(name), is_repeatable=self._is_repeatable)
        self._writers[name].add(rows)

    def _commit(self, paths: Mapping[str, Path], *, is_replacing: bool = False) -> dict[str, FileDigest]:
        """Close the files and move each to its path, the last of `paths` first; none where no rows were added.

        `is_replacing` allows a file at its path, which only a bucket forbids.

        Returns: the digests of the files by name, in the order of `paths`.
        """
        for writer in self._writers.values():
            writer.close()
        if format_of(self._data) != FORMAT:
            write_format(self._data)
        names = [name for name in paths if name in self._writers]
        digests = {name: digest_of(self._path(name)) for name in names}
        moves = {self._path(name): paths[name] for name in reversed(names)}
        tags = reversed(self._store.commit_files(moves, is_replacing=is_replacing))
        return {name: msgspec.structs.replace(digests[name], tag=tag) for name, tag in zip(names, tags, strict=True)}

    def _delete_staging(self) -> None:
        shutil.rmtree(self.staging)
        sync_folder(self.staging.parent)


class Publication(_StagedFiles):
    """The files of one run, being written: invisible until `commit`."""

    def __init__(self, data: Path, run_id: str, observed_on: dt.date, *, is_replacing: bool = False) -> None:
        """Begin; `is_replacing` allows the files of the same run that are there, such as damaged ones."""
        super().__init__(data, run_id, is_repeatable=True)
        self._run_id = run_id
        self._observed_on = observed_on
        self._is_replacing = is_replacing

    def add(self, table: Table, rows: pa.Table) -> None:
        """Add rows to the file of `table`."""
        self._add(table.name, table, rows)

    def begin_again(self) -> None:
        """Delete every row that was added."""
        for writer in self._writers.values():
            writer.drop()
        self._writers.clear()

    def commit(
        self,
        observations: Sequence[Mapping[str, Any]],
        raw: FileDigest | None,
        *,
        others: Mapping[str, FileDigest] | None = None,
    ) -> None:
        """Commit the run: the commit record last, with the digests of its other files.

        `raw` is its raw file's; None where that is gone, and nothing tells what it held. `others` are the digests of
        tables to which nothing was added, as they were committed before.
        """
        paths = {table.name: table_path(self._data, table, self._run_id, self._observed_on) for table in LAKE_TABLES}
        record = paths.pop(OBSERVATIONS.name)
        digests = self._commit(paths, is_replacing=self._is_replacing)
        committed = encode_digests({**({} if raw is None else {RAW_PAGES.name: raw}), **(others or {}), **digests})
        rows = OBSERVATIONS.to_arrow([{**row, COMMITTED_FILES: committed} for row in observations])
        write_record(self._path(OBSERVATIONS.name), rows, record.name)
        move = self._store.replace_file if self._is_replacing else self._store.commit_file
        move(self._path(OBSERVATIONS.name), record)
        self._delete_staging()


class CompactionCommit(_StagedFiles):
    """The files of one compaction, being written: invisible until `commit`."""

    def __init__(self, data: Path, name: str) -> None:
        self.suffix = store_of(data).unique_suffix()
        """What follows the number in the names of its files."""
        self._stem = f"{name}{self.suffix}"
        super().__init__(data, self._stem, is_repeatable=False)

    def add(self, place: str, rows: pa.Table) -> None:
        """Add rows to the file in one of the folders of compacted files."""
        self._add(place, COMPACTED[place], rows)

    def written(self, *places: str) -> list[Path]:
        """Close the files for these folders. Returns: their paths until `commit`; none where no rows were added."""
        found = [place for place in places if place in self._writers]
        for place in found:
            self._writers[place].close()
        return [self._path(place) for place in found]

    def commit(self, manifest: Manifest) -> None:
        """Commit the compaction: the manifest last, with the digests of its files.

        Raises:
            LakeLocked: another machine has committed a manifest of this number; the files of this one are deleted.
        """
        paths = {place: compacted_path(self._data, place, self._stem) for place in COMPACTED}
        digests = self._commit(paths)
        new = {f"{place}/{self._stem}": digest for place, digest in digests.items()}
        named = {f"{place}/{name}" for place, names in manifest.names.items() for name in names}
        known = {name: digest for name, digest in {**manifest.digests, **new}.items() if name in named}
        staged = self.staging / "manifest.json"
        staged.write_bytes(msgspec.structs.replace(manifest, digests=known).encoded())
        try:
            self._store.commit_file(staged, manifest_path(self._data, manifest.name))
        except LakeLocked:
            with contextlib.suppress(NoAccess):  # they cost space, until somebody may delete them
                for place in digests:
                    delete(paths[place])
            raise
        finally:
            self._delete_staging()


def write_record(path: Path, rows: pa.Table, name: str) -> None:
    """Write a commit record, with its own digest under the name that it will have."""
    writer = OBSERVATIONS.writer(path)
    writer.write_table(rows, row_group_size=ROW_GROUP_ROWS)
    writer.add_key_value_metadata({OWN_DIGEST: UNKNOWN_DIGEST})
    writer.close()
    write_own_digest(path, name)


class _TableWriter:
    """One Parquet file with row groups of a fixed size; repeatable: the same rows give the same bytes."""

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
        """Close the file, unless it is closed."""
        if self._is_open:
            self._write(self._rows)
            self._writer.close()
            self._is_open = False

    def drop(self) -> None:
        """Delete the file, in whatever state it is."""
        with contextlib.suppress(Exception):  # such as a full disk: the footer is not needed
            self._writer.close()
        self._path.unlink(missing_ok=True)
