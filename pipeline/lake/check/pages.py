"""One run against its raw pages: the evidence, and every row again; and the secrets in them.

    raw pages ─┬─ evidence   computed again, every column of it, and the proof of the listing
               ├─ secrets    that an older version stored
               └─ rows       built again, compared by key      (deep)

Each row group is read once.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import LakeDamaged
from pipeline.extract.reading_version import READING
from pipeline.extract.stored_secrets import header_secrets, stored_secrets
from pipeline.lake.check import later_fields
from pipeline.lake.check.compare import first_difference
from pipeline.lake.check.files import open_raw_run, sibling, unreadable
from pipeline.lake.check.proofs import check_proof
from pipeline.lake.committed_digests import COMMITTED_FILES
from pipeline.lake.layout import table_path
from pipeline.lake.publish import Answers, evidence_of, listed_in, publish, read_answers, why_refused_anew
from pipeline.memory import raise_if_out_of_memory
from pipeline.resources.control import OBSERVATIONS
from pipeline.resources.tables import LAKE_TABLES, ROW_TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa

    from pipeline.extract.raw_pages import RawRun
    from pipeline.lake.check.model import CheckState
    from pipeline.lake.check.runs import RunContents
    from pipeline.resources.schema import Table


def check_against_pages(state: CheckState, run: RunContents) -> None:
    """Count a run, and compare it with its raw pages where they are there and can be read."""
    raw = _open_pages(state, run.run_id)
    state.result.observation_count += len(run.observations)
    if raw is None:
        state.result.without_pages_count += len(run.observations)
    else:
        _check_pages(state, run, raw)


def _open_pages(state: CheckState, run_id: str) -> RawRun | None:
    """Open the raw pages of a run. Returns: None where they are not there, or cannot be read."""
    path = state.raw_files.get(run_id)
    is_damaged = run_id in state.states and state.states[run_id].raw_flaw is not None
    return None if path is None or is_damaged else open_raw_run(state, path)


def _check_pages(state: CheckState, run: RunContents, raw: RawRun) -> None:
    import pyarrow as pa

    try:
        answers = _read_answers(state, run, raw)
        state.result.row_count += sum(map(len, answers.values()))
        _check_evidence(state, run, raw, answers)
        if state.result.is_deep:
            _check_rows(state, run, raw, answers)
    except LakeDamaged as error:
        state.result.add(raw.path, str(error).removeprefix(f"{raw.path} "))
    except (pa.ArrowException, OSError, LookupError, TypeError, ValueError) as error:
        raise_if_out_of_memory(error)
        state.result.add(raw.path, unreadable(error))


def _read_answers(state: CheckState, run: RunContents, raw: RawRun) -> Answers:
    """Read the answers, and find secrets in them: each row group is read once."""
    found = header_secrets(raw)

    def groups() -> Iterator[pa.Table]:
        for group in raw.groups():
            found.update(stored_secrets(group))
            yield group

    answers = read_answers(raw, reading=run.reading, groups=groups())
    state.secrets[raw.path] = found
    return answers


def _check_evidence(state: CheckState, run: RunContents, raw: RawRun, answers: Answers) -> None:
    decisions = {listed_in(decision): decision for decision in raw.header["accounts"]}
    if decisions.keys() != set(map(listed_in, run.observations)):
        state.result.add(run.record, "it names other accounts than the raw pages of its run")
    for row in run.observations:
        account, listed = row["account"], listed_in(row)
        if listed not in decisions:
            continue
        state.result.certificate_count += 1
        expected = _expected_evidence(row, raw, decisions[listed], answers, run.reading)
        for name, value in expected.items():
            if row[name] != value and not _is_withdrawn_since(row, name):
                problem = f"account {account!r}: {name} is {row[name]!r}, and {value!r} by the raw pages"
                state.result.add(run.record, problem)
        check_proof(state, raw, decisions[listed], [answer for _, answer in answers.get(listed, ())])


def _expected_evidence(
    row: Mapping[str, Any],
    raw: RawRun,
    decision: Mapping[str, Any],
    answers: Answers,
    reading: int,
) -> dict[str, Any]:
    """Compute the columns of an observation that follow from the raw pages."""
    expected = evidence_of(raw, decision, answers)
    if raw.header.get("completeness_rule") is None and row["proof"] is None:
        del expected["proof"]  # a version that did not name it wrote the record
    if decision["is_published"] is not None:  # None: left to the rebuild that mends a damaged lake
        mine = answers.get(listed_in(decision), ())
        refusal = why_refused_anew(raw, decision, mine, expected["certificate"], reading)
        expected["is_published"] = decision["is_published"] and refusal is None
    if row["is_published"]:
        del expected["item_count"]  # a published observation counts the rows, which the rules compare
    return expected


def _is_withdrawn_since(row: Mapping[str, Any], name: str) -> bool:
    """Whether a rebuild left the account out of the lake because it had been withdrawn."""
    return name in {"is_published", "item_count"} and str(row["error"]).startswith("Withdrawn: ")


def _check_rows(state: CheckState, run: RunContents, raw: RawRun, answers: Answers) -> None:
    """Build the run again from its raw pages, in a temporary folder, and compare every row."""
    observations = {listed_in(row): row for row in run.observations}
    for decision in raw.header["accounts"]:  # the decisions are compared as evidence; here it is what follows from them
        if listed_in(decision) in observations:
            row = observations[listed_in(decision)]
            decision |= {"is_published": row["is_published"], "error": row["error"]}
    state.result.rebuilt_count += 1
    anew = _built_again(raw, answers if run.reading == READING else read_answers(raw, reading=READING), READING)
    differences = _differences(run, anew)
    if differences and run.reading < READING:  # what an older version read is compared with the same reading
        expected = _built_again(raw, answers, run.reading)
        differences = _differences(run, expected)
        state.result.read_differently_count += sum(
            _count_differing_rows(state, expected[table.name], anew[table.name]) for table in ROW_TABLES
        )
    for table, difference in differences:
        state.result.add(sibling(run.record, table), f"not what the raw pages give: {difference}")


def _differences(run: RunContents, expected_tables: Mapping[str, pa.Table]) -> list[tuple[Table, str]]:
    """Describe the first difference of each table of a run."""
    found = []
    for table in LAKE_TABLES:
        actual, expected = run.rows(table), expected_tables.get(table.name)
        if actual is None or expected is None:
            continue
        actual, expected = later_fields.align(actual, expected, table)
        if table is OBSERVATIONS:  # other code writes other bytes for the same rows, and older code no reading version
            expected = expected.drop_columns([COMMITTED_FILES, "reading_version"])
        difference = first_difference(actual, expected, table, without=run.absent)
        if difference is not None:
            found.append((table, difference))
    return found


def _built_again(raw: RawRun, answers: Answers, reading: int) -> dict[str, pa.Table]:
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
