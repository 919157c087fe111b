"""Fault tests: the real reader against every fault of the emulator, and against accounts that change at random.

    python tests/harness/faults.py --schedules 2000 --seed 1 --out docs/reliability.md

    schedule   an account of some size, faults, a seed          Schedule
    reading    real signatures over a real socket               read_once, run_once
    truth      what was alive when the reader's one instant was answered, from the endpoint's journal
    outcome    what was seen, the level given, what of it was wrong

The promise: `verified` is never given to a set of images that is not the account's at that instant.
For comparison a plain reader, as other tools have it, reads the same accounts: once, and content when it
has as many rows as TotalCount says.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.credentials import key_account
from pipeline.emulator import FAULTS, Endpoint, Key, living_account
from pipeline.emulator.state_faults import STATE_FAULT_KINDS
from pipeline.errors import EnsImagesError, IncompleteListing
from pipeline.extract.bounds import Bounds
from pipeline.extract.claim import RULE, published_ids
from pipeline.extract.client import EnsApi
from pipeline.extract.completeness import LEVELS, Level, accepted_pages, certify_count, evidence
from pipeline.extract.event_loop import run_blocking
from pipeline.extract.listing import extract
from pipeline.extract.retry import RetryPolicy
from pipeline.resources.images import IMAGES_RESOURCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pipeline.emulator.accounts import EmulatedAccount
    from pipeline.emulator.service import Answer as EmulatorAnswer
    from pipeline.extract.response import Answer, Page

HASTE = Bounds(settle_seconds=0.02, pause_seconds=0.001, max_answer_mib=1, retry=RetryPolicy(back_off_seconds=0.002))
"""The bounds as they are, the pauses in between a hundred times shorter, and the largest answer smaller."""

EDITS = ("deletions", "insertions", "churn")
HOSTILE = ("silent", "hang-up", "endless", "gzip-bomb", "bad-gzip", "cut-gzip", "nested")
"""Answers that are to exhaust the reader: `make fuzz` measures them, so the report leaves them out."""
SLOW = {"throttling": "ms=5", "drip": "ms=50", "silent": "ms=50"}
"""Options that spare the tests' time, not the reader's work."""
RARE = ("throttling", "drip")
SIZES = (1, 49, 50, 51, 99, 100, 101, 149, 150, 151, 199, 200, 201, 249, 250, 251)
NAMED = tuple(name for name in FAULTS if name not in HOSTILE and name not in STATE_FAULT_KINDS)
"""Without the faults of time: they are measured by `laboratory`, beside the assumptions that some of them break."""
NAMELESS = "raw JSON: "
"""What an image without an id is listed by begins so."""
LIST_IMAGES = IMAGES_RESOURCE.action
READER = key_account("default", "emulator", "emulator")


@dataclass(frozen=True)
class Schedule:
    """One account and what happens to it while it is read."""

    images: int
    faults: tuple[str, ...]
    seed: int = 1
    workers: int = 1

    def endpoint(self) -> Endpoint:
        """A fresh endpoint with this account and these faults."""
        emulated = living_account(images=self.images, seed=self.seed % 16)
        return Endpoint({"emulator": Key("emulator", emulated)}, seed=self.seed, faults=self.faults)


@dataclass(frozen=True)
class OnePass:
    """What one pass alone proves, and whether its images were the account's at no instant of it."""

    level: Level
    is_wrong: bool


@dataclass(frozen=True)
class Outcome:
    """What became of a schedule."""

    schedule: Schedule
    level: Level | None
    error: str | None
    said: dict[str, Any]
    """The evidence, as `observations` has it."""
    calls: int
    lost: int
    """Images that were alive at the instant and are neither listed nor reported as a reject."""
    invented: int
    """Images that are listed and were not alive at the instant."""
    twice: int
    lied: bool
    """Whether TotalCount was wrong at that instant: then an assumption is broken, and nothing is promised."""
    needless: bool
    """Whether it was refused although nothing went wrong in its last two passes."""
    one_pass: tuple[OnePass, ...]

    @property
    def is_wrong(self) -> bool:
        """Whether the images are not the account's."""
        return bool(self.lost or self.invented or self.twice)

    @property
    def is_undetected(self) -> bool:
        """Whether the promise is broken: proven, and wrong."""
        return self.level == "verified" and self.is_wrong and not self.lied


