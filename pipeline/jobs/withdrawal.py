"""Withdraw an observation known to be wrong, and restore it.

Readers leave a withdrawn observation out from the tombstone on, and the folders of the tables no longer hold it. Its
files stay in `lake/.withdrawn` for a grace period, in which `restore` brings it back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from pipeline.errors import AlreadyObserved, BadSetting, LakeDamaged, UnknownName
from pipeline.jobs.loss import accept_loss, move_away_lost_run
from pipeline.jobs.maintenance import (
    GRACE,
    Edit,
    Maintained,
    Observation,
    maintain,
)
from pipeline.lake.check.files import with_every_column
from pipeline.lake.compaction.manifest import newest_manifest
from pipeline.lake.layout import command, shown, table_path
from pipeline.lake.survey import cure, survey
from pipeline.lake.tombstones import Listed, Tombstones, Withdrawal, is_called
from pipeline.lake.verification import MISSING, damaged, read_verified, record_flaw
from pipeline.lake.withdrawn_files import holds_rows_of
from pipeline.resources.control import OBSERVATIONS
from pipeline.storage.partitions import day_of_run, instant_of_run, is_run_id
from pipeline.storage.store import open_location

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable
    from pathlib import Path

    from pipeline.lake.survey import RunState

_Named = TypeVar("_Named", Observation, Withdrawal)


def withdraw(
    data: str | Path,
    observation: str,
    *,
    grace: str | dt.timedelta = GRACE,
    dry_run: bool = False,
    at: dt.datetime | None = None,
) -> Maintained:
    """Withdraw the observations called `<run>/<account>`, or by their run where that published one account.

    `<run>/<account>/<resource>` withdraws that resource alone.

    Of a run whose commit record is lost, and which nothing brings back, what is left is moved to `lake/.damaged`. Of a
    run that a damaged compaction alone held, the loss is accepted.

    Raises:
        UnknownName: there is no such published observation.
        BadSetting: the grace period makes no sense.
        LakeMissing: there is no lake in `data`.
        LakeLocked: another process holds it.
    """

    def edit(edit: Edit) -> tuple[()]:
        edit.tombstones = _withdraw(edit, observation)
        return ()

    location = open_location(data)
    return (
        move_away_lost_run(location, observation, dry_run=dry_run)
        or accept_loss(location, observation, dry_run=dry_run, at=at)
        or maintain(data, edit, grace=grace, dry_run=dry_run, at=at)
    )


def restore(data: str | Path, observation: str, *, dry_run: bool = False, at: dt.datetime | None = None) -> Maintained:
    """Undo the withdrawal of an observation.

    Raises:
        UnknownName: there is no such withdrawal.
        BadSetting: its grace period is over and its files are deleted.
        AlreadyObserved: the account was observed again at that instant.
        LakeMissing: there is no lake in `data`.
        LakeLocked: another process holds it.
    """

    def edit(edit: Edit) -> tuple[()]:
        edit.tombstones = _restore(edit, observation)
        return ()

    return maintain(data, edit, dry_run=dry_run, at=at)


def _withdraw(edit: Edit, name: str) -> Tombstones:
    if failed := _find_failed(edit, name):
        return _withdraw_failed(edit, failed)
    found = _find(name, edit.published, "published observation")
    state = survey(edit.data, edit.tombstones).get(found[0].run_id)
    _refuse_damaged(edit, found, state)
    for observation in found:
        edit.tombstones = _withdraw_published(edit, observation, is_lost=state is not None and state.is_lost)
    return edit.tombstones


def _refuse_damaged(edit: Edit, observations: list[Observation], state: RunState | None) -> None:
    """Refuse to withdraw a part of a run of which a file is damaged: no other is derived from it.

    Raises:
        LakeDamaged: one is; the message says what mends it.
    """
    run_id = observations[0].run_id
    if all(one in observations for one in edit.published if one.run_id == run_id):
        return
    if state is not None and state.flaws and not state.is_lost:
        path, flaw = next(iter(state.flaws.items()))
        raise LakeDamaged(
            f"{run_id!r} cannot be withdrawn in part, because {shown(path)!r} is damaged: {flaw}; "
            f"{cure(state, edit.data)}"
        )


def _withdraw_published(edit: Edit, observation: Observation, *, is_lost: bool) -> Tombstones:
    was_latest = edit.latest[observation.listed] == observation
    edit.published.remove(observation)
    instead = edit.latest.get(observation.listed) if was_latest else None
    would_be = "would be " if edit.is_dry else ""
    if instead:
        consequence = f"{would_be or 'is now '}{instead.run_id}, as of {instead.observed_at_utc:%F %T} UTC"
    else:
        consequence = f"{would_be or 'is '}none: nothing is left" if was_latest else "stays"
    name = _exact_name(edit, observation)
    if is_lost:
        undone = "its files and raw pages are damaged or gone: nothing brings it back"
    elif edit.until > edit.now:
        undone = f"{command(edit.data, 'restore', name)} brings it back until {edit.until:%F %T} UTC"
    else:
        undone = "without a grace period: nothing brings it back"
    edit.lines.append(
        f"{name}: {would_be}withdrawn, as of {observation.observed_at_utc:%F %T} UTC; "
        f"the latest of {observation.account!r} {consequence}; {undone}"
    )
    of_the_run = {other.listed for other in edit.published if other.run_id == observation.run_id}
    published_with = {*of_the_run, observation.listed, *edit.tombstones.withdrawn_from(observation.run_id)}
    return _with_withdrawal(edit, observation, published_with, instead)


def _exact_name(edit: Edit, observation: Observation) -> str:
    """Name an observation, with its resource where the run has another resource of the account: `restore` takes all."""
    listed = [
        *(one.listed for one in edit.published if one.run_id == observation.run_id),
        *edit.tombstones.withdrawn_from(observation.run_id),
    ]
    has_others = any(one[0] == observation.account and one != observation.listed for one in listed)
    return f"{observation.run_id}/{'/'.join(observation.listed)}" if has_others else observation.name


def _with_withdrawal(
    edit: Edit, observation: Observation, published_with: Iterable[Listed], instead: Observation | None = None
) -> Tombstones:
    withdrawal = Withdrawal(
        account=observation.account,
        run_id=observation.run_id,
        observed_at_utc=observation.observed_at_utc,
        withdrawn_at_utc=edit.now,
        until_utc=edit.until,
        published_with=tuple(sorted(published_with)),
        latest_instead=instead.run_id if instead else None,
        resource=observation.resource,
    )
    return msgspec.structs.replace(edit.tombstones, withdrawn=(*edit.tombstones.withdrawn, withdrawal))


def _find_failed(edit: Edit, name: str) -> list[Observation]:
    """The failed tries that a user calls `name`; none where one of them is published, withdrawn or unknown."""
    run_id, _, account = name.partition("/")
    record = table_path(edit.data, OBSERVATIONS, run_id, day_of_run(run_id)) if is_run_id(run_id) else None
    if not account or record is None or not record.is_file():
        return []
    known = [*(one.listed for one in edit.published if one.run_id == run_id), *edit.tombstones.withdrawn_from(run_id)]
    if any(is_called(name, run_id, listed) for listed in known):  # as the compacted record says
        return []
    if flaw := record_flaw(record):
        raise damaged(edit.data, record, flaw)
    rows = with_every_column(read_verified(record), OBSERVATIONS).select(["account", "resource"]).to_pylist()
    listed = [(row["account"], row["resource"]) for row in rows]
    at, day = instant_of_run(run_id), day_of_run(run_id)
    return [Observation(one[0], run_id, at, day, one[1]) for one in listed if is_called(name, run_id, one)]


def _withdraw_failed(edit: Edit, tries: list[Observation]) -> Tombstones:
    """Withdraw tries that published nothing, such as one under a clock that was years ahead: it counts no more."""
    would_be = "would be " if edit.is_dry else ""
    for failed in tries:
        edit.lines.append(f"{failed.name}: a failed try, {would_be}withdrawn; it published nothing")
        published = (other.listed for other in edit.published if other.run_id == failed.run_id)
        edit.tombstones = _with_withdrawal(edit, failed, published)
    return edit.tombstones


def _restore(edit: Edit, name: str) -> Tombstones:
    for withdrawal in _find(name, edit.tombstones.active, "withdrawn observation"):
        edit.tombstones = _restore_one(edit, withdrawal)
    return edit.tombstones


def _restore_one(edit: Edit, withdrawal: Withdrawal) -> Tombstones:
    if withdrawal.listed in withdrawal.published:
        _restore_published(edit, withdrawal)
    would_be = "would be " if edit.is_dry else ""
    edit.lines.append(f"{withdrawal.name}: {would_be}restored, as of {withdrawal.observed_at_utc:%F %T} UTC")
    restored = msgspec.structs.replace(withdrawal, restored_at_utc=edit.now)
    return msgspec.structs.replace(
        edit.tombstones,
        withdrawn=tuple(restored if each is withdrawal else each for each in edit.tombstones.withdrawn),
    )


def _past_grace(withdrawal: Withdrawal, what: str) -> BadSetting:
    until = f"{withdrawal.until_utc:%F %T} UTC"
    return BadSetting(f"{withdrawal.name!r} cannot be restored: its grace period ended at {until}, and its rows {what}")


def _restore_published(edit: Edit, withdrawal: Withdrawal) -> None:
    """Check that every row of a withdrawn observation is there, and count it as published again."""
    name = withdrawal.name
    manifest = newest_manifest(edit.data)
    is_in_versions = manifest is not None and withdrawal.listed in manifest.covered.get(withdrawal.run_id, ())
    is_compacted_without = manifest is not None and not is_in_versions and withdrawal.run_id in manifest.runs
    record = table_path(edit.data, OBSERVATIONS, withdrawal.run_id, day_of_run(withdrawal.run_id))
    is_expired = day_of_run(withdrawal.run_id) in edit.tombstones.expired_days
    needs_files = not is_in_versions or (record.exists() and not is_expired)
    if is_compacted_without or (needs_files and not holds_rows_of(edit.data, edit.tombstones, withdrawal)):
        if withdrawal.until_utc > edit.now and not is_compacted_without:
            raise LakeDamaged(
                f"{name!r} cannot be restored now, because files of its run are missing: "
                + _way_back(edit, withdrawal, is_in_versions=is_in_versions)
            )
        raise _past_grace(withdrawal, "were compacted away" if is_compacted_without else "are deleted")
    others = tuple(one for one in edit.tombstones.withdrawn if one is not withdrawal)
    state = survey(edit.data, msgspec.structs.replace(edit.tombstones, withdrawn=others)).get(withdrawal.run_id)
    if state is not None and state.flaws:
        path, flaw = next(iter(state.flaws.items()))
        if withdrawal.until_utc <= edit.now and flaw == MISSING:  # no rebuild brings it back
            raise _past_grace(withdrawal, "are deleted")
        way_back = _way_back(edit, withdrawal, is_in_versions=is_in_versions)
        raise LakeDamaged(f"{name!r} cannot be restored, because {shown(path)!r} is damaged: {flaw}; {way_back}")
    for other in edit.published:
        if (other.listed, other.observed_at_utc) == (withdrawal.listed, withdrawal.observed_at_utc):
            raise AlreadyObserved(f"{name!r} was observed again by run {other.run_id}: withdraw that one first")
    at, day = withdrawal.observed_at_utc, day_of_run(withdrawal.run_id)
    edit.published.append(Observation(withdrawal.account, withdrawal.run_id, at, day, withdrawal.resource))
    edit.published.sort(key=lambda observation: (observation.observed_at_utc, observation.run_id))


def _way_back(edit: Edit, withdrawal: Withdrawal, *, is_in_versions: bool) -> str:
    """Say what writes the files of a withdrawn observation again."""
    state = survey(edit.data, edit.tombstones).get(withdrawal.run_id)
    if state is not None and (state.has_usable_pages or (is_in_versions and state.is_in_versions)):
        return f"{command(edit.data, 'rebuild')} writes it again"
    return "nothing brings it back: its raw pages are gone too"


def _find(name: str, candidates: Iterable[_Named], noun: str) -> list[_Named]:
    """The candidates that a user calls `name`: the resources of one account."""
    run_id = name.partition("/")[0]
    found = [one for one in candidates if is_called(name, one.run_id, one.listed)]
    accounts = {one.account for one in found}
    if len(accounts) == 1:
        return found
    if found:
        names = [found[0].name]
        names += [f"{run_id}/{'/'.join(one.listed)}" for one in found]
        example = next(each for each in names if each != name)
        raise UnknownName(f"run {name!r} has {len(accounts)} of them: name one, such as {example!r}")
    raise UnknownName(
        f"{name!r} is not a {noun}: `<run>/<account>` is expected, or `<run>/<account>/<resource>`, "
        "as in the columns run_id, account and resource of `observations`"
    )
