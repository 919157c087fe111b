"""connect(): the lake as a DuckDB connection."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

from pipeline.errors import BadSetting, LakeDamaged
from pipeline.lake.compaction.manifest import RECORDS
from pipeline.lake.file_set import FileSet
from pipeline.lake.scan import UNLISTED_PAGES
from pipeline.lake.verification import Verification
from pipeline.resources.tables import RESOURCES
from pipeline.runtime import allow_numpy
from pipeline.storage.store import open_location, store_of
from pipeline.text import escape_glob, sql_literal
from pipeline.views.as_of import parse_as_of
from pipeline.views.database_file import load_catalog
from pipeline.views.published import Published
from pipeline.views.read_only import confine_to
from pipeline.views.records import published_observations
from pipeline.views.script import data_script, pages_rows, refuse_pages, rows_of, thresholds_script
from pipeline.views.state import LakeState
from pipeline.views.static_views import create_static_views

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    import duckdb

    from pipeline.lake.latest import LatestObservation
    from pipeline.views.parameters import Thresholds

_MOST_KEPT_VERSIONS: Final = 500_000
"""Some 200 MB; of more, a table would take more memory than it is worth."""


def connect(
    data: str | Path = "data",
    *,
    as_of: str | dt.date | None = None,
    only_lake: bool = False,
    memory_limit: str | None = None,
    thresholds: Thresholds | None = None,
    anew: AbstractSet[str] = frozenset(),
    keeps_versions: bool = False,
) -> duckdb.DuckDBPyConnection:
    """Open the lake: an in-memory DuckDB connection with its tables and views, each with comments.

    The connection shows the lake as it is now, also after later commits. `as_of` shows it as it was: a day means its
    end in UTC, an instant itself, a run id (or `<run>/<account>`) the instant of its observation, `latest` now.
    `only_lake` confines the connection to the files of the lake and locks its configuration, for SQL of users (see
    `refuse_writes`). `memory_limit` is a share of the machine's memory, such as `50%`, or a size, such as `4GB`.
    `thresholds` replace those of the views' files: `{"stale_images": {"older_than_days": 365}}`.
    `anew` names tables whose files are verified again, though they were before: for a caller that writes rows to files.
    `keeps_versions` computes the versions of images and instances once, for a caller of many views.

    Raises:
        BadSetting: `as_of` has no meaning, there was no observation by then, or there is no such threshold.
        LakeMissing: no run was ever committed there.
        LakeDamaged: a commit record cannot be read.
    """
    import duckdb

    changed_views = thresholds_script(thresholds)
    files = FileSet.read(data, only_new=True)
    con = duckdb.connect()
    try:
        store_of(open_location(data)).register_filesystem(con)
        verification = Verification(files, anew=anew)
        latest_runs = _make_tables(con, open_location(data), files, verification, as_of)
        verification.verify_tables(con, latest_runs)
        if verification.damaged_pages is not None:
            con.execute(refuse_pages(verification.damaged_pages)).fetchall()
        if changed_views:
            con.execute(changed_views).fetchall()
        if memory_limit is not None:
            con.execute(f"set memory_limit = {sql_literal(memory_limit)}").fetchall()
        if keeps_versions:
            _keep_versions(con)
        if only_lake:
            confine_to(con, files.paths(latest_runs), [f"{files.data}/raw/"] if files.settled_months else [])
    except (LakeDamaged, FileNotFoundError):
        con.close()
        if not files.is_outdated():
            raise
    except BaseException:
        con.close()
        raise
    else:
        return con
    return connect(  # an observation was withdrawn or restored meanwhile, which moves its files
        data,
        as_of=as_of,
        only_lake=only_lake,
        memory_limit=memory_limit,
        thresholds=thresholds,
        anew=anew,
        keeps_versions=keeps_versions,
    )


def _make_tables(
    con: duckdb.DuckDBPyConnection,
    data: Path,
    files: FileSet,
    verification: Verification,
    as_of: str | dt.date | None,
) -> set[str]:
    """Make the tables and views. Returns: the runs of each account's last observation."""
    published = instant = None
    if as_of is not None:
        published = Published(con, files, verification)
        instant = parse_as_of(as_of, published)
    catalog = load_catalog(con, data)
    if catalog is None:
        create_static_views(con)
    unlisted_pages = _UnlistedPages(files)
    if files.settled_months:
        allow_numpy()
        con.create_function(UNLISTED_PAGES, unlisted_pages, [], "VARCHAR[]")
    latest_runs = set() if catalog is None else set(catalog.latest_runs)
    if catalog is None or instant is not None or catalog.fingerprint != files.fingerprint(latest_runs):
        state = LakeState.of(published or Published(con, files, verification), instant)
        latest_runs = {observation.run_id for observation in state.latest}
        con.execute(data_script(files, state, instant, is_verified=True)).fetchall()
    elif files.settled_months:
        con.execute(pages_rows(files, is_verified=True)).fetchall()
    unlisted_pages.are_wanted = True
    return latest_runs


