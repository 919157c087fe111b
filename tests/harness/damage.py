"""Damage tests: whatever happens to a file of a lake, no answer is wrong, and what `check` advises mends it.

    python tests/harness/damage.py --matrix --flips 1000 --later 100 --out docs/reliability.md
    python tests/harness/damage.py --flips 100 --seed 2 --keep outcomes.jsonl    a part; --out writes all that is kept

    lake      real runs of two accounts on a local endpoint, by state                         lake_in
    damage    one file: a bit flipped, empty, half, deleted, swapped with another day's, a copy, a copied folder
    reader    every table and view: the answer of before, or an error with exit code 6        wrong_answers
    cure      the commands that `check` prints, typed as printed; then `check` is silent, the answers as before

A reader may answer or refuse; what it may not do is answer something else.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import functools
import hashlib
import io
import itertools
import json
import os
import random
import re
import shlex
import shutil
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Final
from unittest import mock

import duckdb
import obstore
from obstore.store import MemoryStore

from pipeline import cli, connect
from pipeline.credentials import key_account
from pipeline.emulator import Endpoint, Key
from pipeline.emulator.accounts import LivingAccount
from pipeline.errors import EnsImagesError
from pipeline.extract.attempt import utc_now
from pipeline.jobs.compaction import compact
from pipeline.jobs.retention import prune
from pipeline.jobs.run import run
from pipeline.jobs.withdrawal import withdraw
from pipeline.lake.check import check
from pipeline.lake.committed_digests import COMMITTED_FILES
from pipeline.lake.layout import CATALOG
from pipeline.lake.verification import DAMAGED
from pipeline.resources.control import OBSERVATIONS, RAW_PAGES
from pipeline.storage import configuration
from pipeline.storage.bucket import bucket_store
from pipeline.storage.bucket_path import BucketPath
from pipeline.views.catalog import relations
from pipeline.views.database import write_catalog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pipeline.emulator.image_generator import Image

Answers = dict[str, str]
DAY0 = dt.datetime(2026, 10, 1, 2)  # noqa: DTZ001  (UTC without a zone, as everywhere)
NOW = utc_now()  # by the clock of `check` and `rebuild`, so that what is withdrawn now can be restored


# ── lakes ────────────────────────────────────────────────────────────────────


def run_name(day: int) -> str:
    """Return the id of the run of a day."""
    return f"{DAY0 + dt.timedelta(days=day):%Y%m%dT%H%M%S.%fZ}"


def live_through(data: Path, url: str, days: Iterable[int]) -> None:
    """Run over two accounts, a run a day."""
    accounts = [key_account(name, name, "secret") for name in ("prod", "test")]
    for day in days:
        at = DAY0 + dt.timedelta(days=day)
        with contextlib.suppress(EnsImagesError):
            run(data, accounts=accounts, endpoint=url, rate=None, accept_shrink=True, observed_at=at)


class Misfit(LivingAccount):
    """A living account in which the size of the oldest image is no number: every run has a reject."""

    def images_on(self, day: int) -> list[Image]:
        """Return all images of that day, newest first."""
        *others, oldest = super().images_on(day)
        return [*others, {**oldest, "ImageSize": "large"}]


@contextlib.contextmanager
def endpoint(images: int) -> Iterator[Endpoint]:
    """Serve two accounts that change from day to day."""
    keys = {name: Key("secret", Misfit(images, seed)) for seed, name in enumerate(("prod", "test"))}
    with Endpoint(keys) as served:
        yield served


def lake_in(data: Path, state: str, *, days: int, images: int) -> None:
    """Make a lake: `fresh`, without a compaction; `compacted`; `aged`, past every grace period; `withdrawn`, both."""
    with endpoint(images) as served:
        for day in range(days):
            served.day = day
            live_through(data, served.url, [day])
    if state in {"compacted", "aged", "withdrawn"}:
        compact(data, at=NOW)
    if state == "withdrawn":
        withdraw(data, f"{run_name(1)}/prod", at=NOW)
        for account in ("prod", "test"):
            withdraw(data, f"{run_name(days - 2)}/{account}", at=NOW)
    if state == "aged":
        withdraw(data, f"{run_name(1)}/prod", at=NOW - dt.timedelta(days=20))
        prune(data, at=NOW)
        compact(data, grace="0s", at=NOW)


class Bucket:
    """A lake in a bucket, obstore's own in memory, that follows a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._objects: dict[str, bytes] = {}
        self.data = BucketPath("s3:/bucket/lake")

    def follow(self) -> None:
        """Put and delete what differs from the folder; there is no catalog in a bucket."""
        now = {
            str(path.relative_to(self._folder)): path.read_bytes()
            for name in ("raw", "lake")
            for path in (self._folder / name).rglob("*")
            if path.is_file()
        }
        for name in self._objects.keys() - now.keys():
            self.data.store.delete(self.data / name)
        client = configuration.object_client("s3", "bucket")
        for name, content in now.items():
            if self._objects.get(name) != content:
                obstore.put(client, (self.data / name).key, content)
        self._objects = now


