"""The laboratory tells right from wrong, and the rules prove nothing wrong within their assumptions."""

from __future__ import annotations

from functools import partial

import pytest
from laboratory import Schedule, main, random_schedules, try_once
from proof_rules import RULES
from reading_strategies import Result, one_instant

LOW_TOTALS = ["capped", "page total", "low total", "owned total", "young total", "late total"]


def verdicts(fault, rule, count):
    return [try_once(schedule, rule) for schedule in random_schedules(fault, count, 5)]


def accept_everything(answers, known, settle):
    """A rule that publishes what the first pass showed."""
    del known, settle
    return Result(frozenset(i for answer in answers for i in answer.page.ids), answers[0], "everything")


def test_a_rule_without_a_proof_is_judged_wrong_where_the_account_changes():
    rule = partial(one_instant, rule=partial(accept_everything, settle=0.0), settle=0.0)

    found = verdicts("none", rule, 25)

    wrong = [verdict for verdict in found if verdict.is_wrong]
    assert len(wrong) > 5
    assert any(verdict.invented for verdict in wrong)
    assert any(verdict.lost for verdict in wrong)
    assert all(verdict.result.ids not in verdict.truth for verdict in wrong)


def test_a_schedule_is_the_same_for_the_same_seed():
    first, again = (try_once(Schedule("sharing", 4, 130, workers=8), RULES["double read"]) for _ in range(2))

    assert first == again
    assert first.calls == len(first.answers) > 3


def test_an_honest_service_is_proven_more_often_than_by_a_double_read_and_never_wrong():
    proven = {name: verdicts("none", RULES[name], 25) for name in ("one instant, 2 s", "double read")}

    assert not [verdict for found in proven.values() for verdict in found if verdict.is_wrong]
    counts = {name: sum(verdict.result is not None for verdict in found) for name, found in proven.items()}
    assert counts["one instant, 2 s"] > counts["double read"] > 10


@pytest.mark.parametrize("fault", LOW_TOTALS)
def test_a_total_that_is_too_low_is_told_by_rows_beyond_it(fault):

    found = verdicts(fault, RULES["one instant, 2 s"], 5)

    assert any("beyond" in verdict.watched for verdict in found)
    assert not any(verdict.is_wrong for verdict in found)


def test_the_table_has_a_row_for_each_fault_and_rule(capsys):

    assert main(["--schedules", "2", "--fault", "none", "--fault", "clamped"]) == 0

    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 2 + 2 * len(RULES)
    assert {row.split("|")[2].strip() for row in rows[2:]} == set(RULES)
