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
from pipeline.resources.control import OBSERVATIONS, RAW_PAGES
from pipeline.storage.partitions import run_of
from pipeline.storage.store import open_location

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.lake.compaction.manifest import Manifest
    from pipeline.resources.schema import Table

NOTHING: Final = Tombstones()


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
    """For each table, the daily files of compacted runs."""
    without_record: tuple[Path, ...] = ()
    """Files of runs whose commit record is missing."""

    @classmethod
    def read(
        cls,
        data: str | Path,
        tombstones: Tombstones | None = None,
        *,
        everything: bool = False,
        ignore_format: bool = False,
        ignore_compaction: bool = False,
    ) -> FileSet:
        """List the files of committed runs under `data`; no table is opened.

        `tombstones` replaces those on disk, for a caller that is about to write them. With `everything`, nothing is
        withdrawn: what is takes part as long as it is there. `ignore_format` and `ignore_compaction` as for
        `committed_files`.

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
        )
        if everything:
            tombstones = Tombstones(replacements=tombstones.replacements)
        manifest = committed.manifest
        runs = {path.stem for path in committed.daily[OBSERVATIONS.name]} | set(manifest.runs if manifest else ())
        raw = tuple(path for path in raw_paths(folder) if path.stem in runs - tombstones.raw_runs)
        compacted = manifest.files(folder) if manifest else {}
        return cls(
            folder,
            {**committed.daily, RAW_PAGES.name: raw},
            tombstones,
            manifest,
            compacted,
            committed.retained,
            committed.without_record,
        )

    def of_table(self, table: Table) -> dict[str, Path]:
        """Return the daily files of a table by run, also those of compacted runs."""
        return {run_of(path): path for path in (*self.retained.get(table.name, ()), *self.daily[table.name])}

    def paths(self) -> list[str]:
        """Every path, sorted."""
        groups = (*self.daily.values(), *self.compacted.values(), *self.retained.values())
        return sorted(str(path) for paths in groups for path in paths)

    def fingerprint(self) -> str:
        """Digest all that the tables of the views depend on."""
        manifest = self.manifest and self.manifest.name
        depends_on = (self.paths(), self.tombstones.active, manifest)
        return hashlib.sha256(repr(depends_on).encode("utf-8", "surrogateescape")).hexdigest()

    def is_outdated(self) -> bool:
        """Whether another writer has changed the lake since: a file that is missing now may have been moved."""
        try:
            return FileSet.read(self.data).fingerprint() != self.fingerprint()
        except (LakeDamaged, LakeMissing):
            return False

    @property
    def partly_compacted(self) -> list[tuple[str, str, str]]:
        """Run, account and resource of each compacted observation whose run is not compacted as a whole."""
        if self.manifest is None:
            return []
        covered = self.manifest.covered.items()
        return [(run, *listed) for run, group in covered if run not in self.manifest.runs for listed in group]