@contextlib.contextmanager
def bucket_of(folder: Path) -> Iterator[Bucket]:
    """Put a lake into an empty bucket."""
    client = MemoryStore()
    cache = folder.with_name("cache")
    with (
        mock.patch.object(configuration, "object_client", functools.cache(lambda *_, **__: client)),
        mock.patch.dict(os.environ, {"XDG_CACHE_HOME": str(cache)}),
    ):
        bucket_store.cache_clear()
        bucket = Bucket(folder)
        bucket.follow()
        yield bucket
    bucket_store.cache_clear()
    shutil.rmtree(cache, ignore_errors=True)


# ── damage ───────────────────────────────────────────────────────────────────


def flip(path: Path, draw: random.Random) -> None:
    """Turn one bit."""
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def empty(path: Path, _: random.Random) -> None:
    """Leave the name alone."""
    path.write_bytes(b"")


def halve(path: Path, _: random.Random) -> None:
    """Leave the first half, as an interrupted copy does."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def remove(path: Path, _: random.Random) -> None:
    """Delete it."""
    path.unlink()


def swap(path: Path, _: random.Random) -> None:
    """Exchange it with a file of the same kind, of another day or compaction where there is one."""
    others = [other for other in path.parents[1].rglob(f"*{path.suffix}") if other.suffix and other != path]
    if others:
        first, second = path.read_bytes(), others[0].read_bytes()
        path.write_bytes(second)
        others[0].write_bytes(first)


def copy(path: Path, _: random.Random) -> None:
    """Leave what a sync tool leaves beside it."""
    shutil.copy(path, path.with_name(f"{path.stem} (1){path.suffix}"))


def copy_folder(path: Path, _: random.Random) -> None:
    """Leave a copy of its folder."""
    if path.parent.name not in {"raw", "lake"} and path.parent.parent.name in {"raw", "lake", *KINDS}:
        shutil.copytree(path.parent, path.parent.with_name(f"{path.parent.name} (1)"))


DAMAGES: Final = {damage.__name__: damage for damage in (flip, empty, halve, remove, swap, copy, copy_folder)}
KINDS: Final = {
    "images": "lake/images/*/*.parquet",
    "image_disks": "lake/image_disks/*/*.parquet",
    "rejects": "lake/rejects/*/*.parquet",
    "observations": "lake/observations/*/*.parquet",
    "withdrawn": "lake/.withdrawn/*/*/*.parquet",
    "raw": "raw/observed_on=*/*.parquet",
    "image_versions": "lake/image_versions/*.parquet",
    "image_versions_open": "lake/image_versions_open/*.parquet",
    "compacted_observations": "lake/compacted_observations/*.parquet",
    "compacted_rejects": "lake/compacted_rejects/*.parquet",
    "manifests": "lake/manifests/*.json",
    "tombstones": "raw/_tombstones.json",
    "tombstones copy": "lake/tombstones.json",
    "format": "lake/format",
    "catalog": "lake.duckdb",
}
YOUNG: Final = 9
"""Days of the lake that goes on after its damage."""
STATES: Final = ("fresh", "compacted", "aged", "withdrawn")


# ── readers ──────────────────────────────────────────────────────────────────


def answers(data: Path) -> Answers:
    """Answer every table and view. Raises what a reader raises; of damaged raw pages, only for `raw_pages`."""
    found = {}
    with connect(data, keeps_versions=True) as con:  # a third of the time
        for name in relations():
            relation = name
            if isinstance(data, BucketPath) and name == OBSERVATIONS.name:  # another put has another tag
                relation = f"(select * exclude ({COMMITTED_FILES}) from {name})"  # noqa: S608
            rows = f"select cast(each as varchar) as line from {relation} as each"  # noqa: S608
            digest = (
                f"select count(*) || ' ' || coalesce(md5(string_agg(line, chr(10) order by line)), '') from ({rows})"  # noqa: S608
            )
            try:
                found[name] = str(con.execute(digest).fetchall()[0][0])
            except duckdb.Error as error:
                if DAMAGED not in str(error):
                    raise
    return found


def wrong_answers(data: Path, right: Answers) -> tuple[list[str], bool]:
    """Compare every answer. Returns: what is wrong, and whether anything was refused with exit code 6."""
    try:
        found = answers(data)
    except EnsImagesError as error:
        return ([] if error.exit_code == 6 else [f"exit code {error.exit_code}: {error}"]), True
    except Exception as error:  # noqa: BLE001  (whatever a user would meet as a traceback)
        return [f"{type(error).__name__}: {error}"], True
    differing = [name for name in right.keys() & found.keys() if found[name] != right[name]]
    wrong = [f"{name}: {found[name]}, not {right[name]}" for name in sorted(differing)]
    return wrong, found.keys() < right.keys()


# ── cures ────────────────────────────────────────────────────────────────────


def typed(command: str) -> tuple[int, str]:
    """Type a command. Returns: its exit code, and what it wrote to stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main(shlex.split(command)[1:])
        except SystemExit as ended:
            return int(ended.code or 0), err.getvalue()
        except Exception as error:  # noqa: BLE001
            return 1, f"{type(error).__name__}: {error}"
    return 0, err.getvalue()