def read_once(schedule: Schedule, bounds: Bounds = HASTE) -> Outcome:
    """Read one schedule's account with the real reader, and compare with the truth."""
    with schedule.endpoint() as endpoint:
        (listing,) = extract(
            [READER], lambda *_: None, endpoint=endpoint.url, rate=None, workers=schedule.workers, bounds=bounds
        )
        ended = [answer for answer in listing.answers if answer.pass_number <= listing.ended_passes]
        said = evidence(listing.answers, listing.ended_passes, rule=RULE, claim=listing.claim)
        rows = [image_id for page in listing.last_pass for image_id in page.ids]
        if listing.claim:
            rows = sorted(published_ids(listing.answers, listing.claim))
        faults_of = {truth.request_id: truth.faults for truth in endpoint.answers}
        last_two = [a for a in listing.answers if a.pass_number > listing.begun_passes - 2]
        return Outcome(
            schedule=schedule,
            level=listing.level if listing.error is None else None,
            error=type(listing.error).__name__ if listing.error else None,
            said=said,
            calls=endpoint.calls,
            **compared(endpoint, said["first_request_id"], rows),
            needless=isinstance(listing.error, IncompleteListing)
            and not any(faults_of.get(answer.request_id or "") for answer in last_two),
            one_pass=tuple(_one_pass(endpoint, ended, number) for number in range(1, listing.ended_passes + 1)),
        )


def run_once(schedule: Schedule) -> Outcome:
    """The same through a whole run: what counts is what a reader of the lake finds."""
    from pipeline.jobs.run import run
    from pipeline.views.connection import connect

    with schedule.endpoint() as endpoint, tempfile.TemporaryDirectory() as folder:
        error = None
        try:
            done: Any = run(folder, accounts=[READER], endpoint=endpoint.url, rate=None, workers=schedule.workers)
        except EnsImagesError as ended:
            error, done = type(ended).__name__, ended.run
        (said,) = done.observations
        with connect(folder) as lake:
            rows = [row[0] for row in lake.execute("select image_id from images_latest").fetchall()]
            rejected = lake.execute("select raw_json from rejects where field = 'ImageId'").fetchall()
        return Outcome(
            schedule=schedule,
            level=said["certificate"] if said["is_published"] else None,
            error=error,
            said=dict(said),
            calls=endpoint.calls,
            **compared(endpoint, said["first_request_id"], [*rows, *(f"{NAMELESS}{raw}" for (raw,) in rejected)]),
            needless=False,
            one_pass=(),
        )


def compared(endpoint: Endpoint, request_id: str | None, rows: Sequence[str]) -> dict[str, Any]:
    """What of these rows was not the truth when this request was answered."""
    if request_id is None:
        return {"lost": 0, "invented": 0, "twice": 0, "lied": False}
    truth = _find_answer(endpoint, request_id)
    known = _known(endpoint, rows)
    ids = {image_id for image_id in known if image_id is not None}
    nobody = known.count(None)  # an image of the account, and nobody can tell which
    return {
        "lost": max(0, len(truth.ids() - ids) - nobody),
        "invented": len(ids - truth.ids()),
        "twice": len(rows) - len(ids) - nobody,
        "lied": "wrong-total" in truth.faults,
    }


def _find_answer(endpoint: Endpoint, request_id: str) -> EmulatorAnswer:
    return next(answer for answer in endpoint.answers if answer.request_id == request_id)


def _known(endpoint: Endpoint, rows: Sequence[str]) -> list[str | None]:
    """Whose rows these are: an image without an id is known by all else that it says; None where nobody is."""
    if not any(row.startswith(NAMELESS) for row in rows):
        return list(rows)
    everyone = _everyone(endpoint.keys["emulator"].account)

    def who(row: str) -> str | None:
        if not row.startswith(NAMELESS):
            return row
        told = json.loads(row.removeprefix(NAMELESS))
        told.pop("CreationTime", None)  # an inserted image has that of its insertion
        told = told.items()
        same = [image["ImageId"] for image in everyone if all(image.get(field) == value for field, value in told)]
        return same[0] if len(same) == 1 else None

    return [who(row) for row in rows]


