"""Delta log: a mirror of the commits in `<table>/_delta_log`, for engines that read Delta tables.

    commit records, tombstones ──► the files that hold exactly what is committed ◄──► the files that the log names
                                                                      │
                       one Delta commit a table: add, remove, run id   ◄┘  <table>/_delta_log/<version>.json

No data is written twice, and nothing of the lake reads a log: it is brought up to date from the commit records, and
begun anew where it cannot be read. The tables are written one after the other, `observations` last.

A reader of a log gets exact rows or an error, never fewer rows: a file that is missing keeps its entry; a version of
before a withdrawal or a retention names files that are gone once their grace period is over; and where a file holds
withdrawn rows beside others, its table has no log.

There is no checkpoint: it is a Parquet file, which `**/*.parquet` would read as rows of the table. The properties of a
log keep `VACUUM` of another engine from deleting files that only the lake knows.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipeline.errors import LakeDamaged
from pipeline.lake.delta_entries import DAY, DeltaEntry, InexactFile, delta_entries, difference
from pipeline.lake.file_set import FileSet
from pipeline.lake.layout import DELTA_LOG, DELTA_STAGED, command
from pipeline.log import logger
from pipeline.memory import raise_if_out_of_memory
from pipeline.requirements import check_extra
from pipeline.resources.control import OBSERVATIONS
from pipeline.resources.tables import LAKE_TABLES
from pipeline.storage.folder import make_folder
from pipeline.storage.partitions import is_run_file
from pipeline.storage.store import store_of
from pipeline.text import pluralize

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

    from pipeline.resources.schema import Table

_log = logger(__name__)

EXTRA: Final = "delta"
"""The extra of this package that it needs."""
_PROPERTIES: Final = {
    "delta.deletedFileRetentionDuration": "interval 36500 days",
    "delta.logRetentionDuration": "interval 36500 days",
    "delta.enableExpiredLogCleanup": "false",
}


def has_delta_log(data: Path) -> bool:
    """Return whether a table of the lake has a Delta log: every writer keeps it up to date from then on."""
    return store_of(data).is_local and any((data / "lake" / table.name / DELTA_LOG).exists() for table in LAKE_TABLES)


def require_delta_logs(data: Path, *, begin: bool) -> None:
    """Refuse to `begin` a Delta log where there can be none.

    Raises:
        BadSetting: `data` is in a bucket.
    """
    if begin:
        store_of(data).require_local(data, "a Delta log", "leave `delta` out, or keep the lake in a folder")


def write_delta_logs(data: Path, *, begin: bool = False, recount: bool = False) -> list[str]:
    """Bring the Delta log of each table up to date, if the lake has any or `begin`; the caller holds the lock.

    With `recount`, a log that gives another row count of a file is begun anew: this reads the footer of each.

    Nothing depends on them, so nothing is raised. Returns: what could not be written, and why, a line each.
    """
    if not (begin or has_delta_log(data)):
        return []
    try:
        check_extra(EXTRA)
        files = FileSet.read(data)
    except Exception as error:  # noqa: BLE001  (the mirror is never the truth)
        return [_failure(data, "every table", error)]
    lines: list[str] = []
    is_behind = False
    examined = _examined(files)
    for table in LAKE_TABLES:
        log = _log_of(files, table)
        if table is OBSERVATIONS and is_behind:  # it says of which runs every file is named
            break
        try:
            if recount and log.exists() and _has_other_counts(log):
                shutil.rmtree(log)
            _write_log(files, table, log, examined)
        except InexactFile as reason:
            shutil.rmtree(log, ignore_errors=True)
            lines.append(f"no Delta log of {table.name}: {reason}")
        except Exception as error:  # noqa: BLE001
            is_behind = True
            lines.append(_failure(data, table.name, error))
    return lines


def warn_of_delta_logs(data: Path, *, begin: bool = False, recount: bool = False) -> None:
    """Bring the Delta logs up to date, and log what could not be written."""
    for line in write_delta_logs(data, begin=begin, recount=recount):
        _log.warning("%s", line)


def delta_log_flaws(data: Path, *, recount: bool = False) -> dict[Path, str]:
    """Compare the Delta logs with the commit records, and with `recount` with the row count of each file.

    Returns: what is wrong with each log; none in a lake without.

    Raises:
        BadSetting: the extra is not installed.
        LakeMissing, LakeDamaged: the lake cannot be read.
    """
    if not has_delta_log(data):
        return {}
    check_extra(EXTRA)
    files = FileSet.read(data)
    examined = _examined(files)
    found = {_log_of(files, table): _flaw(files, table, _log_of(files, table), examined) for table in LAKE_TABLES}
    if recount:
        wrong = [log for log, flaw in found.items() if flaw is None and log.exists() and _has_other_counts(log)]
        found |= dict.fromkeys(wrong, "it gives another row count of a file")
    return {log: flaw for log, flaw in found.items() if flaw is not None}


def _failure(data: Path, subject: str, error: Exception) -> str:
    reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return (
        f"the Delta log of {subject} is not up to date: {reason}; the next run or "
        f"{command(data, 'rebuild', '--delta')} writes it"
    )


def _examined(files: FileSet) -> frozenset[str]:
    """Return the runs of which every file was named before: their record is in the log of `observations`, unchanged."""
    try:
        named = _named(_open(_log_of(files, OBSERVATIONS)))
    except Exception as error:  # noqa: BLE001  (whatever the library finds in a damaged log)
        raise_if_out_of_memory(error)
        return frozenset()
    return frozenset(
        entry.run_id for path, entry in delta_entries(files, OBSERVATIONS, {}).items() if named.get(path) == entry
    )


def _flaw(files: FileSet, table: Table, log: Path, examined: frozenset[str]) -> str | None:
    try:
        named = _named(_open(log))
    except Exception as error:  # noqa: BLE001  (whatever the library finds in a damaged log)
        raise_if_out_of_memory(error)
        named = None
    try:
        entries = delta_entries(files, table, named or {}, frozenset() if named is None else examined)
    except InexactFile as reason:
        return None if not log.exists() else f"it is not exact: {reason}"
    except LakeDamaged as error:
        return f"behind: {error}"
    if named is None:
        return "it cannot be read, or names other files" if log.exists() else "missing"
    added, removed = difference(entries, named)
    if not (added or removed):
        return None
    return f"behind: {pluralize(len(added), 'file')} to register, {pluralize(len(removed), 'file')} to take out"


# ── the log ──────────────────────────────────────────────────────────────────


def _log_of(files: FileSet, table: Table) -> Path:
    return files.data / "lake" / table.name / DELTA_LOG


def _open(log: Path) -> DeltaTable:
    from deltalake import DeltaTable

    return DeltaTable(log.parent)


def _named(delta: DeltaTable) -> dict[str, DeltaEntry]:
    """Return the files that the newest version of a log names, by path.

    Raises:
        ValueError: it names one as no writer of ours does.
    """
    import pyarrow as pa

    actions = pa.table(delta.get_add_actions(flatten=True))
    names = ("path", "size_bytes", "modification_time", "num_records", f"partition.{DAY}")
    named = {}
    columns = (actions.column(name).to_pylist() for name in names)
    for path, size, modified_ms, row_count, day in zip(*columns, strict=True):
        if not is_run_file(Path(path)) or path != f"{DAY}={day}/{Path(path).name}":
            raise ValueError(f"it names {path!r} of day {day}")
        named[path] = DeltaEntry(path, size, modified_ms, row_count)
    return named


def _has_other_counts(log: Path) -> bool:
    """Whether a log gives another row count of a file than this: some engines answer `count(*)` by it alone."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        entries = [entry for entry in _named(_open(log)).values() if entry.row_count is not None]
    except Exception as error:  # noqa: BLE001  (it is begun anew)
        raise_if_out_of_memory(error)
        return False
    for entry in entries:
        with contextlib.suppress(OSError, pa.ArrowException):  # a damaged or missing file is a finding by itself
            if pq.read_metadata(log.parent / entry.path).num_rows != entry.row_count:
                return True
    return False


