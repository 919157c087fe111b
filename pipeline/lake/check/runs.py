"""One run: its commit record, its rows, and, where the raw pages are there, the evidence and every row again.

    commit record ─→ RunContents ─┬─ rules      keys, counts, disks, ids
    or compaction                 ├─ evidence   computed again from the raw pages, every column of it
                                  └─ rows       built again from the raw pages, compared by key      (deep)

The same steps for a run of plain files and for one that comes back from versions.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import LakeDamaged
from pipeline.extract.reading_version import FIRST, READING
from pipeline.lake.check import later_fields
from pipeline.lake.check.compare import first_difference
from pipeline.lake.check.files import open_raw_run, read_table, sibling, unreadable, with_every_column
from pipeline.lake.check.rules import RUN_RULES
from pipeline.lake.committed_digests import COMMITTED_FILES
from pipeline.lake.layout import command, table_path
from pipeline.lake.publish import evidence_of, publish, read_answers, why_refused_anew
from pipeline.lake.survey import ROW_TABLES
from pipeline.memory import raise_if_out_of_memory
from pipeline.resources.control import OBSERVATIONS, REJECTS
from pipeline.resources.images import IMAGES
from pipeline.resources.tables import LAKE_TABLES

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import pyarrow as pa

    from pipeline.extract.raw_pages import RawRun
    from pipeline.extract.response import Answer
    from pipeline.lake.check.model import CheckState
    from pipeline.resources.schema import Table

_Answers = dict[str, list[tuple[int, "Answer"]]]


@dataclass(frozen=True, slots=True)
class RunContents:
    """A run as the lake has it."""

    record: Path
    """Its commit record; where compaction has replaced that, the path that it had."""
    observations: list[dict[str, Any]]
    tables: Mapping[str, pa.Table] | None
    """Images, disks and rejects; None where there need be none, or one cannot be read."""
    absent: Collection[str] = ()
    """Accounts whose rows are not in `tables`, though the record names them: withdrawn before compaction."""

    @property
    def run_id(self) -> str:
        """The run."""
        return self.record.stem

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
    observations = with_every_column(table, OBSERVATIONS).to_pylist()
    published = {row["account"] for row in observations if row["is_published"]}
    tables = _row_tables(state, record, published)
    return RunContents(record, observations, tables, _absent(state, record, tables))


def _absent(state: CheckState, record: Path, tables: dict[str, pa.Table] | None) -> set[str]:
    """Find the withdrawn accounts without a row: the run was restored from versions that lack them for good."""
    if tables is None or state.manifest is None or record.stem not in state.manifest.runs:
        return set()
    covered = state.manifest.covered.get(record.stem, ())
    gone = state.tombstones.withdrawn_from(record.stem).keys() - set(covered)
    return gone - set(tables[IMAGES.name].column("account").to_pylist())


def _row_tables(state: CheckState, record: Path, published: set[str]) -> dict[str, pa.Table] | None:
    if not published or state.states[record.stem].flaws or state.states[record.stem].is_accepted:
        return None
    paths = {table: sibling(record, table) for table in ROW_TABLES}
    withdrawn = state.tombstones.withdrawn_from(record.stem).keys()
    if published <= withdrawn and not all(path.exists() for path in paths.values()):
        return None  # the grace period is over
    tables = {table.name: read_table(state, path, table) for table, path in paths.items()}
    readable = {name: rows for name, rows in tables.items() if rows is not None}
    return readable if len(readable) == len(ROW_TABLES) else None


def check_run(state: CheckState, run: RunContents, raw: RawRun | None, *, is_checked: bool = False) -> None:
    """Check a run, and count it; `raw` is None where its pages are not there or cannot be read.

    `is_checked` says that its rows are those of a run whose contents were checked.
    """
    state.result.observation_count += len(run.observations)
    if not is_checked:
        check_contents(state, run)
    if raw is None:
        state.result.without_pages_count += len(run.observations)
    else:
        _check_pages(state, run, raw)


def open_pages(state: CheckState, run_id: str) -> RawRun | None:
    """Open the raw pages of a run. Returns: None where they are not there, or cannot be read."""
    path = state.raw_files.get(run_id)
    is_damaged = run_id in state.states and state.states[run_id].raw_flaw is not None
    return None if path is None or is_damaged else open_raw_run(state, path)


# ── by itself ────────────────────────────────────────────────────────────────


def check_contents(state: CheckState, run: RunContents) -> None:
    """Check the rows of a run against each other."""
    _check_record(state, run)
    if run.tables is None:
        return
    present = [row for row in run.observations if row["account"] not in run.absent]
    for table in ROW_TABLES:
        state.con.register(f"{table.name}_of_run", with_every_column(run.tables[table.name], table))
    state.con.register("observations_of_run", OBSERVATIONS.to_arrow(present))
    for rule in RUN_RULES:
        for row in state.con.execute(rule.query).fetchall():
            state.result.add(sibling(run.record, rule.table), rule.problem.format(*row))
    for observation in present:
        if observation["is_published"] and not _has_ids(observation, run.tables[IMAGES.name], run.tables[REJECTS.name]):
            problem = f"account {observation['account']!r}: other images than the observation counted"
            state.result.add(sibling(run.record, IMAGES), problem)


def _check_record(state: CheckState, run: RunContents) -> None:
    accounts = [row["account"] for row in run.observations]
    if len(set(accounts)) != len(accounts):
        state.result.add(run.record, "it names an account twice")
    if not accounts:
        state.result.add(run.record, "it has no row")
    withdrawn = state.tombstones.withdrawn_from(run.run_id)
    for row in run.observations:
        if row["run_id"] != run.run_id:
            state.result.add(run.record, f"it names run {row['run_id']!r}, which is not its file name")
        if row["is_published"] and row["account"] not in withdrawn:
            key = (row["account"], row["observed_at_utc"])
            other = state.published_by.setdefault(key, run.run_id)
            if other != run.run_id:
                cure = command(state.data, "withdraw", f"{run.run_id}/{key[0]}")
                problem = f"account {key[0]!r} at {key[1]} is published by run {other} as well"
                state.result.add(run.record, f"{problem}: {cure} withdraws this one")


def _has_ids(observation: Mapping[str, Any], images: pa.Table, rejects: pa.Table) -> bool:
    """Whether the ids in `images` are those that the certificate was computed over."""
    import pyarrow.compute as pc

    def ids(table: pa.Table) -> pa.ChunkedArray:
        return table.filter(pc.equal(table.column("account"), observation["account"])).column("image_id")

    if observation["image_ids_sha256"] is None or ids(rejects).null_count:
        return True  # the certificate counts an image without an id, which has no row
    unique = sorted(set(ids(images).to_pylist()) - {None})
    digest = hashlib.sha256("\n".join(unique).encode("utf-8", "surrogatepass")).hexdigest()
    return digest == str(observation["image_ids_sha256"])


# ── against its raw pages ────────────────────────────────────────────────────


def _check_pages(state: CheckState, run: RunContents, raw: RawRun) -> None:
    import pyarrow as pa

    try:
        answers = read_answers(raw, reading=run.reading)
        state.result.row_count += sum(map(len, answers.values()))
        _check_evidence(state, run, raw, answers)
        if state.result.is_deep:
            _check_rows(state, run, raw, answers)
    except LakeDamaged as error:
        state.result.add(raw.path, str(error).removeprefix(f"{raw.path} "))
    except (pa.ArrowException, OSError, LookupError, TypeError, ValueError) as error:
        raise_if_out_of_memory(error)
        state.result.add(raw.path, unreadable(error))


def _check_evidence(state: CheckState, run: RunContents, raw: RawRun, answers: _Answers) -> None:
    decisions = {decision["account"]: decision for decision in raw.header["accounts"]}
    if decisions.keys() != {row["account"] for row in run.observations}:
        state.result.add(run.record, "it names other accounts than the raw pages of its run")
    for row in run.observations:
        account = row["account"]
        if account not in decisions:
            continue
        state.result.certificate_count += 1
        expected = _expected_evidence(row, raw, decisions[account], answers.get(account, ()), run.reading)
        for name, value in expected.items():
            if row[name] != value and not _is_withdrawn_since(row, name):
                problem = f"account {account!r}: {name} is {row[name]!r}, and {value!r} by the raw pages"
                state.result.add(run.record, problem)


def _expected_evidence(
    row: Mapping[str, Any],
    raw: RawRun,
    decision: Mapping[str, Any],
    answers: Sequence[tuple[int, Answer]],
    reading: int,
) -> dict[str, Any]:
    """Compute the columns of an observation that follow from the raw pages."""
    expected = evidence_of(raw, decision, answers, reading)
    if expected["observed_at_utc"] is not None:
        expected["observed_at_utc"] = raw.given_at_utc or expected["observed_at_utc"]
    if decision["is_published"] is not None:  # None: left to the rebuild that mends a damaged lake
        refusal = why_refused_anew(raw, decision, answers, expected["certificate"], reading)
        expected["is_published"] = decision["is_published"] and refusal is None
    if row["is_published"]:
        del expected["image_count"]  # a published observation counts the rows, which the rules compare
    return expected


def _is_withdrawn_since(row: Mapping[str, Any], name: str) -> bool:
    """Whether a rebuild left the account out of the lake because it had been withdrawn."""
    return name in {"is_published", "image_count"} and str(row["error"]).startswith("Withdrawn: ")


def _check_rows(state: CheckState, run: RunContents, raw: RawRun, answers: _Answers) -> None:
    """Build the run again from its raw pages, in a temporary folder, and compare every row."""
    observations = {row["account"]: row for row in run.observations}
    for decision in raw.header["accounts"]:  # the decisions are compared as evidence; here it is what follows from them
        if decision["account"] in observations:
            row = observations[decision["account"]]
            decision |= {"is_published": row["is_published"], "error": row["error"]}
    expected_tables = _built_again(raw, answers, run.reading)
    state.result.rebuilt_count += 1
    for table in LAKE_TABLES:
        actual, expected = run.rows(table), expected_tables.get(table.name)
        if actual is None or expected is None:
            continue
        actual, expected = later_fields.align(actual, expected, table)
        if table is OBSERVATIONS:  # other code writes other bytes for the same rows, and older code no reading version
            expected = expected.drop_columns([COMMITTED_FILES, "reading_version"])
        difference = first_difference(actual, expected, table, without=run.absent)
        if difference is not None:
            state.result.add(sibling(run.record, table), f"not what the raw pages give: {difference}")
    if run.reading < READING:
        anew = _built_again(raw, read_answers(raw, reading=READING), READING)
        state.result.read_differently_count += sum(
            _count_differing_rows(state, expected_tables[table.name], anew[table.name]) for table in ROW_TABLES
        )


def _built_again(raw: RawRun, answers: _Answers, reading: int) -> dict[str, pa.Table]:
    """Publish a run in a temporary folder. Returns: the rows of its tables, by name."""
    import pyarrow.parquet as pq

    with tempfile.TemporaryDirectory(prefix="ens-images-check.") as folder:
        publish(Path(folder), raw, answers, reading=reading)
        paths = {table: table_path(Path(folder), table, raw.path.stem, raw.observed_on) for table in LAKE_TABLES}
        return {
            table.name: pq.ParquetFile(path).read() if path.exists() else table.to_arrow([])
            for table, path in paths.items()
        }


def _count_differing_rows(state: CheckState, before: pa.Table, after: pa.Table) -> int:
    """Count the rows of one version of reading that another one does not give: changed, added or lost."""
    if before.equals(after):
        return 0
    state.con.register("read_before", before)
    state.con.register("read_after", after)
    ((lost, added),) = state.con.execute(
        "select (select count(*) from (from read_before except all from read_after)), "
        "(select count(*) from (from read_after except all from read_before))"
    ).fetchall()
    return max(int(lost), int(added))
