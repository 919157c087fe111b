"""Folding: days of copies become stretches, so that a lake grows with change and not with time.

    the stretches that may go on  ──┐
                                    ├──► stretches that ended ──► a file of their own, never written again
    the runs that are not folded  ──┘    those that may go on ──► a file that the next fold replaces

One step takes some runs, publishes what came of them by the protocol of
`lake.py`, and is a whole fold; many days are many steps, so memory stays bounded
and what a kill costs is one step. Of each account the newest observation stays a
plain file as well: whatever reads Parquet has "now" at hand. The other plain
files go after a grace.

An observation that came late, or was withdrawn for good, has its account made
anew from all of its stretches; the rows that they had in older files are void.
A withdrawal of which the grace goes on is kept folded, and hidden by the views:
it can be taken back.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import msgspec

from pipeline.errors import LakeDamaged, LakeMissing
from pipeline.lake.commit import CompactionCommit
from pipeline.lake.compaction.manifest import (
    ENDED,
    OPEN,
    PLACES,
    RECORDS,
    REJECTED,
    Ended,
    Manifest,
    Superseded,
    compacted_path,
    newest_manifest,
    next_name,
)
from pipeline.lake.compaction.manifest import manifest_path as fold_record_path
from pipeline.lake.file_set import FileSet
from pipeline.lake.scan import fingerprinted, fingerprints, observed_rows, pairs, scan_files, version_rows
from pipeline.lake.versions import number_observations, versions, with_values
from pipeline.log import logger
from pipeline.resources.control import OBSERVATIONS, REJECTS
from pipeline.resources.images import DISK_FIELDS, IMAGE_DISKS, IMAGE_FIELDS, IMAGE_VERSIONS, IMAGES
from pipeline.resources.tables import LAKE_TABLES
from pipeline.text import escape_glob, sql_literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import duckdb
    import pyarrow as pa

    from pipeline.lake.tombstones import Tombstones
    from pipeline.resources.schema import Table


_log = logger(__name__)

GRACE: Final = dt.timedelta(days=7)
"""How long the plain files of folded runs stay, and what a fold has replaced."""
DUE_RUNS: Final = 7
MANY_RUNS: Final = 50
"""When a run folds: from 7 unfolded runs on if they hold as many images as may go on, and from 50 on in any case.

Chosen by reasoning, not by measurement: a fold writes all that may go on again, and each unfolded day costs every
reader of the versions as much, so a week shares it. Accounts that run by themselves, many a day, would otherwise have
all the others written again with each seventh run.
"""
STEP_ROWS: Final = 700_000
"""Images that a step takes, at least one run."""
SLICE_ROWS: Final = 400_000
"""Sightings of which stretches are made at a time, for memory: what belongs together is sorted at once."""
BATCH_ROWS: Final = 16_384
"""Rows that are on their way from file to file at a time."""
MEMORY: Final = "250MB"
"""What DuckDB may take for a step; more than that goes to the disk, beside the fold.

