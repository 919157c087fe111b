"""Rules of proof for the laboratory, and what contradicts their assumptions.

double read    two complete passes with equal ids
one instant    `pipeline.extract.proof`
guarded        the same, unless the answers show a TotalCount that is too low, or an image that came back
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from reading_strategies import Result, double_read, is_flawless, one_instant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from reading_strategies import Reading
    from simulated_account import Answer

SETTLE: Final = 2.0


def sightings_of(answers: Sequence[Answer]) -> list[Any]:
    """Return flawless answers as `pipeline.extract.proof` takes them."""
    from pipeline.extract.proof import Sighting

    return [
        Sighting(
            answer.page_number,
            answer.page.size,
            answer.page.total,
            answer.page.ids,
            answer.sent,
            answer.received,
            answer.server_at,
            answer.young,
        )
        for answer in answers
    ]


def prove_instant(answers: Sequence[Answer], known: frozenset[str], *, settle: float) -> Result | None:
    """Apply the rule of one instant. Returns: the witnesses, and the answer that is the instant."""
    from pipeline.extract.proof import prove

    answers = [answer for answer in answers if is_flawless(answer)]
    proof = prove(sightings_of(answers), known, settle_seconds=settle)
    if proof is None:
        return None
    instant = answers[proof.place]
    if proof.kind == "one page":
        return Result(frozenset(instant.page.ids), instant, proof.kind)
    pause = 0.0 if proof.kind == "quiet" else settle
    before, after = set(known), set()
    for answer in answers:
        if answer.received < instant.sent - pause:
            before.update(answer.page.ids)
        if answer.sent > instant.received + pause:
            after.update(answer.page.ids)
    return Result(frozenset(before & after), instant, proof.kind)


def prove_guarded(answers: Sequence[Answer], known: frozenset[str], *, settle: float) -> Result | None:
    """Apply the rule, unless the answers contradict its assumptions."""
    result = prove_instant(answers, known, settle=settle)
    if result and (is_total_too_low(answers) or (result.kind == "instant" and has_returned(answers))):
        return None
    return result


def is_total_too_low(answers: Iterable[Answer]) -> bool:
    """Whether a page had rows beyond its TotalCount twice in a row: two queries may do so once, while images go."""
    before: dict[int, bool] = {}
    for answer in answers:
        is_beyond = _is_beyond(answer)
        if is_beyond and before.get(answer.page_number):
            return True
        before[answer.page_number] = is_beyond
    return False


def _is_beyond(answer: Answer) -> bool:
    page = answer.page
    return bool(page.ids) and (answer.page_number - 1) * (page.size or 50) + len(page.ids) > (page.total or 0)


def has_returned(answers: Iterable[Answer]) -> bool:
    """Whether an image was seen, then its neighbours without it, then it again: restored, or an older state."""
    following: dict[str, str] = {}
    gone: set[str] = set()
    for answer in sorted(answers, key=lambda answer: answer.sent):
        ids = answer.page.ids
        if not gone.isdisjoint(ids):
            return True
        for image_id, next_id in pairwise(ids):
            between = []
            found = following.get(image_id)
            while found is not None and found != next_id and len(between) < len(ids):
                between.append(found)
                found = following.get(found)
            if found == next_id:
                gone.update(between)
            following[image_id] = next_id
    return False


def _instant(settle: float, rule: Callable[..., Result | None]) -> Callable[..., Reading]:
    return partial(one_instant, rule=partial(rule, settle=settle), settle=settle)


RULES: dict[str, Callable[..., Reading]] = {
    "double read": double_read,
    "one instant, 0 s": _instant(0.0, prove_instant),
    "one instant, 2 s": _instant(SETTLE, prove_instant),
    "guarded, 0 s": _instant(0.0, prove_guarded),
    "guarded, 2 s": _instant(SETTLE, prove_guarded),
}
"""Ways to read an account: (ids of the last observation, page size, workers, passes) → a reading."""
