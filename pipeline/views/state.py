"""The state of each account: its latest observation, and how much of it is compacted."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.errors import LakeDamaged
from pipeline.lake.latest import LatestObservation, latest_paths
from pipeline.lake.layout import command
from pipeline.resources.control import OBSERVATIONS, REJECTS
from pipeline.resources.images import IMAGES
from pipeline.resources.tables import RESOURCES, ROW_TABLES
from pipeline.storage.partitions import run_of
from pipeline.storage.store import prefetch_footers
from pipeline.views.account_names import names_not_counted
from pipeline.views.records import order_of

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping
    from collections.abc import Set as AbstractSet

    from pipeline.lake.file_set import FileSet
    from pipeline.lake.tombstones import Listed
    from pipeline.resources.resource import Resource
    from pipeline.views.published import Published


@dataclass(frozen=True, slots=True)
class LakeState:
    """The accounts of a lake and their resources, by the commit records and the manifest."""

    latest: tuple[LatestObservation, ...]
    """The last published observation of each account and resource."""
    counted: tuple[LatestObservation, ...]
    """Those that the views count, once for each account however many names it has: of images that of the counted name;
    of another resource the last one of any name, an empty one only where no other is, because a key without the right
    may get one."""
    extended: frozenset[Listed]
    """Accounts and resources with observations after their last compaction, or never compacted."""
    out_of_order: frozenset[Listed]
    """Those with a compacted observation that was withdrawn, or with one that arrived later but is older."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Each name that is not counted → the name of the same account that is."""
    has_names: bool = False
    """True where a commit record says that its account is another name of one, also if nothing follows from it."""

    def latest_of(self, resource: Resource) -> tuple[LatestObservation, ...]:
        """Return the last published observation of each account, of one resource."""
        return tuple(observation for observation in self.latest if observation.resource == resource.name)

    def counted_of(self, resource: Resource) -> tuple[LatestObservation, ...]:
        """Return those of `counted`, of one resource."""
        return tuple(observation for observation in self.counted if observation.resource == resource.name)

    @classmethod
    def of(cls, published: Published, as_of: dt.datetime | None = None) -> LakeState:
        """Find the state by the published observations, and check that the files of each of them exist.

        Raises:
            LakeDamaged: two commit records claim one observation, or a file of a run is missing.
        """
        published.refuse_two_claims()
        files = published.files
        plain_runs = {path.stem for path in files.daily[OBSERVATIONS.name]}
        _check_files_exist(files, published.of_new_runs, plain_runs)
        extended, out_of_order = set(), set(published.withdrawn)
        for listed, observations in itertools.groupby(published.new, key=lambda one: one.listed):
            first = next(iter(observations))
            if as_of is not None and first.observed_at_utc > as_of:
                continue
            last = published.compacted.get(listed)
            if last is not None and first.observed_at_utc < last.observed_at_utc:
                out_of_order.add(listed)
            else:
                extended.add(listed)
        latest = published.latest(as_of)
        names = _names_not_counted(published, latest)
        state = cls(
            tuple(latest.values()),
            _counted(published, latest, names) if names else tuple(latest.values()),
            frozenset(extended - out_of_order),
            frozenset(out_of_order),
            names,
            published.has_names,
        )
        # The views of today read these files next.
        for resource in RESOURCES:
            prefetch_footers(list(latest_paths(resource.table, files, state.counted_of(resource)).values()))
        return state


def _names_not_counted(published: Published, latest: Mapping[Listed, LatestObservation]) -> dict[str, str]:
    """Find the names that are not counted, by all that is known of them, also after the instant of `latest`."""
    if not published.has_names:
        return {}
    same_as = {
        account: one.same_account_as
        for (account, resource), one in published.latest().items()
        if resource == IMAGES.name and one.same_account_as is not None
    }
    first = published.first_instants({*same_as, *same_as.values()})
    return names_not_counted(
        same_as, first, {one.account: one for one in latest.values() if one.resource == IMAGES.name}
    )


def _counted(
    published: Published, latest: Mapping[Listed, LatestObservation], names: Mapping[str, str]
) -> tuple[LatestObservation, ...]:
    """Choose the observations that the views count, of accounts of which some have several names."""
    listings: dict[Listed, list[LatestObservation]] = {}
    for one in latest.values():
        if one.resource != IMAGES.name:
            listings.setdefault((names.get(one.account, one.account), one.resource), []).append(one)
        elif one.account not in names:
            listings[one.listed] = [one]
    several = [one for found in listings.values() if len(found) > 1 for one in found]
    empty = published.empty_among(several) if several else frozenset()
    return tuple(max(found, key=lambda one: (one not in empty, *order_of(one))) for found in listings.values())


def _check_files_exist(files: FileSet, published: Iterable[LatestObservation], plain_runs: AbstractSet[str]) -> None:
    """Check that the files of each published resource exist; a run has none of a resource that it did not list."""
    published = [observation for observation in published if observation.run_id in plain_runs]
    for table in ROW_TABLES:
        resources = {resource.name for resource in RESOURCES if table is REJECTS or table in resource.tables}
        runs = {observation.run_id for observation in published if observation.resource in resources}
        for run_id in sorted(runs - {run_of(path) for path in files.daily[table.name]}):
            raise LakeDamaged(
                f"the file of {table.name} of run {run_id} is missing: "
                f"{command(files.data, 'check')} lists all damage, {command(files.data, 'rebuild')} writes it again"
            )
