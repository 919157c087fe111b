"""Compacted runs: the versions by themselves, and each run as it comes back from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.lake.check.files import read_table, with_every_column
from pipeline.lake.check.rules import VERSION_RULES
from pipeline.lake.check.runs import (
    RunContents,
    check_contents,
    check_run,
    open_pages,
    read_plain_run,
)
from pipeline.lake.compaction.manifest import COMPACTED, ENDED
from pipeline.lake.compaction.restore import open_versions, restored_run
from pipeline.lake.layout import table_path
from pipeline.lake.survey import ROW_TABLES
from pipeline.log import about, logger
from pipeline.resources.control import OBSERVATIONS

if TYPE_CHECKING:
    import datetime as dt
    from pathlib import Path

    from pipeline.lake.check.model import CheckState
    from pipeline.lake.compaction.manifest import Manifest

_log = logger(__name__)


def check_compacted(state: CheckState, manifest: Manifest) -> None:
    """Check every file of the compaction, then the versions, then each compacted run as any other."""
    before = len(state.result.findings)
    for place, paths in manifest.files(state.data).items():
        for path in paths:
            read_table(state, path, COMPACTED[place])
    if len(state.result.findings) > before:
        return
    _check_versions(state)
    for run_id, day in manifest.runs.items():
        record = table_path(state.data, OBSERVATIONS, run_id, day)
        with about(run=run_id):
            restored = _restore_run(state, manifest, record, day)
            plain = read_plain_run(state, record) if record.is_file() else None
            if plain is not None:
                check_contents(state, plain)
            is_checked = plain is not None and _has_rows_of(restored, plain)
            state.result.run_count += 1
            check_run(state, restored, open_pages(state, run_id), is_checked=is_checked)
            _log.info("restored from compaction %s, and checked", manifest.name)


def _has_rows_of(restored: RunContents, plain: RunContents) -> bool:
    """Whether the versions give the rows of the daily files, which are checked already."""
    if restored.tables is None or plain.tables is None or restored.observations != plain.observations:
        return False
    for table in ROW_TABLES:
        order = [(column.name, "ascending") for column in table.stored if column.kind != "list"]
        rows, others = (with_every_column(run.tables[table.name], table) for run in (restored, plain) if run.tables)
        if len(rows) != len(others) or not rows.sort_by(order).equals(others.select(rows.column_names).sort_by(order)):
            return False
    return True


def _check_versions(state: CheckState) -> None:
    open_versions(state.con, state.files)
    for problem, query in VERSION_RULES:
        for (count,) in state.con.execute(query).fetchall():
            state.result.add(f"lake/{ENDED}", problem.format(count))


def _restore_run(state: CheckState, manifest: Manifest, record: Path, day: dt.date) -> RunContents:
    """Read a run from the compaction, as its plain files had it: its commit record, and the rows of what is covered."""
    records, tables = restored_run(state.con, state.files, record.stem, day)
    state.result.row_count += sum(map(len, tables.values()))
    absent = state.tombstones.withdrawn_from(record.stem).keys() - set(manifest.covered.get(record.stem, ()))
    return RunContents(record, records, tables, absent)
