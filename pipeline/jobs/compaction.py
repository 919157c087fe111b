"""Compact: on demand, and at the end of a run where that is needed."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from pipeline.jobs.maintenance import GRACE, Maintained, maintain
from pipeline.lake.compaction import compact as compaction
from pipeline.lake.orphans import compaction_orphans, delete, delete_orphans
from pipeline.runtime import interruptible
from pipeline.storage.store import store_of
from pipeline.views.database import write_catalog

if TYPE_CHECKING:
    from pathlib import Path


def compact(
    data: str | Path = "data",
    *,
    grace: str | dt.timedelta = GRACE,
    dry_run: bool = False,
    at: dt.datetime | None = None,
) -> Maintained:
    """Compact every run that is not yet, and delete files past their grace period.

    Raises:
        BadSetting: the grace period makes no sense.
        LakeMissing: there is no lake in `data`.
        LakeLocked: another process holds it.
        LakeDamaged: a file cannot be read, or would not come back unchanged.
    """
    return maintain(data, compact=True, grace=grace, dry_run=dry_run, at=at)


def compact_if_needed(data: Path) -> str | None:
    """Compact if needed and delete files past their grace period. Returns: the error message, or None.

    Nothing that was published before depends on it: the next writer tries again.
    """
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    is_needed = False
    try:
        if is_needed := compaction.needs_compaction(data):
            with interruptible():
                compaction.compact(data, now=now)
                write_catalog(data)
    except Exception as error:  # noqa: BLE001  (a compaction that fails costs nothing but space)
        for path in compaction_orphans(data):
            delete(path)
        return f"not compacted: {_first_line(error)}; the next run tries again"
    try:
        for path in compaction.expired_files(data, now):
            delete(path)
        if is_needed and not store_of(data).has_lock:  # under a lock, every writer looks for orphans
            delete_orphans(data)
    except Exception as error:  # noqa: BLE001  (they cost space alone)
        return f"files that nothing needs any more are not deleted: {_first_line(error)}; the next run tries again"
    return None


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
