"""Kill a writer of a lake in a bucket at every request that changes it, and look what a reader sees.

The bucket is in memory. A killed writer sends nothing more: its request is answered or not, and neither it nor what it
would have cleaned up is heard of again. `make crash` does all points; `make cloud` kills processes, over HTTP.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import random
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

import duckdb
import obstore
from crash import DAY0, Matrix, live_through, seen_by_connect, summed_by_connect
from obstore.store import MemoryStore

from pipeline import connect, rebuild
from pipeline.errors import LakeMissing, UnknownName
from pipeline.extract.raw_pages import raw_paths
from pipeline.jobs.compaction import compact
from pipeline.jobs.retention import prune
from pipeline.jobs.withdrawal import restore, withdraw
from pipeline.lake.check import check
from pipeline.storage import configuration
from pipeline.storage.bucket import bucket_store
from pipeline.storage.store import open_location, store_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from crash import Seen

CHANGES = ("put", "copy", "delete")
Objects = dict[str, bytes]
_SIZES = {"images": "image_size_gib", "image_disks": "disk_size_gib"}


class Killed(BaseException):
    """The machine is gone."""


@dataclass(frozen=True, slots=True)
class BucketWriter:
    """A writer: what the lake is like when it comes, what it does, and what comes after a kill."""

    name: str
    prepare: Callable[[Path, str], object]
    act: Callable[[Path, str], object]
    then: Callable[[Path, str], object] | None = None
    """None: the same again."""
    where: str = "data"
    may_lose_pages: bool = False


def _live(data: Path, url: str, *days: int) -> None:
    for day in days:
        live_through(data, url, day)


def _name(data: Path, day: int, account: str) -> str:
    begins = f"{DAY0 + dt.timedelta(days=day):%Y%m%dT%H%M%S}"
    return next(f"{path.stem}/{account}" for path in raw_paths(data) if path.stem.startswith(begins))


def _after(days: int) -> dt.datetime:
    return DAY0 + dt.timedelta(days=days)


def _unpublished(data: Path, url: str) -> None:
    _live(data, url, 0, 1)
    last = raw_paths(data)[-1].stem
    for path in [path for path in (data / "lake").rglob("*.parquet") if path.stem == last]:
        store_of(path).delete(path)


def _compacted(data: Path, url: str) -> None:
    """Two days compacted, and a third one: what the next compaction replaces is past its grace period at the next."""
    _live(data, url, 0, 1)
    compact(data, grace="1h", at=_after(2))
    _live(data, url, 2)


def _expired(data: Path, url: str) -> None:
    """Three days compacted; the first one has expired, its grace period over."""
    _live(data, url, 0, 1, 2)
    compact(data, at=_after(2))
    prune(data, raw_older_than="1d", daily_older_than="1d", grace="1h", at=_after(2))


def _expire(data: Path, _: str) -> None:
    prune(data, raw_older_than="1d", daily_older_than="1d", at=_after(3))


def _withdraw(data: Path, _: str) -> None:
    withdraw(data, _name(data, 1, "here"), at=_after(3))


def _both_withdrawn(data: Path, url: str) -> None:
    _live(data, url, 0, 1, 2)
    for account in ("there", "here"):
        withdraw(data, _name(data, 1, account), at=_after(3))


def _restore(data: Path, _: str) -> None:
    restore(data, _name(data, 1, "here"), at=_after(3))


BUCKET_WRITERS = (
    BucketWriter("run", lambda data, url: _live(data, url, 0, 1), lambda data, url: _live(data, url, 2),
                 then=lambda data, url: _live(data, url, 3)),
    BucketWriter("rebuild", _unpublished, lambda data, _: rebuild(data)),
    BucketWriter("rebuild into", lambda data, url: _live(data, url, 0, 1),
                 lambda data, _: rebuild(data, into=data.parent / "other"), where="other"),
    BucketWriter("compaction", _compacted, lambda data, _: compact(data, at=_after(4))),
    BucketWriter("prune", _expired, _expire, may_lose_pages=True),
    BucketWriter("withdraw", lambda data, url: _live(data, url, 0, 1, 2), _withdraw),
    BucketWriter("restore", _both_withdrawn, _restore),
)  # fmt: skip


# ── a bucket that a writer can be killed at ──────────────────────────────────


@contextlib.contextmanager
def buckets_in_memory() -> Iterator[Callable[[Objects], Path]]:
    """Let every bucket be one in memory. Yields: a function that puts objects in it, and nothing else."""
    client: list[Any] = [None]

    def fill(objects: Objects) -> Path:
        client[0] = MemoryStore()
        bucket_store.cache_clear()
        for key, body in objects.items():
            obstore.put(client[0], key, body)
        return open_location("s3://bucket/data")

    with (
        mock.patch.object(configuration, "object_client", side_effect=lambda *_, **__: client[0]),
        mock.patch("pipeline.storage.bucket.time.sleep"),
    ):
        yield fill


def objects_of(data: Path) -> Objects:
    """Every object of the bucket that a lake is in."""
    paths = open_location("s3://bucket/data").store.objects(data.parent)  # type: ignore[attr-defined]
    return {path.key: path.read_bytes() for path in paths}


def killed(work: Callable[[], object], kill_at: int | None, *, after: bool = False) -> list[str]:
    """Do `work`, and kill it before or after its `kill_at`-th change. Returns: its changes, in order."""
    steps: list[str] = []

    def changing(name: str, change: Callable[..., Any]) -> Callable[..., Any]:
        def request(*given: Any, **options: Any) -> Any:
            number = len(steps)
            is_last = number == kill_at
            if kill_at is not None and (number > kill_at or (is_last and not after)):
                raise Killed
            steps.append(name)
            answer = change(*given, **options)
            if is_last:
                raise Killed
            return answer

        return request

    changes = {name: changing(name, getattr(obstore, name)) for name in CHANGES}
    with mock.patch.multiple(obstore, **changes), contextlib.suppress(Killed):
        work()
    return steps


# ── what is seen ─────────────────────────────────────────────────────────────


def _seen(data: Path) -> Seen | None:
    bucket_store.cache_clear()  # as another process
    return seen_by_connect(data)


def _of_observations_whole(data: Path) -> bool:
    """Whether every observation that a reader sees has all its rows."""
    query = (
        "select bool_and(item_count = (select count(*) from images as i where (i.account, i.observed_at_utc) = "
        "(record.account, record.observed_at_utc))) from observations as record "
        "where is_published and resource = 'images'"
    )
    try:
        with connect(data) as con:
            return con.execute(query).fetchall() != [(False,)]
    except LakeMissing:
        return True


def summed_in_tables(data: Path) -> Seen:
    """Rows and GiB of each day and account by the objects of the tables, as any engine reads them."""
    found = {}
    with duckdb.connect() as con:
        store_of(data).register_filesystem(con)
        for table, size in _SIZES.items():
            listed = [str(path) for path in (data / "lake" / table).rglob("*.parquet")]
            query = (
                f"select observed_on, account, count(*), sum({size}) from read_parquet($1) group by all order by all"  # noqa: S608
            )
            found[table] = str(con.execute(query, [listed]).fetchall()) if listed else "[]"
    return found


def kill_everywhere(writer: BucketWriter, url: str, *, seed: int, limit: int) -> Matrix:
    """Kill a writer before and after its changes, at `limit` of those points, drawn by `seed`."""
    result = Matrix()
    with buckets_in_memory() as fill:
        data = fill({})
        written = data.parent / writer.where
        writer.prepare(data, url)
        objects, before = objects_of(data), _seen(written)
        steps = killed(lambda: writer.act(data, url), None)
        after = _seen(written)
        points = [(step, is_after) for step in range(len(steps)) for is_after in (False, True)]
        draw = random.Random(seed)  # noqa: S311  (no secret)
        for step, is_after in sorted(draw.sample(points, min(limit, len(points)))):
            fill(objects)
            killed(lambda: writer.act(data, url), step, after=is_after)
            result.points[writer.name] += 1
            result.steps[steps[step]] += 1
            where = f"{writer.name} in a bucket, killed {'after' if is_after else 'before'} {steps[step]} {step}"
            result.wrong += [f"{where}: {what}" for what in _wrong(writer, data, url, (before, after))]
    return result


def _wrong(writer: BucketWriter, data: Path, url: str, expected: tuple[Seen | None, Seen | None]) -> list[str]:
    wrong = []
    written = data.parent / writer.where
    seen = _seen(written)
    if writer.where != "data":  # the runs of a new lake appear one by one
        wrong += [] if _of_observations_whole(written) else ["an observation lacks rows"]
    elif _without_names(seen) not in map(_without_names, expected):
        wrong.append(f"connect() shows a lake that is neither before nor after: {seen}")
    pages = {path: path.read_bytes() for path in raw_paths(data)}
    with contextlib.suppress(UnknownName):  # it was done
        (writer.then or writer.act)(data, url)
    rebuild(data)  # publishes what was landed alone
    prune(data, at=_after(3))  # the next maintainer
    if not writer.may_lose_pages:
        wrong += [f"{path.name}: landed pages lost" for path, was in pages.items() if path.read_bytes() != was]
    wrong += [str(finding) for finding in check(written).findings]
    by_views, by_tables = summed_by_connect(written), summed_in_tables(written)
    if writer.name != "prune" and by_views != by_tables:
        wrong.append(f"the tables hold other rows than the views: {by_tables}, not {by_views}")
    if _without_names(_seen(written)) != _without_names(expected[1]) and writer.name != "run":
        wrong.append("the next writer does not lead to the lake after")
    return wrong


def _without_names(seen: Seen | None) -> Seen | None:
    """What is seen but for the ids of runs, which are random in a bucket: see `live_through`."""
    random_ids = {"observations", "accounts", "raw_pages", "rejects"}
    return seen and {view: digest.split()[0] if view in random_ids else digest for view, digest in seen.items()}


def kill_everywhere_in_all(url: str, *, seed: int, limit: int, is_reported: bool = False) -> Matrix:
    """Kill every writer at `limit` points each."""
    total = Matrix(Counter(), Counter(), [])
    for writer in BUCKET_WRITERS:
        part = kill_everywhere(writer, url, seed=seed, limit=limit)
        if is_reported:
            tried = f"{part.points[writer.name]} kill points, {len(part.wrong)} wrong"
            print(f"{writer.name} in a bucket, seed {seed}: {tried}", flush=True)  # noqa: T201
        total.points.update({f"{name} in a bucket": count for name, count in part.points.items()})
        total.steps += part.steps
        total.wrong += part.wrong
    return total
