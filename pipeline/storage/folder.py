"""Files in a local folder: whole or absent, under names that survive a power cut.

    written beside its place ──► synced ──► renamed into place ──► its folder synced

One process at a time locks the folder for writing; the system releases the lock when that process ends.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pipeline.errors import BadSetting, NoAccess
from pipeline.storage.file_lock import is_alive, lock_file, lock_holder
from pipeline.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    import duckdb


# ── folders ──────────────────────────────────────────────────────────────────


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:  # some network file systems sync no folder
            raise
    finally:
        os.close(handle)


def existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def refuse_a_file_above(folder: Path) -> None:
    """Refuse a folder that cannot be made.

    Raises:
        BadSetting: it, or one above it, is a file.
    """
    nearest = existing(folder)
    if not nearest.is_dir():
        wrong = f"{str(nearest)!r} cannot be written to: {os.strerror(errno.ENOTDIR)}"
        raise BadSetting(f"{wrong}: name another folder than {str(folder)!r}")


def make_folder(folder: Path, mode: int | None = None) -> None:
    """Make a folder, and those above it that are missing, so that they survive a power cut.

    Without `mode` it gets the mode of the folder above it: a `lake` that is open to a group stays open to it in the
    days to come.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True, mode=stat.S_IMODE(folder.parent.stat().st_mode) & 0o777 if mode is None else mode)
    sync_folder(folder.parent)


# ── files ────────────────────────────────────────────────────────────────────


def commit_file(staged: Path, path: Path) -> None:
    """Sync a finished file and rename it to `path`, over an older one: readers see one of the two, whole."""
    commit_files({staged: path})


