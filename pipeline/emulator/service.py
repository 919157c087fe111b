"""DescribeSelfImages as published: a request in, an answer out, and a record of what was true at that instant.

    Request → route → signature → pace → permission → parameters → faults → page → Reply
                └─────────────── Refused: the published error body ───────────────────┘

No sockets and no waiting here: an answer is made at one instant.
"""

from __future__ import annotations

import gzip
import hashlib
import uuid
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from pipeline.emulator.faults import Draft, Laboratory, draw_up
from pipeline.emulator.refusals import JSON, Refused
from pipeline.emulator.signature import Verifier
from pipeline.emulator.stock import Filters, Stock

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pipeline.emulator.faults import Delivery, Fault, Stroke
    from pipeline.emulator.making import Image
    from pipeline.emulator.signature import Key, Request
    from pipeline.emulator.stock import Journal

ACTION, VERSION = "DescribeSelfImages", "2017-11-10"
DEFAULT_PAGE_SIZE, LARGEST_PAGE_SIZE = 10, 50
LONGEST_NUMBER = 9  # digits
REMEMBERED = 200_000  # answers


class Reply(NamedTuple):
    """An answer for the wire."""

    status: int
    headers: dict[str, str]
    body: bytes
    delivery: Delivery = "whole"
    pieces: int = 1
    over_ms: int = 0


class Answer:
    """The record of one answer, and of the truth behind it."""

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.served_at = datetime.now(UTC)
        self.key_id = ""  # nobody's, if the signature was not right
        self.action = ""
        self.page_number: int | None = None
        self.status = 200
        self.code = ""  # of an error
        self.faults: tuple[str, ...] = ()  # the names of those that struck
        self._journal: Journal | None = None
        self._version = 0

    def ids(self) -> frozenset[str]:
        """The ids of the images that were alive when this answer was made, whatever it said."""
        return self._journal.ids_at(self._version) if self._journal else frozenset()

    def saw(self, stock: Stock) -> None:
        """Remember the account as it is now."""
        self._journal, self._version = stock.journal, stock.journal.version

    def __repr__(self) -> str:
        return f"<{self.action} page {self.page_number} for {self.key_id!r}: {self.status} {self.code}>"


class Pace:
    """At most so many requests in any second, each key by itself."""

    def __init__(self, qps: float) -> None:
        self._burst = max(1, int(qps))
        self._window_s = self._burst / qps
        self._passed: dict[str, deque[float]] = {}

    def check(self, key_id: str, now_s: float) -> None:
        """Let it pass, or refuse it with Throttling.User."""
        passed = self._passed.setdefault(key_id, deque(maxlen=self._burst))
        if len(passed) == self._burst and now_s - passed[0] < self._window_s:
            raise Refused("Throttling.User")
        passed.append(now_s)


