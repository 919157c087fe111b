"""Certificates: how far the answers of a listing prove that it is complete."""

from __future__ import annotations

import bisect
import hashlib
import itertools
import operator
from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal

from pipeline.errors import classify
from pipeline.extract.response import NAMELESS, PAGE_SIZE, Answer, Page, flaw

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


Level = Literal["unproven", "counted", "verified"]

LEVELS: Final[tuple[Level, ...]] = ("unproven", "counted", "verified")
"""From the weakest to the strongest."""


def believed(answers: Iterable[Answer]) -> list[list[Page]]:
    """The pages that were believed, pass by pass, in the order of their numbers.

    Of several answers to one page the last counts: a page is asked again only while it is not believed.
    A pass of which page 1 was never read tells no TotalCount, and is left out.
    """
    passes: dict[int, dict[int, Page]] = defaultdict(dict)
    for answer in answers:
        if answer.page is not None:
            passes[answer.pass_number][answer.page_number] = answer.page
    return [[pages[n] for n in sorted(pages)] for _, pages in sorted(passes.items()) if 1 in pages]


def certify(passes: Sequence[Sequence[Page]]) -> Level:
    """The level that passes prove, one read after the other: the believed pages of each from page 1 on, the last last.

    Which of the earlier ones holds the same ids is all one: what was alive in any of them and again when
    the last began was alive in between. An image without an id may be one that was listed with its id as
    well, so a listing that holds one is no more than counted.
    """
    return _level(passes, _ids(passes[-1])) if passes else "unproven"


def _level(passes: Sequence[Sequence[Page]], ids: Sequence[str]) -> Level:
    """The same, where the ids of the last pass are at hand: of a large account they are collected once."""
    *earlier, last = passes
    if not _adds_up(last, ids):
        return "unproven"
    nameless = bisect.bisect_left(ids, NAMELESS)  # sorted, they stand together
    if nameless < len(ids) and ids[nameless].startswith(NAMELESS):
        return "counted"
    if len(last[0].ids) == last[0].total:
        return "verified"
    alike = (before for before in earlier if before and before[0].total == last[0].total)
    if any(held == ids and _adds_up(before, held) for before in alike for held in (_ids(before),)):
        return "verified"
    return "counted"


def _adds_up(pages: Sequence[Page], ids: Sequence[str]) -> bool:
    """Whether a pass came to its end with distinct ids, as many as the one TotalCount on every answer."""
    if not pages or {page.total for page in pages} != {pages[0].total} or pages[0].total is None:
        return False
    rows = sum(len(page.ids) for page in pages)
    if rows != pages[0].total or len(ids) != rows:
        return False
    return len(pages[-1].ids) < max(pages[0].size or PAGE_SIZE, len(pages[0].ids))


_IDS_AT_ONCE: Final = 10_000


def _ids(pages: Iterable[Page]) -> list[str]:
    """The distinct ids, sorted. Of a million of them a set or a dict costs more than the sorting."""
    ids = sorted(itertools.chain.from_iterable(page.ids for page in pages))
    comes_again = any(map(operator.eq, ids, itertools.islice(ids, 1, None)))
    return list(dict.fromkeys(ids)) if comes_again else ids


def digest(pages: Sequence[Page]) -> str:
    """SHA-256 over the sorted distinct ids: equal sets of images have equal digests, whatever their order."""
    return _digest(_ids(pages))


def _digest(ids: Sequence[str]) -> str:
    said = hashlib.sha256()
    for start in range(0, len(ids), _IDS_AT_ONCE):  # of a million all at once are 50 MB
        some = "\n".join(ids[start : start + _IDS_AT_ONCE])
        said.update((f"\n{some}" if start else some).encode("utf-8", "surrogatepass"))
    return said.hexdigest()


