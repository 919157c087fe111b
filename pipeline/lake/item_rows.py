"""The items of a resource and their child items as SQL: from daily files, and from the versions.

    daily files of runs that are not compacted ──┐
                                                 ├──► images, image_disks, …
    versions, for the observations they cover ───┘

A compacted observation is restored from the versions that cover it, row for row. What `scan` says of withdrawn
observations and of `as_of` holds here too.

Equality of two items is that of their declared fields and of their child items, roll-ups aside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.lake.compaction.manifest import compacted_path, open_place
from pipeline.lake.scan import empty, excluded, observations, scan_files, tuples, until, with_extra
from pipeline.resources.control import OBSERVATIONS
from pipeline.text import sql_literal

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from pipeline.lake.file_set import FileSet
    from pipeline.resources.resource import Child, Resource, Rollup
    from pipeline.resources.schema import Table


def version_rows(
    resource: Resource, files: FileSet, *, ended: bool, still_open: bool = True, accounts: str = ""
) -> str:
    """Write the query of the compacted versions, of the accounts that a condition selects."""
    versions, place = resource.versions, resource.versions_name
    parts = []
    if files.manifest is not None and ended and files.compacted.get(place):
        invalidated = [
            (compacted_path(files.data, place, file.manifest), account)
            for file in files.manifest.ended
            if file.resource == resource.name
            for account in file.invalidated
        ]
        is_valid = f"(filename, account) not in ({tuples(invalidated, 2)})" if invalidated else ""
        where = " and ".join(filter(None, (accounts, is_valid)))
        parts.append(scan_files(versions, files.compacted[place], where=where))
    if files.manifest is not None and still_open:
        parts.append(scan_files(versions, files.compacted.get(open_place(resource), ()), where=accounts))
    return "\nunion all\n".join(parts) or empty(versions)


def compacted(resource: Resource, files: FileSet, as_of: dt.datetime | None = None) -> str:
    """Write the query of the published observations that the versions hold: account, observed_at_utc, observed_on."""
    daily_runs = ", ".join(sql_literal(path.stem) for path in files.daily[OBSERVATIONS.name]) or "''"
    names = ("account", "resource", "observed_at_utc", "observed_on", "run_id", "is_published")
    return (
        f"select account, observed_at_utc, observed_on from (\n{observations(files, as_of, names)}\n) as record\n"  # noqa: S608  (SQL of this package, as everywhere here)
        f"where is_published and resource = {sql_literal(resource.name)} and (coalesce(run_id not in ({daily_runs}), "
        f"true) or (run_id, account, resource) in ({tuples(files.partly_compacted)}))"
    )


def rows_from_versions(resource: Resource, table: Table, versions: str, spanned: str, also: Sequence[str] = ()) -> str:
    """Write the query of a table of the resource for compacted observations, from the versions that cover them.

    `also` names more columns of `spanned`.
    """
    key = resource.key.name
    child = next((child for child in resource.children if child.table is table), None)
    if child is None:
        counts = {rollup.column.name: _count(of, rollup) for of in resource.children for rollup in of.rollups}
        columns = ", ".join(
            counts.get(column.name) or f"version.{column.name}" for column in (*resource.fields, *resource.rollups)
        )
    else:
        expressions = with_extra(child.fields, "version.child.")
        columns = ", ".join(
            expressions.get(column.name, f"version.child.{column.name} as {column.name}") for column in child.fields
        )
        versions = (
            f"select account, {key}, first_seen_utc, last_seen_utc, unnest({child.rows.name}) as child "  # noqa: S608
            f"from (\n{versions}\n) as version"
        )
    of_observation = ", ".join(f"spanned.{name}" for name in ("observed_at_utc", "observed_on", *also))
    return (
        f"select version.account, {of_observation}, version.{key}, {columns}\n"
        f"from (\n{versions}\n) as version\ninner join (\n{spanned}\n) as spanned\n"
        "    on version.account = spanned.account\n"
        "    and spanned.observed_at_utc between version.first_seen_utc and version.last_seen_utc"
    )


def _count(child: Child, rollup: Rollup) -> str | None:
    """Write a count that versions of an older release lack: they hold the child items. None: it is no such count."""
    if rollup.how != "count_null":
        return None
    name = rollup.column.name
    counted = f"len(list_filter(version.{child.rows.name}, lambda child: child.{rollup.of} is null))"
    return f"coalesce(version.{name}, {counted}) as {name}"


def rows(resource: Resource, table: Table, files: FileSet, as_of: dt.datetime | None = None) -> str:
    """Write the query of a table of the resource: every observation, compacted or not."""
    paths = files.daily[table.name]
    daily = scan_files(table, paths, where=until(as_of, excluded(files, paths, resource.name)))
    if files.manifest is None:
        return daily
    versions = version_rows(resource, files, ended=True)
    restored = rows_from_versions(resource, table, versions, compacted(resource, files, as_of))
    return f"{daily}\nunion all\n{restored}" if paths else restored


def observed_rows(resource: Resource, files: FileSet, among: str) -> str:
    """Write the query of the items in the daily files, with their child items in lists as in the versions.

    `among` is a query for the account, observed_at_utc and key of the wanted items.
    """
    using = f"using (account, observed_at_utc, {resource.key.name})"
    columns = [f"item.{column.name}" for column in (*resource.table.columns,) if column not in resource.rollups]
    joins = []
    for child in resource.children:
        columns += [_rolled_up(child, rollup) for rollup in child.rollups]
        columns.append(f"coalesce({child.name}.{child.rows.name}, []) as {child.rows.name}")
        joins.append(f"left join ({_lists(resource, child, files, among)}) as {child.name} {using}")
    return f"""
        select {", ".join(columns)}
        from ({_daily(resource, resource.table, files)}) as item
        {" ".join(joins)}
        semi join ({among}) as wanted {using}"""  # noqa: S608


def _daily(resource: Resource, table: Table, files: FileSet, where: str = "") -> str:
    """Write the query of the rows in the daily files that are neither withdrawn nor compacted."""
    paths = files.daily[table.name]
    return scan_files(table, paths, where=until(None, excluded(files, paths, resource.name), where))


def _rolled_up(child: Child, rollup: Rollup) -> str:
    name = rollup.column.name
    return f"{child.name}.{name}" if rollup.how == "sum" else f"coalesce({child.name}.{name}, 0) as {name}"


def _lists(resource: Resource, child: Child, files: FileSet, among: str) -> str:
    """Write the query of the child items of each wanted item: their roll-ups and their list."""
    key = f"account, observed_at_utc, {resource.key.name}"
    aggregates = {
        "count": "count(*)",
        "count_null": "count(*) - count({})",
        "sum": "cast(sum({}) as bigint)",
    }
    packed = ", ".join(f"{column.name} := child.{column.name}" for column in child.fields)
    of = {rollup.column.name: f"child.{rollup.of}" for rollup in child.rollups}
    columns = [
        *(f"{aggregates[r.how].format(of[r.column.name])} as {r.column.name}" for r in child.rollups),
        f"list(struct_pack({packed}) order by child.{child.number.name}) as {child.rows.name}",
    ]
    return f"""
            select {key}, {", ".join(columns)}
            from ({_daily(resource, child.table, files)}) as child
            semi join ({among}) as wanted using ({key})
            group by {key}"""  # noqa: S608


def _hashed(columns: str) -> str:
    """Hash the columns of a row twice, because the hashes of several rows are combined by xor.

    DuckDB combines the last column by xor too: two rows that swap its values would have the same combined hash.
    """
    return f"hash(hash({columns}))"


def fingerprints(resource: Resource, files: FileSet) -> str:
    """Write the query of the items in the daily files, each with a fingerprint of its values and its child items.

    Columns: account, observed_at_utc, item_id, fingerprint.
    """
    key = f"account, observed_at_utc, {resource.key.name}"
    joins, hashes = [], []
    for child in resource.children:
        of_child = ", ".join(column.name for column in child.fields)
        hashes.append(f"{child.name}.fingerprint")
        joins.append(f"""
        left join (
            select {key}, bit_xor({_hashed(of_child)}) as fingerprint
            from ({_daily(resource, child.table, files)}) as child
            group by {key}
        ) as {child.name} using ({key})""")  # noqa: S608
    values = ", ".join((*hashes, *(f"item.{column.name}" for column in resource.fields)))
    return f"""
        select account, observed_at_utc, {resource.key.name} as item_id, hash({values}) as fingerprint
        from ({_daily(resource, resource.table, files)}) as item{"".join(joins)}"""  # noqa: S608


def fingerprinted(resource: Resource, versions: str) -> str:
    """Write the query of the bounds of versions, each with the fingerprint that `fingerprints` gives its items."""
    hashes = []
    for child in resource.children:
        of_child = ", ".join(f"child.{column.name}" for column in child.fields)
        hashed = f"list_transform({child.rows.name}, lambda child: {_hashed(of_child)})"
        hashes.append(f"list_aggregate({hashed}, 'bit_xor')")
    values = ", ".join((*hashes, *(column.name for column in resource.fields)))
    return (
        f"select account, {resource.key.name} as item_id, first_seen_utc, last_seen_utc, life_began_utc, "
        f"previous_seen_utc, hash({values}) as fingerprint\nfrom (\n{versions}\n) as version"
    )
