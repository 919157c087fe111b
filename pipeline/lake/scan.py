"""The tables as SQL: over exactly the committed files, plain and folded.

    plain files of runs that are not folded ──┐
                                              ├──► images, image_disks, rejects, observations
    stretches, for the observations they span ────┘

A folded observation comes back from the stretches that span it, row for row.
What was withdrawn is left out; its row in `observations` says so. With an
`as_of`, everything is as it was then: no observation is later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.lake.compaction.manifest import ENDED, OPEN, PLACES, RECORDS, REJECTED, compacted_path
from pipeline.resources.control import OBSERVATIONS, RAW_PAGES, REJECTS
from pipeline.resources.images import DISK_FIELDS, IMAGE_DISKS, IMAGE_FIELDS, IMAGE_VERSIONS, IMAGES
from pipeline.text import escape_glob, sql_literal

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Collection, Iterable, Sequence
    from pathlib import Path

    from pipeline.lake.file_set import FileSet
    from pipeline.lake.tombstones import Tombstones
    from pipeline.resources.schema import Column, Table


def empty(table: Table) -> str:
    """No row, every column typed."""
    columns = ",\n".join(f"    cast(null as {column.duckdb_type}) as {column.name}" for column in table.columns)
    return f"select\n{columns}\nwhere false"


def scan_files(table: Table, paths: Sequence[Path], *, names: Collection[str] = (), where: str = "") -> str:
    """Read exactly these files, with the declared types; a column that an old file lacks is what `extra` holds of it.

    The day comes from the folder's name here and not through `hive_partitioning`, which `schema` excludes, and which
    would take a `name=value` anywhere above the lake for a column too. With `names`, only those columns.
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
    said = _said_in_extra(wanted) | {
        column.name: f"coalesce({column.name}, {column.renamed_from}) as {column.name}"
        for column in wanted
        if column.renamed_from
    }
    columns = ",\n".join(
        f"    cast(regexp_extract(filename, '{column.name}=([0-9-]+)/[^/]*$', 1) as date) as {column.name}"
        if column.in_folder
        else f"    {said.get(column.name, column.name)}"
        for column in wanted
    )
    listed = ",\n".join(f"        {sql_literal(escape_glob(path))}" for path in paths)
    return (
        f"select\n{columns}\nfrom read_parquet(\n    [\n{listed}\n    ],\n"
        f"    filename = true,\n    schema = map {{\n{declared}\n    }}\n)" + (f"\nwhere {where}" if where else "")
    )


def _said_in_extra(columns: Sequence[Column], beside: str = "") -> dict[str, str]:
    """The columns that were added later, as expressions: where a file lacks one, its field lies in `extra` as JSON.

    It is typed as `flatten` would have typed it; a field that is a column of its file is never in `extra` as well.
    """
    if "extra" not in {column.name for column in columns}:
        return {}
    return {
        column.name: f"coalesce({beside}{column.name}, {_from_json(column, beside)}) as {column.name}"
        for column in columns
        if column.since and column.api
    }


def _from_json(column: Column, beside: str) -> str:
    field = f"""'$."{column.api}"'"""
    said = (
        f"case when json_type({beside}extra, {field}) "
        "in ('VARCHAR', 'UBIGINT', 'BIGINT', 'DOUBLE', 'HUGEINT', 'UHUGEINT') "
        f"then {beside}extra ->> {field} end"
    )
    if column.kind == "text":
        return said
    if column.kind == "instant":
        fits = "'[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-9]{2}(:[0-9]{2})?Z'"
        instant = f"try_cast(rtrim({said}, 'Z') as timestamp)"
        return f"case when regexp_full_match({said}, {fits}) and year({instant}) > 0 then {instant} end"
    return f"case when regexp_full_match({said}, '[0-9]{{1,{column.most_digits}}}') then cast({said} as bigint) end"


def pairs(of: Iterable[tuple[object, str]]) -> str:
    """Pairs as a list of SQL; never an empty one."""
    return ", ".join(f"({sql_literal(str(one))}, {sql_literal(other)})" for one, other in of) or "(null, null)"


def _said_of_withdrawals(gone: Tombstones) -> dict[str, str]:
    """What the columns of `observations` say that a withdrawal changes, as expressions."""
    if not gone.active:
        return {}
    cases = "".join(
        f" when run_id = {sql_literal(one.run_id)} and account = {sql_literal(one.account)}"
        f" then {sql_literal(one.error)}"
        for one in gone.active
    )
    withdrawn = pairs((one.run_id, one.account) for one in gone.active)
    return {
        "is_published": f"is_published and (run_id, account) not in ({withdrawn}) as is_published",
        "error": f"case{cases} else error end as error",
    }


