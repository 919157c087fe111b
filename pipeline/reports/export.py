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
from pipeline.reports.formats import export_formats, formats
from pipeline.reports.provenance import provenance_line
from pipeline.reports.query import as_dicts, read, relation
from pipeline.reports.standing import STANDING
from pipeline.storage.folder import atomic_write
from pipeline.text import json_value

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import duckdb

MANIFEST: Final = "manifest.json"


def export(con: duckdb.DuckDBPyConnection, name: str, path: Path) -> int:
    """Write a table or view to .csv, .json, .parquet or .xlsx, by suffix, whole or not at all; return how many rows.

    Raises:
        UnknownName: there is no such table or view.
        BadSetting: the suffix is none of those, the extra is missing, or the file cannot be written.
        LakeDamaged: a committed file is missing or unreadable.
    """
    exported = relation(name)
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in export_formats():
        *suffixes, last = (f".{known}" for known in export_formats())
        raise BadSetting(f"{str(path)!r}: an export is {', '.join(suffixes)} or {last}, by its suffix")
    write = formats()[suffix].export
    assert write is not None  # noqa: S101  (one of `export_formats`)
    with atomic_write(path) as staged:
        return write(con, exported, staged)


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
