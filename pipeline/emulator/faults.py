"""The fault laboratory: what goes wrong on request, by name, several at once.

    deletions:p=0.2            before every fifth answer or so, an image is deleted
    empty:page=5,times=1       page 5 is empty the first time it is asked for
    throttling:count=5,ms=200  every burst is five refusals, each with x-acs-retry-after: 200

    edit → refuse → size → rows → body → wire      the stages of an answer, and of the faults

A fault strikes at a page, at random by seed, or always; it ends after so many times, or never. What is
random depends on the seed, the page and how often it was asked for: not on what ran side by side.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from pipeline.emulator.making import dice
from pipeline.emulator.refusals import JSON, Refused
from pipeline.text import nearest

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Sequence

    from pipeline.emulator.making import Image
    from pipeline.emulator.stock import Filters, Stock

Delivery = Literal["whole", "reset", "drip"]
STAGES = ("edit", "refuse", "size", "rows", "body", "wire")
HTML = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One fault and when it strikes.

    `page` only there (else at any); `p` with this probability (else always); `times` at most so often (else
    without end); `after` not among that many first answers; `key` only this key's; `seed` of what is random.
    `count` is how many or how much, as the name's meaning says; `ms` how long; `place` where images are
    deleted or born: start, end or anywhere in the listing.

    Raises:
        ValueError: no fault has this name, or a value makes no sense.
    """

    name: str
    page: int | None = None
    p: float | None = None
    times: int | None = None
    after: int = 0
    key: str | None = None
    seed: int = 0
    count: int | None = None
    ms: int | None = None
    place: Literal["start", "end", "anywhere"] = "anywhere"

    def __post_init__(self) -> None:
        if self.name not in KINDS:
            there = f"there are {', '.join(KINDS)}"
            meant = _meant(self.name, KINDS)
            raise ValueError(f"no fault is called {self.name!r}: {f'{meant} {there}' if meant else there}")
        if self.p is not None and not 0 <= self.p <= 1:
            raise ValueError(f"fault {self.name!r}: p={self.p} is no probability")
        for option, least in (("page", 1), ("times", 1), ("after", 0), ("ms", 0)):
            value = getattr(self, option)
            if value is not None and value < least:
                raise ValueError(f"fault {self.name!r}: {option}={value} is below {least}")

    @classmethod
    def parse(cls, spec: str) -> Fault:
        """Read `NAME[:option=value,…]`.

        Raises:
            ValueError: it says something else.
        """
        name, _, rest = spec.partition(":")
        options = {}
        for part in filter(None, rest.split(",")):
            option, has_value, value = part.partition("=")
            if option not in cls.__struct_fields__[1:] or not has_value:
                known = cls.__struct_fields__[1:]
                meant = "" if option in known else _meant(option, known)
                said = f"{part!r} is not option=value; the options are {', '.join(known)}"
                raise ValueError(f"fault {spec!r}: {said}; {meant}" if meant else f"fault {spec!r}: {said}")
            options[option] = value
        try:
            return msgspec.convert({"name": name, **options}, cls, strict=False)
        except msgspec.ValidationError as error:
            is_ours = isinstance(error.__cause__, ValueError)  # it says which fault
            raise ValueError(str(error) if is_ours else f"fault {spec!r}: {error}") from None


def _meant(said: str, known: Iterable[str]) -> str:
    suggestion = nearest(said, known)
    return f"did you mean {suggestion}?" if suggestion else ""


class Draft:
    """An answer while the faults work on it."""

    def __init__(self, stock: Stock, filters: Filters, number: int, size: int, request_id: str) -> None:
        self.stock = stock
        self.number = number
        self.size = size
        self.rows: list[Image] = []
        self.body: dict[str, Any] = {}
        self.status = 200
        self.content_type = JSON
        self.raw = b""
        self.delivery: Delivery = "whole"
        self.pieces = 1
        self.over_ms = 0
        self._filters = filters
        self._request_id = request_id

    def everything(self) -> list[Image]:
        """All images that the filters admit, in order."""
        if not any(self._filters):
            return list(self.stock.images)
        return [image for image in self.stock.images if self._filters.admit(image)]

    def page(self, number: int) -> list[Image]:
        """A copy of a page, open to edits."""
        return [dict(image) for image in self.everything()[(number - 1) * self.size : number * self.size]]

    def begin(self, stage: str) -> None:
        """What an honest answer does at this stage."""
        if stage == "rows":
            self.rows = self.page(self.number)
        elif stage == "body":
            self.body = {
                "Code": 0,
                "Images": {"Image": self.rows},
                "RequestId": self._request_id,
                "PageSize": str(self.size),
                "PageNumber": str(self.number),
                "TotalCount": str(len(self.everything())),
            }
        elif stage == "wire":
            self.raw = msgspec.json.encode(self.body)


