"""Prove a listing at one instant, although the account changes while it is read. Pure.

    before a                      a                          after a
    answers of this listing   ──  TotalCount N  ──  answers sent more than s after a was received
    the last observation

An id seen before *a* and after *a* is a witness. The answer *a* proves the listing if

1. the witnesses are exactly N,
2. the end of the list was seen after *a*: a page shorter than its echoed size whose last position is its TotalCount,
   or an empty page just past it,
3. every other id in *a*, or in an answer that was sent after *a* was received, is owned and was created after *a*,
   by the server's clock.

Assumptions: an id is not used again, nor deleted and restored within minutes; two answers more than s apart do not go
back in time; TotalCount counts what is listed.

    A witness existed before the instant of *a* and after it, so it existed then. N items existed then, so there were
    no others: the account at *a* is the witnesses. If TotalCount counts less than what is listed (it is capped, it is
    of the page alone, it leaves items out), then some listed id is no witness, or the end is not where TotalCount
    says: (3) and (2) refuse. If it counts more, (1) cannot hold: there are no other ids.

Whether an id is in *a* itself counts for nothing: how rows and TotalCount of one answer are made is not known.

`quiet` is the same with s = 0, where TotalCount is N in every answer of the listing and no other id was seen. The last
observation is a look before *a* for `quiet` alone: in the day since, an item may have been shared, un-shared and
shared again, which a changing TotalCount does not show.
`one page` is a single answer with as many items as its TotalCount, and fewer than its page size.
"""

from __future__ import annotations

import bisect
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Mapping, Sequence

Kind = Literal["one page", "quiet", "instant"]

SETTLE_SECONDS: Final = 2.0
"""Time after which an answer shows no older state than one before it."""

_NEVER: Final = float("-inf")


@dataclass(frozen=True, slots=True)
class Terms:
    """What a proof must keep to."""

    settle_seconds: float = SETTLE_SECONDS
    quiet_settle_seconds: float = 0.0
    """The same where nothing changed: 0, unless answers of the account are known to go back in time."""
    is_strict: bool = False
    """Whether an account of one page is asked for twice."""
    is_quiet_only: bool = False
    """Whether answers of the account went back in time: then two whole passes without a change prove it, or nothing."""


DEFAULT_TERMS: Final = Terms()


@dataclass(frozen=True, slots=True)
class Sighting:
    """One answer without a flaw: it may be the instant, and it shows that its ids exist."""

    page_number: int
    page_size: int
    total: int
    ids: tuple[str, ...]
    sent: float
    """Seconds on one clock for the whole listing."""
    received: float
    server_at_utc: dt.datetime | None = None
    """The `Date` of the answer."""
    young: Mapping[str, dt.datetime] = field(default_factory=dict)
    """Of its owned items, the creation time of those that were created since the listing began."""

    @property
    def is_end(self) -> bool:
        """Whether the page is the end of the list by its own TotalCount."""
        before = (self.page_number - 1) * self.page_size
        if not self.ids and before:
            return self.total <= before < self.total + self.page_size
        return len(self.ids) < self.page_size and before + len(self.ids) == self.total


@dataclass(frozen=True, slots=True)
class Proof:
    """A listing proven at one instant."""

    kind: Kind
    place: int
    """The answer that is the instant: its place among the sightings."""
    total: int
    """Items at that instant."""
    seen_here: int
    """Witnesses that were seen before the instant in this listing; the others were in the last observation."""
    later_ids: frozenset[str]
    """Ids that were seen and did not exist at the instant: they are left to the next observation."""


def prove(
    sightings: Sequence[Sighting],
    last_ids: frozenset[str] = frozenset(),
    terms: Terms = DEFAULT_TERMS,
) -> Proof | None:
    """Find an instant at which the listing is proven; None where there is none yet.

    `last_ids` are those of the account's last published observation, whose answers all came before. The cost is near
    linear in the number of ids.
    """
    if not sightings:
        return None
    last = sightings[-1]
    if _is_one_page(last) and (not terms.is_strict or _is_one_page_again(sightings)):
        return Proof("one page", len(sightings) - 1, last.total, 0, frozenset())
    proof = None
    if not last_ids or len(sightings) >= 2 * len({sighting.page_number for sighting in sightings}):
        proof = _quiet_proof(sightings, frozenset(), terms)
    if proof is None and last_ids and not terms.is_quiet_only:
        proof = _quiet_proof(sightings, last_ids, terms)
    if proof is not None or terms.is_quiet_only or not _may_be_seen_twice(sightings):
        return proof
    looks, settle = _Looks(sightings), terms.settle_seconds
    places = (place for place in looks.candidates(settle) if looks.are_others_younger(place, settle))
    return next((looks.proof(place, settle) for place in places), None)


