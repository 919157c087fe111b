"""Replacements of files with withdrawn rows: these leave the tables at once, and come back on a restore.

    images/observed_on=2026-11-23/<run>.parquet    ──►  .withdrawn/images/observed_on=2026-11-23/<run>.parquet
    images/observed_on=2026-11-23/<run>.1.parquet  ◄──  its rows without the withdrawn ones, if a run has any others
    instances/observed_on=2026-11-23/<run>.parquet      stays, where no instances are withdrawn

    1  the replacements are written and synced in `.withdrawn`
    2  the tombstones name them, with their digests: from here on the observation is withdrawn
    3  the files change places, each by one rename; in a bucket by a copy, which is deleted where no table needs it

A reader takes from 2 on any file that holds all rows which are not withdrawn, wherever it lies, and leaves the others
out: killed anywhere, a withdrawal is done or not. What is left of 3 the next writer does. A replacement has a name of
its own, so that a connection of before the withdrawal ends with an error where its file is gone, and never reads fewer
rows from a file of the same name. Commit records stay as they were committed.

In a bucket several machines may be at 3 with different tombstones. So nothing is deleted from `.withdrawn` that may be
the only copy, or another machine's of 1; and who is done reads the tombstones again, and follows newer ones.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import msgspec

from pipeline.errors import LakeDamaged, LakeLocked
from pipeline.lake.check.files import with_declared_schema
from pipeline.lake.committed_digests import COMMITTED_FILES, decode_digests
from pipeline.lake.layout import shown, table_path, withdrawn_folder
from pipeline.lake.tombstone_files import read_tombstones, write_tombstones
from pipeline.lake.tombstones import Replacement, Tombstones
from pipeline.lake.verification import file_flaw, read_verified, record_flaw
from pipeline.lake.withdrawn_files import (
    files_of_run,
    is_aside,
    is_deleted_by_age,
    left_out_of,
    number_in_table,
    tables_with,
    usable_files,
)
from pipeline.log import logger
from pipeline.resources.columns import RESOURCE
from pipeline.resources.control import OBSERVATIONS
from pipeline.resources.tables import RESOURCES
from pipeline.storage.digest import FileDigest, digest_of
from pipeline.storage.partitions import STAGING, day_of_run, number_of
from pipeline.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    import pyarrow as pa

    from pipeline.lake.tombstones import Listed
    from pipeline.resources.schema import Table

_log = logger(__name__)


def settle_withdrawals(data: Path, tombstones: Tombstones, before: Tombstones | None = None) -> Tombstones:
    """Write these tombstones where they differ from those `before`, and bring the folders in agreement with them.

    The caller holds the lock, if there is one. A run of which the files are damaged stays as it is. Returns: the
    tombstones, with the replacements; in a bucket perhaps newer ones.

    Raises:
        LakeLocked: another machine has changed the tombstones: `before` is not the newest state.
    """
    settled = with_replacements(data, tombstones)
    if settled != (before or tombstones):
        settled = write_tombstones(data, settled)
    _settle_all(data, settled)
    while not store_of(data).has_lock and (newest := read_tombstones(data)).number > settled.number:
        settled = newest
        _settle_all(data, settled)
    return settled


def follow_tombstones(data: Path) -> None:
    """Bring the folders in agreement with the tombstones, whoever else changes them."""
    while True:
        try:
            settle_withdrawals(data, read_tombstones(data))
        except LakeLocked:
            if store_of(data).has_lock:
                raise
        else:
            return


def _runs_to_settle(data: Path, tombstones: Tombstones) -> list[str]:
    """List the runs of which anything was withdrawn, but for those whose day has left the folders."""
    runs = {one.run_id for one in tombstones.withdrawn if tombstones.published_by(one.run_id)}
    return sorted(run_id for run_id in runs if not is_deleted_by_age(data, run_id, tombstones))


def with_replacements(data: Path, tombstones: Tombstones) -> Tombstones:
    """Return the tombstones with the replacements that the folders need, which are written in `.withdrawn`."""
    runs = _runs_to_settle(data, tombstones)
    kept = [one for one in tombstones.replacements if one.run_id not in runs]
    for run_id in runs:
        kept += _replacements(data, run_id, tombstones)
    numbers = dict(tombstones.last_numbers)
    for one in kept:
        numbers[one.run_id] = max(one.number, numbers.get(one.run_id, 0))
    return msgspec.structs.replace(tombstones, replacements=tuple(kept), last_numbers=numbers) if runs else tombstones


def _settle_all(data: Path, tombstones: Tombstones) -> None:
    for run_id in _runs_to_settle(data, tombstones):
        for table in tables_with(tombstones.published_by(run_id)):
            _settle(data, table, run_id, tombstones)


def _replacements(data: Path, run_id: str, tombstones: Tombstones) -> list[Replacement]:
    """Return the replacements of a run that may be read, a new one among them where its rows need one."""
    hidden = tombstones.hidden_in(run_id)
    there = {
        table.name: {number_of(path) for path in files_of_run(data, table, run_id)}
        for table in tables_with(tombstones.published_by(run_id))
    }
    taken = set[int]().union(*there.values())
    known = tombstones.replacements_of(run_id)
    kept = [
        one
        for one in known.values()
        if one.left_out <= hidden and all(one.number in there[name] for name in one.digests)
    ]
    is_partly_withdrawn = bool(hidden) and not tombstones.published_by(run_id) <= hidden
    fitting = [one for one in kept if one.left_out == hidden]
    if is_partly_withdrawn and not any(_may_come_back(data, one) for one in fitting):
        try:
            last = max((*taken, *known, tombstones.last_numbers.get(run_id, 0)))
            derived = _derive(data, run_id, tombstones, last + 1)
            kept = [*(one for one in kept if one not in fitting), derived]
        except LakeDamaged as error:
            _log.warning("the files of run %s stay as they are: %s", run_id, error)
            left = [one for one in known.values() if one.left_out == hidden and one not in fitting]
            kept += [one for one in left if any(one.number in there[name] for name in one.digests)]
    return kept


def _may_come_back(data: Path, replacement: Replacement) -> bool:
    """Whether each file of a replacement is in its table, or waits in `.withdrawn` as it was written."""
    for table in tables_with(replacement.left_out):
        place = table_path(data, table, replacement.run_id, day_of_run(replacement.run_id), replacement.number)
        aside = withdrawn_folder(data, table) / place.parent.name / place.name
        if not place.exists() and (flaw := file_flaw(aside, replacement.digests[table.name])):
            _log.warning("%r is damaged (%s), and is not brought back", shown(aside), flaw)
            return False
    return True


def _derive(data: Path, run_id: str, tombstones: Tombstones, number: int) -> Replacement:
    """Write the files of a run without its withdrawn rows, in `.withdrawn`.

    Raises:
        LakeDamaged: a file of it is not what was committed, or is missing.
    """
    hidden = tombstones.hidden_in(run_id)
    committed = _committed(data, run_id)
    digests = {}
    staging = store_of(data).staging_dir(data / "lake" / STAGING / "withdrawal")
    for table in tables_with(hidden):
        source = _intact_file(data, table, run_id, tombstones, committed.get(table.name))
        staged = staging / f"{table.name}.parquet"
        _write_without(source, staged, table, hidden)
        written = digest_of(staged)
        name = table_path(data, table, run_id, day_of_run(run_id), number)
        tag = store_of(data).commit_file(staged, withdrawn_folder(data, table) / name.parent.name / name.name)
        digests[table.name] = FileDigest(written.bytes, written.sha256, tag)
    staging.rmdir()
    return Replacement(run_id, number, tuple(sorted(hidden)), digests)


def _intact_file(data: Path, table: Table, run_id: str, tombstones: Tombstones, committed: FileDigest | None) -> Path:
    """Return a file of a run that holds every row which is not withdrawn, and is what was written.

    Raises:
        LakeDamaged: there is none.
    """
    known = tombstones.replacements_of(run_id)
    problem = f"its file of {table.name} is missing"
    for path in usable_files(run_id, table, files_of_run(data, table, run_id), tombstones):
        replaced = known.get(number_of(path))
        digest = committed if replaced is None else replaced.digests[table.name]
        flaw = None if digest is None else file_flaw(path, digest)
        if flaw is None:
            return path
        problem = f"{shown(path)!r}: {flaw}"
    raise LakeDamaged(problem)


def _committed(data: Path, run_id: str) -> dict[str, FileDigest]:
    record = table_path(data, OBSERVATIONS, run_id, day_of_run(run_id))
    flaw = record_flaw(record)
    if flaw:
        raise LakeDamaged(f"{shown(record)!r}: {flaw}")
    if flaw == "":  # of an older version: without digests
        return {}
    return decode_digests(read_verified(record).column(COMMITTED_FILES)[0].as_py())


def _write_without(source: Path, target: Path, table: Table, left_out: Collection[Listed]) -> None:
    """Copy a file without the rows of these accounts and resources, with every declared column; by row groups."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with (
            pq.ParquetFile(store_of(source).open(source), page_checksum_verification=True) as file,
            table.writer(target) as writer,
        ):
            for group in range(file.num_row_groups):
                rows = with_declared_schema(file.read_row_group(group), table)
                listed = zip(rows.column("account").to_pylist(), _resources(rows, table), strict=True)
                writer.write_table(rows.filter(pa.array([one not in left_out for one in listed], pa.bool_())))
    except (pa.ArrowException, LookupError, UnicodeDecodeError) as error:
        raise LakeDamaged(f"{shown(source)!r} cannot be read: {error}") from error


