"""Each account's latest observation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.lake.compaction.manifest import COMPACTED, REJECTED
from pipeline.lake.item_rows import rows_from_versions, version_rows
from pipeline.lake.scan import empty, instant, is_among, listed_rows, scan_files
from pipeline.resources.control import REJECTS
from pipeline.text import sql_literal

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence
    from pathlib import Path

    from pipeline.lake.file_set import FileSet
    from pipeline.lake.tombstones import Listed
    from pipeline.resources.resource import Resource
    from pipeline.resources.schema import Table


_AT: Final = {"account": "varchar", "observed_at_utc": "timestamp"}


@dataclass(frozen=True, slots=True)
class LatestObservation:
    """The last published observation of a resource of an account."""

    account: str
    observed_at_utc: dt.datetime
    observed_on: dt.date
    run_id: str
    same_account_as: str | None = None
    """The account that its commit record says it is another name of."""
    resource: str = "images"

    @property
    def listed(self) -> Listed:
        """Account and resource."""
        return self.account, self.resource


def latest_paths(table: Table, files: FileSet, latest: Sequence[LatestObservation]) -> dict[str, Path]:
    """Return the daily files of the latest observations, by run; a missing file is left out."""
    return dict(sorted(files.of_runs(table, {observation.run_id for observation in latest}).items()))


def latest_rejects(files: FileSet, latest: Sequence[LatestObservation]) -> str:
    """Write the query of the rejects of each latest observation: from daily files, or, where those are gone, compacted.

    Rejects of all resources are in one file, and two resources may be observed at one instant.
    """
    names = ", ".join(column.name for column in REJECTS.columns)
    paths = latest_paths(REJECTS, files, latest)
    parts = []
    for observations, rows in (
        ([one for one in latest if one.run_id in paths], scan_files(REJECTS, list(paths.values()))),
        (
            [one for one in latest if one.run_id not in paths],
            scan_files(COMPACTED[REJECTED], files.compacted.get(REJECTED, ())),
        ),
    ):
        if observations:
            listed = [(one.account, one.resource, str(one.observed_at_utc)) for one in observations]
            condition = is_among(listed, {"account": "varchar", "resource": "varchar", "observed_at_utc": "timestamp"})
            parts.append(f"select {names} from (\n{rows}\n) as published\nwhere {condition}")  # noqa: S608
    return "\nunion all\n".join(parts) or empty(REJECTS)


def latest_rows(resource: Resource, table: Table, files: FileSet, latest: Sequence[LatestObservation]) -> str:
    """Write the query of each account's latest observation: its daily file, or, where that is gone, versions.

    `latest` are those of the resource.
    """
    paths = latest_paths(table, files, latest)
    published = f"select * from (\n{scan_files(table, list(paths.values()))}\n) as published"  # noqa: S608
    parts = []
    in_files = [one for one in latest if one.run_id in paths]
    if len(in_files) == 1:  # DuckDB uses a file's statistics for this condition, but not for a list of pairs
        (one,) = in_files
        at = instant(one.observed_at_utc)
        parts.append(f"{published}\nwhere account = {sql_literal(one.account)} and observed_at_utc = {at}")
    elif in_files:
        rows = [(one.account, str(one.observed_at_utc)) for one in in_files]
        parts.append(f"{published}\nwhere {is_among(rows, _AT)}")
    others = [one for one in latest if one.run_id not in paths]
    if others and files.manifest is not None:
        instants = [(one.account, str(one.observed_at_utc), str(one.observed_on)) for one in others]
        spanned = listed_rows(instants, {**_AT, "observed_on": "date"})
        parts.append(rows_from_versions(resource, table, version_rows(resource, files, ended=True), spanned))
    return "\nunion all\n".join(parts) or empty(table)
