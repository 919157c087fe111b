"""The published observations of a lake: of new runs row by row, of compacted runs by account.

    commit records of runs that are not compacted    ──►  new         a row for each
    commit records of compacted runs                 ──►  latest(…)   a row for each account and resource, by DuckDB,
                                                                      which reads the days before an instant alone

So what opening costs grows with accounts and with what is new, not with the history.
"""

from __future__ import annotations

import datetime as dt
import functools
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import msgspec

from pipeline.errors import LakeDamaged
from pipeline.lake.compaction.manifest import RECORDS
from pipeline.lake.latest import LatestObservation
from pipeline.lake.layout import command
from pipeline.lake.scan import instant, observations, tuples
from pipeline.lake.state_object import RunState, State, StateRow, compaction_of, read_state, withdrawn_now
from pipeline.lake.tombstones import is_called, observation_name
from pipeline.lake.verification import Verification, encoded_digests
from pipeline.resources.control import OBSERVATIONS
from pipeline.resources.images import IMAGES
from pipeline.storage.partitions import instant_of_run, is_run_id
from pipeline.storage.store import store_of
from pipeline.text import sql_literal
from pipeline.views.records import PUBLISHED, SHOWN, damaged_record, in_order, order_of, published_observations

if TYPE_CHECKING:
    from collections.abc import Iterable

    import duckdb

    from pipeline.lake.file_set import FileSet
    from pipeline.lake.tombstones import Listed

_SPANS: Final = (dt.timedelta(days=3), dt.timedelta(days=100), None)
"""How far before an instant each account's latest observation is looked for: first where most are, at last anywhere."""
_SLICE_ROWS: Final = 2_000_000
"""Observations that are compared at a time, to bound memory."""


