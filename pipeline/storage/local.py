"""Files that are whole or not there, under names that survive a power cut.

    written beside its place ──► synced ──► renamed in ──► its folder synced

What a killed process left beside a file of a user's is cleared away by the next that writes the same file.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import stat
from typing import TYPE_CHECKING

from pipeline.errors import BadSetting
from pipeline.storage.bucket import BucketPath

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def existing(folder: Path) -> Path:
    """The folder, or what is the nearest above it that is there."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())


def refuse_a_file_above(folder: Path) -> None:
    """Refuse a folder that cannot be: it, or one above it, is a file.

    Raises:
        BadSetting: so it is.
    """
    place = existing(folder)
    if not place.is_dir():
        wrong = f"{str(place)!r} cannot be written to: {os.strerror(errno.ENOTDIR)}"
        raise BadSetting(f"{wrong}: name another folder than {str(folder)!r}")


def make_folder(folder: Path, mode: int | None = None) -> None:
    """Make a folder, and those above it that are missing, so that they survive a power cut.

    Without a `mode` it takes after the folder that it lies in: whoever opens `lake` to a group has opened
    the days to come as well.
    """
    if isinstance(folder, BucketPath) or folder.is_dir():  # a bucket has none: names only
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True, mode=stat.S_IMODE(folder.parent.stat().st_mode) & 0o777 if mode is None else mode)
    sync_folder(folder.parent)


def commit_file(aside: Path, path: Path) -> None:
    """Sync a finished file and rename it to where it belongs: there it is whole, or not at all.

    In a bucket it is put, if there is no such object.
    """
    if isinstance(path, BucketPath):
        path.put_new(aside.read_bytes())
        aside.unlink()
        return
    with aside.open("rb") as file:
        os.fsync(file.fileno())
    make_folder(path.parent)
    aside.replace(path)
    sync_folder(path.parent)


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a path to write a file of a user's to: after the block it stands at `path`, and after an error the old one.

    Raises:
        BadSetting: the file cannot be written.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear_leftovers(path)
        yield aside
        commit_file(aside, path)
    except OSError as error:
        raise BadSetting(f"{str(path)!r} cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


def _clear_leftovers(path: Path) -> None:
    """Clear away what was left beside this file by processes that are no more."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        pid = left.name.rpartition(".")[2]
        if pid.isascii() and pid.isdigit() and not _is_alive(int(pid)):
            left.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # sends nothing
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True
