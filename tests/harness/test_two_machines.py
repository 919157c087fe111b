"""One machine at every request of another, in a bucket; a thousand moments are `make crash`."""

import os

from two_machines import PAIRS, laboratory


def test_two_machines_at_once_leave_what_they_leave_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with laboratory() as here:
        found = here.tried(PAIRS[os.getpid() % len(PAIRS)], seed=os.getpid(), limit=3)

    assert found.wrong == []
    assert found.moments.total() == 3


def test_a_machine_opens_a_lake_of_which_another_deletes_a_replaced_compaction_meanwhile(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with laboratory() as here:
        found = here.tried(("prune", "withdraw at once"), seed=1, limit=1, among=range(7, 10))

    assert found.wrong == []
