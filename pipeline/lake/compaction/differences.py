"""Compare the versions with the daily files of compacted runs: both must give the same rows.

A daily file is what its commit says, or is damaged. The files of a compaction have digests of their own, which tell
nothing of what they were written from: an older version could compact a file that was damaged already.

Rows are compared by the sum of their hashes, for each observation and table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.lake.compaction.manifest import COMPACTED, RECORDS, REJECTED
from pipeline.lake.scan import pairs, rows_from_versions, scan_files, version_rows
from pipeline.resources.control import OBSERVATIONS, REJECTS
from pipeline.resources.images import IMAGE_DISKS, IMAGES
from pipeline.resources.tables import LAKE_TABLES
from pipeline.storage.partitions import run_of

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    import duckdb

    from pipeline.lake.file_set import FileSet
    from pipeline.resources.schema import Table

_RECORD_COLUMNS: Final = (
    "is_published",
    "certificate",
    "total_count",
    "image_ids_sha256",
    "image_count",
    "disk_count",
)
"""What a record says of the rows: another release may write the rest otherwise."""


def differing_runs(
    con: duckdb.DuckDBPyConnection, files: FileSet, intact: Collection[str]
) -> dict[str, tuple[str, ...]]:
    """Find the compacted runs of which the daily files hold other rows than the verified compaction.

    `files` are those of every observation, withdrawn ones too; the daily files of the `intact` runs are as committed.

    Returns: run → the names of the tables.
    """
    daily = _daily_files(files, intact)
    if files.manifest is None or not daily[OBSERVATIONS.name]:
        return {}
    covered = pairs((run, account) for run, accounts in files.manifest.covered.items() for account in accounts)
    names = ("run_id", "account", "observed_at_utc", "observed_on", *_RECORD_COLUMNS)
    records = scan_files(OBSERVATIONS, daily[OBSERVATIONS.name], names=names)
    con.execute(f"create or replace temp table daily_record as {records}").fetchall()
    is_compared = f"is_published and (run_id, account) in ({covered})"
    con.execute(
        "create or replace temp table compared_observation as "  # noqa: S608  (SQL of this package, as everywhere here)
        f"select run_id, account, observed_at_utc, observed_on from daily_record where {is_compared}"
    ).fetchall()
    versions = version_rows(files, ended=True)
    wanted = "from compared_observation"
    rejects = scan_files(COMPACTED[REJECTED], files.compacted.get(REJECTED, ()))
    restored = {
        IMAGES: rows_from_versions(IMAGES, versions, wanted),
        IMAGE_DISKS: rows_from_versions(IMAGE_DISKS, versions, wanted),
        REJECTS: f"select * from ({rejects}) as reject semi join compared_observation using (run_id, account)",  # noqa: S608
    }
    found: dict[str, list[str]] = {}
    for table, rows in restored.items():
        query = f"""
            select distinct run_id from compared_observation
            left join ({_sums(table, scan_files(table, daily[table.name]))}) as daily using (account, observed_at_utc)
            left join ({_sums(table, rows)}) as restored using (account, observed_at_utc)
            where daily.sums is distinct from restored.sums
                or (daily.has_later and restored.has_later and daily.later is distinct from restored.later)"""  # noqa: S608
        for (run_id,) in con.execute(query).fetchall():
            found.setdefault(run_id, []).append(table.name)
    compacted_records = scan_files(COMPACTED[RECORDS], files.compacted[RECORDS], names=names)
    columns = ", ".join(name for name in names if name != "observed_on")
    query = f"""
        select distinct run_id from (
            select {columns} from daily_record
            except
            select {columns} from ({compacted_records}) as record
        ) as changed"""  # noqa: S608
    for (run_id,) in con.execute(query).fetchall():
        found.setdefault(run_id, []).append(OBSERVATIONS.name)
    return {run_id: tuple(names) for run_id, names in sorted(found.items())}


def _daily_files(files: FileSet, intact: Collection[str]) -> dict[str, list[Path]]:
    """Select the daily files of those compacted runs that have all of them."""
    by_table = {
        table.name: {run_of(path): path for path in files.retained.get(table.name, ())} for table in LAKE_TABLES
    }
    runs = {run_id for run_id in intact if all(run_id in paths for paths in by_table.values())}
    return {name: [path for run_id, path in paths.items() if run_id in runs] for name, paths in by_table.items()}


def _sums(table: Table, rows: str) -> str:
    """Sum the hashes of the rows of each observation; apart those of columns that an older file lacks."""
    stored = [column for column in table.stored if column.name not in {"account", "observed_at_utc"}]
    columns = ", ".join(column.name for column in stored if column.since is None or column.is_later_field)
    later = [column.name for column in stored if column.since is not None and not column.is_later_field]
    return f"""
        select
            account,
            observed_at_utc,
            (count(*), {_sum_of_hashes(columns)}) as sums,
            {f"count({later[0]}) = count(*)" if later else "false"} as has_later,
            {_sum_of_hashes(", ".join(later)) if later else "null"} as later
        from ({rows}) as row
        group by account, observed_at_utc"""  # noqa: S608


def _sum_of_hashes(columns: str) -> str:
    """Sum hashes: of two rows that swap a value, the sum differs, as the hash of a hash is not linear."""
    return f"sum(cast(hash(hash({columns})) as hugeint))"