def _may_be_seen_twice(sightings: Sequence[Sighting]) -> bool:
    """Whether there are rows enough for every item of some instant to be in two answers."""
    row_count = sum(len(sighting.ids) for sighting in sightings)
    return row_count >= 2 * min(sighting.total for sighting in sightings)


def _quiet_proof(sightings: Sequence[Sighting], last_ids: frozenset[str], terms: Terms) -> Proof | None:
    quiet = _Quiet(sightings, last_ids)
    return next(map(quiet.proof, quiet.candidates(terms.quiet_settle_seconds)), None)


def proves(
    sightings: Sequence[Sighting], last_ids: frozenset[str], kind: Kind, place: int, settle_seconds: float
) -> Proof | None:
    """Examine whether this answer proves the listing in this way. Returns: the proof, or None."""
    if kind == "one page":
        only = sightings[place]
        return Proof(kind, place, only.total, 0, frozenset()) if _is_one_page(only) else None
    if kind == "quiet":
        quiet = _Quiet(sightings, last_ids)
        return quiet.proof(place) if place in set(quiet.candidates(settle_seconds)) else None
    looks = _Looks(sightings)
    is_proven = place in set(looks.candidates(settle_seconds)) and looks.are_others_younger(place, settle_seconds)
    return looks.proof(place, settle_seconds) if is_proven else None


def _is_one_page(seen: Sighting) -> bool:
    return seen.page_number == 1 and seen.total == len(seen.ids) < seen.page_size


def _is_one_page_again(sightings: Sequence[Sighting]) -> bool:
    """Whether the last two answers are one page with the same items."""
    if len(sightings) < 2:
        return False
    before, last = sightings[-2:]
    return _is_one_page(before) and before.received < last.sent and set(before.ids) == set(last.ids)


def _last_end(sightings: Sequence[Sighting]) -> float:
    """When the end of the list was last asked for."""
    return max((sighting.sent for sighting in sightings if sighting.is_end), default=_NEVER)


class _Quiet:
    """An account that does not change: every id that was seen must be a witness, so two instants tell it.

    The first look at the last new id, and the last look at the id that was not seen for longest.
    """

    def __init__(self, sightings: Sequence[Sighting], last_ids: frozenset[str]) -> None:
        self._sightings = sightings
        self._all_seen_before = _NEVER
        seen = set(last_ids)
        for sighting in sorted(sightings, key=lambda sighting: sighting.received):
            count = len(seen)
            seen.update(sighting.ids)
            if len(seen) > count:
                self._all_seen_before = sighting.received
        self._seen_here = len(seen) - len(last_ids)
        self._all_seen_after = _NEVER
        ids: set[str] = set()
        for sighting in sorted(sightings, key=lambda sighting: -sighting.sent):
            count = len(ids)
            ids.update(sighting.ids)
            if len(ids) > count:
                self._all_seen_after = sighting.sent
        self._is_quiet = {sighting.total for sighting in sightings} == {len(ids)}

    def candidates(self, settle: float) -> Iterator[int]:
        """Yield the answers before and after which every id was seen, and after which the end was.

        Those of page 1 first: a pass begins with it, and what is written while pages come has its instant.
        """
        if not self._is_quiet:
            return
        seen_after = min(self._all_seen_after, _last_end(self._sightings)) - settle
        seen_before = self._all_seen_before + settle
        order = sorted(enumerate(self._sightings), key=lambda item: (item[1].page_number > 1, item[1].received))
        for place, _ in order:
            if seen_before < self._sightings[place].sent and self._sightings[place].received < seen_after:
                yield place

    def proof(self, place: int) -> Proof:
        """Return the proof by an answer."""
        return Proof("quiet", place, self._sightings[place].total, self._seen_here, frozenset())


