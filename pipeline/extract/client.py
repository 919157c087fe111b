"""One signed call: bytes out; errors classified; retried when that can help.

    Account ── credentials, by the vendor's chain, resolved before the first call
       │
    EnsApi.call(account, parameters)
       │   wait for the pace ─→ sign ─→ POST ─→ classify ─┬─ usable: the body's bytes
       │        ▲                                         ├─ try again: back off, sign anew
       │        └─────────────────────────────────────────┘
       │                                                  └─ stop: Refused, ClockIsWrong, Unreachable, StillThrottled
       └─ on_try(Try): every try, as it went, whatever became of it

Every call has an end: six tries without an answer; twelve that are throttled; and an account that is told
nothing but to slow down for a minute is given up (a quota by the minute is outlived).

The only module that knows HTTP. The signature and the credentials are the
vendor's; the transport is one aiohttp session, twice as fast as the vendor's
own calls. A nonce may be used once, so signing is part of what is retried and
no HTTP layer retries by itself.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import hashlib
import logging
import math
import secrets
import time
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote, urlencode, urlsplit

import msgspec
import stamina
from yarl import URL

from pipeline.credentials import quiet_the_vendor
from pipeline.errors import (
    BadSetting,
    ClockIsWrong,
    EnsImagesError,
    Refused,
    StillThrottled,
    Unreachable,
    Verdict,
    classify,
)
from pipeline.extract.attempt import Attempt, TryAgain, utc_now
from pipeline.extract.endpoint import DEFAULT_ENDPOINT, endpoint_url, proxy_for
from pipeline.extract.rate_limit import DEFAULT_RATE, RateLimiter
from pipeline.log import about, logger

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Mapping

    import aiohttp

    from pipeline.credentials import Account, Key


ACTION: Final = "DescribeSelfImages"
VERSION: Final = "2017-11-10"
DEFAULT_WORKERS: Final = 8
"""As fast as 16 at the default pace, however far away up to 0.4 s, and easy on the service (docs/benchmark.md)."""
THROTTLED_SECONDS: Final = 60.0
"""So long may an account be throttled without one answer: a quota by the minute is outlived."""

_SIGN_TYPE: Final = "ACS3-HMAC-SHA256"
_EMPTY_SHA256: Final = hashlib.sha256(b"").hexdigest()
_TRIES_WITHOUT_AN_ANSWER: Final = 6
_TRIES_THROTTLED: Final = 12
_NO_TRUST: Final = "ClientConnectorCertificateError"
_SHORTEST_SECRET: Final = 16
"""The vendor's have thirty characters. What is shorter (the local endpoint's) may be a word of some image's name."""

logging.getLogger("stamina").addHandler(logging.NullHandler())  # else each retry is a line on stderr

_log = logger(__name__)

_SHORT_BODY: Final = 1_000
"""Bytes: a refusal is shorter, under a status of 200 too, or has no word of images; no page with images in it is."""


class _ErrorBody(msgspec.Struct):
    Code: Any = None
    Message: Any = None
    RequestId: Any = None


def _error_body(body: bytes) -> _ErrorBody:
    try:
        return msgspec.json.decode(body, type=_ErrorBody)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _ErrorBody()


