"""The claim of a listing: how its answers prove it, as the header of the raw file keeps it.

    answers ─→ sightings ─→ proof ─→ Claim ─→ header ─→ rebuild, check: the same rows, the same instant

A rebuild follows the claim; `check` computes the proof again, with the ids that the first look rests on.
"""

from __future__ import annotations

import datetime as dt
import operator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from pipeline.extract.proof import DEFAULT_TERMS, Kind, Proof, Sighting, Terms, prove, proves
from pipeline.extract.response import Answer, contradiction
from pipeline.extract.watch import count_clock_steps_back, has_returned, is_contradicted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

RULE: Final = "one instant"
"""The name of the rule in the header of a raw file. A file without it was landed under the rule of two equal passes."""

_EPOCH: Final = dt.datetime(1970, 1, 1)  # noqa: DTZ001  (UTC without a zone, as everywhere)


@dataclass(frozen=True, slots=True)
class FirstLook:
    """The ids of an account's last published observation: each was seen before this listing."""

    run_id: str
    ids: frozenset[str]
    ids_sha256: str | None
    count_returned: Callable[[Collection[str]], int] = lambda _: 0
    """Counts those of some ids, none of them in `ids`, that an earlier observation had: they are back."""
    went_back: bool = False
    """Whether answers of the account went back in time before."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One answer as the instant of a listing, and the way in which it proves the listing."""

    kind: Kind
    settle_seconds: float
    instant: tuple[int, int, int]
    """Pass, page and attempt of the answer."""
    total: int
    seen_here: int
    """Items that were seen before the instant in this listing; the others were in the observation it rests on."""
    later_ids: tuple[str, ...]
    """Ids that are left to the next observation."""
    first_pass: int = 1
    """The pass from which on answers count."""
    rests_on: str | None = None
    """The run whose ids are the first look; None where none of them was needed."""
    rests_on_ids_sha256: str | None = None

    def to_header(self) -> dict[str, Any]:
        """Return the claim as JSON of the header."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_decision(cls, decision: Mapping[str, Any]) -> Claim | None:
        """Return the claim in the decision about an account; None where there is none."""
        found = decision.get("proof")
        if found is None:
            return None
        return cls(**{**found, "instant": tuple(found["instant"]), "later_ids": tuple(found["later_ids"])})


def _key(answer: Answer) -> tuple[int, int, int]:
    return answer.pass_number, answer.page_number, answer.attempt_number


def flawless(answers: Sequence[Answer], first_pass: int = 1) -> list[int]:
    """Return the places of the answers that hold together, and have a TotalCount: no others prove anything."""
    return [
        place
        for place, answer in enumerate(answers)
        if answer.page is not None
        and answer.pass_number >= first_pass
        and answer.page.total is not None
        and contradiction(answer.page, answer.page_number) is None
    ]


def _sightings(answers: Sequence[Answer], places: Sequence[int]) -> list[Sighting] | None:
    """Return the answers at these places as sightings; None where an item has no id, which cannot be told apart."""
    found = []
    for place in places:
        answer = answers[place]
        page = answer.page
        assert page is not None  # noqa: S101  (flawless)
        assert page.total is not None  # noqa: S101
        if not page.has_all_ids:
            return None
        found.append(
            Sighting(
                answer.page_number,
                page.size_or_asked,
                page.total,
                page.ids,
                _seconds(answer.sent_at_utc),
                _seconds(answer.received_at_utc),
                answer.server_at_utc,
                dict(page.young),
            )
        )
    return found


def _seconds(at: dt.datetime) -> float:
    return (at - _EPOCH).total_seconds()


def claim_of(
    answers: Sequence[Answer],
    look: FirstLook | None,
    terms: Terms = DEFAULT_TERMS,
) -> Claim | None:
    """Find how the answers prove the listing; None where they do not.

    Nothing does where an answer has rows beyond its own TotalCount. Where the clock of the service went back, two quiet
    passes alone do; where an item was seen, not seen and seen again, quiet answers alone.
    """
    if is_contradicted(answers):
        return None
    claim = _claim_of(answers, 1, look, terms)
    last_pass = answers[-1].pass_number if answers else 0
    if claim is None and last_pass > 2:  # two quiet passes at last, whatever changed before them
        claim = _claim_of(answers, last_pass - 1, None, replace(terms, is_quiet_only=True))
    return claim


def _claim_of(answers: Sequence[Answer], first_pass: int, look: FirstLook | None, terms: Terms) -> Claim | None:
    """Find how the answers from this pass on prove the listing."""
    places = flawless(answers, first_pass)
    sightings = _sightings(answers, places)
    if sightings is None:
        return None
    last_ids = look.ids if look else frozenset[str]()
    if count_clock_steps_back(answers):
        terms = replace(terms, is_quiet_only=True)
    proof = prove(sightings, last_ids, terms)
    if proof is None or (proof.kind == "instant" and has_returned(answers[place] for place in places)):
        return None
    is_resting = proof.kind != "one page" and proof.seen_here < proof.total
    return Claim(
        kind=proof.kind,
        settle_seconds={"instant": terms.settle_seconds, "quiet": terms.quiet_settle_seconds}.get(proof.kind, 0.0),
        instant=_key(answers[places[proof.place]]),
        total=proof.total,
        seen_here=proof.seen_here,
        later_ids=tuple(sorted(proof.later_ids)),
        first_pass=first_pass,
        rests_on=look.run_id if look and is_resting else None,
        rests_on_ids_sha256=look.ids_sha256 if look and is_resting else None,
    )


def is_proven(answers: Sequence[Answer], claim: Claim, last_ids: frozenset[str]) -> bool:
    """Compute the proof of a claim again, with the ids of the observation that it rests on."""
    places = flawless(answers, claim.first_pass)
    if count_clock_steps_back(answers) and (claim.kind == "instant" or claim.rests_on is not None):
        return False
    if is_contradicted(answers) or (claim.kind == "instant" and has_returned(answers[place] for place in places)):
        return False
    sightings = _sightings(answers, places)
    place = next((n for n, at in enumerate(places) if _key(answers[at]) == claim.instant), None)
    if sightings is None or place is None:
        return False
    proof = proves(sightings, last_ids, claim.kind, place, claim.settle_seconds)
    return proof is not None and _says(proof) == (claim.total, claim.seen_here, claim.later_ids)


def _says(proof: Proof) -> tuple[int, int, tuple[str, ...]]:
    return proof.total, proof.seen_here, tuple(sorted(proof.later_ids))


def instant_of(answers: Sequence[Answer], claim: Claim) -> Answer:
    """Return the answer that is the instant.

    Raises:
        LookupError: it is not among the answers.
    """
    for answer in answers:
        if _key(answer) == claim.instant and answer.page is not None:
            return answer
    raise LookupError(f"there is no usable answer {claim.instant}, pass, page and try, which is the instant")


def is_usable(answers: Sequence[Answer], claim: Claim) -> bool:
    """Whether the answer that is the instant is there, and every answer that was taken when it came is taken now."""
    is_there = any(_key(answer) == claim.instant and answer.page is not None for answer in answers)
    return is_there and not any(a.page is None and a.status == 200 and a.error is None for a in answers)


def published_places(answers: Sequence[Answer], claim: Claim) -> tuple[list[int], bool]:
    """Select the answers whose rows are published: of each item, the answer nearest after the instant.

    Returns:
        Their places in the order of publication, and whether every item in them is published, each once; otherwise
        the first of two is, and none of `later_ids`.
    """
    instant = instant_of(answers, claim)
    if claim.kind == "one page":
        return [place for place, answer in enumerate(answers) if answer is instant], True
    after = instant.received_at_utc + dt.timedelta(seconds=claim.settle_seconds)
    places = [place for place in flawless(answers) if answers[place].sent_at_utc > after]
    taken = set(claim.later_ids)
    selected, row_count = [], 0
    for place in sorted(places, key=lambda place: (answers[place].sent_at_utc, place)):
        ids = answers[place].page.ids  # type: ignore[union-attr]
        if not taken.issuperset(ids):
            selected.append(place)
            row_count += len(ids)
            taken.update(ids)
    is_distinct = row_count == len(taken) - len(claim.later_ids)
    if is_distinct:  # page 1 comes last, as it was read; a prefetch writes the others while they come
        selected.sort(key=lambda place: (answers[place].page_number == 1, answers[place].page_number))
    return selected, is_distinct


def published_ids(answers: Sequence[Answer], claim: Claim) -> set[str]:
    """Return the ids of the items at the instant."""
    return ids_at(answers, published_places(answers, claim)[0], claim)


def ids_at(answers: Sequence[Answer], places: Sequence[int], claim: Claim) -> set[str]:
    """Return the ids of the items at the instant, given the places that are published."""
    pages = map(operator.attrgetter("page"), (answers[place] for place in places))
    return {item_id for page in pages for item_id in page.ids} - set(claim.later_ids)
