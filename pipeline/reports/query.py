"""A result: what the lake answers to SQL that somebody typed, or to the name of a table or view.

    connect() ──► query, read ──► Rows     columns, their types, and the rows, which can be read once

What DuckDB raises is told in its own words.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from pipeline.errors import BadQuery, LakeDamaged, UnknownName
from pipeline.text import escape_control, nearest
from pipeline.views.catalog import relations
from pipeline.views.read_only import first_lines, refuse_writes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import duckdb

    from pipeline.views.model import Relation

Row: TypeAlias = tuple[Any, ...]

_FETCHED: Final = 10_000


@dataclass(slots=True)
class Rows:
    """A result: its columns, their types as DuckDB spells them, and its rows, which can be read once."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: Iterable[Row]


def query(con: duckdb.DuckDBPyConnection, sql: str, *, only_reads: bool = True) -> Rows:
    """Run SQL that somebody typed; of several statements, the last one's rows. Unless told otherwise it may only read.

    Raises:
        BadQuery: DuckDB does not accept it, or it does something else than read; in DuckDB's own words.
        LakeDamaged: a committed file is missing or unreadable.
    """
    if not sql.strip().strip(";"):
        raise BadQuery('there is no query: `ens-images sql "from capacity_by_region"`, or one from standard input')
    if only_reads:
        refuse_writes(con, sql)
    return _result(con, sql)


def read(con: duckdb.DuckDBPyConnection, name: str) -> Rows:
    """Read a table or view.

    Raises:
        UnknownName: there is none of that name.
        LakeDamaged: a committed file is missing or unreadable.
    """
    return _result(con, f"select * from {relation(name).name}")  # noqa: S608  (a known name)


def relation(name: str) -> Relation:
    """Find the table or view of that name.

    Raises:
        UnknownName: there is none; the message names the nearest, and all that there are.
    """
    known = relations()
    if name in known:
        return known[name]
    suggestion = nearest(name.lower(), known)
    meant = f"did you mean {suggestion}? " if suggestion else ""
    raise UnknownName(f"no table or view is called {escape_control(name)!r}: {meant}there are {', '.join(known)}")


def _result(con: duckdb.DuckDBPyConnection, sql: str) -> Rows:
    with duckdb_message():
        con.execute(sql)
    described = con.description or []
    return Rows(
        tuple(str(column[0]) for column in described), tuple(str(column[1]) for column in described), _fetch(con)
    )


def _fetch(con: duckdb.DuckDBPyConnection) -> Iterator[Row]:
    while True:
        with duckdb_message():
            rows = con.fetchmany(_FETCHED)
        if not rows:
            return
        yield from rows


@contextlib.contextmanager
def duckdb_message() -> Iterator[None]:
    """Turn what DuckDB raises into an error of ours: a damaged lake, or a bad query, in DuckDB's own words."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        words = first_lines(error)
        if isinstance(error, duckdb.IOException | duckdb.InvalidInputException) and ".parquet" in str(error):
            raise LakeDamaged(
                f"a file of the lake cannot be read: {words} — `ens-images check` lists all that is not whole, "
                "`ens-images rebuild` makes it anew from the raw pages"
            ) from error
        raise BadQuery(words) from error


def cut(rows: Rows, limit: int) -> tuple[Rows, int]:
    """Keep the first `limit` rows, and count the others."""
    every = iter(rows.rows)
    kept = list(islice(every, limit))
    return Rows(rows.columns, rows.types, kept), sum(1 for _ in every)


def as_dicts(rows: Rows) -> list[dict[str, Any]]:
    """Name the values of each row."""
    return [dict(zip(rows.columns, row, strict=True)) for row in rows.rows]
