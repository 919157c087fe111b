"""Compare the versions with the daily files of compacted runs: both must give the same rows.

A daily file is what its commit says, or is damaged. The files of a compaction have digests of their own, which tell
nothing of what they were written from: an older version could compact a file that was damaged already.

Rows are compared by the sum of their hashes, for each observation and table.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

from pipeline.lake.compaction.manifest import COMPACTED, RECORDS, REJECTED
from pipeline.lake.item_rows import rows_from_versions, version_rows
from pipeline.lake.scan import scan_files, tuples
from pipeline.resources.control import OBSERVATIONS, REJECTS
from pipeline.resources.tables import LAKE_TABLES, RESOURCES
from pipeline.storage.partitions import number_of, run_of
from pipeline.text import sql_literal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    import duckdb

    from pipeline.lake.file_set import FileSet
    from pipeline.lake.tombstones import Listed
    from pipeline.resources.schema import Table

_RECORD_COLUMNS: Final = (
    "is_published",
    "certificate",
    "total_count",
    "ids_sha256",
    "item_count",
    "child_item_count",
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
    left_out = _left_out(files, daily)
    covered = tuples(
        (run, *listed)
        for run, group in files.manifest.covered.items()
        for listed in group
        if listed not in left_out.get(run, ())
    )
    names = ("run_id", "account", "resource", "observed_at_utc", "observed_on", *_RECORD_COLUMNS)
    records = scan_files(OBSERVATIONS, daily[OBSERVATIONS.name], names=names)
    con.execute(f"create or replace temp table daily_record as {records}").fetchall()
    is_compared = f"is_published and (run_id, account, resource) in ({covered})"
    con.execute(
        "create or replace temp table compared_observation as "  # noqa: S608  (SQL of this package, as everywhere here)
        f"select run_id, account, resource, observed_at_utc, observed_on from daily_record where {is_compared}"
    ).fetchall()
    found: dict[str, list[str]] = {}
    for table, resources, rows in _restored(files):
        using = ", ".join(_of_observation(table))
        query = f"""
            select distinct run_id from compared_observation
            left join ({_sums(table, scan_files(table, daily[table.name]))}) as daily using ({using})
            left join ({_sums(table, rows)}) as restored using ({using})
            where resource in ({resources}) and (daily.sums is distinct from restored.sums
                or (daily.has_later and restored.has_later and daily.later is distinct from restored.later))"""  # noqa: S608
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


def _restored(files: FileSet) -> Iterator[tuple[Table, str, str]]:
    """Yield each table, its resources as a list of SQL, and the query of its rows as they come back."""
    for resource in RESOURCES:
        name = sql_literal(resource.name)
        versions = version_rows(resource, files, ended=True)
        wanted = f"select * from compared_observation where resource = {name}"  # noqa: S608
        for table in resource.tables:
            yield table, name, rows_from_versions(resource, table, versions, wanted)
    rejects = scan_files(COMPACTED[REJECTED], files.compacted.get(REJECTED, ()))
    query = f"select * from ({rejects}) as reject semi join compared_observation using (run_id, account, resource)"  # noqa: S608
    yield REJECTS, ", ".join(sql_literal(resource.name) for resource in RESOURCES), query


def _daily_files(files: FileSet, intact: Collection[str]) -> dict[str, list[Path]]:
    """Select the daily files of those compacted runs that have them; a run has none of a resource it did not list."""
    by_table = {
        table.name: {run_of(path): path for path in files.retained.get(table.name, ())} for table in LAKE_TABLES
    }
    runs = {run_id for run_id in intact if all(run_id in by_table[name] for name in (OBSERVATIONS.name, REJECTS.name))}
    return {name: [path for run_id, path in paths.items() if run_id in runs] for name, paths in by_table.items()}


def _left_out(files: FileSet, daily: Mapping[str, Iterable[Path]]) -> dict[str, frozenset[Listed]]:
    """Return the accounts and resources of which the daily files hold no row, because they were withdrawn, by run."""
    replaced = {(one.run_id, one.number): one.left_out for one in files.tombstones.replacements}
    found: dict[str, frozenset[Listed]] = {}
    for path in itertools.chain.from_iterable(daily.values()):
        run_id = run_of(path)
        found[run_id] = found.get(run_id, frozenset()) | replaced.get((run_id, number_of(path)), frozenset())
    return found


def _sums(table: Table, rows: str) -> str:
    """Sum the hashes of the rows of each observation; apart those of columns that an older file lacks."""
    key = _of_observation(table)
    stored = [column for column in table.stored if column.name not in key]
    columns = ", ".join(column.name for column in stored if column.since is None or column.is_later_field)
    later = [column.name for column in stored if column.since is not None and not column.is_later_field]
    return f"""
        select
            {", ".join(key)},
            (count(*), {_sum_of_hashes(columns)}) as sums,
            {f"count({later[0]}) = count(*)" if later else "false"} as has_later,
            {_sum_of_hashes(", ".join(later)) if later else "null"} as later
        from ({rows}) as row
        group by {", ".join(key)}"""  # noqa: S608


def _of_observation(table: Table) -> tuple[str, ...]:
    return ("account", "observed_at_utc", *(("resource",) if table is REJECTS else ()))


def _sum_of_hashes(columns: str) -> str:
    """Sum hashes: of two rows that swap a value, the sum differs, as the hash of a hash is not linear."""
    return f"sum(cast(hash(hash({columns})) as hugeint))"
