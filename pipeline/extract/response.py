"""Decode one answer: page number, page size, TotalCount and the ids of its images. Pure: no network, no files.

as published           typed decoding
other types, no ids    field by field, from the raw JSON; so is a key that stands twice
not decodable          the same, after `json_repair`
not a listing          NotAPage
"""

from __future__ import annotations

import contextlib
import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from pipeline.extract.doubled_keys import doubled_values
from pipeline.extract.json_repair import NO_PLACEHOLDERS, Placeholders, repair
from pipeline.extract.reading_version import READING
from pipeline.text import pluralize

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


PAGE_SIZE: Final = 50
"""The page size of every request: the largest that the API documents. The size echoed in the answer is what counts."""

OWNED: Final = "self"
"""The owner of the account's own images, in the answer."""

_YOUNG: Final = dt.timedelta(days=2)
"""Longer than a listing takes; an offset of a creation time is within it too."""

NO_ID_PREFIX: Final = "raw JSON: "
"""An image without an id is listed under this prefix and its raw JSON: it is counted, and proves nothing."""


class NotAPage(ValueError):
    """The body is not a listing: not JSON, not in the published structure, or with an error Code."""


@dataclass(frozen=True, slots=True)
class Page:
    """The decoded body of one answer; ids in the order listed."""

    number: int | None
    size: int | None
    total: int | None
    ids: tuple[str, ...]
    is_null: bool
    """Whether the answer has no list of images."""
    request_id: str | None
    owned_ids: tuple[str, ...] = ()
    """Those of the images that the account owns."""
    young: tuple[tuple[str, dt.datetime], ...] = ()
    """Those of them that were created within two days before the answer, or after it, with their instants."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One attempt of one call: a row of `raw_pages` without the body, and the decoded body (None: it is not a page)."""

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
    server_at_utc: dt.datetime | None
    """The `Date` of the answer."""
    page: Page | None
    resource: str = "images"
    """The resource that was listed."""


class _Id(msgspec.Struct):
    ImageId: str | None = None
    CreationTime: msgspec.Raw = msgspec.Raw(b"null")
    ImageOwnerAlias: msgspec.Raw = msgspec.Raw(b"null")


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
    """The body with values of any type, for answers that are not as published."""

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
_decode_ids = msgspec.json.Decoder(list[_Id]).decode
decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

_BODY_NAMES: Final = _Body.__struct_fields__
_IMAGES_NAMES: Final = _Ids.__struct_fields__


def read_page(body: bytes, reading: int = READING, *, server_at_utc: dt.datetime | None = None) -> Page:
    """Decode one answer, by a version of reading; `server_at_utc` is its `Date`.

    An image without a usable id is represented by its raw JSON, so that it is counted.

    Raises:
        NotAPage: the body is not a listing; the message says what it is.
    """
    try:
        return _read_page(body, reading, server_at_utc)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        reason = _describe(body, error)
    try:
        return _read_any_page(*repair(body), reading)
    except (msgspec.MsgspecError, RecursionError):
        raise NotAPage(reason) from None


def _read_page(body: bytes, reading: int, server_at_utc: dt.datetime | None) -> Page:
    require_utf8(body)  # the decoder does not check values that it skips
    if reading > 1 and (page := _read_page_without_doubled_keys(body, server_at_utc)):
        return page
    try:
        decoded = _decode_body(body)
    except msgspec.ValidationError:
        return _read_any_page(body, NO_PLACEHOLDERS, reading)
    images = decoded.Images.Image if decoded.Images else None
    ids = None if images is None else [image.ImageId or "" if image else "" for image in images]
    if reading > 1 or (ids is not None and "" in ids):
        return _read_any_page(body, NO_PLACEHOLDERS, reading)
    body_values = decoded.Code, decoded.PageNumber, decoded.PageSize, decoded.TotalCount, decoded.RequestId
    return _page(*body_values, ids, _owned(images, server_at_utc))


