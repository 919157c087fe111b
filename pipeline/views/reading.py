"""The tables as SQL: over exactly the committed files, plain and folded.

    plain files of runs that are not folded ──┐
                                              ├──► images, image_disks, rejects, observations
    stretches, for the observations they span ────┘

A folded observation comes back from the stretches that span it, row for row.
What was withdrawn is left out; its row in `observations` says so. With an
`as_of`, everything is as it was then: no observation is later.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.bucket import place
from pipeline.folded import ENDED, OPEN, PLACES, RECORDS, REJECTED, Fold, fold_path
from pipeline.lake import committed_files
from pipeline.landing import landed
from pipeline.spelling import file_named, quoted
from pipeline.tables import (
    DISK_FIELDS,
    IMAGE_DISKS,
    IMAGE_FIELDS,
    IMAGE_VERSIONS,
    IMAGES,
    OBSERVATIONS,
    PAGES,
    REJECTS,
)
from pipeline.taken_out import TakenOut, taken_out

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Collection, Iterable, Sequence

    from pipeline.schema import Column, Table

_HERE: Final = Path(__file__).parent
NOTHING: Final = TakenOut()


@dataclass(frozen=True, slots=True)
class Files:
    """The files behind a lake's tables, the raw ones too, what was taken out of them, and what is folded."""

    of: dict[str, tuple[Path, ...]]
    """Of each table, the plain files that are read."""
    without: TakenOut = NOTHING
    fold: Fold | None = None
    folded: dict[str, tuple[Path, ...]] = field(default_factory=dict)
    """The fold's files, by folder."""
    standing: dict[str, tuple[Path, ...]] = field(default_factory=dict)
    """Of each table, the plain files of folded runs that still lie there."""

    @classmethod
    def under(cls, data: str | Path, without: TakenOut | None = None) -> Files:
        """List the files of committed runs under `data`, their raw files too; no table is opened.

        `without` stands for the record of what was taken out, for who is about to write it.

        Raises:
            LakeMissing: no run was ever committed there.
            LakeDamaged: the record of what was taken out cannot be read, or a fold.
        """
        folder = place(data).resolve()
        gone = taken_out(folder) if without is None else without  # read first: what is listed later stays for a grace
        committed = committed_files(folder, gone)
        fold = committed.fold
        shown = {path.stem for path in committed.of[OBSERVATIONS.name]} | set(fold.runs if fold else ())
        raw = tuple(path for path in landed(folder) if path.stem in shown - gone.raw_runs)
        folded = fold.files(folder) if fold else {}
        return cls({**committed.of, PAGES.name: raw}, gone, fold, folded, committed.standing)

    def everything(self) -> list[str]:
        """Every path, in order."""
        groups = (*self.of.values(), *self.folded.values(), *self.standing.values())
        return sorted(str(path) for paths in groups for path in paths)

    def fingerprint(self) -> str:
        """Digest what the script follows from: these paths, and the code and SQL that make it."""
        code = [path for path in sorted(_HERE.iterdir()) if path.suffix in {".py", ".sql"}]
        code += [_HERE.parent / "schema.py", _HERE.parent / "tables.py"]
        digest = hashlib.sha256()
        for path in code:
            digest.update(path.read_bytes())
        digest.update("\0".join(self.everything()).encode("utf-8", "surrogateescape"))
        digest.update(repr((self.without.active, self.fold and self.fold.name)).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    @property
    def half_folded(self) -> list[tuple[str, str]]:
        """Run and account of what is folded out of runs that are not folded whole."""
        if self.fold is None:
            return []
        found = self.fold.covered.items()
        return [(run, account) for run, accounts in found if run not in self.fold.runs for account in accounts]


# ── files as they lie there ──────────────────────────────────────────────────


def empty(table: Table) -> str:
    """No row, every column typed."""
    columns = ",\n".join(f"    cast(null as {column.duckdb_type}) as {column.name}" for column in table.columns)
    return f"select\n{columns}\nwhere false"


def over(table: Table, paths: Sequence[Path], *, names: Collection[str] = (), where: str = "") -> str:
    """Read exactly these files, with the declared types; a column that an old file lacks is what `extra` holds of it.

    The day comes from the folder's name here and not through `hive_partitioning`, which `schema` excludes, and which
    would take a `name=value` anywhere above the lake for a column too. With `names`, only those columns.
    """
    wanted = [column for column in table.columns if not names or column.name in names]
    if not paths:
        return f"select {', '.join(column.name for column in wanted)} from ({empty(table)}) as nothing"  # noqa: S608  (declared names, as everywhere here)
    declared = ",\n".join(
        f"        {quoted(column.name)}: "
        f"{{'name': {quoted(column.name)}, 'type': {quoted(column.duckdb_type)}, 'default_value': null}}"
        for column in wanted
        if not column.in_folder
    )
    said = _said_in_extra(wanted)
    columns = ",\n".join(
        f"    cast(regexp_extract(filename, '{column.name}=([0-9-]+)/[^/]*$', 1) as date) as {column.name}"
        if column.in_folder
        else f"    {said.get(column.name, column.name)}"
        for column in wanted
    )
    listed = ",\n".join(f"        {quoted(file_named(path))}" for path in paths)
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


# ── what was withdrawn, and what is folded ───────────────────────────────────


def pairs(of: Iterable[tuple[object, str]]) -> str:
    """Pairs as a list of SQL; never an empty one."""
    return ", ".join(f"({quoted(str(one))}, {quoted(other)})" for one, other in of) or "(null, null)"


def _said_of_withdrawals(gone: TakenOut) -> dict[str, str]:
    """What the columns of `observations` say that a withdrawal changes, as expressions."""
    if not gone.active:
        return {}
    cases = "".join(
        f" when run_id = {quoted(one.run_id)} and account = {quoted(one.account)} then {quoted(one.error)}"
        for one in gone.active
    )
    withdrawn = pairs((one.run_id, one.account) for one in gone.active)
    return {
        "is_published": f"is_published and (run_id, account) not in ({withdrawn}) as is_published",
        "error": f"case{cases} else error end as error",
    }


def _not_here(files: Files, paths: Sequence[Path], *, half_folded: bool = True) -> str:
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


def observations(files: Files, as_of: dt.datetime | None = None, names: Collection[str] = ()) -> str:
    """The commit records of every run, folded or not."""
    wanted = [column.name for column in OBSERVATIONS.columns if not names or column.name in names]
    needed = {*wanted, "run_id", "account", "observed_at_utc"}
    said = _said_of_withdrawals(files.without)
    plain = over(OBSERVATIONS, files.of[OBSERVATIONS.name], names=needed)
    both = [plain]
    if files.folded:
        both.append(over(PLACES[RECORDS], files.folded[RECORDS], names=needed))
    columns = ", ".join(said.get(name, name) for name in wanted)
    cut = "" if as_of is None else f"\nwhere coalesce(observed_at_utc, {_BEGAN}) <= {instant(as_of)}"
    return f"select {columns} from (\n" + "\nunion all by name\n".join(both) + f"\n) as record{cut}"  # noqa: S608


def rejects(files: Files, as_of: dt.datetime | None = None) -> str:
    """What could not be typed."""
    paths = files.of[REJECTS.name]
    # Rejects are folded with the last account of their run: up to then its plain file has them all.
    plain = over(REJECTS, paths, where=_until(as_of, _not_here(files, paths, half_folded=False)))
    if not files.folded.get(REJECTED):
        return plain
    withdrawn = pairs((one.run_id, one.account) for one in files.without.active)
    names = [column.name for column in REJECTS.columns]
    kept = over(
        PLACES[REJECTED], files.folded[REJECTED], where=_until(as_of, f"(run_id, account) not in ({withdrawn})")
    )
    return f"{plain}\nunion all\nselect {', '.join(names)} from (\n{kept}\n) as folded"


def pages(files: Files, as_of: dt.datetime | None = None) -> str:
    """What the service said."""
    last = "" if as_of is None else f"{as_of:%Y%m%dT%H%M%S.%f}~"
    return over(PAGES, [path for path in files.of[PAGES.name] if not last or path.stem <= last])


# ── stretches as they lie there ──────────────────────────────────────────────


def stretches(files: Files, *, ended: bool, still_open: bool = True, accounts: str = "") -> str:
    """The stretches in the fold's files, of the accounts that a condition names."""
    parts = []
    if files.fold is not None and ended and files.folded[ENDED]:
        folder = files.folded[ENDED][0].parents[2]
        void = pairs((fold_path(folder, ENDED, one.fold), name) for one in files.fold.ended for name in one.void)
        has_void = any(one.void for one in files.fold.ended)
        where = " and ".join(filter(None, (accounts, f"(filename, account) not in ({void})" if has_void else "")))
        parts.append(over(IMAGE_VERSIONS, files.folded[ENDED], where=where))
    if files.fold is not None and still_open:
        parts.append(over(IMAGE_VERSIONS, files.folded[OPEN], where=accounts))
    return "\nunion all\n".join(parts) or empty(IMAGE_VERSIONS)


def covered(files: Files, as_of: dt.datetime | None = None) -> str:
    """The published observations that the stretches hold: account, observed_at_utc, observed_on."""
    plain = ", ".join(quoted(path.stem) for path in files.of[OBSERVATIONS.name]) or "''"
    both = observations(files, as_of, ("account", "observed_at_utc", "observed_on", "run_id", "is_published"))
    return (
        f"select account, observed_at_utc, observed_on from (\n{both}\n) as told\nwhere is_published and "  # noqa: S608
        f"(coalesce(run_id not in ({plain}), true) or (run_id, account) in ({pairs(files.half_folded)}))"
    )


def unfolded(table: Table, versions: str, spanned: str) -> str:
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


def rows(table: Table, files: Files, as_of: dt.datetime | None = None) -> str:
    """Write `images` or `image_disks`: every observation, folded or not."""
    paths = files.of[table.name]
    plain = over(table, paths, where=_until(as_of, _not_here(files, paths)))
    if files.fold is None:
        return plain
    from_fold = unfolded(table, stretches(files, ended=True), covered(files, as_of))
    return f"{plain}\nunion all\n{from_fold}" if paths else from_fold


def sightings(files: Files, among: str) -> str:
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
        from ({over(IMAGES, paths, where=_until(None, _not_here(files, paths)))}) as image
        left join (
            select
                account, observed_at_utc, image_id, count(*) as disk_count,
                count(*) - count(disk_size_gib) as unsized_disk_count,
                cast(sum(disk_size_gib) as bigint) as disk_size_gib,
                list(struct_pack({packed}) order by disk_number) as disks
            from ({over(IMAGE_DISKS, disk_paths, where=_until(None, _not_here(files, disk_paths)))}) as one
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


def prints(files: Files, where: str = "") -> str:
    """Each image of each plain file that is read, and a fingerprint of its values and its disks.

    `where` is a condition on the image_id: those of a slice.
    """
    paths, disk_paths = files.of[IMAGES.name], files.of[IMAGE_DISKS.name]
    of_disk = ", ".join(column.name for column in DISK_FIELDS)
    return f"""
        select account, observed_at_utc, image_id, hash(disk.fingerprint, {_FIELDS}) as fingerprint
        from ({over(IMAGES, paths, where=_until(None, _not_here(files, paths), where))}) as image
        left join (
            select account, observed_at_utc, image_id, bit_xor({_hashed(of_disk)}) as fingerprint
            from ({over(IMAGE_DISKS, disk_paths, where=_until(None, _not_here(files, disk_paths), where))}) as one
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


# ── the latest ───────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Latest:
    """An account's last published observation: when, on which day, and by which run."""

    account: str
    observed_at_utc: dt.datetime
    observed_on: dt.date
    run_id: str


def latest_paths(table: Table, files: Files, latest: Sequence[Latest]) -> dict[str, Path]:
    """The plain files of the latest observations, by run; those that are gone are left out."""
    lying = {path.stem: path for path in (*files.standing.get(table.name, ()), *files.of[table.name])}
    return {run: lying[run] for run in sorted({one.run_id for one in latest} & lying.keys())}


def latest_rows(table: Table, files: Files, latest: Sequence[Latest]) -> str:
    """Read each account's latest observation: its plain file, or where that is gone the stretches that span it."""
    lying = latest_paths(table, files, latest)
    paths = list(lying.values())
    parts = []
    plain = [(one.account, one.observed_at_utc) for one in latest if one.run_id in lying]
    if len(plain) == 1:  # the file's statistics answer this; they do not answer a list of pairs
        ((account, at),) = plain
        said = f"account = {quoted(account)} and observed_at_utc = {instant(at)}"
        parts.append(f"select * from (\n{over(table, paths)}\n) as published\nwhere {said}")  # noqa: S608
    elif plain:
        kept = ",\n".join(f"    ({quoted(account)}, {instant(at)})" for account, at in plain)
        parts.append(
            f"select * from (\n{over(table, paths)}\n) as published\nwhere (account, observed_at_utc) in (\n{kept}\n)"  # noqa: S608
        )
    others = [one for one in latest if one.run_id not in lying]
    if others and files.fold is not None:
        spanned = " union all ".join(
            f"select {quoted(one.account)} as account, {instant(one.observed_at_utc)} as observed_at_utc, "
            f"date '{one.observed_on}' as observed_on"
            for one in others
        )
        parts.append(unfolded(table, stretches(files, ended=True), spanned))
    return "\nunion all\n".join(parts) or empty(table)
