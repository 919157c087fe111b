"""The lake as a DuckDB database: every table, view and column described.

    tables.py ──► images, image_disks, rejects, observations, pages     over the exact committed files
                  images_latest, image_disks_latest                     over the latest files alone
    *.sql ──────► capacity_by_region, image_age, image_changes, …       one file a view

`connect` runs the script that `views_sql` prints: there is one source. Where
`lake.duckdb` was made by that script from the same files, it copies the views
from there, which is the same and takes a tenth of the time. A view's file says
what one row is, what it reads (`-- Reads: …`), and after each column what it
means; a column that says nothing means what it means where it was read. It may
show a query (`-- Example: …`). Where
a view begins with `settings`, it is a table macro as well, which takes them:

    from stale_images                                 with the settings of its file
    from stale_images(older_than_days := 90)          with one's own
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import json
import re
from collections import Counter
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.bucket import AT_HAND, is_bucket, let_read, meet, place
from pipeline.errors import BadQuery, BadSetting, LakeDamaged
from pipeline.folded import RECORDS
from pipeline.spelling import file_named, quoted
from pipeline.tables import IMAGE_DISKS, IMAGE_VERSIONS, IMAGES, OBSERVATIONS, PAGES, REJECTS, TABLES
from pipeline.views.catalogue import Draft, copied
from pipeline.views.lives import clipped, lives, numbered, valued
from pipeline.views.moments import moment
from pipeline.views.reading import (
    Files,
    Latest,
    covered,
    empty,
    fingerprinted,
    instant,
    latest_paths,
    latest_rows,
    observations,
    pages,
    prints,
    rejects,
    rows,
    sightings,
    stretches,
)
from pipeline.views.thresholds import Setting, Thresholds, set_otherwise, settings_of, with_parameters

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import duckdb

    from pipeline.schema import Table
    from pipeline.taken_out import TakenOut

_UNITS: Final = {"gib": "GiB", "utc": "UTC", "days": "days", "hours": "hours", "seconds": "s"}
LATEST: Final = {"images_latest": IMAGES, "image_disks_latest": IMAGE_DISKS}
_LATEST_EXAMPLES: Final = {
    "images_latest": "select image_id, image_name from images_latest where platform = 'centos'",
    "image_disks_latest": "select image_id, disk_size_gib from image_disks_latest where disk_format = 'raw'",
}
_HERE: Final = Path(__file__).parent
AS_OF: Final = "asked_as_of"
"""The macro that answers with the instant that a connection was asked to show the lake as of; null: as it is now."""
_THRESHOLDS: Final = "asked_thresholds"
"""The macro that answers with the thresholds that a connection was asked for, as JSON."""


# ── what there is ────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Described:
    """A column of a table or view: what it means, its unit, and the API field (None: added here)."""

    name: str
    doc: str
    unit: str | None
    api: str | None = None

    @property
    def comment(self) -> str:
        """Meaning, unit and API field in one line, as a comment in DuckDB."""
        parts = [self.doc]
        if self.unit:
            parts.append(f"Unit: {self.unit}.")
        if self.api:
            parts.append(f"API: {self.api}.")
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or view: what one row is, what it reads, its columns in order, and for a view its query."""

    name: str
    is_view: bool
    grain: str
    reads: tuple[str, ...]
    columns: tuple[Described, ...]
    key: tuple[str, ...] = ()
    query: str | None = None
    """The text of the `.sql` file; None where the query depends on the lake's files."""
    settings: tuple[Setting, ...] = ()
    """What `name(setting := value, …)` takes; empty where there is no such macro."""
    example: str = ""
    """A query that shows what it is for."""


@functools.cache
def relations() -> dict[str, Relation]:
    """Every table and view by name: the tables first, then each view after what it reads."""
    found = {table.name: _of_table(table, table.name, grain=table.grain) for table in TABLES}
    for name, table in LATEST.items():
        grain = f"The rows of `{table.name}` in each account's last published observation. {table.grain}"
        found[name] = _of_table(table, name, grain=grain, reads=(table.name, OBSERVATIONS.name))
        found[name] = replace(found[name], example=_LATEST_EXAMPLES[name])
    texts = {path.stem: path.read_text("utf-8") for path in sorted(_HERE.glob("*.sql"))}
    order = TopologicalSorter({name: _reads(text) for name, text in texts.items()})
    for name in order.static_order():
        if name in texts:
            found[name] = _of_file(name, texts[name], found)
    return found