class Published:
    """The published observations that were not withdrawn."""

    def __init__(
        self, con: duckdb.DuckDBPyConnection, files: FileSet, verification: Verification | None = None
    ) -> None:
        """Verify the commit records, and read those of runs that are not compacted.

        Raises:
            LakeDamaged: a commit record is not what was committed, or cannot be read.
        """
        self._con = con
        self.files = files
        """The files that they are in."""
        self._verification = verification or Verification(files)
        self._state = read_state(files)
        partly = set(files.partly_compacted)
        rows = self._of_new_runs()
        self.of_new_runs = rows
        """The observations of the runs that are not compacted as a whole, in the order of account and instant."""
        self.new = [one for one in rows if (one.run_id, *one.listed) not in partly] if partly else rows
        """Those of them that are not compacted."""
        self._partly = [one for one in rows if (one.run_id, *one.listed) in partly] if partly else []

    def _of_new_runs(self) -> list[LatestObservation]:
        """Read the observations of new runs: of those whose records the state names as they are, from there."""
        records = self.files.daily[OBSERVATIONS.name]
        known: list[LatestObservation] = []
        if self._state is not None:
            self._verification.tags |= self._state.tags()
            self._verification.file_tags |= self._state.files
            store = store_of(self.files.data)
            runs = {
                path.stem: one
                for path in records
                if (one := self._state.runs.get(path.stem)) is not None and store.tag(path) == one.tag
            }
            known = [LatestObservation(*msgspec.structs.astuple(row)) for one in runs.values() for row in one.published]
            self._verification.digests |= {run_id: one.digests for run_id, one in self._state.runs.items()}
            records = tuple(path for path in records if path.stem not in runs)
        files = replace(self.files, daily={**self.files.daily, OBSERVATIONS.name: records}, compacted={})
        return in_order([*known, *published_observations(self._con, files, self._verification)])

    def state(self) -> State:
        """Return what the state object holds of these observations.

        Raises:
            LakeDamaged: two runs claim one observation, or a file is not what was committed.
        """
        self.refuse_two_claims()
        latest_runs = {one.run_id for one in self.latest().values()}
        self._verification.verify_tables(self._con, latest_runs)
        store = store_of(self.files.data)
        compacted_runs = {one.run_id for one in self.compacted.values()}
        rows = {
            run: tuple(map(_row, found))
            for run, found in itertools.groupby(
                sorted(self.of_new_runs, key=lambda one: one.run_id), key=lambda one: one.run_id
            )
        }
        records = {path.stem: path for path in self.files.daily[OBSERVATIONS.name]}
        records |= {path.stem: path for path in self.files.retained_of(OBSERVATIONS, compacted_runs)}
        digests = {run: self._verification.digests[run] for run in records.keys() & self._verification.digests.keys()}
        digests |= encoded_digests(self._con, self.files, records.keys() - digests.keys(), compacted_runs)
        runs = {
            run: RunState(tag, digests[run], rows.get(run, ()))
            for run, path in records.items()
            if run in digests and (tag := store.tag(path)) is not None
        }
        paths = self._verification.latest_files(latest_runs)
        tags = {str(path.relative_to(self.files.data)): store.tag(path) for path in paths}
        return State(
            max((*records, *(self.files.manifest.runs if self.files.manifest else ()))),
            compaction_of(self.files),
            withdrawn_now(self.files),
            tuple(map(_row, self.compacted.values())),
            self._has_compacted_names,
            runs,
            {path: tag for path, tag in tags.items() if tag is not None},
        )

    @functools.cached_property
    def withdrawn(self) -> frozenset[Listed]:
        """Accounts and resources with a compacted observation that was withdrawn."""
        covered = self.files.manifest.covered if self.files.manifest else {}
        active = self.files.tombstones.active
        return frozenset(one.listed for one in active if one.listed in covered.get(one.run_id, ()))

    @functools.cached_property
    def compacted(self) -> dict[Listed, LatestObservation]:
        """The last compacted observation of each account and resource."""
        if self._state is not None:
            rows = [LatestObservation(*msgspec.structs.astuple(row)) for row in self._state.latest]
            return {one.listed: one for one in rows}
        return self._latest_compacted(None)

    def latest(self, as_of: dt.datetime | None = None) -> dict[Listed, LatestObservation]:
        """Find the last observation of each account and resource, in the order of their names."""
        compacted = self.compacted if as_of is None else self._latest_compacted(as_of)
        return dict(sorted(_last(compacted, self.new, as_of).items()))

    def first_instants(self, accounts: Iterable[str]) -> dict[str, dt.datetime]:
        """Find the first observation of the images of each of these accounts."""
        listed = ", ".join(map(sql_literal, sorted(accounts)))
        among = f"resource = {sql_literal(IMAGES.name)} and account in ({listed})"
        first = dict(self._compacted_rows("account, min(observed_at_utc)", f"{among} group by account"))
        for one in self.of_new_runs:
            if one.resource == IMAGES.name:
                first[one.account] = min(first.get(one.account, one.observed_at_utc), one.observed_at_utc)
        return first

    def empty_among(self, listings: Iterable[LatestObservation]) -> frozenset[LatestObservation]:
        """Find which of these observations have no item."""
        records = observations(self.files, None, ("account", "resource", "run_id", "item_count"))
        with damaged_record(self.files):
            found = self._con.execute(
                f"select account, resource, run_id from ({records}) as record where item_count = 0"  # noqa: S608
            ).fetchall()
        empty = set(found)
        return frozenset(one for one in listings if (*one.listed, one.run_id) in empty)

    @functools.cached_property
    def first_instant(self) -> dt.datetime | None:
        """The instant of the first observation; None: nothing is published."""
        instants = [one.observed_at_utc for one in self.of_new_runs]
        instants += [at for (at,) in self._compacted_rows("min(observed_at_utc)") if at is not None]
        return min(instants, default=None)

    @functools.cached_property
    def has_names(self) -> bool:
        """Whether an observation says that its account is another name of one."""
        return any(one.same_account_as is not None for one in self.of_new_runs) or self._has_compacted_names

    @functools.cached_property
    def _has_compacted_names(self) -> bool:
        if self._state is not None:
            return self._state.has_names
        return bool(self._compacted_rows("1", "same_account_as is not null limit 1"))

    def instants_of(self, name: str) -> list[dt.datetime]:
        """List the instants of the observations that a user means by `<run>`, `<run>/<account>` and so on."""
        run_id = name.partition("/")[0]
        found = [(one.observed_at_utc, one.listed) for one in self.of_new_runs if one.run_id == run_id]
        if is_run_id(run_id) and self.files.manifest is not None and run_id in self.files.manifest.runs:
            rows = self._compacted_rows("observed_at_utc, account, resource", f"run_id = {sql_literal(run_id)}")
            found += [(at, (account, resource)) for at, account, resource in rows]
        return [at for at, listed in found if is_called(name, run_id, listed)]

    def refuse_two_claims(self) -> None:
        """Refuse two runs that published one account at one instant: every sum would count it twice.

        Raises:
            LakeDamaged: there are two; the message says how to withdraw the second.
        """
        for first, second in itertools.pairwise(self.of_new_runs):
            if (first.listed, first.observed_at_utc) == (second.listed, second.observed_at_utc):
                self._refuse(second.listed, second.observed_at_utc, {first.run_id, second.run_id})
        late = {
            (*one.listed, one.observed_at_utc): one.run_id
            for one in self.new
            if one.listed in self.compacted and order_of(one)[0] <= self.compacted[one.listed].observed_at_utc
        }
        if late:
            claims = f"(account, resource, cast(observed_at_utc as varchar)) in ({tuples(late)})"
            for account, resource, at, run_id in self._compacted_rows(
                "account, resource, observed_at_utc, run_id", claims
            ):
                self._refuse((account, resource), at, {run_id, late[account, resource, at]})
        if self._state is None:  # who wrote it has found none
            self._refuse_two_compacted_claims()

    def _refuse_two_compacted_claims(self) -> None:
        """Compare the compacted observations with each other: once for each file of compacted records."""
        fact = f"one claim each without {sorted((one.run_id, *one.listed) for one in self.files.tombstones.active)}"
        for path in self.files.compacted.get(RECORDS, ()):
            key = self._verification.unknown_fact(path, fact)
            if key is None:
                continue
            for account, resource, at, *runs in self._compacted_claims():
                self._refuse((account, resource), at, set(runs))
            self._verification.remember(key)

    def _compacted_claims(self) -> list[tuple[Any, ...]]:
        """Find two claims of one observation. Only runs that overlap in time can make them."""
        rows = self._query(SHOWN)
        overlapping = f"""
            select run_id from (
                select
                    *,
                    max(until) over (
                        order by began, run_id rows between unbounded preceding and 1 preceding
                    ) as until_before,
                    lead(began) over (order by began, run_id) as began_next
                from (
                    select run_id, min(observed_at_utc) as began, max(observed_at_utc) as until
                    from ({rows}) as record where {PUBLISHED} group by run_id
                ) as run
            ) as run
            where began <= until_before or began_next <= until"""  # noqa: S608  (SQL of this package, as everywhere)
        self._con.execute(f"create or replace temp table overlapping_run as {overlapping}").fetchall()
        try:
            among = f"{PUBLISHED} and run_id in (from overlapping_run)"
            ((count,),) = self._con.execute(f"select count(*) from ({rows}) as record where {among}").fetchall()  # noqa: S608
            slices = count // _SLICE_ROWS + 1
            for number in range(slices if count else 0):
                found = self._con.execute(
                    f"select account, resource, observed_at_utc, min(run_id), max(run_id) from ({rows}) as record "  # noqa: S608
                    f"where {among} and hash(account) % {slices} = {number} group by all having count(*) > 1 limit 1"
                ).fetchall()
                if found:
                    return found
        finally:
            self._con.execute("drop table overlapping_run").fetchall()
        return []

    def _refuse(self, listed: Listed, at: dt.datetime, runs: set[str]) -> None:
        first, second = min(runs), max(runs)
        data = self.files.data
        raise LakeDamaged(
            f"runs {first} and {second} both publish account {listed[0]!r} as of {at} UTC: {command(data, 'check')} "
            f"lists all damage, {command(data, 'withdraw', observation_name(second, listed))} withdraws the second"
        )

    def _latest_compacted(self, as_of: dt.datetime | None) -> dict[Listed, LatestObservation]:
        manifest = self.files.manifest
        if manifest is None:
            return {}
        groups = {id(group): group for group in manifest.covered.values()}  # a group of thousands is slow to hash
        left = {listed for group in groups.values() for listed in group}
        end = as_of or instant_of_run(max(manifest.runs, default="00010101T000000"))
        found: dict[Listed, LatestObservation] = {}
        for span in _SPANS:
            if not left:
                break
            conditions = [f"observed_at_utc <= {instant(as_of)}"] if as_of else []
            if span is not None and end - dt.datetime.min > span:  # noqa: DTZ901
                conditions.append(f"observed_at_utc > {instant(end - span)}")
            elif span is None:
                conditions.append(f"account in ({', '.join(sorted({sql_literal(account) for account, _ in left}))})")
            rows = self._compacted_rows(
                "arg_max({" + ", ".join(f"{sql_literal(name)}: {name}" for name in SHOWN) + "}, observed_at_utc)",
                " and ".join(conditions or ["true"]) + " group by account, resource",
            )
            for (row,) in rows:
                one = LatestObservation(**row)
                if one.listed in left:
                    found[one.listed] = one
            left -= found.keys()
        return _last(found, self._partly, as_of)

    def _compacted_rows(self, columns: str, where: str = "true") -> list[tuple[Any, ...]]:
        """Query the published observations of compacted runs."""
        if not self.files.compacted.get(RECORDS):
            return []
        query = f"select {columns} from ({self._query(SHOWN)}) as record where {PUBLISHED} and {where}"  # noqa: S608
        with damaged_record(self.files):
            return self._con.execute(query).fetchall()

    def _query(self, names: tuple[str, ...]) -> str:
        compacted = replace(self.files, daily={**self.files.daily, OBSERVATIONS.name: ()})
        return observations(compacted, None, (*names, PUBLISHED))


def _last(
    known: dict[Listed, LatestObservation], more: Iterable[LatestObservation], as_of: dt.datetime | None
) -> dict[Listed, LatestObservation]:
    last = dict(known)
    for one in more:
        if as_of is not None and one.observed_at_utc > as_of:
            continue
        before = last.get(one.listed)
        if before is None or order_of(before) < order_of(one):
            last[one.listed] = one
    return last


def _row(one: LatestObservation) -> StateRow:
    return StateRow(one.account, one.observed_at_utc, one.observed_on, one.run_id, one.same_account_as, one.resource)
