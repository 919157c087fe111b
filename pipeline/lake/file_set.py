"""The files behind a lake's tables."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pipeline.errors import LakeDamaged, LakeMissing
from pipeline.extract.raw_pages import raw_paths
from pipeline.lake.committed import committed_files
from pipeline.lake.tombstone_files import read_tombstones
from pipeline.lake.tombstones import Tombstones
from pipeline.lake.withdrawn_files import row_file
from pipeline.resources.control import OBSERVATIONS, RAW_PAGES
from pipeline.resources.tables import LAKE_TABLES, ROW_TABLES
from pipeline.storage.folder import FolderStore
from pipeline.storage.partitions import day_of_run, is_run_file, run_of
from pipeline.storage.store import open_location, store_of
from pipeline.text import escape_glob

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from pipeline.lake.compaction.manifest import Manifest
    from pipeline.resources.schema import Table

NOTHING: Final = Tombstones()
_FEW_RUNS: Final = 3
"""So many objects are looked for one by one: a listing may begin long before the last of them."""


@dataclass(frozen=True, slots=True)
class FileSet:
    """The files that readers use: daily files, raw files, compacted files, tombstones."""

    data: Path
    """The folder or bucket."""
    daily: dict[str, tuple[Path, ...]]
    """For each table, the daily files of runs that are not compacted, oldest run first; the raw files too."""
    tombstones: Tombstones = NOTHING
    manifest: Manifest | None = None
    compacted: dict[str, tuple[Path, ...]] = field(default_factory=dict)
    """The files that the manifest names, by folder."""
    retained: dict[str, tuple[Path, ...]] = field(default_factory=dict)
    """For each table, the daily files of compacted runs; none where only new files were listed: see `retained_of`."""
    is_brief: bool = False
    """Whether only the files of runs that are not compacted were listed."""
    settled_months: tuple[str, ...] = ()
    """The beginnings of the names of folders of raw pages that hold those of compacted runs alone: not listed."""
    without_record: tuple[Path, ...] = ()
    """Files of runs whose commit record is missing."""
    without_daily: frozenset[str] = frozenset()
    """Compacted runs of which the daily commit record is gone, as are their other files."""
    _row_files: dict[tuple[str, str], Path | None] = field(default_factory=dict, compare=False)
    """The files of compacted runs that were looked for, by table and run."""
    _partly: list[list[tuple[str, str, str]]] = field(default_factory=list, compare=False)

    @classmethod
    def read(
        cls,
        data: str | Path,
        tombstones: Tombstones | None = None,
        *,
        everything: bool = False,
        ignore_format: bool = False,
        ignore_compaction: bool = False,
        only_new: bool = False,
    ) -> FileSet:
        """List the files of committed runs under `data`; no table is opened.

        `tombstones` replaces those on disk, for a caller that is about to write them. With `everything`, nothing is
        withdrawn: what is takes part as long as it is there. `ignore_format`, `ignore_compaction` and `only_new` as
        for `committed_files`.

        Raises:
            LakeMissing: no run was ever committed there.
            LakeDamaged: the tombstones or the manifest cannot be read, or a file that the manifest names is missing.
        """
        folder = open_location(data).resolve()
        if tombstones is None:  # read before the files are listed: what they name is there
            tombstones = read_tombstones(folder)
        committed = committed_files(
            folder,
            tombstones,
            everything=everything,
            ignore_format=ignore_format,
            ignore_compaction=ignore_compaction,
            only_new=only_new,
        )
        if everything:
            tombstones = Tombstones(replacements=tombstones.replacements)
        manifest = committed.manifest
        runs = {path.stem for path in committed.daily[OBSERVATIONS.name]} | set(manifest.runs if manifest else ())
        runs -= tombstones.raw_runs
        months = committed.settled
        listed, settled = months.files(folder / "raw") if months else (raw_paths(folder), [])
        raw = tuple(path for path in listed if path.stem in runs)
        compacted = manifest.files(folder) if manifest else {}
        return cls(
            folder,
            {**committed.daily, RAW_PAGES.name: raw},
            tombstones,
            manifest,
            compacted,
            committed.retained,
            is_brief=months is not None,
            settled_months=tuple(settled),
            without_record=committed.without_record,
            without_daily=committed.without_daily,
        )

    def of_table(self, table: Table) -> dict[str, Path]:
        """Return the daily files of a table by run, also those of compacted runs."""
        return {run_of(path): path for path in (*self.retained.get(table.name, ()), *self.daily[table.name])}

    def of_runs(self, table: Table, runs: Iterable[str]) -> dict[str, Path]:
        """Return the daily files of a table of these runs, also of compacted ones; a missing file is left out."""
        found = {run: path for run, path in self.of_table(table).items() if run in runs}
        return {**found, **{run_of(path): path for path in self.retained_of(table, set(runs) - found.keys())}}

    def retained_of(self, table: Table, runs: AbstractSet[str]) -> list[Path]:
        """Return the daily files of a table of these compacted runs; a missing file is left out."""
        if not self.is_brief:
            return [path for path in self.retained.get(table.name, ()) if run_of(path) in runs]
        compacted = runs & self.manifest.runs.keys() if self.manifest else set()
        self._list_rows(table, compacted)
        found = [self._row_file(table, run_id) for run_id in sorted(compacted)]
        return [path for path in found if path is not None]

    def _list_rows(self, table: Table, runs: AbstractSet[str]) -> None:
        """List the files of many runs in a bucket at once: else each is a request."""
        new = {run_id for run_id in runs if (table.name, run_id) not in self._row_files}
        new -= {one.run_id for one in self.tombstones.withdrawn}
        if store_of(self.data).is_local or len(new) <= _FEW_RUNS:
            return
        folder = self.data / "lake" / table.name
        days = {f"observed_on={day_of_run(run_id)}" for run_id in new}
        listed = {path.stem: path for path in store_of(folder).list_partitions(folder, days=days) if is_run_file(path)}
        self._row_files.update({(table.name, run_id): listed.get(run_id) for run_id in new})

    def _row_file(self, table: Table, run_id: str) -> Path | None:
        if (table.name, run_id) not in self._row_files:
            self._row_files[table.name, run_id] = row_file(self.data, table, run_id, self.tombstones)
        return self._row_files[table.name, run_id]

    def raw_patterns(self) -> list[str]:
        """The raw pages of the settled months, as patterns for DuckDB: of no folder that is not a day's."""
        raw, day = escape_glob(self.data / "raw"), "observed_on=####-##-##"
        days = [f"{month}{day[len(month) :]}".replace("#", "[0-9]") for month in self.settled_months]
        return [f"{raw}/{each}/*.parquet" for each in days]

    def unlisted_pages(self) -> list[Path]:
        """List the raw pages of compacted runs in the settled months."""
        if not self.settled_months:
            return []
        raw = self.data / "raw"
        store = store_of(raw)
        days = [day.name for day in FolderStore.days(raw)] if store.is_local else None
        listed = store.list_partitions(raw, days=days and [day for day in days if day.startswith(self.settled_months)])
        runs = (self.manifest.runs.keys() if self.manifest else set()) - self.tombstones.raw_runs
        return [path for path in listed if is_run_file(path) and path.stem in runs]

    def paths(self, latest_runs: AbstractSet[str]) -> list[str]:
        """Every path that a table or view reads, sorted, but for `unlisted_pages`.

        `latest_runs` are those of each account's last observation.
        """
        retained = [path for table in ROW_TABLES for path in self.retained_of(table, latest_runs)]
        groups = (*self.daily.values(), *self.compacted.values(), retained)
        return sorted(str(path) for paths in groups for path in paths)

    def fingerprint(self, latest_runs: AbstractSet[str]) -> str:
        """Digest all that the tables of the views depend on, without the raw pages of compacted runs."""
        manifest = self.manifest and self.manifest.name
        runs = self.manifest.runs if self.manifest else {}
        raw = [path for path in self.daily[RAW_PAGES.name] if path.stem not in runs]
        retained = [path for table in LAKE_TABLES for path in self.retained_of(table, latest_runs)]
        groups = ({**self.daily, RAW_PAGES.name: raw}, self.compacted, retained)
        depends_on = (groups, self.tombstones.active, manifest, self.tombstones.days, sorted(self.without_daily))
        return hashlib.sha256(repr(depends_on).encode("utf-8", "surrogateescape")).hexdigest()

    def is_outdated(self) -> bool:
        """Whether another writer has changed the lake since: a file that is missing now may have been moved."""
        try:
            now = FileSet.read(self.data, only_new=self.is_brief)
        except (LakeDamaged, LakeMissing):
            return False
        return now.fingerprint(frozenset()) != self.fingerprint(frozenset())

    @property
    def partly_compacted(self) -> list[tuple[str, str, str]]:
        """Run, account and resource of each compacted observation whose run is not compacted as a whole."""
        if self.manifest is None:
            return []
        if not self._partly:  # of many runs, the difference takes its time
            covered = self.manifest.covered
            runs = sorted(covered.keys() - self.manifest.runs.keys())
            self._partly.append([(run, *listed) for run in runs for listed in covered[run]])
        return self._partly[0]