def evidence(answers: Sequence[Answer], ended_passes: int) -> dict[str, object]:
    """The evidence of one listing, as columns of `observations`, from its answers in the order they came.

    `ended_passes` says how many passes were read to their end; what was begun after them proves nothing.
    """
    passes = believed(answer for answer in answers if answer.pass_number <= ended_passes)
    last_pass = passes[-1] if passes else []
    ids = _ids(last_pass)
    usable = [answer for answer in answers if answer.status == 200]
    latest = {(a.pass_number, a.page_number): a for a in usable}
    first_totals = {a.pass_number: a.page.total for a in latest.values() if a.page_number == 1 and a.page}
    final = list(latest.values())
    first = next((a for a in final if a.pass_number == ended_passes and a.page_number == 1), None)
    earlier = {(a.pass_number, a.page_number, a.attempt_number): a for a in answers}
    return {
        "observed_at_utc": first.received_at_utc if first and passes else None,
        "certificate": _level(passes, ids) if passes else None,
        "pass_count": ended_passes,
        "page_count": len(last_pass),
        "call_count": len(answers),
        "retry_count": sum(
            1
            for a in answers
            if (before := earlier.get((a.pass_number, a.page_number, a.attempt_number - 1))) and before.status != 200
        ),
        "throttle_count": sum(1 for a in answers if classify(a.status, a.error_code) == "throttled"),
        "waited_seconds": round(sum(a.waited_seconds for a in answers), 3),
        "recovered_answer_count": len(usable) - len(final),
        "clamp_count": sum(1 for a in final if a.page and a.page.size and a.page.size < PAGE_SIZE),
        "drift_count": sum(1 for a in final if a.page and a.page.total != first_totals.get(a.pass_number)),
        "contradiction_count": sum(1 for a in final if a.page is None or flaw(a.page, a.page_number, PAGE_SIZE)),
        "total_count": last_pass[0].total if last_pass else None,
        "image_count": len(ids) if last_pass else None,
        "image_ids_sha256": _digest(ids) if last_pass else None,
        "first_request_id": first.request_id if first else None,
        "last_request_id": answers[-1].request_id if answers else None,
        "started_at_utc": min((a.sent_at_utc for a in answers), default=None),
        "ended_at_utc": max((a.received_at_utc for a in answers), default=None),
    }


def why_not_more(answers: Sequence[Answer], ended_passes: int) -> str:
    """Why answers prove no more than they do, with the numbers, and what to do.

    An honest service never contradicts itself within one answer, however much its account changes. So an
    answer that does, or passes that are alike and still do not add up, are its own doing, and no rest mends them.
    """
    final = list({(a.pass_number, a.page_number): a for a in answers if a.status == 200}.values())
    of = f"of {len(final):,} pages"
    flawed = [a for a in final if a.page is None or flaw(a.page, a.page_number, PAGE_SIZE)]
    said = evidence(answers, ended_passes)
    passes = believed(answer for answer in answers if answer.pass_number <= ended_passes)
    ids = [_ids(one) for one in passes]
    totals = [{page.total for page in one} for one in passes]

    publishes = f"--certificate {said['certificate']} publishes what such a listing holds"
    example = next((a for a in reversed(flawed) if a.pass_number == final[-1].pass_number), None)
    if example is not None:
        is_unreadable = example.page is None
        count = sum((a.page is None) == is_unreadable for a in flawed)
        what = "pages stayed unreadable" if is_unreadable else "pages contradict themselves"
        wrong = example.error if example.page is None else flaw(example.page, example.page_number, PAGE_SIZE)
        return (
            f"{count:,} {of.replace(' pages', '')} {what} (page {example.page_number} of pass {example.pass_number}: "
            f"{wrong}); {_tell_the_vendor(example.request_id)}" + ("" if is_unreadable else f"; {publishes}")
        )
    if passes and totals[-1] == {None}:
        wish = _tell_the_vendor(final[-1].request_id)
        return f"the service sends no TotalCount that is a whole number; {wish}; {publishes}"
    if passes and (nameless := sum(one.startswith(NAMELESS) for one in ids[-1])):
        return (
            f"{nameless:,} without an id, and each may be listed with its id as well; "
            f"{_tell_the_vendor(final[-1].request_id)}; {publishes}"
        )
    if len(passes) > 1 and ids[-1] == ids[-2] and totals[-1] == totals[-2]:
        spelled = " and ".join(sorted("none" if one is None else f"{one:,}" for one in totals[-1]))
        return (
            f"the account is at rest, and the service contradicts itself: the same {len(ids[-1]):,} ids again, "
            f"TotalCount {spelled}; {_tell_the_vendor(final[-1].request_id)}; {publishes}"
        )
    differ = sum(one != before for before, one in pairwise(ids))
    return (
        f"the account changed meanwhile (other images than the pass before: {differ} times; "
        f"TotalCount unlike page 1's: {said['drift_count']:,} {of}): try again when it is at rest"
    )


def _tell_the_vendor(request_id: str | None) -> str:
    what = f"request id {request_id}" if request_id else "it"
    return f"waiting mends nothing: report {what} to the vendor, the pages are kept"
