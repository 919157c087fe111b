"""The control tables as SQL over exactly the committed files, daily and compacted; what is common to all tables.

Withdrawn observations are left out; `observations` marks them. With `as_of`, no observation is later.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from pipeline.lake.compaction.manifest import COMPACTED, RECORDS, REJECTED
from pipeline.resources.columns import RESOURCE
from pipeline.resources.control import OBSERVATIONS, RAW_PAGES, REJECTS
from pipeline.storage.partitions import run_of
from pipeline.text import escape_glob, sql_literal

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from pipeline.lake.file_set import FileSet
    from pipeline.lake.tombstones import Tombstones
    from pipeline.resources.schema import Column, Table


def empty(table: Table) -> str:
    """Write a query without rows, with typed columns."""
    columns = ",\n".join(f"    cast(null as {column.duckdb_type}) as {column.name}" for column in table.columns)
    return f"select\n{columns}\nwhere false"


def scan_files(
    table: Table,
    paths: Sequence[Path],
    *,
    names: Collection[str] = (),
    where: str = "",
    also: str = "",
    source: str | None = None,
) -> str:
    """Write the query of exactly these files, with the declared types; `names` selects columns, `also` adds one.

    `source` replaces the paths by an expression, which gives paths or patterns when DuckDB binds the query.

    A column that an older file lacks is read from `extra`. The day is read from the folder's name, not by
    `hive_partitioning`: `schema` excludes it, and it would read a `name=value` above the lake as a column too.
    """
    wanted = [column for column in table.columns if not names or column.name in names]
    if not paths and source is None:
        return f"select {', '.join(column.name for column in wanted)} from ({empty(table)}) as nothing"  # noqa: S608  (declared names, as everywhere here)
    declared = ",\n".join(
        f"        {sql_literal(name)}: "
        f"{{'name': {sql_literal(name)}, 'type': {sql_literal(column.duckdb_type)}, 'default_value': null}}"
        for column in wanted
        for name in (column.name, column.renamed_from)
        if name and not column.in_folder
    )
    expressions = with_extra(wanted) | {
        column.name: f"coalesce({', '.join(_in_older_files(column))}) as {column.name}"
        for column in wanted
        if column.renamed_from or column.default
    }
    columns = ",\n".join(
        f"    cast(regexp_extract(filename, '{column.name}=([0-9-]+)/[^/]*$', 1) as date) as {column.name}"
        if column.in_folder
        else f"    {expressions.get(column.name, column.name)}"
        for column in wanted
    )
    columns += f",\n    {also}" if also else ""
    files = literals(map(escape_glob, paths)) if source is None else source
    return (
        f"select\n{columns}\nfrom read_parquet(\n    {files},\n"
        f"    filename = true,\n    schema = map {{\n{declared}\n    }}\n)" + (f"\nwhere {where}" if where else "")
    )


def literals(paths: Iterable[str]) -> str:
    """Write a list of paths or patterns."""
    listed = ",\n".join(f"        {sql_literal(path)}" for path in paths)
    return f"[\n{listed}\n    ]"


def _in_older_files(column: Column) -> list[str]:
    """List the expressions of a column whose name or default older files lack, the present name first."""
    default = None if column.default is None else sql_literal(column.default)
    return [name for name in (column.name, column.renamed_from, default) if name]


def with_extra(columns: Sequence[Column], beside: str = "") -> dict[str, str]:
    """Write expressions for the columns that were added later: an older file holds their fields in `extra` as JSON.

    They are typed as `flatten` types them, and are left out of `extra`: a new column is no change of an image. A value
    that does not fit is null, as after a rebuild, which lists it in `rejects`.
    """
    later = [column for column in columns if column.is_later_field]
    if not later or "extra" not in {column.name for column in columns}:
        return {}
    typed = {
        column.name: f"coalesce({beside}{column.name}, {_from_json(column, beside)}) as {column.name}"
        for column in later
    }
    is_there = " or ".join(f"json_exists({beside}extra, {_json_path(column)})" for column in later)
    patch = ",".join(f'"{column.api}":null' for column in later)
    rest = f"nullif(cast(json_merge_patch({beside}extra, '{{{patch}}}') as varchar), '{{}}')"
    return {**typed, "extra": f"case when {is_there} then {rest} else {beside}extra end as extra"}


def _json_path(column: Column) -> str:
    return f"""'$."{column.api}"'"""


def _from_json(column: Column, beside: str) -> str:
    field = _json_path(column)
    value = (
        f"case when json_type({beside}extra, {field}) "
        "in ('VARCHAR', 'UBIGINT', 'BIGINT', 'DOUBLE', 'HUGEINT', 'UHUGEINT') "
        f"then {beside}extra ->> {field} end"
    )
    if column.kind == "text":
        return value
    if column.kind == "timestamp":
        fits = "'[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-9]{2}(:[0-9]{2})?Z'"
        instant = f"try_cast(rtrim({value}, 'Z') as timestamp)"
        return f"case when regexp_full_match({value}, {fits}) and year({instant}) > 0 then {instant} end"
    return f"case when regexp_full_match({value}, '[0-9]{{1,{column.most_digits}}}') then cast({value} as bigint) end"


def tuples(values: Iterable[tuple[object, ...]], width: int = 3) -> str:
    """Write tuples as a list of SQL, such as those of run, account and resource; never an empty one."""
    listed = ", ".join(f"({', '.join(sql_literal(str(part)) for part in value)})" for value in values)
    return listed or f"({', '.join(['null'] * width)})"


_FEW: Final = 50
"""Rows that are written as literals. Of more, DuckDB parses one literal of JSON in a fraction of the time."""


def listed_rows(rows: Collection[tuple[str, ...]], columns: Mapping[str, str]) -> str:
    """Write the query of these rows; `columns` are their names and types."""
    if not rows:
        return f"select {', '.join(f'cast(null as {kind}) as {name}' for name, kind in columns.items())} where false"
    if len(rows) <= _FEW:
        return " union all ".join(
            "select "
            + ", ".join(
                f"{sql_literal(value)} as {name}" if kind == "varchar" else f"{kind} {sql_literal(value)} as {name}"
                for value, (name, kind) in zip(row, columns.items(), strict=True)
            )
            for row in rows
        )
    values = f"from_json({sql_literal(json.dumps([list(row) for row in rows]))}, '[[\"VARCHAR\"]]')"
    typed = ", ".join(
        f"cast(value[{number}] as {kind}) as {name}" for number, (name, kind) in enumerate(columns.items(), 1)
    )
    return f"select {typed} from (select unnest({values}) as value) as listed"  # noqa: S608


def is_among(rows: Collection[tuple[str, ...]], columns: Mapping[str, str]) -> str:
    """Write the condition that these columns, of these types, have the values of one of the rows."""
    if len(rows) > _FEW:
        return f"({', '.join(columns)}) in ({listed_rows(rows, columns)})"
    literals = (
        ", ".join(
            sql_literal(value) if kind == "varchar" else f"{kind} {sql_literal(value)}"
            for value, kind in zip(row, columns.values(), strict=True)
        )
        for row in rows
    )
    return f"({', '.join(columns)}) in ({', '.join(f'({row})' for row in literals)})" if rows else "false"


def _withdrawal_columns(tombstones: Tombstones) -> dict[str, str]:
    """Write expressions for the columns of `observations` that a withdrawal changes."""
    if not tombstones.active:
        return {}
    cases = "".join(
        f" when run_id = {sql_literal(withdrawal.run_id)} and account = {sql_literal(withdrawal.account)}"
        f" and resource = {sql_literal(withdrawal.resource)} then {sql_literal(withdrawal.error)}"
        for withdrawal in tombstones.active
    )
    withdrawn = tuples((one.run_id, *one.listed) for one in tombstones.active)
    return {
        "is_published": f"is_published and (run_id, account, resource) not in ({withdrawn}) as is_published",
        "error": f"case{cases} else error end as error",
    }


def excluded(files: FileSet, paths: Sequence[Path], resource: str) -> str:
    """Write the condition that leaves out the accounts of a run that were withdrawn, or are compacted."""
    accounts: dict[str, list[str]] = {}
    withdrawn = [(one.run_id, *one.listed) for one in files.tombstones.active]
    for run_id, account, name in (*files.partly_compacted, *withdrawn):
        if name == resource:
            accounts.setdefault(run_id, []).append(account)
    rows = [(path, account) for path in paths for account in accounts.get(run_of(path), ())]
    return f"(filename, account) not in ({tuples(rows, 2)})" if rows else ""


def instant(at: dt.datetime) -> str:
    """Write an instant as a literal of SQL."""
    return f"timestamp '{at}'"


def until(as_of: dt.datetime | None, *conditions: str) -> str:
    """Write the condition that all of these are met, and that no observation is later."""
    cut = f"observed_at_utc <= {instant(as_of)}" if as_of else ""
    return " and ".join(filter(None, (*conditions, cut)))


_BEGAN: Final = "try_strptime(left(run_id, 15), '%Y%m%dT%H%M%S')"
"""When a run began: the only instant of an account that was not listed."""


def observations(files: FileSet, as_of: dt.datetime | None = None, names: Collection[str] = ()) -> str:
    """Write the query of the commit records of every run, compacted or not."""
    wanted = [column.name for column in OBSERVATIONS.columns if not names or column.name in names]
    needed = {*wanted, "run_id", "account", "resource", "observed_at_utc"}
    changed = _withdrawal_columns(files.tombstones)
    parts = [scan_files(OBSERVATIONS, files.daily[OBSERVATIONS.name], names=needed)]
    if files.compacted:
        parts.append(scan_files(COMPACTED[RECORDS], files.compacted[RECORDS], names=needed))
    columns = ", ".join(changed.get(name, name) for name in wanted)
    cut = "" if as_of is None else f"\nwhere coalesce(observed_at_utc, {_BEGAN}) <= {instant(as_of)}"
    return f"select {columns} from (\n" + "\nunion all by name\n".join(parts) + f"\n) as record{cut}"  # noqa: S608


_RESOURCE: Final = f"coalesce({', '.join(_in_older_files(RESOURCE))})"
"""The resource of a row in a condition on a file, which may lack it."""


def rejects(files: FileSet, as_of: dt.datetime | None = None) -> str:
    """Write the query of the rejects."""
    paths = files.daily[REJECTS.name]
    withdrawn = [(one.run_id, *one.listed) for one in files.tombstones.active]
    # Rejects are compacted with the last observation of their run: until then the daily file holds all of them.
    rows = [(path, *listed) for path in paths for run_id, *listed in withdrawn if run_id == run_of(path)]
    not_in_rows = f"(filename, account, {_RESOURCE}) not in ({tuples(rows)})" if rows else ""
    daily = scan_files(REJECTS, paths, where=until(as_of, not_in_rows))
    if not files.compacted.get(REJECTED):
        return daily
    names = [column.name for column in REJECTS.columns]
    compacted_rows = scan_files(
        COMPACTED[REJECTED],
        files.compacted[REJECTED],
        where=until(as_of, f"(run_id, account, {_RESOURCE}) not in ({tuples(withdrawn)})"),
    )
    return f"{daily}\nunion all\nselect {', '.join(names)} from (\n{compacted_rows}\n) as compacted"


UNLISTED_PAGES: Final = "verified_raw_pages"
"""The function of a connection that lists and verifies the raw pages of settled months, before a query opens one."""


def pages(files: FileSet, as_of: dt.datetime | None = None, *, is_verified: bool = False) -> str:
    """Write the query of the raw pages; those of settled months by patterns, or verified, by `UNLISTED_PAGES`."""
    last = "" if as_of is None else f"{as_of:%Y%m%dT%H%M%S.%f}~"
    paths = [path for path in files.daily[RAW_PAGES.name] if not last or path.stem <= last]
    if not files.settled_months:
        return scan_files(RAW_PAGES, paths)
    compacted = scan_files(COMPACTED[RECORDS], files.compacted[RECORDS], names=("run_id",))
    expired = ", ".join(map(sql_literal, sorted(files.tombstones.raw_runs)))
    conditions = [
        f"parse_filename(filename, true) in (select run_id from ({compacted}) as record)",  # noqa: S608
        f"parse_filename(filename, true) not in ({expired})" if expired else "",
        f"parse_filename(filename, true) <= {sql_literal(last)}" if last else "",
    ]
    where = " and ".join(filter(None, conditions))
    source = f"{UNLISTED_PAGES}()" if is_verified else literals(files.raw_patterns())
    unlisted = scan_files(RAW_PAGES, (), source=source, where=where)
    return f"{scan_files(RAW_PAGES, paths)}\nunion all by name\n{unlisted}" if paths else unlisted
