"""Read the lake in Spark: the same tables and views over the same files, and a distributed rebuild.

    register   tables.py + views/*.sql ──► temporary views of a session, with a comment on every column
    rebuild    raw files ──► mapInArrow: one run per task, flattened and published as by `ens-images rebuild`

Spark's own Parquet reader reads a table from exactly its committed files, pruned by column and row group. Spark without
a connector cannot read a bucket: there DuckDB reads the files inside Spark's tasks, several files per task. DuckDB also
computes `image_versions`, and every table once the lake is compacted or an observation is withdrawn: one account per
task, with the SQL of `connect`, so that versions have one definition. A session shows the lake as of registration.

The views are the files that DuckDB runs, with a few expressions replaced by Spark's syntax. The engines may differ in
the meaning of the rest: `make spark` runs every view on both and compares them row by row.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from pipeline.errors import LakeMissing
from pipeline.extract.raw_pages import RawRun, raw_paths
from pipeline.jobs.rebuild import publish_again
from pipeline.lake.file_set import FileSet
from pipeline.lake.latest import latest_paths
from pipeline.lake.lock import lock
from pipeline.lake.scan import scan_files
from pipeline.lake.survey import runs_to_publish, survey
from pipeline.lake.tombstone_files import read_tombstones
from pipeline.lake.verification import Verification
from pipeline.resources.control import PARTITIONS
from pipeline.resources.tables import RESOURCES, TABLES
from pipeline.storage.store import open_location, prefetch_footers, store_of
from pipeline.text import sql_literal
from pipeline.views.catalog import LATEST, committed_name, relations
from pipeline.views.database import write_catalog
from pipeline.views.published import Published
from pipeline.views.script import whole_script
from pipeline.views.state import LakeState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

    from pipeline.lake.latest import LatestObservation
    from pipeline.resources.schema import Table

SPARK_SYNTAX: Final = {
    "as varchar)": "as string)",
    "cast(unnest(generate_series(first_day_utc, last_day_utc, interval 1 day)) as date)": (
        "explode(sequence(first_day_utc, last_day_utc, interval 1 day))"
    ),
    "unnest(from_json(": "explode(from_json(",
    """'[{"image_id":"VARCHAR","shared_account_count":"BIGINT"}]'""": (
        "'array<struct<image_id:string,shared_account_count:bigint>>'"
    ),
    "array_to_string(": "array_join(",
    "list_transform(": "transform(",
    "lambda disk: ": "disk -> ",
    "cross join lateral (\n        values\n": "lateral view inline(array(\n",
    "    ) as each (field, old_value, new_value)": "    )) each as field, old_value, new_value",
}
"""DuckDB expressions in the views, each with its equivalent in Spark SQL."""
_TASK_BYTES: Final = 64 << 20
"""Maximum size of the files that DuckDB reads in one task."""
_OPEN_COST_BYTES: Final = 1 << 20
"""Cost of opening a file, added to its size."""


# ── tables and views ─────────────────────────────────────────────────────────


def register(spark: SparkSession, data: str | Path = "data") -> None:
    """Create a temporary view in this session for every table and view of a lake, with the same name.

    The session keeps showing the lake as of this call. Every machine of the cluster must reach `data` at this path, and
    have ens-images installed.

    Raises:
        LakeMissing: no run was ever committed to `data`.
        LakeDamaged: a commit record cannot be read, or a file is missing.
    """
    import duckdb

    _use_this_python_in_workers(spark)
    files = FileSet.read(data)
    with duckdb.connect() as con:
        store_of(open_location(data)).register_filesystem(con)
        verification = Verification(files)
        state = LakeState.of(Published(con, files, verification))
        verification.verify_tables(con, {observation.run_id for observation in state.latest})
        con.execute(whole_script(files, state)).fetchall()
        macros = "select function_name, macro_definition from duckdb_functions() where macro_definition is not null"
        queries_of = dict(con.execute(macros).fetchall())
        is_plain = files.manifest is None and not files.tombstones.active and not state.has_names
        accounts = [row[0] for row in con.execute("select distinct account from observations order by 1").fetchall()]
        for name, table in {**{table.name: table for table in (*TABLES, PARTITIONS)}, **LATEST}.items():
            schema = _schema(con, name)
            is_latest = name in LATEST
            paths: Sequence[Path] = files.daily.get(name, ())  # image_versions has no daily files
            latest = _latest_of(table, state)
            if is_latest:
                paths = list(latest_paths(table, files, latest).values())
            if is_plain and paths:
                frame = _read_files(spark, schema, table, paths)
                frame = _keep_observations(spark, frame, latest) if is_latest else frame
            else:
                table_script = f"create view {name} as {queries_of[committed_name(name)]}"
                parts = [f" where account = {sql_literal(account)}" for account in accounts]
                queries = [f"from {name}{part}" for part in (parts if table is not PARTITIONS else [""])]
                frame = _read_with_duckdb(spark, schema, str(data), [(query, []) for query in queries], table_script)
            frame.createOrReplaceTempView(name)
    for statement in _statements():
        spark.sql(statement)


def _use_this_python_in_workers(spark: SparkSession) -> None:
    """Let the workers of a local session use this Python: `python3` on the path may be another one.

    An explicit setting (PYSPARK_PYTHON or spark.pyspark.python) takes precedence.
    """
    context = getattr(spark, "sparkContext", None)  # a Spark Connect session has no context
    if context is None or not context.master.startswith("local"):
        return
    if not (os.environ.get("PYSPARK_PYTHON") or context.getConf().get("spark.pyspark.python")):
        context.pythonExec = sys.executable


def views_spark_sql() -> str:
    """Returns: the views in Spark SQL, with a comment on every column. `register` creates the tables that they read."""
    return _HEAD + "".join(f"{statement}\n;\n" for statement in _statements())


_HEAD: Final = """\
-- Views over the tables of `pipeline.spark.register(spark, data)`, which also creates these views.
-- A session executes one statement at a time. Each statement ends with a line that contains only `;`:
--     for statement in text.split("\\n;\\n")[:-1]:
--         spark.sql(statement)

