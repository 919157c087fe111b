"""The tables, still empty, and the views over them, as a DuckDB file that each machine keeps: the script takes 250 ms.

    ~/.cache/ens-images/views-<code>-<SHA-256>.duckdb     for this code and this DuckDB; any other one is made anew

`connect` copies its views in 25 ms, `lake.duckdb` begins as a copy. Where it cannot be kept, the script is executed.
"""

from __future__ import annotations

import functools
import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.lake.verified_files import cache_folder
from pipeline.resources.tables import RESOURCES
from pipeline.text import sql_literal
from pipeline.views.script import static_script

if TYPE_CHECKING:
    import duckdb

STORAGE: Final = "v1.4.0"
"""The format of the oldest DuckDB that gives the same answers: 1.3 would show some views without their rows."""
_PACKAGES: Final = ("lake", "resources", "views")
"""The packages that the script of the views depends on."""


@functools.cache
def code_digest() -> str:
    """Digest the code that writes the script of the views."""
    package = Path(__file__).parents[1]
    paths = (path for name in _PACKAGES for path in (package / name).rglob("*") if path.suffix in {".py", ".sql"})
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def static_file() -> Path | None:
    """Return the DuckDB file with the tables and views, made where there is none; None: it cannot be kept."""
    import duckdb

    tables = [table.name for resource in RESOURCES for table in resource.tables]  # a program may declare its own
    code = hashlib.sha256(f"{code_digest()} {duckdb.__version__} {tables}".encode()).hexdigest()[:16]
    folder = cache_folder()
    try:
        for path in folder.glob(f"views-{code}-*.duckdb"):
            if path.name == _name(code, path):
                return path
        return _keep(folder, code)
    except (OSError, duckdb.Error):
        return None


def create_static_views(con: duckdb.DuckDBPyConnection) -> None:
    """Create the tables and views in an empty connection."""
    import duckdb

    path = static_file()
    if path is not None:
        try:
            con.execute(f"attach {sql_literal(path)} as kept_views (read_only)").fetchall()
        except duckdb.Error:  # deleted by newer code meanwhile
            path = None
    if path is None:
        con.execute(static_script()).fetchall()
    else:
        con.execute("copy from database kept_views to memory (schema); detach kept_views").fetchall()


def _name(code: str, path: Path) -> str:
    return f"views-{code}-{hashlib.sha256(path.read_bytes()).hexdigest()[:32]}.duckdb"


def _keep(folder: Path, code: str) -> Path:
    """Write the file, and delete those of other code."""
    import duckdb

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="views-", dir=folder) as staging:
        staged = Path(staging, "views.duckdb")
        with duckdb.connect() as con:
            con.execute(f"attach {sql_literal(staged)} as kept_views (storage_version '{STORAGE}')").fetchall()
            con.execute(f"use kept_views; begin; {static_script()}; commit; use memory; detach kept_views").fetchall()
        kept = staged.replace(folder / _name(code, staged))  # over one of another process
    for path in folder.glob("views-*.duckdb"):
        if not path.name.startswith(f"views-{code}-"):
            path.unlink(missing_ok=True)
    return kept
