"""Read without a pause while runs publish and compact, prunes delete and writers are killed.

    python tests/harness/soak.py [--minutes 3] [--seed 1]

A read opens the lake anew, asks every view, and compares: each published
observation has the images and disks that it counts, or the result is torn. One
reader goes by `connect()`, one by `lake.duckdb` in a process of its own each
time, one keeps a connection for seconds, and must see the same all along, and
one reads `lake/images` with pandas beside runs.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import itertools
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
from crash import endpoint, in_a_process

from pipeline import connect, run
from pipeline.credentials import key_account
from pipeline.errors import EnsImagesError, LakeMissing
from pipeline.extract.raw_pages import raw_paths
from pipeline.jobs.compaction import compact
from pipeline.jobs.retention import prune
from pipeline.jobs.withdrawal import restore, withdraw
from pipeline.lake.check import check
from pipeline.lake.tombstone_files import read_tombstones
from pipeline.views.catalog import relations

if TYPE_CHECKING:
    from collections.abc import Callable

GRACE_SECONDS = 10
"""Of the prunes here; no reader keeps a connection for longer than half of it."""

_FIRST_DAY = dt.timedelta(days=4000)  # ago: there are days enough for a run each

_TORN = """
    select count(*) from observations as o
    left join (select account, observed_at_utc, count(*) as n from images group by all) as i
        using (account, observed_at_utc)
    left join (select account, observed_at_utc, count(*) as n from image_disks group by all) as d
        using (account, observed_at_utc)
    where is_published and resource = 'images'
        and (coalesce(i.n, 0) <> item_count or coalesce(d.n, 0) <> child_item_count)
    union all
    select count(*) from images anti join (select * from observations where is_published and resource = 'images') as o
        using (account, observed_at_utc)
    union all
    select count(*) from (select account, count(*) as n from images_latest group by account) as i
    join accounts using (account) where n <> image_count
"""


@dataclass(slots=True)
class Told:
    """What one process did, and what went wrong in it."""

    name: str
    count: int = 0
    errors: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)


# ── readers ──────────────────────────────────────────────────────────────────


def _torn(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Ask for what does not belong together, then read every view."""
    counts = [row[0] for row in con.execute(_TORN).fetchall()]
    for view in relations():
        con.execute(f"select count(*) from (from {view})").fetchall()  # noqa: S608
    return [f"{counts} rows do not belong together"] if any(counts) else []


def _by_connect(data: Path) -> list[str]:
    with connect(data) as con:
        return _torn(con)


def _by_catalog(data: Path) -> list[str]:
    def read() -> list[str]:
        with duckdb.connect(str(data / "lake.duckdb"), read_only=True) as con:
            return _torn(con)

    found: list[str] = in_a_process(read)
    return found


def _kept_open(data: Path) -> list[str]:
    """Keep one connection: it must answer the same until it is closed."""
    until = time.monotonic() + GRACE_SECONDS / 2
    with connect(data) as con:
        asked = (
            "select (select count(*) from images), (select count(*) from raw_pages), (select max(run_id) from accounts)"
        )
        first = con.execute(asked).fetchall()
        while time.monotonic() < until:
            if con.execute(asked).fetchall() != first:
                return ["an open connection saw the lake change"]
            time.sleep(0.05)
    return []


_sizes: dict[Any, int] = {}


def _by_pandas(data: Path) -> list[str]:
    """Read the folder past the views: whole files, so an observation never has another number of images."""
    import pandas as pd

    found = pd.read_parquet(data / "lake" / "images").groupby(["account", "observed_at_utc"]).size().to_dict()
    return [f"{key}: {n} images, then {_sizes[key]}" for key, n in found.items() if _sizes.setdefault(key, n) != n]


def _read(how: Callable[[Path], list[str]], data: Path, stop: Any, at_work: Any, told: Any) -> None:
    result = Told(how.__name__.strip("_"))
    while not stop.is_set():
        try:
            result.torn += how(data)
            result.count += 1
            at_work.set()
        except Exception:  # noqa: BLE001  (whatever it is, it is an error to tell of)
            result.errors.append(traceback.format_exc())
    told.put(result)


# ── writers ──────────────────────────────────────────────────────────────────


def _next_day(data: Path) -> dt.datetime:
    """A day after the last run, whether its files lie there, are compacted, or were only landed."""
    runs = {path.stem for path in raw_paths(data)}
    with contextlib.suppress(LakeMissing), connect(data) as con:
        runs |= {run_id for (run_id,) in con.execute("select distinct run_id from observations").fetchall()}
    if not runs:
        return (dt.datetime.now(dt.UTC) - _FIRST_DAY).replace(microsecond=0, tzinfo=None)
    return dt.datetime.strptime(max(runs), "%Y%m%dT%H%M%S.%fZ") + dt.timedelta(days=1)  # noqa: DTZ007  (UTC)


def _run(data: Path, url: str) -> None:
    at = _next_day(data)
    accounts = [key_account("here", "emulator", "emulator"), key_account("there", "other", "other")]
    run(data, accounts=accounts, endpoint=url, rate=None, accept_shrink=True, observed_at=at)


