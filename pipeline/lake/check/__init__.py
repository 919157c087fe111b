"""Check that the lake is intact: every file, key, count and certificate. Changes nothing, takes no lock.

    commit records ─→ files      readable, checksums right, of the declared schema       files.py
        a run        ─→ rules      keys unique, disks belong to images, counts and ids     runs.py, rules.py
        its pages    ─→ evidence   computed again, every column of it                      pages.py
        its pages    ─→ rows       built again, compared by key (deep)                     compare.py, later_fields.py
    compaction     ─→ versions   disjoint; each run restored, and checked as above       versions.py
    everything else ─→ strays     files that no commit names, the catalog              files.py
    raw pages, records ─→ secrets    that an older version stored                      secrets.py

A batch of runs at a time, in Arrow and DuckDB. A finding names the file, the problem,
and how many rows have it.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from pipeline.errors import LakeDamaged, LakeMissing
from pipeline.extract.raw_pages import raw_paths
from pipeline.lake.check.files import check_other_files
from pipeline.lake.check.model import CheckResult, CheckState, Finding
from pipeline.lake.check.pages import check_against_pages
from pipeline.lake.check.runs import check_contents, find_violations, in_batches, read_plain_run
from pipeline.lake.check.secrets import check_secrets
from pipeline.lake.check.versions import check_compacted
from pipeline.lake.compaction.damage import compacted_observations, compaction_flaws, loss_of, lost_runs
from pipeline.lake.file_set import FileSet
from pipeline.lake.format import FORMAT_FILE, format_of
from pipeline.lake.layout import command, table_path
from pipeline.lake.survey import RunState, cure, survey
from pipeline.lake.tombstone_files import read_tombstones, tombstones_flaws
from pipeline.lake.tombstones import Tombstones
from pipeline.log import about, logger
from pipeline.resources.control import OBSERVATIONS
from pipeline.resources.schema import FORMAT
from pipeline.storage.partitions import day_of_run
from pipeline.storage.store import open_location, store_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from pipeline.lake.check.runs import RunContents
    from pipeline.lake.compaction.manifest import Manifest

__all__ = ["CheckResult", "Finding", "check"]

_log = logger(__name__)


def check(data: str | Path = "data", *, deep: bool = False) -> CheckResult:
    """Check every committed file of the lake, and the raw pages that are there.

    With `deep`, build every run again from its raw pages in a temporary folder, and compare every row.

    Raises:
        LakeMissing: there is no lake in `data`.
        LakeTooNew: a newer version has written there.
    """
    import duckdb

    location = open_location(data).resolve()
    result = CheckResult(location, deep)
    tombstones = _tombstones(location, result)
    result.withdrawn_count = len(tombstones.active)
    manifest, flaws = compaction_flaws(location)
    _format(location, result)
    try:  # what is withdrawn is checked too, as long as it is there
        files = FileSet.read(location, tombstones, everything=True, ignore_format=True, ignore_compaction=bool(flaws))
    except LakeMissing:
        _compaction_findings(result, manifest, flaws, (), tombstones)
        if result.is_intact:
            raise
        return result
    records = files.daily[OBSERVATIONS.name]
    states = survey(location, tombstones, ignore_compaction=bool(flaws))
    _survey_findings(result, states)
    _compaction_findings(result, manifest, flaws, states, tombstones)
    flawed = {path for state in states.values() for path in state.flaws}
    intact = {name: tuple(path for path in paths if path not in flawed) for name, paths in files.daily.items()}
    is_local = store_of(location).is_local
    raw = [path for path in raw_paths(location) if path.is_file() or not is_local]  # no link to nothing
    with duckdb.connect() as con:
        store_of(location).register_filesystem(con)
        state = CheckState(
            location,
            result,
            con,
            files=dataclasses.replace(files, daily=intact),  # what is damaged is a finding already, and is not read
            manifest=None if flaws else manifest,
            tombstones=tombstones,
            states=states,
            records={path.stem: path for path in (*records, *files.retained[OBSERVATIONS.name])},
            raw_files={path.stem: path for path in raw if path.stem not in tombstones.raw_runs},
        )
        result.run_count += len(records)
        _check_daily(state, (run for record in records if (run := read_plain_run(state, record)) is not None))
        if state.manifest is not None:
            check_compacted(state, state.manifest)
        check_other_files(state)
        check_secrets(state)
    return result


def _check_daily(state: CheckState, runs: Iterable[RunContents]) -> None:
    """Check runs by themselves and against their raw pages, a batch of bounded size at a time."""
    for batch in in_batches(runs, lambda run: run.row_count):
        violations = find_violations(state, batch)
        for run, problems in zip(batch, violations, strict=True):
            with about(run=run.run_id):
                check_contents(state, run, problems)
                check_against_pages(state, run)
                _log.info("checked, with %d observations", len(run.observations))
        batch.clear()  # before the next one is read


def _tombstones(data: Path, result: CheckResult) -> Tombstones:
    try:
        tombstones = read_tombstones(data)
        cure = f"; {command(data, 'rebuild')} writes it again from its copy"
    except LakeDamaged:
        tombstones, cure = Tombstones(), ""
    for path, flaw in tombstones_flaws(data).items():
        result.add(path, f"{flaw}{cure}")
    return tombstones


def _compaction_findings(
    result: CheckResult,
    manifest: Manifest | None,
    flaws: Mapping[Path, str],
    with_record: Collection[str],
    tombstones: Tombstones,
) -> None:
    """Name what is lost with a damaged compaction, then its files: once the loss is accepted, it begins again."""
    data = result.data
    lost = lost_runs(data, compacted_observations(data, manifest), with_record, tombstones) if flaws else {}
    for run_id, listed in lost.items():
        result.add(table_path(data, OBSERVATIONS, run_id, day_of_run(run_id)), loss_of(data, run_id, listed))
    then = "then " if lost else ""
    for path, flaw in flaws.items():
        result.add(path, f"{flaw}: {then}{command(data, 'rebuild')} compacts again from the daily files")


def _format(data: Path, result: CheckResult) -> None:
    try:
        is_stated = format_of(data) is not None
    except LakeDamaged as error:
        result.add(f"lake/{FORMAT_FILE}", str(error))
        return
    if not is_stated and any((data / "lake" / OBSERVATIONS.name).glob("*")):
        mending = f"{command(data, 'rebuild')} writes it again"
        result.add(data / "lake" / FORMAT_FILE, f"missing: its content should be {FORMAT}; {mending}")


def _survey_findings(result: CheckResult, states: Mapping[str, RunState]) -> None:
    for state in states.values():
        for path, flaw in state.flaws.items():
            result.add(path, f"{flaw}: {cure(state, result.data)}")
        if state.raw is not None and state.raw_flaw is not None:
            result.add(
                state.raw,
                f"{state.raw_flaw}: nothing is derived from it; "
                f"{command(result.data, 'rebuild')} moves it aside where its run is intact",
            )
        if not state.digests and not state.flaws and state.record.is_file():
            result.without_digests_count += 1
