"""Taking out: raw pages by age, an observation known to be wrong, leftovers of crashes.

    hold the lake (leftovers of crashes go)
      → the catalogue without what is taken out
      → the record that says so, beside the raw pages          from here on it is gone, for every reader
      → a fold, where one is asked for, or one holds what was withdrawn and has had its grace
      → the files of which the grace is over                   a grace counts from the record

No reader meets a file that is gone, unless it kept a lake open for longer than
the grace. Killed anywhere, the next prune goes on where this one was.

Never by age: the pages of an account's latest observation, and pages of a run
that the lake lacks.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from pipeline.errors import AlreadyObserved, BadSetting, UnknownName
from pipeline.extract.raw_pages import raw_path, raw_paths
from pipeline.lake.compaction import step
from pipeline.lake.compaction.manifest import newest_manifest
from pipeline.lake.compaction.step import expired_files
from pipeline.lake.layout import table_path
from pipeline.lake.lock import lock
from pipeline.lake.orphans import delete, orphans
from pipeline.lake.publish import complete_runs
from pipeline.lake.tombstones import RawPages, Tombstones, Withdrawal, read_tombstones, write_tombstones
from pipeline.log import logger
from pipeline.resources.control import REJECTS
from pipeline.resources.images import IMAGE_DISKS, IMAGES
from pipeline.settings import span
from pipeline.storage.store import open_location, store_of
from pipeline.views.connection import connect
from pipeline.views.database import write_catalog

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_log = logger(__name__)

GRACE: Final = "7d"
"""How long the bytes stay of what was taken out, or folded."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a prune did, or with `is_dry` would do."""

    is_dry: bool
    lines: tuple[str, ...]
    """What was withdrawn or restored, and which observation is the latest instead."""
    folds: tuple[str, ...]
    """The names of the folds that were made."""
    raw_taken_out: tuple[Path, ...]
    unlinked: tuple[Path, ...]
    orphans: tuple[Path, ...]
    byte_count: int
    """Of the files that were unlinked."""

    def __str__(self) -> str:
        """A line for each kind of thing that went, or would go."""
        would = "would be " if self.is_dry else ""
        lines = list(self.lines)
        if self.folds:
            lines.append(f"{len(self.folds):,} folds {would}made")
        for paths, what in (
            (self.raw_taken_out, "raw files {}taken out of the catalogue"),
            (self.unlinked, f"files {{}}unlinked, {self.byte_count:,} bytes"),
            (self.orphans, "leftovers of crashes {}cleared"),
        ):
            if paths:
                lines.append(f"{len(paths):,} {what.format(would)}")
                lines += [f"  {path}" for path in paths] if self.is_dry else []
        return "\n".join(lines or ["nothing to take out"])


@dataclass(frozen=True, slots=True)
class _Observation:
    account: str
    run_id: str
    observed_at_utc: dt.datetime
    observed_on: dt.date

    @property
    def name(self) -> str:
        return f"{self.run_id}/{self.account}"


