"""Engines that read a lake without ens-images: by the folders of its tables, and by their Delta logs.

Each answers a `Question` in its own way, and all answers have one form, so that they can be compared. An engine that is
not installed is left out: see `installed`.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pyspark.sql import SparkSession

DAY = "observed_on"
Answer = dict[tuple[str, ...], tuple[int, int]]
"""Keys → rows, GiB. A day is text, such as `2026-10-30`; a key that is null is empty."""


@dataclass(frozen=True, slots=True)
class Question:
    """Count the rows of a table and sum a size, for each value of `keys`."""

    name: str
    table: str
    size: str
    keys: tuple[str, ...] = (DAY,)
    only: tuple[str, str] | None = None
    """A column and its value: of these rows alone."""

    @property
    def columns(self) -> list[str]:
        """The columns that it reads."""
        return list(dict.fromkeys([*self.keys, self.size, *([self.only[0]] if self.only else [])]))

    def sql(self, relation: str) -> str:
        """Write it in SQL that every engine understands."""
        keys = ", ".join(self.keys)
        where = f" where {self.only[0]} = '{self.only[1]}'" if self.only else ""
        return f"select {keys}, count(*), sum({self.size}) from {relation}{where} group by {keys}"  # noqa: S608

    def answer(self, rows: Iterable[Sequence[Any]]) -> Answer:
        """Return rows of keys, row count and GiB as an answer."""
        return {
            tuple(_key(name, value) for name, value in zip(self.keys, row, strict=False)): (int(row[-2]), _gib(row[-1]))
            for row in rows
        }


def _key(name: str, value: Any) -> str:
    if value is None or value != value:  # noqa: PLR0124  (NaN)
        return ""
    return str(value)[:10] if name == DAY else str(value)


def _gib(total: Any) -> int:
    return 0 if total is None or total != total else int(total)  # noqa: PLR0124  (NaN)


Reader = Callable[[Path, Question], Answer]
"""Answer a question about the table in this folder."""

# ── by the folder of a table ─────────────────────────────────────────────────


def _duckdb(folder: Path, question: Question) -> Answer:
    with duckdb.connect() as con:
        return question.answer(con.execute(question.sql(f"'{folder}/{DAY}=*/*.parquet'")).fetchall())


def _pandas(folder: Path, question: Question) -> Answer:
    import pandas as pd

    return _of_frame(pd.read_parquet(folder), question)


def _of_frame(frame: Any, question: Question) -> Answer:
    if question.only:
        frame = frame[frame[question.only[0]] == question.only[1]]
    groups = frame.groupby(list(question.keys), observed=True, dropna=False)[question.size].agg(["size", "sum"])
    return question.answer(groups.reset_index().itertuples(index=False))


def _pyarrow(folder: Path, question: Question) -> Answer:
    import pyarrow.dataset as ds

    return _of_dataset(ds.dataset(folder, partitioning="hive"), question)


def _of_dataset(dataset: Any, question: Question) -> Answer:
    import pyarrow.dataset as ds

    only = None if question.only is None else ds.field(question.only[0]) == question.only[1]
    rows = dataset.to_table(columns=question.columns, filter=only)
    groups = rows.group_by(list(question.keys)).aggregate([([], "count_all"), (question.size, "sum")])
    names = [*question.keys, "count_all", f"{question.size}_sum"]
    return question.answer(zip(*(groups.column(name).to_pylist() for name in names), strict=True))


def _polars(folder: Path, question: Question) -> Answer:
    import polars as pl

    return _of_frame_of_polars(pl.scan_parquet(folder / f"{DAY}=*/*.parquet", hive_partitioning=True), question)


def _of_frame_of_polars(frame: Any, question: Question) -> Answer:
    import polars as pl

    if question.only:
        frame = frame.filter(pl.col(question.only[0]) == question.only[1])
    groups = frame.group_by(*question.keys).agg(pl.len().alias("row_count"), pl.col(question.size).sum().alias("gib"))
    return question.answer(groups.collect().rows())


def _datafusion(folder: Path, question: Question) -> Answer:
    import pyarrow as pa
    from datafusion import SessionContext

    context = SessionContext()
    context.register_parquet("lake", folder, table_partition_cols=[(DAY, pa.date32())])
    return _of_context(context, question)


def _of_context(context: Any, question: Question) -> Answer:
    columns = context.sql(question.sql("lake")).to_pydict().values()
    return question.answer(zip(*columns, strict=True))


@functools.cache
def _chdb_connection() -> Any:
    import chdb

    return chdb.connect(":memory:")


def _chdb(folder: Path, question: Question) -> Answer:
    return _of_chdb(f"file('{folder}/{DAY}=*/*.parquet', Parquet)", question)


def _of_chdb(relation: str, question: Question) -> Answer:
    import json

    lines = _chdb_connection().query(question.sql(relation), "JSONCompactEachRow").bytes().decode().splitlines()
    return question.answer(json.loads(line) for line in lines)


def _spark(folder: Path, question: Question) -> Answer:
    session = spark_session()
    session.read.parquet(str(folder)).createOrReplaceTempView("folder_of_a_table")
    return question.answer(session.sql(question.sql("folder_of_a_table")).collect())


@functools.cache
def spark_session() -> SparkSession:
    """A session of two workers on this machine, in a time zone that is not UTC."""
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.sql.session.timeZone", "America/New_York")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    return session


# ── by the Delta log of a table ──────────────────────────────────────────────


def _deltalake(folder: Path, question: Question) -> Answer:
    from deltalake import DeltaTable

    return _of_dataset(DeltaTable(folder).to_pyarrow_dataset(), question)


def _polars_of_delta(folder: Path, question: Question) -> Answer:
    import polars as pl

    return _of_frame_of_polars(pl.scan_delta(folder), question)


def _datafusion_of_delta(folder: Path, question: Question) -> Answer:
    from datafusion import SessionContext
    from deltalake import DeltaTable

    context = SessionContext()
    context.register_table("lake", DeltaTable(folder))
    return _of_context(context, question)


def _chdb_of_delta(folder: Path, question: Question) -> Answer:
    with contextlib.chdir(folder):  # it reads no Delta table elsewhere
        return _of_chdb(f"deltaLakeLocal('{folder}')", question)


BY_FOLDER: Mapping[str, Reader] = {
    "duckdb": _duckdb,
    "pandas": _pandas,
    "pyarrow": _pyarrow,
    "polars": _polars,
    "datafusion": _datafusion,
    "chdb": _chdb,
    "pyspark": _spark,
}
"""Engines that read the folder of a table, by the distribution that is installed."""
BY_DELTA: Mapping[str, Reader] = {
    "deltalake": _deltalake,
    "polars": _polars_of_delta,
    "datafusion": _datafusion_of_delta,
    "chdb": _chdb_of_delta,
}
"""Engines that read the Delta log of a table."""


def version_of(engine: str) -> str | None:
    """Return the installed version of an engine; None: it is not installed, or it is Spark and there is no Java."""
    if engine == "pyspark" and shutil.which("java") is None:
        return None
    try:
        return version(engine)
    except PackageNotFoundError:
        return None


def installed(engines: Mapping[str, Reader]) -> dict[str, Reader]:
    """Return those of the engines that are installed."""
    return {name: reader for name, reader in engines.items() if version_of(name)}