def relations_in(con: duckdb.DuckDBPyConnection) -> dict[str, Relation]:
    """Every table and view by name, as this connection has them: by the thresholds that it was asked for."""
    said = json.loads(con.execute(f"select {_THRESHOLDS}()").fetchall()[0][0])
    return {**relations(), **set_otherwise(relations(), said)}


def check_thresholds(said: Thresholds) -> None:
    """Refuse thresholds that no view has.

    Raises:
        BadSetting: there is no such view, no such threshold, or a value makes no sense.
    """
    set_otherwise(relations(), said)


def _of_table(table: Table, name: str, *, grain: str, reads: tuple[str, ...] = ()) -> Relation:
    columns = tuple(Described(column.name, column.doc, column.unit, column.api) for column in table.columns)
    return Relation(
        name, is_view=bool(reads), grain=grain, reads=reads, columns=columns, key=table.key, example=table.example
    )


def _header(text: str) -> list[str]:
    lines = text.splitlines()
    end = next(number for number, line in enumerate(lines) if not line.startswith("--"))
    return [line[2:].strip() for line in lines[:end]]


def _reads(text: str) -> tuple[str, ...]:
    said = next(line for line in _header(text) if line.startswith("Reads: "))
    return tuple(name.strip() for name in said.removeprefix("Reads: ").rstrip(".").split(","))


def _of_file(name: str, text: str, known: dict[str, Relation]) -> Relation:
    """Read a view's file: its header, and the columns of its last select with the comments after them."""
    reads = _reads(text)
    inherited = {column.name: column for read in reversed(reads) for column in known[read].columns}
    columns = []
    for column, doc in _said_columns(text):
        if doc is None:
            columns.append(inherited[column])
        else:
            columns.append(Described(column, doc, _UNITS.get(column.rpartition("_")[2])))
    grain = " ".join(line for line in _header(text) if line and not line.startswith(("Reads: ", "Example: ")))
    return Relation(
        name,
        is_view=True,
        grain=grain,
        reads=reads,
        columns=tuple(columns),
        query=text,
        settings=settings_of(text),
        example=_example(name, text),
    )


def _said_columns(text: str) -> list[tuple[str, str | None]]:
    """Name the columns of the last select, each with the comment on its last line, if it has one."""
    body = text[text.rindex("\nselect\n") + len("\nselect\n") :]
    body = body[: body.index("\nfrom ")]
    found = []
    depth = 0
    lines = body.splitlines()
    for number, line in enumerate(lines):
        code, _, doc = (part.strip() for part in line.partition(" -- "))
        depth += code.count("(") - code.count(")")
        if depth == 0 and (code.endswith(",") or number == len(lines) - 1):
            name = re.split(r"[\s.]", code.rstrip(","))[-1]
            found.append((name, doc or None))
    return found


def _example(name: str, text: str) -> str:
    """Read the example in a view's header; where it says none, the first rows are one."""
    said = [line.removeprefix("Example: ") for line in _header(text) if line.startswith("Example: ")]
    return said[0] if said else f"select * from {name} limit 10"  # noqa: S608  (a known name)


# ── the script ───────────────────────────────────────────────────────────────


def views_sql(
    data: str | Path = "data", *, as_of: str | dt.date | None = None, thresholds: Thresholds | None = None
) -> str:
    """Write the script that gives any DuckDB the tables and views of this lake, described: paths are absolute.

    With `as_of`, the lake as it was then, with `thresholds` the views by those: see `connect`.

    Raises:
        BadSetting: `as_of` or `thresholds` mean nothing, or there was no observation by then.
        LakeMissing: no run was ever committed there.
        LakeDamaged: a commit record cannot be read.
    """
    import duckdb

    files = Files.under(data)
    with duckdb.connect() as con:
        let_read(con, data)
        cut = None if as_of is None else moment(as_of, _published(con, files))
        return script_over(files, Known.of(con, files, cut), cut) + _set_otherwise(thresholds)


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

    otherwise = _set_otherwise(thresholds)
    files = Files.under(data)
    con = duckdb.connect()
    try:
        let_read(con, data)
        cut = None if as_of is None else moment(as_of, _published(con, files))
        if cut is not None or not copied(con, place(data), files.fingerprint()):
            con.execute(script_over(files, Known.of(con, files, cut), cut)).fetchall()
        if otherwise:
            con.execute(otherwise).fetchall()
        if only_lake:
            _close_every_door_but(con, files.everything())
    except BaseException:
        con.close()
        raise
    return con


