"""The catalog of faults: what the local endpoint does wrong on request, by name.

    deletions:p=0.2            before one answer in five, an item is deleted
    empty:page=5,times=1       page 5 is empty at its first request
    throttling:count=5,ms=200  bursts of five refusals, each with x-acs-retry-after: 200

A fault is a function that changes a DraftResponse, and an entry in `FAULT_KINDS`: adding one touches only this
module. `fault_injector` decides when a fault hits. No fault depends on one API action. `state_faults` has those of
time: old states, TotalCount beside the rows, creation times, the clock.
"""

from __future__ import annotations

import gzip
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline.emulator.api_errors import ApiError
from pipeline.emulator.draft import FaultKind
from pipeline.emulator.state_faults import STATE_FAULT_KINDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.emulator.action import Action, Item
    from pipeline.emulator.draft import DraftResponse, FaultHit

MEBIBYTE = 1 << 20
HTML = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


# --- edit: the account changes while it is listed ---


def _choose_position(hit: FaultHit, length: int) -> int:
    if hit.place == "anywhere":
        return int(hit.rng.random() * length)
    return 0 if hit.place == "start" else length - 1


def _delete(draft: DraftResponse, hit: FaultHit) -> None:
    for _ in range(min(hit.count, len(draft.state.items))):
        draft.state.delete(_choose_position(hit, len(draft.state.items)), draft.now)


def _insert(draft: DraftResponse, hit: FaultHit) -> None:
    for _ in range(hit.count):
        position = _choose_position(hit, len(draft.state.items) + 1)
        draft.state.insert(position, hit.new_item(draft.now), draft.now)


def _churn(draft: DraftResponse, hit: FaultHit) -> None:
    count = min(hit.count, len(draft.state.items))
    _delete(draft, replace(hit, count=count))
    _insert(draft, replace(hit, count=count))


# --- refuse: the request is refused ---


def _refuse(code: str) -> Callable[[DraftResponse, FaultHit], None]:
    def apply(_: DraftResponse, hit: FaultHit) -> None:
        headers = {} if hit.ms is None else {"x-acs-retry-after": str(hit.ms)}
        raise ApiError(code, headers=headers)

    return apply


# --- size, rows: the items are not those of the page ---


def _clamp(draft: DraftResponse, hit: FaultHit) -> None:
    draft.size = min(draft.size, max(1, hit.count))


def _shuffle(draft: DraftResponse, hit: FaultHit) -> None:
    items = draft.matching_items()
    hit.rng.shuffle(items)
    draft.rows = draft.slice_page(items, draft.number)


def _empty(draft: DraftResponse, _: FaultHit) -> None:
    draft.rows = []


def _shorten(draft: DraftResponse, hit: FaultHit) -> None:
    for _ in range(min(hit.count, len(draft.rows))):
        del draft.rows[int(hit.rng.random() * len(draft.rows))]


def _repeat(draft: DraftResponse, hit: FaultHit) -> None:
    draft.rows = draft.page(max(1, draft.number - hit.count) if draft.number > 1 else 1 + hit.count)


def _double(draft: DraftResponse, hit: FaultHit) -> None:
    for _ in range(min(hit.count, len(draft.rows) - 1)):
        copied, replaced = hit.rng.sample(range(len(draft.rows)), 2)
        draft.rows[replaced] = draft.rows[copied]


def _twin(draft: DraftResponse, hit: FaultHit) -> None:
    for _ in range(min(hit.count, len(draft.rows) - 1)):
        copied, replaced = hit.rng.sample(range(len(draft.rows)), 2)
        draft.rows[replaced] = {
            field: value for field, value in draft.rows[copied].items() if field != draft.action.id_field
        }


def _other_page(draft: DraftResponse, hit: FaultHit) -> None:
    draft.number = max(1, draft.number + hit.count)
    draft.rows = draft.page(draft.number)


# --- body: fields or values of the response are wrong ---


def _shift_field(name: str) -> Callable[[DraftResponse, FaultHit], None]:
    def apply(draft: DraftResponse, hit: FaultHit) -> None:
        if name in draft.body:
            sent = draft.body[name]
            draft.body[name] = type(sent)(max(0, int(sent) + hit.count))  # text stays text

    return apply


def _remove_total(draft: DraftResponse, _: FaultHit) -> None:
    draft.body.pop("TotalCount", None)


def _set_code(draft: DraftResponse, hit: FaultHit) -> None:
    draft.body["Code"] = hit.count


def _null_envelope(draft: DraftResponse, _: FaultHit) -> None:
    draft.body[draft.action.list_path[0]] = None


def _null_list(draft: DraftResponse, _: FaultHit) -> None:
    draft.set_list(None)