class _Owned(NamedTuple):
    """Of a page, the images that the account owns, and those of them that are young."""

    ids: Sequence[str]
    young: Sequence[tuple[str, dt.datetime]]


def _owned(images: Iterable[_Id | None] | None, server_at_utc: dt.datetime | None) -> _Owned:
    own = [image for image in images or () if image and image.ImageId and _is_own(image.ImageOwnerAlias)]
    ids = [image.ImageId or "" for image in own]
    if server_at_utc is None:
        return _Owned(ids, ())
    first_day = f'"{server_at_utc - _YOUNG:%F}'.encode()
    young = []
    for image in own:
        created = bytes(image.CreationTime)
        if created[:1] == b'"' and created >= first_day:
            with contextlib.suppress(ValueError, OverflowError):  # no instant: it is not known to be young
                at = dt.datetime.fromisoformat(created.decode("ascii").strip('"'))
                young.append((image.ImageId or "", at.astimezone(dt.UTC).replace(tzinfo=None) if at.tzinfo else at))
    return _Owned(ids, young)


def _read_page_without_doubled_keys(body: bytes, server_at_utc: dt.datetime | None) -> Page | None:
    """Decode an answer as published whose keys provably stand once each; None: look closer.

    The list of images is cut out and decoded by itself: what is left is short. If the one pair of brackets left is an
    empty list of images, the cut was that list, from its first bracket to its last.
    """
    start, end = body.find(b"["), body.rfind(b"]") + 1
    envelope = b"%b[]%b" % (body[:start], body[end:])
    try:
        decoded, images = _decode_body(envelope), _decode_ids(memoryview(body)[start:end])
        ids = [image.ImageId or "" for image in images]
        if decoded.Images is None or decoded.Images.Image != [] or "" in ids:
            return None
        if body.count(b'"ImageI') != len(ids):  # twice as fast as with the `d"`, of which there are more
            return None
        if b"\\" in body and b"\\u00" in body:  # an escape may write a key in another way
            return None
        _refuse_doubled_keys(envelope)
    except (msgspec.MsgspecError, AttributeError):
        return None
    body_values = decoded.Code, decoded.PageNumber, decoded.PageSize, decoded.TotalCount, decoded.RequestId
    return _page(*body_values, ids, _owned(images, server_at_utc))


def _refuse_doubled_keys(body: bytes) -> None:
    """Refuse an answer in which a key that describes the page stands twice.

    Raises:
        NotAPage: it does, and the values may differ.
    """
    images = decode_object(body).get("Images", b"null")
    for raw, names in ((body, _BODY_NAMES), (images, _IMAGES_NAMES)):
        if bytes(raw)[:1] == b"{":
            doubled = doubled_values(raw, decode_object(raw))
            if name := next((name for name in names if name in doubled), None):
                values = doubled[name][:80].decode("utf-8", "replace")
                raise NotAPage(f"{name} stands twice in one object, with the values {values}")


def require_utf8(body: bytes) -> None:
    """Check that `body` is UTF-8.

    Raises:
        UnicodeDecodeError: it is not.
    """
    if not body.isascii():  # makes no copy
        body.decode()


def _read_any_page(body: bytes, placeholders: Placeholders, reading: int) -> Page:
    decoded = _decode_any_body(body)
    if reading > 1:
        _refuse_doubled_keys(body)
    images = decoded.Images.Image if decoded.Images else None
    ids = None if images is None else [_id_or_raw_json(raw, placeholders, reading) for raw in images]
    code = scalar_text(decoded.Code, placeholders)
    if code is None and bytes(decoded.Code).strip() != b"null":
        raise NotAPage(f"status 200 with Code {placeholders.original(decoded.Code)[:40]}, which is not a success")
    return _page(
        code,
        scalar_text(decoded.PageNumber, placeholders),
        scalar_text(decoded.PageSize, placeholders),
        scalar_text(decoded.TotalCount, placeholders),
        scalar_text(decoded.RequestId, placeholders),
        ids,
        _Owned([known for raw in images or () if (known := _owned_id(raw, placeholders, reading))], ()),
    )