@dataclass(frozen=True)
class Stroke:
    """One fault striking once: how much, with which dice."""

    fault: Fault
    count: int
    ms: int | None
    rng: random.Random
    newborn: Callable[[], Image]


@dataclass(frozen=True)
class Kind:
    """What a name means: in words, and in deed."""

    meaning: str
    stage: str
    strike: Callable[[Draft, Stroke], None]
    count: int = 1
    ms: int | None = None


class Laboratory:
    """Faults at work on one endpoint."""

    def __init__(self, faults: Iterable[Fault | str]) -> None:
        self.faults = [Fault.parse(fault) if isinstance(fault, str) else fault for fault in faults]
        self._fired = [0] * len(self.faults)
        self._burst = [0] * len(self.faults)
        self._seen = [0] * len(self.faults)
        self._asked: Counter[tuple[str, int]] = Counter()

    def firing(self, key_id: str, page: int, newborn: Callable[[], Image]) -> list[Stroke]:
        """The faults that strike this answer, in the order of their stages."""
        self._asked[key_id, page] += 1
        strokes = [self._stroke(number, key_id, page, newborn) for number in range(len(self.faults))]
        struck = [stroke for stroke in strokes if stroke]
        return sorted(struck, key=lambda stroke: STAGES.index(KINDS[stroke.fault.name].stage))

    def _stroke(self, number: int, key_id: str, page: int, newborn: Callable[[], Image]) -> Stroke | None:
        fault = self.faults[number]
        kind = KINDS[fault.name]
        if fault.key not in (None, key_id):
            return None
        self._seen[number] += 1
        rng = dice(fault.seed, fault.name, number, key_id, page, self._asked[key_id, page])
        is_hit = fault.p is None or rng.random() < fault.p
        count = kind.count if fault.count is None else fault.count
        if self._burst[number]:
            self._burst[number] -= 1
        elif (
            fault.page not in (None, page)
            or self._seen[number] <= fault.after
            or (fault.times is not None and self._fired[number] >= fault.times)
            or not is_hit
        ):
            return None
        else:
            self._fired[number] += 1
            self._burst[number] = max(0, count - 1) if fault.name == "throttling" else 0
        return Stroke(fault, count, kind.ms if fault.ms is None else fault.ms, rng, newborn)


def draw_up(draft: Draft, strokes: Sequence[Stroke]) -> None:
    """Make the answer stage by stage, each stage's faults striking after the honest deed.

    Raises:
        Refused: a fault refuses the request.
    """
    for stage in STAGES:
        draft.begin(stage)
        for stroke in strokes:
            kind = KINDS[stroke.fault.name]
            if kind.stage == stage:
                kind.strike(draft, stroke)


# --- The account changes while it is read ---


def _place(stroke: Stroke, length: int) -> int:
    if stroke.fault.place == "anywhere":
        return int(stroke.rng.random() * length)
    return 0 if stroke.fault.place == "start" else length - 1


def _delete(draft: Draft, stroke: Stroke) -> None:
    for _ in range(min(stroke.count, len(draft.stock.images))):
        draft.stock.delete(_place(stroke, len(draft.stock.images)))


def _insert(draft: Draft, stroke: Stroke) -> None:
    for _ in range(stroke.count):
        draft.stock.insert(_place(stroke, len(draft.stock.images) + 1), stroke.newborn())


def _churn(draft: Draft, stroke: Stroke) -> None:
    count = min(stroke.count, len(draft.stock.images))
    _delete(draft, replace(stroke, count=count))
    _insert(draft, replace(stroke, count=count))


# --- The request is refused ---


def _refuse(code: str) -> Callable[[Draft, Stroke], None]:
    def strike(draft: Draft, stroke: Stroke) -> None:  # noqa: ARG001 - the same for every answer
        headers = {} if stroke.ms is None else {"x-acs-retry-after": str(stroke.ms)}
        raise Refused(code, headers=headers)

    return strike


# --- The rows are not the page's ---


def _clamp(draft: Draft, stroke: Stroke) -> None:
    draft.size = min(draft.size, max(1, stroke.count))


