"""Watch for what the proof of a listing assumes not to happen, as far as its answers show it. Pure.

    Date of an answer earlier than that of one before it          the service's clock, or another server's, went back
    Date unlike the local clock by more than a minute             one of the two clocks is wrong
    rows at positions beyond the TotalCount of their answer       TotalCount counts less than what is listed
    items came or went, and TotalCount never changed              TotalCount may be cached, or is not of the list

It is counted in the evidence. Rows beyond TotalCount, twice, show that it cannot be trusted: nothing is proven then. An
id that is seen, not seen and seen again is no witness of an instant. An id that was gone by the last observation and is
back is found by the run, which has the lake at hand.
"""

from __future__ import annotations

import datetime as dt
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pipeline.extract.response import Answer

MOST_CLOCK_OFFSET_SECONDS: Final = 60.0
"""No correct pair of clocks differs by more."""
_SECOND: Final = dt.timedelta(seconds=1)
"""The resolution of `Date`: two servers whose clocks agree may differ by so much."""


def watched(answers: Sequence[Answer], *, is_quiet: bool) -> dict[str, object]:
    """Return what the answers show, as columns of `observations`; with `is_quiet` no item came or went meanwhile."""
    return {
        "server_clock_back_count": count_clock_steps_back(answers),
        "server_clock_offset_seconds": _clock_offset(answers),
        "beyond_total_count": sum(map(_rows_beyond_total, answers)),
        "is_total_constant": not is_quiet and _is_total_constant(answers),
    }


def remarkable(seen: Mapping[str, object]) -> dict[str, object]:
    """Select the columns that say something: a clock may differ by a minute."""
    offset = seen["server_clock_offset_seconds"]
    is_off = isinstance(offset, float) and abs(offset) > MOST_CLOCK_OFFSET_SECONDS
    return {
        name: value
        for name, value in seen.items()
        if (is_off if name == "server_clock_offset_seconds" else bool(value))
    }


def count_clock_steps_back(answers: Sequence[Answer]) -> int:
    """Count the answers whose `Date` is earlier than that of an answer which was received before they were sent."""
    arrivals = sorted((a.received_at_utc, a.server_at_utc) for a in answers if a.server_at_utc is not None)
    count, at, latest = 0, 0, None
    for sent, server_at in sorted((a.sent_at_utc, a.server_at_utc) for a in answers if a.server_at_utc is not None):
        while at < len(arrivals) and arrivals[at][0] < sent:
            latest = arrivals[at][1] if latest is None else max(latest, arrivals[at][1])
            at += 1
        count += latest is not None and server_at < latest - _SECOND
    return count


def _clock_offset(answers: Sequence[Answer]) -> float | None:
    """Return how many seconds the service's clock was ahead of the local one, by the answer that shows most of it."""
    offsets = list[float]()
    for answer in answers:
        if answer.server_at_utc is not None:
            least = (answer.server_at_utc - answer.received_at_utc).total_seconds()
            most = (answer.server_at_utc + _SECOND - answer.sent_at_utc).total_seconds()
            offsets.append(max(least, 0.0) + min(most, 0.0))
    if not offsets:
        return None
    ahead, behind = max(offsets), min(offsets)
    return round(ahead if ahead > -behind else behind, 1)


def is_contradicted(answers: Iterable[Answer]) -> bool:
    """Whether a page had rows beyond its own TotalCount, and again when it was asked for again.

    Then TotalCount does not count what is listed. Once alone, it may be a change between the rows and their count.
    """
    before: dict[int, bool] = {}
    for answer in answers:
        is_beyond = bool(_rows_beyond_total(answer))
        if is_beyond and before.get(answer.page_number):
            return True
        if answer.page is not None:
            before[answer.page_number] = is_beyond
    return False


def has_returned(answers: Iterable[Answer]) -> bool:
    """Whether an item was seen, then its neighbours side by side without it, then it again.

    It was restored or shared again, or an answer shows an older state than one before it.
    """
    following: dict[str, str] = {}
    gone: set[str] = set()
    for answer in sorted(answers, key=lambda answer: answer.sent_at_utc):
        ids = answer.page.ids if answer.page else ()
        if not gone.isdisjoint(ids):
            return True
        for item_id, next_id in pairwise(ids):
            between: list[str] = []
            found = following.get(item_id)
            while found is not None and found != next_id and len(between) < len(ids):
                between.append(found)
                found = following.get(found)
            if found == next_id:
                gone.update(between)
            following[item_id] = next_id
    return False


def _rows_beyond_total(answer: Answer) -> int:
    page = answer.page
    if page is None or page.total is None or page.number not in {None, answer.page_number}:
        return 0
    before = (answer.page_number - 1) * page.size_or_asked
    return min(len(page.ids), max(0, before + len(page.ids) - page.total))


def _is_total_constant(answers: Sequence[Answer]) -> bool:
    """Whether more items were seen than the one TotalCount of all answers: some came, as many went."""
    pages = [answer.page for answer in answers if answer.page is not None]
    totals = {page.total for page in pages}
    if len(totals) != 1 or None in totals:
        return False
    seen: set[str] = set()
    for page in pages:
        seen.update(page.ids)
    return len(seen) > next(total for total in totals if total is not None)
