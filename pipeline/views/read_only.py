"""SQL of a user: queries only, and only files of the lake."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pipeline.errors import BadQuery
from pipeline.text import escape_glob

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb


def confine_to(con: duckdb.DuckDBPyConnection, paths: Sequence[str], folders: Sequence[str] = ()) -> None:
    """Confine the connection to these files and folders: it reads nothing else, and its configuration is locked."""
    allowed = {*paths, *(escape_glob(path) for path in paths)}  # DuckDB checks the pattern before the file it matches
    con.execute("set allowed_paths = $1", [sorted(allowed)]).fetchall()
    con.execute("set allowed_directories = $1", [list(folders)]).fetchall()
    con.execute("set python_enable_replacements = false; set enable_external_access = false").fetchall()
    con.execute("set lock_configuration = true").fetchall()


def refuse_writes(con: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Raise an error unless `sql` only reads.

    The confined connection forbids every file but the lake's own, but COPY could overwrite these (with
    `use_tmp_file false`). So a statement that copies, attaches or sets anything is refused.

    Raises:
        BadQuery: it does not parse, or does anything but read.
    """
    import duckdb

    try:
        statements = con.extract_statements(sql)
    except duckdb.Error as error:
        raise BadQuery(first_lines(error)) from error
    for statement in statements:
        text = statement.query.strip()
        kind = statement.type.name
        inner = re.fullmatch(r"explain\s+(?:analyze\s+)?(.*)", text, re.DOTALL | re.IGNORECASE)
        if kind == "EXPLAIN" and inner:
            refuse_writes(con, inner[1])
        elif kind not in {"SELECT", "MULTI", "CREATE"} or _copies(con, text):
            line = text.splitlines()[0][:80]
            raise BadQuery(f"only queries are run here, and this is none (--allow-files allows it): {line}")


def _copies(con: duckdb.DuckDBPyConnection, statement: str) -> bool:
    """True where the statement contains a COPY: DuckDB 2.0 allows one in a WITH."""
    if "copy" not in statement.lower():
        return False
    tree = con.execute("select json_serialize_sql($1::varchar)", [statement]).fetchall()[0][0]
    return '"error":true' in tree or re.search(r'"type":"[A-Z_]*COPY', tree) is not None


def first_lines(error: Exception) -> str:
    """The message of DuckDB without the lines that repeat the query."""
    lines = [line.rstrip() for line in str(error).splitlines() if line.strip()]
    return "\n".join(line[:200] for line in lines[:4])
