"""Whether the lake is whole: every file, key, count and certificate; nothing is changed, and no lock is taken.

    commit records ─→ the files that must be there: present, readable, of the declared schema
        a run        ─→ keys unique · disks belong to images · counts and ids as the observation says
        its pages    ─→ the evidence computed again, every column of it           (where they are kept)
        its pages    ─→ the tables built again, row for row                       (deep)

A run at a time, in Arrow and DuckDB. What is found is named: file, what is
wrong, and how much of it.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipeline.errors import LakeDamaged
from pipeline.extract.completeness import evidence
from pipeline.extract.raw_pages import RawRun, raw_paths
from pipeline.lake.committed import committed_files
from pipeline.lake.compaction.manifest import (
    ENDED,
    MANIFESTS,
    OLDER_MANIFESTS,
    OLDER_PLACES,
    PLACES,
    REJECTED,
    Manifest,
)
from pipeline.lake.file_set import FileSet
from pipeline.lake.flatten_pool import FlattenPool
from pipeline.lake.format import FORMAT_FILE, format_of
from pipeline.lake.layout import table_path
from pipeline.lake.orphans import orphans
from pipeline.lake.publish import publish, read_answers
from pipeline.lake.scan import empty, instant, not_compacted, observations, pairs, scan_files, version_rows
from pipeline.lake.tombstones import Tombstones, read_tombstones
from pipeline.log import about, logger
from pipeline.resources.control import OBSERVATIONS, RAW_PAGES, REJECTS
from pipeline.resources.images import IMAGE_DISKS, IMAGES
from pipeline.resources.schema import FORMAT
from pipeline.resources.tables import LAKE_TABLES
from pipeline.storage.store import open_location, store_of
from pipeline.text import sql_literal

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Collection, Iterator

    import duckdb
    import pyarrow as pa

    from pipeline.resources.schema import Table

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: the file, or the observation, and what was found."""

    where: str
    what: str

    def __str__(self) -> str:
        """Where, and what."""
        return f"{self.where}: {self.what}"


@dataclass(slots=True)
class Checked:
    """What was looked at, and what is wrong."""

    data: Path
    is_deep: bool
    findings: list[Finding] = field(default_factory=list)
    run_count: int = 0
    file_count: int = 0
    row_count: int = 0
    observation_count: int = 0
    certificate_count: int = 0
    """Observations of which the evidence was computed again from their raw pages."""
    without_pages_count: int = 0
    """Observations of which the raw pages are not kept any more."""
    withdrawn_count: int = 0
    rebuilt_count: int = 0
    """Runs that were built again and compared."""
    leftover_count: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def raise_if_damaged(self) -> None:
        """End with what was found, if anything was.

        Raises:
            LakeDamaged: the lake is not whole; the message lists what was found.
        """
        if self.findings:
            listed = "\n".join(f"  {finding}" for finding in self.findings)
            raise LakeDamaged(f"the lake in {str(self.data)!r} is not whole: {len(self.findings)} found\n{listed}")

    def __str__(self) -> str:
        """What was looked at, a line each."""
        lines = [
            f"{self.run_count:,} runs, {self.file_count:,} files, {self.row_count:,} rows: "
            + ("whole" if self.is_whole else f"not whole, {len(self.findings):,} found"),
            f"{self.certificate_count:,} of {self.observation_count:,} certificates computed again from the raw pages"
            + (f"; {self.without_pages_count:,} without pages" if self.without_pages_count else ""),
        ]
        if self.is_deep:
            lines.append(f"{self.rebuilt_count:,} runs built again from the raw pages and compared row for row")
        if self.withdrawn_count:
            lines.append(f"withdrawn observations: {self.withdrawn_count:,}")
        if self.leftover_count:
            lines.append(
                f"leftovers of a killed writer, which the next one clears, or one at work: {self.leftover_count:,}"
            )
        return "\n".join(lines)


def check(data: str | Path = "data", *, deep: bool = False) -> Checked:
    """Look at every committed file of the lake, and at the raw pages that are kept; what is wrong is in `findings`.

    With `deep`, build every run again from its raw pages in a temporary folder, and compare row for row.

    Raises:
        LakeMissing: there is no lake in `data`.
    """
    return _Check(open_location(data), is_deep=deep).whole()