def moments(data: str | Path, *said: str | dt.date) -> list[dt.datetime]:
    """Read what a user calls moments, each as the last instant that is shown; `latest` ends with time itself.

    Raises:
        BadSetting: one means nothing, or there was no published observation by then; the message names the first.
        LakeMissing: no run was ever committed there.
        LakeDamaged: a commit record cannot be read.
    """
    import duckdb

    with duckdb.connect() as con:
        let_read(con, data)
        published = _published(con, Files.under(data))
    if not published:
        raise BadSetting(f"nothing is published in {str(data)!r} yet: `ens-images status` says why")
    return [moment(one, published) or dt.datetime.max for one in said]  # noqa: DTZ901  (UTC without a zone, as everywhere)


def connect_empty() -> duckdb.DuckDBPyConnection:
    """Open a lake without a row: every table and view, typed and described. It needs no data folder."""
    import duckdb

    con = duckdb.connect()
    con.execute(
        script_over(Files({table.name: () for table in TABLES}), Known((), frozenset(), frozenset()))
    ).fetchall()
    return con


def write_catalogue(
    data: str | Path = "data", without: TakenOut | None = None, draft: Draft | None = None
) -> Path | None:
    """Make `lake.duckdb` anew beside the old one and swap it in by rename: the views, with absolute paths.

    An open reader keeps the file that it opened. DuckDB 1.5 and later can read it, whichever of them wrote it.
    A bucket has none.
    Call it after whatever adds files, and before what takes them away (`without` is the record about to be
    written): `connect` is slow, though right, where it lags behind. `draft` is one that was begun before.

    Raises:
        LakeMissing: no run was ever committed there.
        LakeDamaged: a commit record cannot be read.
    """
    if is_bucket(place(data)):
        return None
    files = Files.under(data, without)
    with contextlib.nullcontext(draft) if draft else Draft(Path(data), _frame()) as begun:
        with begun.reader() as con:
            known = Known.of(con, files)
        return begun.finish(_filled(files, known), files.fingerprint())


def draft_catalogue(data: str | Path) -> contextlib.AbstractContextManager[Draft | None]:
    """Begin `lake.duckdb` while there is something else to do: all of it that does not follow from the files."""
    return contextlib.nullcontext() if is_bucket(place(data)) else Draft(Path(data), _frame())


@dataclass(frozen=True, slots=True)
class Known:
    """What the commit records say of the observations that stand: how much of each account is folded, and how well."""

    latest: tuple[Latest, ...]
    """Each account's last published observation."""
    new: frozenset[str]
    """Accounts that were observed since they were folded, or were never folded."""
    disordered: frozenset[str]
    """Accounts of which a folded observation was withdrawn, or an earlier one came after the fold."""
    says_disks: bool = False
    """Whether the files of the latest observations all say what the disks of an image come to."""

    @classmethod
    def of(cls, con: duckdb.DuckDBPyConnection, files: Files, as_of: dt.datetime | None = None) -> Known:
        """Read the commit records, and make sure that what was published is there.

        Raises:
            LakeDamaged: a commit record cannot be read, or a file that it stands for is missing.
        """
        rows = _published(con, files)
        unfolded = {path.stem for path in files.of[OBSERVATIONS.name]}
        _refuse_missing(files, {row.run_id for row in rows if row.run_id in unfolded})
        half = set(files.half_folded)
        folded_runs = files.fold.covered if files.fold else {}
        held = Counter(account for accounts in folded_runs.values() for account in accounts)
        mine: dict[str, tuple[list[Latest], list[Latest]]] = {account: ([], []) for account in held}
        for row in rows:
            is_folded = row.run_id not in unfolded or (row.run_id, row.account) in half
            mine.setdefault(row.account, ([], []))[0 if is_folded else 1].append(row)
        new, disordered = set(), set()
        for account, (folded, others) in mine.items():
            seen = [row.observed_at_utc for row in others if as_of is None or row.observed_at_utc <= as_of]
            if len(folded) != held.get(account, 0) or (seen and folded and seen[0] < folded[-1].observed_at_utc):
                disordered.add(account)
            elif seen:
                new.add(account)
        last = {row.account: row for row in rows if as_of is None or row.observed_at_utc <= as_of}
        latest = tuple(last.values())
        return cls(latest, frozenset(new), frozenset(disordered), _says_disks(con, files, latest))


