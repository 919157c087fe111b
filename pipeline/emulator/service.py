"""Answer requests for the accounts of an endpoint, and record which ids existed at each answer.

    Request → route → signature → rate → permission → parameters → faults → page → Response
                └─────────────── ApiError: the published error body ───────────────────┘

No sockets and no waiting here. What is specific to one API action is in `actions/`.
"""

from __future__ import annotations

import gzip
import hashlib
import time
import uuid
from collections import deque
from datetime import UTC, datetime
from email.utils import formatdate
from typing import TYPE_CHECKING, NamedTuple

from pipeline.emulator.account_state import AccountState
from pipeline.emulator.actions import ACTIONS
from pipeline.emulator.api_errors import JSON, ApiError
from pipeline.emulator.draft import DraftResponse, render
from pipeline.emulator.fault_injector import FaultInjector
from pipeline.emulator.older_signature import OLDER_SIGNATURE
from pipeline.emulator.signature import ACS3, Verifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pipeline.emulator.account_state import Journal
    from pipeline.emulator.action import Action, Item, Query
    from pipeline.emulator.draft import Delivery, FaultHit
    from pipeline.emulator.fault_injector import Fault
    from pipeline.emulator.signature import Key, Request

API_VERSION = "2017-11-10"
MAX_DIGITS = 9  # of a page number or size
RECORDED_ANSWERS = 200_000


class Response(NamedTuple):
    """A response to send, and how to send it."""

    status: int
    headers: dict[str, str]
    body: bytes
    delivery: Delivery = "whole"
    pieces: int = 1
    duration_ms: int = 0


class Answer:
    """The record of one answer, and of the ids that existed when it was made."""

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.served_at = datetime.now(UTC)
        self.key_id = ""  # empty if the signature was not valid
        self.action = ""
        self.page_number: int | None = None
        self.status = 200
        self.code = ""  # of an error
        self.faults: tuple[str, ...] = ()  # the names of the faults that hit
        self._journal: Journal | None = None
        self._version = 0

    def ids(self) -> frozenset[str]:
        """Return the ids that existed when this answer was made, whatever its body says."""
        return self._journal.ids_at(self._version) if self._journal else frozenset()

    def record_state(self, state: AccountState) -> None:
        """Record the current version of the account."""
        self._journal, self._version = state.journal, state.journal.version

    def __repr__(self) -> str:
        return f"<{self.action} page {self.page_number} for {self.key_id!r}: {self.status} {self.code}>"


class RateLimiter:
    """Limits the requests a second of each key."""

    def __init__(self, qps: float) -> None:
        self._burst = max(1, int(qps))
        self._window_s = self._burst / qps
        self._accepted: dict[str, deque[float]] = {}

    def check(self, key_id: str, now_s: float) -> None:
        """Count a request.

        Raises:
            ApiError: Throttling.User, the key is over its rate.
        """
        accepted = self._accepted.setdefault(key_id, deque(maxlen=self._burst))
        if len(accepted) == self._burst and now_s - accepted[0] < self._window_s:
            raise ApiError("Throttling.User")
        accepted.append(now_s)