def prune(
    data: str | Path = "data",
    *,
    raw_older_than: str | dt.timedelta | None = None,
    observation: str | None = None,
    restore: str | None = None,
    fold: bool = False,
    grace: str | dt.timedelta = GRACE,
    dry_run: bool = False,
    at: dt.datetime | None = None,
) -> Pruned:
    """Take out what is asked for, and unlink what was taken out before and has had its grace.

    An observation is called `<run>/<account>`, or by its run where that published one account. A span is a number and
    a letter: `90d`, `12h`. With `fold`, every run is folded that is not yet. `at` (UTC) stands for now, for those who
    live through days that are not today.

    Raises:
        UnknownName: there is no such published observation, or it is not withdrawn.
        BadSetting: a span makes no sense, or what is to be restored has been unlinked.
        AlreadyObserved: what is to be restored was observed again at that instant.
        LakeMissing: there is no lake in `data`.
        LakeLocked: another process holds it.
    """
    data = open_location(data)
    store_of(data).require_local(
        data, "pruning", "let the bucket's own lifecycle rules expire raw/, or prune a copy of it in a folder"
    )
    now = (at or dt.datetime.now(dt.UTC)).replace(tzinfo=None)
    age = None if raw_older_than is None else span(raw_older_than)
    until = now + span(grace)
    lines: list[str] = []
    with contextlib.ExitStack() as stack:
        published = _published(data)  # before anything is made: where there is no lake, there is none to hold
        cleared = orphans(data) if dry_run else stack.enter_context(lock(data))
        before = read_tombstones(data)
        record = before
        if restore is not None:
            record = _restore(data, record, restore, published, now, lines)
        if observation is not None:
            record = _withdraw(record, observation, published, now, until, lines)
        old = _old_pages(data, record, published, (now - age).date(), now) if age is not None else []
        needed = _runs_needed(record, published, now)  # a withdrawal can make an old observation the latest again
        still = tuple(
            one
            for one in record.raw_pages
            if one.run_id not in needed and raw_path(data, one.run_id, one.observed_on).exists()
        )
        new = tuple(RawPages(path.stem, _day(path), now, until) for path in old)
        record = msgspec.structs.replace(record, raw_pages=still + new)
        folds: list[str] = []
        if not dry_run:
            write_catalog(data, record)
            if record != before:
                write_tombstones(data, record)
                for told in (*lines, *(f"raw pages of run {one.run_id} are taken out" for one in new)):
                    _log.info("%s", told)
            if fold or _holds_what_must_go(data, record, now):
                folds = step.compact(data, grace=span(grace), now=now)
                write_catalog(data)
        elif fold and not step.nothing_to_compact(data, now):
            folds = [""]
        doomed = _to_delete(data, record, now)
        size = sum(path.stat().st_size for path in doomed)
        for path in doomed if not dry_run else ():
            delete(path)
            _log.info("unlinked %r", str(path))
    return Pruned(dry_run, tuple(lines), tuple(folds), tuple(old), tuple(doomed), tuple(cleared), size)


def _holds_what_must_go(data: Path, record: Tombstones, now: dt.datetime) -> bool:
    """Whether the fold holds an observation that was withdrawn and has had its grace."""
    there = newest_manifest(data)
    lasting = [one for one in record.active if one.until_utc <= now]
    return there is not None and any(one.account in there.covered.get(one.run_id, ()) for one in lasting)


def _day(path: Path) -> dt.date:
    return dt.date.fromisoformat(path.parent.name.removeprefix("observed_on="))


def _published(data: Path) -> list[_Observation]:
    """Every published observation that is not withdrawn, each account's latest last."""
    with connect(data) as lake:
        rows = lake.execute(
            "select account, run_id, observed_at_utc, observed_on from observations "
            "where is_published order by observed_at_utc, run_id"
        ).fetchall()
    return [_Observation(*row) for row in rows]


def _latest(published: Iterable[_Observation]) -> dict[str, _Observation]:
    return {one.account: one for one in published}


# ── withdrawing, restoring ───────────────────────────────────────────────────