"""


def _statements() -> Iterator[str]:
    for relation in relations().values():
        if relation.query:
            query = relation.query
            for duckdb_syntax, spark_syntax in SPARK_SYNTAX.items():
                query = query.replace(duckdb_syntax, spark_syntax)
            columns = ",\n".join(f"    {column.name} comment {_literal(column.comment)}" for column in relation.columns)
            comment = f"comment {_literal(relation.grain)}"
            yield f"create or replace temporary view {relation.name} (\n{columns}\n) {comment} as\n{query.rstrip()}"


def _literal(text: str) -> str:
    """A literal of Spark SQL, escaped with backslashes."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _schema(con: Any, name: str) -> Any:
    """The columns of a table in Spark's types; timestamps have no time zone, as in DuckDB."""
    from pyspark.sql.pandas.types import from_arrow_schema

    schema = con.sql(f"from {name} limit 0").to_arrow_table().schema
    return from_arrow_schema(schema, prefer_timestamp_ntz=True)


def _read_files(spark: SparkSession, schema: Any, table: Table, paths: Sequence[Path]) -> DataFrame:
    """Read exactly these files; `observed_on` is taken from the folder's name."""
    from pyspark.sql.functions import col, regexp_extract
    from pyspark.sql.types import StructType

    # Only `scan_files` reads a renamed column by its old name, and a later column from `extra` of older files.
    is_plain = not any(column.renamed_from or column.default or column.is_later_field for column in table.columns)
    if not (store_of(paths[0]).is_local and is_plain):
        queries = [(scan_files(table, group), list(map(str, group))) for group in _pack_files(paths)]
        return _read_with_duckdb(spark, schema, str(paths[0]), queries)
    stored = StructType([field for field in schema if field.name != "observed_on"])
    frame = spark.read.schema(stored).parquet(*map(str, paths))
    day = regexp_extract(col("_metadata.file_path"), "observed_on=([0-9-]+)/[^/]*$", 1).cast("date")
    return frame.select(*(day.alias(name) if name == "observed_on" else col(name) for name in schema.names))


