"""Paths as a user writes them: in an option, a variable, the settings file, a call."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import BadSetting

if TYPE_CHECKING:
    import os


def user_path(text: str | os.PathLike[str]) -> Path:
    """Return the path that `text` means: `~` is the home of this user, `~name` that of another.

    Raises:
        BadSetting: it is empty, holds a NUL, is not UTF-8, or the home is not known.
    """
    shown = ascii(str(text))
    if not str(text):
        raise BadSetting("a path is empty: name a file or a folder; . is the working folder")
    if "\0" in str(text):
        raise BadSetting(f"{shown} is not a path: it holds a NUL")
    if not is_utf8(str(text)):
        raise BadSetting(f"{shown} is not UTF-8, as names of files are here: rename it, or give another one")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise BadSetting(f"{shown} names a home that is not known here: give the path in full") from error


def is_utf8(text: str) -> bool:
    """Return whether `text` can be encoded: an argument that is not UTF-8 has surrogates in its place."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
