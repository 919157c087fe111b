"""The SQL script that makes the tables and views of a lake, each with comments.

    resources/ ──► images, image_disks, …, rejects, observations, raw_pages    over the committed files
                   image_versions, …                                           versions_script.py
                   images_latest, image_disks_latest, …                        over the latest files alone
    sql/       ──► capacity_by_region, image_age, image_changes, …             one file for each view

A table is a view over a macro, `committed_images()` below `images`: only the macros differ from lake to lake.

`connect` runs the script that `views_sql` returns. Where `lake.duckdb` was made
by this script, `connect` copies the views from there, in a tenth of the time,
and the tables too if it reads the same files as of now.

A view with settings is a table macro too:

    from stale_images                                 with the settings of its file
    from stale_images(older_than_days := 90)          with another setting
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from pipeline.lake.file_set import FileSet
from pipeline.lake.folder_days import partitions
from pipeline.lake.item_rows import rows
from pipeline.lake.latest import latest_rejects, latest_rows
from pipeline.lake.layout import IS_CURRENT
from pipeline.lake.scan import empty, instant, observations, pages, rejects
from pipeline.lake.verification import DAMAGED
from pipeline.resources.control import OBSERVATIONS, PARTITIONS, RAW_PAGES, REJECTS
from pipeline.resources.tables import RESOURCES, TABLES
from pipeline.storage.store import open_location, store_of
from pipeline.text import escape_glob, sql_literal
from pipeline.views.account_names import counted_as
from pipeline.views.as_of import parse_as_of
from pipeline.views.catalog import AS_OF, LATEST, THRESHOLDS, committed_name, latest_name, relations
from pipeline.views.parameters import Thresholds, with_parameters, with_thresholds
from pipeline.views.published import Published
from pipeline.views.state import LakeState
from pipeline.views.versions_script import versions_query, with_current_columns

if TYPE_CHECKING:
    import datetime as dt
    from pathlib import Path

    import duckdb

    from pipeline.errors import LakeDamaged
    from pipeline.views.model import Relation


def views_sql(
    data: str | Path = "data", *, as_of: str | dt.date | None = None, thresholds: Thresholds | None = None
) -> str:
    """Write the script for any DuckDB, with absolute paths; `as_of` and `thresholds` as for `connect`.

    Raises:
        BadSetting: `as_of` or `thresholds` have no meaning, or there was no observation by then.
        LakeMissing: no run was ever committed there.
        LakeDamaged: a commit record cannot be read.
    """
    import duckdb

    with duckdb.connect() as con:
        store_of(open_location(data)).register_filesystem(con)
        listed = None
        while listed is None or listed != _listing(con, data):  # a run was committed in between
            listed = _listing(con, data)
            files = FileSet.read(data)
        published = Published(con, files)
        at = None if as_of is None else parse_as_of(as_of, published)
        script = whole_script(files, LakeState.of(published, at), at) + thresholds_script(thresholds)
    return _guard(files, listed) + _OLDEST_DUCKDB + script


def _listing_query(data: Path) -> str:
    """Write the query of a digest of the names of the daily files and manifests; a copy under another name is none."""
    lake = escape_glob(data / "lake")
    name = "Z(-[0-9a-f]+)?([.][0-9]+)?[.]parquet$|/[0-9]+[.]json$"
    return (
        "select md5(coalesce(string_agg(file, chr(10) order by file), '')) from ("  # noqa: S608  (SQL of this package)
        f"from glob({sql_literal(f'{lake}/*/observed_on=*/*.parquet')}) union all "
        f"from glob({sql_literal(f'{lake}/manifests/*.json')})) as found "
        f"where regexp_matches(file, {sql_literal(name)})"
    )


def _listing(con: duckdb.DuckDBPyConnection, data: str | Path) -> str:
    return str(con.execute(_listing_query(open_location(data).resolve())).fetchall()[0][0])


def _guard(files: FileSet, listed: str) -> str:
    """Say until when the script is right, and end it with an error after that."""
    newest = max((path.stem for path in files.daily[OBSERVATIONS.name]), default=None)
    newest = max(filter(None, (newest, *(files.manifest.runs if files.manifest else ()))), default="none")
    until = (
        f"-- Right until the next run, withdrawal, compaction or retention: the lake with {newest} as its last run.\n"
    )
    return (
        f"{until}-- After that it ends with an error: print it again with `ens-images views`.\n"
        f"-- A connection that ran it and stays open asks `select {IS_CURRENT}()`.\n"
        f"create or replace macro {IS_CURRENT}() as ({_listing_query(files.data)}) = {sql_literal(listed)};\n\n"
        f"select case when not {IS_CURRENT}()\n"
        "    then error('the lake has changed since this script was printed: print it again with `ens-images views`')\n"
        "end;\n\n"
    )


_OLDEST_DUCKDB: Final = """\
-- For DuckDB 1.4 or newer.
-- DuckDB 1.3 would run this script, and show views without their rows.
select case
    when cast(string_split(ltrim(version(), 'v'), '.')[:2] as integer[]) < [1, 4]
        then error('these views need DuckDB 1.4 or newer, and this is ' || version())
end;

