"""Compacted runs: the versions by themselves, and each run as it comes back from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.lake.check.files import read_table
from pipeline.lake.check.rules import VERSION_RULES
from pipeline.lake.check.runs import (
    ROW_TABLES,
    RunContents,
    check_contents,
    check_run,
    open_pages,
    read_plain_run,
)
from pipeline.lake.compaction.manifest import ENDED, PLACES, REJECTED
from pipeline.lake.layout import table_path
from pipeline.lake.scan import empty, instant, observations, pairs, rows_from_versions, scan_files, version_rows
from pipeline.log import about, logger
from pipeline.resources.control import OBSERVATIONS, REJECTS
from pipeline.text import sql_literal

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence
    from pathlib import Path

    from pipeline.lake.check.model import CheckState
    from pipeline.lake.compaction.manifest import Manifest
    from pipeline.resources.schema import Table

_log = logger(__name__)


def check_compacted(state: CheckState, manifest: Manifest) -> None:
    """Check every file of the compaction, then the versions, then each compacted run as any other."""
    before = len(state.result.findings)
    for place, paths in manifest.files(state.data).items():
        for path in paths:
            read_table(state, path, PLACES[place])
    if len(state.result.findings) > before:
        return
    _check_versions(state)
    for run_id, day in manifest.runs.items():
        record = table_path(state.data, OBSERVATIONS, run_id, day)
        with about(run=run_id):
            if record.exists():  # the newest of an account: what other engines read as "now"
                plain = read_plain_run(state, record)
                if plain is not None:
                    check_contents(state, plain)
            state.result.run_count += 1
            check_run(state, _restore_run(state, manifest, record, day), open_pages(state, run_id))
            _log.info("restored from compaction %s, and checked", manifest.name)


def _check_versions(state: CheckState) -> None:
    state.con.execute(f"create or replace temp view version as {version_rows(state.files, ended=True)}").fetchall()
    for problem, query in VERSION_RULES:
        for (count,) in state.con.execute(query).fetchall():
            state.result.add(f"lake/{ENDED}", problem.format(count))


def _restore_run(state: CheckState, manifest: Manifest, record: Path, day: dt.date) -> RunContents:
    """Read a run from the compaction, as its plain files had it: its commit record, and the rows of what is covered."""
    run_id = sql_literal(record.stem)
    names = ", ".join(OBSERVATIONS.arrow().names)
    query = f"select {names} from ({observations(state.files)}) as record where run_id = {run_id} order by account"  # noqa: S608
    found = state.con.sql(query).to_arrow_table().cast(OBSERVATIONS.arrow()).to_pylist()
    covered = manifest.covered.get(record.stem, ())
    present = [row for row in found if row["is_published"] and row["account"] in covered]
    tables = {}
    for table in ROW_TABLES:
        query = _rejects_query(state, present) if table is REJECTS else _rows_query(table, present, day)
        columns = ", ".join(column.name for column in table.stored)
        rows = state.con.sql(f"select {columns} from ({query}) as restored")  # noqa: S608
        tables[table.name] = rows.to_arrow_table().cast(table.arrow())
        state.result.row_count += len(tables[table.name])
    absent = state.tombstones.withdrawn_from(record.stem).keys() - set(covered)
    return RunContents(record, found, tables, absent)


def _rows_query(table: Table, present: Sequence[dict[str, Any]], day: dt.date) -> str:
    """Select the images or disks of these observations from the versions."""
    if not present:
        return empty(table)
    spanned = " union all ".join(
        f"select {sql_literal(row['account'])} as account, {instant(row['observed_at_utc'])} as observed_at_utc, "
        f"date '{day}' as observed_on"
        for row in present
    )
    return rows_from_versions(table, "from version", spanned)


def _rejects_query(state: CheckState, present: Sequence[dict[str, Any]]) -> str:
    """Select the rejects of these observations: those of withdrawn ones stay in their file, and no reader uses them."""
    names = pairs((row["run_id"], row["account"]) for row in present)
    rejects = scan_files(PLACES[REJECTED], state.files.compacted[REJECTED])
    return f"from ({rejects}) as reject where (run_id, account) in ({names})"
