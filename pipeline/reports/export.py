"""Tables and views in files, for a spreadsheet or another tool: whole, or not at all.

export        one table or view ──► .csv .json .parquet .xlsx
export_all    every standing report, and a manifest ──► a folder

manifest.json    {"as_of_utc": …, "accounts": […], "code_version": …, "files": [{"file", "rows", "sha256", …}]}
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from pipeline.errors import BadSetting
from pipeline.reports.formats import write_rows
from pipeline.reports.formats.excel import write_workbook
from pipeline.reports.provenance import provenance_line
from pipeline.reports.query import as_dicts, duckdb_message, read, relation
from pipeline.reports.standing import STANDING
from pipeline.storage.folder import atomic_write
from pipeline.text import json_value, sql_literal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import duckdb

    from pipeline.views.model import Relation

SUFFIXES: Final = ("csv", "json", "parquet", "xlsx")
MANIFEST: Final = "manifest.json"


def export(con: duckdb.DuckDBPyConnection, name: str, path: Path) -> int:
    """Write a table or view to .csv, .json, .parquet or .xlsx, by suffix, whole or not at all; return how many rows.

    Raises:
        UnknownName: there is no such table or view.
        BadSetting: the suffix is none of those, the extra is missing, or the file cannot be written.
        LakeDamaged: a committed file is missing or unreadable.
    """
    one = relation(name)
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in SUFFIXES:
        raise BadSetting(f"{str(path)!r}: an export is .csv, .json, .parquet or .xlsx, by its suffix")
    with atomic_write(path) as aside:
        if suffix == "parquet":
            return _export_parquet(con, one, aside)
        if suffix == "xlsx":
            trust = provenance_line(con)  # the connection answers one query at a time
            return write_workbook(aside, one, read(con, name), trust)
        with aside.open("w", encoding="utf-8", newline="") as out:
            return write_rows(read(con, name), "csv" if suffix == "csv" else "json", out)


def _export_parquet(con: duckdb.DuckDBPyConnection, one: Relation, path: Path) -> int:
    """Copy a view to Parquet, its grain and the meaning of its columns in the header."""
    header = {
        "table": one.name,
        "grain": one.grain,
        "example": one.example,
        **{f"column {c.name}": c.comment for c in one.columns},
    }
    pairs = ", ".join(f'"{key}": {sql_literal(value)}' for key, value in header.items())
    with duckdb_message():
        rows = con.execute(
            f"copy (select * from {one.name}) to {sql_literal(str(path))} "  # noqa: S608  (a known name)
            f"(format parquet, compression zstd, kv_metadata {{{pairs}}})"
        ).fetchall()
    return int(rows[0][0])


def export_all(con: duckdb.DuckDBPyConnection, folder: Path, suffixes: Sequence[str] = ("csv",)) -> dict[str, Any]:
    """Write every standing report into `folder`, once a suffix, with a manifest; return the manifest.

    The folder is made aside and renamed in. An earlier export is put away by a rename just before: for that instant
    there is none, and never half of one. A folder that holds anything else is left alone.

    Raises:
        BadSetting: the folder holds something else, cannot be written, or an extra is missing.
        LakeDamaged: a committed file is missing or unreadable.
    """
    if folder.exists() and not (folder.is_dir() and (_is_export(folder) or not any(folder.iterdir()))):
        raise BadSetting(f"{str(folder)!r} is no earlier export, and would be replaced as a whole: give another folder")
    folder = folder.resolve()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as aside:
            made = folder.parent / aside / "new"
            made.mkdir()
            files = [_written(con, name, made / f"{name}.{suffix}") for name in STANDING for suffix in suffixes]
            manifest = {**_made_from(con), "files": files}
            (made / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", "utf-8")
            _swap(made, folder, put_away=folder.parent / aside / "old")
    except OSError as error:
        raise BadSetting(f"{str(folder)!r} cannot be written: {error.strerror}") from error
    return manifest


def _is_export(folder: Path) -> bool:
    """Whether the folder holds an export and nothing beside it."""
    try:
        files = {one["file"] for one in json.loads((folder / MANIFEST).read_text("utf-8"))["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return {path.name for path in folder.iterdir()} <= files | {MANIFEST}


def _written(con: duckdb.DuckDBPyConnection, name: str, path: Path) -> dict[str, Any]:
    rows = export(con, name, path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    grain = relation(name).grain
    return {
        "file": path.name,
        "table": name,
        "grain": grain,
        "rows": rows,
        "bytes": path.stat().st_size,
        "sha256": digest,
    }


def _made_from(con: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Tell what an export was made from: nothing of it looks at the clock."""
    told = ("account", "observed_at_utc", "run_id", "certificate", "image_count", "reject_count", "unknown_field_count")
    accounts = [{name: json_value(row[name]) for name in told} for row in as_dicts(read(con, "accounts"))]
    return {
        "as_of_utc": max((str(row["observed_at_utc"]) for row in accounts if row["observed_at_utc"]), default=None),
        "trust": provenance_line(con),
        "code_version": version("ens-images"),
        "accounts": accounts,
    }


def _swap(made: Path, folder: Path, *, put_away: Path) -> None:
    if folder.exists():
        folder.rename(put_away)
        try:
            made.rename(folder)
        except OSError:
            put_away.rename(folder)
            raise
        shutil.rmtree(put_away)
    else:
        made.rename(folder)
