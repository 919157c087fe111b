"""Files of the lake, one by one: readable and of the declared schema; and files that belong to nothing."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

from pipeline.errors import BadSetting, LakeDamaged
from pipeline.extract.raw_pages import RawRun
from pipeline.lake.delta_log import delta_log_flaws
from pipeline.lake.foreign_files import foreign_files, obstacles
from pipeline.lake.layout import CATALOG, CATALOG_FINGERPRINT, command, is_changed
from pipeline.lake.orphans import orphans
from pipeline.lake.survey import pages_flaw
from pipeline.lake.withdrawn_files import misplaced_files, replacement_flaws
from pipeline.memory import raise_if_out_of_memory
from pipeline.resources.control import OBSERVATIONS, RAW_PAGES
from pipeline.resources.schema import FORMAT
from pipeline.resources.tables import LAKE_TABLES
from pipeline.storage.partitions import is_run_file, number_of, run_of
from pipeline.storage.store import store_of
from pipeline.text import sql_literal

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    import pyarrow as pa

    from pipeline.lake.check.model import CheckState
    from pipeline.resources.schema import Table


# ── reading ──────────────────────────────────────────────────────────────────


def read_table(state: CheckState, path: Path, table: Table) -> pa.Table | None:
    """Read a whole file of `table` and verify its checksums. Returns: None where that fails, with a finding."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    state.result.file_count += 1
    try:
        with pq.ParquetFile(store_of(path).open(path), page_checksum_verification=True) as file:
            flaw = schema_flaw(file.schema_arrow, table)
            if flaw is not None:
                state.result.add(path, flaw)
                return None
            rows = _with_present_names(file.read(), table)
    except FileNotFoundError:
        state.result.add(path, "missing: `ens-images rebuild` restores it if the raw pages of its run are there")
        return None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise_if_out_of_memory(error)
        state.result.add(path, unreadable(error))
        return None
    state.result.row_count += len(rows)
    return rows


def open_raw_run(state: CheckState, path: Path) -> RawRun | None:
    """Open a raw file. Returns: None where that fails, with a finding."""
    state.result.file_count += 1
    try:
        raw = RawRun(path)
        flaw = schema_flaw(raw.schema, RAW_PAGES)
    except LakeDamaged as error:
        flaw = _foreign_flaw(path) or str(error).removeprefix(f"{path} ")
    if flaw is None:
        return raw
    state.result.add(path, flaw)
    return None


