"""Orphans in a bucket: files that no commit names, so old that no machine is still at work on them.

A bucket has no lock and no mark of a writer. Every object has the time of its put, by the service's clock; an orphan is
old if another object of the lake was put `ORPHAN_AGE` after it. No clock of a machine takes part: one that is ahead
would take a writer's files for old.

    images/…/<run>.parquet            no commit record, though the raw pages are intact: a rebuild publishes the run
    image_versions/<n>-….parquet, …   the files of a compaction that was not committed
    manifests/<n>.json                before the newest one, and not replaced by it: put by a machine that came late
    tombstones/<n>.json               before the newest ones
    .withdrawn/…                      a replacement that the tombstones do not name; the copy of a file that came back
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

from pipeline.errors import LakeDamaged
from pipeline.extract.raw_pages import raw_paths
from pipeline.lake.compaction.manifest import COMPACTED, MANIFESTS, newest_manifest
from pipeline.lake.survey import pages_flaw
from pipeline.lake.tombstone_files import numbered_tombstones, read_tombstones
from pipeline.lake.withdrawn_files import is_unneeded_copy
from pipeline.resources.control import OBSERVATIONS
from pipeline.resources.tables import ROW_TABLES
from pipeline.storage.partitions import WITHDRAWN, is_run_file, run_of
from pipeline.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ORPHAN_AGE: Final = dt.timedelta(days=7)
"""Much longer than a writer takes from its first put to its commit."""


def aged_orphans(data: Path, older_than: dt.timedelta = ORPHAN_AGE) -> list[Path]:
    """List the orphans of a lake without a lock; none where a damaged file does not tell what it names."""
    try:
        return _aged_orphans(data, older_than)
    except LakeDamaged:
        return []


def _aged_orphans(data: Path, older_than: dt.timedelta) -> list[Path]:
    store = store_of(data)
    changed_at = {path: store.identity(path)[1] for path in (data / "lake").rglob("*")}
    if not changed_at:
        return []
    latest = max(changed_at.values()) - older_than.total_seconds()
    old = sorted(path for path, at in changed_at.items() if at <= latest)
    numbers = numbered_tombstones(data)
    superseded = [path for number in sorted(numbers)[:-1] for path in numbers[number]]
    return [
        *_of_runs(data, old, {path.stem for path in changed_at if path.parts[-3] == OBSERVATIONS.name}),
        *_of_compactions(data, old),
        *_of_withdrawals(data, old, set(changed_at)),
        *(path for path in superseded if store.identity(path)[1] <= latest),
    ]


def _of_runs(data: Path, old: list[Path], with_record: set[str]) -> Iterator[Path]:
    tables = {table.name for table in ROW_TABLES}
    in_tables = [path for path in old if path.parts[-3] in tables and path.parents[2] == data / "lake"]
    without_record = [path for path in in_tables if is_run_file(path) and run_of(path) not in with_record]
    if not without_record:
        return
    manifest = newest_manifest(data)
    runs = {run_of(path) for path in without_record} - (manifest.runs.keys() if manifest else set())
    runs -= read_tombstones(data).raw_runs
    # Nothing is deleted but what a rebuild writes again: a commit record may have been lost.
    with_pages = {path.stem for path in raw_paths(data) if path.stem in runs and pages_flaw(path) is None}
    yield from (path for path in without_record if run_of(path) in with_pages)


def _of_compactions(data: Path, old: list[Path]) -> Iterator[Path]:
    manifest = newest_manifest(data)
    if manifest is None:  # perhaps a lost one: then its files may hold the only rows of an expired day
        return
    needed = {path for paths in manifest.files(data).values() for path in paths}
    needed |= {data / "lake" / one.path for one in manifest.superseded}
    for path in old:
        if path.parent.name in COMPACTED and path.parent.parent == data / "lake":
            if path not in needed:
                yield path
        elif path.parent == data / "lake" / MANIFESTS and path.stem < manifest.name and path not in needed:
            yield path


def _of_withdrawals(data: Path, old: list[Path], there: set[Path]) -> Iterator[Path]:
    aside = [path for path in old if path.is_relative_to(data / "lake" / WITHDRAWN) and is_run_file(path)]
    if aside:
        tombstones = read_tombstones(data)
        yield from (path for path in aside if is_unneeded_copy(data, path, tombstones, there))
