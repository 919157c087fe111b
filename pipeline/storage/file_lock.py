"""One writer at a time: `flock` on a file in the data folder, or in a folder that `--lock-dir` names.

`data/.lock`: the system releases the lock when the process ends.
`LOCK_DIR/ens-images-<digest>.lock`: for a data folder whose file system has no locks. The lock of the data folder is
taken too, where that is possible.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import fcntl
import hashlib
import os
import re
import stat
from typing import TYPE_CHECKING, Final

from pipeline.errors import BadSetting, LakeLocked, NoLocks
from pipeline.storage.mounts import file_system_of, read_mounts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_UNKNOWN_HOLDER: Final = "another process"
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL})
"""What `flock` answers on NFS without locks, and on some SMB and FUSE."""


class _LockFolder:
    """The folder that `--lock-dir` names, in this process."""

    path: Path | None = None


def use_lock_folder(folder: Path | None) -> None:
    """Keep the locks of lakes in `folder` from now on; None: in each lake."""
    _LockFolder.path = folder


@contextlib.contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Lock the file `path`, and write into it who has it.

    Raises:
        LakeLocked: another process has it; the message says which one, and since when.
        NoLocks: the file system has no locks, and there is no `--lock-dir`.
        BadSetting: it is a link: what it points at would be overwritten.
    """
    with contextlib.ExitStack() as stack:
        if (elsewhere := _elsewhere(path)) is not None:
            elsewhere.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_locked(elsewhere, path.parent))
        try:
            stack.enter_context(_locked(path, path.parent))
        except NoLocks:
            if elsewhere is None:
                raise
        yield


def lock_holder(path: Path) -> str | None:
    """Return who has locked the file `path`, as written in it; None: nobody."""
    paths = (_elsewhere(path), path)
    return next((holder for one in paths if one is not None and (holder := _holder(one)) is not None), None)


def check_locks(folder: Path) -> None:
    """Lock an existing folder for an instant, which changes nothing.

    Raises:
        NoLocks: its file system has no locks.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise _no_locks(folder, error) from error
    finally:
        os.close(handle)


def lock_folder(data: Path) -> Path:
    """Return the folder that holds the lock of a lake."""
    return data if _LockFolder.path is None else _LockFolder.path


def _elsewhere(path: Path) -> Path | None:
    if _LockFolder.path is None:
        return None
    digest = hashlib.sha256(os.fsencode(path.parent.resolve())).hexdigest()
    return _LockFolder.path / f"ens-images-{digest[:16]}.lock"


@contextlib.contextmanager
def _locked(path: Path, lake: Path) -> Iterator[None]:
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise BadSetting(f"{str(path)!r} is a link, and a lock is a file: delete the link") from error
        if error.errno == errno.EISDIR:
            raise BadSetting(f"{str(path)!r} is a folder, and a lock is a file: move the folder away") from error
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise BadSetting(f"{str(path)!r} is not a file, as a lock is: delete it")
    with os.fdopen(handle, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or _UNKNOWN_HOLDER
            raise LakeLocked(f"the lake in {str(lake)!r} is locked by {holder}: wait until it is done") from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            raise _no_locks(path.parent, error) from error
        with contextlib.suppress(OSError):  # a full disk: the lock holds without a name
            file.truncate(0)
            file.seek(0)
            file.write(f"process {os.getpid()} since {dt.datetime.now(dt.UTC):%F %T} UTC")
            file.flush()
        yield


def _no_locks(folder: Path, error: OSError) -> NoLocks:
    kind = file_system_of(folder.resolve(), read_mounts()) or "a file system"
    return NoLocks(
        f"{str(folder)!r} is on {kind}, which has no locks ({error.strerror}): keep the lake on a local disk; or let "
        "one machine write there, and give every command that writes the same --lock-dir, a folder on its local disk"
    )


def _holder(path: Path) -> str | None:
    """Return who has locked a file.

    Whether it is locked is tried only if the process named in it is alive: to try it is to lock it for an instant.
    """
    try:
        with path.open("rb") as file:
            holder = file.read(200).decode("utf-8", "replace").strip()
            pid = re.match(r"process ([0-9]{1,9}) ", holder)
            if pid and not is_alive(int(pid[1])):
                return None
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return holder or _UNKNOWN_HOLDER
    except OSError:  # there is no lock, or this user may not read it: whoever reads the folder learns that
        pass
    return None


def is_alive(pid: int) -> bool:
    """Return whether a process is alive."""
    try:
        os.kill(pid, 0)  # sends nothing
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True
