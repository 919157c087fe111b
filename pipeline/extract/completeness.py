"""Certify a listing: how far its answers prove that it is complete.

    one instant with as many witnesses as its TotalCount (`proof`)            →  verified
    one answer with as many items as its TotalCount                           →  verified
    one pass, distinct ids, as many as its one TotalCount                     →  counted
    the same with an item that has no id (it may also be listed with one)     →  counted
    anything less, or no TotalCount                                           →  unproven

Before that rule, two passes with equal sets of ids were `verified`; pages that were landed under it still are.

The level follows from the answers alone: it is computed while an account is
read, after the run from the raw pages, and again by `rebuild` and `check`.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import operator
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, Literal

from pipeline.errors import classify
from pipeline.extract.claim import Claim, ids_at, instant_of, published_ids, published_places
from pipeline.extract.response import NO_ID_PREFIX, Answer, Page, contradiction
from pipeline.extract.watch import watched

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


Level = Literal["unproven", "counted", "verified"]

LEVELS: Final[tuple[Level, ...]] = ("unproven", "counted", "verified")
"""From the weakest to the strongest."""


def accepted_pages(answers: Iterable[Answer]) -> list[list[Page]]:
    """The accepted pages, pass by pass, in the order of their numbers.

    Of several answers for one page the last counts: a page is requested again only while it is not accepted.
    A pass without page 1 has no TotalCount and is left out.
    """
    passes: dict[int, dict[int, Page]] = defaultdict(dict)
    for answer in answers:
        if answer.page is not None:
            passes[answer.pass_number][answer.page_number] = answer.page
    return [[pages[n] for n in sorted(pages)] for _, pages in sorted(passes.items()) if 1 in pages]


def certify_count(passes: Sequence[Sequence[Page]]) -> Level:
    """The level that the last pass proves by counting: `counted` at most."""
    if not passes or not _is_complete(passes[-1], sorted_ids(passes[-1])):
        return "unproven"
    return "counted"


def certify_passes(passes: Sequence[Sequence[Page]], ids: Sequence[str] | None = None) -> Level:
    """The level that passes prove by equality, given the accepted pages of each, in the order of reading.

    Any earlier pass with the same ids verifies the last: an item in both existed when the last pass began. `ids` are
    those of the last pass, sorted, where the caller has them: collecting them twice is slow for a large account.
    """
    if not passes:
        return "unproven"
    *earlier, last = passes
    ids = sorted_ids(last) if ids is None else ids
    if not _is_complete(last, ids):
        return "unproven"
    first_without_id = bisect.bisect_left(ids, NO_ID_PREFIX)  # in sorted order they are adjacent
    if first_without_id < len(ids) and ids[first_without_id].startswith(NO_ID_PREFIX):
        return "counted"
    if len(last[0].ids) == last[0].total:
        return "verified"
    for pages in earlier:
        if pages and pages[0].total == last[0].total:
            earlier_ids = sorted_ids(pages)
            if earlier_ids == ids and _is_complete(pages, earlier_ids):
                return "verified"
    return "counted"


def _is_complete(pages: Sequence[Page], ids: Sequence[str]) -> bool:
    """Whether a pass reached the end with distinct ids, as many as the one TotalCount of every answer."""
    if not pages or {page.total for page in pages} != {pages[0].total} or pages[0].total is None:
        return False
    row_count = sum(len(page.ids) for page in pages)
    if row_count != pages[0].total or len(ids) != row_count:
        return False
    return len(pages[-1].ids) < max(pages[0].size_or_asked, len(pages[0].ids))


_IDS_PER_CHUNK: Final = 10_000


def sorted_ids(pages: Iterable[Page]) -> list[str]:
    """The distinct ids, sorted. For a million ids, sorting is cheaper than a set or a dict."""
    ids = sorted(itertools.chain.from_iterable(page.ids for page in pages))
    has_duplicates = any(map(operator.eq, ids, itertools.islice(ids, 1, None)))
    return list(dict.fromkeys(ids)) if has_duplicates else ids


def digest_of_ids(ids: Iterable[str]) -> str:
    """SHA-256 of distinct ids."""
    return _digest(sorted(ids))


def _digest(ids: Sequence[str]) -> str:
    sha256 = hashlib.sha256()
    for start in range(0, len(ids), _IDS_PER_CHUNK):  # a million joined at once need 50 MB
        chunk = "\n".join(ids[start : start + _IDS_PER_CHUNK])
        sha256.update((f"\n{chunk}" if start else chunk).encode("utf-8", "surrogatepass"))
    return sha256.hexdigest()


def evidence(
    answers: Sequence[Answer], ended_passes: int, *, rule: str | None = None, claim: Claim | None = None
) -> dict[str, Any]:
    """The evidence of one listing as columns of `observations`, from its answers in the order they arrived.

    `ended_passes` is the number of passes read to the end; answers of a later pass prove nothing. `rule` is the rule
    under which the listing was landed, None for that of two equal passes; `claim` how it is proven under it.
    """
    passes = accepted_pages(answer for answer in answers if answer.pass_number <= ended_passes)
    last_pass = passes[-1] if passes else []
    ids = [] if claim else sorted_ids(last_pass)
    proven = _proof_columns(answers, claim) if claim else _unproven_columns(passes, ids, rule)
    usable = [answer for answer in answers if answer.status == 200]
    latest = {(a.pass_number, a.page_number): a for a in usable}
    first_totals = {a.pass_number: a.page.total for a in latest.values() if a.page_number == 1 and a.page}
    final = list(latest.values())
    first = next((a for a in final if a.pass_number == ended_passes and a.page_number == 1), None)
    return {
        "observed_at_utc": first.received_at_utc if first and passes else None,
        "pass_count": ended_passes,
        "page_count": len(last_pass),
        **count_calls(answers),
        "recovered_answer_count": len(usable) - len(final),
        "clamp_count": sum(1 for a in final if a.page and a.page.size_or_asked < a.page.resource.action.page_size),
        "drift_count": sum(1 for a in final if a.page and a.page.total != first_totals.get(a.pass_number)),
        "contradiction_count": sum(1 for a in final if a.page is None or contradiction(a.page, a.page_number)),
        "total_count": last_pass[0].total if last_pass else None,
        "item_count": len(ids) if last_pass else None,
        "ids_sha256": _digest(ids) if last_pass else None,
        "first_request_id": first.request_id if first else None,
        "last_request_id": answers[-1].request_id if answers else None,
        "started_at_utc": min((a.sent_at_utc for a in answers), default=None),
        "ended_at_utc": max((a.received_at_utc for a in answers), default=None),
        **(
            watched(answers, is_quiet=claim is not None and claim.kind != "instant")
            if rule
            else dict.fromkeys(_WATCHED_COLUMNS)
        ),
        **proven,
    }


def count_calls(answers: Sequence[Answer]) -> dict[str, float]:
    """The calls of one action, as columns of `observations`."""
    earlier = {(a.pass_number, a.page_number, a.attempt_number): a for a in answers}
    return {
        "call_count": len(answers),
        "retry_count": sum(
            1
            for a in answers
            if (before := earlier.get((a.pass_number, a.page_number, a.attempt_number - 1))) and before.status != 200
        ),
        "throttle_count": sum(1 for a in answers if classify(a.status, a.error_code) == "throttled"),
        "waited_seconds": round(sum(a.waited_seconds for a in answers), 3),
    }


_WATCHED_COLUMNS: Final = (
    "server_clock_back_count", "server_clock_offset_seconds", "beyond_total_count", "is_total_constant",
)  # fmt: skip


def listed_ids(answers: Sequence[Answer], ended_passes: int, claim: Claim | None) -> set[str]:
    """The ids of the items that a listing publishes: those of its instant, or of its last pass."""
    if claim is not None:
        return published_ids(answers, claim)
    passes = accepted_pages(answer for answer in answers if answer.pass_number == ended_passes)
    return {item_id for page in (passes[-1] if passes else ()) for item_id in page.ids}


def _unproven_columns(passes: Sequence[Sequence[Page]], ids: Sequence[str], rule: str | None) -> dict[str, object]:
    """The certificate of a listing without a proof at one instant: by two equal passes, or by counting."""
    if not passes:
        return dict.fromkeys(("certificate", *_PROOF_COLUMNS))
    if rule is not None:
        return {"certificate": certify_count(passes), **dict.fromkeys(_PROOF_COLUMNS)}
    level = certify_passes(passes, ids)
    one_page = passes[-1][0].total == len(passes[-1][0].ids)
    kind = ("one page" if one_page else "two passes") if level == "verified" else None
    return {"certificate": level, **dict.fromkeys(_PROOF_COLUMNS), "proof": kind}


_PROOF_COLUMNS: Final = (
    "proof", "rests_on_run_id", "witness_here_count", "witness_before_count", "left_to_next_count", "settle_seconds",
    "is_round_total",
)  # fmt: skip


def _proof_columns(answers: Sequence[Answer], claim: Claim) -> dict[str, object]:
    """The columns of a listing that is proven at one instant."""
    instant = instant_of(answers, claim)
    places, _ = published_places(answers, claim)
    ids = sorted(ids_at(answers, places, claim))
    return {
        "observed_at_utc": instant.received_at_utc,
        "certificate": "verified",
        "page_count": len(places),
        "total_count": claim.total,
        "item_count": len(ids),
        "ids_sha256": _digest(ids),
        "first_request_id": instant.request_id,
        "proof": claim.kind,
        "rests_on_run_id": claim.rests_on,
        "witness_here_count": claim.seen_here,
        "witness_before_count": 0 if claim.kind == "one page" else claim.total - claim.seen_here,
        "left_to_next_count": len(claim.later_ids),
        "settle_seconds": claim.settle_seconds,
        "is_round_total": _is_round(claim.total),
    }


def _is_round(total: int) -> bool:
    """Whether a service that cuts off a list might do so here."""
    return total >= 1_000 and total in {digit * 10**power for digit in (1, 2, 5) for power in range(3, 8)}