def _shuffle(draft: Draft, stroke: Stroke) -> None:
    images = draft.everything()
    stroke.rng.shuffle(images)
    draft.rows = [dict(image) for image in images[(draft.number - 1) * draft.size : draft.number * draft.size]]


def _empty(draft: Draft, stroke: Stroke) -> None:  # noqa: ARG001 - no more, no less
    draft.rows = []


def _shorten(draft: Draft, stroke: Stroke) -> None:
    for _ in range(min(stroke.count, len(draft.rows))):
        del draft.rows[int(stroke.rng.random() * len(draft.rows))]


def _repeat(draft: Draft, stroke: Stroke) -> None:
    draft.rows = draft.page(max(1, draft.number - stroke.count) if draft.number > 1 else 1 + stroke.count)


def _double(draft: Draft, stroke: Stroke) -> None:
    for _ in range(min(stroke.count, len(draft.rows) - 1)):
        twice, lost = stroke.rng.sample(range(len(draft.rows)), 2)
        draft.rows[lost] = draft.rows[twice]


def _twin(draft: Draft, stroke: Stroke) -> None:
    for _ in range(min(stroke.count, len(draft.rows) - 1)):
        twice, lost = stroke.rng.sample(range(len(draft.rows)), 2)
        draft.rows[lost] = {field: value for field, value in draft.rows[twice].items() if field != "ImageId"}


def _other_page(draft: Draft, stroke: Stroke) -> None:
    draft.number = max(1, draft.number + stroke.count)
    draft.rows = draft.page(draft.number)


# --- The body says something else ---


def _put(change: Callable[[dict[str, Any], Stroke], None]) -> Callable[[Draft, Stroke], None]:
    return lambda draft, stroke: change(draft.body, stroke)


def _wrong_number(body: dict[str, Any], stroke: Stroke) -> None:
    body["PageNumber"] = str(max(0, int(body["PageNumber"]) + stroke.count))


def _wrong_total(body: dict[str, Any], stroke: Stroke) -> None:
    if "TotalCount" in body:
        body["TotalCount"] = str(max(0, int(body["TotalCount"]) + stroke.count))


def _null_list(body: dict[str, Any], stroke: Stroke) -> None:  # noqa: ARG001 - no more, no less
    body["Images"] = {"Image": None}


def _as_object(draft: Draft, stroke: Stroke) -> None:  # noqa: ARG001 - no more, no less
    draft.body["Images"] = {"Image": draft.rows[0] if draft.rows else {}}


def _unknown_fields(draft: Draft, stroke: Stroke) -> None:
    draft.body["NextToken"] = ""
    for image in draft.rows:
        image["BootMode"] = "UEFI"
        image["Tags"] = {"Tag": [{"Key": f"team{number}", "Value": "边缘"} for number in range(stroke.count)]}
        _change_disks(image, lambda _: {"IsEncrypted": False})


def _missing_fields(draft: Draft, stroke: Stroke) -> None:
    fields = sorted({field for image in draft.rows for field in image} - {"ImageId"})
    gone = stroke.rng.sample(fields, min(stroke.count, len(fields)))
    for image in draft.rows:
        for field in gone:
            image.pop(field, None)


def _missing_id(draft: Draft, stroke: Stroke) -> None:
    for image in stroke.rng.sample(draft.rows, min(stroke.count, len(draft.rows))):
        image.pop("ImageId", None)


def _bad_values(draft: Draft, stroke: Stroke) -> None:
    for image in stroke.rng.sample(draft.rows, min(stroke.count, len(draft.rows))):
        image.update(ImageSize="twenty", CreationTime="yesterday", ImageName={"zh": "镜像"})


def _text_as_numbers(draft: Draft, stroke: Stroke) -> None:  # noqa: ARG001 - all of them
    draft.body.update(_numbers(draft.body, "PageSize", "PageNumber", "TotalCount"))
    for image in draft.rows:
        image.update(_numbers(image, "ImageSize", "ImageStorageSize"))
        _change_disks(image, lambda disk: _numbers(disk, "Size"))


