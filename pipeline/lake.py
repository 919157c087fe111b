"""The lake: immutable Parquet files, published together.

    data/lake/format                                              version of the layout, once, before the first run
    data/lake/.aside/<run>/…                                      written and synced here first
    data/lake/images/observed_on=2026-11-23/<run>.parquet         renamed in, one after the other
    data/lake/image_disks/observed_on=2026-11-23/<run>.parquet
    data/lake/rejects/observed_on=2026-11-23/<run>.parquet
    data/lake/observations/observed_on=2026-11-23/<run>.parquet   renamed in last: now the run is there
    data/lake/image_versions/<fold>.parquet, …                    runs folded together: stretches instead of days
    data/lake/folds/<fold>.json                                   renamed in last: now they are folded
    data/lake.duckdb                                              made anew beside the old one, renamed in

The order, and why a kill or a power cut between any two steps is harmless:

1.  `.aside/<run>` is made, and its name synced: as long as it stands, the
    run's files in the tables may be half of a publication.
2.  Every file is written there, whole, and synced: on the same file system, so
    that a rename moves it in one step. A reader never sees a file grow.
3.  Each is renamed in, and the name synced, with the folders made for it. A
    file without its run in `observations` belongs to nothing: no reader takes it.
4.  `observations` goes last. That one rename is the commit: before it a reader
    sees the lake without the run, after it the whole run. Synced names of step 3
    are on the disk before it can be.
5.  `.aside/<run>` goes. The catalogue is made anew and swapped; where a kill
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
import datetime as dt
import errno
import fcntl
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipeline.bucket import aside_for, is_bucket, readable
from pipeline.errors import BadSetting, DiskFull, LakeDamaged, LakeIsHeld, LakeMissing, NoAccess
from pipeline.files import make_folder, put_in_place, refuse_a_file_above, sync_folder
from pipeline.folded import PLACES, Fold, fold_path, fold_records, missing, newest_fold, record_path
from pipeline.landing import files_by_day, landed, refuse_newer
from pipeline.schema import FORMAT, PLAIN_FORMAT
from pipeline.tables import LAKE_TABLES, OBSERVATIONS
from pipeline.taken_out import taken_out

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from pipeline.schema import Table
    from pipeline.taken_out import TakenOut

LOCK: Final = ".lock"
"""The file in the data folder that the one writer holds."""

FORMAT_FILE: Final = "format"
ROW_GROUP_ROWS: Final = 65_536
"""Rows in a row group: fixed, so that the same rows always give the same bytes."""


# ── reading ──────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class CommittedFiles:
    """What a reader may see: the plain files of the runs that are not folded, and the fold."""

    of: dict[str, tuple[Path, ...]]
    """For each table, the files of committed runs that are not folded, oldest run first."""
    fold: Fold | None
    standing: dict[str, tuple[Path, ...]]
    """For each table, the plain files of folded runs that still lie there: the newest of each account do."""


def committed_files(data: Path, without: TakenOut | None = None) -> CommittedFiles:
    """List the files of every committed run under `data`, without what was taken out; no table is opened.

    A run of which every published account was withdrawn keeps its commit record alone. `without` stands for
    the record of what was taken out, for who has read it or is about to write it.

    Raises:
        LakeMissing: no run was ever committed there.
        LakeTooNew: a newer version has written there.
        LakeDamaged: the record of what was taken out cannot be read, or a fold, or a file that a fold stands on.
    """
    format_of(data)
    gone = (taken_out(data) if without is None else without).whole_runs
    # Read against the order of writing: a run that is committed from here on is not among the records, and left out.
    records = _files(data, OBSERVATIONS)
    fold = newest_fold(data)
    if not records and fold is None:
        typed = data.relative_to(Path.cwd()) if data.is_relative_to(Path.cwd()) else data
        makes = "rebuild" if landed(data) else "run"
        raise LakeMissing(f"no lake in {str(typed)!r}: `ens-images {makes} --data {typed}` makes one")
    lost = missing(path for paths in fold.files(data).values() for path in paths) if fold else None
    if lost is not None:
        raise LakeDamaged(
            f"the file {lost.relative_to(data)} of a fold is missing: `ens-images check` lists all that is not whole, "
            "`ens-images rebuild` makes it anew from the raw pages"
        )
    folded = fold.runs if fold else {}
    places = {(path.parent.name, path.name) for path in records if path.stem not in gone and path.stem not in folded}
    found, standing = {}, {}
    for table in LAKE_TABLES:
        paths = tuple(records) if table is OBSERVATIONS else tuple(_files(data, table))
        standing[table.name] = tuple(path for path in paths if path.stem in folded)
        if table is OBSERVATIONS:
            found[table.name] = tuple(path for path in paths if path.stem not in folded)
        else:
            found[table.name] = tuple(path for path in paths if (path.parent.name, path.name) in places)
    return CommittedFiles(found, fold, standing)


def format_of(data: Path) -> str | None:
    """The version of the lake's layout; None where no run was ever published.

    Raises:
        LakeTooNew: it is newer than this code.
        LakeDamaged: the file does not say.
    """
    path = data / "lake" / FORMAT_FILE
    try:
        said = path.read_text("ascii", "replace").strip()
    except FileNotFoundError:
        return None
    except IsADirectoryError as error:
        raise LakeDamaged(f"{str(path)!r} should say the lake's format, and is a folder: move it away") from error
    refuse_newer(said, path)
    return said


def _files(data: Path, table: Table) -> list[Path]:
    return files_by_day(data / "lake" / table.name)


def published_accounts(record: Path) -> set[str]:
    """The accounts of which a commit record says that they were published."""
    import pyarrow.parquet as pq

    rows = pq.read_table(readable(record), columns=["account", "is_published"]).to_pylist()
    return {row["account"] for row in rows if row["is_published"]}


def taken_run_ids(data: Path) -> set[str]:
    """The ids that name files already, landed or published: no other run may be called so."""
    tables = {path.stem for table in LAKE_TABLES for path in _files(data, table)}
    fold = newest_fold(data)
    return tables | {path.stem for path in landed(data)} | set(fold.runs if fold else ())


def table_path(data: Path, table: Table, run_id: str, observed_on: dt.date) -> Path:
    """Where the file of one table of one run lies."""
    return data / "lake" / table.name / f"observed_on={observed_on}" / f"{run_id}.parquet"


# ── writing ──────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def held(data: Path) -> Iterator[list[Path]]:
    """Hold the lake for writing, and clear away what a killed writer left; what was cleared. A bucket is never held.

    Whatever ends the writer early, what it left goes at once.

    Raises:
        LakeIsHeld: another process holds it; the message says which, and since when.
        LakeTooNew: a newer version has written there; nothing is changed.
        DiskFull: there was no room.
        NoAccess: a file or folder may not be read or written.
        BadSetting: there can be no such folder.
    """
    if is_bucket(data):  # nobody holds it: what is put is put if absent, and the commit record decides
        format_of(data)
        yield []
        return
    with _explained(data):
        for folder in (data, data / "raw", data / "lake"):
            refuse_a_file_above(folder)
            make_folder(folder, 0o700)
        with (data / LOCK).open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                holder = lock.read().strip() or "another process"
                raise LakeIsHeld(f"the lake in {str(data)!r} is held by {holder}: wait until it is done") from None
            with contextlib.suppress(OSError):  # a full disk: who comes next clears it, and need not know who this was
                lock.truncate(0)
                lock.write(f"process {os.getpid()} since {dt.datetime.now(dt.UTC):%F %T} UTC")
                lock.flush()
            format_of(data)
            cleared = _clear_leftovers(data)
            try:
                yield cleared
            except BaseException:
                with contextlib.suppress(OSError):
                    _clear_leftovers(data)
                raise


def holder(data: Path) -> str | None:
    """Who holds the lake for writing, in its own words; None where nobody does.

    The lock is only tried for where its last holder is still alive: trying it is holding it, for an instant.
    """
    try:
        with (data / LOCK).open("rb") as lock:
            said = lock.read(200).decode("utf-8", "replace").strip()
            number = re.match(r"process ([0-9]{1,9}) ", said)
            if number and not _is_alive(int(number[1])):
                return None
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return said or "another process"
    except OSError:  # no lock, no holder; one that may not be read is told by whoever looks at the folder
        pass
    return None


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_ACCESS: Final = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextlib.contextmanager
def _explained(data: Path) -> Iterator[None]:
    """Say what the system means: DuckDB tells it in words, the others by number."""
    try:
        yield
    except Exception as error:
        number = getattr(error, "errno", None)
        is_ours = isinstance(error, OSError) or type(error).__module__ == "_duckdb"
        said = str(error).splitlines()[0] if is_ours and str(error) else ""
        if number in _NO_ROOM or any(os.strerror(code) in said for code in _NO_ROOM):
            raise DiskFull(
                f"no room for the lake in {str(data)!r} ({said}): what was published before is whole; make room, "
                "then run the same command"
            ) from error
        if number in _NO_ACCESS or any(os.strerror(code) in said for code in _NO_ACCESS):
            raise NoAccess(f"the lake in {str(data)!r} is not this user's to use: {said}") from error
        raise


def unfinished(data: Path) -> list[Path]:
    """What a fold left that failed: its files, and what marks them."""
    marks = [path for path in (data / "lake" / ".aside").glob("*") if path.name.isdigit()]
    names = [path.name for path in marks if not record_path(data, path.name).exists()]
    return [*(path for name in names for place in PLACES if (path := fold_path(data, place, name)).exists()), *marks]


def leftovers(data: Path) -> list[Path]:
    """What a killed writer left: files of runs without a commit record first, then what marks them."""
    if is_bucket(data):  # what has no record may be another machine's, at work
        return []
    marks = [path for path in (data / "lake" / ".aside").glob("*") if path.is_dir()]
    records = _files(data, OBSERVATIONS)
    begun = {path.name for path in marks} - {path.stem for path in records}
    halves = [path for table in LAKE_TABLES for path in _files(data, table) if path.stem in begun]
    halves += [path for path in unfinished(data) if path not in marks]
    of_nothing = [] if records or fold_records(data) else (data / "lake").glob(FORMAT_FILE)
    aside = [*(data / "raw" / ".aside").glob("*"), *data.glob(".lake.duckdb.*"), *data.glob(".new")]
    return [*halves, *marks, *of_nothing, *aside]


def _clear_leftovers(data: Path) -> list[Path]:
    found = leftovers(data)
    for path in found:
        remove(path)
    return found


def remove(path: Path) -> None:
    """Unlink a file, or a folder with all that is in it; a day's folder goes with its last file."""
    if path.is_dir():
        shutil.rmtree(path)
        return
    path.unlink(missing_ok=True)
    if path.parent.name.startswith("observed_on="):
        with contextlib.suppress(OSError):  # there are others
            path.parent.rmdir()