It has one core: the next one's buffers cost more memory than they save time, and a fold is in nobody's way.
"""


@dataclass(frozen=True, slots=True)
class RecordRow:
    """What a commit record says of one account."""

    account: str
    run_id: str
    observed_on: dt.date
    observed_at_utc: Any
    """The instant; None where no listing came to an end."""
    is_published: bool
    image_count: int = 0
    disk_count: int = 0


def needs_compaction(data: Path) -> bool:
    """Whether a run should fold now."""
    files = FileSet.under(data)
    count = len(files.of[OBSERVATIONS.name])
    if count < DUE_RUNS:
        return False
    if count >= MANY_RUNS or files.fold is None:
        return True
    unfolded = {path.stem for path in files.of[OBSERVATIONS.name]}
    with _opened() as con:
        told = _record_rows(con, files)
    return sum(one.image_count for one in told if one.run_id in unfolded) >= files.fold.open_count


def compact(data: Path, *, grace: dt.timedelta = GRACE, now: dt.datetime | None = None) -> list[str]:
    """Fold all that can be, step by step; the names of the folds. The caller holds the lake, and writes the catalogue.

    Raises:
        LakeMissing: there is no lake in `data`.
        LakeDamaged: a file of the lake cannot be read.
    """
    now = now or dt.datetime.now(dt.UTC).replace(tzinfo=None)
    names = []
    while (step := CompactionStep.next(data, now)) is not None:
        names.append(step.name)
        step.publish(now + grace)
    return names


def nothing_to_compact(data: Path, now: dt.datetime) -> bool:
    """Whether a fold would change nothing."""
    try:
        return CompactionStep.next(data, now) is None
    except LakeMissing:
        return True


def expired_files(data: Path, now: dt.datetime, without: Tombstones | None = None) -> list[Path]:
    """The files that nothing reads any more since they were folded, and of which the grace is over.

    Where a newer observation was withdrawn since, those of the one that is the account's newest again stay.
    `without` stands for the record of what was taken out, for who is about to write it.
    """
    there = newest_manifest(data)
    past = [data / "lake" / one.path for one in (there.superseded if there else ()) if one.until_utc <= now]
    past = [path for path in past if path.exists()]
    if not past:
        return []
    files = FileSet.under(data, without)
    with _opened() as con:
        stay = _newest_runs(_record_rows(con, files), files)
    return [path for path in past if path.stem not in stay]


@contextlib.contextmanager
def _opened(aside: Path | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection; with a folder to spill to, one that does a step in bounded memory."""
    import duckdb

    with duckdb.connect() as con:
        if aside is not None:
            con.execute(f"set threads = 1; set memory_limit = '{MEMORY}'").fetchall()
            # A step may take seconds, and what it prints would stand in the answer of whoever called.
            con.execute("set enable_progress_bar = false; set enable_progress_bar_print = false").fetchall()
            con.execute("set allocator_flush_threshold = '1MB'").fetchall()
            con.execute("set allocator_bulk_deallocation_flush_threshold = '1MB'").fetchall()
            con.execute("set preserve_insertion_order = false; set temp_directory = $1", [str(aside / "spilled")])
        yield con


@contextlib.contextmanager
def _sharing_memory() -> Iterator[None]:
    """Let Arrow take from the heap that DuckDB gives back to: a pool of its own keeps what was freed."""
    import pyarrow as pa

    before = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(before)


def _record_rows(con: duckdb.DuckDBPyConnection, files: FileSet) -> list[RecordRow]:
    """Every row of every commit record as it was written, whatever was withdrawn since."""
    names = ("account", "run_id", "observed_on", "observed_at_utc", "is_published", "image_count", "disk_count")
    parts = [scan_files(OBSERVATIONS, files.of[OBSERVATIONS.name], names=names)]
    if files.fold is not None:
        parts.append(scan_files(PLACES[RECORDS], files.folded[RECORDS], names=names))
    rows = con.execute(
        f"select {', '.join(names)} from ({' union all by name '.join(parts)}) as record "  # noqa: S608  (of our own making, as everywhere here)
        "order by observed_at_utc, run_id"
    ).fetchall()
    return [
        RecordRow(account, run_id, day, at, is_published, images or 0, disks or 0)
        for account, run_id, day, at, is_published, images, disks in rows
    ]


