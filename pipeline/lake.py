"""The lake: immutable Parquet files, published together.

    data/lake/images/observed_on=2026-11-23/<run>.parquet         written first, invisible
    data/lake/image_disks/observed_on=2026-11-23/<run>.parquet
    data/lake/rejects/observed_on=2026-11-23/<run>.parquet
    data/lake/observations/observed_on=2026-11-23/<run>.parquet   renamed in last: now the run is there

A run only adds files. Kill it anywhere: a reader sees the lake before the
run or after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.errors import LakeMissing
from pipeline.tables import LAKE_TABLES, OBSERVATIONS

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.schema import Table


@dataclass(frozen=True, slots=True)
class CommittedFiles:
    """What a reader may see: for each table, the files of committed runs, oldest run first."""

    of: dict[str, tuple[Path, ...]]

    def of_runs(self, table: Table, runs: frozenset[str]) -> tuple[Path, ...]:
        """The files of `table` that belong to `runs`."""
        return tuple(path for path in self.of[table.name] if path.stem in runs)


def committed_files(data: Path) -> CommittedFiles:
    """List the files of every committed run under `data`; nothing is opened.

    Raises:
        LakeMissing: no run was ever committed there.
    """
    found = {
        table.name: sorted((data / "lake" / table.name).glob("observed_on=*/*.parquet"), key=lambda path: path.name)
        for table in LAKE_TABLES
    }
    runs = {path.stem for path in found[OBSERVATIONS.name]}
    if not runs:
        raise LakeMissing(f"no lake in {str(data)!r}: `ens-images run --data {data}` makes one")
    return CommittedFiles({name: tuple(path for path in paths if path.stem in runs) for name, paths in found.items()})
