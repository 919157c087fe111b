"""Files with withdrawn rows: out of the folders of the tables at once, and back on a restore.

    images/observed_on=2026-11-23/<run>.parquet    ──►  .withdrawn/images/observed_on=2026-11-23/<run>.parquet
    images/observed_on=2026-11-23/<run>.1.parquet  ◄──  its rows without the withdrawn ones, if a run has any others
    instances/observed_on=2026-11-23/<run>.parquet      stays, where no instances are withdrawn

    1  the replacements are written and synced in `.withdrawn`
    2  the tombstones name them, with their digests: from here on the observation is withdrawn
    3  the files change places, each by one rename

A reader takes from 2 on any file that holds all rows which are not withdrawn, wherever it lies, and leaves the others
out: killed anywhere, a withdrawal is done or not. What is left of 3 the next writer does. A replacement has a name of
its own, so that a connection of before the withdrawal ends with an error where its file is gone, and never reads fewer
rows from a file of the same name. Commit records stay as they were committed.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import msgspec

from pipeline.errors import LakeDamaged
from pipeline.lake.committed_digests import COMMITTED_FILES, decode_digests
from pipeline.lake.layout import files, shown, table_path, withdrawn_folder
from pipeline.lake.tombstones import Replacement, Tombstones, write_tombstones
from pipeline.lake.verification import MISSING, file_flaw, read_verified, record_flaw
from pipeline.log import logger
from pipeline.resources.columns import RESOURCE
from pipeline.resources.control import OBSERVATIONS
from pipeline.resources.tables import RESOURCES, ROW_TABLES, tables_of
from pipeline.storage.digest import FileDigest, digest_of
from pipeline.storage.folder import commit_file, sync_folder
from pipeline.storage.partitions import STAGING, WITHDRAWN, day_of_run, files_by_day, number_of, run_of
from pipeline.storage.store import store_of

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Collection, Iterable
    from pathlib import Path

    import pyarrow as pa

    from pipeline.lake.tombstones import Listed, Withdrawal
    from pipeline.resources.schema import Table

_log = logger(__name__)


# ── reading ──────────────────────────────────────────────────────────────────


def row_files(
    data: Path, table: Table, tombstones: Tombstones, *, everything: bool = False, listed: Iterable[Path] | None = None
) -> list[Path]:
    """List one file of a table for each run, oldest run first: one that holds every row which is not withdrawn.

    A run of which no file does so is left out. With `everything`, the file with the most rows is taken, withdrawn ones
    too, as long as they are there. `listed` are files of the table that a caller has listed already.
    """
    may_have_any = store_of(data).is_local or tombstones.withdrawn  # in a bucket, a listing is a request
    aside = files_by_day(withdrawn_folder(data, table)) if may_have_any else []
    by_run: dict[str, list[Path]] = {}
    for path in (*(files(data, table) if listed is None else listed), *aside):
        by_run.setdefault(run_of(path), []).append(path)
    found = []
    for run_id, paths in by_run.items():
        if len(paths) == 1 and number_of(paths[0]) == 0:
            found.append(paths[0])
        elif everything:
            found.append(min(paths, key=lambda path: (number_of(path), _is_aside(path))))
        elif usable := _usable(run_id, table, paths, tombstones):
            found.append(usable[0])
    return sorted(found, key=lambda path: path.name) if aside else found


def row_file(data: Path, table: Table, run_id: str, tombstones: Tombstones) -> Path | None:
    """Return the file of a table of one run that `row_files` takes; None: there is none."""
    path = table_path(data, table, run_id, day_of_run(run_id))
    if table is OBSERVATIONS or not tombstones.published_by(run_id):
        return path if path.exists() else None
    return next(iter(_usable(run_id, table, files_of_run(data, table, run_id), tombstones)), None)


def files_of_run(data: Path, table: Table, run_id: str) -> list[Path]:
    """List the files of one table of a run, those in `.withdrawn` last."""
    day = table_path(data, table, run_id, day_of_run(run_id)).parent
    folders = (day, withdrawn_folder(data, table) / day.name)
    return [path for folder in folders for path in sorted(folder.glob("*.parquet")) if run_of(path) == run_id]


def _is_aside(path: Path) -> bool:
    return path.parents[2].name == WITHDRAWN


def _tables(listed: Iterable[Listed]) -> tuple[Table, ...]:
    """The tables that hold rows of these accounts and resources."""
    return tables_of({resource for _, resource in listed})


def _current(run_id: str, table: Table, tombstones: Tombstones) -> int | None:
    """The number of the file of a run that belongs in the folder of a table: 0 where none of its rows is withdrawn."""
    return tombstones.current_number(run_id) if table in _tables(tombstones.hidden_in(run_id)) else 0


def _without(path: Path, replacements: dict[int, Replacement]) -> frozenset[Listed] | None:
    """The accounts and resources of which a file holds no row, though its run published them; None: nothing tells."""
    number = number_of(path)
    if number == 0:
        return frozenset()
    return replacements[number].left_out if number in replacements else None


def _usable(run_id: str, table: Table, paths: Iterable[Path], tombstones: Tombstones) -> list[Path]:
    """Select the files that hold every row which is not withdrawn, the one that belongs in the folder first."""
    hidden, known = tombstones.hidden_in(run_id), tombstones.replacements_of(run_id)
    current = _current(run_id, table, tombstones)
    found = [path for path in paths if (without := _without(path, known)) is not None and without <= hidden]
    return sorted(found, key=lambda path: (number_of(path) != current, _is_aside(path), number_of(path)))


# ── writing ──────────────────────────────────────────────────────────────────


def settle_withdrawals(data: Path, tombstones: Tombstones, before: Tombstones | None = None) -> Tombstones:
    """Write these tombstones where they differ from those `before`, and bring the folders in agreement with them.

    The caller holds the lock. A run of which the files are damaged stays as it is. Returns: the tombstones, with the
    replacements.
    """
    if not store_of(data).is_local:  # nothing is withdrawn there: it came with a copy of a folder
        return tombstones
    runs = sorted(
        {
            one.run_id
            for one in tombstones.withdrawn
            if tombstones.published_by(one.run_id) and day_of_run(one.run_id) not in tombstones.expired_days
        }
    )
    kept = [one for one in tombstones.replacements if one.run_id not in runs]
    for run_id in runs:
        kept += _replacements(data, run_id, tombstones)
    settled = msgspec.structs.replace(tombstones, replacements=tuple(kept)) if runs else tombstones
    if settled != (before or tombstones):
        write_tombstones(data, settled)
    for run_id in runs:
        for table in _tables(settled.published_by(run_id)):
            _settle(data, table, run_id, settled)
    return settled


def _replacements(data: Path, run_id: str, tombstones: Tombstones) -> list[Replacement]:
    """Return the replacements of a run that may be read, a new one among them where its rows need one."""
    hidden = tombstones.hidden_in(run_id)
    there = {
        table.name: {number_of(path) for path in files_of_run(data, table, run_id)}
        for table in _tables(tombstones.published_by(run_id))
    }
    taken = set[int]().union(*there.values())
    known = tombstones.replacements_of(run_id)
    kept = [
        one
        for one in known.values()
        if one.left_out <= hidden and all(one.number in there[name] for name in one.digests)
    ]
    is_partly_withdrawn = bool(hidden) and not tombstones.published_by(run_id) <= hidden
    if is_partly_withdrawn and not any(one.left_out == hidden for one in kept):
        try:
            kept.append(_derive(data, run_id, tombstones, max((*taken, *known), default=0) + 1))
        except LakeDamaged as error:
            _log.warning("the files of run %s stay in the folders, with withdrawn rows: %s", run_id, error)
    return kept


def _derive(data: Path, run_id: str, tombstones: Tombstones, number: int) -> Replacement:
    """Write the files of a run without its withdrawn rows, in `.withdrawn`.

    Raises:
        LakeDamaged: a file of it is not what was committed, or is missing.
    """
    hidden = tombstones.hidden_in(run_id)
    committed = _committed(data, run_id)
    digests = {}
    staging = store_of(data).staging_dir(data / "lake" / STAGING / "withdrawal")
    for table in _tables(hidden):
        usable = _usable(run_id, table, files_of_run(data, table, run_id), tombstones)
        if not usable:
            raise LakeDamaged(f"its file of {table.name} is missing")
        source = usable[0]
        replaced = tombstones.replacements_of(run_id).get(number_of(source))
        digest = committed.get(table.name) if replaced is None else replaced.digests[table.name]
        flaw = None if digest is None else file_flaw(source, digest)
        if flaw is not None:
            raise LakeDamaged(f"{shown(source)!r}: {flaw}")
        staged = staging / f"{table.name}.parquet"
        _write_without(source, staged, table, hidden)
        digests[table.name] = digest_of(staged)
        target = table_path(data, table, run_id, day_of_run(run_id), number)
        commit_file(staged, withdrawn_folder(data, table) / target.parent.name / target.name)
    staging.rmdir()
    return Replacement(run_id, number, tuple(sorted(hidden)), digests)


def _committed(data: Path, run_id: str) -> dict[str, FileDigest]:
    record = table_path(data, OBSERVATIONS, run_id, day_of_run(run_id))
    flaw = record_flaw(record)
    if flaw:
        raise LakeDamaged(f"{shown(record)!r}: {flaw}")
    if flaw == "":  # of an older version: without digests
        return {}
    return decode_digests(read_verified(record).column(COMMITTED_FILES)[0].as_py())


def _write_without(source: Path, target: Path, table: Table, left_out: Collection[Listed]) -> None:
    """Copy a file but for the rows of these accounts and resources, a row group at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with (
            pq.ParquetFile(source, page_checksum_verification=True) as file,
            table.writer(target, file.schema_arrow) as writer,
        ):
            for group in range(file.num_row_groups):
                rows = file.read_row_group(group)
                listed = zip(rows.column("account").to_pylist(), _resources(rows, table), strict=True)
                writer.write_table(rows.filter(pa.array([one not in left_out for one in listed], pa.bool_())))
    except (pa.ArrowException, LookupError, UnicodeDecodeError) as error:
        raise LakeDamaged(f"{shown(source)!r} cannot be read: {error}") from error


