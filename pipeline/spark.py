"""The lake in Spark: the same tables and views over the same files, and a rebuild by many machines.

    register   tables.py + views/*.sql ──► temporary views of a session, each column described
    rebuild    raw files ──► mapInArrow: one run a task, flattened and published as `ens-images rebuild` does

A table whose files say all that it holds is Spark's own Parquet reader over exactly those files, pruned by column and
by row group. Where they lie in a bucket, which a plain Spark does not reach, DuckDB reads them in Spark's tasks,
some files a task. What a fold or a withdrawal has a part in is made by DuckDB, one account a task, as `connect` has it:
there is one definition of a stretch. Either way a session shows the lake as it was when it was registered.

The views are the files that DuckDB runs, with the few words changed for which Spark has others. Nothing promises that
the two engines mean the same by the rest: `make spark` runs every view on both, and compares them row by row.
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
from pipeline.lake.publish import complete_runs
from pipeline.lake.scan import scan_files
from pipeline.lake.tombstones import read_tombstones
from pipeline.resources.tables import TABLES
from pipeline.storage.store import open_location, prefetch_footers, store_of
from pipeline.text import sql_literal
from pipeline.views.catalog import LATEST, relations
from pipeline.views.database import write_catalog
from pipeline.views.script import whole_script
from pipeline.views.state import LakeState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

    from pipeline.lake.latest import LatestObservation
    from pipeline.resources.schema import Table

WORDS: Final = {
    "as varchar)": "as string)",
    "cast(unnest(generate_series(first_day_utc, last_day_utc, interval 1 day)) as date)": (
        "explode(sequence(first_day_utc, last_day_utc, interval 1 day))"
    ),
    "array_to_string(": "array_join(",
    "list_transform(": "transform(",
    "lambda disk: ": "disk -> ",
    "cross join lateral (\n        values\n": "lateral view inline(array(\n",
    "    ) as each (field, old_value, new_value)": "    )) each as field, old_value, new_value",
}
"""What DuckDB says, and Spark says otherwise: each stands in a view."""
_PART_BYTES: Final = 64 << 20
_OPENING_BYTES: Final = 1 << 20
"""What DuckDB reads in one task, and what it costs to open a file, as if it were so much longer."""


# ── tables and views ─────────────────────────────────────────────────────────


def register(spark: SparkSession, data: str | Path = "data") -> None:
    """Make every table and view of a lake a temporary view of this session, by its name.

    The session shows the lake as it is now, and goes on showing that. Every machine of the cluster must reach `data`
    under this path, and have ens-images installed.

    Raises:
        LakeMissing: no run was ever committed there.
        LakeDamaged: a commit record cannot be read, or a file is missing.
    """
    import duckdb

    _let_workers_run_this_python(spark)
    files = FileSet.read(data)
    with duckdb.connect() as con:
        store_of(open_location(data)).register_filesystem(con)
        known = LakeState.of(con, files)
        con.execute(whole_script(files, known)).fetchall()
        made = dict(con.execute("select view_name, sql from duckdb_views()").fetchall())
        is_plain = files.manifest is None and not files.tombstones.active
        accounts = [row[0] for row in con.execute("select distinct account from observations order by 1").fetchall()]
        for name, table in {**{table.name: table for table in TABLES}, **LATEST}.items():
            schema = _schema(con, name)
            is_latest = name in LATEST
            paths: Sequence[Path] = files.daily.get(name, ())  # of stretches there are none
            if is_latest:
                paths = list(latest_paths(table, files, known.latest).values())
            if is_plain and paths:
                frame = _from_files(spark, schema, table, paths)
                frame = _among(spark, frame, known.latest) if is_latest else frame
            else:
                queries = [f"from {name} where account = {sql_literal(account)}" for account in accounts]
                frame = _by_duckdb(spark, schema, str(data), [(query, []) for query in queries], made[name])
            frame.createOrReplaceTempView(name)
    for statement in _statements():
        spark.sql(statement)


def _let_workers_run_this_python(spark: SparkSession) -> None:
    """On this machine alone, let Spark's workers run the Python that runs here: `python3` of the path may be another.

    Who said which they run is heeded.
    """
    context = getattr(spark, "sparkContext", None)  # Spark Connect has none here
    if context is None or not context.master.startswith("local"):
        return
    if not (os.environ.get("PYSPARK_PYTHON") or context.getConf().get("spark.pyspark.python")):
        context.pythonExec = sys.executable


def views_spark_sql() -> str:
    """Write the views as Spark spells them, each column described; the tables that they read `register` makes."""
    return _HEAD + "".join(f"{statement}\n;\n" for statement in _statements())


_HEAD: Final = """\
-- Over the tables that `pipeline.spark.register(spark, data)` registers, which runs this as well.
-- A session takes a statement at a time, and each ends with a line that is `;` alone:
--     for statement in text.split("\\n;\\n")[:-1]:
--         spark.sql(statement)

