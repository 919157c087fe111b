"""The commit records, read row by row."""

from __future__ import annotations

import contextlib
import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pipeline.errors import LakeDamaged
from pipeline.lake.committed_digests import COMMITTED_FILES
from pipeline.lake.compaction.manifest import RECORDS
from pipeline.lake.latest import LatestObservation
from pipeline.lake.scan import observations
from pipeline.lake.verification import Verification
from pipeline.memory import raise_if_out_of_memory
from pipeline.resources.control import OBSERVATIONS
from pipeline.storage.store import FOOTERS_KEPT, prefetch_footers
from pipeline.views.read_only import first_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import duckdb

    from pipeline.lake.file_set import FileSet

SHOWN: Final = ("account", "observed_at_utc", "observed_on", "run_id", "same_account_as", "resource")
"""The columns of a `LatestObservation`, in its order."""
PUBLISHED: Final = "is_published"


def published_observations(
    con: duckdb.DuckDBPyConnection, files: FileSet, verification: Verification | None = None
) -> list[LatestObservation]:
    """Verify the commit records, and read every published observation that was not withdrawn.

    They are in the order of account, resource and instant.

    Raises:
        LakeDamaged: a commit record is not what was committed, or cannot be read.
    """
    verification = verification or Verification(files)
    names = (*SHOWN, PUBLISHED, COMMITTED_FILES)
    records = files.daily[OBSERVATIONS.name]
    published: list[LatestObservation] = []
    with damaged_record(files):
        for start in range(0, max(len(records), 1), FOOTERS_KEPT):  # in a bucket, as many as the prefetch keeps
            batch = records[start : start + FOOTERS_KEPT]
            prefetch_footers(batch)
            is_new = verification.verify_records(batch)  # then their digests are needed next: a record is fetched once
            batch_files = replace(
                files, daily={**files.daily, OBSERVATIONS.name: batch}, compacted={} if start else files.compacted
            )
            rows = con.execute(
                f"select {', '.join(SHOWN)}, {COMMITTED_FILES if is_new else 'null'} "  # noqa: S608  (SQL of this package)
                f"from ({observations(batch_files, None, names)}) as record where {PUBLISHED}"
            ).fetchall()
            published += [LatestObservation(*row) for *row, _ in rows]
            if is_new:
                verification.digests |= {run_id: digests for *_, run_id, _, _, digests in rows}
    return in_order(published)


def in_order(observations: Iterable[LatestObservation]) -> list[LatestObservation]:
    """Sort observations by account, resource and instant."""
    return sorted(observations, key=lambda one: (one.account, one.resource, *order_of(one)))


def order_of(one: LatestObservation) -> tuple[dt.datetime, str]:
    """Return instant and run: the order of the observations of an account and resource."""
    return one.observed_at_utc or dt.datetime.max, one.run_id  # noqa: DTZ901  (UTC without a zone, as everywhere)


@contextlib.contextmanager
def damaged_record(files: FileSet) -> Iterator[None]:
    """Raise LakeDamaged where DuckDB cannot read a commit record."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        raise_if_out_of_memory(error)
        first = next(iter(files.daily[OBSERVATIONS.name] or files.compacted.get(RECORDS, ())))
        raise LakeDamaged(
            f"a commit record in {str(first.parents[1])!r} cannot be read: {first_lines(error)}"
        ) from error