def _is_own(owner: msgspec.Raw) -> bool:
    return bytes(owner).lower() == b'"self"'


def _owned_id(raw: bytes, placeholders: Placeholders, reading: int) -> str | None:
    try:
        owner = decode_object(raw).get("ImageOwnerAlias", msgspec.Raw(b"null"))
    except msgspec.MsgspecError:
        return None
    return _image_id(raw, placeholders, reading) if _is_own(owner) else None


def _id_or_raw_json(raw: bytes, placeholders: Placeholders, reading: int) -> str:
    return _image_id(raw, placeholders, reading) or f"{NO_ID_PREFIX}{placeholders.original(raw)}"


def image_list(body: bytes) -> tuple[bytes, Placeholders]:
    """The raw JSON of the list of images in one answer, `[]` if it has none, and the placeholders in it."""
    try:
        require_utf8(body)
        return _image_list(body), NO_PLACEHOLDERS
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        repaired, placeholders = repair(body)
        return _image_list(repaired), placeholders


def _image_list(body: bytes) -> bytes:
    images = _decode_image_list(body).Images
    raw = bytes(images.Image) if images else b"null"
    return raw if raw[:1] == b"[" else b"[]"


def _image_id(raw: bytes, placeholders: Placeholders, reading: int) -> str | None:
    """The id of one image from its raw JSON, or None if it has no id that could be a key."""
    try:
        values = decode_object(raw)
        if reading > 1 and "ImageId" in doubled_values(raw, values):
            return None
        return scalar_text(values.get("ImageId", b"null"), placeholders) or None
    except msgspec.MsgspecError:
        return None


def scalar_text(raw: bytes, placeholders: Placeholders = NO_PLACEHOLDERS) -> str | None:
    """The text of a JSON string, or a number as sent; None for anything else."""
    raw = bytes(raw).strip()
    if raw[:1] == b'"':
        text: str = msgspec.json.decode(raw, type=str)
        return None if placeholders.occur_in(raw) else text
    return raw.decode() if raw[:1] in b"-0123456789" and raw else None


def _page(
    code: str | int | None,
    number: str | int | None,
    size: str | int | None,
    total: str | int | None,
    request_id: str | None,
    ids: Iterable[str] | None,
    owned: _Owned,
) -> Page:
    if code is not None and str(code) not in {"0", "200"}:
        raise NotAPage(f"status 200 with Code {str(code)[:40]!r}, which is not a success")
    return Page(
        number=_integer(number),
        size=_integer(size) or None,
        total=_integer(total),
        ids=tuple(ids or ()),
        is_null=ids is None,
        request_id=request_id,
        owned_ids=tuple(owned.ids),
        young=tuple(owned.young),
    )


def _integer(value: str | int | None) -> int | None:
    text = "" if value is None else str(value).strip()
    if "." in text:
        text = re.sub(r"\.0+$", "", text)  # 120.0 is an integer too
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def _describe(body: bytes, error: Exception) -> str:
    start = body[:40].strip().lower()
    if not body:
        return "an empty body"
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<")):
        return "a page of HTML, not JSON"
    return f"not a listing in JSON: {error}"


def contradiction(page: Page, requested_number: int, page_size: int) -> str | None:
    """Find a contradiction within one answer.

    `page_size` is used if the answer does not echo one.

    Returns:
        The contradiction in words, or None.
    """
    if page.number is not None and page.number != requested_number:
        return f"it echoes PageNumber {page.number}, requested was {requested_number}"
    if len(set(page.ids)) != len(page.ids):
        return "it holds an image twice"
    if page.total is not None:
        size = page.size or page_size
        expected = min(size, max(0, page.total - (requested_number - 1) * size))
        if len(page.ids) != expected:
            return f"it holds {pluralize(len(page.ids), 'image')} where TotalCount {page.total:,} calls for {expected}"
        if not expected:
            return None  # an empty page may have no list
    return "it has no list of images" if page.is_null else None