def _resources(rows: pa.Table, table: Table) -> Iterable[str]:
    """The resource of each row: that of its table, or its column in a table of several; before format 5 `images`."""
    for resource in RESOURCES:
        if table in resource.tables:
            return itertools.repeat(resource.name, len(rows))
    if RESOURCE.name in rows.column_names:
        names: list[str] = rows.column(RESOURCE.name).to_pylist()
        return names
    return itertools.repeat(RESOURCE.default or "", len(rows))


def _settle(data: Path, table: Table, run_id: str, tombstones: Tombstones) -> None:
    """Move the files of one table of a run to where they belong, and delete those that nothing can need."""
    paths = files_of_run(data, table, run_id)
    known = tombstones.replacements_of(run_id)
    hidden = tombstones.hidden_in(run_id)
    current = _current(run_id, table, tombstones)
    is_whole = bool(hidden) and tombstones.published_by(run_id) <= hidden
    if not is_whole and current not in {number_of(path) for path in paths}:
        return  # it could not be written: what is there stays
    target = None if current is None else table_path(data, table, run_id, day_of_run(run_id), current)
    folders = set()
    for path in paths:
        without = _without(path, known)
        if path == target or (_is_aside(path) and number_of(path) != current and without is not None):
            continue
        folders.add(path.parent)
        aside = withdrawn_folder(data, table) / path.parent.name / path.name
        if without is None or (_is_aside(path) and target is not None and target.exists()):
            store_of(data).delete(path)
        elif not _is_aside(path):
            commit_file(path, aside)
    for path in files_of_run(data, table, run_id):
        if target is not None and _is_aside(path) and number_of(path) == current:
            folders.add(path.parent)
            commit_file(path, target)
    for folder in folders:
        if not any(folder.iterdir()):
            folder.rmdir()
        else:
            sync_folder(folder)