def move_away(path: Path) -> None:
    """Delete a file or a folder that is not the lake's."""
    if isinstance(path, BucketPath):
        for each in [path] if path.is_file() else list(path.objects()):
            each.store.delete(each)
    else:
        (shutil.rmtree if path.is_dir() else Path.unlink)(path)


def advised(findings: Iterable[str], data: Path) -> list[str]:
    """Do what the findings advise: move foreign files away. Returns: the commands that they print, each once."""
    commands = []
    for finding in findings:
        location, _, problem = finding.partition(": ")
        if problem.endswith("move it away"):
            move_away(data / location)
        commands += re.findall(r"`(ens-images [^`]*)`", problem)
    return list(dict.fromkeys(commands))


@dataclass(frozen=True)
class Outcome:
    """What one damage led to."""

    what: str
    wrong: tuple[str, ...]
    was_refused: bool
    was_found: bool


def suffer(
    data: Path,
    right: Answers,
    damage: Callable[[Path, random.Random], None],
    path: Path,
    draw: random.Random,
    bucket: Bucket | None = None,
) -> Outcome:
    """Damage one file; read, check, cure as advised, check and read again; in the bucket, where one is given."""
    what = str(path.relative_to(data))
    if what.startswith("raw/observed_on"):  # nothing brings pages back: the table shows those that are there
        right = {name: answer for name, answer in right.items() if name != RAW_PAGES.name}
    original = contents(data)
    damage(path, draw)  # of the folder
    if bucket:
        data = bucket.data
        right = {name: answer for name, answer in answers(data).items() if name in right}
        bucket.follow()
    wrong, was_refused = wrong_answers(data, right)
    if bucket and path.match("lake/observations/*/*") and not path.exists():
        wrong.clear()  # another machine may be about to put it: only `check` tells
    try:
        findings = list(map(str, check(data).findings))
    except Exception as error:  # noqa: BLE001
        return Outcome(what, (*wrong, f"check: {type(error).__name__}: {error}"), was_refused, was_found=False)
    for command in advised(findings, data):
        code, told = typed(command)
        if code != 0:
            wrong.append(f"{command}: {code}: {told}")
    if not bucket and not path.name.startswith(CATALOG) and contents(data) == original and findings:
        return Outcome(what, tuple(wrong), was_refused, was_found=True)  # every byte as before, so every answer too
    try:
        wrong += [f"after the cure: {finding}" for finding in check(data).findings]
        again, is_refused = wrong_answers(data, right)
    except EnsImagesError as error:
        again, is_refused = [str(error)], True
    wrong += [f"after the cure: {line}" for line in again]
    if is_refused:
        wrong.append("after the cure: something is refused")
    if was_refused and not findings:
        wrong.append("a reader refused, and check found nothing")
    return Outcome(what, tuple(wrong), was_refused, bool(findings))