def commit_files(moves: Mapping[Path, Path]) -> None:
    """Sync finished files and rename each to its path, in this order: nothing is written between two renames."""
    for staged, path in moves.items():
        with staged.open("rb") as file:
            os.fsync(file.fileno())
        make_folder(path.parent)
        if path.is_dir():
            raise BadSetting(f"{str(path)!r} cannot be written, because it is a folder: move it away")
    for staged, path in moves.items():
        staged.replace(path)
    for folder in dict.fromkeys(path.parent for path in moves.values()):
        sync_folder(folder)


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a path to write a user's file to; after the block it is at `path`, after an error the old one still is.

    What killed processes left beside `path` is deleted.

    Raises:
        BadSetting: the file cannot be written.
    """
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _delete_orphans_of(path)
        yield staged
        commit_file(staged, path)
    except OSError as error:
        raise BadSetting(f"{str(path)!r} cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            staged.unlink(missing_ok=True)
            for log in staged.parent.glob(f"{glob.escape(staged.name)}.*"):  # DuckDB's, of a database
                log.unlink(missing_ok=True)


def _delete_orphans_of(path: Path) -> None:
    prefix = f".{path.name}."
    for orphan in path.parent.glob(f"{glob.escape(prefix)}*"):
        pid = orphan.name.removeprefix(prefix).partition(".")[0]
        if pid.isascii() and pid.isdigit() and not is_alive(int(pid)):
            orphan.unlink(missing_ok=True)


# ── store ────────────────────────────────────────────────────────────────────


class FolderStore(Store):
    """The folders of this machine."""

    is_local: ClassVar = True
    has_lock: ClassVar = True

    def list_partitions(
        self, folder: Path, *, days: Collection[str] | None = None, without: Collection[str] = ()
    ) -> list[Path]:
        """List the Parquet files in the `observed_on=…` folders of `folder`, by name."""
        paths: list[Path] = []
        for day in self.days(folder) if days is None else [folder / day for day in days]:
            names = [name for name in self.names(day) if name[:-8] not in without and name.endswith(".parquet")]
            paths += [path for path in map(Path(day).joinpath, names) if _is_readable(path)] if names else []
        return sorted(paths, key=lambda path: path.name)

    @staticmethod
    def days(folder: Path) -> list[os.DirEntry[str]]:
        """List the folders of the days; none where there is no such folder.

        Raises:
            NoAccess: it cannot be read.
        """
        try:
            with os.scandir(folder) as entries:
                return [entry for entry in entries if entry.name.startswith("observed_on=")]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except PermissionError as error:
            raise NoAccess(f"{str(folder)!r} may not be read by this user: {error.strerror}") from error

    @staticmethod
    def names(day: os.DirEntry[str] | Path) -> list[str]:
        """List the names in the folder of a day; none where it was deleted.

        Raises:
            NoAccess: it cannot be read.
        """
        try:
            return os.listdir(day)  # noqa: PTH208  (a lake has many: the names are enough)
        except (FileNotFoundError, NotADirectoryError):  # the folder of a day is deleted with its last file
            return []
        except PermissionError as error:
            raise NoAccess(f"{os.fspath(day)!r} may not be read by this user: {error.strerror}") from error

    def open(self, path: Path) -> Any:
        """Return the path: Arrow opens files itself."""
        return path

    def size(self, path: Path) -> int:
        """Return the size of a file in bytes."""
        return path.stat().st_size

    def content(self, path: Path) -> bytes:
        """Read a file."""
        return path.read_bytes()

    def identity(self, path: Path) -> tuple[str, float]:
        """Return size, inode and the times of its last write and change: the latter no program sets."""
        stat = path.stat()
        return f"{stat.st_size} {stat.st_ino} {stat.st_mtime_ns} {stat.st_ctime_ns}", stat.st_ctime

    def tag(self, path: Path) -> None:  # noqa: ARG002
        """Return None: a folder has no tags."""
        return

    def prefetch_footers(self, paths: Sequence[Path]) -> None:
        """Do nothing: a local file is at hand."""

    def register_filesystem(self, con: duckdb.DuckDBPyConnection) -> None:
        """Do nothing: DuckDB reads local files."""

    def make_folder(self, folder: Path, mode: int | None = None) -> None:
        """Make a folder: see the function of this name.

        Raises:
            BadSetting: it, or one above it, is a file.
        """
        refuse_a_file_above(folder)
        make_folder(folder, mode)

    def staging_dir(self, folder: Path) -> Path:
        """Make and return `folder`: beside the lake, so that a rename commits a file."""
        make_folder(folder)
        return folder

    def commit_file(self, staged: Path, path: Path) -> None:
        """Sync a finished file and rename it to `path`: see the function of this name."""
        commit_file(staged, path)

    replace_file = commit_file

    def commit_files(self, moves: Mapping[Path, Path], *, is_replacing: bool = False) -> list[str | None]:  # noqa: ARG002
        """Sync finished files and rename each to its path: see the function of this name."""
        commit_files(moves)
        return [None] * len(moves)

    def move(self, path: Path, target: Path) -> None:
        """Rename a file to `target`; an empty folder of a day is deleted with its last file."""
        commit_file(path, target)
        _delete_empty_day(path.parent)
        if path.parent.is_dir():
            sync_folder(path.parent)

    bring_back = move

    def delete(self, path: Path) -> None:
        """Delete a file, or a folder with its content; an empty folder of a day is deleted with its last file."""
        if path.is_dir():
            shutil.rmtree(path)
            return
        path.unlink(missing_ok=True)
        _delete_empty_day(path.parent)

    def delete_folders(self, folders: Mapping[Path, Sequence[Path]], staging: Path) -> None:
        """Rename the folders into `staging`, and delete them there."""
        make_folder(staging)
        targets = [staging / f"expired-{folder.parent.name}-{folder.name}" for folder in folders]
        for folder, target in zip(folders, targets, strict=True):
            folder.rename(target)
        for parent in {folder.parent for folder in folders}:
            sync_folder(parent)
        for target in targets:
            shutil.rmtree(target)

    def unique_suffix(self) -> str:
        """Return nothing: the one writer knows which names are free."""
        return ""

    def lock(self, path: Path) -> contextlib.AbstractContextManager[None]:
        """Lock the file `path`: see `file_lock`."""
        return lock_file(path)

    def lock_holder(self, path: Path) -> str | None:
        """Return who has locked the file `path`: see `file_lock`."""
        return lock_holder(path)


FOLDER: Final = FolderStore()


def _delete_empty_day(folder: Path) -> None:
    if folder.name.startswith("observed_on="):
        with contextlib.suppress(OSError):  # it is not empty
            folder.rmdir()


def _is_readable(file: Path) -> bool:
    """Return False for hidden files, for folders, and for what a reader would wait at for ever, such as a FIFO."""
    if file.name.startswith("."):
        return False
    try:
        mode = file.stat().st_mode  # once: a lake has many files
    except OSError:  # whoever reads it reports what is wrong
        return True
    return stat.S_ISREG(mode)
