"""Write lake.duckdb after each commit."""

from __future__ import annotations

import contextlib
from pathlib import Path

from pipeline.lake.file_set import FileSet
from pipeline.storage.store import open_location, store_of
from pipeline.views.database_file import CatalogBuilder
from pipeline.views.script import data_script
from pipeline.views.state import LakeState


def write_catalog(data: str | Path = "data", builder: CatalogBuilder | None = None) -> Path | None:
    """Write a new `lake.duckdb`, its views with absolute paths, and rename it over the old one.

    A reader keeps the file that it opened. DuckDB 1.4.2 and later read it, whichever version wrote it. Call this after
    files were added or moved, and before files are deleted: with an outdated file `connect` is slower, but right.
    `builder` is one from `begin_catalog`.

    Returns: the path, or None in a bucket, which has no such file.

    Raises:
        LakeMissing: no run was ever committed there.
        LakeDamaged: a commit record cannot be read.
    """
    if not store_of(open_location(data)).is_local:
        return None
    files = FileSet.read(data, only_new=True)
    with contextlib.nullcontext(builder) if builder else CatalogBuilder(Path(data)) as open_builder:
        with open_builder.reader() as con:
            state = LakeState.of(con, files)
        latest_runs = {observation.run_id for observation in state.latest}
        return open_builder.finish(data_script(files, state), files.fingerprint(latest_runs), latest_runs)


def begin_catalog(data: str | Path) -> contextlib.AbstractContextManager[CatalogBuilder | None]:
    """Begin a new `lake.duckdb` in a thread, with all that does not depend on the files."""
    is_local = store_of(open_location(data)).is_local
    return CatalogBuilder(Path(data)) if is_local else contextlib.nullcontext()