@contextlib.contextmanager
def new_lake(data: Path) -> Iterator[Path]:
    """A folder to build a whole lake in, aside in `data`, which has none: in the end it is renamed in, all at once.

    Raises:
        BadSetting: there is something in the way.
    """
    aside = data / ".new"
    make_folder(aside, 0o700)
    yield aside
    shutil.rmtree(data / "lake" / ".aside", ignore_errors=True)
    try:
        (aside / "lake").rename(data / "lake")
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise
        raise BadSetting(f"{str(data / 'lake')!r} is not empty, and is no lake: give an empty folder") from error
    sync_folder(data)
    remove(aside)


class Publication:
    """The files of one run, being written: invisible until `commit`."""

    def __init__(self, data: Path, run_id: str, observed_on: dt.date) -> None:
        self._data = data
        self._run_id = run_id
        self._observed_on = observed_on
        self._aside = aside_for(data / "lake" / ".aside" / run_id)
        make_folder(data / "lake", 0o700)
        make_folder(self._aside)
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
            _say_format(self._data, PLAIN_FORMAT, self._aside)
        for table in LAKE_TABLES:
            if table.name in self._writers:
                path = table_path(self._data, table, self._run_id, self._observed_on)
                put_in_place(self._aside / f"{table.name}.parquet", path)
        self._aside.rmdir()
        sync_folder(self._aside.parent)


def _say_format(data: Path, said: str, aside: Path) -> None:
    """Say what comes next, so that no older version takes it for its own."""
    (aside / FORMAT_FILE).write_text(f"{said}\n", "ascii")
    put_in_place(aside / FORMAT_FILE, data / "lake" / FORMAT_FILE)


class FoldPublication:
    """The files of one fold, being written: invisible until `commit`."""

    def __init__(self, data: Path, name: str) -> None:
        self._data = data
        self._name = name
        self.aside = data / "lake" / ".aside" / name
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

    def commit(self, record: Fold) -> None:
        """Put the files in their places, the record last."""
        for place in self._writers:
            self.written(place)
            put_in_place(self.aside / f"{place}.parquet", fold_path(self._data, place, self._name))
        if format_of(self._data) != FORMAT:
            _say_format(self._data, FORMAT, self.aside)
        aside = self.aside / "record.json"
        aside.write_bytes(record.encoded())
        put_in_place(aside, record_path(self._data, self._name))
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
