"""One writer at a time."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Final

from pipeline.errors import DiskFailed, DiskFull, EnsImagesError, NoAccess
from pipeline.lake.foreign_files import move_aside, obstacles
from pipeline.lake.format import format_of, mend_format, upgrade
from pipeline.lake.layout import LOCK
from pipeline.lake.orphans import delete_orphans
from pipeline.lake.replacements import follow_tombstones
from pipeline.lake.tombstone_files import settle_tombstones
from pipeline.memory import memory_explained
from pipeline.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def lock(data: Path, *, is_mending: bool = False, is_maintaining: bool = False) -> Iterator[list[Path]]:
    """Lock the lake for writing, and delete what a killed writer left; yields the deleted paths.

    A bucket has no lock: what was left there is looked for by a writer that `is_maintaining` or `is_mending`, alone.
    Where the writer fails, its orphans are deleted at once. `is_mending` moves aside what stands in the place of a file
    or a folder of the lake, and writes a damaged format file again.

    Raises:
        LakeLocked: another process has the lock; the message names it.
        LakeTooNew: a newer version has written there; nothing is changed.
        DiskFull: the disk is full.
        DiskFailed: the disk reported an error.
        NoAccess: this user may not read or write a file or folder.
        BadSetting: the folder cannot be created.
    """
    store = store_of(data)
    with _explain_os_errors(data):
        for folder in (data, data / "raw", data / "lake"):
            store.make_folder(folder, 0o700)
        with store.lock(data / LOCK):
            if is_mending:
                for path in obstacles(data):
                    move_aside(data, path)
                mend_format(data)
            format_of(data)
            cleared = delete_orphans(data) if store.has_lock or is_maintaining else []
            upgrade(data)
            if store.has_lock or is_mending or is_maintaining:
                settle_tombstones(data)
                follow_tombstones(data)
            try:
                yield cleared
            except BaseException:
                if store.has_lock:
                    with contextlib.suppress(OSError):
                        delete_orphans(data)
                raise


def lock_holder(data: Path) -> str | None:
    """Return who has locked the lake for writing, and since when; None: it is not locked."""
    return store_of(data).lock_holder(data / LOCK)


_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_ACCESS: Final = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextlib.contextmanager
def _explain_os_errors(data: Path) -> Iterator[None]:
    """Translate errors of the operating system: DuckDB reports them as text, Python as a number."""
    try:
        with memory_explained():
            yield
    except EnsImagesError:
        raise
    except Exception as error:
        number = getattr(error, "errno", None)
        is_ours = isinstance(error, OSError) or type(error).__module__ == "_duckdb"
        reason = str(error).splitlines()[0] if is_ours and str(error) else ""
        if number in _NO_ROOM or any(os.strerror(code) in reason for code in _NO_ROOM):
            raise DiskFull(
                f"the disk of the lake in {str(data)!r} is full ({reason}): earlier runs are intact; free some space, "
                "then run the same command"
            ) from error
        if number in _NO_ACCESS or any(os.strerror(code) in reason for code in _NO_ACCESS):
            raise NoAccess(f"this user may not use the lake in {str(data)!r}: {reason}") from error
        if number == errno.EIO or (is_ours and os.strerror(errno.EIO) in reason):
            raise DiskFailed(
                f"the disk of the lake in {str(data)!r} failed ({reason}): nothing is published that it did not keep; "
                "check the disk and its log, then run `ens-images check`"
            ) from error
        raise
