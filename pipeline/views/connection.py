"""connect(): the lake as a DuckDB connection."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from pipeline.errors import BadSetting
from pipeline.lake.file_set import FileSet
from pipeline.resources.tables import TABLES
from pipeline.storage.store import open_location, store_of
from pipeline.views.as_of import parse_as_of
from pipeline.views.database_file import load_catalog
from pipeline.views.read_only import confine_to
from pipeline.views.script import script_over, thresholds_script
from pipeline.views.state import LakeState, published_observations

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

    from pipeline.views.parameters import Thresholds


def connect(
    data: str | Path = "data",
    *,
    as_of: str | dt.date | None = None,
    only_lake: bool = False,
    thresholds: Thresholds | None = None,
) -> duckdb.DuckDBPyConnection:
    """Open the lake: a plain in-memory DuckDB connection with its tables and views, each described.

    The connection sees the lake as it is now, and goes on seeing that; with `as_of`, as it was then: a day means
    its end in UTC, an instant itself, the id of a run (or `<run>/<account>`) that of its observation, and `latest`
    means now. With `only_lake` it reaches no other file, loads no extension and cannot be set otherwise: for SQL
    that somebody typed (see `refuse_writes`). `thresholds`, by view and name, hold instead of those in the views'
    files: `{"stale_images": {"older_than_days": 365}}`.

    Raises:
        BadSetting: `as_of` is none of those, or there was no observation by then; the message names the first. Or
            there is no such threshold.
        LakeMissing: no run was ever committed there.
        LakeDamaged: a commit record cannot be read.
    """
    import duckdb

    otherwise = thresholds_script(thresholds)
    files = FileSet.under(data)
    con = duckdb.connect()
    try:
        store_of(open_location(data)).register_filesystem(con)
        cut = None if as_of is None else parse_as_of(as_of, published_observations(con, files))
        if cut is not None or not load_catalog(con, open_location(data), files.fingerprint()):
            con.execute(script_over(files, LakeState.of(con, files, cut), cut)).fetchall()
        if otherwise:
            con.execute(otherwise).fetchall()
        if only_lake:
            confine_to(con, files.everything())
    except BaseException:
        con.close()
        raise
    return con


def resolve_moments(data: str | Path, *said: str | dt.date) -> list[dt.datetime]:
    """Read what a user calls moments, each as the last instant that is shown; `latest` ends with time itself.

    Raises:
        BadSetting: one means nothing, or there was no published observation by then; the message names the first.
        LakeMissing: no run was ever committed there.
        LakeDamaged: a commit record cannot be read.
    """
    import duckdb

    with duckdb.connect() as con:
        store_of(open_location(data)).register_filesystem(con)
        published = published_observations(con, FileSet.under(data))
    if not published:
        raise BadSetting(f"nothing is published in {str(data)!r} yet: `ens-images status` says why")
    return [parse_as_of(one, published) or dt.datetime.max for one in said]  # noqa: DTZ901  (UTC without a zone, as everywhere)


def connect_empty() -> duckdb.DuckDBPyConnection:
    """Open a lake without a row: every table and view, typed and described. It needs no data folder."""
    import duckdb

    con = duckdb.connect()
    con.execute(
        script_over(FileSet({table.name: () for table in TABLES}), LakeState((), frozenset(), frozenset()))
    ).fetchall()
    return con
