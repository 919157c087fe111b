"""Files with withdrawn rows, and those that took their place: where they are, and which of them a reader takes.

    images/observed_on=2026-11-23/<run>.1.parquet              without withdrawn rows, named by the tombstones
    .withdrawn/images/observed_on=2026-11-23/<run>.parquet     all rows of the run, for their grace period

A reader takes any file that holds all rows which are not withdrawn, wherever it lies. `replacements` writes these files
and lets them change places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.lake.layout import files, shown, table_path, withdrawn_folder
from pipeline.lake.verification import file_flaw
from pipeline.log import logger
from pipeline.resources.control import OBSERVATIONS
from pipeline.resources.tables import ROW_TABLES, tables_of
from pipeline.storage.partitions import WITHDRAWN, day_of_run, files_by_day, number_of, run_of
from pipeline.storage.store import store_of

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from pipeline.lake.tombstones import Listed, Replacement, Tombstones, Withdrawal
    from pipeline.resources.schema import Table

_log = logger(__name__)


def row_files(
    data: Path, table: Table, tombstones: Tombstones, *, everything: bool = False, listed: Iterable[Path] | None = None
) -> list[Path]:
    """List one file of a table for each run, oldest run first: one that holds every row which is not withdrawn.

    A run of which no file does so is left out. With `everything`, the file with the most rows is taken, withdrawn ones
    too, as long as they are there. `listed` are files of the table that a caller has listed already.
    """
    is_free = store_of(data).is_local  # in a bucket, a listing is a request
    has_any = is_free or tombstones.number or tombstones.withdrawn
    aside = files_by_day(withdrawn_folder(data, table)) if has_any else []
    by_run: dict[str, list[Path]] = {}
    for path in (*(files(data, table) if listed is None else listed), *aside):
        by_run.setdefault(run_of(path), []).append(path)
    found = []
    for run_id, paths in by_run.items():
        if len(paths) == 1 and number_of(paths[0]) == 0:
            found.append(paths[0])
        elif everything:
            found.append(min(paths, key=lambda path: (number_of(path), is_aside(path))))
        elif usable := usable_files(run_id, table, paths, tombstones):
            found.append(usable[0])
    return sorted(found, key=lambda path: path.name) if aside else found


def row_file(data: Path, table: Table, run_id: str, tombstones: Tombstones) -> Path | None:
    """Return the file of a table of one run that `row_files` takes; None: there is none."""
    path = table_path(data, table, run_id, day_of_run(run_id))
    if table is OBSERVATIONS or not tombstones.published_by(run_id):
        return path if path.exists() else None
    return next(iter(usable_files(run_id, table, files_of_run(data, table, run_id), tombstones)), None)


def files_of_run(data: Path, table: Table, run_id: str) -> list[Path]:
    """List the files of one table of a run, those in `.withdrawn` last."""
    day = table_path(data, table, run_id, day_of_run(run_id)).parent
    folders = (day, withdrawn_folder(data, table) / day.name)
    return [path for folder in folders for path in sorted(folder.glob("*.parquet")) if run_of(path) == run_id]


def is_aside(path: Path) -> bool:
    """Whether a file lies in `.withdrawn`."""
    return path.parents[2].name == WITHDRAWN


def is_deleted_by_age(data: Path, run_id: str, tombstones: Tombstones) -> bool:
    """Whether the day of a run has left the folders, of which the commit record is the last file."""
    day = day_of_run(run_id)
    return day in tombstones.expired_days and not table_path(data, OBSERVATIONS, run_id, day).exists()


def tables_with(listed: Iterable[Listed]) -> tuple[Table, ...]:
    """The tables that hold rows of these accounts and resources."""
    return tables_of({resource for _, resource in listed})


def number_in_table(run_id: str, table: Table, tombstones: Tombstones) -> int | None:
    """The number of the file of a run that belongs in the folder of a table: 0 where none of its rows is withdrawn."""
    return tombstones.current_number(run_id) if table in tables_with(tombstones.hidden_in(run_id)) else 0


def left_out_of(path: Path, replacements: dict[int, Replacement]) -> frozenset[Listed] | None:
    """The accounts and resources of which a file holds no row, though its run published them; None: nothing tells."""
    number = number_of(path)
    if number == 0:
        return frozenset()
    return replacements[number].left_out if number in replacements else None


def usable_files(run_id: str, table: Table, paths: Iterable[Path], tombstones: Tombstones) -> list[Path]:
    """Select the files that hold every row which is not withdrawn, the one that belongs in the folder first."""
    hidden, known = tombstones.hidden_in(run_id), tombstones.replacements_of(run_id)
    current = number_in_table(run_id, table, tombstones)
    found = [path for path in paths if (without := left_out_of(path, known)) is not None and without <= hidden]
    return sorted(found, key=lambda path: (number_of(path) != current, is_aside(path), number_of(path)))


def holds_rows_of(data: Path, tombstones: Tombstones, withdrawal: Withdrawal) -> bool:
    """Whether files of every table are there which hold the rows of a withdrawn observation."""
    known = tombstones.replacements_of(withdrawal.run_id)
    return all(
        any(
            without is not None and withdrawal.listed not in without
            for without in (left_out_of(path, known) for path in files_of_run(data, table, withdrawal.run_id))
        )
        for table in tables_of({withdrawal.resource})
    )


def misplaced_files(data: Path, tombstones: Tombstones) -> list[Path]:
    """List the files in the folders of the tables that a killed withdrawal left there: the next writer moves them."""
    runs = {one.run_id for one in tombstones.withdrawn if tombstones.published_by(one.run_id)}
    return [
        path
        for run_id in sorted(runs)
        for table in ROW_TABLES
        for path in files_of_run(data, table, run_id)
        if not is_aside(path) and number_of(path) != number_in_table(run_id, table, tombstones)
    ]


def is_unneeded_copy(data: Path, path: Path, tombstones: Tombstones, there: Collection[Path]) -> bool:
    """Whether nothing needs a file in `.withdrawn`: no tombstone names it, or it is `there` in its table too."""
    run_id, number = run_of(path), number_of(path)
    if left_out_of(path, tombstones.replacements_of(run_id)) is None:
        return True
    table = next((table for table in ROW_TABLES if table.name == path.parts[-3]), None)
    if table is None or number != number_in_table(run_id, table, tombstones):
        return False
    return table_path(data, table, run_id, day_of_run(run_id), number) in there


def replacement_flaws(data: Path, tombstones: Tombstones, run_id: str | None = None) -> dict[Path, str]:
    """Find the replacements in the folders of the tables that are not what the tombstones say, by file.

    `run_id` limits them to one run.

    In a day that has expired one may be deleted; where a reader needs it, its run has a flaw.
    """
    flaws = {}
    for one in tombstones.replacements if run_id is None else tombstones.replacements_of(run_id).values():
        for table in tables_with(one.left_out) if one.number == tombstones.current_number(one.run_id) else ():
            path = table_path(data, table, one.run_id, day_of_run(one.run_id), one.number)
            flaw = file_flaw(path, one.digests[table.name])
            is_expired = day_of_run(one.run_id) in tombstones.expired_days and not path.exists()
            if flaw is not None and not is_expired:
                flaws[path] = flaw
    return flaws


def expired_withdrawn_files(data: Path, tombstones: Tombstones, now: dt.datetime) -> list[Path]:
    """List the files that only observations need which were withdrawn for good.

    Of a day that has left the folders, a restored observation is in the versions, and needs none either.
    """
    found = []
    active = {one.run_id for one in tombstones.active}
    for run_id in sorted({one.run_id for one in tombstones.withdrawn}):
        is_deleted = is_deleted_by_age(data, run_id, tombstones)
        if run_id not in active and not is_deleted:
            continue
        known, withdrawn = tombstones.replacements_of(run_id), tombstones.withdrawn_from(run_id)
        hidden = tombstones.hidden_in(run_id)
        if tombstones.current_number(run_id) is None and not tombstones.published_by(run_id) <= hidden:
            continue  # its replacement could not be written
        unneeded = []
        for table in ROW_TABLES:
            current = number_in_table(run_id, table, tombstones)
            for path in files_of_run(data, table, run_id):
                only_here = hidden - (left_out_of(path, known) or frozenset())
                is_in_place = number_of(path) == current and not is_deleted
                if not is_in_place and all(withdrawn[listed].until_utc <= now for listed in only_here):
                    unneeded.append(path)
        if unneeded and (flaws := replacement_flaws(data, tombstones, run_id)):  # it is derived from them again
            path, flaw = next(iter(flaws.items()))
            _log.warning("files of run %s with withdrawn rows are kept: %r: %s", run_id, shown(path), flaw)
        else:
            found += unneeded
    return found