def _list_as_object(draft: DraftResponse, _: FaultHit) -> None:
    draft.set_list(draft.rows[0] if draft.rows else {})


def _unknown_fields(draft: DraftResponse, hit: FaultHit) -> None:
    draft.body["NextToken"] = ""
    for item in draft.rows:
        item["BootMode"] = "UEFI"
        item["Tags"] = {"Tag": [{"Key": f"team{number}", "Value": "边缘"} for number in range(hit.count)]}
        _change_children(draft.action, item, lambda _child, _fields: {"IsEncrypted": False})


def _missing_fields(draft: DraftResponse, hit: FaultHit) -> None:
    fields = sorted({field for item in draft.rows for field in item} - {draft.action.id_field})
    removed = hit.rng.sample(fields, min(hit.count, len(fields)))
    for item in draft.rows:
        for field in removed:
            item.pop(field, None)


def _missing_id(draft: DraftResponse, hit: FaultHit) -> None:
    for item in hit.rng.sample(draft.rows, min(hit.count, len(draft.rows))):
        item.pop(draft.action.id_field, None)


def _bad_values(draft: DraftResponse, hit: FaultHit) -> None:
    for item in hit.rng.sample(draft.rows, min(hit.count, len(draft.rows))):
        item.update(draft.action.bad_values)


def _convert_numbers(
    convert: Callable[[dict[str, Any], tuple[str, ...]], dict[str, Any]],
) -> Callable[[DraftResponse, FaultHit], None]:
    """Convert the numbers of the body, its items and their children, but for Code."""

    def apply(draft: DraftResponse, _: FaultHit) -> None:
        draft.body.update(convert(draft.body, ("PageSize", "PageNumber", "TotalCount")))
        for item in draft.rows:
            item.update(convert(item, draft.action.number_fields))
            _change_children(draft.action, item, convert)

    return apply


def _change_children(
    action: Action, item: Item, change: Callable[[dict[str, Any], tuple[str, ...]], dict[str, Any]]
) -> None:
    """Update each child with the values of `change(child, number fields)`; children are replaced, not edited."""
    for outer, inner, number_fields in action.children:
        found = item.get(outer) or {}
        if inner is None:
            if found:
                item[outer] = {**found, **change(found, number_fields)}
        elif children := found.get(inner):
            item[outer] = {inner: [{**child, **change(child, number_fields)} for child in children]}


def _as_numbers(values: dict[str, Any], fields: tuple[str, ...]) -> dict[str, int]:
    return {field: int(values[field]) for field in fields if str(values.get(field, "")).isdigit()}


def _as_text(values: dict[str, Any], fields: tuple[str, ...]) -> dict[str, str]:
    return {field: str(values[field]) for field in fields if type(values.get(field)) is int}


def _all_as_text(draft: DraftResponse, hit: FaultHit) -> None:
    draft.body.update(_as_text(draft.body, ("Code",)))
    _convert_numbers(_as_text)(draft, hit)


# --- wire: the bytes are wrong, or do not all arrive ---


def _html(status: int) -> Callable[[DraftResponse, FaultHit], None]:
    def apply(draft: DraftResponse, _: FaultHit) -> None:
        draft.status, draft.content_type, draft.raw = status, "text/html", HTML

    return apply


def _cut(draft: DraftResponse, hit: FaultHit) -> None:
    draft.raw = draft.raw[: int(len(draft.raw) * hit.rng.uniform(0.1, 0.9))]


def _reset(draft: DraftResponse, _: FaultHit) -> None:
    draft.delivery = "reset"


def _drip(draft: DraftResponse, hit: FaultHit) -> None:
    draft.delivery, draft.pieces, draft.duration_ms = "drip", max(1, hit.count), hit.ms or 0


def _silent(draft: DraftResponse, hit: FaultHit) -> None:
    draft.delivery, draft.duration_ms = "silent", hit.ms or 0


def _hang_up(draft: DraftResponse, _: FaultHit) -> None:
    draft.delivery = "hang-up"


def _endless(draft: DraftResponse, _: FaultHit) -> None:
    draft.delivery, draft.encoding = "endless", "identity"


def _gzip_bomb(draft: DraftResponse, hit: FaultHit) -> None:
    draft.raw = gzip.compress(draft.raw) + gzip.compress(b" " * MEBIBYTE) * hit.count
    draft.encoding = "gzip"


def _bad_gzip(draft: DraftResponse, _: FaultHit) -> None:
    draft.encoding = "gzip"


def _cut_gzip(draft: DraftResponse, hit: FaultHit) -> None:
    draft.raw, draft.encoding = gzip.compress(draft.raw)[: -max(1, hit.count)], "gzip"