def contents(data: Path) -> dict[Path, str]:
    """Return the SHA-256 of every file of a lake but its catalog, which follows from them."""
    found = [path for path in files_of(data) if not path.name.startswith(CATALOG)]
    return {path.relative_to(data): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def files_of(data: Path) -> list[Path]:
    """List every file of a lake that is more than a mark or a cache."""
    return sorted(
        path
        for path in data.rglob("*")
        if path.is_file() and path.name not in {".lock", ".verified"} and path.stat().st_size
    )


def flips(whole: Path, seed: int, count: int) -> list[Outcome]:
    """Turn one bit after another, each in a copy of one lake."""
    draw = random.Random(seed)  # noqa: S311
    with tempfile.TemporaryDirectory() as folder:
        found = []
        for _ in range(count):
            data = Path(folder, "data")
            right = _again(whole, data)
            path = draw.choice(files_of(data))
            found.append(suffer(data, right, flip, path, draw))
            shutil.rmtree(data)
        return found


_right: dict[Path, Answers] = {}


def _again(whole: Path, data: Path) -> Answers:
    """Copy a lake. Returns: its answers, which are the same wherever it lies."""
    shutil.copytree(whole, data)
    write_catalog(data)  # it holds absolute paths
    if whole not in _right:
        _right[whole] = answers(data)
    return _right[whole]


def later(whole: Path, seed: int, count: int, days: int, images: int) -> list[Outcome]:
    """Turn one bit, go on for five runs and past every grace period, and compare with a lake that was never damaged.

    A run that meets the damage may refuse to publish: the rows of every observation that is published must be right.
    """
    draw = random.Random(seed)  # noqa: S311
    found = []
    with tempfile.TemporaryDirectory() as folder, endpoint(images) as served:
        twin, data = Path(folder, "twin"), Path(folder, "data")
        shutil.copytree(whole, twin)
        write_catalog(twin)
        right = _rows_later(twin, served, days)
        for _ in range(count):
            shutil.copytree(whole, data)
            write_catalog(data)
            path = draw.choice(files_of(data))
            flip(path, draw)
            wrong = []
            for step in ("five runs later", "after a rebuild"):
                try:
                    rows = _rows_later(data, served, days) if step == "five runs later" else _rows(data)
                except EnsImagesError as error:
                    wrong += [] if error.exit_code == 6 and step == "five runs later" else [f"{step}: {error}"]
                except Exception as error:  # noqa: BLE001
                    wrong.append(f"{step}: {type(error).__name__}: {error}")
                else:
                    wrong += [f"{step}: {key}: other rows" for key in rows if rows[key] != right.get(key)]
                if step == "five runs later":
                    code, told = typed(f"ens-images rebuild --data {data}")
                    wrong += [told] if code not in {0, 6} else []
            found.append(Outcome(str(path.relative_to(data)), tuple(wrong), was_refused=False, was_found=False))
            shutil.rmtree(data)
    return found


def _rows_later(data: Path, served: Endpoint, days: int) -> dict[tuple[str, object, str], list[object]]:
    for day in range(days, days + 5):
        served.day = day
        live_through(data, served.url, [day])
    with contextlib.suppress(EnsImagesError):
        compact(data, grace="0s", at=NOW)
    with contextlib.suppress(EnsImagesError):
        prune(data, at=NOW + dt.timedelta(days=30))
    return _rows(data)


def _rows(data: Path) -> dict[tuple[str, object, str], list[object]]:
    """Read the rows of images and disks of each published observation, by account, instant and table."""
    with connect(data) as con:
        published = con.execute("select account, observed_at_utc from observations where is_published").fetchall()
        rows = {(*key, table): list[object]() for key in published for table in ("images", "image_disks")}
        for table in ("images", "image_disks"):
            for account, instant, row in con.execute(
                f"select account, observed_at_utc, cast(each as varchar) from {table} as each order by all"  # noqa: S608
            ).fetchall():
                rows[account, instant, table].append(row)
    return rows


def matrix(
    seed: int, states: Iterable[str] = STATES, *, share: tuple[int, int] = (0, 1), in_bucket: bool = False
) -> list[Outcome]:
    """Do each damage to a file of each kind, in each state; of these, the `share` (which, of how many)."""
    which, parts = share
    draw = random.Random(seed)  # noqa: S311
    found = []
    for state in states:
        with tempfile.TemporaryDirectory() as folder:
            whole = Path(folder, "whole")
            lake_in(whole, state, days=5, images=12)
            kinds = [kind for kind in KINDS if any(whole.glob(KINDS[kind])) and not (in_bucket and kind == "catalog")]
            for kind, name in list(itertools.product(kinds, DAMAGES))[which::parts]:
                data = Path(folder, "data")
                right = _again(whole, data)
                path = draw.choice(sorted(data.glob(KINDS[kind])))
                with bucket_of(data) if in_bucket else contextlib.nullcontext() as bucket:
                    outcome = suffer(data, right, DAMAGES[name], path, draw, bucket)
                place = f"{state} in a bucket" if in_bucket else state
                found.append(replace(outcome, what=f"{place}, {kind}, {name}: {outcome.what}"))
                shutil.rmtree(data)
    return found


def _portions(seed: int, count: int) -> Iterator[tuple[int, int]]:
    """Divide a count into portions of at most 20, each with a seed of its own."""
    for number, start in enumerate(range(0, count, 20)):
        yield seed + number, min(20, count - start)


PARTS: Final = ("matrix", "flips", "later")


def keep(file: Path | None, kind: str, outcomes: Iterable[Outcome]) -> None:
    """Add outcomes to a file, a line of JSON each."""
    if file is not None:
        with file.open("a", encoding="utf-8") as lines:
            lines.writelines(json.dumps({"kind": kind, **asdict(outcome)}) + "\n" for outcome in outcomes)


def kept(file: Path | None) -> dict[str, list[Outcome]]:
    """Read the outcomes that were kept, by kind: a run that was stopped leaves those that it had."""
    found: dict[str, list[Outcome]] = {kind: [] for kind in PARTS}
    for line in file.read_text("utf-8").splitlines() if file is not None and file.exists() else ():
        row = json.loads(line)
        found[row.pop("kind")].append(Outcome(**{**row, "wrong": tuple(row["wrong"])}))
    return found


HEADING: Final = "## Damaged files"


def section(cells: list[Outcome], turned: list[Outcome], gone_on: list[Outcome], days: int) -> str:
    """Write the section of the report."""
    everything = [*cells, *turned, *gone_on]
    wrong = sum(bool(outcome.wrong) for outcome in everything)
    refused = sum(outcome.was_refused for outcome in turned)
    found = sum(outcome.was_found for outcome in turned)
    bits = f"""\
- {len(turned):,} single bits, each turned in a random file of a lake of {days} days, compacted, with withdrawals:
  {refused:,} were refused by a reader, {found:,} found by `check`. The others are in files that were replaced and wait
  for the end of their grace period, which nothing reads, and in the digest of `lake.duckdb`.
"""
    result = f"""\
**{wrong} wrong answers or findings without a cure** in {len(everything):,} damages, each to a file of a lake of
real runs of its own. A reader answers every table and view as before, or ends with exit code 6. `check` names the
file, and after the commands that it prints it finds nothing, and every answer is as before.

{bits if turned else ""}- {len(gone_on):,} single bits in a lake of {YOUNG} days, compacted, with withdrawals, which
  then went on for five runs and past every grace period: each row of each published observation is that of a lake
  which was never damaged.
- {len(cells):,} cells of the table: a kind of file, a kind of damage, each in four states of a lake (fresh, compacted,
  past every grace period, with withdrawals), in a folder and in a bucket.

In the table: **6** a reader refused; *right* every reader answered as before; both: it depends on the state. A commit
record that is deleted in a bucket is told by `check` alone, for another machine may be about to put it. Deleted raw
pages are no damage: `prune` deletes them too."""
    lines = ["| file | " + " | ".join(DAMAGES) + " |", "|---|" + "---|" * len(DAMAGES)]
    for kind in KINDS:
        row = []
        for damage in DAMAGES:
            of = [outcome for outcome in cells if f", {kind}, {damage}: " in outcome.what]
            words = (["**6**"] if any(o.was_refused for o in of) else []) + (
                ["*right*"] if any(not o.was_refused for o in of) else []
            )
            row.append(", ".join(words))
        lines.append(f"| {kind} | " + " | ".join(row) + " |")
    return "\n\n".join((HEADING, result, "\n".join(lines))) + "\n"


def main() -> None:
    """Run all of them, in two processes, and print what is wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--flips", type=int, default=0)
    parser.add_argument("--days", type=int, default=40)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--later", type=int, default=0)
    parser.add_argument("--matrix", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a JSON-lines file: outcomes are added as they come, and read again")
    parser.add_argument("--out", type=Path, help="the report that gets the section")
    given = parser.parse_args()
    before = kept(given.keep)
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        withdrawn, young = Path(folder, "withdrawn"), Path(folder, "young")
        if given.flips:
            lake_in(withdrawn, "withdrawn", days=given.days, images=given.images)
        if given.later:
            lake_in(young, "withdrawn", days=YOUNG, images=12)
        parts = [
            [
                pool.submit(matrix, given.seed, share=(part, 14), in_bucket=in_bucket)
                for in_bucket in (False, True)
                for part in range(14 if given.matrix else 0)
            ],
            [pool.submit(flips, withdrawn, seed, count) for seed, count in _portions(given.seed, given.flips)],
            [pool.submit(later, young, seed, count, YOUNG, 12) for seed, count in _portions(given.seed, given.later)],
        ]
        kind_of = {job: kind for kind, jobs in zip(PARTS, parts, strict=True) for job in jobs}
        for number, job in enumerate(as_completed(kind_of), start=1):
            wrong = sum(bool(outcome.wrong) for outcome in job.result())
            keep(given.keep, kind_of[job], job.result())
            sys.stderr.write(f"part {number} of {len(kind_of)}: {len(job.result())} damages, {wrong} wrong\n")
        cells, turned, gone_on = (
            [*before[kind], *(outcome for job in part for outcome in job.result())]
            for kind, part in zip(PARTS, parts, strict=True)
        )
    for outcome in (*cells, *turned, *gone_on):
        for line in outcome.wrong:
            sys.stdout.write(f"{outcome.what}: {line}\n")
    text = section(cells, turned, gone_on, given.days)
    if given.out:
        given.out.write_text(given.out.read_text("utf-8").partition(HEADING)[0].rstrip() + f"\n\n{text}", "utf-8")
    else:
        sys.stdout.write(text)
    sys.exit(any(outcome.wrong for outcome in (*cells, *turned, *gone_on)))


if __name__ == "__main__":
    main()