@lru_cache(maxsize=2)
def _everyone(account: EmulatedAccount) -> list[dict[str, Any]]:
    """Every image that this account has, and every one that may be born in a test."""
    return [*account.images_on(0), *(account.new_image(serial, 0) for serial in range(1, 500))]


def _one_pass(endpoint: Endpoint, answers: Iterable[Answer], number: int) -> OnePass:
    mine = [answer for answer in answers if answer.pass_number == number]
    passes = accepted_pages(mine)
    pages: list[Page] = passes[0] if passes else []
    rows = [image_id for page in pages for image_id in page.ids]
    return OnePass(certify_count(passes), not _was_ever_true(endpoint, (a.request_id for a in mine), rows))


def _was_ever_true(endpoint: Endpoint, request_ids: Iterable[str | None], rows: Sequence[str]) -> bool:
    """Whether these were the account's images at any instant at which one of these requests was answered."""
    ids = frozenset(_known(endpoint, rows))
    truths = (_find_answer(endpoint, request_id).ids() for request_id in request_ids if request_id)
    return len(ids) == len(rows) and any(ids == truth for truth in truths)


# ── the plain reader, for comparison ─────────────────────────────────────────


def plain(schedule: Schedule) -> bool | None:
    """Read once, page after page, until there are as many rows as TotalCount: None if it fails, else whether wrong."""
    asked: list[str | None] = []

    async def work() -> list[str] | None:
        rows: list[str] = []
        async with EnsApi(endpoint.url, rate=None, retry=HASTE.retry) as api:
            for number in range(1, 100):
                seen = await api.call(
                    READER, LIST_IMAGES, {"PageNumber": str(number), "PageSize": "50"}, lambda _: None
                )
                asked.append(seen.request_id)
                try:
                    body = json.loads(seen.body or b"")
                    page = [str(image.get("ImageId")) for image in (body["Images"] or {}).get("Image") or []]
                    total = int(body["TotalCount"])
                except (ValueError, KeyError, TypeError, AttributeError):
                    return None
                rows += page
                if not page or len(rows) >= total:
                    return rows if len(rows) == total else None
        return None

    with schedule.endpoint() as endpoint:
        try:
            rows = run_blocking(work)
        except EnsImagesError:
            return None
        return None if rows is None else not _was_ever_true(endpoint, asked, rows)


# ── schedules ────────────────────────────────────────────────────────────────


def named_schedules(images: int = 123) -> Iterator[Schedule]:
    """Every fault by itself: once, some times at random, without end at a page, and without end anywhere."""
    for name in NAMED:
        for when in ("page=2,times=1", "p=0.3,times=3", "page=2", ""):
            yield Schedule(images, (spec(name, when),))


def spec(name: str, *options: str) -> str:
    """A fault as `--fault` takes it."""
    told = ",".join(filter(None, (*options, SLOW.get(name, ""))))
    return f"{name}:{told}" if told else name


def random_schedules(count: int, seed: int, workers: int = 1) -> Iterator[Schedule]:
    """Accounts around the borders of pages that change while they are read, with up to two faults more."""
    rng = random.Random(f"{seed}/{workers}")  # noqa: S311  (a test is to be repeatable, not secret)
    others = [name for name in NAMED if name not in (*EDITS, *RARE)]
    for number in range(count):
        images = rng.choice([rng.choice(SIZES), rng.randint(101, 260)])
        names = rng.choices(EDITS, k=rng.choice((1, 1, 2))) + rng.sample(others, rng.choice((0, 0, 0, 1, 1, 2)))
        if rng.random() < 0.03:
            names.append(rng.choice(RARE))
        faults = tuple(_random_fault(name, rng, seed * 100_000 + number) for name in names)
        yield Schedule(images, faults, seed=number, workers=workers)


def _random_fault(name: str, rng: random.Random, seed: int) -> str:
    options = [f"seed={seed}"]
    if name in EDITS:
        options += [f"count={rng.randint(1, 4)}", f"place={rng.choice(('start', 'end', 'anywhere'))}"]
    elif name == "wrong-total":
        options.append(f"count={rng.choice((-3, -1, 1, 50, 10**12))}")
    elif name == "clamped":
        options.append(f"count={rng.choice((20, 49))}")
    where = rng.random()
    if where < 0.3:
        options.append(f"page={rng.randint(1, 5)}")
    elif where < 0.9:
        options.append(f"p={rng.choice((0.05, 0.1, 0.2, 0.4))}")
    if rng.random() < 0.7:
        options.append(f"times={rng.randint(1, 6)}")
    if rng.random() < 0.3:
        options.append(f"after={rng.randint(1, 8)}")
    return spec(name, *options)


