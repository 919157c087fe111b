"""The format of a lake: the file that states it, and the upgrade of an older lake by its first writer.

    lake/format                               4, and the SHA-256 of that line
    raw/_taken_out.json (before format 4)  →  raw/_tombstones.json

The upgrade writes the format first, then each record under its new name, then
deletes the old one. Readers take the new name, else the old one: so whatever
step a kill prevents, nothing that was withdrawn comes back.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING, Final

from pipeline.errors import LakeDamaged
from pipeline.lake.layout import command, shown
from pipeline.lake.tombstone_files import older_tombstones_path
from pipeline.memory import raise_if_out_of_memory
from pipeline.resources.schema import FORMAT
from pipeline.storage.partitions import STAGING, refuse_newer
from pipeline.storage.store import read_whole, store_of

if TYPE_CHECKING:
    from pathlib import Path

FORMAT_FILE: Final = "format"


def format_of(data: Path) -> str | None:
    """The version of the lake's layout; None where no run was ever published.

    Raises:
        LakeTooNew: it is newer than this code.
        LakeDamaged: the file holds no format.
    """
    path = data / "lake" / FORMAT_FILE
    try:
        content, _, stated = read_whole(path).decode("ascii", "replace").partition("\n")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise_if_out_of_memory(error)
        raise LakeDamaged(
            f"{shown(path)!r} should hold the format of the lake, but cannot be read: {error.strerror or error}"
            + ("" if path.is_file() else f": {command(data, 'rebuild')} writes it again")
        ) from error
    is_changed = bool(stated.strip()) and stated.strip() != _digest(content)  # an older version wrote no digest
    if is_changed or not (content.strip().isascii() and content.strip().isdigit()):
        raise LakeDamaged(
            f"{str(path)!r} should hold the format of the lake, such as {FORMAT}, and its SHA-256, not "
            f"{content[:40]!r}: {command(data, 'rebuild')} writes it again"
        )
    refuse_newer(content.strip(), path)
    return content.strip()


def _digest(line: str) -> str:
    return hashlib.sha256(f"{line}\n".encode()).hexdigest()


def write_format(data: Path) -> None:
    """State the present format, so that no older version takes the lake for its own.

    The workers of a Spark job do so at the same time, each from a file of its own.
    """
    store = store_of(data)
    staged = store.staging_dir(data / "lake" / STAGING) / f"{FORMAT_FILE}.{secrets.token_hex(4)}"
    staged.write_text(f"{FORMAT}\n{_digest(FORMAT)}\n", "ascii")
    store.replace_file(staged, data / "lake" / FORMAT_FILE)


def mend_format(data: Path) -> bool:
    """State the format of a lake whose format file is damaged or missing. Returns: whether that was so.

    Raises:
        LakeTooNew: a newer version has written there.
    """
    try:
        is_right = format_of(data) is not None or not any((data / "lake").glob("*"))
    except LakeDamaged:
        is_right = False
    if not is_right:
        write_format(data)
    return not is_right


def upgrade(data: Path) -> None:
    """Bring a lake of an older format to the present one; the caller holds the lock. A new lake stays as it is."""
    before = format_of(data)
    has_older = store_of(data).is_local and older_tombstones_path(data).exists()
    if has_older or (before is not None and int(before) < int(FORMAT)):
        write_format(data)
