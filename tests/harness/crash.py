"""Kill a writer at every step that it takes in the file system, and look what a reader sees.

    python tests/harness/crash.py [--points 1000] [--seed 1] [--workers 2]

A real SIGKILL, before and after each system call that changes the file system
(open for writing, write, fsync, rename, link, mkdir, unlink, rmdir, truncate, flock),
of Python's as of pyarrow's and DuckDB's threads: the writer is traced by
`ptrace`, so nothing in it is replaced. After each kill a fresh process reads the
lake by `connect()`, by `lake.duckdb` and by its Delta logs, lets the next writer come, and reads
again. Needs Linux. Writers of a bucket are killed at every request that changes it: see `bucket_crash`.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import datetime as dt
import importlib
import itertools
import json
import math
import multiprocessing
import os
import platform
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a process that forks must have no threads

import duckdb
import pyarrow.parquet as pq  # noqa: F401  (loaded once, before the forks)

from pipeline import connect, rebuild, run
from pipeline.credentials import key_account
from pipeline.emulator import Endpoint, Key, living_account
from pipeline.errors import EnsImagesError, LakeMissing
from pipeline.extract.raw_pages import raw_paths
from pipeline.jobs.compaction import compact
from pipeline.jobs.retention import prune
from pipeline.jobs.withdrawal import restore, withdraw
from pipeline.lake.check import check
from pipeline.lake.delta_log import has_delta_log
from pipeline.lake.lock import lock
from pipeline.lake.orphans import orphans
from pipeline.lake.survey import complete_runs
from pipeline.views.database import write_catalog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DAY0 = dt.datetime(2026, 10, 1, 2)  # noqa: DTZ001  (UTC without a zone, as everywhere)

# ── a process, system call by system call ────────────────────────────────────

_NUMBERS = {
    "x86_64": {
        "write": 1, "pwrite64": 18, "writev": 20, "flock": 73, "fsync": 74, "fdatasync": 75, "truncate": 76,
        "ftruncate": 77, "rename": 82, "mkdir": 83, "rmdir": 84, "creat": 85, "link": 86, "unlink": 87, "open": 2,
        "openat": 257, "mkdirat": 258, "unlinkat": 263, "renameat": 264, "fallocate": 285, "pwritev": 296,
        "linkat": 265, "renameat2": 316,
    },
    "aarch64": {
        "flock": 32, "mkdirat": 34, "unlinkat": 35, "linkat": 37, "renameat": 38, "truncate": 45, "ftruncate": 46,
        "fallocate": 47, "openat": 56, "write": 64, "writev": 66, "pwrite64": 68, "pwritev": 70, "fsync": 82,
        "fdatasync": 83, "renameat2": 276,
    },
}  # fmt: skip
STEPS = {number: name for name, number in _NUMBERS.get(platform.machine(), {}).items()}
CAN_TRACE = sys.platform == "linux" and bool(STEPS)

_TRACEME, _SYSCALL, _SETOPTIONS, _GET_SYSCALL_INFO = 0, 24, 0x4200, 0x420E
_OPTIONS = 0x1 | 0x8 | 0x100000  # mark system calls, follow threads, and die with the tracer
_WALL = 0x40000000
_OF_A_FILE = {"write", "pwrite64", "writev", "pwritev", "fsync", "fdatasync", "ftruncate", "fallocate", "flock"}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


@dataclass(slots=True)
class Traced:
    """How a traced process went: its steps in order, and whether it was killed at the one that was asked for."""

    steps: list[str] = field(default_factory=list)
    was_killed: bool = False
    code: int | None = None


def traced(work: Callable[[], object], folder: Path, *, kill_at: int | None = None, after: bool = False) -> Traced:
    """Do `work` in a process of its own; kill it before or after its `kill_at`-th step under `folder`."""
    pid = os.fork()
    if pid == 0:
        _libc.ptrace(_TRACEME, 0, None, None)
        os.kill(os.getpid(), signal.SIGSTOP)
        _do_and_exit(work)
    os.waitpid(pid, 0)
    if _libc.ptrace(_SETOPTIONS, pid, None, _OPTIONS) != 0:
        raise OSError(ctypes.get_errno(), "this machine does not let a process trace its child")
    return _follow(pid, folder, kill_at, after=after)


def _do_and_exit(work: Callable[[], object]) -> None:
    code = 99
    try:
        work()
        code = 0
    except EnsImagesError as error:
        code = error.exit_code
    except BaseException:  # noqa: BLE001  (the process ends here, whatever it was)
        traceback.print_exc()
    finally:
        os._exit(code)


def _follow(pid: int, folder: Path, kill_at: int | None, *, after: bool) -> Traced:
    result = Traced()
    info = ctypes.create_string_buffer(88)
    inside: dict[int, int] = {}  # thread → number of the step that it is in
    _libc.ptrace(_SYSCALL, pid, None, None)
    while True:
        thread, status = os.waitpid(-1, _WALL)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            if thread == pid:
                result.code = os.waitstatus_to_exitcode(status)
                return result
            continue
        deliver = 0
        if os.WSTOPSIG(status) == signal.SIGTRAP | 0x80:
            _libc.ptrace(_GET_SYSCALL_INFO, thread, 88, ctypes.addressof(info))
            if info.raw[0] == 1:
                number, *args = struct.unpack_from("Q6Q", info.raw, 24)
                if _is_step(thread, number, args, folder):
                    inside[thread] = len(result.steps)
                    result.steps.append(STEPS[number])
                    result.was_killed |= inside[thread] == kill_at and not after
            elif info.raw[0] == 2:
                result.was_killed |= inside.pop(thread, None) == kill_at is not None and after
            if result.was_killed:
                os.kill(pid, signal.SIGKILL)
                continue  # a killed process is not let go on: the call that it is about to make is not made
        elif status >> 16 == 0 and os.WSTOPSIG(status) not in {signal.SIGSTOP, signal.SIGTRAP}:
            deliver = os.WSTOPSIG(status)
        _libc.ptrace(_SYSCALL, thread, None, deliver)


def _is_step(thread: int, number: int, args: list[int], folder: Path) -> bool:
    name = STEPS.get(number)
    if name in {"open", "openat"}:
        flags = args[1] if name == "open" else args[2]
        return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) and _says(thread, args[name == "openat"], folder)
    if name in _OF_A_FILE:
        with contextlib.suppress(OSError):
            return str(Path(f"/proc/{thread}/fd/{args[0]}").readlink()).startswith(str(folder))
        return False
    return name is not None


def _says(thread: int, address: int, folder: Path) -> bool:
    """Whether the path at an address of the traced process lies under `folder`."""
    with open(f"/proc/{thread}/mem", "rb", buffering=0) as memory:  # noqa: PTH123  (no file: a process)
        memory.seek(address)
        return memory.read(len(os.fsencode(folder))) == os.fsencode(folder)


# ── what a reader sees ───────────────────────────────────────────────────────

_SEEN = {
    "images": "* exclude (observed_on)",
    "image_disks": "*",
    "rejects": "*",
    "images_latest": "image_id, account, observed_at_utc",
    "observations": "account, run_id, is_published, certificate, item_count, child_item_count, ids_sha256, error",
    "raw_pages": "account, observed_on, pass_number, page_number",
    "accounts": "account, run_id, image_count, is_stale",
    "image_versions": "*",
}
Seen = dict[str, str]
MOVED: Seen = {"lake.duckdb": "names a file that was moved"}
"""An error, and no number: what a catalog of before a withdrawal may give."""


def _digests(con: duckdb.DuckDBPyConnection) -> Seen:
    def one(view: str, columns: str) -> str:
        rows = f"select cast(one as varchar) as line from (select {columns} from {view}) as one"  # noqa: S608
        asked = f"select count(*) || ' ' || coalesce(md5(string_agg(line, chr(10) order by line)), '') from ({rows})"  # noqa: S608
        return str(con.execute(asked).fetchall()[0][0])

    return {view: one(view, columns) for view, columns in _SEEN.items()}


def seen_by_connect(data: Path) -> Seen | None:
    """Every table as the views show it; None where there is no lake."""
    try:
        with connect(data) as con:
            return _digests(con)
    except LakeMissing:
        return None


def seen_in_catalog(data: Path) -> Seen | None:
    """The same by `lake.duckdb`; None where there is none."""
    if not (data / "lake.duckdb").exists():
        return None
    with duckdb.connect(str(data / "lake.duckdb"), read_only=True) as con:
        try:
            return _digests(con)
        except duckdb.IOException:
            return MOVED


def seen_in_folders(data: Path, first_day: int = 0) -> Seen | None:
    """Rows and GiB of each day and account by the folders, as any engine reads them, from a day on."""
    return {
        table: _sum_of_files(
            table, [str(path) for path in data.glob(f"lake/{table}/observed_on=*/*.parquet")], first_day
        )
        for table in _SIZES
    }


def seen_in_logs(data: Path) -> Seen | None:
    """The same by the files that the Delta logs name; None in a lake without."""
    if not has_delta_log(data):
        return None
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError

    found = {}
    for table in _SIZES:
        try:
            found[table] = _sum_of_files(table, DeltaTable(data / "lake" / table).file_uris())
        except (DeltaError, duckdb.IOException):
            found[table] = NO_NUMBER
    return found


def summed_by_connect(data: Path, first_day: int = 0) -> Seen | None:
    """The same by the views, from a day on."""
    with connect(data) as con:
        return {table: _sum_of(table, con.sql(f"from {table}"), first_day) for table in _SIZES}


NO_NUMBER = "no number: a log or a file that it names is not there"
_SIZES = {"images": "image_size_gib", "image_disks": "disk_size_gib"}


def _sum_of_files(table: str, paths: list[str], first_day: int = 0) -> str:
    """Give rows and GiB of each day and account, of Parquet files."""
    if not paths:
        return "[]"
    with duckdb.connect() as con:
        return _sum_of(table, con.read_parquet(paths, hive_partitioning=True), first_day)


def _sum_of(table: str, rows: duckdb.DuckDBPyRelation, first_day: int) -> str:
    days = rows.filter(f"observed_on >= '{DAY0 + dt.timedelta(days=first_day):%Y-%m-%d}'")
    sums = days.aggregate(f"observed_on, account, count(*), sum({_SIZES[table]})")
    return str(sums.order("all").fetchall())


# ── who is killed, and what comes after ──────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Writer:
    """A writer: what the lake is like when it comes, and what it does."""

    name: str
    days: int
    """Days that the lake has lived through."""
    act: Callable[[Path, str], object]
    """What is done to the lake, and killed."""
    prepare: Callable[[Path], object] = lambda _: None
    """What is done to the lake before."""
    then: Callable[[Path, str], object] | None = None
    """What comes after the kill; None: the same again."""
    where: str = "data"
    """The folder that is written."""
    may_lose_pages: bool = False
    moves_files: bool = False
    """Its catalog may name files that were moved, until the next writer."""
    first_day: int = 0
    """The first day of which the folders hold the rows afterwards."""


def live_through(data: Path, url: str, day: int, *, delta: bool = False) -> None:
    """Run over two accounts, on one of their days."""
    accounts = [key_account("here", "emulator", "emulator"), key_account("there", "other", "other")]
    at = DAY0 + dt.timedelta(days=day)
    run(data, accounts=accounts, endpoint=url, rate=None, workers=2, accept_shrink=True, observed_at=at, delta=delta)


def _unpublish_last(data: Path) -> None:
    """Make the lake lack its last run, as if it had been killed between landing and publishing."""
    last = raw_paths(data)[-1].stem
    for path in (data / "lake").rglob(f"{last}.parquet"):
        path.unlink()
    write_catalog(data)


def _name(day: int) -> str:
    return f"{DAY0 + dt.timedelta(days=day):%Y%m%dT%H%M%S.%fZ}"


def _age_out(data: Path, _: str) -> None:
    """Expire pages by age, and delete the files past their grace period."""
    prune(data, raw_older_than="1d", at=DAY0 + dt.timedelta(days=3))


def _withdraw_one(data: Path, _: str) -> None:
    """Withdraw an observation, and delete the files past their grace period."""
    withdraw(data, f"{_name(2)}/here", at=DAY0 + dt.timedelta(days=3))


def _withdraw_one_of_two(data: Path) -> None:
    """A run of which both accounts are withdrawn: one of them comes back."""
    for account in ("there", "here"):
        withdraw(data, f"{_name(2)}/{account}", at=DAY0 + dt.timedelta(days=3))


def _taken_out_before(data: Path) -> None:
    """A run withdrawn whole, and pages of another taken out, all past their grace."""
    at = DAY0 + dt.timedelta(days=2)
    for account in ("here", "there"):
        withdraw(data, f"{_name(1)}/{account}", grace="1h", at=at)
    prune(data, raw_older_than="1d", grace="1h", at=at)


def _compact(data: Path, _: str) -> None:
    """Compact every run, and delete what an earlier compaction replaced and is past its grace period."""
    compact(data, at=DAY0 + dt.timedelta(days=4))


def _compacted_before(data: Path) -> None:
    """Compact all but the last run: these daily files and this compaction are past their grace period at the next."""
    _unpublish_last(data)
    compact(data, grace="1h", at=DAY0 + dt.timedelta(days=2))
    rebuild(data)


def _retain(data: Path, _: str) -> None:
    """Expire the days of the folders but the last, and delete the files past their grace period."""
    prune(data, daily_older_than="1d", at=DAY0 + dt.timedelta(days=3))


def _retained_before(data: Path) -> None:
    """Compact every run, and expire the first day: past its grace period at the next retention."""
    compact(data, at=DAY0 + dt.timedelta(days=2))
    prune(data, daily_older_than="1d", grace="1h", at=DAY0 + dt.timedelta(days=2))


def _mirrored(prepare: Callable[[Path], object] = lambda _: None) -> Callable[[Path], object]:
    """Begin the Delta logs, and what else is done before."""

    def begin(data: Path) -> None:
        rebuild(data, delta=True)
        prepare(data)

    return begin


def _without_a_log(data: Path) -> None:
    """A lake with Delta logs, one of them damaged."""
    rebuild(data, delta=True)
    (data / "lake" / "images" / "_delta_log" / f"{0:020}.json").write_text("{")


def _catalog(data: Path, _: str) -> None:
    with lock(data):
        write_catalog(data)


WRITERS = (
    Writer("run", 2, lambda data, url: live_through(data, url, 2), then=lambda data, url: live_through(data, url, 3)),
    Writer("first run", 0, lambda data, url: live_through(data, url, 0),
           then=lambda data, url: live_through(data, url, 1)),
    Writer("rebuild", 2, lambda data, _: rebuild(data), prepare=_unpublish_last),
    Writer("rebuild into", 2, lambda data, _: rebuild(data, into=data.parent / "other"), where="other"),
    Writer("prune", 3, _age_out, prepare=_taken_out_before, may_lose_pages=True,
           then=lambda data, _: prune(data, raw_older_than="1d", at=DAY0 + dt.timedelta(days=3))),
    Writer("withdraw", 3, _withdraw_one, prepare=_taken_out_before, may_lose_pages=True, moves_files=True,
           then=lambda data, _: prune(data, raw_older_than="1d", at=DAY0 + dt.timedelta(days=3))),
    Writer("restore", 3, lambda data, _: restore(data, f"{_name(2)}/here", at=DAY0 + dt.timedelta(days=3)),
           prepare=_withdraw_one_of_two, moves_files=True,
           then=lambda data, url: live_through(data, url, 3)),
    Writer("first compaction", 3, _compact),
    Writer("compaction", 3, _compact, prepare=_compacted_before),
    Writer("retention", 3, _retain, prepare=_retained_before, moves_files=True, first_day=2),
    Writer("run with Delta logs", 2, lambda data, url: live_through(data, url, 2, delta=True), prepare=_mirrored(),
           then=lambda data, url: live_through(data, url, 3)),
    Writer("retention with Delta logs", 3, _retain, prepare=_mirrored(_retained_before), moves_files=True, first_day=2),
    Writer("withdraw with Delta logs", 3, _withdraw_one, prepare=_mirrored(), moves_files=True,
           then=lambda data, _: prune(data, at=DAY0 + dt.timedelta(days=3))),
    Writer("rebuild of Delta logs", 2, lambda data, _: rebuild(data, delta=True), prepare=_without_a_log),
    Writer("catalog swap", 2, _catalog, prepare=lambda data: (data / "lake.duckdb").unlink()),
)  # fmt: skip


_READERS: dict[str, Callable[[Path], Seen | None]] = {
    "connect()": seen_by_connect,
    "lake.duckdb": seen_in_catalog,
    "a Delta log": seen_in_logs,
}


class Scene:
    """A folder in which one writer is killed again and again, each time on the same lake."""

    def __init__(self, writer: Writer, root: Path, url: str) -> None:
        self.writer, self.root, self.url = writer, root, url
        self.data, self.written = root / "data", root / writer.where
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        for name in in_a_process(self._live):  # loaded once here, and not again in every process that forks off
            with contextlib.suppress(Exception):
                importlib.import_module(name)
        shutil.copytree(root, self._kept)
        self.before = self._states()
        self.steps = traced(self._act, self.root).steps
        self.after = self._states()

    @property
    def _kept(self) -> Path:
        return self.root.with_name(self.root.name + ".kept")

    def _live(self) -> list[str]:
        for day in range(self.writer.days):
            live_through(self.data, self.url, day)
        self.writer.prepare(self.data)
        return [name for name in sys.modules if not name.startswith("__")]

    def _act(self) -> None:
        self.writer.act(self.data, self.url)

    def _states(self) -> list[Seen | None]:
        return in_a_process(lambda: [see(self.written) for see in _READERS.values()])

    def restore(self) -> None:
        """Put the lake back as it was before the writer."""
        shutil.rmtree(self.root)
        shutil.copytree(self._kept, self.root)

    def killed(self, step: int, *, after: bool) -> tuple[bool, list[str]]:
        """Kill the writer at one step: whether it came to that, and what was wrong then."""
        self.restore()
        result = traced(self._act, self.root, kill_at=step, after=after)
        if not result.was_killed and result.code != 0:
            return False, [f"the writer ended with {result.code}"]
        return result.was_killed, in_a_process(self._look)

    def _look(self) -> list[str]:
        """Look at what the kill has left, let the next writer come, and look again."""
        wrong = []
        for (how, see), before, after in zip(_READERS.items(), self.before, self.after, strict=True):
            seen = see(self.written)
            if how == "a Delta log":  # table by table: each has its own
                states = [before or {}, after or {}, dict.fromkeys(_SIZES, NO_NUMBER)]
                is_right = all(
                    number in {state.get(table) for state in states} for table, number in (seen or {}).items()
                )
            else:
                is_right = seen in (before, after) or (self.writer.moves_files and seen == MOVED)
            if not is_right:
                wrong.append(f"{how} shows a lake that is neither before nor after: {seen}")
        pages = {path: path.read_bytes() for path in raw_paths(self.data)}
        self._then()
        if not self.writer.may_lose_pages:
            wrong += [f"{path.name}: landed pages lost" for path, was in pages.items() if path.read_bytes() != was]
        wrong += self._left(self.data) + (self._left(self.written) if self.written != self.data else [])
        return wrong

    def _then(self) -> None:
        if self.written == self.data or not list(self.written.glob("lake/observations")):
            (self.writer.then or self.writer.act)(self.data, self.url)
        else:  # the new lake is there whole, and is not made twice
            _catalog(self.written, self.url)
        if self.written == self.data and {path.stem for path in raw_paths(self.data)} - complete_runs(self.data):
            rebuild(self.data)

    def _left(self, data: Path) -> list[str]:
        wrong = [f"left: {path.relative_to(data)}" for path in orphans(data)]
        expected = ("lake/", "raw/observed_on=", "raw/_tombstones.json", "lake.duckdb", ".lock", ".verified")
        for path in data.rglob("*"):
            name = str(path.relative_to(data))
            if path.is_file() and not name.startswith(expected):
                wrong.append(f"left: {name}")
        wrong += [str(finding) for finding in check(data).findings]
        first_day = self.writer.first_day
        if (rows := summed_by_connect(data, first_day)) != seen_in_folders(data, first_day):
            wrong.append("the folders hold other rows than the views")
        if seen_in_logs(data) not in (None, rows):
            wrong.append("the Delta logs name other rows than the views")
        if seen_by_connect(data) != seen_in_catalog(data):
            wrong.append("the catalog lags behind the next writer")
        return wrong


def in_a_process(work: Callable[[], Any]) -> Any:
    """Do `work` in a process of its own, and give what it gave: this one keeps free of threads, so that it can fork."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        code = 1
        try:
            said = json.dumps(work()).encode()
            with os.fdopen(write, "wb") as out:
                out.write(said)
            code = 0
        except BaseException:  # noqa: BLE001  (the process ends here, whatever it was)
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        said = answer.read()
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0:
        return ["the next process failed: see above"]
    return json.loads(said)


