"""The state of each account: its latest observation, and how much of it is compacted."""

from __future__ import annotations

import datetime as dt
import itertools
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pipeline.errors import LakeDamaged
from pipeline.lake.committed_digests import COMMITTED_FILES
from pipeline.lake.compaction.manifest import RECORDS
from pipeline.lake.latest import LatestObservation, latest_paths
from pipeline.lake.layout import command
from pipeline.lake.scan import observations
from pipeline.lake.tombstones import observation_name
from pipeline.lake.verification import Verification
from pipeline.memory import raise_if_out_of_memory
from pipeline.resources.control import OBSERVATIONS, REJECTS
from pipeline.resources.images import IMAGES
from pipeline.resources.tables import RESOURCES, ROW_TABLES
from pipeline.storage.partitions import run_of
from pipeline.storage.store import FOOTERS_KEPT, prefetch_footers
from pipeline.views.account_names import names_not_counted
from pipeline.views.read_only import first_lines

if TYPE_CHECKING:
    from collections.abc import Mapping

    import duckdb

    from pipeline.lake.file_set import FileSet
    from pipeline.lake.tombstones import Listed
    from pipeline.resources.resource import Resource


@dataclass(frozen=True, slots=True)
class LakeState:
    """The accounts of a lake and their resources, by the commit records and the manifest."""

    latest: tuple[LatestObservation, ...]
    """The last published observation of each account and resource."""
    extended: frozenset[Listed]
    """Accounts and resources with observations after their last compaction, or never compacted."""
    out_of_order: frozenset[Listed]
    """Those with a compacted observation that was withdrawn, or with one that arrived later but is older."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Each name that is not counted → the name of the same account that is."""
    has_names: bool = False
    """True where a commit record says that its account is another name of one, also if nothing follows from it."""

    @property
    def counted(self) -> tuple[LatestObservation, ...]:
        """The last published observations, once for each account however many names it has."""
        return tuple(observation for observation in self.latest if observation.account not in self.names)

    def latest_of(self, resource: Resource) -> tuple[LatestObservation, ...]:
        """Return the last published observation of each account, of one resource."""
        return tuple(observation for observation in self.latest if observation.resource == resource.name)

    def counted_of(self, resource: Resource) -> tuple[LatestObservation, ...]:
        """Return those of `counted`, of one resource."""
        return tuple(observation for observation in self.counted if observation.resource == resource.name)

    @classmethod
    def of(
        cls,
        con: duckdb.DuckDBPyConnection,
        files: FileSet,
        verification: Verification | None = None,
        as_of: dt.datetime | None = None,
    ) -> LakeState:
        """Verify and read the commit records, and check that the files of every published observation exist.

        Raises:
            LakeDamaged: a commit record cannot be read, two claim one observation, or a file of a run is missing.
        """
        published = published_observations(con, files, verification)
        _refuse_two_claims(files, published)
        plain_runs = {path.stem for path in files.daily[OBSERVATIONS.name]}
        _check_files_exist(files, [observation for observation in published if observation.run_id in plain_runs])
        extended, out_of_order = set(), set()
        for listed, instants in _instants_by_listed(files, published, plain_runs).items():
            plain = [at for at in instants.plain if as_of is None or at <= as_of]
            was_withdrawn = len(instants.compacted) != instants.compacted_count
            if was_withdrawn or (plain and instants.compacted and plain[0] < instants.compacted[-1]):
                out_of_order.add(listed)
            elif plain:
                extended.add(listed)
        latest = {
            observation.listed: observation
            for observation in published
            if as_of is None or observation.observed_at_utc <= as_of
        }
        of_images = [observation for observation in published if observation.resource == IMAGES.name]
        state = cls(
            tuple(latest.values()),
            frozenset(extended),
            frozenset(out_of_order),
            names_not_counted(of_images, {one.account: one for one in latest.values() if one.resource == IMAGES.name}),
            any(observation.same_account_as is not None for observation in published),
        )
        # The views of today read these files next.
        for resource in RESOURCES:
            prefetch_footers(list(latest_paths(resource.table, files, state.counted_of(resource)).values()))
        return state


@dataclass(slots=True)
class _Instants:
    """The published observations of a resource of an account, in order."""

    compacted_count: int = 0
    """The number of these observations in the manifest; fewer in `compacted` means that one was withdrawn."""
    compacted: list[dt.datetime] = field(default_factory=list)
    plain: list[dt.datetime] = field(default_factory=list)


