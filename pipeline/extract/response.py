"""Decode one answer: page number, page size, TotalCount and the ids of its items. Pure: no network, no files.

as published           typed decoding
other types, no ids    field by field, from the raw JSON; so is a key that stands twice
not decodable          the same, after `json_repair`
not a listing          NotAPage
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from pipeline.extract.decoders import NULL, Decoders, decoders
from pipeline.extract.doubled_keys import doubled_values
from pipeline.extract.json_repair import NO_PLACEHOLDERS, Placeholders, repair
from pipeline.extract.reading_version import READING
from pipeline.resources.images import IMAGES_RESOURCE
from pipeline.text import pluralize, with_article

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pipeline.resources.resource import Resource


_YOUNG: Final = dt.timedelta(days=2)
"""Longer than a listing takes; an offset of a creation time is within it too."""

NO_ID_PREFIX: Final = "raw JSON: "
"""An item without an id is listed under this prefix and its raw JSON: it is counted, and proves nothing."""


class NotAPage(ValueError):
    """The body is not a listing: not JSON, not in the published structure, or with an error Code."""


@dataclass(frozen=True)
class Page:
    """The decoded body of one answer; ids in the order listed."""

    number: int | None
    size: int | None
    total: int | None
    ids: tuple[str, ...]
    is_null: bool
    """Whether the answer has no list of items."""
    request_id: str | None
    owned_ids: tuple[str, ...] = ()
    """Those of the items that the account owns."""
    young: tuple[tuple[str, dt.datetime], ...] = ()
    """Those of them that were created within two days before the answer, or after it, with their instants."""
    resource: Resource = IMAGES_RESOURCE

    @property
    def size_or_asked(self) -> int:
        """The page size that the answer echoes; without one, that of every request."""
        return self.size or self.resource.action.page_size

    @functools.cached_property
    def is_distinct(self) -> bool:
        """Whether no item is listed twice."""
        return len(set(self.ids)) == len(self.ids)

    @functools.cached_property
    def has_all_ids(self) -> bool:
        """Whether every item has an id that can be a key."""
        may_lack_one = NO_ID_PREFIX in "\n".join(self.ids)  # a search in one text takes a tenth of the time
        return not (may_lack_one and any(item_id.startswith(NO_ID_PREFIX) for item_id in self.ids))


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
    resource: str = IMAGES_RESOURCE.name
    """The resource that was listed."""


decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def read_page(
    body: bytes,
    reading: int = READING,
    *,
    resource: Resource = IMAGES_RESOURCE,
    server_at_utc: dt.datetime | None = None,
) -> Page:
    """Decode one answer of the resource's action, by a version of reading; `server_at_utc` is its `Date`.

    An item without a usable id is represented by its raw JSON, so that it is counted.

    Raises:
        NotAPage: the body is not a listing; the message says what it is.
    """
    reader = _AnswerReader(resource, decoders(resource), reading)
    try:
        return reader.read(body, server_at_utc)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        reason = _describe(body, error)
    try:
        return reader.read_any(*repair(body))
    except (msgspec.MsgspecError, RecursionError):
        raise NotAPage(reason) from None


class _Owned(NamedTuple):
    """Of a page, the items that the account owns, and those of them that are young."""

    ids: Sequence[str]
    young: Sequence[tuple[str, dt.datetime]]


@dataclass(frozen=True, slots=True)
class _AnswerReader:
    """Decodes answers of one resource, by one version of reading."""

    resource: Resource
    decode: Decoders
    reading: int

    def read(self, body: bytes, server_at_utc: dt.datetime | None) -> Page:
        """Decode an answer, by the fastest decoder that can."""
        require_utf8(body)  # the decoder does not check values that it skips
        if self.reading > 1 and (page := self._without_doubled_keys(body, server_at_utc)):
            return page
        try:
            decoded = self.decode.body(body)
        except msgspec.ValidationError:
            return self.read_any(body, NO_PLACEHOLDERS)
        items = self.decode.list_of(decoded)
        ids = None if items is None else [item.id or "" if item else "" for item in items]
        if self.reading > 1 or (ids is not None and "" in ids):
            return self.read_any(body, NO_PLACEHOLDERS)
        return self._page(decoded, ids, self._owned(items or (), server_at_utc))

    def _without_doubled_keys(self, body: bytes, server_at_utc: dt.datetime | None) -> Page | None:
        """Decode an answer as published whose keys provably stand once each; None: look closer.

        The list of items is cut out and decoded by itself: what is left is short. If the one pair of brackets left is
        an empty list of items, the cut was that list, from its first bracket to its last.
        """
        start, end = body.find(b"["), body.rfind(b"]") + 1
        envelope = b"%b[]%b" % (body[:start], body[end:])
        try:
            decoded, items = self.decode.body(envelope), self.decode.items(memoryview(body)[start:end])
            ids = [item.id or "" for item in items]
            if self.decode.list_of(decoded) != [] or "" in ids:
                return None
            if body.count(self.decode.key_start) != len(ids):
                return None
            if b"\\" in body and b"\\u00" in body:  # an escape may write a key in another way
                return None
            self._refuse_doubled_keys(envelope)
        except (msgspec.MsgspecError, AttributeError):
            return None
        return self._page(decoded, ids, self._owned(items, server_at_utc))

    def _owned(self, items: Iterable[Any], server_at_utc: dt.datetime | None) -> _Owned:
        known = [item for item in items if item and item.id]
        own_value = self.decode.own
        own = [item for item in known if bytes(item.owner).lower() == own_value] if self.decode.owner else known
        ids = [item.id for item in own]
        if server_at_utc is None or self.decode.created is None:
            return _Owned(ids, ())
        first_day = f'"{server_at_utc - _YOUNG:%F}'.encode()
        young = []
        for item_id, created in [(item.id, text) for item in own if (text := bytes(item.created)) >= first_day]:
            if created[:1] != b'"':
                continue
            with contextlib.suppress(ValueError, OverflowError):  # no instant: it is not known to be young
                at = dt.datetime.fromisoformat(created.decode("ascii").strip('"'))
                young.append((item_id, at.astimezone(dt.UTC).replace(tzinfo=None) if at.tzinfo else at))
        return _Owned(ids, young)

    def _refuse_doubled_keys(self, body: bytes) -> None:
        """Refuse an answer in which a key that describes the page stands twice.

        Raises:
            NotAPage: it does, and the values may differ.
        """
        raw: bytes | msgspec.Raw = body
        for names, next_name in zip(
            (self.decode.body_names, *zip(self.decode.path[1:])), self.decode.path, strict=True
        ):
            if bytes(raw)[:1] != b"{":
                return
            values = decode_object(raw)
            doubled = doubled_values(raw, values)
            if name := next((name for name in names if name in doubled), None):
                text = doubled[name][:80].decode("utf-8", "replace")
                raise NotAPage(f"{name} stands twice in one object, with the values {text}")
            raw = values.get(next_name, NULL)

    def read_any(self, body: bytes, placeholders: Placeholders) -> Page:
        """Decode an answer field by field."""
        decoded = self.decode.any_body(body)
        if self.reading > 1:
            self._refuse_doubled_keys(body)
        items = self.decode.list_of(decoded)
        ids = None if items is None else [self._id_or_raw_json(raw, placeholders) for raw in items]
        code = scalar_text(decoded.Code, placeholders)
        if code is None and bytes(decoded.Code).strip() != b"null":
            raise NotAPage(f"status 200 with Code {placeholders.original(decoded.Code)[:40]}, which is not a success")
        for name in ("Code", "PageNumber", "PageSize", "TotalCount", "RequestId"):
            setattr(decoded, name, scalar_text(getattr(decoded, name), placeholders))
        own = [known for raw in items or () if (known := self._owned_id(raw, placeholders))]
        return self._page(decoded, ids, _Owned(own, ()))

    def _owned_id(self, raw: bytes, placeholders: Placeholders) -> str | None:
        if self.decode.owner:
            try:
                owner = decode_object(raw).get(self.decode.owner, NULL)
            except msgspec.MsgspecError:
                return None
            if bytes(owner).lower() != self.decode.own:
                return None
        return self._item_id(raw, placeholders)

    def _id_or_raw_json(self, raw: bytes, placeholders: Placeholders) -> str:
        return self._item_id(raw, placeholders) or f"{NO_ID_PREFIX}{placeholders.original(raw)}"

    def _item_id(self, raw: bytes, placeholders: Placeholders) -> str | None:
        """The id of one item from its raw JSON, or None if it has no id that could be a key."""
        try:
            values = decode_object(raw)
            if self.reading > 1 and self.decode.key in doubled_values(raw, values):
                return None
            return scalar_text(values.get(self.decode.key, b"null"), placeholders) or None
        except msgspec.MsgspecError:
            return None

    def _page(self, decoded: Any, ids: Iterable[str] | None, owned: _Owned) -> Page:
        code = decoded.Code
        if code is not None and str(code) not in {"0", "200"}:
            raise NotAPage(f"status 200 with Code {str(code)[:40]!r}, which is not a success")
        return Page(
            number=_integer(decoded.PageNumber),
            size=_integer(decoded.PageSize) or None,
            total=_integer(decoded.TotalCount),
            ids=tuple(ids or ()),
            is_null=ids is None,
            request_id=decoded.RequestId,
            owned_ids=tuple(owned.ids),
            young=tuple(owned.young),
            resource=self.resource,
        )


def require_utf8(body: bytes) -> None:
    """Check that `body` is UTF-8.

    Raises:
        UnicodeDecodeError: it is not.
    """
    if not body.isascii():  # makes no copy
        body.decode()


def item_list(body: bytes, resource: Resource = IMAGES_RESOURCE) -> tuple[bytes, Placeholders]:
    """The raw JSON of the list of items in one answer, `[]` if it has none, and the placeholders in it."""
    try:
        require_utf8(body)
        return _item_list(body, resource), NO_PLACEHOLDERS
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        repaired, placeholders = repair(body)
        return _item_list(repaired, resource), placeholders


def _item_list(body: bytes, resource: Resource) -> bytes:
    decode = decoders(resource)
    raw = bytes(decode.list_of(decode.item_list(body)) or b"null")
    return raw if raw[:1] == b"[" else b"[]"


def scalar_text(raw: bytes, placeholders: Placeholders = NO_PLACEHOLDERS) -> str | None:
    """The text of a JSON string, or a number as sent; None for anything else."""
    raw = bytes(raw).strip()
    if raw[:1] == b'"':
        text: str = msgspec.json.decode(raw, type=str)
        return None if placeholders.occur_in(raw) else text
    return raw.decode() if raw[:1] in b"-0123456789" and raw else None


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


def contradiction(page: Page, requested_number: int, page_size: int | None = None) -> str | None:
    """Find a contradiction within one answer.

    `page_size` is used if the answer does not echo one; None: that of every request.

    Returns:
        The contradiction in words, or None.
    """
    if page.number is not None and page.number != requested_number:
        return f"it echoes PageNumber {page.number}, requested was {requested_number}"
    if not page.is_distinct:
        return f"it holds {with_article(page.resource.noun)} twice"
    if page.total is not None:
        size = page.size or page_size or page.size_or_asked
        expected = min(size, max(0, page.total - (requested_number - 1) * size))
        if len(page.ids) != expected:
            items = pluralize(len(page.ids), page.resource.noun)
            return f"it holds {items} where TotalCount {page.total:,} calls for {expected}"
        if not expected:
            return None  # an empty page may have no list
    return f"it has no list of {page.resource.noun}s" if page.is_null else None