class EnsApi:
    """Signed calls to one endpoint, at one pace, for any number of accounts: an async context manager."""

    def __init__(
        self,
        endpoint: str = DEFAULT_ENDPOINT,
        *,
        allow_plain_http: bool = False,
        workers: int = DEFAULT_WORKERS,
        rate: float | None = DEFAULT_RATE,
        try_seconds: float = 30.0,
        back_off_seconds: float = 0.25,
        throttled_seconds: float = THROTTLED_SECONDS,
    ) -> None:
        """At most `workers` calls at once and `rate` a second over all accounts.

        A try may take `try_seconds`. The first wait before the next is about `back_off_seconds`; each is
        twice as long as the one before, up to sixty times the first. An account that is throttled for
        `throttled_seconds` without a usable answer to any of its calls is given up.
        """
        if workers < 1:
            raise BadSetting(f"workers must be 1 or more, not {workers}")
        if rate is not None and not (math.isfinite(rate) and rate >= 0):
            raise BadSetting(f"rate must be a number of calls a second, or 0 for no limit, not {rate}")
        self.url = endpoint_url(endpoint, allow_plain_http=allow_plain_http)
        self.pace = RateLimiter(rate)
        self._workers = asyncio.Semaphore(workers)
        self._try_seconds = try_seconds
        self._back_off_seconds = back_off_seconds
        self._throttled_seconds = throttled_seconds
        self._throttled_since: dict[str, float] = {}
        """Account → when it was throttled first after its last usable answer."""
        self._refreshing = asyncio.Lock()
        self._host = urlsplit(self.url).netloc
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # 0.3 s: before the first call, not within it, and not before the catalogue is begun
        import aiohttp
        import alibabacloud_tea_openapi.utils  # noqa: F401

        quiet_the_vendor()
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._try_seconds, sock_connect=10),
            connector=aiohttp.TCPConnector(limit=0),  # the workers are the limit
            cookie_jar=aiohttp.DummyCookieJar(),
            proxy=proxy_for(self.url),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def call(self, account: Account, parameters: Mapping[str, str], on_try: Callable[[Attempt], None]) -> Attempt:
        """Call `DescribeSelfImages` until there is a usable answer; `on_try` is told of every try.

        Returns:
            The try whose answer came with status 200. What its body says is for the caller to judge.

        Raises:
            Refused, ClockIsWrong: the service will refuse again.
            Unreachable, StillThrottled: every try was used.
        """
        count: collections.Counter[Verdict] = collections.Counter()

        def again(error: Exception) -> bool | float:
            if not isinstance(error, TryAgain) or error.seen.error_code == _NO_TRUST:
                return False
            count[error.what] += 1
            allowed = {"throttled": _TRIES_THROTTLED, "transient": _TRIES_WITHOUT_AN_ANSWER, "nonce": 2, "expired": 2}
            told_to_wait = error.seen.retry_after_seconds or 0.0
            waited = time.monotonic() - self._throttled_since.get(account.label, float("inf"))
            if count[error.what] >= allowed[error.what] or max(0.0, waited) + told_to_wait > self._throttled_seconds:
                return False
            if error.what in {"nonce", "expired"}:
                return 0.0
            return told_to_wait or True

        # Nearly every call is answered at once: what retries them is made for those that are not.
        try:
            return await self._usable_try(account, parameters, 0.0, on_try)
        except TryAgain as signal:
            failed: TryAgain | None = signal
        gave_up_at = time.monotonic()
        first = self._back_off_seconds
        retries = stamina.retry_context(  # no timeout: a call may wait long for its turn before it is even sent
            on=again, attempts=None, timeout=None, wait_initial=first, wait_max=60 * first, wait_jitter=2 * first
        )
        try:
            async for attempt in retries:
                with attempt:
                    if failed:
                        said, failed = failed, None
                        raise said
                    waited = time.monotonic() - gave_up_at
                    _log.debug("try %d, after %.3f s: %s", attempt.num, waited, dict(count))
                    try:
                        return await self._usable_try(account, parameters, waited, on_try)
                    finally:
                        gave_up_at = time.monotonic()
        except TryAgain as signal:
            raise self._final(signal.what, account, signal.seen) from None
        raise AssertionError  # the loop above returns or raises

    async def _usable_try(
        self, account: Account, parameters: Mapping[str, str], waited: float, on_try: Callable[[Attempt], None]
    ) -> Attempt:
        async with self._workers:
            await self.pace.turn()
            sent = time.monotonic()
            key = account.key or account.resolve()
            seen = await self._try(key, parameters, waited)
        on_try(seen)
        what = classify(seen.status, seen.error_code)
        _log_attempt(seen, what)
        if what == "usable":
            self._throttled_since.pop(account.label, None)
            return seen
        if what in {"refused", "clock"}:
            raise self._final(what, account, seen)
        if what == "throttled":
            self.pace.throttled(sent)
            self._throttled_since.setdefault(account.label, time.monotonic())
            _log.debug("throttled: at most %.2f calls a second from here on", self.pace.rate or 0)
        if what == "expired":
            async with self._refreshing:
                if account.key is key:  # else another call has fetched the new one meanwhile
                    await asyncio.to_thread(account.resolve)
        raise TryAgain(what, seen)

    async def _try(self, key: Key, parameters: Mapping[str, str], waited: float) -> Attempt:
        import aiohttp

        assert self._session is not None  # noqa: S101  (entered)
        url = URL(f"{self.url}/?{urlencode(parameters, quote_via=quote, safe='~')}", encoded=True)
        sent_at = utc_now()
        headers = self._signed_headers(key, parameters, sent_at)
        try:
            async with self._session.post(url, headers=headers, allow_redirects=False) as answer:
                body = _without(key, await answer.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            code = "Timeout" if isinstance(error, TimeoutError) else type(error).__name__
            said = _without(key, _text(str(error) or code).encode()).decode()
            return Attempt(sent_at, utc_now(), waited, None, None, None, code, said)
        received_at = utc_now()
        is_page = answer.status == 200 and len(body) >= _SHORT_BODY and b'"Images"' in body
        refusal = _ErrorBody() if is_page else _error_body(body)
        said_id = answer.headers.get("x-acs-request-id") or refusal.RequestId
        request_id = _text(str(said_id)) if said_id else None
        if answer.status == 200 and (not isinstance(refusal.Code, str) or classify(200, refusal.Code) == "usable"):
            return Attempt(sent_at, received_at, waited, 200, request_id, body, None, None)
        code = _text(str(refusal.Code)) if refusal.Code is not None else f"HTTP{answer.status}"
        message = str(refusal.Message or f"an answer with HTTP status {answer.status} that is not an ENS error").strip()
        retry_after = _seconds(answer.headers.get("x-acs-retry-after", ""))
        return Attempt(sent_at, received_at, waited, answer.status, request_id, body, code, _text(message), retry_after)

    def _signed_headers(self, key: Key, parameters: Mapping[str, str], at: dt.datetime) -> dict[str, str]:
        from alibabacloud_tea_openapi.utils import Utils
        from darabonba.request import DaraRequest

        headers = {
            "host": self._host,
            "x-acs-action": ACTION,
            "x-acs-version": VERSION,
            "x-acs-date": f"{at.isoformat(timespec='seconds')}Z",
            "x-acs-signature-nonce": secrets.token_hex(16),
            "x-acs-content-sha256": _EMPTY_SHA256,
        }
        if key.token:
            headers["x-acs-security-token"] = key.token
            headers["x-acs-accesskey-id"] = key.id
        request = DaraRequest()
        request.method, request.pathname = "POST", "/"
        request.query, request.headers = dict(parameters), headers
        headers["Authorization"] = Utils.get_authorization(request, _SIGN_TYPE, _EMPTY_SHA256, key.id, key.secret)
        return headers

    def _final(self, what: Verdict, account: Account, seen: Attempt) -> EnsImagesError:
        """The error that ends a call, with what to do."""
        lines = (seen.error or "").strip().splitlines()
        said = f"{seen.error_code}: {lines[0][:300] if lines else 'no message'}"
        if what == "throttled":
            lasted = time.monotonic() - self._throttled_since.get(account.label, time.monotonic())
            wish = seen.retry_after_seconds or 0.0
            how_long = f"for {lasted:,.0f} s without one answer"
            if lasted < self._throttled_seconds:
                asks_for_more = lasted + wish > self._throttled_seconds
                how_long = f"and asks for {wish:,.0f} s of quiet" if asks_for_more else f"{_TRIES_THROTTLED} times over"
            return StillThrottled(
                f"{said} — {self.url} kept throttling account {account.label!r} {how_long}: lower --rate, or try later"
            )
        if seen.error_code == _NO_TRUST:
            return Unreachable(
                f"{said} — {self.url} did not prove who it is, and account {account.label!r} sent it nothing: "
                "a wrong endpoint, or a certificate authority that is not in SSL_CERT_FILE"
            )
        if what == "transient":
            return Unreachable(f"{said} — no usable answer from {self.url} for account {account.label!r}: try later")
        if what == "clock":
            return ClockIsWrong(
                f"{said} — the service refuses this machine's time ({utc_now():%F %T} UTC): set the clock"
            )
        return Refused(
            f"{said} — the service refused ens:{ACTION} for account {account.label!r}: {_advice(seen.error_code)}"
        )


def _log_attempt(seen: Attempt, what: Verdict) -> None:
    seconds = (seen.received_at_utc - seen.sent_at_utc).total_seconds()
    with about(call=seen.request_id) if seen.request_id else contextlib.nullcontext():
        if seen.body is not None and seen.status == 200:
            _log.info("200, %d bytes, in %.3f s", len(seen.body), seconds)
        else:
            _log.info("%s, %s: %r, in %.3f s", what, seen.error_code, (seen.error or "")[:300], seconds)


def _text(said: str) -> str:
    """What a header or a message says as text that can be written: bytes of it that are none are `?`."""
    return said.encode("utf-8", "replace").decode()


def _seconds(milliseconds: str) -> float | None:
    """The wait that is asked for; of a number too long to be one, the first digits, which are long enough."""
    is_number = milliseconds.isascii() and milliseconds.isdigit()
    return int(milliseconds[:15]) / 1000 if is_number else None


def _without(key: Key, said: bytes) -> bytes:
    """What was said with what is secret taken out: a refusal quotes the headers that it was sent."""
    for secret in (key.secret, key.token):
        if secret and len(secret) >= _SHORTEST_SECRET:
            for spelled in (secret, secret.replace("/", "\\/")):  # as JSON may spell it
                said = said.replace(spelled.encode(), b"***")
    return said


def _advice(code: str | None) -> str:
    code = code or ""
    if code in {"NoPermission", "Forbidden"} or code.startswith("Forbidden"):
        return "grant it in RAM (resource *)"
    if code in {"SignatureDoesNotMatch", "IncompleteSignature"}:
        return "the secret does not belong to the key id; put both in again"
    if code == "InvalidAccessKeyId.NotFound":
        return "the key id does not exist, or is disabled"
    if code.startswith("InvalidSecurityToken"):
        return "the security token is no longer good; get new credentials"
    return "see its message"