class _Looks:
    """When each id was first and last seen. Ids that were seen in the same two answers are counted together."""

    def __init__(self, sightings: Sequence[Sighting]) -> None:
        self._sightings = sightings
        self._first: dict[str, int] = {}
        self._last: dict[str, int] = {}
        self._by_arrival = sorted(range(len(sightings)), key=lambda place: sightings[place].received)
        for place in reversed(self._by_arrival):  # the first of several counts, and both dictionaries have one order
            self._first.update(dict.fromkeys(sightings[place].ids, place))
        self._last.update(self._first)
        for place in sorted(range(len(sightings)), key=lambda place: sightings[place].sent):
            self._last.update(dict.fromkeys(sightings[place].ids, place))
        pairs = Counter(zip(self._first.values(), self._last.values(), strict=True))
        received = [sighting.received for sighting in sightings]
        self._groups = sorted((received[first], sightings[last].sent, count) for (first, last), count in pairs.items())
        self._young = {item_id: created for sighting in sightings for item_id, created in sighting.young.items()}

    def candidates(self, settle: float) -> Iterator[int]:
        """Yield the answers that have as many witnesses as their TotalCount, and the end seen after them."""
        last_end = _last_end(self._sightings)
        counts = self._witness_counts(settle)
        for place in self._by_arrival:
            sighting = self._sightings[place]
            if counts[place] == sighting.total and last_end > sighting.received + settle:
                yield place

    def _witness_counts(self, settle: float) -> dict[int, int]:
        """Count the witnesses of every answer: ids first seen before it, and last seen after it."""
        ends = sorted({sent for _, sent, _ in self._groups})
        tree = _CountTree(len(ends))
        counts: dict[int, int] = {}
        at = 0
        for place in sorted(range(len(self._sightings)), key=lambda place: self._sightings[place].sent):
            sighting = self._sightings[place]
            while at < len(self._groups) and self._groups[at][0] < sighting.sent - settle:
                _, sent, count = self._groups[at]
                tree.add(bisect.bisect_left(ends, sent), count)
                at += 1
            counts[place] = tree.count_from(bisect.bisect_right(ends, sighting.received + settle))
        return counts

    def are_others_younger(self, place: int, settle: float) -> bool:
        """Whether every id in the answer or in a later one that is no witness is owned, and created after it."""
        instant = self._sightings[place]
        later_count = sum(count for _, sent, count in self._groups if sent > instant.received)
        others = later_count - instant.total
        in_answer = [item_id for item_id in instant.ids if not self._is_witness(item_id, instant, settle)]
        others += sum(self._last_sent(item_id) <= instant.received for item_id in in_answer)
        if not others:
            return True
        server_at = instant.server_at_utc
        if server_at is None or others > len(self._young):
            return False
        younger = self._others(instant, settle)
        return len(younger) == others and all(self._young[item_id] > server_at for item_id in younger)

    def _others(self, instant: Sighting, settle: float) -> list[str]:
        in_answer = frozenset(instant.ids)
        return [
            item_id
            for item_id in self._young
            if (self._last_sent(item_id) > instant.received or item_id in in_answer)
            and not self._is_witness(item_id, instant, settle)
        ]

    def _is_later(self, item_id: str, instant: Sighting, settle: float) -> bool:
        is_seen_later = self._last_sent(item_id) > instant.received
        return is_seen_later and not self._is_witness(item_id, instant, settle)

    def _last_sent(self, item_id: str) -> float:
        return self._sightings[self._last[item_id]].sent

    def _is_witness(self, item_id: str, instant: Sighting, settle: float) -> bool:
        is_before = self._sightings[self._first[item_id]].received < instant.sent - settle
        return is_before and self._last_sent(item_id) > instant.received + settle

    def proof(self, place: int, settle: float) -> Proof:
        """Return the proof by an answer, all of whose witnesses were seen in this listing."""
        instant = self._sightings[place]
        later = frozenset(item_id for item_id in self._first if self._is_later(item_id, instant, settle))
        return Proof("instant", place, instant.total, instant.total, later)


class _CountTree:
    """Counts by position, with the sum from a position on in logarithmic time (a Fenwick tree, from the end)."""

    def __init__(self, size: int) -> None:
        self._sums = [0] * (size + 1)

    def add(self, position: int, count: int) -> None:
        at = len(self._sums) - 1 - position
        while at < len(self._sums):
            self._sums[at] += count
            at += at & -at

    def count_from(self, position: int) -> int:
        at, total = len(self._sums) - 1 - position, 0
        while at > 0:
            total += self._sums[at]
            at -= at & -at
        return total
