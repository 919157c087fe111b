"""The proof of a listing, computed again from its answers and the ids that it rests on.

    claim in the header ─┬─ answers of the run itself
                         └─ ids of the run it rests on, by its raw pages; SHA-256 as the claim says

Where that run is gone, or was withdrawn since, nothing tells whether the proof holds: it is counted, and no damage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.extract.claim import Claim, is_proven
from pipeline.extract.completeness import digest_of_ids, listed_ids
from pipeline.lake.check.files import open_raw_run
from pipeline.lake.publish import listed_in, read_answers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.extract.raw_pages import RawRun
    from pipeline.extract.response import Answer
    from pipeline.lake.check.model import CheckState
    from pipeline.lake.tombstones import Listed


def check_proof(state: CheckState, raw: RawRun, decision: Mapping[str, Any], answers: Sequence[Answer]) -> None:
    """Compute the proof of an account again, where its listing claims one."""
    claim = Claim.from_decision(decision)
    if claim is None:
        return
    account, listed = decision["account"], listed_in(decision)
    last_ids = frozenset[str]() if claim.rests_on is None else _ids_of(state, claim.rests_on, listed)
    if last_ids is None:
        state.result.not_proven_again_count += 1
    elif claim.rests_on is not None and digest_of_ids(last_ids) != claim.rests_on_ids_sha256:
        problem = f"account {account!r} rests on other {listed[1]} than run {claim.rests_on} has by its raw pages"
        state.result.add(raw.path, problem)
    elif not is_proven(answers, claim, last_ids):
        state.result.add(raw.path, f"account {account!r}: its answers do not prove the listing as the header says")
    if decision["is_published"]:
        state.listed_ids[listed] = (raw.path.stem, frozenset(listed_ids(answers, decision["ended_passes"], claim)))


def _ids_of(state: CheckState, run_id: str, listed: Listed) -> frozenset[str] | None:
    """Return the ids that a run published of an account and resource; None where it is gone, or was withdrawn since."""
    if listed in state.tombstones.withdrawn_from(run_id):
        return None
    run, ids = state.listed_ids.get(listed, (None, None))
    if run == run_id:
        return ids
    path = state.raw_files.get(run_id)
    is_damaged = run_id in state.states and state.states[run_id].raw_flaw is not None
    raw = None if path is None or is_damaged else open_raw_run(state, path)
    if raw is None:
        return None
    decision = next((one for one in raw.header["accounts"] if listed_in(one) == listed), None)
    if decision is None:
        return frozenset()
    answers = [answer for _, answer in read_answers(raw).get(listed, ())]
    return frozenset(listed_ids(answers, decision["ended_passes"], Claim.from_decision(decision)))
