"""Each account's latest observation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.lake.scan import empty, instant, not_compacted, scan_files, version_rows
from pipeline.text import sql_literal

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence
    from pathlib import Path

    from pipeline.lake.file_set import FileSet
    from pipeline.resources.schema import Table


@dataclass(frozen=True, slots=True)
class LatestObservation:
    """An account's last published observation: when, on which day, and by which run."""

    account: str
    observed_at_utc: dt.datetime
    observed_on: dt.date
    run_id: str


def latest_paths(table: Table, files: FileSet, latest: Sequence[LatestObservation]) -> dict[str, Path]:
    """The plain files of the latest observations, by run; those that are gone are left out."""
    lying = {path.stem: path for path in (*files.standing.get(table.name, ()), *files.of[table.name])}
    return {run: lying[run] for run in sorted({one.run_id for one in latest} & lying.keys())}


def latest_rows(table: Table, files: FileSet, latest: Sequence[LatestObservation]) -> str:
    """Read each account's latest observation: its plain file, or where that is gone the stretches that span it."""
    lying = latest_paths(table, files, latest)
    paths = list(lying.values())
    parts = []
    plain = [(one.account, one.observed_at_utc) for one in latest if one.run_id in lying]
    if len(plain) == 1:  # the file's statistics answer this; they do not answer a list of pairs
        ((account, at),) = plain
        said = f"account = {sql_literal(account)} and observed_at_utc = {instant(at)}"
        parts.append(f"select * from (\n{scan_files(table, paths)}\n) as published\nwhere {said}")  # noqa: S608
    elif plain:
        kept = ",\n".join(f"    ({sql_literal(account)}, {instant(at)})" for account, at in plain)
        published = f"select * from (\n{scan_files(table, paths)}\n) as published"  # noqa: S608
        parts.append(f"{published}\nwhere (account, observed_at_utc) in (\n{kept}\n)")
    others = [one for one in latest if one.run_id not in lying]
    if others and files.fold is not None:
        spanned = " union all ".join(
            f"select {sql_literal(one.account)} as account, {instant(one.observed_at_utc)} as observed_at_utc, "
            f"date '{one.observed_on}' as observed_on"
            for one in others
        )
        parts.append(not_compacted(table, version_rows(files, ended=True), spanned))
    return "\nunion all\n".join(parts) or empty(table)
