"""The digests of a run's files, as its commit record has them: one text for all of its rows.

observations.committed_files = {"raw_pages": {"bytes": 8126, "sha256": "…"}, "images": {…}, "image_disks": {…}, …}
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from pipeline.errors import LakeDamaged
from pipeline.extract.raw_pages import RawRun
from pipeline.storage.digest import FileDigest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

COMMITTED_FILES: Final = "committed_files"
"""The column of `observations`."""
_DECODER: Final = msgspec.json.Decoder(dict[str, FileDigest])


def encode_digests(digests: Mapping[str, FileDigest]) -> str:
    """Encode digests, by table, as a commit record has them."""
    return msgspec.json.encode(digests).decode()


def decode_digests(text: str | None) -> dict[str, FileDigest]:
    """Decode them; none where the record has none.

    Raises:
        LakeDamaged: the text is no list of digests.
    """
    try:
        return _DECODER.decode(text) if text else {}
    except msgspec.MsgspecError as error:
        raise LakeDamaged(f"a commit record names its files in a way that cannot be read ({error})") from error


def replaces_pages(raw: Path, sha256: str) -> bool:
    """Whether a raw file is the committed one without its secrets, and intact: its record is about to name it."""
    try:
        run = RawRun(raw)
        return run.replaced_sha256 == sha256 and sum(map(len, run.groups())) >= 0  # reads all, with its checksums
    except LakeDamaged:
        return False
