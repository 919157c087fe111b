"""What the answers of a listing say, and how far they prove that nothing is missing. Pure: no network, no files.

    answers of pass 1   ids ──┐
    answers of pass 2   ids ──┴─ the same set, none twice, as many as the one TotalCount  →  verified
    one answer holds all of TotalCount                                                    →  verified
    one pass, distinct, as many as its one TotalCount                                     →  counted
    the same with an image that has no id: it may be one that was listed with its id      →  counted
    anything less, or no TotalCount                                                       →  unproven

The level is computed from the answers alone: while an account is read, after
the run from the pages that were landed, and years later by anyone who kept them.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import operator
import re
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from pipeline.errors import verdict
from pipeline.mending import NOTHING, SetAside, mended

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Sequence

Level = Literal["unproven", "counted", "verified"]

LEVELS: Final[tuple[Level, ...]] = ("unproven", "counted", "verified")
"""From the weakest to the strongest."""

PAGE_SIZE: Final = 50
"""The page size that is asked for: the largest that the API documents. What is believed is the echoed one."""


_NAMELESS: Final = "raw JSON: "
"""What stands for the id of an image that has none begins so: it counts, and it proves nothing."""


class NotAPage(ValueError):
    """An answer that is no listing: not JSON, not in the published shape, or with a Code other than success."""


@dataclass(frozen=True, slots=True)
class Page:
    """What one answer says: its place, its promises, and the ids of its images in the order listed."""

    number: int | None
    size: int | None
    total: int | None
    ids: tuple[str, ...]
    is_null: bool
    """True where the answer has no list of images at all."""
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Answer:
    """One try of one call: a row of `pages` without the body, and what the body says (None: it is no page)."""

    account: str
    pass_number: int
    page_number: int
    attempt_number: int
    request_id: str | None
    status: int | None
    sent_at_utc: dt.datetime
    received_at_utc: dt.datetime
    waited_seconds: float
    error_code: str | None
    error: str | None
    page: Page | None


# ── one answer ───────────────────────────────────────────────────────────────


class _Id(msgspec.Struct):
    ImageId: str | None = None


class _Ids(msgspec.Struct):
    Image: list[_Id | None] | None = None


class _Body(msgspec.Struct):
    Code: str | int | None = None
    Images: _Ids | None = None
    TotalCount: str | int | None = None
    PageNumber: str | int | None = None
    PageSize: str | int | None = None
    RequestId: str | None = None


class _RawImages(msgspec.Struct):
    Image: list[msgspec.Raw] | None = None


class _AnyBody(msgspec.Struct):
    """The same, of whatever types: for answers that are not quite as published."""

    Code: msgspec.Raw = msgspec.Raw(b"null")
    Images: _RawImages | None = None
    TotalCount: msgspec.Raw = msgspec.Raw(b"null")
    PageNumber: msgspec.Raw = msgspec.Raw(b"null")
    PageSize: msgspec.Raw = msgspec.Raw(b"null")
    RequestId: msgspec.Raw = msgspec.Raw(b"null")


class _ImageList(msgspec.Struct):
    Image: msgspec.Raw = msgspec.Raw(b"null")


class _ImagesBody(msgspec.Struct):
    Images: _ImageList | None = None


_decode_image_list = msgspec.json.Decoder(_ImagesBody).decode
_decode_body = msgspec.json.Decoder(_Body).decode
_decode_any_body = msgspec.json.Decoder(_AnyBody).decode
_decode_id = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def read_page(body: bytes) -> Page:
    """Read the promises and the ids of one answer.

    An image without a usable id is stood for by its raw JSON, so that it counts.

    Raises:
        NotAPage: the body is no listing; the message says what it is instead.
    """
    try:
        return _read_page(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        why = _what_it_is(body, error)
    try:
        return _read_odd_page(*mended(body))
    except (msgspec.MsgspecError, RecursionError):
        raise NotAPage(why) from None


def _read_page(body: bytes) -> Page:
    refuse_no_utf8(body)  # what is skipped in the reading would be let through otherwise
    try:
        said = _decode_body(body)
    except msgspec.ValidationError:
        return _read_odd_page(body, NOTHING)
    images = said.Images.Image if said.Images else None
    ids = None if images is None else [image.ImageId or "" if image else "" for image in images]
    if ids is not None and "" in ids:
        return _read_odd_page(body, NOTHING)
    return _page(said.Code, said.PageNumber, said.PageSize, said.TotalCount, said.RequestId, ids)


def refuse_no_utf8(body: bytes) -> None:
    """Let bytes pass that are text.

    Raises:
        UnicodeDecodeError: they are none.
    """
    if not body.isascii():  # which makes no copy of it
        body.decode()


def _read_odd_page(body: bytes, aside: SetAside) -> Page:
    odd = _decode_any_body(body)
    images = odd.Images.Image if odd.Images else None
    ids = None if images is None else [image_id(raw, aside) or f"{_NAMELESS}{aside.as_sent(raw)}" for raw in images]

    def scalar(raw: msgspec.Raw) -> str | None:
        return scalar_text(raw, aside)

    code = scalar(odd.Code)
    if code is None and bytes(odd.Code).strip() != b"null":
        raise NotAPage(f"a status of 200 over Code {aside.as_sent(odd.Code)[:40]}, which is no success")
    return _page(
        code,
        scalar(odd.PageNumber),
        scalar(odd.PageSize),
        scalar(odd.TotalCount),
        scalar(odd.RequestId),
        ids,
    )


def image_list(body: bytes) -> tuple[bytes, SetAside]:
    """The JSON text of the list of images in one answer, as it came (`[]` where it has none); what was set aside."""
    try:
        refuse_no_utf8(body)
        return _image_list(body), NOTHING
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text, aside = mended(body)
        return _image_list(text), aside


def _image_list(body: bytes) -> bytes:
    images = _decode_image_list(body).Images
    raw = bytes(images.Image) if images else b"null"
    return raw if raw[:1] == b"[" else b"[]"


def image_id(raw: bytes, aside: SetAside) -> str | None:
    """The id of one image from its raw JSON, or None where it has none that could be a key."""
    try:
        return scalar_text(_decode_id(raw).get("ImageId", b"null"), aside) or None
    except msgspec.MsgspecError:
        return None


def scalar_text(raw: bytes, aside: SetAside = NOTHING) -> str | None:
    """The text of a JSON string, a number as it is spelled; None for everything else."""
    raw = bytes(raw).strip()
    if raw[:1] == b'"':
        text: str = msgspec.json.decode(raw, type=str)
        return None if aside.is_in(raw) else text
    return raw.decode() if raw[:1] in b"-0123456789" and raw else None


def _page(
    code: str | int | None,
    number: str | int | None,
    size: str | int | None,
    total: str | int | None,
    request_id: str | None,
    ids: Iterable[str] | None,
) -> Page:
    if code is not None and str(code) not in {"0", "200"}:
        raise NotAPage(f"a status of 200 over Code {str(code)[:40]!r}, which is no success")
    return Page(
        number=_whole(number),
        size=_whole(size) or None,
        total=_whole(total),
        ids=tuple(ids or ()),
        is_null=ids is None,
        request_id=request_id,
    )


def _whole(said: str | int | None) -> int | None:
    text = "" if said is None else str(said).strip()
    if "." in text:
        text = re.sub(r"\.0+$", "", text)  # 120.0 is a whole number too
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def _what_it_is(body: bytes, error: Exception) -> str:
    start = body[:40].strip().lower()
    if not body:
        return "an empty body"
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<")):
        return "a page of HTML, not JSON"
    return f"not a listing in JSON: {error}"


def flaw(page: Page, asked_number: int, size: int) -> str | None:
    """What does not hold together inside one answer, in words; None where all does.

    `size` is what a full page holds, where the answer does not say so itself.
    """
    if page.number is not None and page.number != asked_number:
        return f"it echoes PageNumber {page.number}, asked for was {asked_number}"
    if len(set(page.ids)) != len(page.ids):
        return "it holds an image twice"
    if page.total is not None:
        full = page.size or size
        called_for = min(full, max(0, page.total - (asked_number - 1) * full))
        if len(page.ids) != called_for:
            return f"it holds {len(page.ids)} images where TotalCount {page.total:,} calls for {called_for}"
        if not called_for:
            return None  # no list where there is nothing to list
    return "it has no list of images" if page.is_null else None


# ── a listing ────────────────────────────────────────────────────────────────


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
    nameless = bisect.bisect_left(ids, _NAMELESS)  # sorted, they stand together
    if nameless < len(ids) and ids[nameless].startswith(_NAMELESS):
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
        "throttle_count": sum(1 for a in answers if verdict(a.status, a.error_code) == "throttled"),
        "waited_seconds": round(sum(a.waited_seconds for a in answers), 3),
        "hiccup_count": len(usable) - len(final),
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
    if passes and (nameless := sum(one.startswith(_NAMELESS) for one in ids[-1])):
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
