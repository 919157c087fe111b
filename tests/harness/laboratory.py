"""Laboratory of completeness: rules of proof against accounts that change, under every named fault, in simulated time.

    python tests/harness/laboratory.py --schedules 2000 --seed 1

    schedule   size, order, activity, fault, what the last observation had    random_schedule
    reading    a strategy asks pages; the truth at every instant is known     try_once
    verdict    right, wrong (lost, invented) or not proven; calls; watches    Verdict

A result is wrong if the account had no such set of images while the answer that is its instant was under way.
The rules are in `proof_rules`, the faults in `simulated_faults`.
"""

from __future__ import annotations

import argparse
import datetime as dt
import random
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

from proof_rules import RULES, as_landed
from reading_strategies import Result, drive, is_flawless
from simulated_account import Account, Activity, Answer, Service, at
from simulated_faults import FAULTS

from pipeline.extract.watch import has_returned, is_contradicted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from reading_strategies import Reading

WATCHES: Final = ("back", "returned", "beyond", "date", "constant")


@dataclass(frozen=True)
class Schedule:
    """One account, what happens to it, and how it is read."""

    fault: str
    seed: int
    images: int
    page_size: int = 50
    workers: int = 1
    passes: int = 5


@dataclass
class Verdict:
    """What became of one schedule under one rule."""

    schedule: Schedule
    calls: int
    result: Result | None = None
    lost: int = 0
    invented: int = 0
    is_wrong: bool = False
    watched: set[str] = field(default_factory=set)
    answers: list[Answer] = field(default_factory=list)
    known: frozenset[str] = frozenset()
    truth: list[frozenset[str]] = field(default_factory=list)


def _service(schedule: Schedule) -> tuple[Service, frozenset[str], frozenset[str]]:
    """Build the account. Returns: its service, the ids of the last observation, and those gone by it."""
    draw = random.Random(f"{schedule.fault}/{schedule.seed}")  # noqa: S311
    fault = FAULTS[schedule.fault]
    account = Account(draw, schedule.images, is_newest_first=draw.random() < 0.5, created_shift=fault.created_shift)
    gap = draw.choice([3.0, 60.0, 86_400.0])
    first = frozenset(image.id for image in account.images)
    for time in (-2 * gap, -gap):
        account.now = time
        for _ in range(draw.choice([0, 1, 3])):
            draw.choice((account.create, account.delete))()
    known = frozenset(image.id for image in account.images)
    for _ in range(draw.choice([0, 0, 1, 3])):
        account.now = min(-0.01, account.now + draw.random() * gap)
        draw.choice((account.create, account.delete))()
    activity = draw.choice(
        [
            Activity(),
            Activity(by_call=0.02),
            Activity(by_call=0.1),
            Activity(by_call=0.3),
            Activity(is_compensated=True),
            Activity(seconds=draw.choice([0.1, 0.5, 3.0])),
        ]
    )
    service = Service(account, fault, draw.choice(fault.amounts), activity, draw, schedule.page_size)
    return service, known if draw.random() < 0.5 else frozenset(), first - known


def try_once(schedule: Schedule, rule: Callable[..., Reading]) -> Verdict:
    """Read one schedule under one rule, and compare with the truth."""
    service, known, gone = _service(schedule)
    reading = rule(known, size=schedule.page_size, workers=schedule.workers, passes=schedule.passes)
    result = drive(reading, service, schedule.workers)
    verdict = Verdict(schedule, len(service.log), result, answers=service.log, known=known)
    verdict.watched = watched(service.log, known, gone)
    if result:
        instant = result.instant
        verdict.truth = service.account.states_between(instant.sent, instant.received)
        if result.ids not in verdict.truth:
            verdict.is_wrong = True
            nearest = min(verdict.truth, key=lambda ids: len(ids ^ result.ids))
            verdict.lost, verdict.invented = len(nearest - result.ids), len(result.ids - nearest)
    return verdict


def watched(answers: Sequence[Answer], known: frozenset[str], gone: frozenset[str]) -> set[str]:
    """Return what a watch over the answers would have said."""
    found = set()
    ids = {image_id for answer in answers for image_id in answer.page.ids}
    if known and ids & gone:
        found.add("back")
    landed = as_landed(answers)
    if is_contradicted(landed):
        found.add("beyond")
    if has_returned(landed):
        found.add("returned")
    if any(abs(answer.server_at - at(answer.received)) > dt.timedelta(seconds=60) for answer in answers):
        found.add("date")
    in_order = ((one, two) for one, two in pairwise(answers) if two.sent > one.received)
    if any(two.server_at < one.server_at for one, two in in_order):
        found.add("date")
    first, last = _first_and_last(answers)
    totals = {answer.page.total for answer in answers}
    if len(totals) == 1 and (first ^ last or (known and not known >= ids)):
        found.add("constant")
    return found


def _first_and_last(answers: Iterable[Answer]) -> tuple[set[str], set[str]]:
    """Return the ids of each page as it was first and last seen."""
    first: dict[int, tuple[str, ...]] = {}
    last: dict[int, tuple[str, ...]] = {}
    for answer in answers:
        first.setdefault(answer.page_number, answer.page.ids)
        last[answer.page_number] = answer.page.ids
    return {i for ids in first.values() for i in ids}, {i for ids in last.values() for i in ids}


def random_schedules(fault: str, count: int, seed: int, passes: int = 5) -> Iterable[Schedule]:
    """Accounts of 51 to 400 images, every other one tiny, read one by one or side by side."""
    draw = random.Random(f"{fault}/{seed}")  # noqa: S311
    for number in range(count):
        images = draw.randint(51, 60) if draw.random() < 0.5 else draw.randint(51, 400)
        yield Schedule(fault, seed * 1_000_000 + number, images, workers=draw.choice([1, 8]), passes=passes)


