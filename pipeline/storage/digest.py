"""Digests: whether a file is what was committed.

    FileDigest          size and SHA-256 of a file, in what commits it: a commit record, a manifest
    write_own_digest    the SHA-256 of a commit record, in the record itself: it commits itself
    refuse_changed      a content that is not what its own digest says

A file's own digest is computed over its name and its content, with 64 zeros in its own place: under another name, a
copy of it is no record. SHA-256, because every system has it: `sha256sum` verifies a
file without ens-images; and because processors compute it (1.7 GB/s on two cores of a small machine; BLAKE2b 0.7).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec

from pipeline.storage.store import store_of

if TYPE_CHECKING:
    from pathlib import Path

OWN_DIGEST: Final = "ens_images_sha256"
"""The key of a file's own digest: in the header of a Parquet file, and in JSON."""
UNKNOWN_DIGEST: Final = "0" * 64
_MARKERS: Final = (OWN_DIGEST.encode() + b"\x18\x40", f'"{OWN_DIGEST}": "'.encode())
"""What stands before the digest in a Parquet footer (a text of 64 bytes), and in JSON."""


class FileDigest(msgspec.Struct, frozen=True, omit_defaults=True):
    """Size and SHA-256 of a committed file."""

    bytes: int
    sha256: str
    tag: str | None = None
    """The tag that a bucket gave to the object: as long as it has the same, it is the same."""


def digest_of(path: Path) -> FileDigest:
    """Compute the digest of a file.

    Raises:
        OSError: it cannot be read.
    """
    store = store_of(path)
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") if store.is_local else store.open(path) as file:
        while chunk := file.read(1 << 20 if store.is_local else -1):
            digest.update(chunk)
            size += len(chunk)
    return FileDigest(size, digest.hexdigest())


def write_own_digest(path: Path, name: str) -> None:
    """Replace the 64 zeros in a finished file by its own digest; `name` is the one that it will have."""
    path.write_bytes(with_own_digest(path.read_bytes(), name))


def with_own_digest(content: bytes, name: str) -> bytes:
    """Return a content with its own digest in the place of the 64 zeros; `name` is that of its file."""
    place = _place(content)
    if place is None:
        raise AssertionError("there is no place for the digest")
    return content[:place] + _own_digest(content, name) + content[place + 64 :]


def refuse_changed(content: bytes, name: str, *, is_required: bool) -> None:
    """Refuse the content of the file `name` that is not what its own digest says, or under another name.

    `is_required` refuses one without a digest too.

    Raises:
        ValueError: it was changed.
    """
    place = _place(content)
    if place is None:
        if is_required:
            raise ValueError("its own SHA-256 is missing")
        return
    stated = content[place : place + 64]
    computed = _own_digest(content[:place] + UNKNOWN_DIGEST.encode() + content[place + 64 :], name)
    if computed != stated:
        raise ValueError(
            f"its own SHA-256 is {ascii(stated[:8].decode('latin-1'))[1:-1]}…, and its name and content give "
            f"{computed[:8].decode()}…"
        )


def _own_digest(content: bytes, name: str) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + content).hexdigest().encode()


def _place(content: bytes) -> int | None:
    places = [place + len(marker) for marker in _MARKERS if (place := content.rfind(marker)) >= 0]
    return max(places, default=None)
