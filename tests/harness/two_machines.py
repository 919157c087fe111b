"""Let one machine maintain a lake in a bucket at every request of another, and look what both leave.

    python tests/harness/two_machines.py [--moments 1000] [--seed 1] [--workers 2]

The bucket is in memory. Two maintainers, or a run and one, are at work at once: at a request of the first the second
does all that it does, and the first goes on with what it had read. In the end the lake must be one that they leave when
they come one after the other, in one order or the other; both must end well; and `check` must find nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import multiprocessing
import os
import random
import sys
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from unittest import mock

import obstore
from bucket_crash import _after, _live, _name, buckets_in_memory, objects_of
from crash import endpoint, seen_by_connect

from pipeline import rebuild
from pipeline.errors import EnsImagesError, UnknownName
from pipeline.jobs.compaction import compact
from pipeline.jobs.retention import prune
from pipeline.jobs.withdrawal import restore, withdraw
from pipeline.lake.check import check
from pipeline.storage.bucket import bucket_store
from pipeline.storage.store import open_location

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bucket_crash import Objects
    from crash import Seen

REQUESTS = ("get", "get_range", "head", "list", "put", "copy", "delete")
NOW = _after(4)

ACTS: dict[str, Callable[[Path, str], object]] = {
    "run": lambda data, url: _live(data, url, 3),
    "later run": lambda data, url: _live(data, url, 4),
    "withdraw": lambda data, _: withdraw(data, _name(data, 1, "here"), at=NOW),
    "withdraw the latest": lambda data, _: withdraw(data, _name(data, 2, "there"), at=NOW),
    "withdraw at once": lambda data, _: withdraw(data, _name(data, 0, "there"), grace="0s", at=NOW),
    "restore": lambda data, _: restore(data, _name(data, 1, "there"), at=NOW),
    "compact": lambda data, _: compact(data, at=NOW),
    "prune": lambda data, _: prune(data, at=NOW),
    "expire": lambda data, _: prune(data, raw_older_than="1d", daily_older_than="1d", at=NOW),
    "rebuild": lambda data, _: rebuild(data),
}
PAIRS = [pair for pair in itertools.product(ACTS, ACTS) if pair[0] != pair[1] or "run" not in pair[0]]
"""Two runs as of one instant claim it both: `check` tells, and how to withdraw one."""


def prepare(data: Path, url: str) -> None:
    """Three days, two of them compacted; of the second one an account is withdrawn."""
    _live(data, url, 0, 1)
    compact(data, at=_after(2))
    _live(data, url, 2)
    withdraw(data, _name(data, 1, "there"), at=_after(3))


@dataclass(slots=True)
class Found:
    """What was tried, and what was wrong."""

    moments: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def interleaved(first: Callable[[], object], second: Callable[[], object], at: int | None) -> list[str]:
    """Do `first`, and all of `second` before its request number `at`. Returns: the requests of the first."""
    requests: list[str] = []
    is_second = [False]

    def requesting(name: str, request: Callable[..., Any]) -> Callable[..., Any]:
        def asked(*given: Any, **options: Any) -> Any:
            if not is_second[0]:
                requests.append(name)
                if len(requests) - 1 == at:
                    is_second[0] = True
                    second()
                    is_second[0] = False
            return request(*given, **options)

        return asked

    with mock.patch.multiple(obstore, **{name: requesting(name, getattr(obstore, name)) for name in REQUESTS}):
        first()
    return requests


@dataclass(slots=True)
class Laboratory:
    """A bucket that pairs are tried in, and the lake that each begins with."""

    fill: Callable[[Objects], Path]
    url: str
    objects: Objects
    in_order: dict[tuple[str, str], Seen | None] = field(default_factory=dict)
    """The lake that two leave, one after the other."""

    def tried(self, pair: tuple[str, str], *, seed: int, limit: int, among: range | None = None) -> Found:
        """Let the second of a pair act at `limit` requests of the first, drawn by `seed`, or `among` some of them."""
        found = Found()
        first, second = (ACTS[name] for name in pair)
        expected = [self._one_after_the_other(order) for order in (pair, pair[::-1])]
        data = self.fill(self.objects)
        other = open_location("s3://other/data")  # the same bucket, with the caches of another process
        count = len(interleaved(lambda: _ended(first, data, self.url), lambda: None, None))
        draw = random.Random(f"{seed} {pair}")  # noqa: S311
        for at in sorted(draw.sample(among or range(count), min(limit, count))):
            self.fill(self.objects)
            found.moments[" beside ".join(pair)] += 1
            ended: list[str] = []
            requests = interleaved(
                lambda: ended.append(_ended(first, data, self.url)),  # noqa: B023
                lambda: ended.append(_ended(second, other, self.url)),  # noqa: B023
                at,
            )
            where = f"{pair[1]} at request {at} ({requests[at]}) of {pair[0]}, seed {seed}"
            found.wrong += [f"{where}: {what}" for what in (*filter(None, ended), *_wrong(data, expected))]
        return found

    def _one_after_the_other(self, names: tuple[str, str]) -> Seen | None:
        if names not in self.in_order:
            data = self.fill(self.objects)
            for name in names:
                _ended(ACTS[name], data, self.url)
            self.in_order[names] = _seen(data)
        return self.in_order[names]


@contextlib.contextmanager
def laboratory() -> Iterator[Laboratory]:
    """Make the bucket, and three days of two accounts in it."""
    with endpoint(4, 1) as url, buckets_in_memory() as fill:
        data = fill({})
        prepare(data, url)
        yield Laboratory(fill, url, objects_of(data))


def _ended(act: Callable[[Path, str], object], data: Path, url: str) -> str:
    """Do something. Returns: how it failed; empty where it did not."""
    try:
        act(data, url)
    except UnknownName:  # the other one did it
        return ""
    except Exception:  # noqa: BLE001
        return traceback.format_exc()
    return ""


def _seen(data: Path) -> Seen | None:
    """What is seen after a next maintainer but for the ids of runs, which are random, and the state of the lake."""
    bucket_store.cache_clear()
    prune(data, at=NOW)
    seen = seen_by_connect(data)
    random_ids = {"observations", "accounts", "raw_pages", "rejects"}
    return seen and {view: digest.split()[0] if view in random_ids else digest for view, digest in seen.items()}


def _wrong(data: Path, expected: list[Seen | None]) -> list[str]:
    bucket_store.cache_clear()
    wrong = [f"check: {finding}" for finding in check(data).findings]
    try:
        seen = _seen(data)
    except EnsImagesError as error:
        return [*wrong, f"it is refused: {error}"]
    if seen not in expected:
        differ = [view for view in (seen or {}) if all(one and one[view] != seen[view] for one in expected)]
        wrong.append(f"the lake is that of neither order: {', '.join(differ) or seen}")
    wrong += [f"check after the next maintainer: {finding}" for finding in check(data).findings]
    return wrong


def _worker(number: int, workers: int, seed: int, limit: int) -> Found:
    total = Found()
    with laboratory() as here:
        for pair in PAIRS[number::workers]:
            part = here.tried(pair, seed=seed, limit=limit)
            print(f"{' beside '.join(pair)}: {part.moments.total()} moments, {len(part.wrong)} wrong", flush=True)  # noqa: T201
            for line in part.wrong:
                print(line, flush=True)  # noqa: T201
            total.moments += part.moments
            total.wrong += part.wrong
    return total


def main() -> None:
    """Try every pair at as many requests as asked for, and say what was found."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--moments", type=int, default=1000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    asked = options.parse_args()
    began = time.monotonic()
    limit = -(-asked.moments // len(PAIRS))
    total = Found()
    with ProcessPoolExecutor(asked.workers, multiprocessing.get_context("spawn")) as pool:
        given = (itertools.repeat(each) for each in (asked.workers, asked.seed, limit))
        for part in pool.map(_worker, range(asked.workers), *given):
            total.moments += part.moments
            total.wrong += part.wrong
    minutes = (time.monotonic() - began) / 60
    print(f"{total.moments.total():,} moments of two machines, {len(total.wrong):,} wrong, in {minutes:.1f} minutes")  # noqa: T201
    sys.exit(1 if total.wrong else 0)


if __name__ == "__main__":
    main()