"""


def whole_script(files: FileSet, state: LakeState, as_of: dt.datetime | None = None) -> str:
    """Write the whole script.

    DuckDB binds a view when it is created, and binding opens every file that the view reads. So the views are created
    over empty tables, and the files follow as macros, which are not bound: no file is opened before a query reads it.
    """
    return static_script() + data_script(files, state, as_of)


def static_script() -> str:
    """Write the part that is the same for every lake: empty tables, all views, and every comment."""
    known = relations()
    tables = [relation for relation in known.values() if not relation.query]
    views = [relation for relation in known.values() if relation.query]
    parts = ["-- The tables, typed and still empty, and the views over them.\n", *_empty_tables(), *_empty_latest()]
    parts += [_view(table.name, f"from {committed_name(table.name)}()") for table in tables]
    parts += [_view(view.name, view.query or "") for view in views]
    parts += [_macro(relation) for relation in known.values() if relation.settings]
    parts.append(f"create or replace macro {THRESHOLDS}() as '{{}}';\n\n{_as_of(None)}")
    parts += [_comments(relation) for relation in known.values()]
    return "".join(parts)


def data_script(
    files: FileSet, state: LakeState, as_of: dt.datetime | None = None, *, is_verified: bool = False
) -> str:
    """Write the part for the files of one lake: what its tables read; `is_verified` as for `pages`."""
    parts = ["-- The files of committed runs.\n"]
    if any(files.daily.values()) or files.manifest:
        parts += [
            *(
                rows_of(table.name, rows(resource, table, files, as_of))
                for resource in RESOURCES
                for table in resource.tables
            ),
            rows_of(REJECTS.name, rejects(files, as_of)),
            rows_of(OBSERVATIONS.name, _with_names(observations(files, as_of), state)),
            pages_rows(files, as_of, is_verified=is_verified),
            rows_of(PARTITIONS.name, partitions(files)),
            *(rows_of(resource.versions_name, versions_query(resource, files, state, as_of)) for resource in RESOURCES),
        ]
    else:
        parts += _empty_tables()
    if state.latest:
        parts += [
            rows_of(latest_name(table), latest_rows(resource, table, files, state.counted_of(resource)))
            for resource in RESOURCES
            for table in resource.tables
        ]
        parts.append(rows_of(latest_name(REJECTS), latest_rejects(files, state.counted)))
    else:
        parts += _empty_latest()
    return "".join(parts) + _as_of(as_of)


def _as_of(as_of: dt.datetime | None) -> str:
    literal = "null" if as_of is None else instant(as_of)
    return f"create or replace macro {AS_OF}() as cast({literal} as timestamp);\n"


def pages_rows(files: FileSet, as_of: dt.datetime | None = None, *, is_verified: bool) -> str:
    """Write what `raw_pages` reads."""
    return rows_of(RAW_PAGES.name, pages(files, as_of, is_verified=is_verified))


def refuse_pages(error: LakeDamaged) -> str:
    """Write `raw_pages` so that every query of it ends with this error, and no other query does."""
    raising = f"error({sql_literal(f'{DAMAGED}{error}')})"
    columns = ",\n".join(
        f"    cast({raising} as {column.duckdb_type}) as {column.name}" for column in RAW_PAGES.columns
    )
    # In the condition for a query without a column, in each column for one whose own condition is evaluated first.
    return rows_of(RAW_PAGES.name, f"select\n{columns}\nwhere cast({raising} as boolean)")


def thresholds_script(thresholds: Thresholds | None) -> str:
    """Write the views that these thresholds change, and the macro that returns the thresholds."""
    if not thresholds:
        return ""
    changed = with_thresholds(relations(), thresholds).values()
    parts = [_view(view.name, view.query or "") + _macro(view) + _comments(view) for view in changed]
    return f"{''.join(parts)}create or replace macro {THRESHOLDS}() as {sql_literal(json.dumps(thresholds))};\n"


def _with_names(query: str, state: LakeState) -> str:
    """Show in `observations` what is known of an account now, also in the rows before that was known."""
    return f"select * replace ({counted_as(state.names)} as same_account_as) from (\n{query}\n) as record"  # noqa: S608


def _empty_tables() -> list[str]:
    versions = [
        rows_of(resource.versions_name, with_current_columns(resource, empty(resource.versions)))
        for resource in RESOURCES
    ]
    return [*(rows_of(table.name, empty(table)) for table in (*TABLES, PARTITIONS)), *versions]


def _empty_latest() -> list[str]:
    return [rows_of(name, empty(table)) for name, table in LATEST.items()]


def _view(name: str, query: str) -> str:
    return f"create or replace view {name} as\n{query.rstrip()};\n\n"


def rows_of(table: str, query: str) -> str:
    """Write what a table reads: a macro below its view, so that the view and its comments stay."""
    return f"create or replace macro {committed_name(table)}() as table\n{query.rstrip()};\n\n"


def _comments(relation: Relation) -> str:
    """Write the comments of a table or view and its columns."""
    comments = {f"view {relation.name}": relation.grain}
    comments |= {f"column {relation.name}.{column.name}": column.comment for column in relation.columns}
    return "".join(f"comment on {thing} is {sql_literal(comment)};\n" for thing, comment in comments.items())


def _macro(relation: Relation) -> str:
    """Write a view as a table macro with its settings as parameters."""
    # The body comes from the file: a changed threshold may hold any text, and its settings could no longer be found.
    query = with_parameters(relations()[relation.name].query or "")
    settings = [f"{setting.name} := {setting.default}" for setting in relation.settings]
    docs = [f"{call}: {setting.doc}" for call, setting in zip(settings, relation.settings, strict=True)]
    comment = " ".join((relation.grain, "Settings:", *docs))
    return (
        f"create or replace macro {relation.name}({', '.join(settings)}) as table\n{query.rstrip()};\n\n"
        f"comment on macro table {relation.name} is {sql_literal(comment)};\n\n"
    )
