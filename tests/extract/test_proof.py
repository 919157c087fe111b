"""A proof at one instant: never a wrong set of images, and found where there is one."""

from __future__ import annotations

import datetime as dt
import random

import pytest

from pipeline.extract.proof import Sighting, Terms, prove

DAY = dt.datetime(2026, 11, 23, 2)  # noqa: DTZ001  (UTC without a zone, as everywhere)
SIZE = 3


class Account:
    """An account that changes while it is read; time is in seconds."""

    def __init__(self, count: int, *, is_newest_first: bool) -> None:
        self.now = 1_000.0
        self.ids = [f"m-{number}" for number in range(count)]
        self.born = dict.fromkeys(self.ids, 0.0)
        self._is_newest_first = is_newest_first
        self._count = count

    def create(self, *, is_owned: bool = True) -> None:
        image_id = f"m-{self._count}" if is_owned else f"shared-{self._count}"
        self._count += 1
        self.born[image_id] = self.now
        self.ids.insert(0 if self._is_newest_first else len(self.ids), image_id)

    def delete(self, draw: random.Random) -> None:
        if self.ids:
            self.ids.pop(draw.randrange(len(self.ids)))

    def answer(self, number: int, *, total: int | None = None) -> tuple[Sighting, frozenset[str]]:
        """Answer a page. Returns: the answer, and the account at that instant."""
        ids = tuple(self.ids[(number - 1) * SIZE : number * SIZE])
        count = len(self.ids) if total is None else total
        young = {i: DAY + dt.timedelta(seconds=self.born[i]) for i in ids if self.born[i] and i.startswith("m-")}
        seen = Sighting(
            number,
            SIZE,
            count,
            ids,
            self.now - 0.2,
            self.now + 0.2,
            (DAY + dt.timedelta(seconds=self.now)).replace(microsecond=0),
            young,
        )
        return seen, frozenset(self.ids)


def is_flawless(seen: Sighting) -> bool:
    expected = min(SIZE, max(0, seen.total - (seen.page_number - 1) * SIZE))
    return len(seen.ids) == expected


def read(account: Account, draw: random.Random, *, calls: int, change: float, total=None):
    """Read pages in turn, while the account changes. Returns: the flawless answers, and the account at each."""
    found = []
    number = 1
    for _ in range(calls):
        account.now += draw.choice([0.1, 0.5, 3.0])
        for _ in range(2):
            if draw.random() < change:
                if draw.random() < 0.5:
                    account.create(is_owned=draw.random() < 0.8)
                else:
                    account.delete(draw)
        counted = None if total is None else total(account)
        seen, state = account.answer(number, total=counted)
        if is_flawless(seen):
            found.append((seen, state))
        number = 1 if len(seen.ids) < SIZE else number + 1
    return [seen for seen, _ in found], [state for _, state in found]


def witnesses(sightings, known, place, settle):
    """The rule, word by word."""
    instant = sightings[place]
    before = set(known)
    after = set()
    for seen in sightings:
        if seen.received + settle < instant.sent:
            before |= set(seen.ids)
        if seen.sent > instant.received + settle:
            after |= set(seen.ids)
    return before & after


@pytest.mark.parametrize("settle", [0.0, 2.0])
def test_a_proof_is_the_account_at_its_instant(settle):
    draw = random.Random(7)  # noqa: S311
    proven = 0
    for number in range(1_500):
        account = Account(draw.randrange(12), is_newest_first=draw.random() < 0.5)
        known = frozenset(account.ids) if draw.random() < 0.5 else frozenset()
        change = draw.choice([0.0, 0.02, 0.1, 0.3])
        sightings, states = read(account, draw, calls=draw.randrange(1, 40), change=change)
        proof = prove(sightings, known, Terms(settle))
        if proof is None:
            continue
        proven += 1
        if proof.kind == "one page":
            found = set(sightings[proof.place].ids)
        else:
            found = witnesses(sightings, known, proof.place, 0.0 if proof.kind == "quiet" else settle)
        assert found == states[proof.place], (number, proof)
        assert proof.total == len(found)
        assert not proof.later_ids & found

    assert proven > 500


@pytest.mark.parametrize(
    "total",
    [
        lambda account: min(len(account.ids), 6),
        lambda account: max(0, len(account.ids) - 3),
        lambda account: len(account.ids) + 3,
        lambda account: sum(one.startswith("m-") for one in account.ids),
    ],
    ids=["capped", "three too low", "three too high", "without shared images"],
)
def test_a_total_count_that_lies_about_a_quiet_account_proves_nothing_wrong(total):
    draw = random.Random(8)  # noqa: S311
    for number in range(1_000):
        account = Account(draw.randrange(12), is_newest_first=draw.random() < 0.5)
        for _ in range(draw.randrange(3)):
            account.create(is_owned=False)
        known = frozenset(account.ids) if draw.random() < 0.5 else frozenset()
        sightings, states = read(account, draw, calls=30, change=0.0, total=total)
        proof = prove(sightings, known, Terms(0.0))
        if proof is not None and proof.kind != "one page":
            found = witnesses(sightings, known, proof.place, 0.0)
            assert found == states[proof.place], (number, proof)


def test_an_account_in_which_nothing_is_new_is_proven_by_one_pass_and_one_call():
    account = Account(10, is_newest_first=True)
    known = frozenset(account.ids)
    sightings = []
    for number in (1, 4, 2, 3):
        account.now += 1
        sightings.append(account.answer(number)[0])
    assert prove(sightings, known) is None
    account.now += 1
    sightings.append(account.answer(1)[0])

    proof = prove(sightings, known)
    assert proof is not None
    assert (proof.kind, proof.place, proof.total, proof.seen_here) == ("quiet", 0, 10, 0)


def test_a_new_image_in_the_middle_needs_a_second_look():
    account = Account(10, is_newest_first=True)
    known = frozenset(account.ids) - {"m-5"}
    sightings = []
    for number in (1, 4, 2, 3, 1):
        account.now += 1
        sightings.append(account.answer(number)[0])
    assert prove(sightings, known) is None
    for number in (2, 3, 4, 1):
        account.now += 1
        sightings.append(account.answer(number)[0])

    assert prove(sightings, known) is not None


def test_a_million_images_are_proven_in_near_linear_time():
    pages = 400
    ids = [f"m-{number:07d}" for number in range(pages * 50)]
    sightings = [
        Sighting(page, 50, len(ids) - 1, tuple(ids[(page - 1) * 50 : page * 50])[: 49 if page == pages else 50],
                 float(turn * pages + page), turn * pages + page + 0.5)
        for turn in range(2)
        for page in range(1, pages + 1)
    ]  # fmt: skip
    again = Sighting(1, 50, len(ids) - 1, tuple(ids[:50]), 2.0 * pages + 5, 2.0 * pages + 6)

    proof = prove([*sightings, again], terms=Terms(0.0))

    assert proof is not None
    assert proof.kind == "quiet"