def _change_disks(image: Image, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    disks = (image.get("DiskDeviceMappings") or {}).get("DiskDeviceMapping")
    if disks:
        changed = [{**disk, **change(disk)} for disk in disks]
        image["DiskDeviceMappings"] = {"DiskDeviceMapping": changed}


def _numbers(sent: dict[str, Any], *fields: str) -> dict[str, int]:
    return {field: int(sent[field]) for field in fields if str(sent.get(field, "")).isdigit()}


# --- The wire carries something else ---


def _html(status: int) -> Callable[[Draft, Stroke], None]:
    def strike(draft: Draft, stroke: Stroke) -> None:  # noqa: ARG001 - one page for all
        draft.status, draft.content_type, draft.raw = status, "text/html", HTML

    return strike


def _cut(draft: Draft, stroke: Stroke) -> None:
    draft.raw = draft.raw[: int(len(draft.raw) * stroke.rng.uniform(0.1, 0.9))]


def _reset(draft: Draft, stroke: Stroke) -> None:  # noqa: ARG001 - no more, no less
    draft.delivery = "reset"


def _drip(draft: Draft, stroke: Stroke) -> None:
    draft.delivery, draft.pieces, draft.over_ms = "drip", max(1, stroke.count), stroke.ms or 0


KINDS = {
    "deletions": Kind("count images are deleted before the answer", "edit", _delete),
    "insertions": Kind("count images are born before the answer", "edit", _insert),
    "churn": Kind("count images are deleted and as many born before the answer", "edit", _churn),
    "throttling": Kind(
        "a burst of count refusals, Throttling.User, with x-acs-retry-after if ms is given",
        "refuse",
        _refuse("Throttling.User"),
        count=3,
    ),
    "500": Kind("HTTP 500, InternalError", "refuse", _refuse("InternalError")),
    "503": Kind("HTTP 503, ServiceUnavailable", "refuse", _refuse("ServiceUnavailable")),
    "stale-nonce": Kind("SignatureNonceUsed, although the nonce is new", "refuse", _refuse("SignatureNonceUsed")),
    "expired-token": Kind(
        "InvalidSecurityToken.Expired, also in mid-run (after)", "refuse", _refuse("InvalidSecurityToken.Expired")
    ),
    "clamped": Kind("a PageSize above count is cut to count, and echoed so", "size", _clamp, count=20),
    "unstable-order": Kind("the page is cut from the account in a new random order", "rows", _shuffle),
    "empty": Kind("the page has no rows", "rows", _empty),
    "short": Kind("count of the page's rows are missing", "rows", _shorten),
    "repeated": Kind("the rows are those of the page count before (at page 1: after) it", "rows", _repeat),
    "double": Kind("count ids stand twice on the page, each in another's place", "rows", _double),
    "twin": Kind("count images stand twice on the page, once without ImageId, each in another's place", "rows", _twin),
    "other-page": Kind("rows and PageNumber are those of the page count after it", "rows", _other_page),
    "null": Kind("Images is null", "body", _put(lambda body, _: body.update(Images=None))),
    "null-list": Kind("Images.Image is null", "body", _put(_null_list)),
    "object": Kind("Images.Image is the first image instead of a list", "body", _as_object),
    "wrong-number": Kind("PageNumber is off by count; the rows are right", "body", _put(_wrong_number)),
    "wrong-total": Kind("TotalCount is off by count (below zero: too low)", "body", _put(_wrong_total)),
    "no-total": Kind("TotalCount is missing", "body", _put(lambda body, _: body.pop("TotalCount", None))),
    "code": Kind("Code is count under HTTP 200", "body", _put(lambda body, stroke: body.update(Code=stroke.count))),
    "unknown-fields": Kind("answer, images and disks have fields that nobody knows", "body", _unknown_fields),
    "missing-fields": Kind("count fields other than ImageId are missing on the page", "body", _missing_fields, 3),
    "missing-id": Kind("count images have no ImageId", "body", _missing_id),
    "bad-values": Kind("count images have a size, an instant and a name that are none", "body", _bad_values),
    "numbers-as-text": Kind("Code is text", "body", _put(lambda body, _: body.update(Code=str(body["Code"])))),
    "text-as-numbers": Kind("sizes, page numbers and counts are numbers", "body", _text_as_numbers),
    "html": Kind("an HTML page under HTTP 200", "wire", _html(200)),
    "html-502": Kind("an HTML page under HTTP 502", "wire", _html(502)),
    "cut": Kind("the JSON is cut off under HTTP 200", "wire", _cut),
    "reset": Kind("the connection is reset in the middle of the body", "wire", _reset),
    "drip": Kind("the body comes in count pieces over ms milliseconds", "wire", _drip, count=20, ms=2_000),
}

FAULTS = {name: kind.meaning for name, kind in KINDS.items()}
