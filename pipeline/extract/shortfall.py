"""Why a listing is not proven: what was read, what contradicts it, and what to do, as the text of an error."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from pipeline.errors import classify
from pipeline.extract.claim import RULE
from pipeline.extract.completeness import accepted_pages, evidence, sorted_ids
from pipeline.extract.response import NO_ID_PREFIX, contradiction
from pipeline.extract.watch import is_contradicted
from pipeline.text import pluralize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.extract.listing_pass import Pass
    from pipeline.extract.reader import Listing
    from pipeline.extract.response import Answer
    from pipeline.extract.time_limit import TimeLimit


def shortfall(listing: Listing, required: str, *, is_broken: bool) -> str:
    """Say what was read, what it proves instead of `required`, why not more, and what to do.

    `is_broken` says that the last pass did not come to its end.
    """
    passes = pluralize(listing.begun_passes, "time")
    start = f"account {listing.account!r} was read {passes} and is not proven {required!r}"
    why = f"nothing was published: {_why_not_proven(listing.answers, listing.ended_passes)}"
    if is_broken:
        return f"{start}; {why}"
    id_count = len({item_id for page in listing.last_pass for item_id in page.ids})
    total = listing.last_pass[0].total
    counted = f"{pluralize(id_count, 'id')} and no TotalCount" if total is None else f"{id_count:,} ids of {total:,}"
    return f"{start}: {counted} in the last pass, which proves {listing.level!r}; {why}"


def state_at_timeout(listing: Listing, current: Pass | None, limit: TimeLimit, url: str) -> str:
    """Say what was read of `current` when the time was up, the last failure, and what to do."""
    failed = next((answer for answer in reversed(listing.answers) if answer.page is None), None)
    failure = "" if failed is None else f"; the last failure was {failed.error_code or 'no page'}: {failed.error}"
    if current is None or (current.number == 1 and not current.pages):
        if failed is not None and classify(failed.status, failed.error_code) == "throttled":
            return f"nothing was read{failure}: lower --rate, or try later"
        return f"no usable answer came from {url}{failure}: check that it is the right endpoint and reachable"
    page_count = current.page_count()
    total = "? pages" if page_count is None else pluralize(page_count, "page")
    advice = "raise --timeout" if limit.timeout_seconds else "--timeout sets another limit"
    return f"{len(current.pages):,} of {total} of pass {current.number} were read{failure}: {advice}"


def _why_not_proven(answers: Sequence[Answer], ended_passes: int) -> str:
    """Why the answers prove no more than they do, with the numbers, and what to do.

    An honest service never contradicts itself within one answer, even while the account changes. An answer that
    does, or equal passes that are not complete, are therefore an error of the service, and waiting does not help.
    """
    final = list({(a.pass_number, a.page_number): a for a in answers if a.status == 200}.values())
    proven = evidence(answers, ended_passes, rule=RULE)
    passes = accepted_pages(answer for answer in answers if answer.pass_number <= ended_passes)
    ids = [sorted_ids(pages) for pages in passes]
    totals = [{page.total for page in pages} for pages in passes]

    report = _report_to_vendor(final[-1].request_id if final else None)
    publish = f"--certificate {proven['certificate']} publishes such a listing"
    if bad_pages := _bad_pages(final, publish):
        return bad_pages
    if passes and totals[-1] == {None}:
        return f"the service sends no TotalCount that is an integer; {report}; {publish}"
    if passes and (count := sum(item_id.startswith(NO_ID_PREFIX) for item_id in ids[-1])):
        items = pluralize(count, passes[-1][0].resource.noun)
        return f"{items} without an id, which may also be listed with one; {report}; {publish}"
    if is_contradicted(answers):
        rows = f"{proven['beyond_total_count']} rows at positions beyond the TotalCount of their own answer"
        return f"{rows}; {report}; {publish}"
    if len(passes) > 1 and ids[-1] == ids[-2] and totals[-1] == totals[-2] and len(totals[-1]) > 1:
        values = " and ".join(sorted("none" if total is None else f"{total:,}" for total in totals[-1]))
        return (
            "the account does not change, and the service contradicts itself: "
            f"the same {pluralize(len(ids[-1]), 'id')} again, TotalCount {values}; {report}; {publish}"
        )
    noun = next((a.page.resource.noun for a in final if a.page), "item")
    differing = sum(later != earlier for earlier, later in pairwise(ids))
    return (
        f"the account changed while it was read (other {noun}s than the pass before: {pluralize(differing, 'time')}; "
        f"TotalCount unlike page 1's: {proven['drift_count']:,} of {pluralize(len(final), 'page')}): "
        "try again when it does not change"
    )


def _bad_pages(final: Sequence[Answer], publish: str) -> str | None:
    """The message about pages that stayed unreadable or contradict themselves, if the last pass has one."""
    bad = [a for a in final if a.page is None or contradiction(a.page, a.page_number)]
    example = next((a for a in reversed(bad) if a.pass_number == final[-1].pass_number), None)
    if example is None:
        return None
    is_unreadable = example.page is None
    count = sum((a.page is None) == is_unreadable for a in bad)
    problem = "pages stayed unreadable" if is_unreadable else "pages contradict themselves"
    detail = example.error if example.page is None else contradiction(example.page, example.page_number)
    return (
        f"{count:,} of {len(final):,} {problem} (page {example.page_number} of pass {example.pass_number}: {detail}); "
        f"{_report_to_vendor(example.request_id)}" + ("" if is_unreadable else f"; {publish}")
    )


def _report_to_vendor(request_id: str | None) -> str:
    subject = f"request id {request_id}" if request_id else "it"
    return f"waiting does not help: report {subject} to the vendor (the raw pages are kept)"