def _instants_by_listed(
    files: FileSet, published: list[LatestObservation], plain_runs: set[str]
) -> dict[Listed, _Instants]:
    compacted_runs = files.manifest.covered if files.manifest else {}
    counts = Counter(listed for group in compacted_runs.values() for listed in group)
    by_listed = {listed: _Instants(count) for listed, count in counts.items()}
    partly_compacted = set(files.partly_compacted)
    for observation in published:
        instants = by_listed.setdefault(observation.listed, _Instants())
        run = observation.run_id
        is_compacted = run not in plain_runs or (run, *observation.listed) in partly_compacted
        (instants.compacted if is_compacted else instants.plain).append(observation.observed_at_utc)
    return by_listed


def published_observations(
    con: duckdb.DuckDBPyConnection, files: FileSet, verification: Verification | None = None
) -> list[LatestObservation]:
    """Verify the commit records, and read every published observation that was not withdrawn.

    They are in the order of account, resource and instant.

    Raises:
        LakeDamaged: a commit record is not what was committed, or cannot be read.
    """
    import duckdb

    verification = verification or Verification(files)

    shown = ("account", "observed_at_utc", "observed_on", "run_id", "same_account_as", "resource")
    names = (*shown, "is_published", COMMITTED_FILES)
    records = files.daily[OBSERVATIONS.name]
    published: list[LatestObservation] = []
    try:
        for start in range(0, max(len(records), 1), FOOTERS_KEPT):  # in a bucket, as many as the prefetch keeps
            batch = records[start : start + FOOTERS_KEPT]
            prefetch_footers(batch)
            is_new = verification.verify_records(batch)  # then their digests are needed next: a record is fetched once
            batch_files = replace(
                files, daily={**files.daily, OBSERVATIONS.name: batch}, compacted={} if start else files.compacted
            )
            rows = con.execute(
                f"select {', '.join(shown)}, {COMMITTED_FILES if is_new else 'null'} "  # noqa: S608  (SQL of this package)
                f"from ({observations(batch_files, None, names)}) as record where is_published"
            ).fetchall()
            published += [LatestObservation(*row) for *row, _ in rows]
            if is_new:
                verification.digests |= {run_id: digests for *_, run_id, _, _, digests in rows}
    except duckdb.Error as error:
        raise_if_out_of_memory(error)
        first = next(iter(files.daily[OBSERVATIONS.name] or files.compacted.get(RECORDS, ())))
        raise LakeDamaged(
            f"a commit record in {str(first.parents[1])!r} cannot be read: {first_lines(error)}"
        ) from error
    return sorted(
        published,
        key=lambda observation: (
            observation.account,
            observation.resource,
            observation.observed_at_utc or dt.datetime.max,  # noqa: DTZ901  (UTC without a zone, as everywhere)
            observation.run_id,
        ),
    )


def _refuse_two_claims(files: FileSet, published: list[LatestObservation]) -> None:
    """Refuse two runs that published one account at one instant: every sum would count it twice."""
    for first, second in itertools.pairwise(published):
        if (first.listed, first.observed_at_utc) == (second.listed, second.observed_at_utc):
            withdraw = command(files.data, "withdraw", observation_name(second.run_id, second.listed))
            raise LakeDamaged(
                f"runs {first.run_id} and {second.run_id} both publish account {first.account!r} as of "
                f"{first.observed_at_utc} UTC: {command(files.data, 'check')} lists all damage, "
                f"{withdraw} withdraws the second"
            )


def _check_files_exist(files: FileSet, published: list[LatestObservation]) -> None:
    """Check that the files of each published resource exist; a run has none of a resource that it did not list."""
    for table in ROW_TABLES:
        resources = {resource.name for resource in RESOURCES if table is REJECTS or table in resource.tables}
        runs = {observation.run_id for observation in published if observation.resource in resources}
        for run_id in sorted(runs - {run_of(path) for path in files.daily[table.name]}):
            raise LakeDamaged(
                f"the file of {table.name} of run {run_id} is missing: "
                f"{command(files.data, 'check')} lists all damage, {command(files.data, 'rebuild')} writes it again"
            )
