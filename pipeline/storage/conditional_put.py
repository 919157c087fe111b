"""Check that a service refuses to overwrite: the promise that a lake in a bucket depends on."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from pipeline.errors import BadSetting, LakeLocked, NoAccess
from pipeline.storage.bucket_path import BucketPath

if TYPE_CHECKING:
    from pathlib import Path


def check_conditional_put(data: Path) -> str:
    """Put an object of our own twice: the service must refuse the second. Returns: a sentence that it does.

    Nothing is left of the object, unless these credentials may not delete.

    Raises:
        BadSetting: the service overwrote it.
        NoAccess, Unreachable: it could not be put.
    """
    path = BucketPath(data / f".tried-{secrets.token_hex(8)}")
    path.store.put_new(path, b"first")
    is_refused, remainder = False, ""
    try:
        path.store.put_new(path, b"second")
    except LakeLocked:
        is_refused = True
    finally:
        try:
            path.store.delete(path)
        except (NoAccess, FileNotFoundError):  # a run needs no right to delete
            remainder = (
                f"; {path.name!r} stays, for these credentials may not delete: `run` needs no more, but `compact`, "
                "`prune`, `withdraw`, `restore` and `rebuild` do"
            )
    if is_refused:
        return f"written, and not overwritten: a conditional put holds{remainder or ', and deleting is permitted'}"
    raise BadSetting(
        f"the service of {str(data)!r} overwrites an object that should be put only if absent: two machines could undo "
        "each other's runs there; take one that supports conditional puts (If-None-Match)"
    )
