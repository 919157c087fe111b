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

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from pipeline.extract.json_repair import UNTOUCHED, Repaired, repair

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable


PAGE_SIZE: Final = 50
"""The page size that is asked for: the largest that the API documents. What is believed is the echoed one."""

NAMELESS: Final = "raw JSON: "
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
        return _read_odd_page(*repair(body))
    except (msgspec.MsgspecError, RecursionError):
        raise NotAPage(why) from None


def _read_page(body: bytes) -> Page:
    refuse_no_utf8(body)  # what is skipped in the reading would be let through otherwise
    try:
        said = _decode_body(body)
    except msgspec.ValidationError:
        return _read_odd_page(body, UNTOUCHED)
    images = said.Images.Image if said.Images else None
    ids = None if images is None else [image.ImageId or "" if image else "" for image in images]
    if ids is not None and "" in ids:
        return _read_odd_page(body, UNTOUCHED)
    return _page(said.Code, said.PageNumber, said.PageSize, said.TotalCount, said.RequestId, ids)


def refuse_no_utf8(body: bytes) -> None:
    """Let bytes pass that are text.

    Raises:
        UnicodeDecodeError: they are none.
    """
    if not body.isascii():  # which makes no copy of it
        body.decode()


def _read_odd_page(body: bytes, aside: Repaired) -> Page:
    odd = _decode_any_body(body)
    images = odd.Images.Image if odd.Images else None
    ids = None if images is None else [image_id(raw, aside) or f"{NAMELESS}{aside.as_sent(raw)}" for raw in images]

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


def image_list(body: bytes) -> tuple[bytes, Repaired]:
    """The JSON text of the list of images in one answer, as it came (`[]` where it has none); what was set aside."""
    try:
        refuse_no_utf8(body)
        return _image_list(body), UNTOUCHED
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text, aside = repair(body)
        return _image_list(text), aside


def _image_list(body: bytes) -> bytes:
    images = _decode_image_list(body).Images
    raw = bytes(images.Image) if images else b"null"
    return raw if raw[:1] == b"[" else b"[]"


def image_id(raw: bytes, aside: Repaired) -> str | None:
    """The id of one image from its raw JSON, or None where it has none that could be a key."""
    try:
        return scalar_text(_decode_id(raw).get("ImageId", b"null"), aside) or None
    except msgspec.MsgspecError:
        return None


def scalar_text(raw: bytes, aside: Repaired = UNTOUCHED) -> str | None:
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
