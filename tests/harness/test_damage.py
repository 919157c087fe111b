"""A part of the damage tests: `make faults` does all of them."""

from __future__ import annotations

import os

import pytest
from damage import DAMAGES, KINDS, STATES, flips, lake_in, matrix


@pytest.mark.parametrize("state", STATES)
def test_damage_gives_no_wrong_answer_and_is_mended_as_advised(state):
    parts = len(KINDS) * len(DAMAGES) // 4
    found = matrix(os.getpid(), [state], share=(os.getpid() % parts, parts))

    assert found
    assert [(outcome.what, outcome.wrong) for outcome in found if outcome.wrong] == []


def test_damage_in_a_bucket_gives_no_wrong_answer_and_is_mended_as_advised():
    parts = len(KINDS) * len(DAMAGES) // 2
    found = matrix(os.getpid(), ["withdrawn"], share=(os.getpid() % parts, parts), in_bucket=True)

    assert found
    assert [(outcome.what, outcome.wrong) for outcome in found if outcome.wrong] == []


def test_a_flipped_bit_gives_no_wrong_answer_and_is_mended_as_advised(tmp_path):
    lake_in(tmp_path, "withdrawn", days=7, images=12)
    found = flips(tmp_path, os.getpid(), count=2)

    assert [(outcome.what, outcome.wrong) for outcome in found if outcome.wrong] == []