def _keep_versions(con: duckdb.DuckDBPyConnection) -> None:
    """Keep the versions in a table: a view reads them up to six times, each time bound, merged and planned anew.

    Measured on a lake of 40 days with 60 images: all views together take 0.8 s of processor time, and 2.9 s without it.
    """
    for name in (resource.versions_name for resource in RESOURCES):
        kept = f"kept_{name}"
        con.execute(f"create table {kept} as from {name} limit {_MOST_KEPT_VERSIONS + 1}").fetchall()
        ((count,),) = con.execute(f"select count(*) from {kept}").fetchall()  # noqa: S608  (SQL of this package)
        too_many = count > _MOST_KEPT_VERSIONS
        con.execute(f"drop table {kept}" if too_many else rows_of(name, f"from {kept}")).fetchall()


class _UnlistedPages:
    """The function `UNLISTED_PAGES`: lists and verifies the raw pages of the settled months, once it must.

    DuckDB calls it when it binds a query of `raw_pages`, before it opens a file; and when the table is made, which
    wants none of them. It asks for one file at least: the commit records, whose rows the query leaves out by the name.
    """

    def __init__(self, files: FileSet) -> None:
        self._files = files
        self._paths: list[Path] | None = None
        self.are_wanted = False

    def __call__(self) -> list[str]:
        if self.are_wanted and self._paths is None:
            self._paths = Verification(self._files).unlisted_pages()
        return [escape_glob(path) for path in self._paths or self._files.compacted[RECORDS]]


def resolve_as_of(data: str | Path, *as_of: str | dt.date) -> list[dt.datetime]:
    """Resolve instants of a lake, each given as for `connect`; `latest` is the end of time.

    Raises:
        BadSetting: an instant has no meaning, or there was no published observation by then.
        LakeMissing: no run was ever committed there.
        LakeDamaged: a commit record cannot be read.
    """
    import duckdb

    with duckdb.connect() as con:
        store_of(open_location(data)).register_filesystem(con)
        published = Published(con, FileSet.read(data, only_new=True))
        if published.first_instant is None:
            raise BadSetting(f"nothing is published in {str(data)!r} yet: `ens-images status` says why")
        return [parse_as_of(instant, published) or dt.datetime.max for instant in as_of]  # noqa: DTZ901  (UTC without a zone, as everywhere)


def read_published(data: str | Path) -> list[LatestObservation]:
    """Read every published observation of a lake from its commit records; no other file is opened.

    Raises:
        LakeMissing: no run was ever committed there.
        LakeDamaged: a commit record is not what was committed, or cannot be read.
    """
    import duckdb

    with duckdb.connect() as con:
        store_of(open_location(data)).register_filesystem(con)
        return published_observations(con, FileSet.read(data, only_new=True))


def connect_empty() -> duckdb.DuckDBPyConnection:
    """Open an empty lake: every table and view, typed and with comments. It needs no data folder."""
    import duckdb

    con = duckdb.connect()
    create_static_views(con)
    return con
