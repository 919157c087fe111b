"""Checks of this machine: installed packages, folders, file system, free space, format and lock of the lake."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from typing import TYPE_CHECKING, Final

from pipeline.errors import BadSetting, DiskFull, LakeLocked, NoAccess
from pipeline.extract.raw_pages import raw_paths
from pipeline.jobs.doctor.findings import NotKnown
from pipeline.lake.format import format_of
from pipeline.lake.lock import lock_holder
from pipeline.requirements import check_extra, check_versions
from pipeline.storage.file_lock import check_locks, lock_folder
from pipeline.storage.folder import existing, refuse_a_file_above
from pipeline.storage.mounts import file_system_of
from pipeline.text import escape_control

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_MIN_FREE_BYTES: Final = 64 << 20
_FREE_RUNS: Final = 10
"""There should be space for so many runs of the size of the last."""
_NETWORK_FILE_SYSTEMS: Final = frozenset(
    {"9p", "afpfs", "afs", "cifs", "davfs", "ncpfs", "nfs", "nfs4", "smb", "smb2", "smb3", "smbfs", "webdav"}
    | {f"fuse.{name}" for name in ("davfs2", "gcsfuse", "goofys", "ossfs", "rclone", "s3fs", "sshfs")}
)
"""File systems on which rename and lock do not promise what they promise on a local disk."""


def check_extra_for(extra: str, key: str) -> str:
    """Return the versions that an extra brings; `key` is the setting that needs it.

    Raises:
        BadSetting: a package of it is missing or too old.
    """
    try:
        return f"{check_extra(extra)}, for {key}"
    except BadSetting as error:
        raise BadSetting(f"{key}: {error}") from error


def check_writable(folder: Path) -> str:
    """Write and sync a file without a name in the folder, or in the nearest parent that exists.

    Raises:
        NoAccess: this user cannot write there.
        BadSetting: a parent is a file.
    """
    refuse_a_file_above(folder)
    parent = existing(folder)
    try:
        _write_unnamed_file(parent)
    except OSError as error:
        raise NoAccess(
            f"{str(parent)!r} cannot be written to: {error.strerror}: give it to this user, or name another folder"
        ) from error
    return "writable" if parent == folder.absolute() else f"will be made: {str(parent)!r} is writable"


def _write_unnamed_file(folder: Path) -> None:
    """Write and sync a file without a name in `folder`: that changes nothing, not even the time of the folder."""
    before = folder.stat()
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"a file of `doctor`")
        file.flush()
        os.fsync(file.fileno())
    if folder.stat().st_mtime_ns != before.st_mtime_ns:  # a file system where a file needs a name, for an instant
        with contextlib.suppress(OSError):  # another user's folder
            os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))


def check_file_system(data: Path, mounts: Iterable[tuple[str, str]]) -> str:
    """Return the type of the file system that the lake lies on.

    Raises:
        BadSetting: it is a network file system.
    """
    folder = existing(data).resolve()
    file_system = file_system_of(folder, mounts)
    if file_system is None:
        raise NotKnown("this system does not report it")
    if file_system in _NETWORK_FILE_SYSTEMS:
        raise BadSetting(
            f"{str(folder)!r} is on {file_system}, a network file system, where a rename may be seen half done and "
            "two processes may get one lock: keep the lake on a local disk, and export from there"
        )
    return f"{file_system}: a rename is atomic"


def check_free_space(data: Path) -> str:
    """Compare the free space with the size of the last run.

    Raises:
        DiskFull: it is less than ten such runs, or less than 64 MiB.
    """
    free = shutil.disk_usage(existing(data)).free
    raw_files = raw_paths(data)
    last = raw_files[-1].stat().st_size if raw_files else 0
    needed = max(_MIN_FREE_BYTES, _FREE_RUNS * last)
    if free < needed:
        raise DiskFull(
            f"{free >> 20:,} MiB are free, and {needed >> 20:,} MiB should be: free some space, or prune old raw pages"
        )
    return f"{free / (1 << 30):,.1f} GiB free" + (f"; the last run landed {last / (1 << 20):,.2f} MiB" if last else "")


def check_installed(data: Path) -> str:
    """Return the versions of the core dependencies, which can read this lake.

    Raises:
        LakeTooNew: the lake is of a newer format.
        BadSetting: a package is missing or too old.
    """
    format_of(data)
    return check_versions()


def check_lock(data: Path) -> str:
    """Check that no process has locked the lake.

    Raises:
        LakeLocked: a process has.
        NoLocks: the file system has no locks.
    """
    check_locks(existing(lock_folder(data)))
    holder = lock_holder(data)
    if holder is not None:
        raise LakeLocked(f"the lake in {str(data)!r} is locked by {escape_control(holder)}: wait until it is done")
    return "free"
