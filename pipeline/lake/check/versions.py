"""Compacted runs: the versions by themselves, and each run as it comes back from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.extract.stored_secrets import stored_secrets
from pipeline.lake.check.files import read_table, with_every_column
from pipeline.lake.check.pages import check_against_pages
from pipeline.lake.check.rules import VERSION_RULES
from pipeline.lake.check.runs import (
    RunContents,
    check_contents,
    find_violations,
    in_batches,
    read_plain_run,
)
from pipeline.lake.compaction.manifest import COMPACTED, ENDED, RECORDS
from pipeline.lake.compaction.restore import RestoredRun, open_versions, restored_runs, row_counts
from pipeline.lake.layout import table_path
from pipeline.log import about, logger
from pipeline.resources.control import OBSERVATIONS
from pipeline.resources.tables import ROW_TABLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.lake.check.model import CheckState
    from pipeline.lake.compaction.manifest import Manifest

_log = logger(__name__)


def check_compacted(state: CheckState, manifest: Manifest) -> None:
    """Check every file of the compaction, then the versions, then each compacted run as any other."""
    before = len(state.result.findings)
    for place, paths in manifest.files(state.data).items():
        for path in paths:
            rows = read_table(state, path, COMPACTED[place])
            if place == RECORDS and rows is not None:
                state.secrets[path] = stored_secrets(rows)
    if len(state.result.findings) > before:
        return
    _check_versions(state)
    counts = row_counts(state.con)
    for batch in in_batches(manifest.runs, lambda run_id: counts.get(run_id, 0)):
        _check_batch(state, manifest, batch)


def _check_batch(state: CheckState, manifest: Manifest, run_ids: Sequence[str]) -> None:
    """Check the daily files of compacted runs that are there, and the runs as they come back from the versions.

    Of a run whose versions give the rows of its daily files, these are checked once.
    """
    days = {run_id: manifest.runs[run_id] for run_id in run_ids}
    restored = [_contents(state, manifest, run) for run in restored_runs(state.con, state.files, days)]
    examined = []
    for run in restored:
        daily = read_plain_run(state, run.record) if run.record.is_file() else None
        examined += [daily] if daily is not None else []
        if daily is None or not _has_rows_of(run, daily):
            examined.append(run)
    for run, violations in zip(examined, find_violations(state, examined), strict=True):
        with about(run=run.run_id):
            check_contents(state, run, violations)
    for run in restored:
        state.result.run_count += 1
        with about(run=run.run_id):
            check_against_pages(state, run)
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


def _contents(state: CheckState, manifest: Manifest, run: RestoredRun) -> RunContents:
    """Return a run of the compaction as its plain files had it: its commit record, and the rows of what is covered."""
    state.result.row_count += sum(map(len, run.tables.values()))
    record = table_path(state.data, OBSERVATIONS, run.run_id, manifest.runs[run.run_id])
    absent = state.tombstones.withdrawn_from(run.run_id).keys() - set(manifest.covered.get(run.run_id, ()))
    return RunContents(record, run.records, run.tables, absent)
