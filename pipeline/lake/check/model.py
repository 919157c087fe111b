"""Result of a check: the findings, and the counts of what was examined."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.errors import LakeDamaged
from pipeline.extract.reading_version import READING, SINCE
from pipeline.lake.layout import command, shown
from pipeline.storage.partitions import run_of
from pipeline.text import pluralize

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping
    from pathlib import Path

    import duckdb

    from pipeline.lake.compaction.manifest import Manifest
    from pipeline.lake.file_set import FileSet
    from pipeline.lake.survey import RunState
    from pipeline.lake.tombstones import Listed, Tombstones
    from pipeline.resources.schema import Table


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    location: str
    """The file, below the data folder."""
    problem: str

    def __str__(self) -> str:
        """One line: location, then problem."""
        return f"{self.location}: {self.problem}"


@dataclass(slots=True)
class CheckResult:
    """The findings, and the counts of what was examined."""

    data: Path
    is_deep: bool
    findings: list[Finding] = field(default_factory=list)
    run_count: int = 0
    file_count: int = 0
    row_count: int = 0
    observation_count: int = 0
    certificate_count: int = 0
    """Observations of which the evidence was computed again from their raw pages."""
    not_proven_again_count: int = 0
    """Observations of which the proof rests on a run that is gone, or was withdrawn since."""
    without_pages_count: int = 0
    """Observations of which the raw pages are no longer there."""
    withdrawn_count: int = 0
    rebuilt_count: int = 0
    """Runs that were built again from their raw pages and compared."""
    read_differently_count: int = 0
    """Rows that the reading version of this release gives otherwise, of runs that an older one read (deep)."""
    orphan_count: int = 0
    without_digests_count: int = 0
    """Runs that an older version committed: nothing says what their files held."""

    @property
    def is_intact(self) -> bool:
        """Whether there is no finding."""
        return not self.findings

    def add(self, location: Path | str, problem: str) -> None:
        """Add a finding; `location` is a path in the data folder, or relative to it."""
        name = location if isinstance(location, str) else str(location.relative_to(self.data))
        printable = name if name.isprintable() else name.encode("unicode_escape").decode()
        self.findings.append(Finding(printable, problem))

    def raise_if_damaged(self) -> None:
        """Raise with the list of findings, if there is any.

        Raises:
            LakeDamaged: the lake is not intact.
        """
        if self.findings:
            found = pluralize(len(self.findings), "finding")
            lines = "\n".join(f"  {finding}" for finding in self.findings)
            raise LakeDamaged(f"the lake in {shown(self.data)!r} is not intact: {found}\n{lines}")

    def __str__(self) -> str:
        """Summary: a line for each kind of thing that was examined."""
        runs, files, rows = map(pluralize, (self.run_count, self.file_count, self.row_count), ("run", "file", "row"))
        certificates = pluralize(self.observation_count, "certificate")
        lines = [
            f"{runs}, {files}, {rows}: "
            + ("intact" if self.is_intact else f"not intact, {pluralize(len(self.findings), 'finding')}"),
            f"{self.certificate_count:,} of {certificates} computed again from the raw pages"
            + (f"; {self.without_pages_count:,} without pages" if self.without_pages_count else ""),
        ]
        if self.not_proven_again_count:
            lines.append(
                f"{pluralize(self.not_proven_again_count, 'proof')} not computed again: the run that each rests on is "
                "gone, or withdrawn"
            )
        if self.is_deep:
            lines.append(
                f"{pluralize(self.rebuilt_count, 'run')} built again from the raw pages and compared row for row"
            )
        if self.read_differently_count:
            lines.append(
                f"{pluralize(self.read_differently_count, 'row')} read differently since {SINCE[READING]}, by reading "
                f"version {READING}; the lake is as it was read: {command(self.data, 'rebuild', '--into', 'DIR')} "
                "builds one by the new reading"
            )
        if self.without_digests_count:
            runs = pluralize(self.without_digests_count, "run")
            lines.append(
                f"{runs} committed by an older version, without digests, so not compared with what was committed: "
                f"{command(self.data, 'rebuild')} commits again those whose raw pages are there"
            )
        if self.withdrawn_count:
            lines.append(f"withdrawn observations: {self.withdrawn_count:,}")
        if self.orphan_count:
            lines.append(
                f"orphans of a killed writer, which the next one deletes, or of one at work: {self.orphan_count:,}"
            )
        return "\n".join(lines)


@dataclass(slots=True)
class CheckState:
    """The lake under examination, shared by the steps of one check."""

    data: Path
    result: CheckResult
    con: duckdb.DuckDBPyConnection
    files: FileSet
    """Every file, those of withdrawn observations too."""
    manifest: Manifest | None
    tombstones: Tombstones
    states: Mapping[str, RunState]
    """Run → what is wrong with its files."""
    records: dict[str, Path]
    """Run → its commit record, where that is a file of its own."""
    raw_files: dict[str, Path]
    """Run → its raw file, where that is not expired."""
    secrets: dict[Path, Counter[str]] = field(default_factory=dict)
    """What was found to hold secrets or not, by column, in each file that was read whole."""
    listed_ids: dict[Listed, tuple[str, frozenset[str]]] = field(default_factory=dict)
    """Account and resource → the last run checked that published it, and the ids: the next one rests on them."""
    published_by: dict[tuple[Any, Any, Any], str] = field(default_factory=dict)
    """Account, resource and instant → the run that published it: keys hold across runs while these are unique."""

    def file_of(self, record: Path, table: Table) -> Path:
        """Return the file of a table of a run that holds the most rows."""
        found = self.states[record.stem].files.get(table.name)
        return found or record.parents[2] / table.name / record.parent.name / record.name

    def is_flawed(self, path: Path) -> bool:
        """Whether the survey found the file of a run damaged or missing."""
        return run_of(path) in self.states and path in self.states[run_of(path)].flaws
