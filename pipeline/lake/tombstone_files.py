"""The files of the tombstones: replaced by the one writer of a folder, numbered where several may write.

    data/raw/_tombstones.json             data/lake/tombstones.json             in a folder
    data/raw/_tombstones/000012.json      data/lake/tombstones/000012.json      in a bucket; the newest counts

They are in `raw`, because a lake is rebuilt from that folder; the name begins with an underscore, so that no engine
reads them as data. They have their own digest. Nothing else in the lake tells what was withdrawn, so there is a copy,
which is read where the file is missing or damaged.

In a folder both are replaced by rename, the copy first: a killed writer leaves it newer than the file, never older, and
the next writer makes both equal. A bucket has no lock: the next number is put only if nobody has, which commits it, and
its copy after it. Of two machines that change the tombstones at once one wins; the other begins again from the state
that it left. A lake that was copied from a bucket into a folder goes on with numbers. Beside them `_tombstones.json`
holds no tombstones, so that a version that knows no numbers ends with an error, and does not show what was withdrawn.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from pipeline.errors import LakeDamaged, NoAccess
from pipeline.lake.tombstones import Tombstones
from pipeline.memory import raise_if_out_of_memory
from pipeline.storage.digest import OWN_DIGEST, UNKNOWN_DIGEST, refuse_changed, with_own_digest
from pipeline.storage.folder import sync_folder
from pipeline.storage.partitions import STAGING
from pipeline.storage.store import read_whole, store_of

if TYPE_CHECKING:
    from pathlib import Path

TOMBSTONES_COPY: Final = "tombstones.json"
_NAME: Final = "tombstones"
"""The name in their own digest: the file and its copy have the same content."""
_NO_TOMBSTONES: Final = b"The tombstones are numbered: see _tombstones/ in raw, tombstones/ in lake.\n"
_NUMBERED: Final = re.compile(r"\d{6,}\.json", re.ASCII)


# ── names ────────────────────────────────────────────────────────────────────


def tombstones_path(data: Path) -> Path:
    """Return the path of the tombstones."""
    return data / "raw" / "_tombstones.json"


def tombstones_copy(data: Path) -> Path:
    """Return the path of the copy."""
    return data / "lake" / TOMBSTONES_COPY


def older_tombstones_path(data: Path) -> Path:
    """Return their path before format 4: read where the present one is absent."""
    return data / "raw" / "_taken_out.json"


def numbered_folders(data: Path) -> tuple[Path, Path]:
    """Return the folders of numbered tombstones, and of their copies."""
    return data / "raw" / "_tombstones", data / "lake" / "tombstones"


def numbered_tombstones(data: Path) -> dict[int, list[Path]]:
    """List the numbered tombstones and their copies, by number: the newest counts.

    Raises:
        NoAccess: a folder cannot be read, and the other one has none.
    """
    found: dict[int, list[Path]] = {}
    denied: PermissionError | None = None
    for folder in numbered_folders(data):
        try:
            for path in sorted(folder.iterdir()):
                if _NUMBERED.fullmatch(path.name):
                    found.setdefault(int(path.stem), []).append(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            denied = error
    if denied is not None and not found:
        raise NoAccess(f"{str(data)!r} may not be read by this user: {denied}") from denied
    return found


def _current_paths(data: Path) -> tuple[Path, Path]:
    """Return the path of the tombstones that count, and of their copy."""
    numbers = numbered_tombstones(data)
    return _paths(data, max(numbers)) if numbers else (tombstones_path(data), tombstones_copy(data))


def _paths(data: Path, number: int) -> tuple[Path, Path]:
    of_pages, of_lake = numbered_folders(data)
    return of_pages / f"{number:06}.json", of_lake / f"{number:06}.json"


# ── reading ──────────────────────────────────────────────────────────────────


def read_tombstones(data: Path) -> Tombstones:
    """Read the tombstones of the lake under `data`; empty where there is no file.

    Raises:
        LakeDamaged: they cannot be read: neither the file nor its copy is intact.
    """
    content = _content(data)
    return Tombstones() if content is None else msgspec.json.decode(content, type=Tombstones)


def tombstones_flaws(data: Path) -> dict[Path, str]:
    """Find what is wrong with the tombstones and their copy, by file; that they differ is no flaw."""
    flaws = {}
    path, copy = _current_paths(data)
    for each in (path, copy):
        try:
            _decode(read_whole(each), each)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            raise_if_out_of_memory(error)
            flaws[each] = f"it cannot be read ({error.strerror if isinstance(error, OSError) else error})"
    if not path.exists() and copy.exists():
        flaws[path] = "it is missing"
    return flaws


def _content(data: Path) -> bytes | None:
    """Read the tombstones, else their copy, else those of an older version; None where there are none."""
    error: tuple[Path, Exception] | None = None
    path, copy = _current_paths(data)
    is_numbered = path != tombstones_path(data)
    # The older ones are deleted once the present ones are there: after them, the present ones are tried again.
    for each in (path, copy) if is_numbered else (path, copy, older_tombstones_path(data), path):
        try:
            content = read_whole(each)
            _decode(content, each)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, msgspec.MsgspecError) as unreadable:
            raise_if_out_of_memory(unreadable)
            error = error or (each, unreadable)
        else:
            return content
    if (error or is_numbered) and _current_paths(data)[0] != path:  # others were written meanwhile
        return _content(data)
    if error is not None:
        each, flaw = error
        raise LakeDamaged(
            f"{str(each)!r} cannot be read ({flaw}), and no copy of it can: it names the withdrawn observations. "
            "Restore it from a backup; or move it away, and withdraw again what was withdrawn"
        ) from flaw
    return None


# ── writing ──────────────────────────────────────────────────────────────────


def settle_tombstones(data: Path) -> None:
    """Make the tombstones and their copy equal, after damage or a killed writer.

    Raises:
        LakeDamaged: neither of them is intact.
    """
    content = _content(data)
    if content is None:
        return
    number = msgspec.json.decode(content, type=Tombstones).number  # another machine may have put the next by now
    paths = _paths(data, number) if number else (tombstones_path(data), tombstones_copy(data))
    if any(not path.is_file() or path.read_bytes() != content for path in paths):
        _put(data, content, paths, is_replacing=True)


def write_tombstones(data: Path, record: Tombstones) -> Tombstones:
    """Write the tombstones that follow `record.number`, and their copy. Returns: them, with their number.

    Raises:
        LakeLocked: another machine has written those of that number.
    """
    if store_of(data).has_lock and not numbered_tombstones(data):
        _put(data, _encoded(record), (tombstones_path(data), tombstones_copy(data)), is_replacing=True)
        older = older_tombstones_path(data)
        if older.exists():
            older.unlink()
            sync_folder(older.parent)
        return record
    record = msgspec.structs.replace(record, number=record.number + 1)
    _put(data, _encoded(record), _paths(data, record.number), is_replacing=False)
    if record.number == 1:
        _put(data, _NO_TOMBSTONES, (tombstones_path(data), tombstones_copy(data)), is_replacing=True)
    return record


def _put(data: Path, content: bytes, paths: tuple[Path, Path], *, is_replacing: bool) -> None:
    """Write the tombstones and their copy; over those that are there, the copy first."""
    store = store_of(data)
    move = store.replace_file if is_replacing else store.commit_file
    for target in reversed(paths) if is_replacing and paths[0].exists() else paths:
        staged = store.staging_dir(data / target.relative_to(data).parts[0] / STAGING) / target.name
        staged.write_bytes(content)
        move(staged, target)


def _encoded(record: Tombstones) -> bytes:
    content = {**msgspec.to_builtins(record), OWN_DIGEST: UNKNOWN_DIGEST}
    return with_own_digest(msgspec.json.format(msgspec.json.encode(content)) + b"\n", _NAME)


def _decode(content: bytes, path: Path) -> Tombstones:
    """Decode tombstones; those of an older version have no digest.

    Raises:
        ValueError, MsgspecError: they are damaged.
    """
    refuse_changed(content, _NAME, is_required=False)
    tombstones = msgspec.json.decode(content, type=Tombstones)
    if tombstones.number != (int(path.stem) if path.stem.isdecimal() else 0):
        raise ValueError(f"it is a copy of number {tombstones.number}")
    return tombstones
