"""The lake as a DuckDB database: every table, view and column described.

    tables.py ──► images, image_disks, rejects, observations, pages     over the exact committed files
                  images_latest, image_disks_latest                     over the latest files alone
    *.sql ──────► capacity_by_region, image_age, image_changes, …       one file a view

`connect` runs the script that `views_sql` prints: there is one source. Where
`lake.duckdb` was made by that script from the same files, it copies the views
from there, which is the same and takes a tenth of the time. A view's file says
what one row is, what it reads (`-- Reads: …`), and after each column what it
means; a column that says nothing means what it means where it was read. Where
a view begins with `settings`, it is a table macro as well, which takes them:

    from stale_images                                 with the settings of its file
    from stale_images(older_than_days := 90)          with one's own
"""

from __future__ import annotations

import functools
import hashlib
import re
import tempfile
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.errors import BadQuery, LakeDamaged
from pipeline.lake import committed_files
from pipeline.landing import landed, put_in_place
from pipeline.spelling import quoted
from pipeline.tables import IMAGE_DISKS, IMAGES, OBSERVATIONS, PAGES, REJECTS, TABLES
from pipeline.taken_out import TakenOut, taken_out

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import duckdb

    from pipeline.schema import Column, Table

_UNITS: Final = {"gib": "GiB", "utc": "UTC", "days": "days", "hours": "hours", "seconds": "s"}
_LATEST: Final = {"images_latest": IMAGES, "image_disks_latest": IMAGE_DISKS}
_HERE: Final = Path(__file__).parent
_NOTHING: Final = TakenOut()
_STAMP: Final = "made_from"
"""The macro in `lake.duckdb` that answers with the fingerprint of what it was made from."""


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
class Setting:
    """A threshold of a view that is a table macro as well: its default as SQL, and what it means."""

    name: str
    default: str
    doc: str

    @property
    def kind(self) -> str:
        """Its type as DuckDB spells it."""
        return "VARCHAR" if self.default.startswith("'") else "INTEGER"


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


@functools.cache
def relations() -> dict[str, Relation]:
    """Every table and view by name: the tables first, then each view after what it reads."""
    found = {table.name: _of_table(table, table.name, grain=table.grain) for table in TABLES}
    for name, table in _LATEST.items():
        grain = f"The rows of `{table.name}` in each account's last published observation. {table.grain}"
        found[name] = _of_table(table, name, grain=grain, reads=(table.name, OBSERVATIONS.name))
    texts = {path.stem: path.read_text("utf-8") for path in sorted(_HERE.glob("*.sql"))}
    order = TopologicalSorter({name: _reads(text) for name, text in texts.items()})
    for name in order.static_order():
        if name in texts:
            found[name] = _of_file(name, texts[name], found)
    return found