BEYOND = (
    Schedule(49, ("short", "wrong-total:count=-1")),
    Schedule(101, ("short:page=3", "wrong-total:count=-1")),
)
"""TotalCount and the rows are wrong by the same number: no reader can detect this broken assumption."""


# ── the report ───────────────────────────────────────────────────────────────


@dataclass
class Results:
    """The outcomes of every test, in order."""

    seed: int
    named: list[Outcome]
    runs: list[Outcome]
    serial: list[Outcome]
    """Random schedules with sequential calls: the same for the same seed."""
    plain: list[bool | None]
    """The plain reader on the same ones."""
    side_by_side: list[Outcome]
    """Random schedules with eight concurrent calls: the order of the responses does not depend on the seed."""
    beyond: list[Outcome]

    @property
    def all(self) -> list[Outcome]:
        """Every outcome within the assumptions' reach."""
        return [*self.named, *self.runs, *self.serial, *self.side_by_side]

    @property
    def undetected(self) -> list[Outcome]:
        """The promise's breaches."""
        return [outcome for outcome in self.all if outcome.is_undetected]


def summary(results: Results) -> str:
    """The results in a few sentences."""
    random_ones = [*results.serial, *results.side_by_side]
    verified = sum(outcome.level == "verified" for outcome in random_ones)
    accepted = [wrong for wrong in results.plain if wrong is not None]
    return (
        f"**{len(results.undetected)} undetected lost or invented images** in {len(random_ones):,} random schedules "
        f"of an account that changes during the listing, and in {len(results.named) + len(results.runs)} listings "
        f"against the {len(NAMED)} named faults. {verified:,} of the random ones were verified and published; the "
        f"others were refused, with a reason. A simple reader, which accepts as many rows as TotalCount, "
        f"accepted {len(accepted):,} of {len(results.plain):,}, and {sum(accepted):,} of those were wrong."
    )


REPORT = """# Fault tests of the reader

Generated by `make faults` (seed {seed}); do not edit. The real reader lists accounts of the local endpoint, with real
signatures over a real socket, while the endpoint injects faults. The endpoint records the true state of the account at
each response.

{summary}

## Accounts that change at random

Account sizes near multiples of the page size; deletions, insertions or both, at random or at a given page, limited or
unlimited in number, and up to two more faults. *Wrong* means for `verified`: the result differs from the account at
`observed_at_utc`. For all others, less strictly: the result differs from the account at every response of the listing.

| listing | number | accepted | wrong |
|---|--:|--:|--:|
{levels}

Refused although no fault occurred in the last two passes: {needless}. Verified while TotalCount was
wrong at that instant, which breaks an assumption: {lied}, of which wrong: {lied_and_wrong}.

With eight concurrent calls the order of the responses does not depend on the seed: those figures vary slightly from run
to run. All others are the same for the same seed.

## Each fault alone

An account of {images} images, three pages: the fault once, three times at random, always at page 2, and always at
every page. Lost, invented and duplicate count published images.

{named}

## Each fault in a complete run

The same, from the service to the tables of `connect()`.

{runs}

## Faults that cannot be detected

The proof assumes that ids are not reused and that TotalCount is correct at one instant. If TotalCount and the rows are
wrong by the same number, no reader can detect it. What breaks each assumption in time is measured in
[laboratory.md](laboratory.md).

{beyond}

## Definitions of the faults

| fault | meaning |
|---|---|
{meanings}
"""


def report(results: Results) -> str:
    """The whole report, as Markdown."""
    random_ones = [*results.serial, *results.side_by_side]
    lied = [outcome for outcome in random_ones if outcome.lied and outcome.level == "verified"]
    return REPORT.format(
        seed=results.seed,
        summary=summary(results),
        levels="\n".join(_levels(results)),
        needless=sum(outcome.needless for outcome in random_ones),
        lied=len(lied),
        lied_and_wrong=sum(outcome.is_wrong for outcome in lied),
        images=results.named[0].schedule.images,
        named="\n".join(_fault_table(results.named)),
        runs="\n".join(_fault_table(results.runs)),
        beyond="\n".join(_fault_table(results.beyond)),
        meanings="\n".join(f"| `{name}` | {meaning} |" for name, meaning in FAULTS.items() if name in NAMED),
    )


