"""Verify the files of a lake before they are read: nothing damaged becomes a number.

    manifest            its own digest
      └─ versions, records and rejects of compacted runs          the digests in the manifest
    commit records      their own digests
      └─ images, image_disks, rejects, raw pages of each run      the digests in its record

A file that was verified is not read again as long as nobody writes it (verified_files.py). In a bucket an
object that has the tag of its commit is the committed one, unread; one with another tag, as in a lake that was copied
there, is verified once by each machine. What is written from a file is written from what was verified just now
(`anew`): a disk can lose a bit of a file that nobody writes, and a new file would give it a good digest.

Files of older versions have no digest. They are read, which is said once: `rebuild` commits them again, with digests.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from pipeline.errors import LakeDamaged
from pipeline.extract.raw_pages import raw_path
from pipeline.lake.committed_digests import COMMITTED_FILES, decode_digests, replaces_pages
from pipeline.lake.compaction.manifest import COMPACTED, RECORDS
from pipeline.lake.layout import command, shown, table_of, table_path
from pipeline.lake.scan import scan_files
from pipeline.lake.verified_files import VerifiedFiles
from pipeline.log import logger
from pipeline.memory import raise_if_out_of_memory
from pipeline.resources.control import OBSERVATIONS, RAW_PAGES
from pipeline.resources.tables import LAKE_TABLES, ROW_TABLES
from pipeline.storage.digest import FileDigest, digest_of, refuse_changed
from pipeline.storage.partitions import day_of_run, is_run_file, number_of, run_of
from pipeline.storage.store import store_of
from pipeline.text import pluralize, sql_literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    import duckdb
    import pyarrow as pa

    from pipeline.lake.file_set import FileSet

_log = logger(__name__)

DAMAGED: Final = "LakeDamaged: "
"""What begins the message of this error where it passes through DuckDB."""
MISSING: Final = "it is missing"
ALL_BUT_PAGES: Final = frozenset((*(table.name for table in LAKE_TABLES), *COMPACTED))
"""The tables and the folders of compacted files, without `raw_pages`."""
_PARQUET: Final = b"PAR1"
"""How a Parquet file begins and ends."""
_THREADS: Final = 4
_BYTES_FOR_THREADS: Final = 1 << 20
"""Less is hashed before the threads have started."""


class Verification:
    """What is known of the files of one lake.

    The files of the tables and folders `anew` are read again, whatever the cache says of them.
    """

    def __init__(self, files: FileSet, *, anew: AbstractSet[str] = frozenset()) -> None:
        self._files = files
        self._anew = anew
        self._store = store_of(files.data)
        self._verified = VerifiedFiles(files.data)
        self._without_digest_count = 0
        """Files that an older version committed: nothing says what they held."""
        self.damaged_pages: LakeDamaged | None = None
        """The error for raw pages that are not what was committed."""
        self.digests: dict[str, str | None] = {}
        """For runs whose records were read already, the digests of their files, encoded."""
        self.tags: dict[str, str] = {}
        """For runs whose records another machine has verified, the tags that they had then."""
        self.file_tags: dict[str, str] = {}
        """For files that another machine has verified, by their path in the lake, the tags that they had then."""

    def verify_records(self, paths: Iterable[Path] | None = None) -> bool:
        """Verify commit records, by default all of runs that are not compacted; and the compacted ones.

        Returns: whether any of these records was not verified before.

        Raises:
            LakeDamaged: one is not what was committed, or is missing.
        """
        for path in self._files.without_record[:1]:
            run_id = run_of(path)
            record = table_path(self._files.data, OBSERVATIONS, run_id, day_of_run(run_id))
            raise damaged(self._files.data, record, MISSING)
        self.verify_compacted([RECORDS])
        unknown = self._unknown(self._files.daily[OBSERVATIONS.name] if paths is None else paths)
        for path, key in unknown:
            is_verified = path.stem in self.tags and self._store.tag(path) == self.tags[path.stem]
            flaw = None if is_verified else record_flaw(path)
            if flaw:
                raise damaged(self._files.data, path, flaw)
            self._without_digest_count += flaw is not None
            self._verified.add(key)
        return bool(unknown)

    def verify_tables(self, con: duckdb.DuckDBPyConnection, latest_runs: Iterable[str] = ()) -> None:
        """Verify every file that a table or view reads; `latest_runs` are those of each account's last observation.

        Damaged raw pages are no error here: see `damaged_pages`.

        Raises:
            LakeDamaged: a file is not what was committed.
        """
        latest = set(latest_runs)
        self.verify_records()
        self.verify_records(self._files.retained_of(OBSERVATIONS, latest))
        self.verify_compacted(COMPACTED)
        retained = [path for table in ROW_TABLES for path in self._files.retained_of(table, latest)]
        daily = [path for name, paths in self._files.daily.items() if name != OBSERVATIONS.name for path in paths]
        self._verify_files(con, [*daily, *retained], latest)
        self._verified.save()
        if self._without_digest_count:  # from now on they are remembered: this is said once
            _log.warning(
                "%s of an older version without a digest: nothing tells whether they are what was committed; "
                "%s commits them again, with digests, where their raw pages are there",
                pluralize(self._without_digest_count, "file"),
                command(self._files.data, "rebuild"),
            )

    def unlisted_pages(self) -> list[Path]:
        """List and verify the raw pages of the settled months.

        Raises:
            LakeDamaged: a file is not what was committed.
        """
        import duckdb

        with duckdb.connect() as con:
            self._store.register_filesystem(con)
            paths = self._files.unlisted_pages()
            self._verify_files(con, paths, frozenset())
        self._verified.save()
        if self.damaged_pages is not None:
            raise self.damaged_pages
        return paths

    def _verify_files(self, con: duckdb.DuckDBPyConnection, paths: Iterable[Path], latest: AbstractSet[str]) -> None:
        unknown = self._unknown(paths)
        if unknown:
            runs = {run_of(path) for path, _ in unknown}
            known = {run: decode_digests(text) for run, text in self.digests.items() if run in runs}
            known |= committed_digests(con, self._files, runs - known.keys(), latest)
            replaced = {(one.run_id, one.number): one.digests for one in self._files.tombstones.replacements}
            self._compare(
                unknown,
                [
                    (replaced.get((run_of(path), number_of(path))) or known.get(run_of(path), {})).get(table_of(path))
                    for path, _ in unknown
                ],
            )

    def verify_compacted(self, places: Iterable[str] = tuple(COMPACTED)) -> None:
        """Verify the files of the compaction.

        Raises:
            LakeDamaged: one is not what was committed.
        """
        digests = self._files.manifest.digests if self._files.manifest else {}
        paths = [path for place in places for path in self._files.compacted.get(place, ())]
        unknown = self._unknown(paths)
        self._compare(unknown, [digests.get(f"{path.parent.name}/{path.stem}") for path, _ in unknown])

    def unknown_fact(self, path: Path, fact: str) -> bytes | None:
        """Return the key under which `remember` keeps a fact of a file; None where it is known of the file as it is."""
        return self._verified.unknown_key(path, fact=fact)

    def remember(self, key: bytes) -> None:
        """Remember a fact: it is not found out again as long as nobody writes the file."""
        self._verified.add(key)

    def _unknown(self, paths: Iterable[Path]) -> list[tuple[Path, bytes]]:
        keys = ((path, self._verified.unknown_key(path, anew=table_of(path) in self._anew)) for path in paths)
        return [(path, key) for path, key in keys if key is not None and not self._is_verified_elsewhere(path)]

    def _is_verified_elsewhere(self, path: Path) -> bool:
        tag = self.file_tags.get(str(path.relative_to(self._files.data))) if self.file_tags else None
        return tag is not None and table_of(path) not in self._anew and self._store.tag(path) == tag

    def latest_files(self, latest_runs: AbstractSet[str]) -> list[Path]:
        """List the compacted files, and the daily ones of each account's last observation."""
        tables = [table for table in LAKE_TABLES if table is not OBSERVATIONS]
        daily = [path for table in tables for path in self._files.of_runs(table, latest_runs).values()]
        return [*(path for paths in self._files.compacted.values() for path in paths), *daily]

    def _compare(self, files: Sequence[tuple[Path, bytes]], committed: Sequence[FileDigest | None]) -> None:
        pairs = list(zip(files, committed, strict=True))
        for (_, key), digest in pairs:
            if digest is None:
                self._without_digest_count += 1
                self._verified.add(key)
        known = [(path, key, digest) for (path, key), digest in pairs if digest is not None]
        if not known:
            return
        shares = [known[start::_THREADS] for start in range(min(_THREADS, len(known)))]
        is_small = self._store.is_local and sum(digest.bytes for _, _, digest in known) < _BYTES_FOR_THREADS
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="verify") as pool:  # without a task, it starts none
            run = map if is_small else pool.map
            found = list(run(lambda share: [file_flaw(path, digest) for path, _, digest in share], shares))
        flaws = [
            (file, flaw) for share, of in zip(shares, found, strict=True) for file, flaw in zip(share, of, strict=True)
        ]
        for (path, key, digest), flaw in flaws:
            if flaw is None:
                self._verified.add(key)
            elif table_of(path) == RAW_PAGES.name:
                if not replaces_pages(path, digest.sha256):
                    self.damaged_pages = damaged(self._files.data, path, flaw)
            else:
                raise damaged(self._files.data, path, flaw)


