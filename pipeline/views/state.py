"""What the commit records say of each account."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipeline.errors import LakeDamaged
from pipeline.lake.compaction.manifest import RECORDS
from pipeline.lake.latest import LatestObservation, latest_paths
from pipeline.lake.scan import observations
from pipeline.resources.control import OBSERVATIONS, REJECTS
from pipeline.resources.images import IMAGE_DISKS, IMAGES
from pipeline.storage.store import FOOTERS_KEPT, prefetch_footers
from pipeline.views.read_only import first_lines

if TYPE_CHECKING:
    import duckdb

    from pipeline.lake.file_set import FileSet


@dataclass(frozen=True, slots=True)
class LakeState:
    """What the commit records say of the observations that stand: how much of each account is folded, and how well."""

    latest: tuple[LatestObservation, ...]
    """Each account's last published observation."""
    new: frozenset[str]
    """Accounts that were observed since they were folded, or were never folded."""
    disordered: frozenset[str]
    """Accounts of which a folded observation was withdrawn, or an earlier one came after the fold."""

    @classmethod
    def of(cls, con: duckdb.DuckDBPyConnection, files: FileSet, as_of: dt.datetime | None = None) -> LakeState:
        """Read the commit records, and make sure that what was published is there.

        Raises:
            LakeDamaged: a commit record cannot be read, or a file that it stands for is missing.
        """
        rows = published_observations(con, files)
        unfolded = {path.stem for path in files.of[OBSERVATIONS.name]}
        _refuse_missing(files, {row.run_id for row in rows if row.run_id in unfolded})
        half = set(files.half_folded)
        folded_runs = files.fold.covered if files.fold else {}
        held = Counter(account for accounts in folded_runs.values() for account in accounts)
        mine: dict[str, tuple[list[LatestObservation], list[LatestObservation]]] = {
            account: ([], []) for account in held
        }
        for row in rows:
            is_folded = row.run_id not in unfolded or (row.run_id, row.account) in half
            mine.setdefault(row.account, ([], []))[0 if is_folded else 1].append(row)
        new, disordered = set(), set()
        for account, (folded, others) in mine.items():
            seen = [row.observed_at_utc for row in others if as_of is None or row.observed_at_utc <= as_of]
            if len(folded) != held.get(account, 0) or (seen and folded and seen[0] < folded[-1].observed_at_utc):
                disordered.add(account)
            elif seen:
                new.add(account)
        last = {row.account: row for row in rows if as_of is None or row.observed_at_utc <= as_of}
        latest = tuple(last.values())
        prefetch_footers(list(latest_paths(IMAGES, files, latest).values()))  # every view of today reads these next
        return cls(latest, frozenset(new), frozenset(disordered))


def published_observations(con: duckdb.DuckDBPyConnection, files: FileSet) -> list[LatestObservation]:
    """Every published observation that stands, in order."""
    import duckdb

    names = ("account", "observed_at_utc", "observed_on", "run_id", "is_published")
    records = files.of[OBSERVATIONS.name]
    found: list[LatestObservation] = []
    try:
        for start in range(0, max(len(records), 1), FOOTERS_KEPT):  # of a bucket's no more than stay at hand
            some = records[start : start + FOOTERS_KEPT]
            prefetch_footers(some)
            here = replace(files, of={**files.of, OBSERVATIONS.name: some}, folded={} if start else files.folded)
            rows = con.execute(
                "select account, observed_at_utc, observed_on, run_id "  # noqa: S608  (of our own making)
                f"from ({observations(here, None, names)}) as record where is_published"
            ).fetchall()
            found += [LatestObservation(*row) for row in rows]
    except duckdb.Error as error:
        first = next(iter(files.of[OBSERVATIONS.name] or files.folded.get(RECORDS, ())))
        raise LakeDamaged(
            f"a commit record in {str(first.parents[1])!r} cannot be read: {first_lines(error)}"
        ) from error
    return sorted(found, key=lambda one: (one.account, one.observed_at_utc or dt.datetime.max, one.run_id))  # noqa: DTZ901  (as above)


def _refuse_missing(files: FileSet, runs: set[str]) -> None:
    for table in (IMAGES, IMAGE_DISKS, REJECTS):
        for run_id in sorted(runs - {path.stem for path in files.of[table.name]}):
            raise LakeDamaged(
                f"the file of {table.name} of run {run_id} is missing: `ens-images check` lists all damage, "
                "`ens-images rebuild` makes it anew from the raw pages"
            )