def _nest(draft: DraftResponse, hit: FaultHit) -> None:
    draft.raw = b'{"Nested":' + b"[" * hit.count + b"]" * hit.count + b"," + draft.raw[1:]


FAULT_KINDS = {
    "deletions": FaultKind("Delete count items before the answer.", "edit", _delete),
    "insertions": FaultKind("Insert count new items before the answer.", "edit", _insert),
    "churn": FaultKind("Delete count items and insert as many before the answer.", "edit", _churn),
    "throttling": FaultKind(
        "Refuse count requests in a row: Throttling.User, with x-acs-retry-after if ms is given.",
        "refuse",
        _refuse("Throttling.User"),
        count=3,
        is_burst=True,
    ),
    "500": FaultKind("HTTP 500, InternalError.", "refuse", _refuse("InternalError")),
    "503": FaultKind("HTTP 503, ServiceUnavailable.", "refuse", _refuse("ServiceUnavailable")),
    "stale-nonce": FaultKind("SignatureNonceUsed, for a new nonce.", "refuse", _refuse("SignatureNonceUsed")),
    "expired-token": FaultKind(
        "InvalidSecurityToken.Expired; with after=N in the middle of a run.",
        "refuse",
        _refuse("InvalidSecurityToken.Expired"),
    ),
    "clamped": FaultKind("Cut a PageSize above count to count, and echo count.", "size", _clamp, count=20),
    "unstable-order": FaultKind("List the items in a new random order for each page.", "rows", _shuffle),
    "empty": FaultKind("The page has no items.", "rows", _empty),
    "short": FaultKind("count items of the page are missing.", "rows", _shorten),
    "repeated": FaultKind("The items are those of the page count before (page 1: count after).", "rows", _repeat),
    "double": FaultKind("count items are twice on the page, each in the place of another item.", "rows", _double),
    "twin": FaultKind(
        "count items are twice on the page, once without id, each in the place of another item.", "rows", _twin
    ),
    "other-page": FaultKind("Items and PageNumber are those of the page count after.", "rows", _other_page),
    "null": FaultKind("The object around the list (Images) is null.", "body", _null_envelope),
    "null-list": FaultKind("The list (Images.Image) is null.", "body", _null_list),
    "object": FaultKind("The first item replaces the list.", "body", _list_as_object),
    "wrong-number": FaultKind("PageNumber is wrong by count; the items are right.", "body", _shift_field("PageNumber")),
    "wrong-total": FaultKind("TotalCount is wrong by count (negative: too low).", "body", _shift_field("TotalCount")),
    "no-total": FaultKind("TotalCount is missing.", "body", _remove_total),
    "code": FaultKind("Code is count, with HTTP 200.", "body", _set_code),
    "unknown-fields": FaultKind("Unknown fields in the response, its items and nested lists.", "body", _unknown_fields),
    "missing-fields": FaultKind("count fields, never the id, are missing in all items.", "body", _missing_fields, 3),
    "missing-id": FaultKind("count items have no id.", "body", _missing_id),
    "bad-values": FaultKind("count items have values that fit no type: size, instant, name.", "body", _bad_values),
    "numbers-as-text": FaultKind("All numbers are text, Code too.", "body", _all_as_text),
    "text-as-numbers": FaultKind("Sizes, page numbers and counts are numbers.", "body", _convert_numbers(_as_numbers)),
    "html": FaultKind("An HTML page with HTTP 200.", "wire", _html(200)),
    "html-502": FaultKind("An HTML page with HTTP 502.", "wire", _html(502)),
    "cut": FaultKind("The JSON is truncated, with HTTP 200.", "wire", _cut),
    "reset": FaultKind("Reset the connection after half of the body.", "wire", _reset),
    "drip": FaultKind("Send the body in count pieces over ms milliseconds.", "wire", _drip, count=20, ms=2_000),
    "silent": FaultKind("Send nothing for ms milliseconds, then the answer.", "wire", _silent, ms=60_000),
    "hang-up": FaultKind("Close the connection within the headers.", "wire", _hang_up),
    "endless": FaultKind("After the JSON, send spaces without end.", "wire", _endless),
    "gzip-bomb": FaultKind("After the JSON, count MiB of spaces, packed to count KiB.", "wire", _gzip_bomb, 1_024),
    "bad-gzip": FaultKind("The body is called gzip, and is not.", "wire", _bad_gzip),
    "cut-gzip": FaultKind("The last count bytes of the packed body are missing.", "wire", _cut_gzip, 8),
    "nested": FaultKind("An unknown field holds count lists in each other.", "wire", _nest, 100_000),
}

FAULT_KINDS |= STATE_FAULT_KINDS

FAULTS = {name: kind.description for name, kind in FAULT_KINDS.items()}
