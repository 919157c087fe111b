"""A temporary folder of this process, for objects that are written whole before they are put.

The process locks its folder. A folder without a lock belongs to a killed process: the next one deletes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Final

_PREFIX: Final = "ens-images-staging-"
_UNLOCKED_SECONDS: Final = 60
"""A process locks its new folder within this time."""


def staging_folder() -> Path:
    """Return the folder of this process; it is deleted when the process ends."""
    return Path(_temporary_folder().name)


@functools.cache
def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        _delete_if_orphan(path)
    folder = tempfile.TemporaryDirectory(prefix=_PREFIX)
    handle = os.open(folder.name, os.O_RDONLY)
    with contextlib.suppress(OSError):  # a file system without locks: then nobody takes the folder for an orphan
        fcntl.flock(handle, fcntl.LOCK_EX)  # the system releases it, however the process ends
    return folder


def _delete_if_orphan(folder: Path) -> None:
    """Delete a folder of this user that no process has locked."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # it is deleted already, or another user's
        return
    try:
        status = os.fstat(handle)
        if status.st_uid == os.getuid() and status.st_mtime < time.time() - _UNLOCKED_SECONDS:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # its process is alive
        pass
    finally:
        os.close(handle)
