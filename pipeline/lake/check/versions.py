"""Compacted runs: the versions by themselves and against the daily files.

A run whose daily files are damaged or gone is checked as it comes back from the versions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.extract.stored_secrets import stored_secrets
from pipeline.lake.check.files import read_table
from pipeline.lake.check.pages import check_against_pages
from pipeline.lake.check.rules import version_rules
from pipeline.lake.check.runs import (
    RunContents,
    check_contents,
    find_violations,
    in_batches,
    read_plain_run,
)
from pipeline.lake.compaction.differences import differing_runs
from pipeline.lake.compaction.manifest import COMPACTED, RECORDS, manifest_path
from pipeline.lake.compaction.restore import RestoredRun, open_versions, restored_runs, row_counts, version_table
from pipeline.lake.layout import command, table_path
from pipeline.log import about, logger
from pipeline.resources.control import OBSERVATIONS
from pipeline.resources.tables import RESOURCES

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
    intact = [run_id for run_id, run in state.states.items() if not (run.flaws or run.is_accepted)]
    for run_id, tables in differing_runs(state.con, state.files, intact).items():
        state.result.add(
            manifest_path(state.data, manifest.name),
            f"the versions give other {', '.join(tables)} of run {run_id} than its daily files, which are intact: "
            f"{command(state.data, 'rebuild')} compacts again from the daily files",
        )
    counts = row_counts(state.con)
    for batch in in_batches(manifest.runs, lambda run_id: counts.get(run_id, 0)):
        _check_batch(state, manifest, batch)


def _check_batch(state: CheckState, manifest: Manifest, run_ids: Sequence[str]) -> None:
    """Check the daily files of compacted runs; a run that lacks some, also as it comes back from the versions."""
    records = {run_id: table_path(state.data, OBSERVATIONS, run_id, manifest.runs[run_id]) for run_id in run_ids}
    daily = [run for record in records.values() if record.is_file() and (run := read_plain_run(state, record))]
    whole = {run.run_id for run in daily if run.tables is not None}
    days = {run_id: manifest.runs[run_id] for run_id in run_ids if run_id not in whole}
    restored = [_contents(state, manifest, run) for run in restored_runs(state.con, state.files, days)] if days else []
    examined = [*daily, *restored]
    for run, violations in zip(examined, find_violations(state, examined), strict=True):
        with about(run=run.run_id):
            check_contents(state, run, violations)
    for run in [*(run for run in daily if run.run_id in whole), *restored]:
        state.result.run_count += 1
        with about(run=run.run_id):
            check_against_pages(state, run)
            _log.info("checked against compaction %s", manifest.name)


def _check_versions(state: CheckState) -> None:
    open_versions(state.con, state.files)
    for resource in RESOURCES:
        state.con.execute(
            f"create or replace temp view version as select * from {version_table(resource)}"  # noqa: S608
        ).fetchall()
        for problem, query in version_rules(resource):
            for (count,) in state.con.execute(query).fetchall():
                state.result.add(f"lake/{resource.versions_name}", problem.format(count))


def _contents(state: CheckState, manifest: Manifest, run: RestoredRun) -> RunContents:
    """Return a run of the compaction as its plain files had it: its commit record, and the rows of what is covered."""
    state.result.row_count += sum(map(len, run.tables.values()))
    record = table_path(state.data, OBSERVATIONS, run.run_id, manifest.runs[run.run_id])
    absent = state.tombstones.withdrawn_from(run.run_id).keys() - set(manifest.covered.get(run.run_id, ()))
    return RunContents(record, run.records, run.tables, absent)