def _foreign_flaw(path: Path) -> str | None:
    """Return why a file is none of raw pages by its schema, which tells more than a header that is not there."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return schema_flaw(pq.read_schema(store_of(path).open(path)), RAW_PAGES)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise_if_out_of_memory(error)
        return unreadable(error)


def schema_flaw(schema: pa.Schema, table: Table) -> str | None:
    """Return the first reason why a file is none of `table`; a column that an older version did not have is none."""
    metadata = schema.metadata or {}
    name = metadata.get(b"table", b"").decode(errors="replace")
    if name not in {table.name, table.renamed_from}:
        return f"no file of this lake: its header names table {name!r}, not {table.name!r}"
    version = metadata.get(b"format", b"").decode(errors="replace")
    if not version.isdigit() or int(version) > int(FORMAT):
        return f"its format is {version!r}; {FORMAT!r} is the newest that this version reads"
    declared = _DECLARED_TYPES.get(table.name) or _DECLARED_TYPES.setdefault(table.name, _declared_types(table))
    for column in schema:
        if column.name not in declared:
            return f"column {column.name!r} is not declared"
        if column.type != declared[column.name]:
            return f"column {column.name!r} is {column.type}, declared is {declared[column.name]}"
    known = [table.column(name) for name in table.key if name in declared]
    missing = [c.name for c in known if c.default is None and not {c.name, c.renamed_from} & set(schema.names)]
    return f"it lacks {missing[0]!r}, a part of the key" if missing else None


_DECLARED_TYPES: Final[dict[str, dict[str, Any]]] = {}


def _declared_types(table: Table) -> dict[str, pa.DataType]:
    """Return the type of each column, under its present name and under the one of older versions."""
    return {name: column.arrow().type for column in table.stored for name in (column.name, column.renamed_from) if name}


def with_every_column(rows: pa.Table, table: Table) -> pa.Table:
    """Give the columns of an older version their present names, and add those that it did not have, as nulls."""
    import pyarrow as pa

    rows = _with_present_names(rows, table)
    there = set(rows.column_names)
    for field in [column.arrow() for column in table.stored if column.name not in there]:
        rows = rows.append_column(field, pa.nulls(len(rows), field.type))
    return rows


def with_declared_schema(rows: pa.Table, table: Table) -> pa.Table:
    """Give rows of an older version the declared columns, in their order: those that it did not have are null."""
    schema = table.arrow()
    return with_every_column(rows, table).select(schema.names).cast(schema)


def _with_present_names(rows: pa.Table, table: Table) -> pa.Table:
    """Give the columns of an older version their present names, and add those with a default."""
    import pyarrow as pa

    present = {column.renamed_from: column.name for column in table.stored if column.renamed_from}
    if present.keys() & set(rows.column_names):
        rows = rows.rename_columns([present.get(name, name) for name in rows.column_names])
    there = set(rows.column_names)
    for column in [column for column in table.stored if column.default is not None and column.name not in there]:
        rows = rows.append_column(column.arrow(), pa.repeat(pa.scalar(column.default, pa.string()), len(rows)))
    return rows


def unreadable(error: BaseException) -> str:
    """Return the problem for a file that raised `error`: its first line, cut."""
    return f"cannot be read: {str(error).splitlines()[0][:200]}"


def sibling(path: Path, table: Table) -> Path:
    """Return the file of another table of the same run and day."""
    return path.parents[2] / table.name / path.parent.name / path.name


# ── files that belong to nothing ─────────────────────────────────────────────


def check_other_files(state: CheckState) -> None:
    """Find files that no commit names, runs that were landed and never published, and a catalog that is none."""
    orphan_files = [*orphans(state.data), *misplaced_files(state.data, state.tombstones)]
    state.result.orphan_count = len(orphan_files)
    committed = state.records.keys() | (state.manifest.runs.keys() if state.manifest else set())
    _uncommitted_files(state, committed, orphan_files)
    _unpublished_runs(state, committed, orphan_files)
    in_the_way = obstacles(state.data)
    named = {finding.location for finding in state.result.findings}
    for path in in_the_way:
        if str(path.relative_to(state.data)) not in named:  # that it stands in the way is no second finding
            found = "a folder" if path.is_dir() else "no file"
            flaw = "a file, and a folder" if path.is_file() else f"{found}, and a file"
            state.result.add(path, f"{flaw} of the lake belongs there: {command(state.data, 'rebuild')} moves it aside")
    for path in foreign_files(state.data):
        if path not in in_the_way:
            state.result.add(path, "no file of the lake: move it away")
    for path, flaw in replacement_flaws(state.data, state.tombstones).items():
        if str(path.relative_to(state.data)) not in named:
            state.result.add(path, f"{flaw}: {command(state.data, 'rebuild')} writes it again")
    _catalog(state)
    _delta_logs(state, in_the_way)


def _uncommitted_files(state: CheckState, committed: Collection[str], orphan_files: Collection[Path]) -> None:
    for table in LAKE_TABLES:
        for path in sorted((state.data / "lake" / table.name).rglob("*.parquet")):
            if not is_run_file(path) or path in orphan_files:
                continue
            if number_of(path) and number_of(path) not in state.tombstones.replacements_of(run_of(path)):
                state.result.add(path, "no file of the lake: move it away")
                continue
            if path.is_file() and run_of(path) not in committed and not sibling(path, OBSERVATIONS).exists():
                state.result.add(path, f"no commit record, so no reader uses it: {_publishing(state, path)}")


def _publishing(state: CheckState, path: Path) -> str:
    if run_of(path) in state.raw_files and pages_flaw(state.raw_files[run_of(path)]) is None:
        return f"{command(state.data, 'rebuild')} publishes its run"
    return f"{command(state.data, 'withdraw', run_of(path))} moves the files of its run away"


def _unpublished_runs(state: CheckState, committed: Collection[str], orphan_files: Collection[Path]) -> None:
    being_written = {name for path in orphan_files for name in (path.name, path.stem)}
    for run_id, path in state.raw_files.items():
        record = state.data / "lake" / OBSERVATIONS.name / path.parent.name / path.name
        # A writer may be at work beside us: the run may be committed by now.
        is_published = run_id in committed or run_id in being_written or record.exists()
        if not is_published and open_raw_run(state, path) is not None:
            state.result.add(path, f"landed, and not published: {command(state.data, 'rebuild')} publishes it")


def _catalog(state: CheckState) -> None:
    import duckdb

    path = state.data / CATALOG
    if not path.is_file():
        return
    if is_changed(path):
        problem = "another program changed it since a run wrote it"
        state.result.add(path, f"{problem}: {command(state.data, 'rebuild')} writes it again")
        return
    with duckdb.connect() as con:
        try:
            con.execute(f"attach {sql_literal(str(path))} as catalog (read_only)")
            con.execute(f"select catalog.{CATALOG_FINGERPRINT}()").fetchall()
        except duckdb.Error as error:
            raise_if_out_of_memory(error)
            if "Could not set lock" in str(error):  # another program writes there, or there are no locks: no damage
                return
            reason = str(error).splitlines()[0][:120]
            state.result.add(path, f"cannot be opened ({reason}): {command(state.data, 'rebuild')} writes a new one")


def _delta_logs(state: CheckState, in_the_way: Collection[Path]) -> None:
    """Compare the Delta logs with the commit records; `status` says where the extra for that is not installed."""
    with contextlib.suppress(BadSetting, LakeDamaged):  # damage of the lake is a finding already
        flaws = delta_log_flaws(state.data, recount=True)
        for log, flaw in ((log, flaw) for log, flaw in flaws.items() if log not in in_the_way):
            state.result.add(log, f"{flaw}: {command(state.data, 'rebuild', '--delta')} writes it")
