"""Withdraw an observation known to be wrong, and restore it.

Readers leave a withdrawn observation out from the tombstone on. Its files stay
for a grace period, in which `restore` brings it back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from pipeline.errors import AlreadyObserved, BadSetting, UnknownName
from pipeline.jobs.maintenance import GRACE, Edit, Maintained, Observation, files_of, maintain, observed_on
from pipeline.lake.compaction.manifest import newest_manifest
from pipeline.lake.tombstones import Tombstones, Withdrawal

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable
    from pathlib import Path

_Named = TypeVar("_Named", Observation, Withdrawal)


def withdraw(
    data: str | Path,
    observation: str,
    *,
    grace: str | dt.timedelta = GRACE,
    dry_run: bool = False,
    at: dt.datetime | None = None,
) -> Maintained:
    """Withdraw the observation called `<run>/<account>`, or by its run where that published one account.

    Raises:
        UnknownName: there is no such published observation.
        BadSetting: the grace period makes no sense.
        LakeMissing: there is no lake in `data`.
        LakeLocked: another process holds it.
    """

    def edit(edit: Edit) -> tuple[()]:
        edit.tombstones = _withdraw(edit, observation)
        return ()

    return maintain(data, edit, grace=grace, dry_run=dry_run, at=at)


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
    observation = _find(name, edit.published, "published observation")
    was_latest = edit.latest[observation.account] == observation
    edit.published.remove(observation)
    instead = edit.latest.get(observation.account) if was_latest else None
    would_be = "would be " if edit.is_dry else ""
    if instead:
        consequence = f"{would_be or 'is now '}{instead.run_id}, as of {instead.observed_at_utc:%F %T} UTC"
    else:
        consequence = f"{would_be or 'is '}none: nothing is left" if was_latest else "stays"
    undone = (
        f"`ens-images restore {observation.name}` brings it back until {edit.until:%F %T} UTC"
        if edit.until > edit.now
        else "without a grace period: nothing brings it back"
    )
    edit.lines.append(
        f"{observation.name}: {would_be}withdrawn, as of {observation.observed_at_utc:%F %T} UTC; "
        f"the latest of {observation.account!r} {consequence}; {undone}"
    )
    of_the_run = {other.account for other in edit.published if other.run_id == observation.run_id}
    withdrawal = Withdrawal(
        account=observation.account,
        run_id=observation.run_id,
        observed_at_utc=observation.observed_at_utc,
        withdrawn_at_utc=edit.now,
        until_utc=edit.until,
        published_with=tuple(
            sorted({*of_the_run, observation.account, *edit.tombstones.withdrawn_from(observation.run_id)})
        ),
        latest_instead=instead.run_id if instead else None,
    )
    return msgspec.structs.replace(edit.tombstones, withdrawn=(*edit.tombstones.withdrawn, withdrawal))


def _restore(edit: Edit, name: str) -> Tombstones:
    withdrawal = _find(name, edit.tombstones.active, "withdrawn observation")
    manifest = newest_manifest(edit.data)
    is_in_versions = manifest is not None and withdrawal.account in manifest.covered.get(withdrawal.run_id, ())
    is_compacted_without = manifest is not None and not is_in_versions and withdrawal.run_id in manifest.runs
    if is_compacted_without or not (is_in_versions or all(path.exists() for path in files_of(edit.data, withdrawal))):
        raise BadSetting(
            f"{name!r} cannot be restored: its grace period ended at {withdrawal.until_utc:%F %T} UTC, and its rows "
            + ("were compacted away" if is_compacted_without else "are deleted")
        )
    for other in edit.published:
        if (other.account, other.observed_at_utc) == (withdrawal.account, withdrawal.observed_at_utc):
            raise AlreadyObserved(f"{name!r} was observed again by run {other.run_id}: withdraw that one first")
    day = observed_on(edit.data, withdrawal)
    edit.published.append(Observation(withdrawal.account, withdrawal.run_id, withdrawal.observed_at_utc, day))
    edit.published.sort(key=lambda observation: (observation.observed_at_utc, observation.run_id))
    would_be = "would be " if edit.is_dry else ""
    edit.lines.append(f"{withdrawal.name}: {would_be}restored, as of {withdrawal.observed_at_utc:%F %T} UTC")
    restored = msgspec.structs.replace(withdrawal, restored_at_utc=edit.now)
    return msgspec.structs.replace(
        edit.tombstones,
        withdrawn=tuple(restored if each is withdrawal else each for each in edit.tombstones.withdrawn),
    )


def _find(name: str, candidates: Iterable[_Named], noun: str) -> _Named:
    """The one candidate that a user calls `name`."""
    run_id, slash, account = name.partition("/")
    found = [one for one in candidates if one.run_id == run_id and (not slash or one.account == account)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UnknownName(f"run {name!r} has {len(found)} of them: name one, such as {found[0].name!r}")
    raise UnknownName(
        f"{name!r} is not a {noun}: `<run>/<account>` is expected, "
        "as in the columns run_id and account of `observations`"
    )