def _says_disks(con: duckdb.DuckDBPyConnection, files: Files, latest: Sequence[Latest]) -> bool:
    """Whether the latest observations' plain files have the column; the stretches that stand for others always do."""
    import duckdb

    paths = list(latest_paths(IMAGES, files, latest).values())
    if not paths:
        return bool(latest)
    meet(paths)
    query = "select count(*) from parquet_schema($1) where name = 'unsized_disk_count'"
    try:
        return bool(con.execute(query, [list(map(file_named, paths))]).fetchall()[0][0] == len(paths))
    except duckdb.Error:  # a torn file: whoever reads it is told
        return False


def _published(con: duckdb.DuckDBPyConnection, files: Files) -> list[Latest]:
    """Every published observation that stands, in order."""
    import duckdb

    names = ("account", "observed_at_utc", "observed_on", "run_id", "is_published")
    records = files.of[OBSERVATIONS.name]
    found: list[Latest] = []
    try:
        for start in range(0, max(len(records), 1), AT_HAND):  # of a bucket's no more than stay at hand
            some = records[start : start + AT_HAND]
            meet(some)
            here = replace(files, of={**files.of, OBSERVATIONS.name: some}, folded={} if start else files.folded)
            rows = con.execute(
                "select account, observed_at_utc, observed_on, run_id "  # noqa: S608  (of our own making)
                f"from ({observations(here, None, names)}) as record where is_published"
            ).fetchall()
            found += [Latest(*row) for row in rows]
    except duckdb.Error as error:
        first = next(iter(files.of[OBSERVATIONS.name] or files.folded.get(RECORDS, ())))
        raise LakeDamaged(
            f"a commit record in {str(first.parents[1])!r} cannot be read: {first_lines(error)}"
        ) from error
    return sorted(found, key=lambda one: (one.account, one.observed_at_utc or dt.datetime.max, one.run_id))  # noqa: DTZ901  (as above)


def _refuse_missing(files: Files, runs: set[str]) -> None:
    for table in (IMAGES, IMAGE_DISKS, REJECTS):
        for run_id in sorted(runs - {path.stem for path in files.of[table.name]}):
            raise LakeDamaged(
                f"the file of {table.name} of run {run_id} is missing: `ens-images check` lists all that is not whole, "
                "`ens-images rebuild` makes it anew from the raw pages"
            )


def script_over(files: Files, known: Known, as_of: dt.datetime | None = None) -> str:
    """Write the whole script, over files and what is known of them.

    A view is bound when it is made, and binding looks at every file that it reads. So the tables come first as empty
    ones, the views over them, and then the tables in their place: a thousand files are looked at once, not once a view.
    """
    return _frame() + _filled(files, known, as_of)


def _frame() -> str:
    """Write what is the same for every lake."""
    every = relations()
    parts = ["-- The tables, typed and still empty, and the views over them.\n"]
    parts += [_view(name, empty(table)) for name, table in _tables().items()]
    parts += [_view(name, relation.query) for name, relation in every.items() if relation.query]
    parts += [_macro(relation) for relation in every.values() if relation.settings]
    parts.append(f"create or replace macro {_THRESHOLDS}() as '{{}}';\n\n")
    parts += [_comments(relation) for relation in every.values() if relation.query]
    return "".join(parts)