class Service:
    """Answers requests for the accounts of its keys, as they are on `day`."""

    def __init__(
        self,
        keys: Mapping[str, Key],
        *,
        day: int = 0,
        qps: float | None = None,
        refuse_large_pages: bool = False,
        seed: int = 0,
        faults: Iterable[Fault | str] = (),
    ) -> None:
        self.day = day
        self.laboratory = Laboratory(faults)
        self.calls = 0
        self.answers: dict[str, Answer] = {}  # by request id, in order
        self._keys = keys
        self._verifier = Verifier(keys)
        self._pace = Pace(qps) if qps else None
        self._refuse_large_pages = refuse_large_pages
        self._seed = seed
        self._stocks: dict[tuple[str, int], Stock] = {}
        self._newborns = 0

    def stock(self, key_id: str) -> Stock:
        """The account of this key on this day."""
        at = (key_id, self.day)
        if at not in self._stocks:
            others = [known for known in self._stocks if known[0] == key_id]
            before = [self._stocks.pop(other) for other in others]  # one at most
            images = self._keys[key_id].account.images_on(self.day)
            self._stocks[at] = Stock(images, *before)
        return self._stocks[at]

    def answer(self, request: Request) -> Reply:
        """Serve one request, at this instant."""
        self.calls += 1
        answer = Answer(self._new_request_id())
        try:
            reply = self._describe(request, answer)
        except Refused as refused:
            answer.code = refused.code
            host = request.headers.get("host", "")
            body = refused.body(answer.request_id, host)
            reply = Reply(refused.status, {"Content-Type": JSON, **refused.headers}, body)
        answer.status = reply.status
        reply.headers["x-acs-request-id"] = answer.request_id
        self.answers[answer.request_id] = answer
        if len(self.answers) > REMEMBERED:
            del self.answers[next(iter(self.answers))]
        return reply

    def _describe(self, request: Request, answer: Answer) -> Reply:
        sent = {**request.form, **request.query}
        _check_route(request, sent)
        answer.action = ACTION
        answer.key_id = self._verifier.key_id(request, answer.served_at)
        answer.saw(self.stock(answer.key_id))
        if self._pace:
            self._pace.check(answer.key_id, answer.served_at.timestamp())
        if not self._keys[answer.key_id].is_permitted:
            raise Refused("NoPermission")
        answer.page_number = _whole(sent, "PageNumber", 1)
        size = _whole(sent, "PageSize", DEFAULT_PAGE_SIZE)
        if size > LARGEST_PAGE_SIZE and self._refuse_large_pages:
            raise Refused("InvalidParameter.PageSize")
        size = min(size, LARGEST_PAGE_SIZE)
        filters = Filters(sent.get("ImageId", ""), sent.get("ImageName", ""), sent.get("SnapshotId", ""))

        if self.laboratory.faults:
            strokes = self.laboratory.firing(answer.key_id, answer.page_number, lambda: self._newborn(answer))
            if strokes:
                return self._faulty(request, answer, filters, size, strokes)
        return self._honest(request, answer, filters, size)

    def _honest(self, request: Request, answer: Answer, filters: Filters, size: int) -> Reply:
        stock, number = self.stock(answer.key_id), answer.page_number or 1
        page = stock.page(filters, number, size)
        tail = (
            f'{answer.request_id}","PageSize":"{size}","PageNumber":"{number}",'
            f'"TotalCount":"{len(stock.found(filters))}"}}'
        ).encode()
        if takes_gzip(request):
            return Reply(200, {"Content-Type": JSON, "Content-Encoding": "gzip"}, page.packed(tail))
        return Reply(200, {"Content-Type": JSON}, page.whole(tail))

    def _faulty(
        self, request: Request, answer: Answer, filters: Filters, size: int, strokes: Sequence[Stroke]
    ) -> Reply:
        stock = self.stock(answer.key_id)
        draft = Draft(stock, filters, answer.page_number or 1, size, answer.request_id)
        answer.faults = tuple(stroke.fault.name for stroke in strokes)
        try:
            draw_up(draft, strokes)
        finally:
            answer.saw(stock)  # as it is after the edits
        headers = {"Content-Type": draft.content_type}
        body = draft.raw
        if takes_gzip(request):
            headers["Content-Encoding"] = "gzip"
            body = gzip.compress(body, 1)
        return Reply(draft.status, headers, body, draft.delivery, draft.pieces, draft.over_ms)

    def _newborn(self, answer: Answer) -> Image:
        self._newborns += 1
        return self._keys[answer.key_id].account.newborn(self._newborns, self.day)

    def _new_request_id(self) -> str:
        seeded = hashlib.blake2b(f"{self._seed}/{self.calls}".encode(), digest_size=16).digest()
        return str(uuid.UUID(bytes=seeded, version=4)).upper()


def takes_gzip(request: Request) -> bool:
    """Whether the client accepts gzip."""
    for coding in request.headers.get("accept-encoding", "").lower().split(","):
        name, _, weight = coding.replace(" ", "").partition(";q=")
        if name == "gzip":
            return weight.strip("0.") != "" or not weight
    return False


def _check_route(request: Request, sent: Mapping[str, str]) -> None:
    if request.path != "/":
        raise Refused("InvalidAction.NotFound")
    if request.method not in ("GET", "POST"):
        raise Refused("UnsupportedHTTPMethod")
    action = request.headers.get("x-acs-action") or sent.get("Action")
    version = request.headers.get("x-acs-version") or sent.get("Version")
    if not action:
        raise Refused("MissingParameter", "Action")
    if not version:
        raise Refused("MissingParameter", "Version")
    if action != ACTION:
        raise Refused("InvalidAction.NotFound")
    if version != VERSION:
        raise Refused("InvalidVersion")


def _whole(sent: Mapping[str, str], name: str, default: int) -> int:
    text = sent.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER and int(text)):
        raise Refused(f"InvalidParameter.{name}")
    return int(text)
