"""Rules of proof for the laboratory.

double read    two complete passes with equal ids
one instant    `pipeline.extract.claim`, as a run applies it
"""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from reading_strategies import Result, double_read, one_instant

from pipeline.extract import response
from pipeline.extract.claim import FirstLook, claim_of, published_ids
from pipeline.extract.proof import SETTLE_SECONDS, Terms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from reading_strategies import Reading
    from simulated_account import Answer

_START: Final = dt.datetime(2026, 11, 23, 2)  # noqa: DTZ001  (UTC without a zone, as everywhere)


def as_landed(answers: Sequence[Answer]) -> list[response.Answer]:
    """Return simulated answers as a run lands them; the number of the try is the place."""
    return [
        response.Answer(
            account="default",
            pass_number=1,
            page_number=answer.page_number,
            attempt_number=place,
            request_id=None,
            status=200,
            sent_at_utc=_START + dt.timedelta(seconds=answer.sent),
            received_at_utc=_START + dt.timedelta(seconds=answer.received),
            waited_seconds=0.0,
            error_code=None,
            error=None,
            server_at_utc=answer.server_at,
            page=replace(answer.page, young=tuple(answer.young.items())),
        )
        for place, answer in enumerate(answers)
    ]


def prove_instant(answers: Sequence[Answer], known: frozenset[str], *, settle: float) -> Result | None:
    """Apply the rule of one instant. Returns: what a run would publish, and the answer that is the instant."""
    landed = as_landed(answers)
    claim = claim_of(landed, FirstLook("before", known, None) if known else None, Terms(settle))
    if claim is None:
        return None
    return Result(frozenset(published_ids(landed, claim)), answers[claim.instant[2]], claim.kind)


def _instant(settle: float) -> Callable[..., Reading]:
    return partial(one_instant, rule=partial(prove_instant, settle=settle), settle=settle)


RULES: dict[str, Callable[..., Reading]] = {
    "double read": double_read,
    "one instant, 0 s": _instant(0.0),
    "one instant, 2 s": _instant(SETTLE_SECONDS),
}
"""Ways to read an account: (ids of the last observation, page size, workers, passes) → a reading."""
