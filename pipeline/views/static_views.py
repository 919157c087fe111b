"""The tables, still empty, and the views over them: made once a process by their script, then copied from a file.

The script is the same for every lake and takes 250 ms, the copy 30 ms. Most processes need it once: the second call
makes the file.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.text import sql_literal
from pipeline.views.script import static_script

if TYPE_CHECKING:
    import duckdb

STORAGE: Final = "v1.4.0"
"""The format of the oldest DuckDB that gives the same answers: 1.3 would show some views without their rows."""

_files: dict[str, bytes | None] = {}
"""By script, the DuckDB file that it makes; None after the first call."""


def static_file() -> bytes | None:
    """Return a DuckDB file with the tables and views, or None the first time."""
    script = static_script()
    if script in _files and _files[script] is None:
        _files[script] = _make(script)
    return _files.setdefault(script, None)


def _make(script: str) -> bytes:
    import duckdb

    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as con:
        path = Path(folder, "static.duckdb")
        con.execute(f"attach {sql_literal(path)} as made (storage_version '{STORAGE}'); use made; begin").fetchall()
        con.execute(f"{script}; commit; use memory; detach made").fetchall()
        return path.read_bytes()


def create_static_views(con: duckdb.DuckDBPyConnection) -> None:
    """Create the tables and views in an empty connection."""
    made = static_file()
    if made is None:
        con.execute(static_script()).fetchall()
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "static.duckdb")
        path.write_bytes(made)
        con.execute(
            f"attach {sql_literal(path)} as made (read_only); copy from database made to memory (schema); detach made"
        ).fetchall()
