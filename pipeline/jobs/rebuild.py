"""Rebuild: mend a lake from its raw pages.

    format → compaction, runs: what is not as committed → publish these runs again → compact again → catalog

The files of a run are replaced one by one, its commit record last. In between, a reader that meets a new file with an
old record ends with an error, as it did before, and never reads a wrong row; a killed rebuild is run again.

It decides nothing: the header of each raw file holds the decisions of the run
that landed it, and the version of reading. There are two exceptions: an account that a damaged lake left undecided; and
a new lake, which is read anew: an account whose answers prove less by that reading is not published there.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from pipeline.errors import BadSetting, LakeDamaged, LakeMissing
from pipeline.extract.raw_pages import RawRun, raw_paths
from pipeline.extract.reading_version import READING
from pipeline.jobs.volume_guard import decide_undecided
from pipeline.lake.commit import Publication, new_lake
from pipeline.lake.compaction.compact import compact
from pipeline.lake.compaction.damage import (
    compacted_observations,
    compaction_flaws,
    delete_compaction,
    loss_of,
    lost_runs,
)
from pipeline.lake.compaction.differences import differing_runs
from pipeline.lake.compaction.manifest import manifest_paths, newest_manifest
from pipeline.lake.compaction.restore import open_versions, restored_runs
from pipeline.lake.delta_log import require_delta_logs, warn_of_delta_logs
from pipeline.lake.file_set import FileSet
from pipeline.lake.folder_schema import add_missing_columns, delete_older_replacements, runs_with_older_files
from pipeline.lake.foreign_files import move_aside
from pipeline.lake.layout import shown, table_of
from pipeline.lake.lock import lock
from pipeline.lake.prefetch import Prefetch
from pipeline.lake.publish import publish, read_answers
from pipeline.lake.replacements import settle_withdrawals
from pipeline.lake.survey import RunState, complete_runs, loss, pages_flaw, runs_to_publish, survey
from pipeline.lake.tombstone_files import read_tombstones
from pipeline.lake.verification import MISSING, Verification
from pipeline.lake.withdrawn_files import files_of_run, is_aside, replacement_flaws
from pipeline.log import about, logger, timed
from pipeline.resources.control import RAW_PAGES
from pipeline.resources.tables import LAKE_TABLES, tables_of
from pipeline.runtime import rare_collection
from pipeline.storage.partitions import DAMAGED, day_of_run
from pipeline.storage.store import open_location, store_of
from pipeline.views.database import begin_catalog, write_catalog

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from pipeline.lake.tombstones import Listed, Tombstones, Withdrawal

_log = logger(__name__)


def rebuild(data: str | Path = "data", *, into: str | Path | None = None, delta: bool = False) -> list[str]:
    """Mend a lake from its raw pages, or build a whole new one `into` another folder or bucket.

    In place: every run is published again that the lake lacks, or of which a file is not the committed one, or has no
    digest or not every declared column, because an older version committed it. A damaged compaction begins again from
    the daily files; a damaged format file is written again; damaged raw pages of an intact run are moved aside, to
    `raw/.damaged`.

    `delta` begins a Delta log of each table, as a run does; one that is there is brought up to date in any case.

    A new lake in a folder appears at once. In a bucket its runs appear one by one, the oldest first, once every raw
    file was verified; killed, the same command goes on with the runs that are not there yet.

    Nothing that a run refused comes back, and nothing that was withdrawn since. Expired pages publish no
    run that the lake lacks; while they are there, they mend one that is damaged.

    Returns:
        The ids of the runs that were published.

    Raises:
        LakeMissing: no pages were ever landed in `data`.
        BadSetting: `into` holds a lake already.
        LakeDamaged: something cannot be mended: it is named, and all else is mended. Into a new lake: a raw file
            cannot be read, and nothing is published.
    """
    data = open_location(data).resolve()
    require_delta_logs(data if into is None else open_location(into), begin=delta)
    tombstones = read_tombstones(data)
    raw_files = [path for path in raw_paths(data) if path.stem not in tombstones.raw_runs]
    if not raw_files and (into is not None or not any((data / "lake").glob("*"))):
        raise LakeMissing(f"no landed pages in {str(data / 'raw')!r}: there is nothing to rebuild from")
    if into is None:
        return _mend(data, raw_files, tombstones, begin_delta=delta)
    return _build_new(data, open_location(into), raw_files, tombstones, begin_delta=delta)


def _build_new(
    data: Path, target: Path, raw_files: Sequence[Path], tombstones: Tombstones, *, begin_delta: bool
) -> list[str]:
    there = complete_runs(target)
    # In a bucket a killed rebuild goes on: what it began has no pages, and no other run.
    if there and (store_of(target).has_lock or raw_paths(target) or there - {path.stem for path in raw_files}):
        raise BadSetting(f"{str(target)!r} holds a lake already: give an empty folder, or a new prefix")
    if not store_of(target).has_lock:
        for path in raw_files:
            if flaw := pages_flaw(path):
                raise LakeDamaged(f"{shown(path)!r}: {flaw}: nothing is published from it, nor from the others")
    missing = [path for path in raw_files if path.stem not in there]
    states = _decisions(data, missing, tombstones)
    with lock(target), begin_catalog(target) as builder:
        with new_lake(target) as lake:
            for path in missing:
                withdrawn = tombstones.withdrawn_from(path.stem)
                with about(run=path.stem), timed(_log, "publishing"):
                    publish_again(lake, RawRun(path), withdrawn, reading=READING, state=states.get(path.stem))
        write_catalog(target, builder=builder)
        warn_of_delta_logs(target, begin=begin_delta)
    return [path.stem for path in missing]


def _decisions(data: Path, raw_files: Iterable[Path], tombstones: Tombstones) -> dict[str, RunState]:
    """Return what a rebuild in place decided of the runs that a damaged lake left undecided, where that can be read."""
    if all(RawRun(path).is_decided for path in raw_files):
        return {}
    with contextlib.suppress(LakeDamaged):
        return survey(data, tombstones, ignore_compaction=bool(compaction_flaws(data)[1]))
    return {}


def _mend(data: Path, raw_files: Sequence[Path], tombstones: Tombstones, *, begin_delta: bool) -> list[str]:
    with lock(data, is_mending=True), begin_catalog(data) as builder:
        _set_aside_damaged_replacements(data)
        compacted = compacted_observations(data, None) if _set_aside_unreadable_manifests(data) else {}
        manifest, compaction_is_damaged = compaction_flaws(data)
        states = survey(data, tombstones, ignore_compaction=bool(compaction_is_damaged))
        missing = runs_to_publish(
            states, [path for path in raw_paths(data) if path.stem in states or path in raw_files]
        )
        older = [state for state in runs_with_older_files(states.values()) if state.raw not in missing]
        missing += [state.raw for state in older if state.raw is not None and state.has_usable_pages]
        undecided, lost = _publish_decided(data, missing, states)
        for state in older:
            if not state.has_usable_pages:
                add_missing_columns(data, state)
                _log.info("added the missing columns to the files of run %s, as null", state.run_id)
        restored = [] if compaction_is_damaged else _restore(data, states.values())
        delete_older_replacements(data, read_tombstones(data))
        settle_withdrawals(data, read_tombstones(data))  # the files of a withdrawn run were written in the folders
        published = {path.stem for path in missing} - {path.stem for path in undecided} | set(restored)
        lost += [line for run, state in states.items() if run not in published for line in loss(state, data)]
        if compaction_is_damaged or compacted:
            compacted |= compacted_observations(data, manifest)
            left = lost_runs(data, compacted, {*states, *published}, tombstones)
            lost += [f"run {run}: {loss_of(data, run, accounts)}" for run, accounts in left.items()]
            if compaction_is_damaged and not left:
                delete_compaction(data)
        begins_again = bool(compaction_is_damaged)
        if not lost and not compaction_is_damaged and _has_wrong_rows(data, states, published):
            begins_again = True
            held, unreadable = _write_what_it_alone_holds(data, states)
            undecided += held
            lost += unreadable
            if not lost:
                delete_compaction(data)
        if not lost:
            is_empty = contextlib.suppress(LakeMissing)  # where every run was lost, and its loss accepted
            if begins_again:
                with is_empty:
                    compact(data)
            for path in undecided:  # their decision depends on the runs before them
                _publish_in_place(data, RawRun(path), states)
            settle_withdrawals(data, read_tombstones(data))
            _set_aside_damaged_pages(data, states.values())
            with is_empty:
                write_catalog(data, builder=builder)
        warn_of_delta_logs(data, begin=begin_delta, recount=True)
    if lost:
        lines = "\n".join(f"  {line}" for line in lost)
        raise LakeDamaged(f"the lake in {shown(data)!r} is mended, but for what nothing brings back:\n{lines}")
    return [path.stem for path in missing] + restored


def _has_wrong_rows(data: Path, states: Mapping[str, RunState], published: AbstractSet[str]) -> bool:
    """Whether the versions give other rows of a run than its daily files, intact or just `published`."""
    import duckdb

    whole = {run for run, state in states.items() if run in published or not (state.flaws or state.is_accepted)}
    if not any(states[run].is_compacted for run in whole):
        return False
    with duckdb.connect() as con:
        store_of(data).register_filesystem(con)
        found = differing_runs(con, FileSet.read(data, everything=True, ignore_format=True), whole)
    for run_id, tables in found.items():
        _log.info("the versions give other %s of run %s than its daily files", ", ".join(tables), run_id)
    return bool(found)


def _write_what_it_alone_holds(data: Path, states: Mapping[str, RunState]) -> tuple[list[Path], list[str]]:
    """Write the daily files that an older version deleted, before the compaction begins again. Returns: as below."""
    held = [state for state in states.values() if state.is_compacted and not state.record.exists()]
    for state in held:
        state.flaws[state.record] = MISSING
    undecided, unreadable = _publish_decided(
        data, [state.raw for state in held if state.raw is not None and state.has_usable_pages], states
    )
    _restore(data, held)
    return undecided, unreadable + [line for state in held for line in loss(state, data)]


def _restore(data: Path, states: Iterable[RunState]) -> list[str]:
    """Write the daily files of damaged compacted runs again from the versions. Returns: the runs."""
    import duckdb

    damaged_runs = [state for state in states if state.is_restorable]
    if not damaged_runs:
        return []
    files = FileSet.read(data, everything=True)
    with duckdb.connect() as con:
        store_of(data).register_filesystem(con)
        Verification(files).verify_compacted()
        open_versions(con, files)
        for state in damaged_runs:
            day = day_of_run(state.run_id)
            (run,) = restored_runs(con, files, {state.run_id: day})
            publication = Publication(data, state.run_id, day, is_replacing=True)
            for table in tables_of({row["resource"] for row in run.records if row["is_published"]}):
                publication.add(table, run.tables[table.name])
            publication.commit(run.records, state.digests.get(RAW_PAGES.name))
            _log.info("restored run %s from the compacted versions", state.run_id)
    return [state.run_id for state in damaged_runs]


def _publish_decided(
    data: Path, raw_files: Iterable[Path], states: Mapping[str, RunState]
) -> tuple[list[Path], list[str]]:
    """Publish every run whose decisions are made. Returns: the others, and what is wrong with unreadable raw files."""
    undecided, unreadable = [], []
    for path in raw_files:
        try:
            raw = RawRun(path)
            if path.stem not in states and (flaw := pages_flaw(path)):  # before anything of the run is replaced
                unreadable.append(flaw)
                continue
            if raw.is_decided:
                _publish_in_place(data, raw, states)
            else:
                undecided.append(path)
        except LakeDamaged as error:
            unreadable.append(str(error))
    return undecided, unreadable


def _publish_in_place(data: Path, raw: RawRun, states: Mapping[str, RunState]) -> None:
    state = states.get(raw.path.stem)
    if not raw.is_decided and state is not None and state.record in state.flaws and not state.is_compacted:
        _delete_files(data, state.run_id)  # the lake cannot be opened with them, to decide what it left undecided
    # A withdrawal can still be undone, and its tombstone hides the rows.
    with about(run=raw.path.stem), timed(_log, "publishing"):
        publish_again(
            data, raw, {}, is_replacing=state is not None, reading=state.reading if state else None, state=state
        )


def _delete_files(data: Path, run_id: str) -> None:
    """Delete the daily files of a run, which is published again from its pages: also after a kill in between."""
    for table in reversed(LAKE_TABLES):
        store_of(data).delete_files(
            [path for path in files_of_run(data, table, run_id) if path.is_file() and not is_aside(path)]
        )


def _set_aside_unreadable_manifests(data: Path) -> bool:
    """Move each newest manifest that cannot be read out of the way: the one before it, if there is any, counts again.

    Its files are there for their grace period, and so are the daily files of what was compacted since.

    Returns: whether there was one.
    """
    is_moved = False
    while True:
        try:
            newest_manifest(data)
        except LakeDamaged:
            path = manifest_paths(data)[-1]
            if store_of(data).is_local and not path.is_file():
                move_aside(data, path)
            else:
                store_of(data).move(path, data / "lake" / DAMAGED / path.parent.name / path.name)
            is_moved = True
            _log.info("moved the manifest %r aside, which cannot be read", str(path))
        else:
            return is_moved


def _set_aside_damaged_replacements(data: Path) -> None:
    """Move damaged files without withdrawn rows out of the way: they are derived again from those with all rows."""
    for path, flaw in replacement_flaws(data, read_tombstones(data)).items():
        if path.exists():
            store_of(data).move(path, data / "lake" / DAMAGED / table_of(path) / path.name)
            _log.info("moved %r aside: %s", str(path), flaw)


def _set_aside_damaged_pages(data: Path, states: Iterable[RunState]) -> None:
    """Move damaged raw pages of intact runs out of the way: nothing may be derived from them."""
    for state in states:
        if state.raw is not None and state.raw_flaw is not None:
            store_of(data).move(state.raw, data / "raw" / DAMAGED / state.raw.name)
            _log.info("moved %r aside: %s", str(state.raw), state.raw_flaw)


def publish_again(
    data: Path,
    raw: RawRun,
    withdrawn: Mapping[Listed, Withdrawal],
    *,
    is_replacing: bool = False,
    reading: int | None = None,
    state: RunState | None = None,
) -> None:
    """Publish a landed run from its raw pages, without the accounts that are `withdrawn`.

    `is_replacing` allows damaged files of the run to be there. `reading` is a version of reading; None: the one that
    landed the pages. `state` is what was found of the run in the lake.
    """
    reading = reading or raw.reading
    first = raw.header["accounts"][0]
    prefetch = Prefetch(
        Publication(data, raw.header["run_id"], raw.observed_on, is_replacing=is_replacing),
        first["account"],
        lambda pass_number: bool(first["is_published"]) and pass_number == first["ended_passes"],
        observed_at_utc=raw.given_at_utc,
        first_page=1 if raw.header.get("completeness_rule") is None else 2,
        reading=reading,
    )
    with rare_collection(), prefetch:
        answers = read_answers(raw, prefetch, reading=reading)
        decide_undecided(data, raw, answers, state)
        publish(data, raw, answers, prefetch=prefetch, withdrawn=withdrawn, reading=reading)
