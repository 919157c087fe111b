"""One writer at a time."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Final

from pipeline.errors import DiskFull, NoAccess
from pipeline.lake.format import format_of, upgrade
from pipeline.lake.layout import LOCK
from pipeline.lake.orphans import delete_orphans
from pipeline.storage.store import store_of

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
    store = store_of(data)
    with _explain_os_errors(data):
        for folder in (data, data / "raw", data / "lake"):
            store.make_folder(folder, 0o700)
        with store.lock(data / LOCK):
            format_of(data)
            cleared = delete_orphans(data)
            upgrade(data)
            try:
                yield cleared
            except BaseException:
                with contextlib.suppress(OSError):
                    delete_orphans(data)
                raise


def lock_holder(data: Path) -> str | None:
    """Return who has locked the lake for writing, and since when; None: nobody has."""
    return store_of(data).lock_holder(data / LOCK)


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
