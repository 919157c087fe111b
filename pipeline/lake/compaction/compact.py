"""Compact: daily copies become versions, so that a lake's history grows with change and not with time.

    plan ─→ merge ─→ verify ─→ commit: the files of versions first, the manifest last          one step

A step takes some runs and is a whole compaction; many days are many steps, so
that memory stays bounded and a kill costs one step. The daily files stay: they
are the product for every engine that reads Parquet. What a compaction replaces
are versions and manifests; they are deleted after a grace period.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from pipeline.errors import LakeMissing
from pipeline.lake.commit import CompactionCommit
from pipeline.lake.compaction.manifest import (
    COMPACTED,
    RECORDS,
    REJECTED,
    Ended,
    Manifest,
    Superseded,
    compacted_path,
    manifest_path,
    newest_manifest,
    open_place,
)
from pipeline.lake.compaction.merge import merge, stream
from pipeline.lake.compaction.plan import Plan, accounts_of, make_plan, record_rows
from pipeline.lake.compaction.verify import verify
from pipeline.lake.file_set import FileSet
from pipeline.lake.scan import scan_files, tuples
from pipeline.lake.verification import ALL_BUT_PAGES, Verification
from pipeline.log import logger
from pipeline.resources.control import OBSERVATIONS, REJECTS
from pipeline.resources.tables import LAKE_TABLES, RESOURCES
from pipeline.runtime import system_allocator
from pipeline.storage.partitions import run_of
from pipeline.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import duckdb

    from pipeline.lake.tombstones import Listed

_log = logger(__name__)

GRACE: Final = dt.timedelta(days=7)
"""How long the versions and manifests stay that a compaction has replaced."""
FEW_RUNS: Final = 7
MANY_RUNS: Final = 50
"""A run compacts from 7 uncompacted runs on if they hold as many items as there are open versions, and from 50 on
in any case.

Chosen by reasoning, not by measurement: a compaction writes all open versions again, and each uncompacted day costs
every reader of the versions as much, so a week shares it. Accounts that run by themselves, many a day, would otherwise
have all the others written again with each seventh run.
"""
MEMORY: Final = "250MB"
"""DuckDB's memory limit in a step; what exceeds it is spilled to disk, beside the staged files.

It has one thread: a second one's buffers cost more memory than they save time.
"""


def needs_compaction(data: Path) -> bool:
    """True where a run should compact now."""
    files = FileSet.read(data)
    count = len(files.daily[OBSERVATIONS.name])
    if count < FEW_RUNS:
        return False
    if count >= MANY_RUNS or files.manifest is None:
        return True
    runs = {path.stem for path in files.daily[OBSERVATIONS.name]}
    Verification(files).verify_records()
    with _connect(data) as con:
        records = record_rows(con, files)
    return sum(record.item_count for record in records if record.run_id in runs) >= files.manifest.open_count


def compact(data: Path, *, grace: dt.timedelta = GRACE, now: dt.datetime | None = None) -> list[str]:
    """Compact every run, step by step. The caller holds the lock, and writes the catalog.

    Returns:
        The names of the manifests that were written.

    Raises:
        LakeMissing: there is no lake in `data`.
        LakeDamaged: a file of the lake cannot be read, or would not come back unchanged.
    """
    now = now or dt.datetime.now(dt.UTC).replace(tzinfo=None)
    names: list[str] = []
    while True:
        files = FileSet.read(data.resolve())
        try:
            plan = _plan(files, now)
            if plan.is_empty:
                return names
            _publish(plan, now + grace)
        except Exception:
            if store_of(data).has_lock or not files.is_outdated():
                raise
            _log.info("another machine has compacted, withdrawn or restored: planning again from its state")
        else:
            names.append(plan.name)


def nothing_to_compact(data: Path, now: dt.datetime) -> bool:
    """True where a compaction would change nothing."""
    try:
        return _plan(FileSet.read(data.resolve()), now).is_empty
    except LakeMissing:
        return True


def expired_files(data: Path, now: dt.datetime) -> list[Path]:
    """The versions and manifests that were replaced, their grace period over. A daily file never is.

    A manifest before format 4 lists daily files too: they stay.
    """
    manifest = newest_manifest(data)
    superseded = [one for one in (manifest.superseded if manifest else ()) if one.until_utc <= now]
    paths = [data / "lake" / one.path for one in superseded if not _is_daily(one.path)]
    return [path for path in paths if path.exists()]


def _is_daily(path: str) -> bool:
    return path.partition("/")[0] in {table.name for table in LAKE_TABLES}


def _plan(files: FileSet, now: dt.datetime) -> Plan:
    with _connect(files.data) as con:
        Verification(files).verify_tables(con)
        records = record_rows(con, files)
    return make_plan(files.data, files, records, now)


def _publish(plan: Plan, until: dt.datetime) -> None:
    """Write the files of one step, verify them, and commit; `until` ends the grace period of what they replace."""
    with _connect(plan.data) as con:
        Verification(plan.read_files, anew=ALL_BUT_PAGES).verify_tables(con)
    commit = CompactionCommit(plan.data, plan.name)
    with system_allocator(), _connect(plan.data, commit.staging) as con:
        open_count, ended = 0, dict[str, tuple[str, ...]]()
        for resource in plan.resources:
            count, ended[resource.name] = merge(con, resource, plan, commit)
            verify(con, resource, plan, commit)
            open_count += count
        has_rejects = _write_records(con, plan, commit)
    written = _Written(commit.suffix, ended, open_count, has_rejects=has_rejects)
    commit.commit(_manifest(plan, written, until))
    count = len(plan.taken)
    _log.info("compaction %s: %d observations taken, %d versions still open", plan.name, count, open_count)


@dataclass(frozen=True, slots=True)
class _Written:
    """What a step has written."""

    suffix: str
    ended: dict[str, tuple[str, ...]]
    """For each resource, the accounts of the versions that ended."""
    open_count: int
    has_rejects: bool


@contextlib.contextmanager
def _connect(data: Path, spill_dir: Path | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """Connect to DuckDB; with a folder to spill to, in bounded memory."""
    import duckdb

    with duckdb.connect() as con:
        store_of(data).register_filesystem(con)
        if spill_dir is not None:
            con.execute(f"set threads = 1; set memory_limit = '{MEMORY}'").fetchall()
            # A step may take seconds, and a progress bar would stand in the output of whatever called.
            con.execute("set enable_progress_bar = false; set enable_progress_bar_print = false").fetchall()
            con.execute("set allocator_flush_threshold = '1MB'").fetchall()
            con.execute("set allocator_bulk_deallocation_flush_threshold = '1MB'").fetchall()
            con.execute("set preserve_insertion_order = false; set temp_directory = $1", [str(spill_dir / "spilled")])
        yield con


def _write_records(con: duckdb.DuckDBPyConnection, plan: Plan, commit: CompactionCommit) -> bool:
    """Write the commit records of all compacted runs, and the rejects of those that are new. Returns: any rejects."""
    new = plan.whole_runs.keys() - (plan.before.runs.keys() if plan.before else set())
    parts = [scan_files(OBSERVATIONS, [path for path in plan.files.daily[OBSERVATIONS.name] if path.stem in new])]
    if plan.before is not None:
        parts.append(scan_files(COMPACTED[RECORDS], plan.files.compacted[RECORDS]))
    _write(con, commit, RECORDS, f"{' union all by name '.join(parts)} order by run_id, account, resource")
    paths = [path for path in plan.files.daily[REJECTS.name] if run_of(path) in new]
    if not paths:
        return False
    run_id = "regexp_extract(filename, '([^/]*?)([.][0-9]+)?[.]parquet$', 1) as run_id"
    rows = scan_files(REJECTS, paths, also=run_id)
    kept = f"select * from ({rows}) as row where (run_id, account, resource) not in ({tuples(plan.expired)})"  # noqa: S608
    if not con.execute(f"select exists(from ({kept}))").fetchall()[0][0]:
        return False
    _write(con, commit, REJECTED, f"{kept} order by run_id, account, resource")
    return True


def _write(con: duckdb.DuckDBPyConnection, commit: CompactionCommit, place: str, query: str) -> None:
    """Stream the rows of a query into one of the compaction's files."""
    commit.add(place, COMPACTED[place].arrow().empty_table())
    for rows in stream(con, COMPACTED[place], query):
        commit.add(place, rows)


