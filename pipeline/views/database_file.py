"""`lake.duckdb`: a DuckDB file with the tables and views of a lake, for other tools and for a fast `connect`.

CatalogBuilder()    the static script, in a thread, in a temporary folder: most of the time
.finish()    the tables over the current files and their fingerprint; then renamed to lake.duckdb
load_catalog()    its tables and views into another connection, where the same code wrote them
"""

from __future__ import annotations

import contextlib
import datetime as dt
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from pipeline.lake.layout import CATALOG, CATALOG_FINGERPRINT, IS_CURRENT, digest_line, digest_path, is_changed
from pipeline.log import logger
from pipeline.resources.control import OBSERVATIONS
from pipeline.runtime import frequent_switches
from pipeline.storage.folder import commit_file
from pipeline.text import escape_glob, sql_literal
from pipeline.views.script import static_script
from pipeline.views.static_views import STORAGE, code_digest, static_file

if TYPE_CHECKING:
    from collections.abc import Iterable

    import duckdb

_log = logger(__name__)


def _path(data: Path) -> Path:
    return data.resolve() / CATALOG


class CatalogBuilder:
    """A context manager that builds the catalog beside the old one, and deletes what was not finished."""

    def __init__(self, data: Path) -> None:
        """Begin with what does not depend on the files."""
        self._final = _path(data)
        self._staging = tempfile.TemporaryDirectory(prefix=f".{CATALOG}.", dir=self._final.parent)
        self._path = Path(self._staging.name) / CATALOG
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="catalog")
        self._started = self._pool.submit(self._start)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        if self._started.exception() is None:
            self._started.result().close()
        self._staging.cleanup()

    def _start(self) -> duckdb.DuckDBPyConnection:
        import duckdb

        with frequent_switches():
            made = static_file()
            with contextlib.suppress(OSError):
                if made is not None:
                    shutil.copy(made, self._path)
            con = duckdb.connect()
            con.execute(
                f"attach {sql_literal(self._path)} as lake (storage_version '{STORAGE}'); use lake; begin"
            ).fetchall()
            if not con.execute("select count(*) > 0 from duckdb_views() where database_name = 'lake'").fetchall()[0][0]:
                con.execute(static_script()).fetchall()
        return con

    def reader(self) -> duckdb.DuckDBPyConnection:
        """Open a connection to the same DuckDB instance: another instance takes 15 ms."""
        return self._started.result().cursor()

    def finish(self, data_script: str, fingerprint: str, latest_runs: Iterable[str]) -> Path:
        """Add the tables over the files, and rename the file into place.

        `latest_runs` are those of each account's last observation.

        Returns: its path.
        """
        con = self._started.result()
        stored = " ".join((code_digest(), fingerprint, *sorted(latest_runs)))
        con.execute(f"{data_script} create macro {CATALOG_FINGERPRINT}() as '{stored}'").fetchall()
        records = sql_literal(f"{escape_glob(self._final.parent)}/lake/{OBSERVATIONS.name}/*/*.parquet")
        newest = f"(select count(*) || ' ' || coalesce(max(file), '') from glob({records}))"  # noqa: S608
        ((now,),) = con.execute(f"select {newest}").fetchall()
        con.execute(f"create macro {IS_CURRENT}() as {newest} = {sql_literal(now)}; commit").fetchall()
        con.execute("use memory; detach lake").fetchall()
        if self._final.is_file() and is_changed(self._final):
            _keep(self._final)
        lines = [digest_line(path) for path in (self._path, self._final) if path.is_file()]
        staged = self._path.with_name("sha256")
        staged.write_text("".join(lines), "utf-8")
        commit_file(staged, digest_path(self._final))  # first: killed after it, the catalog of before is still ours
        commit_file(self._path, self._final)
        return self._final


def _keep(path: Path) -> None:
    """Keep a catalog that another program changed, and its log, under another name: tables of a user may be in it."""
    kept = path.with_name(f"{path.stem}-kept-{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S.%fZ}{path.suffix}")
    try:
        kept.hardlink_to(path)
    except OSError:  # a file system without links
        shutil.copy2(path, kept)
    log = path.with_name(f"{path.name}.wal")
    if log.exists():
        log.replace(kept.with_name(f"{kept.name}.wal"))
    _log.warning(
        "another program changed %s: it is kept as %r. Open it with read_only=True; a table of your own belongs in a "
        "database of your own, which attaches this one",
        path.name,
        str(kept),
    )


class LoadedCatalog(NamedTuple):
    """What the catalog says of its tables."""

    fingerprint: str
    """Of the files that they read."""
    latest_runs: list[str]


def load_catalog(con: duckdb.DuckDBPyConnection, data: Path) -> LoadedCatalog | None:
    """Copy the tables and views of the catalog into `con` where the same code wrote them; None: nothing was copied."""
    import duckdb

    path = _path(data)
    if not path.is_file() or is_changed(path):
        return None
    try:
        con.execute(f"attach {sql_literal(path)} as catalog_file (read_only)").fetchall()
    except duckdb.Error:
        return None  # no database, one of a newer DuckDB, or one that is open for writing
    loaded = None
    try:
        stored = con.execute(f"select catalog_file.main.{CATALOG_FINGERPRINT}()").fetchall()[0][0]
        code, fingerprint, *latest_runs = stored.split(" ")
        if code == code_digest():
            con.execute(
                f"copy from database catalog_file to memory (schema); "
                f"drop macro {CATALOG_FINGERPRINT}; drop macro {IS_CURRENT}"
            ).fetchall()
            loaded = LoadedCatalog(fingerprint, latest_runs)
    except (duckdb.Error, ValueError):  # of an older version, or damaged
        pass
    con.execute("detach catalog_file").fetchall()
    return loaded
