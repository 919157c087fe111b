"""One writer at a time."""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import fcntl
import os
import re
from typing import TYPE_CHECKING, Final

from pipeline.errors import DiskFull, LakeLocked, NoAccess
from pipeline.lake.layout import LOCK, format_of
from pipeline.lake.orphans import delete_orphans
from pipeline.storage.bucket import is_bucket
from pipeline.storage.local import make_folder, refuse_a_file_above

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def lock(data: Path) -> Iterator[list[Path]]:
    """Hold the lake for writing, and clear away what a killed writer left; what was cleared. A bucket is never held.

    Whatever ends the writer early, what it left goes at once.

    Raises:
        LakeLocked: another process holds it; the message says which, and since when.
        LakeTooNew: a newer version has written there; nothing is changed.
        DiskFull: there was no room.
        NoAccess: a file or folder may not be read or written.
        BadSetting: there can be no such folder.
    """
    if is_bucket(data):  # nobody holds it: what is put is put if absent, and the commit record decides
        format_of(data)
        yield []
        return
    with _explain_os_errors(data):
        for folder in (data, data / "raw", data / "lake"):
            refuse_a_file_above(folder)
            make_folder(folder, 0o700)
        with (data / LOCK).open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                holder = lock.read().strip() or "another process"
                raise LakeLocked(f"the lake in {str(data)!r} is held by {holder}: wait until it is done") from None
            with contextlib.suppress(OSError):  # a full disk: who comes next clears it, and need not know who this was
                lock.truncate(0)
                lock.write(f"process {os.getpid()} since {dt.datetime.now(dt.UTC):%F %T} UTC")
                lock.flush()
            format_of(data)
            cleared = delete_orphans(data)
            try:
                yield cleared
            except BaseException:
                with contextlib.suppress(OSError):
                    delete_orphans(data)
                raise


def lock_holder(data: Path) -> str | None:
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
def _explain_os_errors(data: Path) -> Iterator[None]:
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
