"""Checks of this machine: installed packages, folders, file system, free space, format and lock of the lake."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.errors import BadSetting, DiskFull, LakeLocked, NoAccess
from pipeline.extract.raw_pages import raw_paths
from pipeline.jobs.doctor.findings import NotKnown
from pipeline.lake.format import format_of
from pipeline.lake.lock import lock_holder
from pipeline.requirements import check_extra, check_versions
from pipeline.storage.folder import existing, refuse_a_file_above
from pipeline.text import escape_control

if TYPE_CHECKING:
    from collections.abc import Iterable

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
    """Write, sync and rename a file in the folder, or in the nearest parent that exists; delete it again.

    Raises:
        NoAccess: this user cannot write there.
        BadSetting: a parent is a file.
    """
    refuse_a_file_above(folder)
    parent = existing(folder)
    try:
        _replace_file_in(parent)
    except OSError as error:
        raise NoAccess(
            f"{str(parent)!r} cannot be written to: {error.strerror}: give it to this user, or name another folder"
        ) from error
    return "writable" if parent == folder else f"will be made: {str(parent)!r} is writable"


def _replace_file_in(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".ens-images-doctor.", dir=folder) as temporary:
        old, new = Path(temporary) / "old", Path(temporary) / "new"
        old.write_text("old")
        new.write_text("new")
        with new.open("rb") as file:
            os.fsync(file.fileno())
        new.replace(old)
        if old.read_text() != "new":
            raise OSError(errno.EIO, "a rename did not replace", str(folder))


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


def file_system_of(path: Path, mounts: Iterable[tuple[str, str]]) -> str | None:
    """Return the type of the file system that `path` lies on; `mounts` are mount points and types, in mount order."""
    deepest: tuple[int, str] | None = None
    for mount_point, file_system in mounts:
        depth = len(Path(mount_point).parts)
        if path.is_relative_to(mount_point) and (deepest is None or depth >= deepest[0]):
            deepest = (depth, file_system)
    return deepest[1] if deepest else None


def read_mounts() -> list[tuple[str, str]]:
    """Return mount point and type of each mounted file system, in mount order."""
    mounts = Path("/proc/self/mounts")
    if mounts.exists():
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
        fields = [line.split(" ") for line in lines]
        return [(mount_point.replace("\\040", " "), file_system) for _, mount_point, file_system, *_ in fields]
    output = subprocess.run(["/sbin/mount"], capture_output=True, text=True, check=False).stdout
    return [_parse_mount(line) for line in output.splitlines()]


def _parse_mount(line: str) -> tuple[str, str]:
    """Parse a line of macOS: `/dev/disk3s1 on /System/Volumes/Data (apfs, local, …)`."""
    mount_point, _, attributes = line.partition(" on ")[2].rpartition(" (")
    return mount_point, attributes.rstrip(")").partition(",")[0]


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
    """
    holder = lock_holder(data)
    if holder is not None:
        raise LakeLocked(f"the lake in {str(data)!r} is locked by {escape_control(holder)}: wait until it is done")
    return "free"
