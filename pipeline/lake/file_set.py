"""The files behind a lake's tables."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.extract.raw_pages import raw_paths
from pipeline.lake.committed import committed_files
from pipeline.lake.tombstones import Tombstones, read_tombstones
from pipeline.resources.control import OBSERVATIONS, RAW_PAGES
from pipeline.storage.store import open_location

if TYPE_CHECKING:
    from pipeline.lake.compaction.manifest import Manifest

_CODE: Final = ("lake", "resources", "views")
"""The packages that the script of the views follows from."""
NOTHING: Final = Tombstones()


@dataclass(frozen=True, slots=True)
class FileSet:
    """The files behind a lake's tables, the raw ones too, what was taken out of them, and what is folded."""

    of: dict[str, tuple[Path, ...]]
    """Of each table, the plain files that are read."""
    without: Tombstones = NOTHING
    fold: Manifest | None = None
    folded: dict[str, tuple[Path, ...]] = field(default_factory=dict)
    """The fold's files, by folder."""
    standing: dict[str, tuple[Path, ...]] = field(default_factory=dict)
    """Of each table, the plain files of folded runs that still lie there."""

    @classmethod
    def under(cls, data: str | Path, without: Tombstones | None = None) -> FileSet:
        """List the files of committed runs under `data`, their raw files too; no table is opened.

        `without` stands for the record of what was taken out, for who is about to write it.

        Raises:
            LakeMissing: no run was ever committed there.
            LakeDamaged: the record of what was taken out cannot be read, or a fold.
        """
        folder = open_location(data).resolve()
        gone = (
            read_tombstones(folder) if without is None else without
        )  # read first: what is listed later stays for a grace
        committed = committed_files(folder, gone)
        fold = committed.fold
        shown = {path.stem for path in committed.of[OBSERVATIONS.name]} | set(fold.runs if fold else ())
        raw = tuple(path for path in raw_paths(folder) if path.stem in shown - gone.raw_runs)
        folded = fold.files(folder) if fold else {}
        return cls({**committed.of, RAW_PAGES.name: raw}, gone, fold, folded, committed.standing)

    def everything(self) -> list[str]:
        """Every path, in order."""
        groups = (*self.of.values(), *self.folded.values(), *self.standing.values())
        return sorted(str(path) for paths in groups for path in paths)

    def fingerprint(self) -> str:
        """Digest what the script follows from: these paths, and the code and SQL that make it."""
        package = Path(__file__).parents[1]
        code = sorted(path for name in _CODE for path in (package / name).rglob("*") if path.suffix in {".py", ".sql"})
        digest = hashlib.sha256()
        for path in code:
            digest.update(path.read_bytes())
        digest.update("\0".join(self.everything()).encode("utf-8", "surrogateescape"))
        digest.update(repr((self.without.active, self.fold and self.fold.name)).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    @property
    def half_folded(self) -> list[tuple[str, str]]:
        """Run and account of what is folded out of runs that are not folded whole."""
        if self.fold is None:
            return []
        found = self.fold.covered.items()
        return [(run, account) for run, accounts in found if run not in self.fold.runs for account in accounts]
