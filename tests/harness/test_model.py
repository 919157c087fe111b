"""A part of the model test: `make faults` lives through 2,000 steps."""

from __future__ import annotations

import os

from model import live


def test_every_answer_of_a_random_history_is_that_of_a_model():
    outcome = live(os.getpid(), steps=6)

    assert outcome.difference == ""
    assert outcome.counts["answers"]
