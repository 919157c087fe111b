"""`lake.duckdb`: a DuckDB file with the tables and views of a lake, for other tools and for a fast `connect`.

CatalogBuilder()    the static script, in a thread, in a temporary folder: most of the time
.finish()    the tables over the current files and their fingerprint; then renamed to lake.duckdb
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pipeline.lake.layout import CATALOG, CATALOG_FINGERPRINT
from pipeline.runtime import frequent_switches
from pipeline.storage.folder import commit_file
from pipeline.text import sql_literal

if TYPE_CHECKING:
    import duckdb


def _path(data: Path) -> Path:
    return data.resolve() / CATALOG


class CatalogBuilder:
    """A context manager that builds the catalog beside the old one, and deletes what was not finished."""

    def __init__(self, data: Path, static_script: str) -> None:
        """Begin with the part of the script that names no file."""
        self._final = _path(data)
        self._staging = tempfile.TemporaryDirectory(prefix=f".{CATALOG}.", dir=self._final.parent)
        self._path = Path(self._staging.name) / CATALOG
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="catalog")
        self._started = self._pool.submit(self._start, static_script)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        if self._started.exception() is None:
            self._started.result().close()
        self._staging.cleanup()

    def _start(self, static_script: str) -> duckdb.DuckDBPyConnection:
        import duckdb

        con = duckdb.connect()
        con.execute(f"attach {sql_literal(self._path)} as lake (storage_version 'v1.5.0'); use lake; begin").fetchall()
        with frequent_switches():
            con.execute(static_script).fetchall()
        return con

    def reader(self) -> duckdb.DuckDBPyConnection:
        """Open a connection to the same DuckDB instance: another instance takes 15 ms."""
        return self._started.result().cursor()

    def finish(self, data_script: str, fingerprint: str) -> Path:
        """Add the tables over the files, and rename the file into place.

        Returns: its path.
        """
        con = self._started.result()
        con.execute(f"{data_script} create macro {CATALOG_FINGERPRINT}() as '{fingerprint}'; commit").fetchall()
        con.execute("use memory; detach lake").fetchall()
        commit_file(self._path, self._final)
        return self._final


def load_catalog(con: duckdb.DuckDBPyConnection, data: Path, fingerprint: str) -> bool:
    """Copy the views of the catalog into `con` where its fingerprint matches.

    Returns: whether they were copied.
    """
    import duckdb

    path = _path(data)
    if not path.is_file():
        return False
    try:
        con.execute(f"attach {sql_literal(path)} as catalog_file (read_only)").fetchall()
    except duckdb.Error:
        return False  # no database, one of a newer DuckDB, or one that is open for writing
    try:
        stored_fingerprint = con.execute(f"select catalog_file.main.{CATALOG_FINGERPRINT}()").fetchall()[0][0]
        if stored_fingerprint == fingerprint:
            con.execute(
                f"copy from database catalog_file to memory (schema); drop macro {CATALOG_FINGERPRINT}"
            ).fetchall()
    except duckdb.Error:
        stored_fingerprint = None
    con.execute("detach catalog_file").fetchall()
    return bool(stored_fingerprint == fingerprint)