def _not_here(files: FileSet, paths: Sequence[Path], *, half_folded: bool = True) -> str:
    """Leave out the rows of accounts in a run that were withdrawn, or are folded, though their file stays."""
    half: dict[str, list[str]] = {}
    for run_id, account in files.half_folded if half_folded else ():
        half.setdefault(run_id, []).append(account)
    for one in files.without.active:
        half.setdefault(one.run_id, []).append(one.account)
    rows = [(path, account) for path in paths for account in half.get(path.stem, ())]
    return f"(filename, account) not in ({pairs(rows)})" if rows else ""


def instant(at: dt.datetime) -> str:
    """An instant as a literal of SQL."""
    return f"timestamp '{at}'"


def _until(as_of: dt.datetime | None, *conditions: str) -> str:
    said = [one for one in (*conditions, as_of and f"observed_at_utc <= {instant(as_of)}") if one]
    return " and ".join(said)


_BEGAN: Final = "try_strptime(left(run_id, 15), '%Y%m%dT%H%M%S')"
"""When a run began: a try that ended without a listing has no other instant that a backdated run would keep to."""


def observations(files: FileSet, as_of: dt.datetime | None = None, names: Collection[str] = ()) -> str:
    """The commit records of every run, folded or not."""
    wanted = [column.name for column in OBSERVATIONS.columns if not names or column.name in names]
    needed = {*wanted, "run_id", "account", "observed_at_utc"}
    said = _said_of_withdrawals(files.without)
    plain = scan_files(OBSERVATIONS, files.of[OBSERVATIONS.name], names=needed)
    both = [plain]
    if files.folded:
        both.append(scan_files(PLACES[RECORDS], files.folded[RECORDS], names=needed))
    columns = ", ".join(said.get(name, name) for name in wanted)
    cut = "" if as_of is None else f"\nwhere coalesce(observed_at_utc, {_BEGAN}) <= {instant(as_of)}"
    return f"select {columns} from (\n" + "\nunion all by name\n".join(both) + f"\n) as record{cut}"  # noqa: S608


def rejects(files: FileSet, as_of: dt.datetime | None = None) -> str:
    """What could not be typed."""
    paths = files.of[REJECTS.name]
    # Rejects are folded with the last account of their run: up to then its plain file has them all.
    plain = scan_files(REJECTS, paths, where=_until(as_of, _not_here(files, paths, half_folded=False)))
    if not files.folded.get(REJECTED):
        return plain
    withdrawn = pairs((one.run_id, one.account) for one in files.without.active)
    names = [column.name for column in REJECTS.columns]
    kept = scan_files(
        PLACES[REJECTED], files.folded[REJECTED], where=_until(as_of, f"(run_id, account) not in ({withdrawn})")
    )
    return f"{plain}\nunion all\nselect {', '.join(names)} from (\n{kept}\n) as folded"


def pages(files: FileSet, as_of: dt.datetime | None = None) -> str:
    """What the service said."""
    last = "" if as_of is None else f"{as_of:%Y%m%dT%H%M%S.%f}~"
    return scan_files(RAW_PAGES, [path for path in files.of[RAW_PAGES.name] if not last or path.stem <= last])


def version_rows(files: FileSet, *, ended: bool, still_open: bool = True, accounts: str = "") -> str:
    """The stretches in the fold's files, of the accounts that a condition names."""
    parts = []
    if files.fold is not None and ended and files.folded[ENDED]:
        folder = files.folded[ENDED][0].parents[2]
        void = pairs((compacted_path(folder, ENDED, one.fold), name) for one in files.fold.ended for name in one.void)
        has_void = any(one.void for one in files.fold.ended)
        where = " and ".join(filter(None, (accounts, f"(filename, account) not in ({void})" if has_void else "")))
        parts.append(scan_files(IMAGE_VERSIONS, files.folded[ENDED], where=where))
    if files.fold is not None and still_open:
        parts.append(scan_files(IMAGE_VERSIONS, files.folded[OPEN], where=accounts))
    return "\nunion all\n".join(parts) or empty(IMAGE_VERSIONS)


def compacted(files: FileSet, as_of: dt.datetime | None = None) -> str:
    """The published observations that the stretches hold: account, observed_at_utc, observed_on."""
    plain = ", ".join(sql_literal(path.stem) for path in files.of[OBSERVATIONS.name]) or "''"
    both = observations(files, as_of, ("account", "observed_at_utc", "observed_on", "run_id", "is_published"))
    return (
        f"select account, observed_at_utc, observed_on from (\n{both}\n) as told\nwhere is_published and "  # noqa: S608
        f"(coalesce(run_id not in ({plain}), true) or (run_id, account) in ({pairs(files.half_folded)}))"
    )