class CompactionStep:
    """One fold: what it takes, and what comes of it."""

    def __init__(self, data: Path, files: FileSet, told: list[RecordRow], lasting: set[tuple[str, str]]) -> None:
        self._data = data
        self._files = files
        self._before = files.fold
        self.name = next_name(files.fold)
        self._told = told
        self._lasting = lasting
        """Run and account of the withdrawals that cannot be taken back any more."""
        held = files.fold.covered if files.fold else {}
        every = {(run, account) for run, accounts in held.items() for account in accounts}
        self._standing = every - lasting
        published = {(one.run_id, one.account): one for one in told if one.is_published}
        kept = {(one.account, one.observed_at_utc) for key, one in published.items() if key in self._standing}
        passed_over = every | {(one.run_id, one.account) for one in files.without.active}
        new = [
            one
            for key, one in published.items()
            if key not in passed_over and (one.account, one.observed_at_utc) not in kept
        ]
        self._taken = _first(new)
        newest: dict[str, dt.datetime] = {}
        for key in self._standing:
            one = published[key]
            newest[one.account] = max(newest.get(one.account, one.observed_at_utc), one.observed_at_utc)
        late = {
            one.account for one in self._taken if one.account in newest and one.observed_at_utc < newest[one.account]
        }
        self._anew = late | {account for _, account in every & lasting}
        """Accounts that are made anew from all of their stretches."""
        self._onward = {one.account for one in self._taken} - self._anew
        self._covered = self._standing | {(one.run_id, one.account) for one in self._taken}
        self._whole = self._whole_runs()

    @classmethod
    def next(cls, data: Path, now: dt.datetime) -> CompactionStep | None:
        """The step that is to be done, if any."""
        files = FileSet.under(data.resolve())
        with _opened() as con:
            told = _record_rows(con, files)
        lasting = {(one.run_id, one.account) for one in files.without.active if one.until_utc <= now}
        step = cls(data.resolve(), files, told, lasting)
        before = set(files.fold.runs) if files.fold else set()
        return step if step._taken or step._anew or step._whole.keys() - before else None

    def _whole_runs(self) -> dict[str, dt.date]:
        """The runs of which nothing is left to fold, and their days."""
        found: dict[str, dt.date] = dict(self._before.runs) if self._before else {}
        done = self._covered | self._lasting
        left = {one.run_id for one in self._told if one.is_published and (one.run_id, one.account) not in done}
        found.update({one.run_id: one.observed_on for one in self._told if one.run_id not in left})
        return found

    def publish(self, until: dt.datetime) -> None:
        """Write the fold, and put it in its place."""
        publication = CompactionCommit(self._data, self.name)
        with _sharing_memory(), _opened(publication.aside) as con:
            self._live(con)
            open_count, ended = self._stretches(con, publication)
            self._prove(con, publication)
            added = [one for one in self._whole if not self._before or one not in self._before.runs]
            rejected = self._records(con, publication, added)
        publication.commit(self._record(ended, until, open_count=open_count, rejected=rejected))
        _log.info(
            "compaction %s: %d observations taken, %d versions still open", self.name, len(self._taken), open_count
        )

    def _live(self, con: duckdb.DuckDBPyConnection) -> None:
        """Make the table `living`: the stretches of the accounts that have news, still without their values."""
        import pyarrow as pa

        concerned = self._anew | self._onward
        known = [one for one in self._told if (one.run_id, one.account) in self._covered and one.account in concerned]
        names = ("account", "observed_at_utc", "run_id")
        con.register("known", pa.table({name: [getattr(one, name) for one in known] for name in names}))
        con.execute("create table told (account varchar, observed_at_utc timestamp, run_id varchar)").fetchall()
        con.execute("insert into told from known").fetchall()
        con.unregister("known")
        observation = number_observations(f"""
            select
                told.account, told.observed_at_utc, coalesce(said.certificate = 'verified', false) as is_verified,
                (told.run_id, told.account) not in ({self._taken_pairs()})
                as is_covered
            from told inner join ({self._certificates()}) as said using (account, run_id)""")  # noqa: S608
        onward, anew = self._before_stretches()
        forgotten = "null::timestamp as life_began_utc, null::timestamp as previous_seen_utc"
        con.execute(
            f"create table stretch as {fingerprinted(onward)} "  # noqa: S608
            f"union all select * replace ({forgotten}) from ({fingerprinted(anew)}) as one"
        ).fetchall()
        con.execute(f"create table print as {fingerprints(self._only_taken())}").fetchall()
        count = con.execute("select (select count(*) from stretch) + (select count(*) from print)").fetchall()[0][0]
        slices = count // SLICE_ROWS + 1
        for number in range(slices):
            mine = f"where hash(image_id) % {slices} = {number}"
            makes = "insert into living" if number else "create table living as"
            made = versions(observation, f"select * from stretch {mine}", f"select * from print {mine}")  # noqa: S608
            con.execute(f"{makes} {made}").fetchall()
        con.execute("drop table stretch; drop table print").fetchall()

    def _before_stretches(self) -> tuple[str, str]:
        """The stretches before, of the accounts that go on and of those that are made anew."""
        return (
            version_rows(self._files, ended=False, accounts=_among(self._onward)),
            version_rows(self._files, ended=True, accounts=_among(self._anew)),
        )

    def _stretches(self, con: duckdb.DuckDBPyConnection, publication: CompactionCommit) -> tuple[int, tuple[str, ...]]:
        """Write the stretches; how many may go on, and the accounts of those that have ended."""
        import pyarrow.compute as pc

        begun = "select account, first_seen_utc as observed_at_utc, image_id from living where valued_utc is null"
        anew = self._before_stretches()[1]
        new = with_values("living", anew, observed_rows(self._only_taken(), begun))
        open_count, accounts = 0, set[str]()
        publication.add(OPEN, IMAGE_VERSIONS.arrow().empty_table())
        for rows in itertools.chain(self._gone_on(con), _streamed(con, IMAGE_VERSIONS, new)):
            has_ended = pc.or_(pc.is_valid(rows["next_seen_utc"]), pc.is_valid(rows["gone_at_utc"]))
            still_open, ended = rows.filter(pc.invert(has_ended)), rows.filter(has_ended)
            publication.add(OPEN, still_open)
            open_count += len(still_open)
            if len(ended):
                publication.add(ENDED, ended)
                accounts |= set(pc.unique(ended["account"]).to_pylist())
        return open_count, tuple(sorted(accounts))

    def _gone_on(self, con: duckdb.DuckDBPyConnection) -> Iterator[pa.Table]:
        """The stretches that might go on, with what became of them: their values never leave Arrow.

        Those of accounts that are made anew are left out, those of accounts without news are as they were.
        """
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        if self._before is None:
            return
        (path,) = self._files.folded[OPEN]
        became = con.sql(f"""
            select
                {_among(self._anew, "old.account")} as is_made_anew,
                coalesce(living.last_seen_utc, old.last_seen_utc) as last_seen_utc,
                living.gone_at_utc,
                living.next_seen_utc
            from read_parquet({sql_literal(escape_glob(path))}, file_row_number = true) as old
            left join (select * from living where valued_utc is not null and {_among(self._onward)}) as living
                on old.account = living.account and old.image_id = living.image_id
            order by old.file_row_number""").to_arrow_table()  # noqa: S608
        schema = IMAGE_VERSIONS.arrow()
        start = 0
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH_ROWS):
                news = became.slice(start, len(batch)).combine_chunks()
                start += len(batch)
                now = {name: news[name] for name in news.column_names[1:]}
                there = {name: batch.column(name) for name in batch.schema.names}
                # A column that the file lacks is read from `extra` wherever it is read.
                columns = [{**there, **now}.get(one.name, pa.nulls(len(batch), one.type)) for one in schema]
                rows = pa.Table.from_arrays(
                    [one.cast(field.type) for one, field in zip(columns, schema, strict=True)], schema=schema
                )
                yield rows.filter(pc.invert(news["is_made_anew"])) if self._anew else rows

    def _prove(self, con: duckdb.DuckDBPyConnection, publication: CompactionCommit) -> None:
        """Let nothing be folded that would not come back: every row of what was taken, value for value."""
        of = self._only_taken().of
        version = scan_files(IMAGE_VERSIONS, publication.written(OPEN, ENDED))
        listed = (
            "select account, image_id, first_seen_utc, last_seen_utc, "  # noqa: S608
            f"unnest(disks, recursive := true) from ({version}) as one"
        )
        told = f"select account, observed_at_utc from told where (run_id, account) in ({self._taken_pairs()})"  # noqa: S608
        spanned = "observed_at_utc between version.first_seen_utc and version.last_seen_utc"
        found = [
            f"""
            select row.account, row.observed_at_utc, count(*), 0
            from ({scan_files(table, of[table.name])}) as row
            inner join ({rows}) as version
                on {" and ".join(f"row.{name} = version.{name}" for name in table.key if name != "observed_at_utc")}
                and row.{spanned}
            where {" and ".join(f"row.{one.name} is not distinct from version.{one.name}" for one in fields)}
            group by all"""  # noqa: S608
            for table, rows, fields in ((IMAGES, version, IMAGE_FIELDS), (IMAGE_DISKS, listed, DISK_FIELDS))
        ]
        found.append(f"""
            select told.account, told.observed_at_utc, count(*), sum(version.disk_count)
            from ({version}) as version
            inner join ({told}) as told on told.account = version.account and told.{spanned}
            group by all""")  # noqa: S608
        images, disks, every = (
            {(account, at): (count, more) for account, at, count, more in con.execute(query).fetchall()}
            for query in found
        )
        for one in self._taken:
            key = (one.account, one.observed_at_utc)
            came = images.get(key, (0,))[0], disks.get(key, (0,))[0]
            if not came == every.get(key, (0, 0)) == (one.image_count, one.disk_count):
                raise LakeDamaged(
                    f"account {one.account!r} of run {one.run_id} cannot be folded: of {one.image_count:,} images and "
                    f"{one.disk_count:,} disks, {came[0]:,} and {came[1]:,} would come back as they were: "
                    "`ens-images check` tells what is wrong"
                )

    def _taken_pairs(self) -> str:
        return pairs((one.run_id, one.account) for one in self._taken)

    def _only_taken(self) -> FileSet:
        """The plain files of the runs that this step takes; what is not taken of them is passed over by the merge."""
        runs = {one.run_id for one in self._taken}
        of = {name: tuple(path for path in paths if path.stem in runs) for name, paths in self._files.of.items()}
        return replace(self._files, of=of)

    def _certificates(self) -> str:
        names = ("account", "run_id", "certificate", "image_count", "disk_count")
        parts = [scan_files(OBSERVATIONS, self._files.of[OBSERVATIONS.name], names=names)]
        if self._before is not None:
            parts.append(scan_files(PLACES[RECORDS], self._files.folded[RECORDS], names=names))
        return " union all by name ".join(parts)

    def _records(self, con: duckdb.DuckDBPyConnection, publication: CompactionCommit, added: list[str]) -> bool:
        """Write the commit records of all folded runs, and the rejects of those that were added; whether any are."""
        new = set(added)
        paths = [path for path in self._files.of[OBSERVATIONS.name] if path.stem in new]
        parts = [scan_files(OBSERVATIONS, paths)]
        if self._before is not None:
            parts.append(scan_files(PLACES[RECORDS], self._files.folded[RECORDS]))
        _write(con, publication, RECORDS, f"{' union all by name '.join(parts)} order by run_id, account")
        paths = [path for path in self._files.of[REJECTS.name] if path.stem in new]
        if not paths:
            return False
        declared = ", ".join(column.name for column in REJECTS.columns if not column.in_folder)
        listed = ", ".join(sql_literal(escape_glob(path)) for path in paths)
        days = "cast(regexp_extract(filename, 'observed_on=([0-9-]+)/[^/]*$', 1) as date) as observed_on"
        rows = (
            f"select regexp_extract(filename, '([^/]*)[.]parquet$', 1) as run_id, {declared}, {days} "  # noqa: S608
            f"from read_parquet([{listed}], filename = true, hive_partitioning = false)"
        )
        kept = f"select * from ({rows}) as one where (run_id, account) not in ({pairs(self._lasting)})"  # noqa: S608
        if not con.execute(f"select exists(from ({kept}))").fetchall()[0][0]:
            return False
        _write(con, publication, REJECTED, f"{kept} order by run_id, account")
        return True

    def _record(self, ended: tuple[str, ...], until: dt.datetime, *, open_count: int, rejected: bool) -> Manifest:
        before = self._before
        covered: dict[str, list[str]] = {}
        for run_id, account in sorted(self._covered):
            covered.setdefault(run_id, []).append(account)
        files = [msgspec.structs.replace(one, void=tuple(sorted({*one.void, *self._anew} & set(one.accounts))))
                 for one in (before.ended if before else ())]  # fmt: skip
        standing = [one for one in files if set(one.accounts) - set(one.void)]
        gone = [compacted_path(self._data, ENDED, one.fold) for one in files if one not in standing]
        if ended:
            standing.append(Ended(self.name, ended))
        if before is not None:
            gone += [compacted_path(self._data, place, before.name) for place in (OPEN, RECORDS)]
            gone.append(fold_record_path(self._data, before.name))
        gone += self._plain()
        return Manifest(
            name=self.name,
            covered={run_id: tuple(accounts) for run_id, accounts in covered.items()},
            runs=dict(sorted(self._whole.items())),
            ended=tuple(standing),
            rejects=(*(before.rejects if before else ()), *((self.name,) if rejected else ())),
            superseded=self._superseded(gone, until),
            open_count=open_count,
        )

    def _plain(self) -> Iterable[Path]:
        """The plain files of folded runs; those of each account's newest observation stay."""
        stay = _newest_runs(self._told, self._files)
        for table in LAKE_TABLES:
            for path in (*self._files.of[table.name], *self._files.standing.get(table.name, ())):
                if path.stem in self._whole and path.stem not in stay:
                    yield path

    def _superseded(self, gone: Iterable[Path], until: dt.datetime) -> tuple[Superseded, ...]:
        lake = self._data / "lake"
        now = {str(path.relative_to(lake)) for path in gone}
        stays = {str(p.relative_to(lake)) for paths in self._files.standing.values() for p in paths} - now
        older = {one.path: one for one in (self._before.superseded if self._before else ())}
        kept = [one for path, one in older.items() if path not in stays and (lake / path).exists()]
        return (*kept, *(Superseded(path, until) for path in sorted(now - older.keys())))