def _set_otherwise(thresholds: Thresholds | None) -> str:
    """Write the views that these thresholds change, and what they are."""
    if not thresholds:
        return ""
    changed = set_otherwise(relations(), thresholds).values()
    parts = [_view(one.name, one.query or "") + _macro(one) + _comments(one) for one in changed]
    return f"{''.join(parts)}create or replace macro {_THRESHOLDS}() as {quoted(json.dumps(thresholds))};\n"


def _filled(files: Files, known: Known, as_of: dt.datetime | None = None) -> str:
    """Write what follows from the files of one lake, and as of when it is shown."""
    parts = ["-- The tables, over the files of committed runs.\n"]
    if any(files.of.values()) or files.fold:
        parts += [
            _view(IMAGES.name, rows(IMAGES, files, as_of)),
            _view(IMAGE_DISKS.name, rows(IMAGE_DISKS, files, as_of)),
            _view(REJECTS.name, rejects(files, as_of)),
            _view(OBSERVATIONS.name, observations(files, as_of)),
            _view(PAGES.name, pages(files, as_of)),
            _view(IMAGE_VERSIONS.name, _versions(files, known, as_of)),
        ]
    parts += [_view(name, latest_rows(table, files, known.latest)) for name, table in LATEST.items() if known.latest]
    parts += [_comments(relation) for relation in relations().values() if not relation.query]
    if known.says_disks:
        capacity = relations()["image_capacity"]
        parts += [_view(capacity.name, _without_disks(capacity.query or "")), _comments(capacity)]
    said = "null" if as_of is None else instant(as_of)
    parts.append(f"create or replace macro {AS_OF}() as cast({said} as timestamp);\n")
    return "".join(parts)


_READING_DISKS: Final = re.compile(r"^with unsaid as .*?^\)\n(?=\nselect\n)", re.MULTILINE | re.DOTALL)


def _without_disks(query: str) -> str:
    """Have `image_capacity` read no disks, where all files tell them: to look for others is half its time."""
    return _READING_DISKS.sub(f"with disks as (\n{empty(IMAGES)}\n)\n", query)


def _comments(relation: Relation) -> str:
    """Say what a table or view means, and each of its columns."""
    said = [(f"view {relation.name}", relation.grain)]
    said += [(f"column {relation.name}.{column.name}", column.comment) for column in relation.columns]
    return "".join(f"comment on {what} is {quoted(meaning)};\n" for what, meaning in said)


def _versions(files: Files, known: Known, as_of: dt.datetime | None) -> str:
    """Write `image_versions`: the fold's stretches as they are; of what is not folded, or not so any more, anew."""
    parts = []
    anew = known.new | known.disordered
    if files.fold is not None:
        kept = [stretches(files, ended=True, still_open=False, accounts=_but(known.disordered))]
        kept.append(stretches(files, ended=False, accounts=_but(anew)))
        parts.append("\nunion all\n".join(kept))
        if as_of is not None:
            cuts = " union all ".join(
                f"select {quoted(one.account)} as account, {instant(one.observed_at_utc)} as cut_utc"
                for one in known.latest
            )
            parts = [clipped(parts[0], cuts or "select null as account, null::timestamp as cut_utc where false")]
    if anew:
        parts.append(f"select * from (\n{_made_anew(files, known, as_of)}\n) as anew")  # noqa: S608
    return "\nunion all\n".join(parts) or empty(IMAGE_VERSIONS)


def _made_anew(files: Files, known: Known, as_of: dt.datetime | None) -> str:
    """Make the stretches of accounts that are not folded to the end, or not in order."""
    names = ("account", "observed_at_utc", "run_id", "is_published", "certificate")
    anew, new, disordered = (_listed(one) for one in (known.new | known.disordered, known.new, known.disordered))
    observation = numbered(f"""
        select
            told.account,
            told.observed_at_utc,
            coalesce(told.certificate = 'verified', false) as is_verified,
            folded.account is not null as is_covered
        from ({observations(files, as_of, names)}) as told
        left join ({covered(files, as_of)}) as folded using (account, observed_at_utc)
        where told.is_published and told.account in ({anew})""")  # noqa: S608
    stretch = stretches(files, ended=False, accounts=f"account in ({new})")
    known_lives = fingerprinted(stretch)
    if known.disordered:
        every = stretches(files, ended=True, accounts=f"account in ({disordered})")
        forgotten = "null::timestamp as life_began_utc, null::timestamp as previous_seen_utc"
        known_lives += f"\nunion all\nselect * replace ({forgotten}) from ({fingerprinted(every)}) as one"
        stretch += f"\nunion all\n{every}"
    begun = "select account, first_seen_utc as observed_at_utc, image_id from living where valued_utc is null"
    return (
        f"with living as materialized (\n{lives(observation, known_lives, prints(files))}\n)\n"
        f"{valued('living', stretch, sightings(files, begun))}"
    )


