"""Parquet: types instead of text. In an export, the header has the grain and the meaning of the columns.

A whole number of more than 64 bits, such as a `sum`, is a decimal without a fraction. A type that Parquet lacks (UUID,
INTERVAL, BIT, UNION, …) is text, as in CSV.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from pipeline.errors import BadSetting
from pipeline.reports.formats import OutputFormat, unique_names
from pipeline.text import plain_text, sql_literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

    import duckdb
    import pyarrow as pa

    from pipeline.reports.query import Row, Rows
    from pipeline.views.model import Relation

_BATCH_ROWS: Final = 10_000
_GROUP_BATCHES: Final = 12
"""Batches of a row group: about as many rows as DuckDB writes. A batch of Arrow is a tenth of its rows in Python."""
_NOT_IN_PARQUET: Final = re.compile(r"\b(UUID|INTERVAL|BIT|BIGNUM|UNION|TIME WITH TIME ZONE)\b")


def write_parquet(rows: Rows, out: BinaryIO) -> int:
    """Write a Parquet file; one row group at a time is in memory.

    Raises:
        BadSetting: Parquet cannot hold a value.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(rows)
    iterator = iter(rows.rows)
    count = 0
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        while batches := list(islice(_record_batches(iterator, schema, rows.types), _GROUP_BATCHES)):
            table = pa.Table.from_batches(batches)
            writer.write_table(table)
            count += table.num_rows
    return count


def _schema(rows: Rows) -> pa.Schema:
    """Translate the types of DuckDB."""
    import duckdb
    import pyarrow as pa

    types = ("VARCHAR" if _NOT_IN_PARQUET.search(kind) else kind.replace('"NULL"', "INTEGER") for kind in rows.types)
    columns = ", ".join(f"cast(null as {kind})" for kind in types)
    with duckdb.connect() as con:
        con.execute("set timezone = 'UTC'").fetchall()
        schema = con.sql(f"select {columns}").to_arrow_reader().schema
    return pa.schema([field.with_name(name) for field, name in zip(schema, unique_names(rows.columns), strict=True)])


def _record_batches(rows: Iterator[Row], schema: pa.Schema, types: Sequence[str]) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    while batch := list(islice(rows, _BATCH_ROWS)):
        yield pa.record_batch(list(map(_array, zip(*batch, strict=True), schema, types)), schema=schema)


def _array(values: Sequence[Any], field: pa.Field, kind: str) -> pa.Array:
    import pyarrow as pa

    if _NOT_IN_PARQUET.search(kind):
        values = [None if value is None else plain_text(value) for value in values]
    try:
        return pa.array(values, field.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        wrong = f"column {field.name!r} does not fit in Parquet as {kind}"
        raise BadSetting(f"{wrong} ({error}): cast it to varchar") from error


def export_parquet(con: duckdb.DuckDBPyConnection, relation: Relation, path: Path) -> int:
    """Copy a table or view to a file."""
    from pipeline.reports.query import duckdb_message, ordered

    header = {
        "table": relation.name,
        "grain": relation.grain,
        "example": relation.example,
        **{f"column {column.name}": column.comment for column in relation.columns},
    }
    pairs = ", ".join(f'"{key}": {sql_literal(value)}' for key, value in header.items())
    with duckdb_message(path):
        rows = con.execute(
            f"copy ({ordered(relation)}) to {sql_literal(str(path))} "
            f"(format parquet, compression zstd, kv_metadata {{{pairs}}})"
        ).fetchall()
    return int(rows[0][0])


FORMAT: Final = OutputFormat(write_bytes=write_parquet, export=export_parquet)
