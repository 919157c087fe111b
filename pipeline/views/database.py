"""Write lake.duckdb after each commit; of a lake in a bucket, which has none, the state object."""

from __future__ import annotations

import contextlib
from pathlib import Path

from pipeline.lake.file_set import FileSet
from pipeline.lake.state_object import put_state
from pipeline.log import logger
from pipeline.storage.store import open_location, store_of
from pipeline.views.database_file import CatalogBuilder
from pipeline.views.published import Published
from pipeline.views.script import data_script
from pipeline.views.state import LakeState

_log = logger(__name__)


def write_catalog(data: str | Path = "data", builder: CatalogBuilder | None = None) -> Path | None:
    """Write a new `lake.duckdb`, its views with absolute paths, and rename it over the old one.

    A reader keeps the file that it opened. DuckDB 1.4.2 and later read it, whichever version wrote it. Call this after
    files were added or moved, and before files are deleted: with an outdated file `connect` is slower, but right.
    `builder` is one from `begin_catalog`.

    Returns: the path, or None in a bucket, which has no such file: there the state object is put.

    Raises:
        LakeMissing: no run was ever committed there.
        LakeDamaged: a commit record cannot be read.
    """
    if not store_of(open_location(data)).is_local:
        _write_state(open_location(data))
        return None
    files = FileSet.read(data, only_new=True)
    with contextlib.nullcontext(builder) if builder else CatalogBuilder(Path(data)) as open_builder:
        with open_builder.reader() as con:
            state = LakeState.of(Published(con, files))
        latest_runs = {observation.run_id for observation in state.latest}
        return open_builder.finish(data_script(files, state), files.fingerprint(latest_runs), latest_runs)


def _write_state(bucket: Path) -> None:
    """Put the state object of a lake in a bucket: without it, readers need more requests."""
    import duckdb

    try:
        files = FileSet.read(bucket, only_new=True)
        with duckdb.connect() as con:
            store_of(bucket).register_filesystem(con)
            put_state(bucket, Published(con, files).state())
    except Exception as error:  # noqa: BLE001  (it is never the truth)
        _log.debug("no state object was put: %s", error, exc_info=True)


def begin_catalog(data: str | Path) -> contextlib.AbstractContextManager[CatalogBuilder | None]:
    """Begin a new `lake.duckdb` in a thread, with all that does not depend on the files."""
    is_local = store_of(open_location(data)).is_local
    return CatalogBuilder(Path(data)) if is_local else contextlib.nullcontext()