def _levels(results: Results) -> Iterator[str]:
    for what, outcomes in (("sequential calls", results.serial), ("eight concurrent calls", results.side_by_side)):
        verified = [outcome for outcome in outcomes if outcome.level == "verified"]
        wrong = sum(outcome.is_undetected for outcome in verified)
        yield f"| **`verified`**, {what} | {len(outcomes):,} schedules | {len(verified):,} | **{wrong}** |"
    passes = [one_pass for outcome in results.serial for one_pass in outcome.one_pass]
    for level in LEVELS[1::-1]:
        found = [one_pass for one_pass in passes if one_pass.level == level]
        wrong = sum(one_pass.is_wrong for one_pass in found)
        yield f"| a single pass, `{level}` | {len(passes):,} passes | {len(found):,} | {wrong:,} |"
    accepted = [wrong for wrong in results.plain if wrong is not None]
    yield (
        f"| simple reader, rows == TotalCount | {len(results.plain):,} schedules "
        f"| {len(accepted):,} | {sum(accepted):,} |"
    )


def _fault_table(outcomes: Iterable[Outcome]) -> Iterator[str]:
    yield "| fault | detected | certificate | published | lost | invented | duplicate | calls |"
    yield "|---|---|---|---|--:|--:|--:|--:|"
    for outcome in outcomes:
        faults = " + ".join(f"`{fault}`" for fault in outcome.schedule.faults)
        level = outcome.said["certificate"] or ""
        if outcome.error is None:
            result = f"yes | {outcome.lost} | {outcome.invented} | {outcome.twice}"
        else:
            result = f"no: {outcome.error} | | |"
        yield f"| {faults} | {_seen(outcome.said)} | {level} | {result} | {outcome.calls} |"


def _seen(said: dict[str, Any]) -> str:
    kinds = {
        "recovered answers": "recovered_answer_count",
        "clamps": "clamp_count",
        "drifts": "drift_count",
        "contradictions": "contradiction_count",
        "retries": "retry_count",
        "throttles": "throttle_count",
    }
    return ", ".join(f"{kind}: {said[column]}" for kind, column in kinds.items() if said[column])


# ── from a shell ─────────────────────────────────────────────────────────────


def read_all(schedules: int, seed: int, processes: int, tell: Callable[[str], None]) -> Results:
    """Run every test: `schedules` random schedules with sequential calls, and a quarter as many with eight at once."""
    named = list(named_schedules())
    runs = [Schedule(123, (spec(name, "page=2,times=1"),)) for name in NAMED]
    serial = list(random_schedules(schedules, seed))
    side_by_side = list(random_schedules(schedules // 4, seed, workers=8))

    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:

        def mapped(what: str, work: Callable[[Schedule], Any], todo: Sequence[Schedule]) -> list[Any]:
            found = []
            for number, outcome in enumerate(pool.map(work, todo, chunksize=4), 1):
                found.append(outcome)
                if number % 100 == 0 or number == len(todo):
                    tell(f"{what}: {number:,} of {len(todo):,}")
            return found

        return Results(
            seed=seed,
            named=mapped("named faults", read_once, named),
            runs=mapped("whole runs", run_once, runs),
            serial=mapped("random schedules", read_once, serial),
            plain=mapped("the plain reader on them", plain, serial),
            side_by_side=mapped("random schedules, eight concurrent calls", read_once, side_by_side),
            beyond=mapped("beyond the assumptions", read_once, BEYOND),
        )


def main() -> int:
    """Drill, write the report, and say whether the promise held."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--schedules", type=int, default=2000, help="random schedules with sequential calls")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="where the report goes (else stdout)")
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    results = read_all(asked.schedules, asked.seed, asked.processes, _tell)
    if asked.out:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(report(results), encoding="utf-8")
    else:
        sys.stdout.write(report(results))
    _tell(summary(results))
    for outcome in results.undetected:
        _tell(f"undetected: {outcome.schedule}")
    return 1 if results.undetected else 0


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
