"""Call the API: one signed POST, retried where that can help.

    EnsApi.call(account, action, parameters)
       │   wait for the rate limit ─→ sign ─→ POST ─→ classify ─┬─ usable: the attempt, with the body's bytes
       │        ▲                                               ├─ retry: back off, sign again
       │        └───────────────────────────────────────────────┤
       │                                                        └─ stop: Refused, StillThrottled, …
       └─ on_attempt(Attempt): every attempt, successful or not

This is the only module that speaks HTTP. The vendor's library signs and finds
the credentials. The transport is one aiohttp session, twice as fast as the
vendor's own client. A nonce may be used once, so each attempt is signed again
and no HTTP layer retries by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import math
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote, urlencode, urlsplit

import msgspec
from yarl import URL

from pipeline.credentials import quiet_the_vendor
from pipeline.errors import BadSetting, classify
from pipeline.extract.attempt import Attempt, AttemptFailed, Clock, may_be_listing, utc_now
from pipeline.extract.body import ACCEPTED_ENCODINGS, DEFAULT_MAX_ANSWER_MIB, START_BYTES, Body, UnusableBody
from pipeline.extract.call_error import CONNECT_SECONDS, call_error, failure, one_line
from pipeline.extract.endpoint import DEFAULT_ENDPOINT, endpoint_url
from pipeline.extract.rate_limit import DEFAULT_RATE, RateLimiter
from pipeline.extract.retry import DEFAULT_RETRY, RetryPolicy, ThrottledAccounts, with_retries
from pipeline.extract.signing import redact_key, signed_headers
from pipeline.known_secrets import known_secrets
from pipeline.log import about, logger
from pipeline.network import proxy_for, redirect, tls_context
from pipeline.redaction import redact, redact_bytes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    import aiohttp

    from pipeline.credentials import Account, Key
    from pipeline.errors import Outcome
    from pipeline.resources.resource import Action


DEFAULT_WORKERS: Final = 8
"""As fast as 16 at the default rate up to a latency of 0.4 s, with less load on the service (docs/benchmark.md)."""

_log = logger(__name__)

_SHORT_BODY: Final = 1_000
"""Bytes. A refusal is shorter or has no list of items; a page that holds items is longer."""


class _ErrorBody(msgspec.Struct):
    Code: Any = None
    Message: Any = None
    RequestId: Any = None


class EnsApi:
    """Signed calls to one endpoint for any number of accounts: an async context manager."""

    def __init__(
        self,
        endpoint: str = DEFAULT_ENDPOINT,
        *,
        allow_plain_http: bool = False,
        workers: int = DEFAULT_WORKERS,
        rate: float | None = DEFAULT_RATE,
        attempt_seconds: float = 30.0,
        max_answer_mib: float = DEFAULT_MAX_ANSWER_MIB,
        retry: RetryPolicy = DEFAULT_RETRY,
    ) -> None:
        """At most `workers` calls at once and `rate` calls a second over all accounts.

        `attempt_seconds` is the deadline of one attempt, unpacking included. `max_answer_mib` is the limit for the
        body of one answer, as received and unpacked.

        Raises:
            BadSetting: the endpoint, the workers, the rate or the limit make no sense.
        """
        if workers < 1:
            raise BadSetting(f"workers must be 1 or more, not {workers}")
        if rate is not None and not (math.isfinite(rate) and rate >= 0):
            raise BadSetting(f"rate must be a number of calls a second, or 0 for no limit, not {rate}")
        if not (math.isfinite(max_answer_mib) and max_answer_mib > 0):
            raise BadSetting(f"max_answer_mib must be a number of MiB above 0, not {max_answer_mib}")
        self.url = endpoint_url(endpoint, allow_plain_http=allow_plain_http)
        self._rate_limiter = RateLimiter(rate)
        self._workers = asyncio.Semaphore(workers)
        self._attempt_seconds = attempt_seconds
        self._max_answer_bytes = int(max_answer_mib * (1 << 20))
        self._large_body = asyncio.Lock()
        self._retry = retry
        self._throttled = ThrottledAccounts()
        self._refreshing = asyncio.Lock()
        self._host = urlsplit(self.url).netloc
        self._session: aiohttp.ClientSession | None = None
        self._clock = Clock()
        self._secrets: frozenset[str] = frozenset()

    async def __aenter__(self) -> Self:
        # 0.3 s: imported here, so that neither the first call nor a command without a network pays for it
        import aiohttp
        import alibabacloud_tea_openapi.utils  # noqa: F401

        quiet_the_vendor()
        self._secrets = known_secrets()
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),  # `_send` has the deadline
            auto_decompress=False,
            headers={"Accept-Encoding": ACCEPTED_ENCODINGS},
            connector=aiohttp.TCPConnector(  # the semaphore is the limit
                limit=0, ssl=tls_context() if self.url.startswith("https:") else True
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            proxy=proxy_for(self.url),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def call(
        self,
        account: Account,
        action: Action,
        parameters: Mapping[str, str],
        on_attempt: Callable[[Attempt], None],
    ) -> Attempt:
        """Call an action until the response is usable; pass every attempt to `on_attempt`.

        Returns:
            The attempt with status 200. Its body is not examined further here.

        Raises:
            Refused, ClockIsWrong: the service will refuse again.
            Unreachable, StillThrottled: no further attempt is allowed.
        """

        def attempt(waited_seconds: float) -> Awaitable[Attempt]:
            return self._attempt(account, action, parameters, waited_seconds, on_attempt)

        try:
            return await with_retries(attempt, account.label, self._retry, self._throttled)
        except AttemptFailed as failed:
            raise call_error(
                failed,
                account=account.label,
                action=action,
                url=self.url,
                throttled_for=self._throttled.seconds(account.label),
                policy=self._retry,
            ) from None

    async def _attempt(
        self,
        account: Account,
        action: Action,
        parameters: Mapping[str, str],
        waited_seconds: float,
        on_attempt: Callable[[Attempt], None],
    ) -> Attempt:
        """Send once, and act on the outcome: rate limit, throttling, credentials.

        Raises:
            AttemptFailed: the response is not usable.
        """
        async with self._workers:
            await self._rate_limiter.acquire()
            sent_at = time.monotonic()
            key = account.key or account.resolve()
            attempt = await self._send(key, action, parameters, waited_seconds)
        on_attempt(attempt)
        outcome = classify(attempt.status, attempt.error_code)
        _log_attempt(attempt, outcome)
        if outcome == "usable":
            self._throttled.end(account.label)
            return attempt
        if outcome == "throttled":
            self._rate_limiter.on_throttled(sent_at)
            self._throttled.begin(account.label)
            _log.debug("throttled: at most %.2f calls a second from here on", self._rate_limiter.rate or 0)
        if outcome == "expired":
            async with self._refreshing:
                if account.key is key:  # otherwise another call has refreshed it meanwhile
                    await asyncio.to_thread(account.resolve)
        raise AttemptFailed(outcome, attempt)

    async def _send(self, key: Key, action: Action, parameters: Mapping[str, str], waited_seconds: float) -> Attempt:
        import aiohttp

        assert self._session is not None  # noqa: S101  (entered)
        url = URL(f"{self.url}/?{urlencode(parameters, quote_via=quote, safe='~')}", encoded=True)
        headers = signed_headers(self._host, key, action, parameters, utc_now())  # the clock, which may have been set
        secrets = self._secrets | {headers["Authorization"].rpartition("=")[2]}  # with its signature a call is repeated
        body = Body(self._max_answer_bytes, self._large_body)
        sent_at = self._clock.now()
        try:
            async with (
                asyncio.timeout(self._attempt_seconds),
                self._session.post(url, headers=headers, allow_redirects=False) as response,
            ):
                content = redact_key(key, await body.read(response))
        except (aiohttp.ClientError, UnusableBody, TimeoutError, OSError) as error:
            code, reason = failure(error, body, self._attempt_seconds)
            message = redact_key(key, redact(_text(reason), secrets).encode()).decode()
            start = redact_bytes(redact_key(key, body.start), secrets) or None
            return Attempt(sent_at, self._clock.now(), waited_seconds, None, None, start, code, message)
        return _received(response, content, action.items[0], sent_at, self._clock.now(), waited_seconds, secrets)


def _server_time(date: str) -> dt.datetime | None:
    """The instant of a `Date` header in UTC, without a zone; None for what no clock shows."""
    try:
        at = parsedate_to_datetime(date)
        at = at.replace(tzinfo=at.tzinfo or dt.UTC).astimezone(dt.UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None
    return at if 2000 <= at.year < 2200 else None


def _received(
    response: aiohttp.ClientResponse,
    body: bytes,
    list_name: str,
    sent_at: dt.datetime,
    received_at: dt.datetime,
    waited_seconds: float,
    secrets: frozenset[str],
) -> Attempt:
    """The attempt for a response: its request id, and the error code and message unless it is a success."""
    status, server_at = response.status, _server_time(response.headers.get("Date", ""))
    is_listing = may_be_listing(status, body, list_name)
    refusal = _ErrorBody() if is_listing and len(body) >= _SHORT_BODY else _error_body(body)
    if not is_listing:
        body = redact_bytes(body[:START_BYTES], secrets)  # a hostile one takes a second a MiB
    raw_id = response.headers.get("x-acs-request-id") or refusal.RequestId
    request_id = one_line(redact(_text(str(raw_id)[:START_BYTES]), secrets)) if raw_id else None
    if status == 200 and (not isinstance(refusal.Code, str) or classify(200, refusal.Code) == "usable"):
        return Attempt(
            sent_at, received_at, waited_seconds, 200, request_id, body, None, None, None, server_at, list_name
        )
    code = (
        one_line(redact(_text(str(refusal.Code)[:START_BYTES]), secrets))
        if refusal.Code is not None
        else f"HTTP{status}"
    )
    location = response.headers.get("Location", "")
    message = refusal.Message or redirect(status, location) or f"HTTP status {status}, and the body is not an ENS error"
    text = one_line(redact(_text(str(message)[:START_BYTES]), secrets))
    retry_after = _retry_after_seconds(response.headers.get("x-acs-retry-after", ""))
    return Attempt(sent_at, received_at, waited_seconds, status, request_id, body, code, text, retry_after, server_at)


def _error_body(body: bytes) -> _ErrorBody:
    try:
        return msgspec.json.decode(body, type=_ErrorBody)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _ErrorBody()


def _log_attempt(attempt: Attempt, outcome: Outcome) -> None:
    seconds = (attempt.received_at_utc - attempt.sent_at_utc).total_seconds()
    with about(call=attempt.request_id) if attempt.request_id else contextlib.nullcontext():
        if attempt.body is not None and attempt.status == 200:
            _log.info("200, %d bytes, in %.3f s", len(attempt.body), seconds)
        else:
            _log.info("%s, %s: %r, in %.3f s", outcome, attempt.error_code, (attempt.error or "")[:300], seconds)


def _text(value: str) -> str:
    """`value` with `?` for what UTF-8 cannot encode, such as raw bytes of a header."""
    return value.encode("utf-8", "replace").decode()


def _retry_after_seconds(milliseconds: str) -> float | None:
    """The value of `x-acs-retry-after` in seconds; of an absurdly long number the first digits are long enough."""
    is_number = milliseconds.isascii() and milliseconds.isdigit()
    return int(milliseconds[:15]) / 1000 if is_number else None
