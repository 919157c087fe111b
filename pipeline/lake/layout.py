"""Where the files of a lake lie."""

from __future__ import annotations

import hashlib
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.resources.control import RAW_PAGES
from pipeline.storage.partitions import WITHDRAWN, files_by_day

if TYPE_CHECKING:
    import datetime as dt

    from pipeline.resources.schema import Table


LOCK: Final = ".lock"
"""The file in the data folder that the one writer holds."""
DELTA_LOG: Final = "_delta_log"
"""The folder in the folder of a table that holds its Delta log: see `delta_log`."""
DELTA_STAGED: Final = re.compile(r"_commit_.*\.tmp|\d{20}\.json#\d+", re.ASCII)
"""The files in it from which the library makes a commit: those of a killed writer stay until the next one."""
VERIFIED_FILE: Final = ".verified"
"""The file in the data folder that lists which files were verified: a cache."""
CATALOG: Final = "lake.duckdb"
"""The DuckDB file with the tables and views of the lake."""
CATALOG_FINGERPRINT: Final = "stored_fingerprint"
"""The macro in that file that returns the fingerprint of the files and the code behind it."""
IS_CURRENT: Final = "catalog_is_current"
"""The macro in that file that is true until a run is committed after it was written; in a printed script, too."""


def digest_path(catalog: Path) -> Path:
    """Return the path of the file that holds the SHA-256 of a catalog, and of the one that it is about to replace."""
    return catalog.with_name(f"{catalog.name}.sha256")


def digest_line(catalog: Path) -> str:
    """Return the line of that file for a catalog, as `sha256sum` writes it."""
    return f"{hashlib.sha256(catalog.read_bytes()).hexdigest()}  {catalog.name}\n"


def is_changed(catalog: Path) -> bool:
    """Return whether another program changed a catalog, or has a log of changes to it; False where nothing tells."""
    if catalog.with_name(f"{catalog.name}.wal").exists():
        return True
    stated = digest_path(catalog)
    return stated.is_file() and digest_line(catalog) not in stated.read_text("utf-8", "replace").splitlines(
        keepends=True
    )


def files(data: Path, table: Table) -> list[Path]:
    """List the files of a table, oldest run first, committed or not."""
    return files_by_day(data / "lake" / table.name)


def table_of(path: Path) -> str:
    """Return the name of the table, or the folder of compacted files, that a file belongs to."""
    folder = path.parents[1] if path.parent.name.startswith("observed_on=") else path.parent
    return RAW_PAGES.name if folder.name == "raw" else folder.name


def table_path(data: Path, table: Table, run_id: str, observed_on: dt.date, number: int = 0) -> Path:
    """Where the file of one table of one run lies, or its replacement of this number."""
    name = f"{run_id}.{number}.parquet" if number else f"{run_id}.parquet"
    return data / "lake" / table.name / f"observed_on={observed_on}" / name


def withdrawn_folder(data: Path, table: Table) -> Path:
    """Where the files of a table lie that hold withdrawn rows, during their grace period."""
    return data / "lake" / WITHDRAWN / table.name


def shown(data: Path) -> str:
    """Return a data folder as a person knows it: below the working folder, relative to that."""
    return str(data.relative_to(Path.cwd()) if data.is_relative_to(Path.cwd()) else data)


def command(data: Path, *words: str) -> str:
    """Return a command on a lake, quoted for a shell, to be shown in a message."""
    return f"`ens-images {' '.join(map(shlex.quote, words))} --data {shlex.quote(shown(data))}`"
