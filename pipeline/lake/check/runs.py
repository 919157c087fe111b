"""One run by itself: its commit record, and its rows against that and against each other.

    commit record ─→ RunContents ─→ rules      keys, counts, disks, ids
    or compaction

The same steps for a run of plain files and for one that comes back from versions. The rules hold for a batch of runs at
once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pipeline.extract.reading_version import FIRST
from pipeline.extract.stored_secrets import stored_secrets
from pipeline.lake.check.files import read_table, sibling, with_every_column
from pipeline.lake.check.rules import RULE_COLUMNS, RUN_RULES, Rule
from pipeline.lake.layout import command, table_path
from pipeline.lake.tombstones import observation_name
from pipeline.lake.withdrawn_files import files_of_run, tables_with
from pipeline.resources.control import OBSERVATIONS, REJECTS
from pipeline.resources.tables import RESOURCES, ROW_TABLES, tables_of
from pipeline.storage.partitions import day_of_run, number_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from pipeline.lake.check.model import CheckState
    from pipeline.lake.tombstones import Listed
    from pipeline.resources.resource import Resource
    from pipeline.resources.schema import Table

_Item = TypeVar("_Item")
Violation = tuple[Rule, "Sequence[Any]"]
"""A rule, and the values of its message."""

_BATCH_ROWS: Final = 100_000
_BATCH_RUNS: Final = 500
"""So many rows or runs are in memory at once; more rows where one run has more."""


@dataclass(frozen=True, slots=True)
class RunContents:
    """A run as the lake has it."""

    record: Path
    """Its commit record; where compaction has replaced that, the path that it had."""
    observations: list[dict[str, Any]]
    tables: Mapping[str, pa.Table] | None
    """Items, child items and rejects; None where there need be none, or one cannot be read."""
    absent: Collection[Listed] = ()
    """What the record names and `tables` have no rows of: withdrawn before compaction."""

    @property
    def run_id(self) -> str:
        """The run."""
        return self.record.stem

    @property
    def present(self) -> list[dict[str, Any]]:
        """The observations whose rows are in `tables`."""
        return [row for row in self.observations if (row["account"], row["resource"]) not in self.absent]

    @property
    def row_count(self) -> int:
        """Rows in `tables`."""
        return sum(map(len, (self.tables or {}).values()))

    @property
    def reading(self) -> int:
        """The version that the answers were read with."""
        return next((row["reading_version"] for row in self.observations if row["reading_version"]), FIRST)

    def rows(self, table: Table) -> pa.Table | None:
        """The rows of one table, `observations` among them."""
        if table is OBSERVATIONS:
            return OBSERVATIONS.to_arrow(self.observations)
        return None if self.tables is None else self.tables[table.name]


def read_plain_run(state: CheckState, record: Path) -> RunContents | None:
    """Read a run from its plain files. Returns: None where its commit record is damaged."""
    if record in state.states[record.stem].flaws:
        return None
    table = read_table(state, record, OBSERVATIONS)
    if table is None:
        return None
    state.secrets[record] = stored_secrets(table)
    observations = with_every_column(table, OBSERVATIONS).to_pylist()
    published = {(row["account"], row["resource"]) for row in observations if row["is_published"]}
    tables = _row_tables(state, record, published)
    return RunContents(record, observations, tables, _absent(state, record, tables))


def _absent(state: CheckState, record: Path, tables: dict[str, pa.Table] | None) -> set[Listed]:
    """Find what is withdrawn and has no row: a replacement leaves it out, or versions that lack it for good."""
    if tables is None:
        return set()
    if number := _number(state, record):
        return set(state.tombstones.replacements_of(record.stem)[number].left_out)
    if state.manifest is None or record.stem not in state.manifest.runs:
        return set()
    covered = state.manifest.covered.get(record.stem, ())
    gone = state.tombstones.withdrawn_from(record.stem).keys() - set(covered)
    there = {
        (account, resource.name)
        for resource in RESOURCES
        for account in tables[resource.table.name].column("account").unique().to_pylist()
    }
    return gone - there


def _number(state: CheckState, record: Path) -> int:
    """Return the highest number of a replacement that is the only file of a table; 0: there is none."""
    known = {0, *state.tombstones.replacements_of(record.stem)}
    return max(known & {number_of(state.file_of(record, table)) for table in ROW_TABLES})


def _row_tables(state: CheckState, record: Path, published: set[Listed]) -> dict[str, pa.Table] | None:
    if not published or state.states[record.stem].flaws or state.states[record.stem].is_accepted:
        return None
    paths = {table: state.file_of(record, table) for table in tables_of({resource for _, resource in published})}
    if number := _number(state, record):  # of one table nothing else is left: each without the same rows
        left_out = state.tombstones.replacements_of(record.stem)[number].left_out
        paths |= {table: _numbered(state, record.stem, table, number) for table in tables_with(left_out)}
    withdrawn = state.tombstones.withdrawn_from(record.stem).keys()
    if published <= withdrawn and not all(path.exists() for path in paths.values()):
        return None  # the grace period is over
    tables = {table.name: read_table(state, path, table) for table, path in paths.items()}
    readable = {name: rows for name, rows in tables.items() if rows is not None}
    if len(readable) < len(paths):
        return None
    return {table.name: readable.get(table.name, table.arrow().empty_table()) for table in ROW_TABLES}


def _numbered(state: CheckState, run_id: str, table: Table, number: int) -> Path:
    """Return the file with this number of a table of a run, wherever it lies."""
    there = (path for path in files_of_run(state.data, table, run_id) if number_of(path) == number)
    return next(there, table_path(state.data, table, run_id, day_of_run(run_id), number))


def in_batches(items: Iterable[_Item], row_count: Callable[[_Item], int]) -> Iterator[list[_Item]]:
    """Group items in their order: a batch holds a bounded number of rows, or one item with more."""
    batch: list[_Item] = []
    total = 0
    for item in items:
        batch.append(item)
        total += row_count(item)
        if total >= _BATCH_ROWS or len(batch) >= _BATCH_RUNS:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch


def check_contents(state: CheckState, run: RunContents, violations: Iterable[Violation]) -> None:
    """Check the rows of a run against each other; `violations` of the rules were found for its batch."""
    _check_record(state, run)
    if run.tables is None:
        return
    for rule, values in violations:
        state.result.add(sibling(run.record, rule.table), rule.problem.format(*values))
    for observation in run.present:
        resource = next((one for one in RESOURCES if one.name == observation["resource"]), None)
        if resource is None:
            state.result.add(run.record, f"it names the resource {observation['resource']!r}, which is not known")
        elif observation["is_published"] and not _has_ids(resource, observation, run.tables):
            problem = f"account {observation['account']!r}: other {resource.name} than the observation counted"
            state.result.add(sibling(run.record, resource.table), problem)


def find_violations(state: CheckState, runs: Sequence[RunContents]) -> list[list[Violation]]:
    """Find the rules that each of these runs violates, in a few queries for all of them."""
    numbered = [(number, run.tables, run) for number, run in enumerate(runs) if run.tables is not None]
    found: list[list[Violation]] = [[] for _ in runs]
    if not numbered:
        return found
    for table in ROW_TABLES:
        parts = [(number, with_every_column(tables[table.name], table)) for number, tables, _ in numbered]
        _register(state, table, parts)
    _register(state, OBSERVATIONS, [(number, OBSERVATIONS.to_arrow(run.present)) for number, _, run in numbered])
    for rule in RUN_RULES:
        for number, *values in state.con.execute(rule.query).fetchall():
            found[number].append((rule, values))
    return found


def _register(state: CheckState, table: Table, parts: Iterable[tuple[int, pa.Table]]) -> None:
    """Make `<table>_of_runs` of the rows of each run, given with its number: the columns that the rules read."""
    import pyarrow as pa

    columns = list(RULE_COLUMNS[table.name])
    rows = pa.concat_tables(
        part.select(columns).append_column("run", pa.repeat(pa.scalar(number, pa.int32()), len(part)))
        for number, part in parts
    )
    state.con.register(f"{table.name}_of_runs", rows)


def _check_record(state: CheckState, run: RunContents) -> None:
    listed = [(row["account"], row["resource"]) for row in run.observations]
    if len(set(listed)) != len(listed):
        state.result.add(run.record, "it names an account twice")
    if not listed:
        state.result.add(run.record, "it has no row")
    withdrawn = state.tombstones.withdrawn_from(run.run_id)
    for row in run.observations:
        if row["run_id"] != run.run_id:
            state.result.add(run.record, f"it names run {row['run_id']!r}, which is not its file name")
        if row["is_published"] and (row["account"], row["resource"]) not in withdrawn:
            key = (row["account"], row["resource"], row["observed_at_utc"])
            other = state.published_by.setdefault(key, run.run_id)
            if other != run.run_id:
                cure = command(state.data, "withdraw", observation_name(run.run_id, key[:2]))
                problem = f"account {key[0]!r} at {key[2]} is published by run {other} as well"
                state.result.add(run.record, f"{problem}: {cure} withdraws this one")


def _has_ids(resource: Resource, observation: Mapping[str, Any], tables: Mapping[str, pa.Table]) -> bool:
    """Whether the ids in the table of the resource are those that the certificate was computed over."""
    import pyarrow.compute as pc

    def ids(table: pa.Table, name: str) -> pa.ChunkedArray:
        return table.filter(pc.equal(table.column("account"), observation["account"])).column(name)

    rejects = tables[REJECTS.name]
    rejects = rejects.filter(pc.equal(rejects.column("resource"), resource.name))
    if observation["ids_sha256"] is None or ids(rejects, "item_id").null_count:
        return True  # the certificate counts an item without an id, which has no row
    unique = sorted(set(ids(tables[resource.table.name], resource.key.name).to_pylist()) - {None})
    digest = hashlib.sha256("\n".join(unique).encode("utf-8", "surrogatepass")).hexdigest()
    return digest == str(observation["ids_sha256"])