def file_flaw(path: Path, committed: FileDigest) -> str | None:
    """Say how a file differs from the committed one; None where it does not."""
    store = store_of(path)
    try:
        if committed.tag is not None and store.tag(path) == committed.tag:
            return None
        if (size := store.size(path)) != committed.bytes:
            return f"it has {size:,} bytes, and was committed with {committed.bytes:,}"
        found = digest_of(path)
    except FileNotFoundError:
        return MISSING
    except OSError as error:
        raise_if_out_of_memory(error)
        return f"it cannot be read: {error.strerror or error}"
    if found.sha256 == committed.sha256:
        return None
    return f"its SHA-256 is {found.sha256[:8]}…, and was committed as {committed.sha256[:8]}…"


def record_flaw(path: Path) -> str | None:
    """Say how a commit record differs from the one that was committed; None: it does not; empty: nothing tells."""
    try:
        content = store_of(path).content(path)
        is_new = COMMITTED_FILES.encode() in content
        refuse_changed(content, path.name, is_required=is_new)
        if not (content.startswith(_PARQUET) and content.endswith(_PARQUET)):
            return f"it cannot be read: of {len(content):,} bytes, it is not a Parquet file"
    except FileNotFoundError:
        return MISSING
    except OSError as error:
        raise_if_out_of_memory(error)
        return f"it cannot be read: {error.strerror or error}"
    except ValueError as error:
        return str(error)
    return None if is_new else ""


