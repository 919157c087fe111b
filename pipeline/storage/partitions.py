"""Files of a table, by day."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.errors import LakeDamaged, LakeTooNew
from pipeline.resources.schema import FORMAT
from pipeline.storage.store import store_of

if TYPE_CHECKING:
    from pathlib import Path

STAGING: Final = ".staging"
"""The folder, in `raw` and in `lake`, in which a file is written before it is linked into place."""
OLDER_STAGING: Final = ".aside"
"""Its name before format 4: orphans in it are deleted too."""


def files_by_day(folder: Path) -> list[Path]:
    """List the files in the days of a folder, by name, whatever the day; none where there is no such folder.

    Raises:
        NoAccess: a folder cannot be read: its files must not be taken for deleted.
    """
    return store_of(folder).list_partitions(folder)


def refuse_newer(content: str, path: Path) -> None:
    """Refuse a format that this version does not know.

    Raises:
        LakeTooNew: it is newer.
        LakeDamaged: it is no format.
    """
    if not (content.isascii() and content.isdigit()):
        raise LakeDamaged(f"{str(path)!r} should hold the format of the lake, such as {FORMAT}, not {content[:40]!r}")
    if int(content[:9]) > int(FORMAT):
        raise LakeTooNew(
            f"{str(path)!r} has format {content[:9]}, and this version of ens-images reads {FORMAT} at most: "
            "pip install --upgrade ens-images"
        )
