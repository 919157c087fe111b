"""A part of the damage tests: `make faults` does all of them."""

from __future__ import annotations

import os

import pytest
from damage import PARTS, STATES, Outcome, flips, keep, kept, lake_in, matrix

SHARES = 28


@pytest.mark.parametrize("state", STATES)
def test_damage_gives_no_wrong_answer_and_is_mended_as_advised(state):
    found = matrix(os.getpid(), [state], share=(os.getpid() % SHARES, SHARES))

    assert found
    assert [(outcome.what, outcome.wrong) for outcome in found if outcome.wrong] == []


def test_damage_in_a_bucket_gives_no_wrong_answer_and_is_mended_as_advised():
    found = matrix(os.getpid(), ["withdrawn"], share=(os.getpid() % SHARES, SHARES), in_bucket=True)

    assert found
    assert [(outcome.what, outcome.wrong) for outcome in found if outcome.wrong] == []


def test_a_flipped_bit_gives_no_wrong_answer_and_is_mended_as_advised(tmp_path):
    lake_in(tmp_path, "withdrawn", days=7, images=12)
    found = flips(tmp_path, os.getpid(), count=1)

    assert [(outcome.what, outcome.wrong) for outcome in found if outcome.wrong] == []


def test_outcomes_are_kept_as_they_come_and_read_again(tmp_path):
    file = tmp_path / "outcomes.jsonl"
    first, second = (Outcome(f"fresh, raw, {number}", ("é",), number == 1, was_found=True) for number in (1, 2))
    assert kept(file) == {kind: [] for kind in PARTS}
    keep(file, "flips", [first])
    keep(file, "matrix", [second])

    assert kept(file) == {"flips": [first], "matrix": [second], "later": []}
