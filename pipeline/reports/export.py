"""Export tables and views to files; a file or folder is replaced as a whole or not at all.

export              one table or view ──► a file, its format by its suffix
export_to_stream    one table or view ──► standard output
export_all          every standing report ──► a folder with a manifest

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
from pipeline.storage.staging import staging_folder
from pipeline.text import json_value

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import TextIO

    import duckdb

MANIFEST: Final = "manifest.json"


def export(con: duckdb.DuckDBPyConnection, name: str, path: Path) -> int:
    """Write a table or view to a file in the format of its suffix.

    Returns: the number of rows.

    Raises:
        UnknownName: there is no such table or view.
        BadSetting: there is no such format, its extra is missing, or the file cannot be written.
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


def export_to_stream(con: duckdb.DuckDBPyConnection, name: str, output_format: str, out: TextIO) -> int:
    """Write a table or view to a stream: the bytes that `export` writes to a file.

    Text is written row by row. A format that is not text is finished in a temporary file first.

    Returns: the number of rows.

    Raises:
        UnknownName: there is no such table or view.
        BadSetting: an extra is missing, or the format cannot hold the rows.
        LakeDamaged: a committed file is missing or unreadable.
    """
    exported = relation(name)
    chosen = formats()[output_format]
    if chosen.write is not None:
        rows = chosen.write(read(con, name), out)
        out.flush()
        return rows
    assert chosen.export is not None  # noqa: S101  (one of `export_formats`)
    staged = staging_folder() / f"{name}.{output_format}"
    try:
        try:
            rows = chosen.export(con, exported, staged)
        except OSError as error:
            problem = f"a temporary file in {str(staged.parent.parent)!r} cannot be written"
            raise BadSetting(f"{problem}: {error.strerror or error}: set TMPDIR to a folder with space") from error
        out.flush()
        with staged.open("rb") as file:
            shutil.copyfileobj(file, out.buffer)
        out.flush()
    finally:
        staged.unlink(missing_ok=True)
    return rows


def export_all(con: duckdb.DuckDBPyConnection, folder: Path, suffixes: Sequence[str] = ("csv",)) -> dict[str, Any]:
    """Write every standing report into `folder`, a file for each suffix, with a manifest.

    The folder is written beside the final one and renamed. An earlier export is renamed away just before, so a reader
    may find no export for an instant, but never half of one. A folder with any other file is refused.

    Returns: the manifest.

    Raises:
        BadSetting: the folder holds something else, cannot be written, or an extra is missing.
        LakeDamaged: a committed file is missing or unreadable.
    """
    if folder.exists() and not (folder.is_dir() and (_is_export(folder) or not any(folder.iterdir()))):
        raise BadSetting(f"{str(folder)!r} is not an earlier export, and would be replaced: give another folder")
    folder = folder.resolve()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as staging:
            new = folder.parent / staging / "new"
            new.mkdir()
            files = [_export_file(con, name, new / f"{name}.{suffix}") for name in STANDING for suffix in suffixes]
            manifest = {**_provenance(con), "files": files}
            (new / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", "utf-8")
            _replace(folder, new, old=folder.parent / staging / "old")
    except OSError as error:
        raise BadSetting(f"{str(folder)!r} cannot be written: {error.strerror or error}") from error
    return manifest


def _is_export(folder: Path) -> bool:
    """True where the folder holds an export and nothing else."""
    try:
        files = {entry["file"] for entry in json.loads((folder / MANIFEST).read_text("utf-8"))["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return {path.name for path in folder.iterdir()} <= files | {MANIFEST}


def _export_file(con: duckdb.DuckDBPyConnection, name: str, path: Path) -> dict[str, Any]:
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


def _provenance(con: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """The part of a manifest about the lake. It does not depend on the clock."""
    columns = (
        "account",
        "observed_at_utc",
        "run_id",
        "certificate",
        "image_count",
        "reject_count",
        "unknown_field_count",
        "instances_observed_at_utc",
        "instances_certificate",
        "instance_count",
        "same_account_as",
    )
    accounts = [{name: row[name] for name in columns} for row in as_dicts(read(con, "accounts"))]
    both = ("observed_at_utc", "instances_observed_at_utc")
    instants = (row[name] for row in accounts for name in both if row[name])
    return {
        "as_of_utc": json_value(max(instants, default=None)),
        "provenance": provenance_line(con),
        "code_version": version("ens-images"),
        "accounts": json_value(accounts),
    }


def _replace(folder: Path, new: Path, *, old: Path) -> None:
    if folder.exists():
        folder.rename(old)
        try:
            new.rename(folder)
        except OSError:
            old.rename(folder)
            raise
        shutil.rmtree(old)
    else:
        new.rename(folder)