def _schema(table: Table) -> pa.Schema:
    import pyarrow as pa

    return pa.schema([column.arrow().remove_metadata() for column in table.columns])


def _open_fitting(log: Path, schema: pa.Schema) -> DeltaTable | None:
    """Open a log, with the columns that it lacks. Returns: None where it cannot be used, and is begun anew."""
    import pyarrow as pa
    from deltalake import Schema

    try:
        delta = _open(log)
        has = {field.name: field.type for field in Schema.from_arrow(schema).fields}
        there = {field.name: field.type for field in delta.schema().fields}
        _named(delta)  # or it raises
        has_other = any(has.get(name) != kind for name, kind in there.items())
        if has_other or not all(path.is_file() for path in log.glob("*.json")):
            return None
        new = [field for field in Schema.from_arrow(schema).fields if field.name not in there]
        if new:
            delta.alter.add_columns(new, post_commithook_properties=_no_checkpoint())
            delta = _open(log)
    except (pa.ArrowException, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001  (whatever the library finds in a damaged log)
        raise_if_out_of_memory(error)
        return None
    return delta


def _write_log(files: FileSet, table: Table, log: Path, examined: frozenset[str]) -> None:
    from deltalake import Schema
    from deltalake.transaction import CommitProperties, RemoveAction, create_table_with_add_actions

    schema = _schema(table)
    _remove_staged(log)
    delta = _open_fitting(log, schema) if log.exists() else None
    named = {} if delta is None else _named(delta)
    entries = delta_entries(files, table, named, frozenset() if delta is None else examined)
    added, removed = difference(entries, named)
    if delta is not None and not (added or removed):
        return
    runs = sorted({entry.run_id for entry in (*added, *removed)})
    about: dict[str, Any] = {"run_id": runs[-1] if runs else "", "run_count": len(runs)}
    actions = [_add_action(entry, log.parent) for entry in added]
    properties = {
        "commit_properties": CommitProperties(custom_metadata=about),
        "post_commithook_properties": _no_checkpoint(),
    }
    if delta is None:
        shutil.rmtree(log, ignore_errors=True)
        make_folder(log)
        create_table_with_add_actions(
            str(log.parent),
            Schema.from_arrow(schema),
            actions,
            partition_by=[DAY],
            name=table.name,
            description=table.grain,
            configuration=_PROPERTIES,
            **properties,
        )
        return
    now = time.time_ns() // 1_000_000
    removals = [
        RemoveAction(
            entry.path, data_change=True, deletion_timestamp=now, size=entry.size, partition_values={DAY: entry.day}
        )
        for entry in removed
    ]
    delta.create_write_transaction([*removals, *actions], "append", schema, [DAY], **properties)


def _remove_staged(log: Path) -> None:
    """Delete what a killed writer has left: the caller holds the lock."""
    for path in log.glob("*"):
        if DELTA_STAGED.fullmatch(path.name):
            path.unlink()


def _add_action(entry: DeltaEntry, folder: Path) -> Any:
    import pyarrow.parquet as pq
    from deltalake.transaction import AddAction

    stats = json.dumps({"numRecords": pq.read_metadata(folder / entry.path).num_rows})
    return AddAction(entry.path, entry.size, {DAY: entry.day}, entry.modified_ms, data_change=True, stats=stats)


def _no_checkpoint() -> Any:
    from deltalake.transaction import PostCommitHookProperties

    return PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