def _manifest(plan: Plan, written: _Written, until: dt.datetime) -> Manifest:
    before = plan.before
    stem = f"{plan.name}{written.suffix}"
    covered: dict[str, list[Listed]] = {}
    for run_id, *listed in sorted(plan.compacted):
        covered.setdefault(run_id, []).append((listed[0], listed[1]))
    retained, replaced = _ended_before(plan)
    retained += [Ended(stem, accounts, resource=name) for name, accounts in written.ended.items() if accounts]
    if before is not None:
        places = (*(place for place in map(open_place, RESOURCES) if before.names[place]), RECORDS)
        replaced += [compacted_path(plan.data, place, before.stem) for place in places]
        replaced.append(manifest_path(plan.data, before.name))
    return Manifest(
        name=plan.name,
        covered={run_id: tuple(group) for run_id, group in covered.items()},
        runs=dict(sorted(plan.whole_runs.items())),
        ended=tuple(retained),
        rejects=(*(before.rejects if before else ()), *((stem,) if written.has_rejects else ())),
        superseded=_superseded(plan, replaced, until),
        resources=tuple(resource.name for resource in plan.resources),
        open_count=written.open_count,
        suffix=written.suffix,
        digests=before.digests if before else {},
    )


def _ended_before(plan: Plan) -> tuple[list[Ended], list[Path]]:
    """The files of ended versions that stay, without the rows of rebuilt accounts; and those of which none stays."""
    retained, replaced = [], []
    places = {resource.name: resource for resource in RESOURCES}
    for one in plan.before.ended if plan.before else ():
        resource = places[one.resource]
        rebuilt = accounts_of(plan.rebuilt, resource) & set(one.accounts)
        invalidated = tuple(sorted({*one.invalidated, *rebuilt}))
        if set(one.accounts) - set(invalidated):
            retained.append(msgspec.structs.replace(one, invalidated=invalidated))
        else:
            replaced.append(compacted_path(plan.data, resource.versions_name, one.manifest))
    return retained, replaced


def _superseded(plan: Plan, replaced: Iterable[Path], until: dt.datetime) -> tuple[Superseded, ...]:
    """What this step replaces, and what earlier ones did and still lies there."""
    lake = plan.data / "lake"
    older = {one.path: one for one in (plan.before.superseded if plan.before else ()) if not _is_daily(one.path)}
    kept = [one for one in older.values() if (lake / one.path).exists()]
    paths = {str(path.relative_to(lake)) for path in replaced} - older.keys()
    return (*kept, *(Superseded(path, until) for path in sorted(paths)))