def _prune(data: Path, draw: random.Random) -> None:
    """Expire pages by age, and withdraw one observation of two; at times restore one, and compact every run."""
    with connect(data) as con:
        names = con.execute("select run_id || '/' || account from observations where is_published").fetchall()
    withdrawn = [
        withdrawal
        for withdrawal in read_tombstones(data).active
        if withdrawal.until_utc > dt.datetime.now(dt.UTC).replace(tzinfo=None)
    ]
    chosen = draw.choice(names)[0] if len(names) > 8 and draw.random() < 0.5 else None
    back = draw.choice(withdrawn).name if withdrawn and draw.random() < 0.3 else None
    is_compacting = draw.random() < 0.3
    grace = f"{GRACE_SECONDS}s"
    if back:
        restore(data, back)
    if chosen:
        withdraw(data, chosen, grace=grace)
    prune(data, raw_older_than="1d", grace=grace)
    if is_compacting:
        compact(data, grace=grace)


def _write(data: Path, beside: Path, url: str, seed: int, stop: Any, counts: Any, told: Any) -> None:
    draw = random.Random(seed)  # noqa: S311  (no secret)
    result = Told("writer")
    while not stop.is_set():
        try:
            _run(data, url)
            counts[0] += 1
            if draw.random() < 0.5:
                _prune(data, draw)
                counts[1] += 1
            if draw.random() < 0.3:
                _run(beside, url)
        except EnsImagesError:
            result.errors.append(traceback.format_exc())
        if result.errors:
            break
    told.put(result)


# ── the soak ─────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Soaked:
    """The figures of a soak."""

    readers: list[Told]
    run_count: int
    prune_count: int
    kill_count: int
    findings: list[str]

    @property
    def wrong(self) -> list[str]:
        """Everything that went wrong."""
        return [line for reader in self.readers for line in (*reader.errors, *reader.torn)] + self.findings

    def __str__(self) -> str:
        """The figures in a few lines."""
        reads = ", ".join(f"{reader.name} {reader.count:,}" for reader in self.readers if reader.name != "writer")
        total = sum(reader.count for reader in self.readers)
        errors = sum(len(reader.errors) for reader in self.readers)
        torn = sum(len(reader.torn) for reader in self.readers)
        return (
            f"{total:,} reads ({reads}) beside {self.run_count:,} runs, {self.prune_count:,} prunes and "
            f"{self.kill_count:,} killed writers: {errors} errors, {torn} torn results, "
            f"{len(self.findings)} findings of a check after it"
        )


def soak(root: Path, seconds: float, *, seed: int, kill_every: float = 15) -> Soaked:
    """Read and write for so many seconds; a writer is killed every so often, and the next one goes on."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["soak", "pandas", "pipeline.emulator", "pipeline.extract.listing"]
    )  # writers begin at once
    stop, told = context.Event(), context.Queue()
    counts = context.Array("i", 2, lock=False)  # one writer at a time; a lock would die with it
    data, beside = root / "data", root / "beside"
    draw = random.Random(seed)  # noqa: S311  (no secret)
    kills = 0
    with endpoint(60, seed) as url:
        for folder in (data, beside):
            _run(folder, url)
        hows = (_by_connect, _by_catalog, _kept_open)
        at_work = [context.Event() for _ in range(len(hows) + 1)]
        asked = [*zip(hows, itertools.repeat(data), at_work, strict=False), (_by_pandas, beside, at_work[-1])]
        readers = [context.Process(target=_read, args=(how, lake, stop, set_, told)) for how, lake, set_ in asked]
        for reader in readers:
            reader.start()
        for event in at_work:  # a process takes a while to begin, which is not counted
            event.wait(120)
        until = time.monotonic() + seconds
        results: list[Told] = []
        while time.monotonic() < until and not results:
            # What a killed process had on the way through a queue may never come: each writer has its own.
            own = context.Queue()
            writer = context.Process(target=_write, args=(data, beside, url, draw.random(), stop, counts, own))
            writer.start()
            writer.join(min(kill_every * (0.5 + draw.random()), max(0.0, until - time.monotonic())))
            if writer.is_alive() and time.monotonic() < until:
                writer.kill()
                kills += 1
            elif not writer.is_alive():
                results.append(own.get(timeout=10))
            else:
                stop.set()
                results.append(own.get(timeout=60))
            writer.join()
        stop.set()
        results += [told.get(timeout=60) for _ in readers]
        for reader in readers:
            reader.join()
        _run(data, url)
    findings = [str(finding) for finding in check(data).findings if "landed, and not published" not in str(finding)]
    return Soaked(results, counts[0], counts[1], kills, findings)


def main() -> None:
    """Soak for some minutes, and say how much was read and what went wrong."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--minutes", type=float, default=3)
    options.add_argument("--seed", type=int, default=1)
    asked = options.parse_args()
    root = Path(tempfile.mkdtemp(prefix="ens-images-soak."))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        result = soak(root, asked.minutes * 60, seed=asked.seed)
    for line in result.wrong[:10]:
        print(line)  # noqa: T201
    print(f"{asked.minutes:g} minutes: {result}")  # noqa: T201
    sys.exit(1 if result.wrong else 0)


if __name__ == "__main__":
    main()
