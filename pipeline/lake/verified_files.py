"""The cache of verified files: a file is not read again to verify it, as long as nobody writes it.

    data/.verified                          of a lake in a folder
    ~/.cache/ens-images/verified-<hash>     of one in a bucket, by each machine

A file is known by path, size, inode and times of the last write and change. Where the cache cannot be written, files
are verified once a process.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from pathlib import Path
from typing import Final

from pipeline.lake.layout import VERIFIED_FILE
from pipeline.storage.store import read_whole, store_of

_KEY_BYTES: Final = 8
SETTLED_SECONDS: Final = 2
"""A file that changed within this time is not remembered: the clock of a file system may not tell its next change."""


class VerifiedFiles:
    """A key of each verified file, of its path and identity."""

    _in_process: Final[dict[Path, set[bytes]]] = {}
    _met_in_process: Final[dict[Path, set[bytes]]] = {}

    def __init__(self, data: Path) -> None:
        self._data = data
        self._store = store_of(data)
        self._path = data / VERIFIED_FILE if self._store.is_local else _user_cache(data)
        self._known = self._in_process.setdefault(data, set())
        self._met = self._met_in_process.setdefault(data, set())
        self._here = set[bytes]()
        """What was verified for this connection."""
        self._unsettled = set[bytes]()
        self._is_changed = False
        with contextlib.suppress(OSError):
            content = read_whole(self._path)
            self._known |= {content[at : at + _KEY_BYTES] for at in range(0, len(content), _KEY_BYTES)}

    def unknown_key(self, path: Path, *, anew: bool = False, fact: str = "") -> bytes | None:
        """Return the key of a file that is not known as verified; None for all others.

        With `anew`, only what was verified for this connection is known. `fact` is what is known beyond that.
        """
        try:
            identity, changed_at = self._store.identity(path)
        except FileNotFoundError:  # deleted since it was listed, or a link to nothing
            return b""
        name = str(path)[len(str(self._data)) :]
        text = "\0".join((name, identity, *([fact] if fact else ()))).encode("utf-8", "surrogateescape")
        key = hashlib.blake2b(text, digest_size=_KEY_BYTES).digest()
        self._met.add(key)
        if changed_at >= time.time() - SETTLED_SECONDS:
            self._unsettled.add(key)
        return None if key in self._here or (key in self._known and not anew) else key

    def is_known(self, key: bytes) -> bool:
        """Return whether a key of another kind than a file's was added before."""
        self._met.add(key)
        return key in self._known

    def add(self, key: bytes) -> None:
        """Remember a file as verified, by the key that it had before it was read."""
        self._here.add(key)
        if key not in self._unsettled:
            self._known.add(key)
            self._is_changed = True

    def save(self) -> None:
        """Write the cache, without keys of files that are no more; where that fails, it holds in this process."""
        if not self._is_changed:
            return
        self._is_changed = False
        if len(self._known) > 2 * len(self._met) + 1000:
            self._known &= self._met
        staged = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            if not self._store.is_local:
                self._path.parent.mkdir(parents=True, exist_ok=True)
            staged.write_bytes(b"".join(sorted(self._known)))
            staged.replace(self._path)


def cache_folder() -> Path:
    """Return the folder of the user for caches; without a home, none that can be made."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111  (never raises)
    if cache.startswith("~"):
        cache = os.devnull  # not a folder: nothing is read or written there
    return Path(cache, "ens-images")


def _user_cache(bucket: Path) -> Path:
    """Return the file of this machine that lists the verified objects of a lake in a bucket."""
    name = hashlib.blake2b(str(bucket).encode(), digest_size=_KEY_BYTES).hexdigest()
    return cache_folder() / f"verified-{name}"