def _newest_runs(told: Iterable[RecordRow], files: FileSet) -> set[str]:
    """The runs that hold an account's newest observation: what other engines read as "now"."""
    newest: dict[str, tuple[Any, str]] = {}
    hidden = {(one.run_id, one.account) for one in files.without.active}
    for one in told:
        if one.is_published and (one.run_id, one.account) not in hidden:
            newest[one.account] = max(
                newest.get(one.account, (one.observed_at_utc, "")), (one.observed_at_utc, one.run_id)
            )
    return {run_id for _, run_id in newest.values()}


def _first(new: list[RecordRow]) -> list[RecordRow]:
    """The earliest of them that a step can take: whole runs, so that a file is read once."""
    count, runs = 0, set[str]()
    for one in new:
        if one.run_id not in runs:
            if runs and count + one.image_count > STEP_ROWS:
                break
            runs.add(one.run_id)
        count += one.image_count
    return [one for one in new if one.run_id in runs]


def _among(accounts: Iterable[str], column: str = "account") -> str:
    listed = ", ".join(map(sql_literal, sorted(accounts)))
    return f"{column} in ({listed})" if listed else "false"


def _streamed(con: duckdb.DuckDBPyConnection, table: Table, query: str) -> Iterator[pa.Table]:
    """A query's rows, typed as the table declares, some thousand at a time."""
    import pyarrow as pa

    schema = table.arrow()
    reader = con.sql(f"select {', '.join(schema.names)} from ({query}) as one").to_arrow_reader(BATCH_ROWS)  # noqa: S608
    for batch in reader:
        yield pa.Table.from_batches([batch]).cast(schema)


def _write(con: duckdb.DuckDBPyConnection, publication: CompactionCommit, place: str, query: str) -> None:
    """Stream a query's rows into one of the fold's files."""
    publication.add(place, PLACES[place].arrow().empty_table())
    for rows in _streamed(con, PLACES[place], query):
        publication.add(place, rows)
