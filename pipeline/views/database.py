"""lake.duckdb, made anew after each commit."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.lake.file_set import FileSet
from pipeline.storage.store import open_location, store_of
from pipeline.views.database_file import CatalogBuilder
from pipeline.views.script import data_script, static_script
from pipeline.views.state import LakeState

if TYPE_CHECKING:
    from pipeline.lake.tombstones import Tombstones


def write_catalog(
    data: str | Path = "data", without: Tombstones | None = None, draft: CatalogBuilder | None = None
) -> Path | None:
    """Make `lake.duckdb` anew beside the old one and swap it in by rename: the views, with absolute paths.

    An open reader keeps the file that it opened. DuckDB 1.5 and later can read it, whichever of them wrote it.
    A bucket has none.
    Call it after whatever adds files, and before what takes them away (`without` is the record about to be
    written): `connect` is slow, though right, where it lags behind. `draft` is one that was begun before.

    Raises:
        LakeMissing: no run was ever committed there.
        LakeDamaged: a commit record cannot be read.
    """
    if not store_of(open_location(data)).is_local:
        return None
    files = FileSet.under(data, without)
    with contextlib.nullcontext(draft) if draft else CatalogBuilder(Path(data), static_script()) as begun:
        with begun.reader() as con:
            known = LakeState.of(con, files)
        return begun.finish(data_script(files, known), files.fingerprint())


def begin_catalog(data: str | Path) -> contextlib.AbstractContextManager[CatalogBuilder | None]:
    """Begin `lake.duckdb` while there is something else to do: all of it that does not follow from the files."""
    is_local = store_of(open_location(data)).is_local
    return CatalogBuilder(Path(data), static_script()) if is_local else contextlib.nullcontext()
