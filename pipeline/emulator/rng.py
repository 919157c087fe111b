"""Repeatable randomness: the same seed gives the same values on every machine.

seeded_rng(seed, "day 0")  →  shuffled_cycle(values, rng)  →  all values, in random order, again and again
                           →  serial_id(rng, "m-5", 17)    →  "m-5…", another id for each serial
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

T = TypeVar("T")

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
PAIRS = [a + b for a in DIGITS for b in DIGITS]
SERIALS = 36**6  # distinct ids of one account
SCRAMBLE = 1_073_807_359  # coprime to 36: every serial gets a different suffix


def seeded_rng(*seed: object) -> random.Random:
    """Create a random generator that repeats for the same seed, on every machine."""
    return random.Random("/".join(map(str, seed)))  # noqa: S311 - it must be repeatable


def shuffled_cycle(values: Sequence[T], rng: random.Random) -> Iterator[T]:
    """Yield all values in random order, then all again in another order, without end."""
    shuffled = list(values)
    while True:
        rng.shuffle(shuffled)
        yield from shuffled


def repeat_by_weight(weights: dict[T, int]) -> list[T]:
    """Repeat each value as often as its weight."""
    return [value for value, weight in weights.items() for _ in range(weight)]


def random_count(expected: float, rng: random.Random) -> int:
    """Return a count around `expected`, ±50 %."""
    return int(expected * (0.5 + rng.random()) + rng.random())


def random_id(rng: random.Random, prefix: str) -> str:
    """Return the prefix and fourteen random letters and digits."""
    bits = rng.getrandbits
    return prefix + "".join([PAIRS[bits(10)] for _ in range(7)])


def serial_id(rng: random.Random, prefix: str, serial: int) -> str:
    """Return a random id whose end follows from the serial: no other serial has it."""
    rest, last = divmod(serial * SCRAMBLE % SERIALS, len(PAIRS))
    first, middle = divmod(rest, len(PAIRS))
    return random_id(rng, prefix) + PAIRS[first] + PAIRS[middle] + PAIRS[last]
