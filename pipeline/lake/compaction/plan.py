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

from pipeline.lake.compaction.manifest import COMPACTED, RECORDS, Manifest, next_name, open_place
from pipeline.lake.scan import scan_files
from pipeline.resources.control import OBSERVATIONS
from pipeline.resources.tables import LAKE_TABLES, RESOURCES
from pipeline.storage.partitions import run_of

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable
    from pathlib import Path

    import duckdb

    from pipeline.lake.file_set import FileSet
    from pipeline.lake.tombstones import Listed
    from pipeline.resources.resource import Resource

STEP_ROWS: Final = 700_000
"""Items that a step takes; at least one run."""

_Key = tuple[str, str, str]
"""Run, account and resource."""


@dataclass(frozen=True, slots=True)
class RecordRow:
    """A resource of one account in a commit record."""

    account: str
    resource: str
    run_id: str
    observed_on: dt.date
    observed_at_utc: Any
    """The instant; None where no listing ended."""
    is_published: bool
    item_count: int = 0
    child_item_count: int = 0

    @property
    def key(self) -> _Key:
        """Run, account and resource."""
        return self.run_id, self.account, self.resource

    @property
    def listed(self) -> Listed:
        """Account and resource."""
        return self.account, self.resource


def record_rows(con: duckdb.DuckDBPyConnection, files: FileSet) -> list[RecordRow]:
    """Read every row of every commit record as it was written, whatever was withdrawn since."""
    names = ("account", "resource", "run_id", "observed_on", "observed_at_utc", "is_published", *_COUNTS)
    parts = [scan_files(OBSERVATIONS, files.daily[OBSERVATIONS.name], names=names)]
    if files.manifest is not None:
        parts.append(scan_files(COMPACTED[RECORDS], files.compacted[RECORDS], names=names))
    rows = con.execute(
        f"select {', '.join(names)} from ({' union all by name '.join(parts)}) as record "  # noqa: S608  (declared names)
        "order by observed_at_utc, run_id"
    ).fetchall()
    return [
        RecordRow(account, resource, run_id, day, at, is_published, items or 0, children or 0)
        for account, resource, run_id, day, at, is_published, items, children in rows
    ]


_COUNTS: Final = ("item_count", "child_item_count")


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
    extended: frozenset[Listed]
    """Accounts and resources whose new observations follow those compacted before."""
    rebuilt: frozenset[Listed]
    """Accounts and resources that are merged again from all of their versions."""
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
    def resources(self) -> tuple[Resource, ...]:
        """The resources of which the versions hold an observation, before this step or after it."""
        names = {resource for _, _, resource in self.compacted} | set(self.before.resources if self.before else ())
        return tuple(resource for resource in RESOURCES if resource.name in names)

    def taken_of(self, resource: Resource) -> list[RecordRow]:
        """The observations of a resource that this step takes."""
        return [record for record in self.taken if record.resource == resource.name]

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
        places = [RECORDS, *map(open_place, RESOURCES)]
        places += [resource.versions_name for resource in RESOURCES if accounts_of(self.rebuilt, resource)]
        compacted = {place: self.files.compacted.get(place, ()) for place in places}
        return replace(self.files, daily=daily, compacted=compacted)


def accounts_of(listed: Iterable[Listed], resource: Resource) -> frozenset[str]:
    """Return the accounts of which this resource is listed."""
    return frozenset(account for account, name in listed if name == resource.name)


def make_plan(data: Path, files: FileSet, records: list[RecordRow], now: dt.datetime) -> Plan:
    """Plan the next step over `files`."""
    expired = {(one.run_id, *one.listed) for one in files.tombstones.active if one.until_utc <= now}
    covered = files.manifest.covered if files.manifest else {}
    before = {(run_id, *listed) for run_id, group in covered.items() for listed in group}
    retained = before - expired
    published = {record.key: record for record in records if record.is_published}
    taken = _earliest(_new(published, before, retained, files))
    newest: dict[Listed, dt.datetime] = {}
    for key in retained:
        record = published[key]
        newest[record.listed] = max(newest.get(record.listed, record.observed_at_utc), record.observed_at_utc)
    late = {
        record.listed for record in taken if record.listed in newest and record.observed_at_utc < newest[record.listed]
    }
    rebuilt = late | {(account, resource) for _, account, resource in before & expired}
    compacted = retained | {record.key for record in taken}
    return Plan(
        data=data,
        files=files,
        records=tuple(records),
        expired=frozenset(expired),
        taken=tuple(taken),
        extended=frozenset(record.listed for record in taken) - rebuilt,
        rebuilt=frozenset(rebuilt),
        compacted=frozenset(compacted),
        whole_runs=_whole_runs(files, records, compacted | expired),
    )


def _new(published: dict[_Key, RecordRow], before: set[_Key], retained: set[_Key], files: FileSet) -> list[RecordRow]:
    """The published observations of which the versions do not hold yet the account, resource and instant."""
    withdrawn = {(one.run_id, *one.listed) for one in files.tombstones.active}
    instants = {(published[key].listed, published[key].observed_at_utc) for key in retained if key in published}
    return [
        record
        for key, record in published.items()
        if key not in before | withdrawn and (record.listed, record.observed_at_utc) not in instants
    ]


def _earliest(new: list[RecordRow]) -> list[RecordRow]:
    """The earliest observations that one step can take: whole runs, so that a file is read once."""
    count, runs = 0, set[str]()
    for record in new:
        if record.run_id not in runs:
            if runs and count + record.item_count > STEP_ROWS:
                break
            runs.add(record.run_id)
        count += record.item_count
    return [record for record in new if record.run_id in runs]


def _whole_runs(files: FileSet, records: Iterable[RecordRow], done: set[_Key]) -> dict[str, dt.date]:
    records = list(records)
    found: dict[str, dt.date] = dict(files.manifest.runs) if files.manifest else {}
    left = {record.run_id for record in records if record.is_published and record.key not in done}
    found.update({record.run_id: record.observed_on for record in records if record.run_id not in left})
    return found
