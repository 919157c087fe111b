"""The views of an empty lake, kept as a DuckDB file by each machine: copying them takes a twentieth of the time.

    ~/.cache/ens-images/views-<code>-<SHA-256>.duckdb     for this code and this DuckDB; any other one is made anew

A lake with its own `lake.duckdb` needs none. Where the file cannot be written, the script is executed each time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.lake.verified_files import cache_folder
from pipeline.text import sql_literal
from pipeline.views.database_file import code_digest
from pipeline.views.script import static_script

if TYPE_CHECKING:
    import duckdb


def make_static_views(con: duckdb.DuckDBPyConnection) -> None:
    """Make every view over empty tables, in a connection that has none."""
    import duckdb

    code = hashlib.sha256(f"{code_digest()} {duckdb.__version__}".encode()).hexdigest()[:16]
    folder = cache_folder()
    with contextlib.suppress(OSError, duckdb.Error):
        for path in folder.glob(f"views-{code}-*.duckdb"):
            if path.name == _name(code, path):
                _copy(con, path)
                return
    con.execute(static_script()).fetchall()
    with contextlib.suppress(OSError, duckdb.Error):
        _keep(folder, code)


def _name(code: str, path: Path) -> str:
    return f"views-{code}-{hashlib.sha256(path.read_bytes()).hexdigest()[:32]}.duckdb"


def _copy(con: duckdb.DuckDBPyConnection, path: Path) -> None:
    con.execute(f"attach {sql_literal(path)} as kept_views (read_only)").fetchall()
    try:
        con.execute("copy from database kept_views to memory (schema)").fetchall()
    finally:
        con.execute("detach kept_views").fetchall()


def _keep(folder: Path, code: str) -> None:
    """Write the file, and delete those of other code."""
    import duckdb

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="views-", dir=folder) as staging:
        staged = Path(staging, "views.duckdb")
        with duckdb.connect() as con:
            con.execute(f"attach {sql_literal(staged)} as kept_views; use kept_views; begin").fetchall()
            con.execute(static_script()).fetchall()
            con.execute("commit; use memory; detach kept_views").fetchall()
        kept = folder / _name(code, staged)
        os.replace(staged, kept)  # noqa: PTH105  (over one of another process)
    for path in folder.glob("views-*.duckdb"):
        if not path.name.startswith(f"views-{code}-"):
            path.unlink(missing_ok=True)