def holds_rows_of(data: Path, tombstones: Tombstones, withdrawal: Withdrawal) -> bool:
    """Whether files of every table are there which hold the rows of a withdrawn observation."""
    known = tombstones.replacements_of(withdrawal.run_id)
    return all(
        any(
            without is not None and withdrawal.listed not in without
            for without in (_without(path, known) for path in files_of_run(data, table, withdrawal.run_id))
        )
        for table in tables_of({withdrawal.resource})
    )


def misplaced_files(data: Path, tombstones: Tombstones) -> list[Path]:
    """List the files in the folders of the tables that a killed withdrawal left there: the next writer moves them."""
    if not store_of(data).is_local:
        return []
    runs = {one.run_id for one in tombstones.withdrawn if tombstones.published_by(one.run_id)}
    return [
        path
        for run_id in sorted(runs)
        for table in ROW_TABLES
        for path in files_of_run(data, table, run_id)
        if not _is_aside(path) and number_of(path) != _current(run_id, table, tombstones)
    ]


def replacement_flaws(data: Path, tombstones: Tombstones) -> dict[Path, str]:
    """Find the replacements in the folders of the tables that are not what the tombstones say, by file."""
    flaws = {}
    for one in tombstones.replacements:
        for table in _tables(one.left_out) if one.number == tombstones.current_number(one.run_id) else ():
            path = table_path(data, table, one.run_id, day_of_run(one.run_id), one.number)
            flaw = file_flaw(path, one.digests[table.name])
            if flaw is not None and (flaw != MISSING or store_of(data).is_local):  # a bucket reads the whole file then
                flaws[path] = flaw
    return flaws


def expired_withdrawn_files(data: Path, tombstones: Tombstones, now: dt.datetime) -> list[Path]:
    """List the files that only observations need which were withdrawn for good."""
    found = []
    for run_id in sorted({one.run_id for one in tombstones.active}):
        known, withdrawn = tombstones.replacements_of(run_id), tombstones.withdrawn_from(run_id)
        hidden = tombstones.hidden_in(run_id)
        if tombstones.current_number(run_id) is None and not tombstones.published_by(run_id) <= hidden:
            continue  # its replacement could not be written
        for table in ROW_TABLES:
            current = _current(run_id, table, tombstones)
            for path in files_of_run(data, table, run_id):
                only_here = hidden - (_without(path, known) or frozenset())
                if number_of(path) != current and all(withdrawn[listed].until_utc <= now for listed in only_here):
                    found.append(path)
    return found
