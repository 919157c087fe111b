"""Files of a table, by day."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from pipeline.errors import LakeDamaged, LakeTooNew, NoAccess
from pipeline.resources.schema import FORMAT
from pipeline.storage.bucket import BucketPath

if TYPE_CHECKING:
    from pathlib import Path


def files_by_day(folder: Path) -> list[Path]:
    """The files in the days of a folder, by name, whatever the day; none where there is no such folder.

    Raises:
        NoAccess: a folder may not be read: what is in it must not pass for gone.
    """
    found: list[Path] = []
    if isinstance(folder, BucketPath):  # one listing, not one a day
        objects = [path for path in folder.rglob("*.parquet") if path.parent.name.startswith("observed_on=")]
        return sorted(objects, key=lambda path: path.name)
    for day in _entries(folder):
        if day.name.startswith("observed_on="):
            found += [file for file in _entries(day) if file.suffix == ".parquet" and _may_be_read(file)]
    return sorted(found, key=lambda path: path.name)


def _may_be_read(file: Path) -> bool:
    """No hidden file; none that would make a reader wait for ever, such as a FIFO."""
    if file.name.startswith("."):
        return False
    try:
        kind = file.stat().st_mode  # asked for once: a lake has many files
    except OSError:  # whoever reads it says what is wrong
        return True
    return not (stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind) or stat.S_ISCHR(kind))


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):  # a day goes with its last file
        return []
    except PermissionError as error:
        raise NoAccess(f"{str(folder)!r} may not be read by this user: {error.strerror}") from error


def refuse_newer(said: str, path: Path) -> None:
    """Let a format pass that this version knows: its own, and those before.

    Raises:
        LakeTooNew: it is newer.
        LakeDamaged: it is none.
    """
    if not (said.isascii() and said.isdigit()):
        raise LakeDamaged(f"{str(path)!r} should say the lake's format, such as {FORMAT}, and says {said[:40]!r}")
    if int(said[:9]) > int(FORMAT):
        raise LakeTooNew(
            f"{str(path)!r} is of format {said[:9]}, and this version of ens-images reads {FORMAT} at most: "
            "pip install --upgrade ens-images"
        )