def _resources(rows: pa.Table, table: Table) -> Iterable[str]:
    """The resource of each row: that of its table, or its column in a table of several."""
    for resource in RESOURCES:
        if table in resource.tables:
            return itertools.repeat(resource.name, len(rows))
    names: list[str] = rows.column(RESOURCE.name).to_pylist()
    return names


def _settle(data: Path, table: Table, run_id: str, tombstones: Tombstones) -> None:
    """Move the files of one table of a run to where they belong, and delete those that nothing can need."""
    store = store_of(data)
    paths = files_of_run(data, table, run_id)
    known = tombstones.replacements_of(run_id)
    hidden = tombstones.hidden_in(run_id)
    current = number_in_table(run_id, table, tombstones)
    is_whole = bool(hidden) and tombstones.published_by(run_id) <= hidden
    if not is_whole and current not in {number_of(path) for path in paths}:
        return  # it could not be written: what is there stays
    target = None if current is None else table_path(data, table, run_id, day_of_run(run_id), current)
    for path in paths:
        without = left_out_of(path, known)
        if path == target or (is_aside(path) and number_of(path) != current and without is not None):
            continue
        is_unneeded = without is None or (is_aside(path) and target is not None and target in paths)
        if is_unneeded and (store.has_lock or not is_aside(path)):
            store.delete(path)
        elif not is_aside(path):
            store.move(path, withdrawn_folder(data, table) / path.parent.name / path.name)
    for path in paths:
        if target is not None and target not in paths and is_aside(path) and number_of(path) == current:
            store.bring_back(path, target)
