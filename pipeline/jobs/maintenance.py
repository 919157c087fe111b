"""Maintain a lake: the steps that compaction, retention, withdrawal and restoring share.

    lock the lake (orphans are deleted)
      → edit the tombstones: what is withdrawn, restored, expired
      → write the tombstones                                   from here on it is gone, for every reader of ours
      → move the files with withdrawn rows                     and for every other one: see lake/withdrawn_files.py
      → write the catalog without it
      → compact, where that was asked for, or where versions hold what was withdrawn for good
      → write the Delta logs, where there are any
      → delete the files past their grace period               it counts from the tombstone

A reader that opened the lake before a withdrawal ends with an error where it needs the moved files; no other one meets
a deleted file, unless it kept a lake open for longer than the grace period. Killed anywhere, the next call goes on
where this one was.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from pipeline.errors import LakeDamaged, LakeLocked, LakeMissing
from pipeline.extract.raw_pages import raw_path
from pipeline.lake.compaction import compact as compaction
from pipeline.lake.compaction.manifest import newest_manifest
from pipeline.lake.delta_log import write_delta_logs
from pipeline.lake.file_set import FileSet
from pipeline.lake.folder_days import delete_days, expired_day_folders
from pipeline.lake.layout import CATALOG
from pipeline.lake.lock import lock
from pipeline.lake.orphans import orphans
from pipeline.lake.replacements import settle_withdrawals
from pipeline.lake.tombstones import ExpiredPages, Listed, Tombstones, observation_name
from pipeline.lake.withdrawn_files import expired_withdrawn_files
from pipeline.log import logger
from pipeline.settings import span
from pipeline.storage.partitions import day_of_run
from pipeline.storage.store import open_location, store_of
from pipeline.text import pluralize
from pipeline.views.connection import read_published
from pipeline.views.database import write_catalog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

GRACE: Final = "7d"
"""How long the files stay of what was withdrawn, expired or compacted."""

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Maintained:
    """What a maintenance command did, or with `is_dry` would do."""

    is_dry: bool
    lines: tuple[str, ...]
    """What was withdrawn or restored, and which observation is the latest instead."""
    compactions: tuple[str, ...]
    """The names of the manifests that were written."""
    expired_raw: tuple[Path, ...]
    """Raw files that no reader sees from now on."""
    deleted: tuple[Path, ...]
    orphans: tuple[Path, ...]
    byte_count: int
    """Of the deleted files."""

    def __str__(self) -> str:
        """A line for each kind of change."""
        would = "would be " if self.is_dry else ""
        lines = list(self.lines)
        if self.compactions:
            lines.append(f"{pluralize(len(self.compactions), 'compaction')} {would}written")
        for paths, noun, what in (
            (self.expired_raw, "raw file", "expired"),
            (self.deleted, "file", f"deleted, {pluralize(self.byte_count, 'byte')}"),
            (self.orphans, "orphan", "deleted"),
        ):
            if paths:
                lines.append(f"{pluralize(len(paths), noun)} {would}{what}")
                lines += [f"  {path}" for path in paths] if self.is_dry else []
        return "\n".join(lines or ["nothing to do"])


@dataclass(frozen=True, slots=True, order=True)
class Observation:
    """A published observation that is not withdrawn."""

    account: str
    run_id: str
    observed_at_utc: dt.datetime
    observed_on: dt.date
    resource: str = "images"

    @property
    def listed(self) -> Listed:
        """Account and resource."""
        return self.account, self.resource

    @property
    def name(self) -> str:
        """What a user calls it: `<run>/<account>`, and its resource unless that is `images`."""
        return observation_name(self.run_id, self.listed)


@dataclass(slots=True)
class Edit:
    """The tombstones while a command changes them, and the published observations that they leave."""

    data: Path
    is_dry: bool
    now: dt.datetime
    until: dt.datetime
    """The end of the grace period of what is withdrawn or expires now."""
    tombstones: Tombstones
    published: list[Observation]
    lines: list[str]

    @property
    def latest(self) -> dict[Listed, Observation]:
        """The last published observation of each account and resource."""
        return {observation.listed: observation for observation in self.published}


def maintain(
    data: str | Path,
    edit: Callable[[Edit], Iterable[Path]] = lambda _: (),
    *,
    compact: bool = False,
    grace: str | dt.timedelta = GRACE,
    dry_run: bool = False,
    at: dt.datetime | None = None,
) -> Maintained:
    """Let `edit` change the tombstones and return the raw files that expire, then do what follows from them.

    Raises:
        BadSetting: a span makes no sense.
        LakeMissing: there is no lake in `data`.
        LakeLocked: another process holds it.
    """
    data = open_location(data)
    now = (at or dt.datetime.now(dt.UTC)).replace(tzinfo=None)
    grace_period = span(grace)
    with contextlib.ExitStack() as stack:
        FileSet.read(data)  # before anything is made: where there is no lake, there is none to lock
        deleted_orphans = orphans(data) if dry_run else stack.enter_context(lock(data, is_maintaining=True))
        edited, expired, tombstones = _edit(data, edit, now, grace_period, dry_run=dry_run)
        compactions: list[str] = []
        if not dry_run:
            write_catalog_if_intact(data)
            if compact or _holds_what_must_go(data, tombstones, now):
                compactions = compaction.compact(data, grace=grace_period, now=now)
                write_catalog_if_intact(data)
        elif compact and not compaction.nothing_to_compact(data, now):
            compactions = [""]
        days = expired_day_folders(data, tombstones, now)
        of_days = [path for paths in days.values() for path in paths]
        single = [path for path in _to_delete(data, tombstones, now) if path not in of_days]
        to_delete = [*of_days, *single]
        lines = edited.lines if dry_run else [*edited.lines, *write_delta_logs(data)]
        size = sum(store_of(path).size(path) for path in to_delete)
        if not dry_run:
            delete_days(data, days)
            store_of(data).delete_files(single)
            for path in single:
                _log.info("deleted %r", str(path))
    return Maintained(
        dry_run,
        tuple(lines),
        tuple(compactions),
        tuple(expired),
        tuple(to_delete),
        tuple(deleted_orphans),
        size,
    )


def _edit(
    data: Path,
    edit: Callable[[Edit], Iterable[Path]],
    now: dt.datetime,
    grace_period: dt.timedelta,
    *,
    dry_run: bool,
) -> tuple[Edit, list[Path], Tombstones]:
    """Let `edit` change the tombstones, and bring the folders in agreement with them.

    Where another machine changes them at once, it begins again from the state that this one left.

    Returns: the edit, the raw files that expire, and the tombstones.
    """
    while True:
        files = FileSet.read(data)
        before = files.tombstones
        try:
            edited = Edit(data, dry_run, now, now + grace_period, before, _published(data), [])
            expired = list(edit(edited))
            tombstones = edited.tombstones = _with_expired(edited, expired)
            if dry_run:
                return edited, expired, tombstones
            tombstones = settle_withdrawals(data, tombstones, before)
        except Exception as error:
            if store_of(data).has_lock or not (isinstance(error, LakeLocked) or files.is_outdated()):
                raise
            _log.info("another machine has withdrawn, restored or compacted: beginning again from its state")
        else:
            if tombstones != before:
                for line in (*edited.lines, *(f"raw pages of run {path.stem} are expired" for path in expired)):
                    _log.info("%s", line)
            return edited, expired, tombstones


def write_catalog_if_intact(data: Path) -> None:
    """Write the catalog; where damage elsewhere in the lake prevents that, delete it: it would show the lake before."""
    try:
        write_catalog(data)
    except (LakeDamaged, LakeMissing) as error:  # missing: every run is lost, and its loss accepted
        (data / CATALOG).unlink(missing_ok=True)
        _log.warning("lake.duckdb is deleted, because a new one cannot be written: %s", error)


def _with_expired(edit: Edit, expired: Iterable[Path]) -> Tombstones:
    """The tombstones with those of the raw files that expire, and without those of runs that are needed again."""
    needed = runs_needed(edit)  # a withdrawal can make an old observation the latest again
    still = tuple(
        tombstone
        for tombstone in edit.tombstones.raw_pages
        if tombstone.run_id not in needed and raw_path(edit.data, tombstone.run_id, tombstone.observed_on).exists()
    )
    new = tuple(ExpiredPages(path.stem, day_of_run(path.stem), edit.now, edit.until) for path in expired)
    return msgspec.structs.replace(edit.tombstones, raw_pages=still + new)


def runs_needed(edit: Edit) -> set[str]:
    """The runs whose raw pages never expire: each account's latest, and those that a restore may make that again."""
    can_come_back = {withdrawal.run_id for withdrawal in edit.tombstones.active if withdrawal.until_utc > edit.now}
    return {observation.run_id for observation in edit.latest.values()} | can_come_back