def _of_table(table: Table, name: str, *, grain: str, reads: tuple[str, ...] = ()) -> Relation:
    columns = tuple(Described(column.name, column.doc, column.unit, column.api) for column in table.columns)
    return Relation(name, is_view=bool(reads), grain=grain, reads=reads, columns=columns, key=table.key)


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
    grain = " ".join(line for line in _header(text) if line and not line.startswith("Reads: "))
    return Relation(
        name, is_view=True, grain=grain, reads=reads, columns=tuple(columns), query=text, settings=_settings(text)
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


_SETTINGS: Final = re.compile(r"^with settings as \(\n    select\n(.*?)^\)", re.MULTILINE | re.DOTALL)
_SETTING: Final = re.compile(r"^( +)(.+) as (\w+)(,?) +-- (.*)$", re.MULTILINE)


def _settings(text: str) -> tuple[Setting, ...]:
    """Read the settings with which a view's file may begin: each a value, a name, and a comment."""
    found = _SETTINGS.search(text)
    return tuple(Setting(one[3], one[2], one[5]) for one in _SETTING.finditer(found[1])) if found else ()


# ── the script ───────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Files:
    """The files behind a lake's tables, the raw ones too, and what was taken out of them."""

    of: dict[str, tuple[Path, ...]]
    without: TakenOut = _NOTHING

    @classmethod
    def under(cls, data: str | Path, without: TakenOut | None = None) -> Files:
        """List the files of committed runs under `data`, their raw files too; no table is opened.

        `without` stands for the record of what was taken out, for who is about to write it.

        Raises:
            LakeMissing: no run was ever committed there.
            LakeDamaged: the record of what was taken out cannot be read.
        """
        folder = Path(data).resolve()
        gone = taken_out(folder) if without is None else without  # read first: what is listed later stays for a grace
        committed = committed_files(folder, gone).of
        shown = {path.stem for path in committed[OBSERVATIONS.name]} - gone.raw_runs
        raw = tuple(path for path in landed(folder) if path.stem in shown)
        return cls({**committed, PAGES.name: raw}, gone)

    def everything(self) -> list[str]:
        """Every path, in order."""
        return sorted(str(path) for paths in self.of.values() for path in paths)

    def fingerprint(self) -> str:
        """Digest what the script follows from: these paths, and the code and SQL that make it."""
        code = [path for path in sorted(_HERE.iterdir()) if path.suffix in {".py", ".sql"}]
        code += [_HERE.parent / "schema.py", _HERE.parent / "tables.py"]
        digest = hashlib.sha256()
        for path in code:
            digest.update(path.read_bytes())
        digest.update("\0".join(self.everything()).encode("utf-8", "surrogateescape"))
        digest.update(repr(self.without.active).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class _Latest:
    """An account's last published observation: when, and by which run."""

    account: str
    observed_at_utc: str
    run_id: str


def views_sql(data: str | Path = "data") -> str:
    """Write the script that gives any DuckDB the tables and views of this lake, described: paths are absolute.

    Raises:
        LakeMissing: no run was ever committed there.
        LakeDamaged: a commit record cannot be read.
    """
    import duckdb

    files = Files.under(data)
    with duckdb.connect() as con:
        return _script(files, _latest_observations(con, files))


def connect(data: str | Path = "data", *, only_lake: bool = False) -> duckdb.DuckDBPyConnection:
    """Open the lake: a plain in-memory DuckDB connection with its tables and views, each described.

    The connection sees the lake as it is now, and goes on seeing that. With `only_lake` it reaches no other
    file, loads no extension and cannot be set otherwise: for SQL that somebody typed (see `refuse_writes`).

    Raises:
        LakeMissing: no run was ever committed there.
        LakeDamaged: a commit record cannot be read.
    """
    import duckdb

    files = Files.under(data)
    con = duckdb.connect()
    try:
        if not _copy_catalogue(con, _catalogue(data), files.fingerprint()):
            con.execute(_script(files, _latest_observations(con, files))).fetchall()
        if only_lake:
            _close_every_door_but(con, files.everything())
    except BaseException:
        con.close()
        raise
    return con


def connect_empty() -> duckdb.DuckDBPyConnection:
    """Open a lake without a row: every table and view, typed and described. It needs no data folder."""
    import duckdb

    con = duckdb.connect()
    con.execute(_script(Files({table.name: () for table in TABLES}), [])).fetchall()
    return con


def write_catalogue(data: str | Path = "data", without: TakenOut | None = None) -> Path:
    """Make `lake.duckdb` anew beside the old one and swap it in by rename: the views, with absolute paths.

    An open reader keeps the file that it opened. DuckDB 1.5 and later can read it, whichever of them wrote it.
    Call it after whatever adds files, and before what takes them away (`without` is the record about to be
    written): `connect` is slow, though right, where it lags behind.

    Raises:
        LakeMissing: no run was ever committed there.
        LakeDamaged: a commit record cannot be read.
    """
    import duckdb

    files = Files.under(data, without)
    final = _catalogue(data)
    with tempfile.TemporaryDirectory(prefix=".lake.duckdb.", dir=final.parent) as aside:
        path = Path(aside) / final.name
        with duckdb.connect() as con:
            script = _script(files, _latest_observations(con, files))
            con.execute(f"attach {quoted(path)} as lake (storage_version 'v1.5.0'); use lake").fetchall()
            con.execute(f"begin; {script} create macro {_STAMP}() as '{files.fingerprint()}'; commit").fetchall()
            con.execute("use memory; detach lake").fetchall()
        put_in_place(path, final)
    return final


def _catalogue(data: str | Path) -> Path:
    return Path(data).resolve() / "lake.duckdb"


def _copy_catalogue(con: duckdb.DuckDBPyConnection, path: Path, fingerprint: str) -> bool:
    """Copy the views of the catalogue if it was made by this code from these files; else leave no trace."""
    import duckdb

    if not path.is_file():
        return False
    try:
        con.execute(f"attach {quoted(path)} as catalogue (read_only)").fetchall()
    except duckdb.Error:
        return False  # no database, one of a newer DuckDB, or one that somebody holds open for writing
    try:
        made_from = con.execute(f"select catalogue.main.{_STAMP}()").fetchall()[0][0]
        if made_from == fingerprint:
            con.execute(f"copy from database catalogue to memory (schema); drop macro {_STAMP}").fetchall()
    except duckdb.Error:
        made_from = None
    con.execute("detach catalogue").fetchall()
    return bool(made_from == fingerprint)


def _latest_observations(con: duckdb.DuckDBPyConnection, files: Files) -> list[_Latest]:
    """Find each account's last published observation, and make sure that what was published is there.

    Raises:
        LakeDamaged: a commit record cannot be read, or a file that it stands for is missing.
    """
    import duckdb

    paths = files.of[OBSERVATIONS.name]
    records = _over(OBSERVATIONS, files, paths, ("account", "observed_at_utc", "run_id", "is_published"))
    try:
        rows = con.execute(
            "select account, cast(observed_at_utc as varchar), run_id "  # noqa: S608  (of our own making)
            f"from ({records}) as record where is_published order by account, observed_at_utc, run_id"
        ).fetchall()
    except duckdb.Error as error:
        raise LakeDamaged(
            f"a commit record in {str(paths[0].parents[1])!r} cannot be read: {first_lines(error)}"
        ) from error
    published = {run_id for _, _, run_id in rows}
    for table in (IMAGES, IMAGE_DISKS, REJECTS):
        for run_id in sorted(published - {path.stem for path in files.of[table.name]}):
            raise LakeDamaged(
                f"the file of {table.name} of run {run_id} is missing: `ens-images check` lists all that is not whole, "
                "`ens-images rebuild` makes it anew from the raw pages"
            )
    return list({account: _Latest(account, at, run_id) for account, at, run_id in rows}.values())


def _script(files: Files, latest: Sequence[_Latest]) -> str:
    """Write the whole script.

    A view is bound when it is made, and binding looks at every file that it reads. So the tables come first as empty
    ones, the views over them, and then the tables in their place: a thousand files are looked at once, not once a view.
    """
    known = relations()
    parts = ["-- The tables, typed and still empty, and the views over them.\n"]
    parts += [_view(name, _empty(table)) for name, table in _tables().items()]
    parts += [_view(name, relation.query) for name, relation in known.items() if relation.query]
    parts += [_macro(relation) for relation in known.values() if relation.settings]
    parts.append("-- The tables, over the files of committed runs.\n")
    parts += [_view(table.name, _over(table, files, files.of[table.name])) for table in TABLES if files.of[table.name]]
    parts += [_view(name, _latest(table, files, latest)) for name, table in _LATEST.items() if latest]
    parts.append("-- What everything means.\n")
    for relation in known.values():
        parts.append(f"comment on view {relation.name} is {quoted(relation.grain)};\n")
        parts += [
            f"comment on column {relation.name}.{column.name} is {quoted(column.comment)};\n"
            for column in relation.columns
        ]
    return "".join(parts)


def _tables() -> dict[str, Table]:
    return {**{table.name: table for table in TABLES}, **_LATEST}


def _view(name: str, query: str) -> str:
    return f"create or replace view {name} as\n{query.rstrip()};\n\n"


def _macro(relation: Relation) -> str:
    """Make a view's query a table macro, its settings the parameters."""
    query = _SETTINGS.sub(lambda found: _SETTING.sub(r"\1\3 as \3\4", found[0]), relation.query or "")
    parameters = ", ".join(f"{one.name} := {one.default}" for one in relation.settings)
    said = " ".join(
        (relation.grain, "Settings:", *(f"{one.name} := {one.default}: {one.doc}" for one in relation.settings))
    )
    return (
        f"create or replace macro {relation.name}({parameters}) as table\n{query.rstrip()};\n\n"
        f"comment on macro table {relation.name} is {quoted(said)};\n\n"
    )


def _empty(table: Table) -> str:
    columns = ",\n".join(f"    cast(null as {column.duckdb_type}) as {column.name}" for column in table.columns)
    return f"select\n{columns}\nwhere false"


def _over(table: Table, files: Files, paths: Sequence[Path], names: Collection[str] = ()) -> str:
    """Read exactly these files, with the declared types; a column that an old file lacks is what `extra` holds of it.

    The day comes from the folder's name here and not through `hive_partitioning`, which `schema` excludes, and which
    would take a `name=value` anywhere above the lake for a column too. With `names`, only those columns.
    What was withdrawn is left out; its row in `observations` says so.
    """
    if not paths:
        return _empty(table)
    wanted = [column for column in table.columns if not names or column.name in names]
    declared = ",\n".join(
        f"        {quoted(column.name)}: "
        f"{{'name': {quoted(column.name)}, 'type': {quoted(column.duckdb_type)}, 'default_value': null}}"
        for column in wanted
        if not column.in_folder
    )
    said = _said_of_withdrawals(files.without) if table is OBSERVATIONS else _said_in_extra(wanted)
    columns = ",\n".join(
        f"    cast(regexp_extract(filename, '{column.name}=([0-9-]+)/[^/]*$', 1) as date) as {column.name}"
        if column.in_folder
        else f"    {said.get(column.name, column.name)}"
        for column in wanted
    )
    listed = ",\n".join(f"        {quoted(path)}" for path in paths)
    return (
        f"select\n{columns}\nfrom read_parquet(\n    [\n{listed}\n    ],\n"
        f"    filename = true,\n    schema = map {{\n{declared}\n    }}\n)"
        + ("" if table in {OBSERVATIONS, PAGES} else _without_withdrawn(files.without, paths))
    )


def _said_of_withdrawals(gone: TakenOut) -> dict[str, str]:
    """What the columns of `observations` say that a withdrawal changes, as expressions."""
    if not gone.active:
        return {}
    cases = "".join(
        f" when run_id = {quoted(one.run_id)} and account = {quoted(one.account)} then {quoted(one.error)}"
        for one in gone.active
    )
    withdrawn = ", ".join(f"({quoted(one.run_id)}, {quoted(one.account)})" for one in gone.active)
    return {
        "is_published": f"is_published and (run_id, account) not in ({withdrawn}) as is_published",
        "error": f"case{cases} else error end as error",
    }


def _said_in_extra(columns: Sequence[Column]) -> dict[str, str]:
    """The columns that were added later, as expressions: where a file lacks one, its field lies in `extra` as JSON.

    It is typed as `flatten` would have typed it; a field that is a column of its file is never in `extra` as well.
    """
    if "extra" not in {column.name for column in columns}:
        return {}
    return {
        column.name: f"coalesce({column.name}, {_from_json(column)}) as {column.name}"
        for column in columns
        if column.since and column.api
    }


def _from_json(column: Column) -> str:
    field = f"""'$."{column.api}"'"""
    said = (
        f"case when json_type(extra, {field}) in ('VARCHAR', 'UBIGINT', 'BIGINT', 'DOUBLE', 'HUGEINT', 'UHUGEINT') "
        f"then extra ->> {field} end"
    )
    if column.kind == "text":
        return said
    if column.kind == "instant":
        fits = "'[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-9]{2}(:[0-9]{2})?Z'"
        instant = f"try_cast(rtrim({said}, 'Z') as timestamp)"
        return f"case when regexp_full_match({said}, {fits}) and year({instant}) > 0 then {instant} end"
    return f"case when regexp_full_match({said}, '[0-9]{{1,18}}') then cast({said} as bigint) end"


def _without_withdrawn(gone: TakenOut, paths: Sequence[Path]) -> str:
    """Leave out the rows of withdrawn accounts whose file stays, for others are in it."""
    rows = [(path, account) for path in paths for account in gone.withdrawn_from(path.stem)] if gone.active else []
    if not rows:
        return ""
    listed = ",\n".join(f"    ({quoted(path)}, {quoted(account)})" for path, account in rows)
    return f"\nwhere (filename, account) not in (\n{listed}\n)"


def _latest(table: Table, files: Files, latest: Sequence[_Latest]) -> str:
    """Read the latest files alone, and of them the rows of each account's latest observation."""
    runs = {one.run_id for one in latest}
    paths = [path for path in files.of[table.name] if path.stem in runs]
    if not paths:
        return _empty(table)
    kept = ",\n".join(f"    ({quoted(one.account)}, timestamp {quoted(one.observed_at_utc)})" for one in latest)
    rows = _over(table, files, paths)
    return f"select * from (\n{rows}\n) as published\nwhere (account, observed_at_utc) in (\n{kept}\n)"  # noqa: S608  (of our own making)


# ── SQL that somebody typed ──────────────────────────────────────────────────


def _close_every_door_but(con: duckdb.DuckDBPyConnection, paths: Sequence[str]) -> None:
    """Let the connection reach these files alone: nothing else is read, and no setting opens a door again."""
    con.execute("set allowed_paths = $1", [paths]).fetchall()
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
