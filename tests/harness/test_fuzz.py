"""The fuzzing does what it says: every property is tried, and a wrong one is found."""

from pathlib import Path

import fuzz
import hostile
import pytest
import test_bad_input


def test_every_property_is_fuzzed():
    assert len(fuzz.properties()) == Path(test_bad_input.__file__).read_text("utf-8").count("\n@given(")


def test_a_round_reports_how_many_inputs_it_has_tried():
    name = test_bad_input.test_any_bytes_are_flattened_or_not_a_page.__name__

    said, tried, trouble = fuzz.a_round(name, 1)

    assert (said, trouble) == (name, None)
    assert tried >= 20


def test_a_round_finds_what_is_wrong(monkeypatch):
    monkeypatch.setattr(test_bad_input, "expected", lambda *_: (None, False))
    _, tried, trouble = fuzz.a_round(test_bad_input.test_every_value_of_any_page_is_typed_or_rejected.__name__, 1)

    assert tried >= 1
    assert "AssertionError" in (trouble or "")
    assert "pages=" in (trouble or "")


@pytest.mark.parametrize("name", ["gzip that unpacks to 8 GiB", "an id of 11 MiB"])
def test_a_hostile_answer_takes_little_memory_and_ends_in_time(name):
    cost = hostile.measure(name)

    assert cost.trouble is None
    assert 50 < cost.peak_mib <= hostile.MOST_MIB
    assert cost.try_seconds > 0
