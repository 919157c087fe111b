"""Accept a loss: the observation is withdrawn, though nothing of it can be read.

its commit record is lost             what is left of its run is moved to lake/.damaged
a damaged compaction held it alone    a tombstone, so that `rebuild` compacts again without it
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import msgspec

from pipeline.extract.raw_pages import raw_path
from pipeline.jobs.maintenance import Maintained, write_catalog_if_intact
from pipeline.lake.compaction.damage import compacted_observations, compaction_flaws, lost_runs
from pipeline.lake.delta_log import warn_of_delta_logs
from pipeline.lake.layout import command, shown, table_of, table_path
from pipeline.lake.lock import lock
from pipeline.lake.replacements import settle_withdrawals
from pipeline.lake.survey import pages_flaw, survey
from pipeline.lake.tombstone_files import read_tombstones
from pipeline.lake.tombstones import Withdrawal, is_called, observation_name
from pipeline.lake.verification import record_flaw
from pipeline.lake.withdrawn_files import files_of_run
from pipeline.resources.control import OBSERVATIONS
from pipeline.resources.tables import ROW_TABLES
from pipeline.storage.partitions import DAMAGED, day_of_run, instant_of_run, is_run_id
from pipeline.storage.store import store_of
from pipeline.text import pluralize

if TYPE_CHECKING:
    from pathlib import Path


def _files_of_lost_run(data: Path, run_id: str) -> list[Path]:
    """List what is left of a run whose commit record is damaged or missing; none where something can bring it back."""
    if not is_run_id(run_id):
        return []
    day = day_of_run(run_id)
    record = table_path(data, OBSERVATIONS, run_id, day)
    tables = [path for table in ROW_TABLES for path in files_of_run(data, table, run_id)]
    left = [path for path in (record, *tables, raw_path(data, run_id, day)) if path.is_file()]
    if not left or not record_flaw(record):
        return []
    states = survey(data, read_tombstones(data))
    if run_id in states:
        return left if states[run_id].is_lost else []
    has_pages = left[-1].is_relative_to(data / "raw") and pages_flaw(left[-1]) is None
    return [] if has_pages else left  # with its pages, a rebuild publishes it


def move_away_lost_run(data: Path, observation: str, *, dry_run: bool) -> Maintained | None:
    """Move away what is left of a run whose commit record is lost. Returns: None where it is none of these."""
    run_id = observation.partition("/")[0]
    files = _files_of_lost_run(data, run_id)
    if not files:
        return None
    target = data / "lake" / DAMAGED / run_id
    would_be = "would be " if dry_run else ""
    line = f"{run_id}: its commit record is lost: {pluralize(len(files), 'file')} {would_be}moved to {shown(target)!r}"
    if not dry_run:
        with lock(data):
            for path in files:
                store_of(data).move(path, target / f"{table_of(path)}{path.name.removeprefix(run_id)}")
            write_catalog_if_intact(data)
            warn_of_delta_logs(data)
    return Maintained(dry_run, (line,), (), (), (), (), 0)


def accept_loss(data: Path, observation: str, *, dry_run: bool, at: dt.datetime | None) -> Maintained | None:
    """Withdraw an observation that is lost while the compaction is damaged. Returns: None where it is none of these.

    Without an account, every lost one of the run is withdrawn.
    """
    run_id = observation.partition("/")[0]
    if not is_run_id(run_id):
        return None
    manifest, flaws = compaction_flaws(data)
    if not flaws:
        return None
    now = (at or dt.datetime.now(dt.UTC)).replace(tzinfo=None)
    tombstones = read_tombstones(data)
    states = survey(data, tombstones, ignore_compaction=True)
    lost = lost_runs(data, compacted_observations(data, manifest), states, tombstones)
    if run_id in states and states[run_id].is_lost:
        lost[run_id] = states[run_id].left
    accepted = [each for each in lost.get(run_id, ()) if is_called(observation, run_id, each)]
    if not accepted:
        return None
    published = tuple(sorted({*lost[run_id], *tombstones.withdrawn_from(run_id)}))
    would_be = "would be " if dry_run else ""
    lines = tuple(
        f"{observation_name(run_id, each)}: its rows are lost: {would_be}withdrawn; once no other loss is left, "
        f"{command(data, 'rebuild')} compacts again"
        for each in accepted
    )
    if not dry_run:
        instant = instant_of_run(run_id)
        new = tuple(
            Withdrawal(account, run_id, instant, now, now, published, resource=resource)
            for account, resource in accepted
        )
        with lock(data):
            withdrawn = msgspec.structs.replace(tombstones, withdrawn=(*tombstones.withdrawn, *new))
            settle_withdrawals(data, withdrawn, tombstones)
            write_catalog_if_intact(data)
            warn_of_delta_logs(data)
    return Maintained(dry_run, lines, (), (), (), (), 0)