def not_compacted(table: Table, versions: str, spanned: str) -> str:
    """The rows of `images` or `image_disks` of observations, from the stretches that span them."""
    if table is IMAGES:
        # Stretches that an older version wrote hold the disks, and not this count of them.
        unsized = "len(list_filter(version.disks, lambda disk: disk.disk_size_gib is null))"
        said = {"unsized_disk_count": f"coalesce(version.unsized_disk_count, {unsized}) as unsized_disk_count"}
        names = [one.name for one in IMAGES.stored if one.name not in IMAGES.key]
        columns = ", ".join(said.get(name, f"version.{name}") for name in names)
    else:
        said = _said_in_extra(DISK_FIELDS, "version.disk.")
        columns = ", ".join(said.get(one.name, f"version.disk.{one.name} as {one.name}") for one in DISK_FIELDS)
        versions = (
            "select account, image_id, first_seen_utc, last_seen_utc, unnest(disks) as disk "  # noqa: S608
            f"from (\n{versions}\n) as stretch"
        )
    return (
        f"select version.account, spanned.observed_at_utc, spanned.observed_on, version.image_id, {columns}\n"
        f"from (\n{versions}\n) as version\ninner join (\n{spanned}\n) as spanned\n"
        "    on version.account = spanned.account\n"
        "    and spanned.observed_at_utc between version.first_seen_utc and version.last_seen_utc"
    )


def rows(table: Table, files: FileSet, as_of: dt.datetime | None = None) -> str:
    """Write `images` or `image_disks`: every observation, folded or not."""
    paths = files.of[table.name]
    plain = scan_files(table, paths, where=_until(as_of, _not_here(files, paths)))
    if files.fold is None:
        return plain
    from_fold = not_compacted(table, version_rows(files, ended=True), compacted(files, as_of))
    return f"{plain}\nunion all\n{from_fold}" if paths else from_fold


def observed_rows(files: FileSet, among: str) -> str:
    """Each image of each plain file that is read, its disks as a list: as `image_versions` has them.

    `among` is a query for the account, observed_at_utc and image_id of those that are wanted.
    """
    paths, disk_paths = files.of[IMAGES.name], files.of[IMAGE_DISKS.name]
    packed = ", ".join(f"{column.name} := {column.name}" for column in DISK_FIELDS)
    return f"""
        select
            image.* exclude (disk_count, unsized_disk_count, disk_size_gib),
            coalesce(disk.disk_count, 0) as disk_count,
            coalesce(disk.unsized_disk_count, 0) as unsized_disk_count,
            disk.disk_size_gib,
            coalesce(disk.disks, []) as disks
        from ({scan_files(IMAGES, paths, where=_until(None, _not_here(files, paths)))}) as image
        left join (
            select
                account, observed_at_utc, image_id, count(*) as disk_count,
                count(*) - count(disk_size_gib) as unsized_disk_count,
                cast(sum(disk_size_gib) as bigint) as disk_size_gib,
                list(struct_pack({packed}) order by disk_number) as disks
            from ({scan_files(IMAGE_DISKS, disk_paths, where=_until(None, _not_here(files, disk_paths)))}) as one
            semi join ({among}) as wanted using (account, observed_at_utc, image_id)
            group by account, observed_at_utc, image_id
        ) as disk using (account, observed_at_utc, image_id)
        semi join ({among}) as wanted using (account, observed_at_utc, image_id)"""  # noqa: S608


_FIELDS: Final = ", ".join(column.name for column in IMAGE_FIELDS)


def _hashed(columns: str) -> str:
    """Hash columns of one row of several: twice, as the rows are xor-ed.

    DuckDB xors the last column to what the others come to: two rows that exchange it would come to the same.
    """
    return f"hash(hash({columns}))"


def fingerprints(files: FileSet, where: str = "") -> str:
    """Each image of each plain file that is read, and a fingerprint of its values and its disks.

    `where` is a condition on the image_id: those of a slice.
    """
    paths, disk_paths = files.of[IMAGES.name], files.of[IMAGE_DISKS.name]
    of_disk = ", ".join(column.name for column in DISK_FIELDS)
    return f"""
        select account, observed_at_utc, image_id, hash(disk.fingerprint, {_FIELDS}) as fingerprint
        from ({scan_files(IMAGES, paths, where=_until(None, _not_here(files, paths), where))}) as image
        left join (
            select account, observed_at_utc, image_id, bit_xor({_hashed(of_disk)}) as fingerprint
            from ({scan_files(IMAGE_DISKS, disk_paths, where=_until(None, _not_here(files, disk_paths), where))}) as one
            group by account, observed_at_utc, image_id
        ) as disk using (account, observed_at_utc, image_id)"""  # noqa: S608


def fingerprinted(stretches: str) -> str:
    """The instants of stretches, and the fingerprint that `prints` gives a sighting in them."""
    of_disk = ", ".join(f"disk.{column.name}" for column in DISK_FIELDS)
    of_disks = f"list_aggregate(list_transform(disks, lambda disk: {_hashed(of_disk)}), 'bit_xor')"
    return (
        "select account, image_id, first_seen_utc, last_seen_utc, life_began_utc, previous_seen_utc, "
        f"hash({of_disks}, {_FIELDS}) as fingerprint\nfrom (\n{stretches}\n) as stretch"
    )
