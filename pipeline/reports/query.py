"""Run SQL, or read a table or view by name.

    connect() ──► query, read ──► Rows     columns, their types, and the rows, which can be read once

Errors of DuckDB keep DuckDB's own words.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from pipeline.errors import BadQuery, LakeDamaged, OutOfMemory, UnknownName
from pipeline.lake.verification import DAMAGED
from pipeline.paths import is_utf8
from pipeline.runtime import run_interruptibly
from pipeline.text import escape_control, nearest
from pipeline.views.catalog import relations
from pipeline.views.read_only import first_lines, refuse_writes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import duckdb

    from pipeline.views.model import Relation

Row: TypeAlias = tuple[Any, ...]

_BATCH_ROWS: Final = 10_000
_REASON: Final = re.compile(r": ([^:\"\n]+)")
"""The last of a message is the system's reason; DuckDB may write the whole as JSON."""


@dataclass(slots=True)
class Rows:
    """A result: its columns, their types as DuckDB names them, and its rows, which can be read once."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: Iterable[Row]


def query(con: duckdb.DuckDBPyConnection, sql: str, *, only_reads: bool = True) -> Rows:
    """Run SQL; of several statements, the rows of the last. `only_reads` refuses every statement that writes.

    Raises:
        BadQuery: DuckDB does not accept it, or it writes.
        LakeDamaged: a committed file is missing or unreadable.
    """
    if not sql.strip().strip(";"):
        raise BadQuery('there is no query: `ens-images sql "from capacity_by_region"`, or one from standard input')
    if not is_utf8(sql):
        raise BadQuery("the query is not UTF-8")
    if only_reads:
        refuse_writes(con, sql)
    return _execute(con, sql)


def read(con: duckdb.DuckDBPyConnection, name: str) -> Rows:
    """Read a table or view, in an order that is the same each time.

    Raises:
        UnknownName: there is no such table or view.
        LakeDamaged: a committed file is missing or unreadable.
    """
    return _execute(con, ordered(relation(name)))


def ordered(relation: Relation) -> str:
    """Write the query of a table or view: in the order of the view's file, or by all columns, from left to right."""
    # Threads return the rows of files and joins in any order. The order of a view's file is total: a test says so.
    has_order = relation.query is not None and "\norder by" in relation.query
    return f"select * from {relation.name}{'' if has_order else ' order by all'}"  # noqa: S608  (a known name)


def relation(name: str) -> Relation:
    """Find a table or view.

    Raises:
        UnknownName: there is no such table or view; the message names the nearest, and all that there are.
    """
    known = relations()
    if name in known:
        return known[name]
    suggestion = nearest(name.lower(), known)
    meant = f"did you mean {suggestion}? " if suggestion else ""
    raise UnknownName(f"no table or view is called {escape_control(name)!r}: {meant}there are {', '.join(known)}")


def _execute(con: duckdb.DuckDBPyConnection, sql: str) -> Rows:
    with duckdb_message():
        run_interruptibly(lambda: con.execute(sql), con.interrupt)
    description = con.description or []
    names, types = (tuple(str(column[index]) for column in description) for index in (0, 1))
    return Rows(names, types, _fetch(con))


def _fetch(con: duckdb.DuckDBPyConnection) -> Iterator[Row]:
    while True:
        with duckdb_message():
            rows = con.fetchmany(_BATCH_ROWS)
        if not rows:
            return
        yield from rows


@contextlib.contextmanager
def duckdb_message(written: Path | None = None) -> Iterator[None]:
    """Raise an error of DuckDB as `LakeDamaged`, `OutOfMemory` or `BadQuery`, in DuckDB's words.

    `written` is the file that DuckDB writes: an error about it is an OSError.
    """
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        if isinstance(error, duckdb.OutOfMemoryException):
            reason = first_lines(error).splitlines()[0]
            raise OutOfMemory(
                f"the query needs more memory than it may use ({reason}): let it read less, or give "
                "`ens-images sql` a larger --memory-limit"
            ) from error
        message = first_lines(error)
        if written is not None and written.name in str(error):
            raise OSError(_REASON.findall(str(error))[-1]) from error
        if DAMAGED in str(error):
            raise LakeDamaged(str(error).partition(DAMAGED)[2]) from error
        is_gone = "FileNotFoundError: " in str(error)  # raised by the file system of a bucket, with its traceback
        message = str(error).strip().splitlines()[-1] if is_gone else message
        is_of_a_file = is_gone or isinstance(error, duckdb.IOException | duckdb.InvalidInputException)
        if is_of_a_file and ".parquet" in str(error):
            raise LakeDamaged(
                f"a file of the lake cannot be read: {message} — where an observation was withdrawn or restored since "
                "this connection was opened, connect again; `ens-images check` lists all damage, `ens-images rebuild` "
                "writes the file again from the raw pages"
            ) from error
        raise BadQuery(message) from error


def cut(rows: Rows, limit: int) -> tuple[Rows, int]:
    """Take the first `limit` rows. Returns: these rows, and how many follow."""
    iterator = iter(rows.rows)
    first_rows = list(islice(iterator, limit))
    return Rows(rows.columns, rows.types, first_rows), sum(1 for _ in iterator)


def as_dicts(rows: Rows) -> list[dict[str, Any]]:
    """Return each row as a dict by column name."""
    return [dict(zip(rows.columns, row, strict=True)) for row in rows.rows]