def describe(verdict: Verdict) -> str:
    """The answers of a reading as a table."""
    size = verdict.schedule.page_size
    lines = [f"{verdict.schedule}", f"last observation: {_shorten(verdict.known)}"]
    for number, answer in enumerate(verdict.answers, start=1):
        flaw = "" if is_flawless(answer, size) else ", flawed"
        young = " ".join(f"{image_id} {created:%M:%S}" for image_id, created in answer.young.items())
        lines.append(
            f"{number:>3} page {answer.page_number}, TotalCount {answer.page.total}: "
            f"{answer.sent:.2f} to {answer.received:.2f} s, "
            f"Date {answer.server_at:%M:%S}{flaw}: {' '.join(answer.page.ids)}{f'; young: {young}' if young else ''}"
        )
    if verdict.result:
        place = verdict.answers.index(verdict.result.instant)
        lines.append(f"{verdict.result.kind} at answer {place + 1}: {_shorten(verdict.result.ids)}")
        lines += [f"truth: {_shorten(ids)}" for ids in verdict.truth]
    return "\n".join(lines)


def _shorten(ids: Iterable[str]) -> str:
    return " ".join(sorted(ids, key=lambda image_id: int(image_id.removeprefix("m-"))))


def smallest(fault: str, rule: str, count: int, seed: int) -> Verdict | None:
    """Find the wrong result with the fewest answers, in accounts of four to eight images and pages of three."""
    draw = random.Random(seed)  # noqa: S311
    wrong = []
    for number in range(count):
        schedule = Schedule(fault, seed * 1_000_000 + number, draw.randint(4, 8), page_size=3, passes=3)
        verdict = try_once(schedule, RULES[rule])
        if verdict.is_wrong and try_once(schedule, RULES["double read"]).is_wrong is False:
            wrong.append(verdict)
    return min(wrong, key=lambda verdict: (len(verdict.answers), verdict.schedule.images), default=None)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table of faults and rules, or counterexamples."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--schedules", type=int, default=2_000, help="schedules of each fault")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fault", action="append", choices=list(FAULTS), help="only this fault")
    parser.add_argument("--passes", type=int, default=5, help="passes at most, as many as the reader's")
    parser.add_argument("--smallest", choices=list(RULES), help="print the smallest wrong result of this rule instead")
    parser.add_argument("--out", type=Path, help="the page to write")
    options = parser.parse_args(arguments)
    if options.smallest:
        for fault in options.fault or FAULTS:
            found = smallest(fault, options.smallest, options.schedules, options.seed)
            print(f"{fault}:", describe(found) if found else "none", end="\n\n", flush=True)  # noqa: T201
        return 0
    lines = [*HEAD]
    for fault in options.fault or FAULTS:
        for name, rule in RULES.items():
            schedules = random_schedules(fault, options.schedules, options.seed, options.passes)
            lines.append(row(fault, name, [try_once(schedule, rule) for schedule in schedules]))
            sys.stderr.write(f"{lines[-1]}\n")
    table = "\n".join(lines)
    if options.out is None:
        print(table)  # noqa: T201
    else:
        meanings = "\n".join(f"| {name} | {fault.meaning} |" for name, fault in FAULTS.items())
        text = REPORT.format(schedules=options.schedules, seed=options.seed, table=table, meanings=meanings)
        options.out.write_text(text, encoding="utf-8")
    return 0


HEAD: Final = (
    "| fault | rule | schedules | proven | wrong | lost | invented | mean calls | watched: all / wrong |",
    "|---|---|--:|--:|--:|--:|--:|--:|---|",
)
REPORT: Final = """# Rules of proof, measured

Generated by `make laboratory`; do not edit. {schedules:,} random schedules for each fault (seed {seed}), in simulated
time: accounts of 51 to 400 images, every other one of 51 to 60, read one by one or by eight calls side by side, in five
passes at most. In a sixth of the schedules nothing changes; in the others up to one creation and one deletion happen
between any two answers. So the share that is proven is that of very busy accounts.

- *double read*: whole passes, until one is complete and lists what an earlier complete one listed.
- *one instant*: the rule of [completeness.md](completeness.md), with a settle time of 0 s and of 2 s.
- *wrong*: the account had no such set of images while the answer that is its instant was under way. *Lost* and
  *invented* count the listings that lack an image, or have one too many.
- *watched*: in how many of all, and of the wrong ones, a watch says something: `back` an id that was gone by an older
  observation, `returned` one that was seen, not seen and seen again in this listing, `beyond` rows beyond TotalCount,
  `date` a clock that goes back or is off, `constant` a TotalCount that stays while images come and go.

{table}

| fault | meaning |
|---|---|
{meanings}
"""


def row(fault: str, rule: str, verdicts: Sequence[Verdict]) -> str:
    """One line of the table."""
    count = len(verdicts)
    proven = sum(v.result is not None for v in verdicts)
    wrong = [v for v in verdicts if v.is_wrong]
    seen: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for verdict in verdicts:
        for watch in verdict.watched:
            seen[watch][0] += 1
            seen[watch][1] += verdict.is_wrong
    told = ", ".join(f"{w} {seen[w][0]} / {seen[w][1]}" for w in WATCHES if seen[w][0])
    return (
        f"| {fault} | {rule} | {count:,} | {proven / count:.1%} | {len(wrong)} | {sum(v.lost > 0 for v in wrong)} | "
        f"{sum(v.invented > 0 for v in wrong)} | {sum(v.calls for v in verdicts) / count:.1f} | {told} |"
    )


if __name__ == "__main__":
    sys.exit(main())
