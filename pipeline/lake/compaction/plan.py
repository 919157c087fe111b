"""Plan a compaction: which observations the next step takes, and which accounts are merged again from the start.

    commit records  +  newest manifest  +  tombstones   ─→   Plan(taken, extended, rebuilt, compacted, whole_runs)

An account whose observations arrive in order is *extended*: its open versions
and the new observations. An observation that came late, or was withdrawn for
good, has its account *rebuilt* from all of its versions; the rows that they had
in older files are invalidated. A withdrawal within its grace period stays compacted,
and is hidden by the views: it can be restored.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from pipeline.lake.compaction.manifest import COMPACTED, ENDED, OPEN, RECORDS, Manifest, next_name
from pipeline.lake.scan import pairs, scan_files
from pipeline.resources.control import OBSERVATIONS
from pipeline.resources.tables import LAKE_TABLES
from pipeline.storage.partitions import run_of

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable
    from pathlib import Path

    import duckdb

    from pipeline.lake.file_set import FileSet

STEP_ROWS: Final = 700_000
"""Images that a step takes; at least one run."""

_Key = tuple[str, str]
"""Run and account."""


@dataclass(frozen=True, slots=True)
class RecordRow:
    """One account in a commit record."""

    account: str
    run_id: str
    observed_on: dt.date
    observed_at_utc: Any
    """The instant; None where no listing ended."""
    is_published: bool
    image_count: int = 0
    disk_count: int = 0

    @property
    def key(self) -> _Key:
        """Run and account."""
        return self.run_id, self.account


def record_rows(con: duckdb.DuckDBPyConnection, files: FileSet) -> list[RecordRow]:
    """Read every row of every commit record as it was written, whatever was withdrawn since."""
    names = ("account", "run_id", "observed_on", "observed_at_utc", "is_published", "image_count", "disk_count")
    parts = [scan_files(OBSERVATIONS, files.daily[OBSERVATIONS.name], names=names)]
    if files.manifest is not None:
        parts.append(scan_files(COMPACTED[RECORDS], files.compacted[RECORDS], names=names))
    rows = con.execute(
        f"select {', '.join(names)} from ({' union all by name '.join(parts)}) as record "  # noqa: S608  (declared names)
        "order by observed_at_utc, run_id"
    ).fetchall()
    return [
        RecordRow(account, run_id, day, at, is_published, images or 0, disks or 0)
        for account, run_id, day, at, is_published, images, disks in rows
    ]


@dataclass(frozen=True, slots=True)
class Plan:
    """One step of a compaction, before anything is written."""

    data: Path
    files: FileSet
    records: tuple[RecordRow, ...]
    expired: frozenset[_Key]
    """Withdrawals past their grace period: they are compacted away for good."""
    taken: tuple[RecordRow, ...]
    """The observations that this step adds to the versions."""
    extended: frozenset[str]
    """Accounts whose new observations follow those compacted before."""
    rebuilt: frozenset[str]
    """Accounts that are merged again from all of their versions."""
    compacted: frozenset[_Key]
    """The observations that the versions hold after this step."""
    whole_runs: dict[str, dt.date]
    """The runs of which nothing is left to compact, and their days."""

    @property
    def before(self) -> Manifest | None:
        """The manifest that this step follows."""
        return self.files.manifest

    @property
    def name(self) -> str:
        """The name of the manifest that this step writes."""
        return next_name(self.before)

    @property
    def is_empty(self) -> bool:
        """True where the step would change nothing."""
        runs_before = self.before.runs.keys() if self.before else set()
        return not (self.taken or self.rebuilt or self.whole_runs.keys() - runs_before)

    @property
    def taken_pairs(self) -> str:
        """Run and account of what is taken, as a list of SQL."""
        return pairs(record.key for record in self.taken)

    @property
    def taken_files(self) -> FileSet:
        """The daily files of the runs that are taken; what is not taken of them is passed over by the merge."""
        runs = {record.run_id for record in self.taken}
        daily = {
            name: tuple(path for path in paths if run_of(path) in runs) for name, paths in self.files.daily.items()
        }
        return replace(self.files, daily=daily)

    @property
    def read_files(self) -> FileSet:
        """The files that the step reads: what is written from them must be what was committed."""
        runs = {record.run_id for record in self.taken} | self.whole_runs.keys()
        daily = {
            table.name: tuple(
                path for path in self.files.daily[table.name] if table is OBSERVATIONS or run_of(path) in runs
            )
            for table in LAKE_TABLES
        }
        places = (OPEN, RECORDS, *((ENDED,) if self.rebuilt else ()))
        compacted = {place: self.files.compacted.get(place, ()) for place in places}
        return replace(self.files, daily=daily, compacted=compacted)


def make_plan(data: Path, files: FileSet, records: list[RecordRow], now: dt.datetime) -> Plan:
    """Plan the next step over `files`."""
    expired = {(one.run_id, one.account) for one in files.tombstones.active if one.until_utc <= now}
    covered = files.manifest.covered if files.manifest else {}
    before = {(run_id, account) for run_id, accounts in covered.items() for account in accounts}
    retained = before - expired
    published = {record.key: record for record in records if record.is_published}
    taken = _earliest(_new(published, before, retained, files))
    newest: dict[str, dt.datetime] = {}
    for key in retained:
        record = published[key]
        newest[record.account] = max(newest.get(record.account, record.observed_at_utc), record.observed_at_utc)
    late = {
        record.account
        for record in taken
        if record.account in newest and record.observed_at_utc < newest[record.account]
    }
    rebuilt = late | {account for _, account in before & expired}
    compacted = retained | {record.key for record in taken}
    return Plan(
        data=data,
        files=files,
        records=tuple(records),
        expired=frozenset(expired),
        taken=tuple(taken),
        extended=frozenset(record.account for record in taken) - rebuilt,
        rebuilt=frozenset(rebuilt),
        compacted=frozenset(compacted),
        whole_runs=_whole_runs(files, records, compacted | expired),
    )


def _new(published: dict[_Key, RecordRow], before: set[_Key], retained: set[_Key], files: FileSet) -> list[RecordRow]:
    """The published observations that the versions do not hold yet, nor one of the same account and instant."""
    withdrawn = {(one.run_id, one.account) for one in files.tombstones.active}
    instants = {(published[key].account, published[key].observed_at_utc) for key in retained if key in published}
    return [
        record
        for key, record in published.items()
        if key not in before | withdrawn and (record.account, record.observed_at_utc) not in instants
    ]


def _earliest(new: list[RecordRow]) -> list[RecordRow]:
    """The earliest observations that one step can take: whole runs, so that a file is read once."""
    count, runs = 0, set[str]()
    for record in new:
        if record.run_id not in runs:
            if runs and count + record.image_count > STEP_ROWS:
                break
            runs.add(record.run_id)
        count += record.image_count
    return [record for record in new if record.run_id in runs]


def _whole_runs(files: FileSet, records: Iterable[RecordRow], done: set[_Key]) -> dict[str, dt.date]:
    records = list(records)
    found: dict[str, dt.date] = dict(files.manifest.runs) if files.manifest else {}
    left = {record.run_id for record in records if record.is_published and record.key not in done}
    found.update({record.run_id: record.observed_on for record in records if record.run_id not in left})
    return found