def _pack_files(paths: Sequence[Path]) -> list[list[Path]]:
    """Group files by size, one group per task, as Spark's own reader does, but without splitting a file."""
    groups: list[list[Path]] = []
    free_bytes = 0
    for path in paths:
        cost = store_of(path).size(path) + _OPEN_COST_BYTES
        if cost > free_bytes:
            groups.append([])
            free_bytes = _TASK_BYTES
        groups[-1].append(path)
        free_bytes -= cost
    return groups


def _read_with_duckdb(
    spark: SparkSession, schema: Any, data: str, queries: Sequence[tuple[str, Sequence[str]]], script: str = "select 1"
) -> DataFrame:
    """Read a table with DuckDB in Spark's tasks: one query per task, after `script` and a prefetch of its objects."""

    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import duckdb

        for batch in batches:
            for row in batch.to_pylist():
                with duckdb.connect() as con:
                    store_of(open_location(data)).register_filesystem(con)
                    con.execute(script).fetchall()
                    prefetch_footers(list(map(open_location, row["paths"])))
                    yield from con.sql(row["query"]).to_arrow_reader()

    tasks = spark.createDataFrame(list(queries), "query string, paths array<string>")
    return tasks.repartition(max(1, len(queries)), "query").mapInArrow(read, schema)


def _latest_of(table: Table, state: LakeState) -> Sequence[LatestObservation]:
    """The last observations that have rows in a table: those of its resource, or of all in a table of several."""
    for resource in RESOURCES:
        if table in resource.tables:
            return state.latest_of(resource)
    return state.latest


def _keep_observations(spark: SparkSession, frame: DataFrame, observations: Sequence[LatestObservation]) -> DataFrame:
    """Keep the rows of these observations."""
    from pyspark.sql.functions import broadcast

    key = [name for name in ("account", "resource", "observed_at_utc") if name in frame.columns]
    rows = [tuple(getattr(observation, name) for name in key) for observation in observations]
    types = ", ".join(f"{name} {'timestamp_ntz' if name == 'observed_at_utc' else 'string'}" for name in key)
    return frame.join(broadcast(spark.createDataFrame(rows, types)), key).select(*frame.columns)


# ── rebuild ──────────────────────────────────────────────────────────────────


def rebuild(spark: SparkSession, data: str | Path = "data") -> list[str]:
    """Publish every run that is in the raw pages but not in the lake, one run per task.

    The result is that of `ens-images rebuild`: the same pages give the same files, each written only if absent, the
    commit record last. A run without a decision of the volume guard depends on the run before it: this process
    publishes these runs last, in order.

    Returns:
        The ids of the published runs.

    Raises:
        LakeMissing: `data` contains no raw pages.
        LakeLocked: another process has locked the lake.
    """
    _use_this_python_in_workers(spark)
    folder = open_location(data)
    tombstones = read_tombstones(folder)
    raw_files = [path for path in raw_paths(folder) if path.stem not in tombstones.raw_runs]
    if not raw_files:
        raise LakeMissing(f"no landed pages in {str(folder / 'raw')!r}: there is nothing to rebuild from")
    with lock(folder):
        missing = runs_to_publish(survey(folder, tombstones), raw_files)
        decided = [path for path in missing if _is_decided(path)]
        if decided:
            tasks = spark.createDataFrame([(str(path),) for path in decided], "path string")
            done = tasks.repartition(len(decided)).mapInArrow(_publisher(str(data)), "run_id string").collect()
            assert {row.run_id for row in done} == {path.stem for path in decided}  # noqa: S101  (a failed task raises)
        for path in missing:
            if path not in decided:
                publish_again(folder, RawRun(path), {}, is_replacing=True)
        write_catalog(folder)
    return [path.stem for path in missing]


def _is_decided(path: Path) -> bool:
    return all(account["is_published"] is not None for account in RawRun(path).header["accounts"])


def _publisher(data: str) -> Any:
    def publish(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        for batch in batches:
            done = []
            for raw_path in batch.column(0).to_pylist():
                path = open_location(raw_path)
                with contextlib.suppress(FileExistsError):  # an earlier attempt of this task published the run
                    publish_again(open_location(data), RawRun(path), {}, is_replacing=True)
                done.append(path.stem)
            yield pa.RecordBatch.from_pydict({"run_id": done})

    return publish
