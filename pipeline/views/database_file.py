"""`lake.duckdb`: a DuckDB file with the lake's tables and views, for other tools, and for a quick `connect`.

draft    what is the same for every lake, on a thread, aside: most of the time that it takes
finish   the tables over the files that there are now, and the fingerprint of those; renamed in
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from pipeline.runtime import frequent_switches
from pipeline.storage.folder import commit_file
from pipeline.text import sql_literal

if TYPE_CHECKING:
    import duckdb

CATALOG: Final = "lake.duckdb"
_STAMP: Final = "made_from"
"""The macro in it that answers with the fingerprint of what it was made from."""


def _path(data: Path) -> Path:
    return data.resolve() / CATALOG


class CatalogBuilder:
    """A context manager: the catalogue, being made beside the old one; what is not finished leaves no trace."""

    def __init__(self, data: Path, frame: str) -> None:
        """`frame` is the part of the script that names no file."""
        self._final = _path(data)
        self._aside = tempfile.TemporaryDirectory(prefix=f".{CATALOG}.", dir=self._final.parent)
        self._path = Path(self._aside.name) / CATALOG
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="catalogue")
        self._begun = self._pool.submit(self._begin, frame)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        if self._begun.exception() is None:
            self._begun.result().close()
        self._aside.cleanup()

    def _begin(self, frame: str) -> duckdb.DuckDBPyConnection:
        import duckdb

        con = duckdb.connect()
        con.execute(f"attach {sql_literal(self._path)} as lake (storage_version 'v1.5.0'); use lake; begin").fetchall()
        with frequent_switches():
            con.execute(frame).fetchall()
        return con

    def reader(self) -> duckdb.DuckDBPyConnection:
        """A connection that reads files: of the same DuckDB, which to open once more takes 15 ms."""
        return self._begun.result().cursor()

    def finish(self, filled: str, fingerprint: str) -> Path:
        """Add what follows from the files, and swap it in by rename; where it lies."""
        con = self._begun.result()
        con.execute(f"{filled} create macro {_STAMP}() as '{fingerprint}'; commit").fetchall()
        con.execute("use memory; detach lake").fetchall()
        commit_file(self._path, self._final)
        return self._final


def load_catalog(con: duckdb.DuckDBPyConnection, data: Path, fingerprint: str) -> bool:
    """Copy the views of the catalogue if it was made by this code from these files; else leave no trace."""
    import duckdb

    path = _path(data)
    if not path.is_file():
        return False
    try:
        con.execute(f"attach {sql_literal(path)} as catalogue (read_only)").fetchall()
    except duckdb.Error:
        return False  # no database, one of a newer DuckDB, or one that somebody holds open for writing
    try:
        made_from = con.execute(f"select catalogue.main.{_STAMP}()").fetchall()[0][0]
        if made_from == fingerprint:
            con.execute(f"copy from database catalogue to memory (schema); drop macro {_STAMP}").fetchall()
    except duckdb.Error:
        made_from = None
    con.execute("detach catalogue").fetchall()
    return bool(made_from == fingerprint)