def read_verified(path: Path) -> pa.Table:
    """Read a whole Parquet file, and verify the checksums of its pages.

    Raises:
        LakeDamaged: it cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(store_of(path).open(path), page_checksum_verification=True) as file:
            return file.read()
    except FileNotFoundError as error:
        raise LakeDamaged(MISSING) from error
    except (pa.ArrowException, OSError, LookupError, UnicodeDecodeError) as error:
        raise_if_out_of_memory(error)
        raise LakeDamaged(f"it cannot be read: {str(error).splitlines()[0][:200]}") from error


def committed_digests(
    con: duckdb.DuckDBPyConnection, files: FileSet, runs: AbstractSet[str], latest: AbstractSet[str]
) -> dict[str, dict[str, FileDigest]]:
    """Read the digests of the files of these runs, by run and table: see `encoded_digests`.

    Raises:
        LakeDamaged: a record names its files in a way that cannot be read.
    """
    return {run: decode_digests(text) for run, text in encoded_digests(con, files, runs, latest).items()}


def encoded_digests(
    con: duckdb.DuckDBPyConnection, files: FileSet, runs: AbstractSet[str], latest: AbstractSet[str]
) -> dict[str, str | None]:
    """Read the digests of the files of these runs, by run, as their verified records have them.

    A compacted run has a daily record and a compacted one. Of the `latest` runs the tables in the daily files are read:
    their daily record counts, which is newer where a rebuild has written both again.
    """
    daily = [path for path in files.daily[OBSERVATIONS.name] if path.stem in runs]
    daily += files.retained_of(OBSERVATIONS, runs & latest)
    names = ("run_id", COMMITTED_FILES)
    left = runs - {path.stem for path in daily}
    encoded: dict[str, str | None] = {}
    if left and files.compacted.get(RECORDS):
        where = f"run_id between {sql_literal(min(left))} and {sql_literal(max(left))}"  # a list of many takes longer
        rows = scan_files(COMPACTED[RECORDS], files.compacted[RECORDS], names=names, where=where)
        query = f"select run_id, any_value({COMMITTED_FILES}) from ({rows}) as record group by run_id"  # noqa: S608
        encoded |= {run: text for run, text in con.execute(query).fetchall() if run in left}
    if daily:
        encoded |= dict(con.execute(scan_files(OBSERVATIONS, daily, names=names)).fetchall())
    return encoded


def damaged(data: Path, path: Path, flaw: str) -> LakeDamaged:
    """Return the error for a damaged file: it names the file, what is wrong with it, what it held, and the cure."""
    is_without_pages = is_run_file(path) and not raw_path(data, run_of(path), day_of_run(run_of(path))).is_file()
    mends = "and prints the command for each" if is_without_pages else f"{command(data, 'rebuild')} mends it"
    return LakeDamaged(
        f"{shown(path)!r} is damaged: {flaw}. It held {_content(path)}; nothing of it was read. "
        f"{command(data, 'check')} lists all damage, {mends}"
    )


def _content(path: Path) -> str:
    table = table_of(path)
    if table == OBSERVATIONS.name:
        return f"the commit record of run {path.stem}"
    if table in {known.name for known in (*LAKE_TABLES, RAW_PAGES)}:
        return f"{table} of run {run_of(path)}"
    return "compacted runs"
