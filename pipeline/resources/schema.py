"""How a table is declared, and what follows from a declaration.

    gib("image_size_gib", "ImageSize", "Size of the image.")
     │
     ├─ Arrow      image_size_gib: int64 {doc, unit, api}     header of every Parquet file
     ├─ DuckDB     BIGINT, and a comment on the column
     └─ reader     ens-images describe, data/dictionary.md

A column is declared once, in this package; everything else is computed from it.
Importing this module is cheap: pyarrow is loaded when an Arrow type is needed.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa
    import pyarrow.parquet as pq

Sent = Literal["text", "number", "boolean"]

Kind = Literal["text", "integer", "gib", "seconds", "timestamp", "boolean", "bytes", "day", "list"]

ADDED = None
"""In place of an API field: the pipeline adds the column."""

FORMAT = "5"
"""The format of a lake that this version writes; it reads all before.

1   runs as daily files
2   versions beside them; `lake/folds/<n>.json` lists the runs
3   each group of accounts listed once in that file
4   `lake/manifests/<n>.json`, `lake/compacted_*`, `raw/_tombstones.json`, `.staging`; table `raw_pages`
5   `observations`, `rejects` and `raw_pages` name the resource, their counts are of items, and a tombstone is of an
    account and a resource; `<run>.<n>.parquet` (a run without its withdrawn rows), `lake/.withdrawn`, and replacements
    and expired days in the tombstones

An old name is read wherever the new one is absent. The header of a file names the format that its table came with.
"""

EARLIEST_PAST = dt.datetime(2009, 1, 1)  # noqa: DTZ001  (UTC without a zone, as everywhere)
"""Before Alibaba Cloud was founded (September 2009) it made nothing: an earlier instant is a default or an error."""
LATEST_PAST = dt.timedelta(days=1)
"""Clocks differ, and an image may be made while its account is listed; a whole day is neither."""

FAR_FUTURE = dt.datetime(2099, 1, 1)  # noqa: DTZ001
"""An instant from here on stands for never: pay-as-you-go instances expire in 2099 or in 2119."""

_DUCKDB: dict[Kind, str] = {  # a list's type is that of its rows
    "text": "VARCHAR",
    "integer": "BIGINT",
    "gib": "BIGINT",
    "seconds": "DOUBLE",
    "timestamp": "TIMESTAMP",
    "boolean": "BOOLEAN",
    "bytes": "BLOB",
    "day": "DATE",
}
_UNIT: dict[Kind, str | None] = {
    "gib": "GiB",
    "seconds": "s",
    "timestamp": "UTC",
    "day": "UTC day",
    "integer": None,
    "text": None,
    "boolean": None,
    "bytes": None,
    "list": None,
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, kind, meaning, and the API field that it comes from (None: added here)."""

    name: str
    kind: Kind
    api: str | None
    doc: str
    in_folder: bool = False
    """True where the folder's name holds the value and the file does not."""
    since: str | None = None
    """The release that added the column; None: the first. Older files hold the field in `extra`."""
    renamed_from: str | None = None
    """The name of the column in files of older versions."""
    default: str | None = None
    """The value in files that lack the column, and in rows that name none."""
    of: tuple[Column, ...] = ()
    """The columns of each row in a list."""
    is_distinct: bool = False
    """True where nearly every row has a value of its own: the file has no dictionary for it."""
    is_past: bool = False
    """True for an instant behind the observation: not before EARLIEST_PAST, and less than LATEST_PAST after it."""
    is_from_mib: bool = False
    """True for a size in GiB that the API sends in MiB: divided exactly, a remainder is a reject."""
    never: str | None = None
    """For an instant that the API sets to FAR_FUTURE or later where it means never: the boolean column that is true
    there, false at any other instant and null at none; the instant is null then."""
    is_number: bool = False
    """True where the API publishes a JSON number; numbers and texts are read of every field."""

    @property
    def sent(self) -> Sent:
        """The JSON type that the API publishes: text, unless declared otherwise."""
        return "number" if self.is_number else "boolean" if self.kind == "boolean" else "text"

    @property
    def unit(self) -> str | None:
        """The unit; None where the column has none."""
        return _UNIT[self.kind]

    @property
    def is_later_field(self) -> bool:
        """True for an API field that became a column after the first release: older files hold it in `extra`."""
        return self.since is not None and self.api is not None

    @property
    def most_digits(self) -> int:
        """Digits of the longest accepted integer: the sum over a million rows must fit into 64 bits."""
        return 12 if self.kind == "gib" else 18

    @property
    def duckdb_type(self) -> str:
        """The type in DuckDB."""
        if self.kind == "list":
            return f"STRUCT({', '.join(f'{column.name} {column.duckdb_type}' for column in self.of)})[]"
        return _DUCKDB[self.kind]

    @property
    def comment(self) -> str:
        """Meaning, unit and API field in one line, as a comment in DuckDB."""
        parts = [self.doc]
        if self.unit:
            parts.append(f"Unit: {self.unit}.")
        if self.api:
            parts.append(f"API: {self.api}.")
        return " ".join(parts)

    def arrow(self) -> pa.Field:
        """The Arrow field, its meaning in the metadata."""
        import pyarrow as pa

        types: dict[Kind, pa.DataType] = {
            "text": pa.string(),
            "integer": pa.int64(),
            "gib": pa.int64(),
            "seconds": pa.float64(),
            "timestamp": pa.timestamp("us"),
            "boolean": pa.bool_(),
            "bytes": pa.large_binary(),
            "day": pa.date32(),
        }
        if self.kind == "list":
            types["list"] = pa.list_(pa.struct([column.arrow() for column in self.of]))
        meaning = {"doc": self.doc, "unit": self.unit or "", "api": self.api or ""}
        return pa.field(self.name, types[self.kind], metadata={k: v for k, v in meaning.items() if v})


