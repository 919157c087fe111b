"""Compact if needed."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from pipeline.lake.compaction.step import compact, expired_files, needs_compaction
from pipeline.lake.orphans import compaction_orphans, delete
from pipeline.storage.store import store_of
from pipeline.views.database import write_catalog

if TYPE_CHECKING:
    from pathlib import Path


def compact_if_needed(data: Path) -> str | None:
    """Fold if that is due, and unlink what folding left and has had its grace; what went wrong, in words.

    Nothing that was published before depends on it: whatever it is, the next writer tries again.
    """
    if not store_of(data).has_lock:  # a fold replaces files, and two machines would
        return None
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    try:
        if needs_compaction(data):
            compact(data, now=now)
            write_catalog(data)
        for path in expired_files(data, now):
            delete(path)
    except Exception as error:  # noqa: BLE001  (a fold that fails costs nothing but room)
        for path in compaction_orphans(data):
            delete(path)
        return f"not folded: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}; the next run tries again"
    return None