BUCKET_SHARE = 20
"""In a bucket, one point for each writer to so many points in all in a folder."""
SIZES = (60, 3, 0, 120)
"""Images of the account that is read."""


# ── the endpoint, and the matrix ─────────────────────────────────────────────


def _serve(images: int, seed: int, url: Any) -> None:
    keys = {
        "emulator": Key("emulator", living_account(images=images, seed=seed)),
        "other": Key("other", living_account(images=3, seed=seed + 1)),
    }
    with Endpoint(keys) as endpoint:
        url.send(endpoint.url)
        signal.pause()


@contextlib.contextmanager
def endpoint(images: int, seed: int) -> Iterator[str]:
    """A local endpoint in a process of its own, two accounts on it; its URL."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(images, seed, there), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        process.kill()
        process.join()


@dataclass(slots=True)
class Matrix:
    """What was tried, and what was wrong."""

    points: Counter[str] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def kill_everywhere(
    writer: Writer, root: Path, url: str, *, seed: int, limit: int, about: str = "", is_reported: bool = False
) -> Matrix:
    """Kill a writer before and after its steps, at `limit` of those points, drawn by `seed`."""
    result = Matrix()
    scene = Scene(writer, root / writer.name.replace(" ", "-"), url)
    points = [(step, after) for step in range(len(scene.steps)) for after in (False, True)]
    points = _drawn(scene.steps, points, limit, random.Random(seed))  # noqa: S311  (no secret)
    for step, after in points:
        was_killed, wrong = scene.killed(step, after=after)
        result.points[writer.name] += was_killed
        result.steps[scene.steps[step]] += was_killed
        where = f"{writer.name}{about}, killed {'after' if after else 'before'} step {step} ({scene.steps[step]})"
        result.wrong += [f"{where}: {what}" for what in wrong]
    if is_reported:
        tried = f"{len(scene.steps)} steps, {result.points[writer.name]} kill points, {len(result.wrong)} wrong"
        print(f"{writer.name}{about}, seed {seed}: {tried}", flush=True)  # noqa: T201
    shutil.rmtree(scene.root)
    shutil.rmtree(scene.root.with_name(scene.root.name + ".kept"))
    return result


def _drawn(steps: list[str], points: list[tuple[int, bool]], limit: int, draw: random.Random) -> list[tuple[int, bool]]:
    """At most `limit` points, a quarter of them writes, of which a file takes many."""
    others = [point for point in points if steps[point[0]] not in {"write", "pwrite64"}]
    writes = [point for point in points if steps[point[0]] in {"write", "pwrite64"}]
    kept = draw.sample(writes, min(limit // 4, len(writes)))
    return sorted(kept + draw.sample(others, min(limit - len(kept), len(others))))


def _worker(writer: int, images: int, seed: int, limit: int) -> Matrix:
    # A killed process loses nothing that it has written, synced or not: memory will do.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
    with tempfile.TemporaryDirectory(prefix="ens-images-crash.", dir=memory) as root, endpoint(images, seed) as url:
        about = f", {images} images"
        return kill_everywhere(WRITERS[writer], Path(root), url, seed=seed, limit=limit, about=about, is_reported=True)


def _bucket_worker(seed: int, limit: int) -> Matrix:
    from bucket_crash import kill_everywhere_in_all

    with tempfile.TemporaryDirectory() as cache, endpoint(60, seed) as url:
        os.environ["XDG_CACHE_HOME"] = cache
        return kill_everywhere_in_all(url, seed=seed, limit=limit, is_reported=True)


def main() -> None:
    """Kill until as many points as asked for were tried, and say what was found."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--points", type=int, default=1000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    asked = options.parse_args()
    if not CAN_TRACE:
        sys.exit("kill points are found by tracing system calls, on Linux on x86-64 or arm64")
    began = time.monotonic()
    total = Matrix()
    with ProcessPoolExecutor(asked.workers, multiprocessing.get_context("spawn")) as pool:
        for place in itertools.count():
            images, seed = SIZES[place % len(SIZES)], asked.seed + place
            limit = math.ceil(asked.points / len(SIZES) / len(WRITERS))
            for part in pool.map(_worker, range(len(WRITERS)), *map(itertools.repeat, (images, seed, limit))):
                total.points += part.points
                total.steps += part.steps
                total.wrong += part.wrong
            if sum(total.points.values()) >= asked.points:
                break
        seeds = [asked.seed + place for place in range(asked.workers)]
        limits = itertools.repeat(math.ceil(asked.points / BUCKET_SHARE / asked.workers))
        for part in pool.map(_bucket_worker, seeds, limits):
            total.points += part.points
            total.steps += part.steps
            total.wrong += part.wrong
    for line in total.wrong[:50]:
        print(line)  # noqa: T201
    points = sum(total.points.values())
    by_writer = ", ".join(f"{name} {count}" for name, count in total.points.items())
    by_step = ", ".join(f"{name} {count}" for name, count in total.steps.most_common())
    minutes = (time.monotonic() - began) / 60
    print(f"by writer: {by_writer}\nby step: {by_step}")  # noqa: T201
    print(f"{points:,} kill points tried, {points - len(total.wrong):,} survived, in {minutes:.1f} minutes")  # noqa: T201
    sys.exit(1 if total.wrong else 0)


if __name__ == "__main__":
    main()