class Service:
    """Answers requests for the accounts of its keys, as they are on `day`.

    `clock` is the server's clock, in seconds since 1970: `Date`, and the creation time of inserted items.
    """

    def __init__(
        self,
        keys: Mapping[str, Key],
        *,
        day: int = 0,
        qps: float | None = None,
        refuse_large_pages: bool = False,
        older_signatures: bool = False,
        seed: int = 0,
        faults: Iterable[Fault | str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.day = day
        self._clock = clock
        self.fault_injector = FaultInjector(faults)
        self.calls = 0
        self.answers: dict[str, Answer] = {}  # by request id, in order
        self._keys = keys
        self._verifier = Verifier(keys, [ACS3, OLDER_SIGNATURE] if older_signatures else [ACS3])
        self._rate_limiter = RateLimiter(qps) if qps else None
        self._refuse_large_pages = refuse_large_pages
        self._seed = seed
        self._states: dict[tuple[str, str], tuple[int, AccountState]] = {}  # (key id, action): (day, state)
        self._new_items = 0

    def prepare(self) -> None:
        """Build the states of all accounts now, not at the first request."""
        for key_id in self._keys:
            for action in ACTIONS.values():
                self.state(key_id, action)

    def state(self, key_id: str, action: Action) -> AccountState:
        """Return what the action lists for this key on the current day; the edits of other days stay."""
        day, state = self._states.get((key_id, action.name), (None, None))
        if state is None or day != self.day:
            items = action.list_items(self._keys[key_id].account, self.day)
            state = AccountState(action, items, state)
            self._states[key_id, action.name] = (self.day, state)
        return state

    def answer(self, request: Request) -> Response:
        """Answer one request."""
        self.calls += 1
        answer = Answer(self._new_request_id())
        try:
            response = self._respond(request, answer)
        except ApiError as error:
            answer.code = error.code
            body = error.body(answer.request_id, request.headers.get("host", ""))
            response = Response(error.status, {"Content-Type": JSON, **error.headers}, body)
        answer.status = response.status
        response.headers["x-acs-request-id"] = answer.request_id
        response.headers.setdefault("Date", formatdate(self._clock(), usegmt=True))
        self.answers[answer.request_id] = answer
        if len(self.answers) > RECORDED_ANSWERS:
            del self.answers[next(iter(self.answers))]
        return response

    def _respond(self, request: Request, answer: Answer) -> Response:
        parameters = {**request.form, **request.query}
        action = _find_action(request, parameters)
        answer.action = action.name
        answer.key_id = self._verifier.verify(request, answer.served_at)
        state = self.state(answer.key_id, action)
        answer.record_state(state)
        if self._rate_limiter:
            self._rate_limiter.check(answer.key_id, answer.served_at.timestamp())
        if not self._keys[answer.key_id].permits(action.name, self.day):
            raise ApiError("NoPermission")
        answer.page_number = number = _read_integer(parameters, "PageNumber", 1)
        size = self._read_page_size(parameters, action)
        query = action.read_query(parameters)

        if self.fault_injector.faults:
            hits = self.fault_injector.select(
                answer.key_id, action.name, number, lambda at: self._new_item(action, answer.key_id, at)
            )
            if hits:
                draft = DraftResponse(state, query, number, size, answer.request_id, self._clock())
                return _faulty_response(request, answer, draft, hits)
        return _correct_response(request, answer, state, query, size)

    def _read_page_size(self, parameters: Mapping[str, str], action: Action) -> int:
        size = _read_integer(parameters, "PageSize", action.default_page_size)
        if size > action.largest_page_size and self._refuse_large_pages:
            raise ApiError("InvalidParameter.PageSize")
        return min(size, action.largest_page_size)

    def _new_item(self, action: Action, key_id: str, at: float) -> Item:
        self._new_items += 1
        created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
        return action.new_item(self._keys[key_id].account, self._new_items, self.day) | {action.created_field: created}

    def _new_request_id(self) -> str:
        seeded = hashlib.blake2b(f"{self._seed}/{self.calls}".encode(), digest_size=16).digest()
        return str(uuid.UUID(bytes=seeded, version=4)).upper()


def accepts_gzip(request: Request) -> bool:
    """Test whether the client accepts gzip."""
    for coding in request.headers.get("accept-encoding", "").lower().split(","):
        name, _, weight = coding.replace(" ", "").partition(";q=")
        if name == "gzip":
            return weight.strip("0.") != "" or not weight
    return False


def _correct_response(request: Request, answer: Answer, state: AccountState, query: Query, size: int) -> Response:
    page = state.page(query, answer.page_number or 1, size)
    if accepts_gzip(request):
        headers = {"Content-Type": JSON, "Content-Encoding": "gzip"}
        return Response(200, headers, page.render_gzip(answer.request_id))
    return Response(200, {"Content-Type": JSON}, page.render(answer.request_id))


def _faulty_response(request: Request, answer: Answer, draft: DraftResponse, hits: Sequence[FaultHit]) -> Response:
    answer.faults = tuple(hit.name for hit in hits)
    try:
        render(draft, hits)
    finally:
        answer.record_state(draft.state)  # after the edits
    headers = {"Content-Type": draft.content_type, **draft.headers}
    body = draft.raw
    if draft.encoding is not None:
        headers["Content-Encoding"] = draft.encoding
    elif accepts_gzip(request):
        headers["Content-Encoding"] = "gzip"
        body = gzip.compress(body, 1)
    return Response(draft.status, headers, body, draft.delivery, draft.pieces, draft.duration_ms)


def _find_action(request: Request, parameters: Mapping[str, str]) -> Action:
    if request.path != "/":
        raise ApiError("InvalidAction.NotFound")
    if request.method not in ("GET", "POST"):
        raise ApiError("UnsupportedHTTPMethod")
    name = request.headers.get("x-acs-action") or parameters.get("Action")
    version = request.headers.get("x-acs-version") or parameters.get("Version")
    if not name:
        raise ApiError("MissingParameter", "Action")
    if not version:
        raise ApiError("MissingParameter", "Version")
    if name not in ACTIONS:
        raise ApiError("InvalidAction.NotFound")
    if version != API_VERSION:
        raise ApiError("InvalidVersion")
    return ACTIONS[name]


def _read_integer(parameters: Mapping[str, str], name: str, default: int) -> int:
    text = parameters.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS and int(text)):
        raise ApiError(f"InvalidParameter.{name}")
    return int(text)
