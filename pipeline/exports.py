"""One table or view in one file, for a spreadsheet or another tool: whole, or not at all."""

from __future__ import annotations

import contextlib
import glob
import os
from typing import TYPE_CHECKING

from pipeline.errors import BadSetting
from pipeline.formats import write_rows
from pipeline.landing import put_in_place
from pipeline.rows import read, relation, told_by_duckdb
from pipeline.spelling import quoted

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

    from pipeline.views import Relation


def export(con: duckdb.DuckDBPyConnection, name: str, path: Path) -> int:
    """Write a table or view to .csv, .json or .parquet, by suffix; whole or not at all. Return the number of rows.

    Raises:
        UnknownName: there is no such table or view.
        BadSetting: the suffix is none of those, or the file cannot be written.
        LakeDamaged: a committed file is missing or unreadable.
    """
    one = relation(name)
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in {"csv", "json", "parquet"}:
        raise BadSetting(f"{str(path)!r}: an export is .csv, .json or .parquet, by its suffix")
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear_leftovers(path)
        if suffix == "parquet":
            count = _export_parquet(con, one, aside)
        else:
            with aside.open("w", encoding="utf-8", newline="") as out:
                count = write_rows(read(con, name), "csv" if suffix == "csv" else "json", out)
        put_in_place(aside, path)
    except OSError as error:
        raise BadSetting(f"{str(path)!r} cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
    return count


def _clear_leftovers(path: Path) -> None:
    """Clear away what exports of this file have left that were killed: those of processes that are no more."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        pid = left.name.rpartition(".")[2]
        if pid.isascii() and pid.isdigit() and not _is_alive(int(pid)):
            left.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # sends nothing
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def _export_parquet(con: duckdb.DuckDBPyConnection, one: Relation, path: Path) -> int:
    """Copy a view to Parquet, its grain and the meaning of its columns in the header."""
    header = {"table": one.name, "grain": one.grain, **{f"column {c.name}": c.comment for c in one.columns}}
    pairs = ", ".join(f'"{key}": {quoted(value)}' for key, value in header.items())
    with told_by_duckdb():
        rows = con.execute(
            f"copy (select * from {one.name}) to {quoted(str(path))} "  # noqa: S608  (a known name)
            f"(format parquet, compression zstd, kv_metadata {{{pairs}}})"
        ).fetchall()
    return int(rows[0][0])
