"""The tables as SQL over exactly the committed files, daily and compacted.

    daily files of runs that are not compacted ──┐
                                                 ├──► images, image_disks, rejects, observations
    versions, for the observations they cover ───┘

A compacted observation is restored from the versions that cover it, row for row.
Withdrawn observations are left out; `observations` marks them. With `as_of`,
no observation is later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.lake.compaction.manifest import COMPACTED, ENDED, OPEN, RECORDS, REJECTED, compacted_path
from pipeline.resources.control import OBSERVATIONS, RAW_PAGES, REJECTS
from pipeline.resources.images import DISK_FIELDS, IMAGE_DISKS, IMAGE_FIELDS, IMAGE_VERSIONS, IMAGES
from pipeline.storage.partitions import run_of
from pipeline.text import escape_glob, sql_literal

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Collection, Iterable, Sequence
    from pathlib import Path

    from pipeline.lake.file_set import FileSet
    from pipeline.lake.tombstones import Tombstones
    from pipeline.resources.schema import Column, Table


def empty(table: Table) -> str:
    """Write a query without rows, with typed columns."""
    columns = ",\n".join(f"    cast(null as {column.duckdb_type}) as {column.name}" for column in table.columns)
    return f"select\n{columns}\nwhere false"


def scan_files(table: Table, paths: Sequence[Path], *, names: Collection[str] = (), where: str = "") -> str:
    """Write the query of exactly these files, with the declared types; `names` selects columns.

    A column that an older file lacks is read from `extra`. The day is read from the folder's name, not by
    `hive_partitioning`: `schema` excludes it, and it would read a `name=value` above the lake as a column too.
    """
    wanted = [column for column in table.columns if not names or column.name in names]
    if not paths:
        return f"select {', '.join(column.name for column in wanted)} from ({empty(table)}) as nothing"  # noqa: S608  (declared names, as everywhere here)
    declared = ",\n".join(
        f"        {sql_literal(name)}: "
        f"{{'name': {sql_literal(name)}, 'type': {sql_literal(column.duckdb_type)}, 'default_value': null}}"
        for column in wanted
        for name in (column.name, column.renamed_from)
        if name and not column.in_folder
    )
    expressions = _with_extra(wanted) | {
        column.name: f"coalesce({column.name}, {column.renamed_from}) as {column.name}"
        for column in wanted
        if column.renamed_from
    }
    columns = ",\n".join(
        f"    cast(regexp_extract(filename, '{column.name}=([0-9-]+)/[^/]*$', 1) as date) as {column.name}"
        if column.in_folder
        else f"    {expressions.get(column.name, column.name)}"
        for column in wanted
    )
    listed = ",\n".join(f"        {sql_literal(escape_glob(path))}" for path in paths)
    return (
        f"select\n{columns}\nfrom read_parquet(\n    [\n{listed}\n    ],\n"
        f"    filename = true,\n    schema = map {{\n{declared}\n    }}\n)" + (f"\nwhere {where}" if where else "")
    )


def _with_extra(columns: Sequence[Column], beside: str = "") -> dict[str, str]:
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


def pairs(values: Iterable[tuple[object, str]]) -> str:
    """Write pairs as a list of SQL; never an empty one."""
    return ", ".join(f"({sql_literal(str(value))}, {sql_literal(other)})" for value, other in values) or "(null, null)"


def _withdrawal_columns(tombstones: Tombstones) -> dict[str, str]:
    """Write expressions for the columns of `observations` that a withdrawal changes."""
    if not tombstones.active:
        return {}
    cases = "".join(
        f" when run_id = {sql_literal(withdrawal.run_id)} and account = {sql_literal(withdrawal.account)}"
        f" then {sql_literal(withdrawal.error)}"
        for withdrawal in tombstones.active
    )
    withdrawn = pairs((withdrawal.run_id, withdrawal.account) for withdrawal in tombstones.active)
    return {
        "is_published": f"is_published and (run_id, account) not in ({withdrawn}) as is_published",
        "error": f"case{cases} else error end as error",
    }


def _excluded(files: FileSet, paths: Sequence[Path], *, compacted: bool = True) -> str:
    """Write the condition that leaves out the accounts of a run that were withdrawn, or are compacted."""
    accounts: dict[str, list[str]] = {}
    for run_id, account in files.partly_compacted if compacted else ():
        accounts.setdefault(run_id, []).append(account)
    for withdrawal in files.tombstones.active:
        accounts.setdefault(withdrawal.run_id, []).append(withdrawal.account)
    rows = [(path, account) for path in paths for account in accounts.get(run_of(path), ())]
    return f"(filename, account) not in ({pairs(rows)})" if rows else ""


def instant(at: dt.datetime) -> str:
    """Write an instant as a literal of SQL."""
    return f"timestamp '{at}'"


def _until(as_of: dt.datetime | None, *conditions: str) -> str:
    until = f"observed_at_utc <= {instant(as_of)}" if as_of else ""
    return " and ".join(filter(None, (*conditions, until)))


_BEGAN: Final = "try_strptime(left(run_id, 15), '%Y%m%dT%H%M%S')"
"""When a run began: the only instant of an account that was not listed."""


def observations(files: FileSet, as_of: dt.datetime | None = None, names: Collection[str] = ()) -> str:
    """Write the query of the commit records of every run, compacted or not."""
    wanted = [column.name for column in OBSERVATIONS.columns if not names or column.name in names]
    needed = {*wanted, "run_id", "account", "observed_at_utc"}
    changed = _withdrawal_columns(files.tombstones)
    parts = [scan_files(OBSERVATIONS, files.daily[OBSERVATIONS.name], names=needed)]
    if files.compacted:
        parts.append(scan_files(COMPACTED[RECORDS], files.compacted[RECORDS], names=needed))
    columns = ", ".join(changed.get(name, name) for name in wanted)
    cut = "" if as_of is None else f"\nwhere coalesce(observed_at_utc, {_BEGAN}) <= {instant(as_of)}"
    return f"select {columns} from (\n" + "\nunion all by name\n".join(parts) + f"\n) as record{cut}"  # noqa: S608


def rejects(files: FileSet, as_of: dt.datetime | None = None) -> str:
    """Write the query of the rejects."""
    paths = files.daily[REJECTS.name]
    # Rejects are compacted with the last account of their run: until then the daily file holds all of them.
    daily = scan_files(REJECTS, paths, where=_until(as_of, _excluded(files, paths, compacted=False)))
    if not files.compacted.get(REJECTED):
        return daily
    withdrawn = pairs((withdrawal.run_id, withdrawal.account) for withdrawal in files.tombstones.active)
    names = [column.name for column in REJECTS.columns]
    compacted_rows = scan_files(
        COMPACTED[REJECTED], files.compacted[REJECTED], where=_until(as_of, f"(run_id, account) not in ({withdrawn})")
    )
    return f"{daily}\nunion all\nselect {', '.join(names)} from (\n{compacted_rows}\n) as compacted"


def pages(files: FileSet, as_of: dt.datetime | None = None) -> str:
    """Write the query of the raw pages."""
    last = "" if as_of is None else f"{as_of:%Y%m%dT%H%M%S.%f}~"
    return scan_files(RAW_PAGES, [path for path in files.daily[RAW_PAGES.name] if not last or path.stem <= last])


def version_rows(files: FileSet, *, ended: bool, still_open: bool = True, accounts: str = "") -> str:
    """Write the query of the compacted versions, of the accounts that a condition selects."""
    parts = []
    if files.manifest is not None and ended and files.compacted[ENDED]:
        folder = files.compacted[ENDED][0].parents[2]
        invalidated = [
            (compacted_path(folder, ENDED, file.manifest), account)
            for file in files.manifest.ended
            for account in file.invalidated
        ]
        is_valid = f"(filename, account) not in ({pairs(invalidated)})" if invalidated else ""
        where = " and ".join(filter(None, (accounts, is_valid)))
        parts.append(scan_files(IMAGE_VERSIONS, files.compacted[ENDED], where=where))
    if files.manifest is not None and still_open:
        parts.append(scan_files(IMAGE_VERSIONS, files.compacted[OPEN], where=accounts))
    return "\nunion all\n".join(parts) or empty(IMAGE_VERSIONS)


def compacted(files: FileSet, as_of: dt.datetime | None = None) -> str:
    """Write the query of the published observations that the versions hold: account, observed_at_utc, observed_on."""
    daily_runs = ", ".join(sql_literal(path.stem) for path in files.daily[OBSERVATIONS.name]) or "''"
    records = observations(files, as_of, ("account", "observed_at_utc", "observed_on", "run_id", "is_published"))
    return (
        f"select account, observed_at_utc, observed_on from (\n{records}\n) as record\nwhere is_published and "  # noqa: S608
        f"(coalesce(run_id not in ({daily_runs}), true) or (run_id, account) in ({pairs(files.partly_compacted)}))"
    )


def rows_from_versions(table: Table, versions: str, spanned: str, also: Sequence[str] = ()) -> str:
    """Write the query of `images` or `image_disks` for compacted observations, from the versions that cover them.

    `also` names more columns of `spanned`.
    """
    if table is IMAGES:
        # Versions written by an older release hold the disks, but not this count.
        unsized = "len(list_filter(version.disks, lambda disk: disk.disk_size_gib is null))"
        expressions = {"unsized_disk_count": f"coalesce(version.unsized_disk_count, {unsized}) as unsized_disk_count"}
        names = [column.name for column in IMAGES.stored if column.name not in IMAGES.key]
        columns = ", ".join(expressions.get(name, f"version.{name}") for name in names)
    else:
        expressions = _with_extra(DISK_FIELDS, "version.disk.")
        columns = ", ".join(
            expressions.get(column.name, f"version.disk.{column.name} as {column.name}") for column in DISK_FIELDS
        )
        versions = (
            "select account, image_id, first_seen_utc, last_seen_utc, unnest(disks) as disk "  # noqa: S608
            f"from (\n{versions}\n) as version"
        )
    of_observation = ", ".join(f"spanned.{name}" for name in ("observed_at_utc", "observed_on", *also))
    return (
        f"select version.account, {of_observation}, version.image_id, {columns}\n"
        f"from (\n{versions}\n) as version\ninner join (\n{spanned}\n) as spanned\n"
        "    on version.account = spanned.account\n"
        "    and spanned.observed_at_utc between version.first_seen_utc and version.last_seen_utc"
    )


def rows(table: Table, files: FileSet, as_of: dt.datetime | None = None) -> str:
    """Write the query of `images` or `image_disks`: every observation, compacted or not."""
    paths = files.daily[table.name]
    daily = scan_files(table, paths, where=_until(as_of, _excluded(files, paths)))
    if files.manifest is None:
        return daily
    restored = rows_from_versions(table, version_rows(files, ended=True), compacted(files, as_of))
    return f"{daily}\nunion all\n{restored}" if paths else restored


def observed_rows(files: FileSet, among: str) -> str:
    """Write the query of the images in the daily files, with their disks as a list as in `image_versions`.

    `among` is a query for the account, observed_at_utc and image_id of the wanted images.
    """
    paths, disk_paths = files.daily[IMAGES.name], files.daily[IMAGE_DISKS.name]
    packed = ", ".join(f"{column.name} := {column.name}" for column in DISK_FIELDS)
    return f"""
        select
            image.* exclude (disk_count, unsized_disk_count, disk_size_gib),
            coalesce(disk.disk_count, 0) as disk_count,
            coalesce(disk.unsized_disk_count, 0) as unsized_disk_count,
            disk.disk_size_gib,
            coalesce(disk.disks, []) as disks
        from ({scan_files(IMAGES, paths, where=_until(None, _excluded(files, paths)))}) as image
        left join (
            select
                account, observed_at_utc, image_id, count(*) as disk_count,
                count(*) - count(disk_size_gib) as unsized_disk_count,
                cast(sum(disk_size_gib) as bigint) as disk_size_gib,
                list(struct_pack({packed}) order by disk_number) as disks
            from ({scan_files(IMAGE_DISKS, disk_paths, where=_until(None, _excluded(files, disk_paths)))}) as disk
            semi join ({among}) as wanted using (account, observed_at_utc, image_id)
            group by account, observed_at_utc, image_id
        ) as disk using (account, observed_at_utc, image_id)
        semi join ({among}) as wanted using (account, observed_at_utc, image_id)"""  # noqa: S608


_FIELDS: Final = ", ".join(column.name for column in IMAGE_FIELDS)


def _hashed(columns: str) -> str:
    """Hash the columns of a row twice, because the hashes of several rows are combined by xor.

    DuckDB combines the last column by xor too: two rows that swap its values would have the same combined hash.
    """
    return f"hash(hash({columns}))"


def fingerprints(files: FileSet, where: str = "") -> str:
    """Write the query of the images in the daily files, each with a fingerprint of its values and its disks.

    `where` is a condition on the image_id, to select a slice.
    """
    paths, disk_paths = files.daily[IMAGES.name], files.daily[IMAGE_DISKS.name]
    disks = scan_files(IMAGE_DISKS, disk_paths, where=_until(None, _excluded(files, disk_paths), where))
    of_disk = ", ".join(column.name for column in DISK_FIELDS)
    return f"""
        select account, observed_at_utc, image_id, hash(disk.fingerprint, {_FIELDS}) as fingerprint
        from ({scan_files(IMAGES, paths, where=_until(None, _excluded(files, paths), where))}) as image
        left join (
            select account, observed_at_utc, image_id, bit_xor({_hashed(of_disk)}) as fingerprint
            from ({disks}) as disk
            group by account, observed_at_utc, image_id
        ) as disk using (account, observed_at_utc, image_id)"""  # noqa: S608


def fingerprinted(versions: str) -> str:
    """Write the query of the bounds of versions, each with the fingerprint that `fingerprints` gives its images."""
    of_disk = ", ".join(f"disk.{column.name}" for column in DISK_FIELDS)
    of_disks = f"list_aggregate(list_transform(disks, lambda disk: {_hashed(of_disk)}), 'bit_xor')"
    return (
        "select account, image_id, first_seen_utc, last_seen_utc, life_began_utc, previous_seen_utc, "
        f"hash({of_disks}, {_FIELDS}) as fingerprint\nfrom (\n{versions}\n) as version"
    )