def _published(data: Path) -> list[Observation]:
    """Every published observation that is not withdrawn, each account's latest last."""
    found = [
        Observation(one.account, one.run_id, one.observed_at_utc, one.observed_on, one.resource)
        for one in read_published(data)
    ]
    return sorted(found, key=lambda one: (one.observed_at_utc, one.run_id))


def _holds_what_must_go(data: Path, tombstones: Tombstones, now: dt.datetime) -> bool:
    """Whether the versions hold an observation that was withdrawn, its grace period over."""
    manifest = newest_manifest(data)
    lasting = [withdrawal for withdrawal in tombstones.active if withdrawal.until_utc <= now]
    return manifest is not None and any(
        withdrawal.listed in manifest.covered.get(withdrawal.run_id, ()) for withdrawal in lasting
    )


def _to_delete(data: Path, tombstones: Tombstones, now: dt.datetime) -> list[Path]:
    """The files past their grace period; one with withdrawn rows once it is over for each account in it."""
    paths = [
        raw_path(data, tombstone.run_id, tombstone.observed_on)
        for tombstone in tombstones.raw_pages
        if tombstone.until_utc <= now
    ]
    paths += expired_withdrawn_files(data, tombstones, now)
    paths += compaction.expired_files(data, now)
    return [path for path in dict.fromkeys(paths) if path.exists()]