def _named(said: str, there: Iterable[Any], what: str) -> Any:
    run_id, slash, account = said.partition("/")
    found = [one for one in there if one.run_id == run_id and (not slash or one.account == account)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UnknownName(f"run {said!r} has {len(found)} of them: say which, such as {found[0].name!r}")
    raise UnknownName(
        f"{said!r} is no {what}: `<run>/<account>` is expected, as in the columns run_id and account of `observations`"
    )


def _withdraw(
    record: Tombstones,
    said: str,
    published: list[_Observation],
    now: dt.datetime,
    until: dt.datetime,
    lines: list[str],
) -> Tombstones:
    one = _named(said, published, "published observation")
    was_latest = _latest(published)[one.account] == one
    published.remove(one)
    instead = _latest(published).get(one.account) if was_latest else None
    together = {other.account for other in published if other.run_id == one.run_id} | {one.account}
    lines.append(
        f"{one.name}: withdrawn, as of {one.observed_at_utc:%F %T} UTC; "
        + (
            f"the latest of {one.account!r} is now {instead.run_id}, as of {instead.observed_at_utc:%F %T} UTC"
            if instead
            else f"nothing of {one.account!r} is left"
            if was_latest
            else f"the latest of {one.account!r} stays"
        )
        + f"; `--restore {one.name}` takes it back until {until:%F %T} UTC"
    )
    withdrawal = Withdrawal(
        account=one.account,
        run_id=one.run_id,
        observed_at_utc=one.observed_at_utc,
        withdrawn_at_utc=now,
        until_utc=until,
        published_with=tuple(sorted(together | set(record.withdrawn_from(one.run_id)))),
        latest_instead=instead.run_id if instead else None,
    )
    return msgspec.structs.replace(record, withdrawn=(*record.withdrawn, withdrawal))


def _restore(
    data: Path,
    record: Tombstones,
    said: str,
    published: list[_Observation],
    now: dt.datetime,
    lines: list[str],
) -> Tombstones:
    one = _named(said, record.active, "withdrawn observation")
    there = newest_manifest(data)
    is_folded = there is not None and one.account in there.covered.get(one.run_id, ())
    if not is_folded and not all(path.exists() for path in _files_of(data, one)):
        raise BadSetting(
            f"{said!r} cannot be restored: its grace was over at {one.until_utc:%F %T} UTC, its files gone"
        )
    for other in published:
        if (other.account, other.observed_at_utc) == (one.account, one.observed_at_utc):
            raise AlreadyObserved(f"{said!r} was observed again by run {other.run_id}: withdraw that one first")
    published.append(_Observation(one.account, one.run_id, one.observed_at_utc, _observed_on(data, one)))
    published.sort(key=lambda each: (each.observed_at_utc, each.run_id))
    lines.append(f"{one.name}: restored, as of {one.observed_at_utc:%F %T} UTC")
    back = msgspec.structs.replace(one, restored_at_utc=now)
    return msgspec.structs.replace(record, withdrawn=tuple(back if each is one else each for each in record.withdrawn))


def _observed_on(data: Path, one: Withdrawal) -> dt.date:
    """The day of a run's folder: its commit record stays, or is folded."""
    there = newest_manifest(data)
    if there is not None and one.run_id in there.runs:
        return there.runs[one.run_id]
    return _day(next((data / "lake" / "observations").glob(f"observed_on=*/{one.run_id}.parquet")))


def _files_of(data: Path, one: Withdrawal) -> list[Path]:
    day = _observed_on(data, one)
    return [table_path(data, table, one.run_id, day) for table in (IMAGES, IMAGE_DISKS, REJECTS)]


# ── by age ───────────────────────────────────────────────────────────────────


def _runs_needed(record: Tombstones, published: list[_Observation], now: dt.datetime) -> set[str]:
    """The runs whose pages never go by age: each account's latest, and what may be restored and be that again."""
    can_come_back = {one.run_id for one in record.active if one.until_utc > now}
    return {one.run_id for one in _latest(published).values()} | can_come_back


def _old_pages(
    data: Path, record: Tombstones, published: list[_Observation], before: dt.date, now: dt.datetime
) -> list[Path]:
    """The raw files of days before `before` that may go."""
    may_go = complete_runs(data) - _runs_needed(record, published, now) - record.raw_runs
    return [path for path in raw_paths(data) if _day(path) < before and path.stem in may_go]


def _to_delete(data: Path, record: Tombstones, now: dt.datetime) -> list[Path]:
    """The files of which the grace is over; those of a run when it is over for each account in them."""
    paths = [raw_path(data, one.run_id, one.observed_on) for one in record.raw_pages if one.until_utc <= now]
    for run_id in sorted(record.whole_runs):
        withdrawn = list(record.withdrawn_from(run_id).values())
        if all(one.until_utc <= now for one in withdrawn):
            paths += _files_of(data, withdrawn[0])
    paths += expired_files(data, now, record)
    return [path for path in dict.fromkeys(paths) if path.exists()]