def _but(accounts: Collection[str]) -> str:
    """The condition that leaves accounts out; where there are none, no condition, which would be asked of every row."""
    return f"account not in ({_listed(accounts)})" if accounts else ""


def _listed(names: Collection[str]) -> str:
    return ", ".join(map(quoted, sorted(names))) or "''"


def _tables() -> dict[str, Table]:
    return {**{table.name: table for table in TABLES}, **LATEST}


def _view(name: str, query: str) -> str:
    return f"create or replace view {name} as\n{query.rstrip()};\n\n"


def _macro(relation: Relation) -> str:
    """Make a view's query a table macro, its settings the parameters."""
    query = with_parameters(relations()[relation.name].query or "")  # as its file has it: a value may hold anything
    parameters = ", ".join(f"{one.name} := {one.default}" for one in relation.settings)
    said = " ".join(
        (relation.grain, "Settings:", *(f"{one.name} := {one.default}: {one.doc}" for one in relation.settings))
    )
    return (
        f"create or replace macro {relation.name}({parameters}) as table\n{query.rstrip()};\n\n"
        f"comment on macro table {relation.name} is {quoted(said)};\n\n"
    )


# ── SQL that somebody typed ──────────────────────────────────────────────────


def _close_every_door_but(con: duckdb.DuckDBPyConnection, paths: Sequence[str]) -> None:
    """Let the connection reach these files alone: nothing else is read, and no setting opens a door again."""
    asked = {*paths, *(file_named(path) for path in paths)}  # a pattern is looked at before what it finds
    con.execute("set allowed_paths = $1", [sorted(asked)]).fetchall()
    con.execute("set python_enable_replacements = false; set enable_external_access = false").fetchall()
    con.execute("set lock_configuration = true").fetchall()


def refuse_writes(con: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Let `sql` pass if all that it does is read.

    The locked connection forbids every file but the lake's own. Those it would let COPY overwrite (with
    `use_tmp_file false`), so a statement that copies, attaches or sets anything is not run at all.

    Raises:
        BadQuery: it does not parse, or does something else than read.
    """
    import duckdb

    try:
        statements = con.extract_statements(sql)
    except duckdb.Error as error:
        raise BadQuery(first_lines(error)) from error
    for statement in statements:
        text = statement.query.strip()
        kind = statement.type.name
        inner = re.fullmatch(r"explain\s+(?:analyze\s+)?(.*)", text, re.DOTALL | re.IGNORECASE)
        if kind == "EXPLAIN" and inner:
            refuse_writes(con, inner[1])
        elif kind not in {"SELECT", "MULTI", "CREATE"} or _copies(con, text):
            line = text.splitlines()[0][:80]
            raise BadQuery(f"only queries are run here, and this is none (--allow-files allows it): {line}")


def _copies(con: duckdb.DuckDBPyConnection, statement: str) -> bool:
    """Tell whether a COPY hides in the statement: DuckDB 2.0 allows one in a WITH."""
    if "copy" not in statement.lower():
        return False
    tree = con.execute("select json_serialize_sql($1::varchar)", [statement]).fetchall()[0][0]
    return '"error":true' in tree or re.search(r'"type":"[A-Z_]*COPY', tree) is not None


def first_lines(error: Exception) -> str:
    """DuckDB's own words, without the lines that only repeat the query at length."""
    lines = [line.rstrip() for line in str(error).splitlines() if line.strip()]
    return "\n".join(line[:200] for line in lines[:4])