"""


def _statements() -> Iterator[str]:
    for relation in relations().values():
        if relation.query:
            query = relation.query
            for duckdb_word, spark_word in WORDS.items():
                query = query.replace(duckdb_word, spark_word)
            columns = ",\n".join(f"    {one.name} comment {_literal(one.comment)}" for one in relation.columns)
            said = f"comment {_literal(relation.grain)}"
            yield f"create or replace temporary view {relation.name} (\n{columns}\n) {said} as\n{query.rstrip()}"


def _literal(text: str) -> str:
    """A literal of Spark's SQL, which escapes by backslashes."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _schema(con: Any, name: str) -> Any:
    """The columns of a table in Spark's types; an instant has no zone, here as there."""
    from pyspark.sql.pandas.types import from_arrow_schema

    schema = con.sql(f"from {name} limit 0").to_arrow_table().schema
    return from_arrow_schema(schema, prefer_timestamp_ntz=True)


def _from_files(spark: SparkSession, schema: Any, table: Table, paths: Sequence[Path]) -> DataFrame:
    """Read exactly these files; the day comes from the folder's name, as everywhere."""
    from pyspark.sql.functions import col, regexp_extract
    from pyspark.sql.types import StructType

    # `scan_files` reads the older name of a column, and what `extra` holds of one that was added later
    is_plain = not any(column.renamed_from or (column.since and column.api) for column in table.columns)
    if not (store_of(paths[0]).is_local and is_plain):
        parts = [(scan_files(table, some), list(map(str, some))) for some in _in_parts(paths)]
        return _by_duckdb(spark, schema, str(paths[0]), parts)
    stored = StructType([field for field in schema if field.name != "observed_on"])
    frame = spark.read.schema(stored).parquet(*map(str, paths))
    day = regexp_extract(col("_metadata.file_path"), "observed_on=([0-9-]+)/[^/]*$", 1).cast("date")
    return frame.select(*(day.alias(one) if one == "observed_on" else col(one) for one in schema.names))


def _in_parts(paths: Sequence[Path]) -> list[list[Path]]:
    """Pack files into parts for a task each, as Spark does with those that it reads itself: none of them is cut."""
    parts: list[list[Path]] = []
    room = 0
    for path in paths:
        size = store_of(path).size(path)
        if size + _OPENING_BYTES > room:
            parts.append([])
            room = _PART_BYTES
        parts[-1].append(path)
        room -= size + _OPENING_BYTES
    return parts


def _by_duckdb(
    spark: SparkSession, schema: Any, data: str, queries: Sequence[tuple[str, Sequence[str]]], script: str = "select 1"
) -> DataFrame:
    """Let DuckDB make a table, after a script: one query a task, each with the objects that are fetched before."""

    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import duckdb

        for batch in batches:
            for row in batch.to_pylist():
                with duckdb.connect() as con:
                    store_of(open_location(data)).register_filesystem(con)
                    con.execute(script).fetchall()
                    prefetch_footers(list(map(open_location, row["paths"])))
                    yield from con.sql(row["query"]).to_arrow_reader()

    listed = spark.createDataFrame(list(queries), "query string, paths array<string>")
    return listed.repartition(max(1, len(queries)), "query").mapInArrow(read, schema)


def _among(spark: SparkSession, frame: DataFrame, latest: Sequence[LatestObservation]) -> DataFrame:
    """Keep the rows of these observations."""
    from pyspark.sql.functions import broadcast

    pairs = [(one.account, one.observed_at_utc) for one in latest]
    kept = broadcast(spark.createDataFrame(pairs, "account string, observed_at_utc timestamp_ntz"))
    return frame.join(kept, ["account", "observed_at_utc"]).select(*frame.columns)


# ── rebuild ──────────────────────────────────────────────────────────────────


def rebuild(spark: SparkSession, data: str | Path = "data") -> list[str]:
    """Publish every landed run that the lake lacks, one run a task, and return the ids of those.

    It is what `ens-images rebuild` does, run by run, on as many machines as there are: the same pages give the same
    files, each put only if it is absent, the commit record last. A run that was not yet judged against the one before
    it is published in the end, in order, by this process.

    Raises:
        LakeMissing: no pages were ever landed in `data`.
        LakeLocked: another run holds the lake.
    """
    _let_workers_run_this_python(spark)
    folder = open_location(data)
    gone = read_tombstones(folder)
    raw_files = [path for path in raw_paths(folder) if path.stem not in gone.raw_runs]
    if not raw_files:
        raise LakeMissing(f"no landed pages in {str(folder / 'raw')!r}: there is nothing to rebuild from")
    with lock(folder):
        there = complete_runs(folder)
        missing = [path for path in raw_files if path.stem not in there]
        judged = [path for path in missing if _is_judged(path)]
        if judged:
            listed = spark.createDataFrame([(str(path),) for path in judged], "path string")
            done = listed.repartition(len(judged)).mapInArrow(_publisher(str(data)), "run_id string").collect()
            assert {row.run_id for row in done} == {path.stem for path in judged}  # noqa: S101  (or a task had failed)
        for path in missing:
            if path not in judged:
                publish_again(folder, RawRun(path), {})
        write_catalog(folder)
    return [path.stem for path in missing]


def _is_judged(path: Path) -> bool:
    return all(one["is_published"] is not None for one in RawRun(path).header["accounts"])


def _publisher(data: str) -> Any:
    def work(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        for batch in batches:
            done = []
            for said in batch.column(0).to_pylist():
                path = open_location(said)
                with contextlib.suppress(FileExistsError):  # an earlier try of this task was there already
                    publish_again(open_location(data), RawRun(path), {})
                done.append(path.stem)
            yield pa.RecordBatch.from_pydict({"run_id": done})

    return work