def text(
    name: str,
    api: str | None,
    doc: str,
    *,
    since: str | None = None,
    is_distinct: bool = False,
    renamed_from: str | None = None,
    default: str | None = None,
) -> Column:
    """Text, stored as sent."""
    return Column(
        name, "text", api, doc, since=since, is_distinct=is_distinct, renamed_from=renamed_from, default=default
    )


def integer(
    name: str,
    api: str | None,
    doc: str,
    *,
    since: str | None = None,
    renamed_from: str | None = None,
    is_number: bool = False,
) -> Column:
    """An integer without a unit: a count, a position, a number whose unit the API does not state."""
    return Column(name, "integer", api, doc, since=since, renamed_from=renamed_from, is_number=is_number)


def gib(
    name: str,
    api: str | None,
    doc: str,
    *,
    since: str | None = None,
    is_from_mib: bool = False,
    is_number: bool = False,
) -> Column:
    """An integer number of GiB."""
    return Column(name, "gib", api, doc, since=since, is_from_mib=is_from_mib, is_number=is_number)


def seconds(name: str, api: str | None, doc: str, *, since: str | None = None) -> Column:
    """A span of time in seconds."""
    return Column(name, "seconds", api, doc, since=since)


def timestamp_utc(
    name: str,
    api: str | None,
    doc: str,
    *,
    since: str | None = None,
    is_past: bool = False,
    never: str | None = None,
) -> Column:
    """An instant in UTC, without a zone, to the microsecond."""
    return Column(name, "timestamp", api, doc, since=since, is_past=is_past, never=never)


def boolean(name: str, api: str | None, doc: str, *, since: str | None = None) -> Column:
    """True or false."""
    return Column(name, "boolean", api, doc, since=since)


def raw_bytes(name: str, api: str | None, doc: str) -> Column:
    """Bytes, as received."""
    return Column(name, "bytes", api, doc, is_distinct=True)


def day(name: str, api: str | None, doc: str) -> Column:
    """A UTC day that the folder's name holds: a column for readers, not in the file."""
    return Column(name, "day", api, doc, in_folder=True)


def rows(name: str, api: str | None, doc: str, of: tuple[Column, ...]) -> Column:
    """A list of rows of another table, in their order."""
    return Column(name, "list", api, doc, of=of)


@dataclass(frozen=True, slots=True)
class Table:
    """A table: what one row is, its key, and its columns in order."""

    name: str
    grain: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    example: str
    """A query that shows what the table is for."""
    format: str = "1"
    """The format of the lake that introduced its files."""
    renamed_from: str | None = None
    """The name of the table in the files of older versions."""

    def column(self, name: str) -> Column:
        """The column called `name`."""
        return next(column for column in self.columns if column.name == name)

    @property
    def stored(self) -> tuple[Column, ...]:
        """The columns in the file; the others are in the folder's name."""
        return tuple(column for column in self.columns if not column.in_folder)

    def arrow(self, header: Mapping[str, str] | None = None) -> pa.Schema:
        """The Arrow schema of a file of this table; `header` is added to its metadata."""
        import pyarrow as pa

        about = {
            "table": self.name,
            "grain": self.grain,
            "key": ", ".join(self.key),
            "format": self.format,
            "example": self.example,
        }
        return pa.schema([column.arrow() for column in self.stored], metadata={**about, **(header or {})})

    def writer(self, path: Path, schema: pa.Schema | None = None) -> pq.ParquetWriter:
        """Open a Parquet file of this table for writing: zstd, checksums, dictionaries where values repeat.

        `schema` is that of an older version.
        """
        import pyarrow.parquet as pq

        has_bytes = any(column.kind == "bytes" for column in self.columns)
        has_lists = any(column.kind == "list" for column in self.columns)  # their columns would have to be named too
        return pq.ParquetWriter(
            path,
            schema or self.arrow(),
            compression="zstd",
            use_dictionary=has_lists or [column.name for column in self.stored if not column.is_distinct],
            write_page_checksum=True,
            # of a body they are of no use, and cost six times its size in memory
            write_statistics=[column.name for column in self.stored if column.kind != "bytes"] if has_bytes else True,
        )

    def to_arrow(self, rows: Sequence[Mapping[str, object]]) -> pa.Table:
        """Type `rows` as declared: N rows in, N rows out, same order; a missing value is null, or the default."""
        import pyarrow as pa

        defaults = {column.name: column.default for column in self.stored if column.default is not None}
        return pa.Table.from_pylist([{**defaults, **row} for row in rows], schema=self.arrow())