class _Check:
    def __init__(self, data: Path, *, is_deep: bool) -> None:
        self._data = data
        self._result = Checked(data, is_deep)
        self._gone = Tombstones()
        self._fold: Manifest | None = None
        self._last_count = 0
        self._record_of: dict[str, Path] = {}
        """Commit record by run."""
        self._seen: dict[tuple[Any, Any], str] = {}
        """Run by account and instant: across runs, a key holds where these are unique."""

    def found(self, where: Path | str, what: str) -> None:
        named = where.relative_to(self._data) if isinstance(where, Path) else where
        shown = str(named).encode("unicode_escape").decode() if not str(named).isprintable() else str(named)
        self._result.findings.append(Finding(shown, what))

    def whole(self) -> Checked:
        import duckdb

        try:
            self._gone = read_tombstones(self._data)
        except LakeDamaged as error:
            self.found("raw/_tombstones.json", str(error))
        committed = committed_files(self._data, Tombstones())
        records = committed.of[OBSERVATIONS.name]
        self._record_of = {path.stem: path for path in (*records, *committed.standing[OBSERVATIONS.name])}
        self._fold = committed.fold
        self._files = FileSet.under(self._data, Tombstones())
        self._result.withdrawn_count = len(self._gone.active)
        raw = {path.stem: path for path in raw_paths(self._data) if path.stem not in self._gone.raw_runs}
        with duckdb.connect() as con:
            store_of(self._data).register_filesystem(con)
            for path in records:
                with about(run=path.stem):
                    self._run(con, path, raw.get(path.stem))
                    _log.info("looked at, with %d observations", self._last_count)
            if self._fold is not None:
                self._folded(con, self._fold, raw)
        self._strangers(raw)
        self._others(raw)
        self._catalogue()
        return self._result

    # ── what is folded ───────────────────────────────────────────────────────

    def _folded(self, con: duckdb.DuckDBPyConnection, fold: Manifest, raw: dict[str, Path]) -> None:
        """Look at every file of the fold; then give each folded run back, and look at it as at any other."""
        wrong = len(self._result.findings)
        for place, paths in fold.files(self._data).items():
            for path in paths:
                self._read(path, PLACES[place])
        if len(self._result.findings) > wrong:
            return
        self._lives(con)
        for run_id, day in fold.runs.items():
            record = table_path(self._data, OBSERVATIONS, run_id, day)
            standing = record if record.exists() else None
            if standing is not None:  # the newest of an account: what other engines read as "now"
                self._run(con, standing, None)
                self._result.run_count -= 1
                self._result.without_pages_count = max(0, self._result.without_pages_count - self._last_count)
                self._result.observation_count -= self._last_count
                self._seen = {key: run for key, run in self._seen.items() if run != run_id}
            with about(run=run_id):
                self._given_back(con, record, day, raw.get(run_id))
                _log.info("given back from fold %s, and looked at", fold.name)

    def _lives(self, con: duckdb.DuckDBPyConnection) -> None:
        """Look at the stretches by themselves."""
        con.execute(f"create or replace temp view stretch as {version_rows(self._files, ended=True)}").fetchall()
        for what, query in _OF_STRETCHES:
            for (count,) in con.execute(query).fetchall():
                self.found(f"lake/{ENDED}", what.format(count))

    def _given_back(self, con: duckdb.DuckDBPyConnection, record: Path, day: dt.date, raw_file: Path | None) -> None:
        """A run out of the fold, as its plain files had it; where those are gone, withdrawn ones are gone as well."""
        self._result.run_count += 1
        names = ", ".join(OBSERVATIONS.arrow().names)
        asked = f"select {names} from ({observations(self._files)}) as told where run_id = '{record.stem}'"  # noqa: S608
        rows = con.sql(f"{asked} order by account").to_arrow_table()
        told = rows.cast(OBSERVATIONS.arrow()).to_pylist()
        self._result.observation_count += len(told)
        self._records(record, told)
        assert self._fold is not None  # noqa: S101  (who calls has looked)
        covered = self._fold.covered.get(record.stem, ())
        standing = [row for row in told if row["is_published"] and row["account"] in covered]
        tables: dict[str, pa.Table] = {}
        for table in (IMAGES, IMAGE_DISKS, REJECTS):
            columns = ", ".join(column.name for column in table.stored)
            if table is REJECTS:
                query = (
                    f"select {columns} from ({scan_files(PLACES[REJECTED], self._files.folded[REJECTED])}) as one "  # noqa: S608
                    # Those of what was withdrawn stay in a file that is not written again, and no reader takes them.
                    f"where run_id = '{record.stem}' and (run_id, account) in "
                    f"({pairs((record.stem, row['account']) for row in standing)})"
                )
            else:
                spanned = " union all ".join(
                    f"select {sql_literal(row['account'])} as account, "
                    f"{instant(row['observed_at_utc'])} as observed_at_utc, date '{day}' as observed_on"
                    for row in standing
                )
                given = not_compacted(table, "from stretch", spanned) if standing else empty(table)
                query = f"select {columns} from ({given}) as one"  # noqa: S608
            tables[table.name] = con.sql(query).to_arrow_table().cast(table.arrow())
            self._result.row_count += len(tables[table.name])
        if standing:
            self._rows(con, record, standing, tables)
        raw = None if raw_file is None else self._raw(raw_file)
        if raw is None or raw_file is None:
            self._result.without_pages_count += len(told)
        else:
            self._pages(record, raw_file, raw, told, tables, in_order=False)

    # ── a run ────────────────────────────────────────────────────────────────

    def _run(self, con: duckdb.DuckDBPyConnection, record: Path, raw_file: Path | None) -> None:
        self._result.run_count += 1
        told = self._read(record, OBSERVATIONS)
        raw = None if raw_file is None else self._raw(raw_file)
        if told is None:
            return
        rows = _as_declared(told, OBSERVATIONS).to_pylist()
        self._last_count = len(rows)
        self._result.observation_count += len(rows)
        self._records(record, rows)
        tables = self._tables(record, rows)
        if tables is not None:
            self._rows(con, record, rows, tables)
        if raw is None:
            self._result.without_pages_count += len(rows)
        elif raw_file is not None:
            self._pages(record, raw_file, raw, rows, tables)

    def _read(self, path: Path, table: Table) -> pa.Table | None:
        """Read a whole file, its checksums compared; None, and a finding, where that fails."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._result.file_count += 1
        try:
            with pq.ParquetFile(store_of(path).open(path), page_checksum_verification=True) as file:
                wrong = _schema_flaw(file.schema_arrow, table)
                if wrong is not None:
                    self.found(path, wrong)
                    return None
                rows = file.read()
        except FileNotFoundError:
            self.found(path, "missing: `ens-images rebuild` puts it back where its raw pages are kept")
            return None
        except (pa.ArrowException, OSError) as error:
            self.found(path, f"cannot be read: {str(error).splitlines()[0][:200]}")
            return None
        self._result.row_count += len(rows)
        return rows

    def _records(self, record: Path, rows: list[dict[str, Any]]) -> None:
        """Look at the rows of a commit record by themselves."""
        accounts = [row["account"] for row in rows]
        if len(set(accounts)) != len(accounts):
            self.found(record, "an account stands in it twice")
        if not rows:
            self.found(record, "it has no row")
        withdrawn = self._gone.withdrawn_from(record.stem)
        for row in rows:
            if row["run_id"] != record.stem:
                self.found(record, f"it says run {row['run_id']!r}, which is not its name")
            if row["is_published"] and row["account"] not in withdrawn:
                key = (row["account"], row["observed_at_utc"])
                if key in self._seen:
                    other = self._seen[key]
                    self.found(record, f"account {key[0]!r} at {key[1]} is published by run {other} as well")
                self._seen[key] = record.stem

    def _tables(self, record: Path, rows: list[dict[str, Any]]) -> dict[str, pa.Table] | None:
        """Read the files that the run must have; None where it need have none, or one is not as it should be."""
        published = {row["account"] for row in rows if row["is_published"]}
        if not published:
            return None
        paths = {table: _beside(record, table) for table in (IMAGES, IMAGE_DISKS, REJECTS)}
        if published <= self._gone.withdrawn_from(record.stem).keys() and not all(p.exists() for p in paths.values()):
            return None  # withdrawn, and the grace is over
        found = {table.name: self._read(path, table) for table, path in paths.items()}
        tables = {name: table for name, table in found.items() if table is not None}
        return tables if len(tables) == len(paths) else None

    def _rows(
        self, con: duckdb.DuckDBPyConnection, record: Path, rows: list[dict[str, Any]], tables: dict[str, pa.Table]
    ) -> None:
        for table in (IMAGES, IMAGE_DISKS, REJECTS):
            con.register(f"{table.name}_of_run", _as_declared(tables[table.name], table))
        con.register("observations_of_run", _as_arrow(rows))
        for table, what, query in _QUESTIONS:
            for answer in con.execute(query).fetchall():
                self.found(_beside(record, table), what.format(*answer))
        images = tables[IMAGES.name]
        for row in rows:
            if row["is_published"] and not _same_ids(row, images, tables[REJECTS.name]):
                self.found(
                    _beside(record, IMAGES), f"account {row['account']!r}: other images than the observation counted"
                )

    # ── its pages ────────────────────────────────────────────────────────────

    def _raw(self, path: Path) -> RawRun | None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._result.file_count += 1
        try:
            wrong = _schema_flaw(pq.read_schema(store_of(path).open(path)), RAW_PAGES)
            if wrong is None:
                return RawRun(path)
        except (pa.ArrowException, OSError) as error:
            wrong = f"cannot be read: {str(error).splitlines()[0][:200]}"
        except LakeDamaged as error:
            wrong = str(error).removeprefix(f"{path} ")
        self.found(path, wrong)
        return None

    def _pages(
        self,
        record: Path,
        raw_file: Path,
        raw: RawRun,
        rows: list[dict[str, Any]],
        tables: dict[str, pa.Table] | None,
        *,
        in_order: bool = True,
    ) -> None:
        import pyarrow as pa

        try:
            answers = read_answers(raw)
            self._result.row_count += sum(map(len, answers.values()))
            self._evidence(record, raw, answers, rows)
            if self._result.is_deep:
                self._rebuilt(record, raw, answers, rows, tables, in_order=in_order)
        except LakeDamaged as error:
            self.found(raw_file, str(error).removeprefix(f"{raw_file} "))
        except (pa.ArrowException, OSError, LookupError, TypeError, ValueError) as error:
            self.found(raw_file, f"cannot be read: {str(error).splitlines()[0][:200]}")

    def _evidence(self, record: Path, raw: RawRun, answers: dict[str, Any], rows: list[dict[str, Any]]) -> None:
        decided = {decision["account"]: decision for decision in raw.header["accounts"]}
        if decided.keys() != {row["account"] for row in rows}:
            self.found(record, "it holds other accounts than the raw pages of its run")
        for row in rows:
            decision = decided.get(row["account"])
            if decision is None:
                continue
            again = evidence([one for _, one in answers.get(row["account"], [])], decision["ended_passes"])
            if again["observed_at_utc"] is not None:
                again["observed_at_utc"] = raw.given_at_utc or again["observed_at_utc"]
            if decision["is_published"] is not None:  # None: left to the rebuild that mends a damaged lake
                again["is_published"] = decision["is_published"]
            if row["is_published"]:
                del again["image_count"]  # of a published one it is the rows', which are counted above
            self._result.certificate_count += 1
            for name, value in again.items():
                if row[name] != value and not _is_withdrawn_since(row, name):
                    said = f"{name} is {row[name]!r}, and {value!r} by the raw pages"
                    self.found(record, f"account {row['account']!r}: {said}")

    def _rebuilt(
        self,
        record: Path,
        raw: RawRun,
        answers: dict[str, Any],
        rows: list[dict[str, Any]],
        tables: dict[str, pa.Table] | None,
        *,
        in_order: bool,
    ) -> None:
        import pyarrow.parquet as pq

        said = {row["account"]: row for row in rows}
        for decision in raw.header["accounts"]:  # what was decided is compared above; here it is what comes of it
            if decision["account"] in said:
                decision.update({name: said[decision["account"]][name] for name in ("is_published", "error")})
        with tempfile.TemporaryDirectory(prefix="ens-images-check.") as aside:
            with FlattenPool() as ahead:
                publish(Path(aside), raw, answers, ahead)
            self._result.rebuilt_count += 1
            for table in LAKE_TABLES:
                there = _as_arrow(rows) if table is OBSERVATIONS else (tables or {}).get(table.name)
                path = table_path(Path(aside), table, record.stem, raw.observed_on)
                if there is None or not path.exists():
                    continue
                again = pq.ParquetFile(path).read()
                if (
                    not in_order
                ):  # what is folded comes back row for row, in no order; what was withdrawn since does not
                    gone = self._gone.withdrawn_from(record.stem).keys() - set(self._covered(record))
                    there, again = (_in_order(_without(one, gone), table) for one in (there, again))
                wrong = _difference(there, again)
                if wrong is not None:
                    self.found(_beside(record, table), f"not what the raw pages give: {wrong}")

    def _covered(self, record: Path) -> tuple[str, ...]:
        return self._fold.covered.get(record.stem, ()) if self._fold else ()

    # ── what is there besides ────────────────────────────────────────────────

    def _strangers(self, raw: dict[str, Path]) -> None:
        """Look for files that belong to nothing, and for landed runs that were never published."""
        left = orphans(self._data)
        self._result.leftover_count = len(left)
        known = self._record_of.keys() | (self._fold.runs.keys() if self._fold else set())
        being_written = {path.name for path in left} | {path.stem for path in left}
        for table in LAKE_TABLES:
            for path in sorted((self._data / "lake" / table.name).rglob("*")):
                named = re.fullmatch(r"observed_on=\d{4}-\d{2}-\d{2}", path.parent.name) and path.suffix == ".parquet"
                if path.is_dir() or path.name.startswith(".") or path in left:
                    continue
                if not path.is_file():
                    self.found(path, "no regular file: move it away")
                elif not named:
                    self.found(path, "no file of the lake: move it away")
                elif path.stem not in known and not _beside(path, OBSERVATIONS).exists():
                    self.found(path, "no commit record, so no reader takes it: move it away, or `ens-images rebuild`")
                elif path.stem in self._record_of and path.parent.name != self._record_of[path.stem].parent.name:
                    self.found(path, "it lies under another day than its commit record")
        for run_id, path in raw.items():
            is_known = run_id in known or run_id in being_written or _committed(self._data, path)
            if not is_known and self._raw(path) is not None:
                self.found(path, "landed, and not published: `ens-images rebuild` publishes it")

    def _others(self, raw: dict[str, Path]) -> None:
        """Look for what is no file of ours, and for the one that says the format."""
        for path in self._beside_the_tables(raw):
            self.found(path, "no file of the lake: move it away")
        if self._record_of and format_of(self._data) is None:
            self.found(self._data / "lake" / FORMAT_FILE, f"missing: it should say {FORMAT}")

    def _beside_the_tables(self, raw: dict[str, Path]) -> Iterator[Path]:
        """What lies in the lake outside its tables, or among the raw pages, and is none of either."""
        ours = {table.name for table in LAKE_TABLES} | {
            *PLACES,
            *OLDER_PLACES.values(),
            MANIFESTS,
            OLDER_MANIFESTS,
            FORMAT_FILE,
        }
        for path in sorted((self._data / "lake").glob("*")):
            if path.name not in ours and not path.name.startswith("."):
                yield path
        taken = self._gone.raw_runs
        for path in sorted((self._data / "raw").rglob("*")):
            inside = path.relative_to(self._data / "raw").parts
            if path.is_dir() or inside[0].startswith((".", "_")) or path.name.startswith("."):
                continue
            if raw.get(path.stem) != path and not (path.suffix == ".parquet" and path.stem in taken):
                yield path

    def _catalogue(self) -> None:
        import duckdb

        path = self._data / "lake.duckdb"
        if not path.exists():
            return
        quoted = str(path).replace("'", "''")
        with duckdb.connect() as con:
            try:
                con.execute(f"attach '{quoted}' as catalogue (read_only); select catalogue.made_from()").fetchall()
            except duckdb.Error as error:
                self.found(
                    path, f"cannot be opened ({str(error).splitlines()[0][:120]}): `ens-images rebuild` makes it anew"
                )


# ── what is asked of a run ───────────────────────────────────────────────────


def _keys(table: Table) -> tuple[Table, str, str]:
    names = ", ".join(table.key)
    query = f"""
        select sum(n) from (select count(*) as n from {table.name}_of_run group by {names} having n > 1) as shared
        having sum(n) > 0"""  # noqa: S608  (declared names, as everywhere here)
    return table, f"{{0:,}} rows share their key ({names}) with another", query


def _nulls(table: Table) -> tuple[Table, str, str]:
    missing = " or ".join(f"{name} is null" for name in table.key)
    query = f"select count(*) from {table.name}_of_run where {missing} having count(*) > 0"  # noqa: S608
    return table, "{0:,} rows lack a part of their key", query


def _counts(table: Table, count: str) -> tuple[Table, str, str]:
    query = f"""
        select account, coalesce(n, 0), said
        from (select account, observed_at_utc, {count} as said from observations_of_run where is_published) as record
        left join (
            select account, observed_at_utc, count(*) as n from {table.name}_of_run group by account, observed_at_utc
        ) as counted using (account, observed_at_utc)
        where coalesce(n, 0) is distinct from said"""  # noqa: S608
    return table, f"account {{0!r}}: {{1:,}} rows, and {count} says {{2}}", query


def _strange(table: Table) -> tuple[Table, str, str]:
    query = f"""
        select count(*) from {table.name}_of_run
        anti join (select account, observed_at_utc from observations_of_run where is_published) as record
            using (account, observed_at_utc)
        having count(*) > 0"""  # noqa: S608
    return table, "{0:,} rows are of no published observation of the run", query


_WITHOUT_IMAGE: Final = """
    select count(*) from image_disks_of_run anti join images_of_run using (account, observed_at_utc, image_id)
    having count(*) > 0"""

_UNLIKE_THEIR_DISKS: Final = """
    select count(*)
    from images_of_run as image
    left join (
        select
            account, observed_at_utc, image_id, count(*) as disk_count,
            count(*) - count(disk_size_gib) as unsized_disk_count, sum(disk_size_gib) as disk_size_gib
        from image_disks_of_run
        group by account, observed_at_utc, image_id
    ) as disk using (account, observed_at_utc, image_id)
    where
        image.unsized_disk_count is not null
        and (
            image.disk_count is distinct from coalesce(disk.disk_count, 0)
            or image.unsized_disk_count is distinct from coalesce(disk.unsized_disk_count, 0)
            or image.disk_size_gib is distinct from disk.disk_size_gib
        )
    having count(*) > 0"""

_OF_STRETCHES: Final = (
    (
        "{0:,} stretches overlap another of their image",
        """
        select count(*) from (
            select
                first_seen_utc,
                lag(last_seen_utc) over (partition by account, image_id order by first_seen_utc) as last
            from stretch
        ) as one where first_seen_utc <= last having count(*) > 0""",
    ),
    (
        "{0:,} stretches end before they begin, or lack a part of their key",
        """
        select count(*) from stretch
        where coalesce(last_seen_utc < first_seen_utc or account is null or image_id is null, true)
        having count(*) > 0""",
    ),
)
"""What is asked of the stretches: no row, nothing wrong."""

_QUESTIONS: Final = (
    _nulls(IMAGES),
    _keys(IMAGES),
    _strange(IMAGES),
    _counts(IMAGES, "image_count"),
    _nulls(IMAGE_DISKS),
    _keys(IMAGE_DISKS),
    (IMAGE_DISKS, "{0:,} disks belong to no image", _WITHOUT_IMAGE),
    _counts(IMAGE_DISKS, "disk_count"),
    (IMAGES, "{0:,} images say of their disks what image_disks does not", _UNLIKE_THEIR_DISKS),
    _strange(REJECTS),
    _counts(REJECTS, "reject_count"),
)
"""Table, what a row of the answer means, and the query: no row, nothing wrong."""


def _beside(record: Path, table: Table) -> Path:
    """The file of another table of the same run and day."""
    return record.parents[2] / table.name / record.parent.name / record.name


def _without(rows: pa.Table, accounts: Collection[str]) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    return rows.filter(pc.invert(pc.is_in(rows.column("account"), value_set=pa.array(sorted(accounts), pa.string()))))


def _as_declared(rows: pa.Table, table: Table) -> pa.Table:
    """With every column, under its present name: one that an older version did not know is null."""
    import pyarrow as pa

    present = {one.renamed_from: one.name for one in table.stored if one.renamed_from}
    rows = rows.rename_columns([present.get(name, name) for name in rows.column_names])
    for one in table.arrow():
        if one.name not in rows.column_names:
            rows = rows.append_column(one, pa.nulls(len(rows), one.type))
    return rows


def _in_order(rows: pa.Table, table: Table) -> pa.Table:
    """By key; where one is shared, by every column."""
    names = dict.fromkeys((*(name for name in table.key if name in rows.column_names), *rows.column_names))
    return rows.sort_by([(name, "ascending") for name in names])


def _as_arrow(rows: list[dict[str, Any]]) -> pa.Table:
    return OBSERVATIONS.to_arrow(rows)


def _schema_flaw(schema: pa.Schema, table: Table) -> str | None:
    """What keeps a file from being one of `table`; a column that an older version did not know is no flaw."""
    about = schema.metadata or {}
    name = about.get(b"table", b"").decode(errors="replace")
    if name not in {table.name, table.renamed_from}:
        return f"no file of ours: its header says table {name!r}, not {table.name!r}"
    version = about.get(b"format", b"").decode(errors="replace")
    if not version.isdigit() or int(version) > int(FORMAT):
        return f"it is of format {version!r}, and {FORMAT!r} is the newest that is read here"
    declared = {one.name: one.type for one in table.arrow()}
    declared |= {one.renamed_from: declared[one.name] for one in table.stored if one.renamed_from}
    for one in schema:
        if one.name not in declared:
            return f"column {one.name!r} is not declared"
        if one.type != declared[one.name]:
            return f"column {one.name!r} is {one.type}, declared is {declared[one.name]}"
    lacking = [name for name in table.key if name in declared and name not in schema.names]
    return f"it lacks {lacking[0]!r}, a part of the key" if lacking else None


def _same_ids(row: dict[str, Any], images: pa.Table, rejects: pa.Table) -> bool:
    """Whether the ids in the table are those that the certificate was computed over."""
    import hashlib

    import pyarrow.compute as pc

    def mine(table: pa.Table) -> pa.Table:
        return table.filter(pc.equal(table.column("account"), row["account"]))

    if row["image_ids_sha256"] is None or mine(rejects).column("image_id").null_count:
        return True  # an image without an id is in the certificate, and left out of the table
    ids = sorted(set(mine(images).column("image_id").to_pylist()) - {None})
    again = hashlib.sha256("\n".join(ids).encode("utf-8", "surrogatepass")).hexdigest()
    return again == str(row["image_ids_sha256"])


def _is_withdrawn_since(row: dict[str, Any], name: str) -> bool:
    """Whether a rebuild left the account out of the lake because it had been withdrawn."""
    return name in {"is_published", "image_count"} and str(row["error"]).startswith("Withdrawn: ")


def _committed(data: Path, raw_file: Path) -> bool:
    """Whether the run of a raw file is committed by now: a writer may be at work beside us."""
    return (data / "lake" / OBSERVATIONS.name / raw_file.parent.name / raw_file.name).exists()


def _difference(there: pa.Table, again: pa.Table) -> str | None:
    """The first thing in which two tables differ, in words; a column that one lacks is null in it."""
    import pyarrow.compute as pc

    if len(there) != len(again):
        return f"{len(there):,} rows, not {len(again):,}"
    for name in again.column_names:
        if name not in there.column_names:
            continue
        one, other = there.column(name).combine_chunks(), again.column(name).combine_chunks()
        if one.equals(other):
            continue
        for row, (mine, its) in enumerate(_pairs(one, other)):
            if mine != its:
                differing = len(one) - (pc.sum(pc.equal(one, other)).as_py() or 0)
                return f"row {row:,}, {name}: {mine!r}, not {its!r} (at most {differing:,} rows differ)"
    return None


def _pairs(one: pa.Array, other: pa.Array) -> Iterator[tuple[Any, Any]]:
    return zip(one.to_pylist(), other.to_pylist(), strict=True)
