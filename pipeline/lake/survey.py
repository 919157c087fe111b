"""Survey a lake: for each run, whether its files are the committed ones, and whether its raw pages are there.

`check` reports what is found, `rebuild` mends it. Nothing is cached: every file is read.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pipeline.errors import LakeDamaged, LakeMissing
from pipeline.extract.attempt import utc_now
from pipeline.extract.raw_pages import RawRun, raw_paths
from pipeline.lake.committed_digests import COMMITTED_FILES, decode_digests, replaces_pages
from pipeline.lake.compaction.manifest import COMPACTED, RECORDS
from pipeline.lake.file_set import FileSet
from pipeline.lake.layout import command, table_path
from pipeline.lake.scan import scan_files
from pipeline.lake.tombstone_files import read_tombstones
from pipeline.lake.verification import MISSING, file_flaw, read_verified, record_flaw
from pipeline.lake.withdrawn_files import files_of_run, tables_with
from pipeline.resources.control import OBSERVATIONS, RAW_PAGES
from pipeline.resources.tables import ROW_TABLES, tables_of
from pipeline.storage.partitions import day_of_run, number_of
from pipeline.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import duckdb

    from pipeline.lake.tombstones import Listed, Replacement, Tombstones
    from pipeline.resources.schema import Table
    from pipeline.storage.digest import FileDigest

_THREADS: Final = 4
_BEFORE_FORMAT_5: Final = "images"
"""The resource of every record without digests."""


@dataclass(slots=True)
class RunState:
    """What is found of one run."""

    run_id: str
    record: Path
    """Its commit record."""
    raw: Path | None
    """Its raw file, even if it has expired; None where that is not there."""
    is_compacted: bool
    published: tuple[Listed, ...] = ()
    """The accounts and resources that it published; none where no record tells."""
    errors: dict[Listed, str | None] = field(default_factory=dict)
    """Why it did not publish the others that it listed; none where no record tells."""
    digests: dict[str, FileDigest] = field(default_factory=dict)
    """Of its files as they were committed, by table; none where an older version committed them."""
    reading: int | None = None
    """The version of reading in its record; None where none is."""
    files: dict[str, Path] = field(default_factory=dict)
    """By table, its file with the most rows, withdrawn ones too; none where that is missing."""
    flaws: dict[Path, str] = field(default_factory=dict)
    """What is wrong with its commit record and its tables, by file."""
    raw_flaw: str | None = None
    is_accepted: bool = False
    """Whether files of it are lost that hold withdrawn rows alone which others lack: their loss is accepted."""
    is_in_versions: bool = False
    """Whether an intact compaction holds every row of it, but for those that were withdrawn and compacted away."""
    is_expired: bool = False
    """Whether it is compacted and its day has expired: none of its daily files need be there."""
    withdrawn: frozenset[Listed] = frozenset()
    """Its accounts and resources that are withdrawn."""
    may_return: frozenset[Listed] = frozenset()
    """Those of them within their grace period. `prune` deletes every file of their rows at once, or none."""
    is_gone: bool = False
    """Whether every file of what may return is gone, by a `prune` under another clock or a loss, but not its source."""

    @property
    def left(self) -> list[Listed]:
        """What it published and is not withdrawn."""
        return [listed for listed in self.published if listed not in self.withdrawn]

    @property
    def is_restorable(self) -> bool:
        """Whether what is wrong with it can be mended from the compaction alone."""
        return (bool(self.flaws) or self.is_gone) and not self.has_usable_pages and self.is_in_versions

    @property
    def has_usable_pages(self) -> bool:
        """Whether the run can be published again."""
        return self.raw is not None and self.raw_flaw is None

    @property
    def is_lost(self) -> bool:
        """Whether something of it is damaged, and cannot be mended."""
        return bool(self.flaws) and not self.has_usable_pages and not self.is_in_versions


def survey(data: Path, tombstones: Tombstones, *, ignore_compaction: bool = False) -> dict[str, RunState]:
    """Survey every run that has a commit record, or that the manifest names; none where there is no lake.

    Raises:
        LakeDamaged: the manifest cannot be read, or a file that it names is missing.
    """
    import duckdb

    try:  # what is withdrawn is surveyed too, as long as it is there
        files = FileSet.read(data, tombstones, everything=True, ignore_format=True, ignore_compaction=ignore_compaction)
    except LakeMissing:
        return {}
    with duckdb.connect() as con:
        store_of(data).register_filesystem(con)
        return _survey(con, files, tombstones)


def _survey(con: duckdb.DuckDBPyConnection, files: FileSet, tombstones: Tombstones) -> dict[str, RunState]:
    data = files.data
    raw = {path.stem: path for path in raw_paths(data)}  # expired ones mend too, while they are there
    records = {
        path.stem: path for path in (*files.daily[OBSERVATIONS.name], *files.retained.get(OBSERVATIONS.name, ()))
    }
    compacted = dict(files.manifest.runs) if files.manifest else {}
    for run_id, day in compacted.items():
        records.setdefault(run_id, table_path(data, OBSERVATIONS, run_id, day))
    states = {
        run_id: RunState(run_id, path, raw.get(run_id), run_id in compacted) for run_id, path in sorted(records.items())
    }
    for name, paths in ((table.name, files.of_table(table)) for table in ROW_TABLES):
        for run_id, path in paths.items():
            if run_id in states:
                states[run_id].files[name] = path
    replaced = {(one.run_id, one.number): one for one in files.tombstones.replacements}
    _read_records(con, files, states)
    covered = files.manifest.covered if files.manifest else {}
    now = utc_now()
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="survey") as pool:
        for state in states.values():
            withdrawn = tombstones.withdrawn_from(state.run_id)
            state.withdrawn = frozenset(withdrawn)
            state.may_return = frozenset(listed for listed, one in withdrawn.items() if one.until_utc > now)
            in_versions = frozenset(covered.get(state.run_id, ()))
            held = in_versions | state.withdrawn  # nothing else of a whole compacted run is missing
            state.is_in_versions = state.is_compacted and set(state.published) <= held
            _find_flaws(data, state, replaced, in_versions, pool)
            state.is_expired = state.is_compacted and day_of_run(state.run_id) in tombstones.expired_days
            if state.is_expired:
                state.flaws = {path: flaw for path, flaw in state.flaws.items() if flaw != MISSING}
                state.is_gone = False
    return states


def _read_records(con: duckdb.DuckDBPyConnection, files: FileSet, states: dict[str, RunState]) -> None:
    """Verify the commit records, and read what they publish, and digests; of a lost one, the compacted record."""
    with_digest = []
    for state in states.values():
        flaw = record_flaw(state.record)
        if flaw is None:
            with_digest.append(state.record)
        elif flaw == "":
            _read_older_record(state)
        else:
            state.flaws[state.record] = flaw
    rows = _record_rows(con, scan_files(OBSERVATIONS, with_digest, names=_NAMES)) if with_digest else []
    lost = {state.run_id for state in states.values() if state.is_compacted and state.flaws}
    paths = files.compacted.get(RECORDS, ())
    if lost and paths:
        found = [
            row for row in _record_rows(con, scan_files(COMPACTED[RECORDS], paths, names=_NAMES)) if row[0] in lost
        ]
        for run_id in lost - {run_id for run_id, *_, digests, _ in found if digests}:
            states[run_id].flaws.clear()  # an older version compacted it, and deleted its daily files
        rows += found
    for run_id, account, resource, is_published, error, digests, reading in rows:
        if run_id in states:  # a record that names another run is a finding of the rules
            _add_row(states[run_id], (account, resource), digests, is_published=is_published)
            if not is_published:
                states[run_id].errors[account, resource] = error
            states[run_id].reading = reading


_NAMES: Final = ("run_id", "account", "resource", "is_published", "error", COMMITTED_FILES, "reading_version")


def _record_rows(con: duckdb.DuckDBPyConnection, query: str) -> list[tuple[Any, ...]]:
    return con.execute(f"select {', '.join(_NAMES)} from ({query}) as record").fetchall()  # noqa: S608


def _add_row(state: RunState, listed: Listed, digests: str | None, *, is_published: bool) -> None:
    if is_published:
        state.published = (*state.published, listed)
    if not state.digests:
        state.digests = decode_digests(digests)


def _read_older_record(state: RunState) -> None:
    """Read a record without digests, and verify the checksums of its pages instead."""
    try:
        for row in read_verified(state.record).select(["account", "is_published"]).to_pylist():
            _add_row(state, (row["account"], _BEFORE_FORMAT_5), None, is_published=row["is_published"])
    except LakeDamaged as error:
        state.flaws[state.record] = str(error)
    except KeyError:
        state.flaws[state.record] = "it is not a commit record: it has no account"


def _find_flaws(
    data: Path,
    state: RunState,
    replaced: Mapping[tuple[str, int], Replacement],
    in_versions: frozenset[Listed],
    pool: ThreadPoolExecutor,
) -> None:
    """Compare the files of a run with its digests. What is withdrawn and cannot be mended is accepted as lost."""
    _compare_files(state, replaced, pool)
    published = set(state.published)
    has_source = _returnable(state, in_versions)
    if has_source and (missing := _missing_to_restore(data, state, has_source, replaced)):
        state.is_gone = len(missing) == len(_tables_to_return(state, has_source))
        state.flaws |= {} if state.is_gone else missing
    if not state.has_usable_pages and not state.is_in_versions:
        _accept_lost_withdrawn_rows(data, state, replaced)
    if state.record in state.flaws and not state.is_compacted:
        return  # every reader needs the record, and nothing else tells which accounts the run published
    if state.withdrawn >= published and state.withdrawn and not state.has_usable_pages and not has_source:
        state.is_accepted |= bool(state.flaws)
        state.flaws = {}
    elif (
        published and state.withdrawn >= published and not (state.may_return and state.files)
    ):  # they are deleted by now
        state.flaws = {path: flaw for path, flaw in state.flaws.items() if flaw != MISSING or path == state.record}


def _compare_files(state: RunState, replaced: Mapping[tuple[str, int], Replacement], pool: ThreadPoolExecutor) -> None:
    published = set(state.published)
    if state.digests:
        expected = _expected_digests(state, replaced)
        raw = state.digests.get(RAW_PAGES.name)
        if state.raw is not None and raw is not None:
            state.raw_flaw = file_flaw(state.raw, raw)
            if state.raw_flaw is not None and replaces_pages(state.raw, raw.sha256):
                state.raw_flaw = None
                state.flaws[state.record] = "it names raw pages that were replaced without their secrets"
        found = zip(expected, pool.map(lambda one: file_flaw(*one), expected.items()), strict=True)
        state.flaws |= {path: flaw for path, flaw in found if flaw is not None}
    elif published and not (state.is_compacted and not state.record.exists()):
        for table in tables_of({resource for _, resource in published}):
            try:
                read_verified(_path_of(state, table))
            except LakeDamaged as error:
                state.flaws[_path_of(state, table)] = str(error)
    if state.raw is not None and state.flaws and RAW_PAGES.name not in state.digests:
        state.raw_flaw = pages_flaw(state.raw)


def _returnable(state: RunState, in_versions: frozenset[Listed]) -> frozenset[Listed]:
    """Return what is withdrawn and within its grace period, of which the rows can be written again."""
    if state.has_usable_pages:
        return state.may_return
    return state.may_return & in_versions if state.is_in_versions else frozenset()


def _accept_lost_withdrawn_rows(data: Path, state: RunState, replaced: Mapping[tuple[str, int], Replacement]) -> None:
    """Accept damaged files beside which another is intact that holds every row but withdrawn ones."""
    for table in ROW_TABLES:
        path = _path_of(state, table)
        if path not in state.flaws:
            continue
        for other in files_of_run(data, table, state.run_id):
            one = replaced.get((state.run_id, number_of(other)))
            if one and one.left_out <= state.withdrawn and file_flaw(other, one.digests[table.name]) is None:
                del state.flaws[path]
                state.is_accepted = True
                break


def _expected_digests(state: RunState, replaced: Mapping[tuple[str, int], Replacement]) -> dict[Path, FileDigest]:
    expected = {}
    for table in (table for table in ROW_TABLES if table.name in state.digests):
        path = _path_of(state, table)
        replacement = replaced.get((state.run_id, number_of(path)))
        expected[path] = (replacement.digests if replacement else state.digests)[table.name]
    return expected


def _missing_to_restore(
    data: Path, state: RunState, returning: frozenset[Listed], replaced: Mapping[tuple[str, int], Replacement]
) -> dict[Path, str]:
    """Find the files that are missing of the tables with rows which can be restored."""
    found = {}
    for table in _tables_to_return(state, returning):
        path = state.files.get(table.name)
        replacement = path and replaced.get((state.run_id, number_of(path)))
        lacking = replacement.left_out & returning if replacement else frozenset()
        if path is None or (lacking and table in tables_with(lacking)):
            found[table_path(data, table, state.run_id, day_of_run(state.run_id))] = MISSING
    return found


def _tables_to_return(state: RunState, returning: frozenset[Listed]) -> list[Table]:
    return [table for table in tables_with(returning) if table.name in state.digests]


def pages_flaw(raw: Path) -> str | None:
    """Read raw pages of which no digest is known, whole. Returns: why they cannot be used, or None."""
    try:
        RawRun(raw)
        read_verified(raw)
    except LakeDamaged as error:
        return str(error)
    return None


def _path_of(state: RunState, table: Table) -> Path:
    return state.files.get(table.name) or (
        state.record.parents[2] / table.name / state.record.parent.name / state.record.name
    )


def cure(state: RunState, data: Path) -> str:
    """Say what mends the files of a run, or how to accept the loss."""
    if state.has_usable_pages:
        return f"{command(data, 'rebuild')} writes it again from the raw pages"
    if state.is_in_versions:
        return f"{command(data, 'rebuild')} writes it again from the compacted versions"
    names = [f"{state.run_id}/{account}" for account in dict.fromkeys(account for account, _ in state.left)]
    names = names or [state.run_id]
    accept = ", ".join(command(data, "withdraw", name) for name in names)
    return f"its raw pages are {'damaged' if state.raw else 'gone'}: {accept} accepts the loss"


def loss(state: RunState, data: Path) -> list[str]:
    """Say what of a run is lost, and how to accept it; empty where nothing is."""
    if not state.is_lost:
        return []
    return [f"{path.relative_to(data)}: {flaw}; {cure(state, data)}" for path, flaw in state.flaws.items()]


def runs_to_publish(states: Mapping[str, RunState], raw_files: Iterable[Path]) -> list[Path]:
    """Select the raw files of runs that a rebuild publishes: not published, not whole, or committed without digests."""
    return [path for path in raw_files if (state := states.get(path.stem)) is None or _wants_publishing(state)]


def _wants_publishing(state: RunState) -> bool:
    lacks_digests = not state.digests and not state.is_expired
    return state.has_usable_pages and (bool(state.flaws) or state.is_gone or lacks_digests)


def complete_runs(data: Path) -> set[str]:
    """Return the runs that are published, each file as it was committed.

    Raises:
        LakeDamaged: the manifest cannot be read, or a file that it names is missing.
    """
    return {run_id for run_id, state in survey(data, read_tombstones(data)).items() if not state.flaws}
