"""Repeatable randomness: the same seed gives the same values on every machine.

seeded_rng(seed, "day 0")  →  shuffled_cycle(values, rng)  →  all values, in random order, again and again
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

T = TypeVar("T")


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
