"""Why an attempt failed, and the error that ends a call: what the service answered, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.errors import ClockIsWrong, EnsImagesError, NotPermitted, Refused, StillThrottled, Unreachable, classify
from pipeline.extract.attempt import utc_now
from pipeline.extract.body import UnusableBody
from pipeline.extract.retry import PROXY_REFUSES, TIMEOUT, UNTRUSTED_CERTIFICATE
from pipeline.network import redirect
from pipeline.text import pluralize

if TYPE_CHECKING:
    from aiohttp import ClientHttpProxyError

    from pipeline.extract.attempt import Attempt, AttemptFailed
    from pipeline.extract.body import Body
    from pipeline.extract.retry import RetryPolicy
    from pipeline.resources.resource import Action

CONNECT_SECONDS: Final = 10
_LONGEST_REASON: Final = 1_000
"""Characters: a body may hold a message of many MiB."""


def one_line(text: str) -> str:
    """`text` on one line, cut where it is very long."""
    line = " ".join(text[: 10 * _LONGEST_REASON].split())
    return line if len(line) <= _LONGEST_REASON else f"{line[:_LONGEST_REASON]}…"


def failure(error: Exception, body: Body, attempt_seconds: float) -> tuple[str, str]:
    """The error code and the reason of an attempt that ended without a whole answer."""
    import aiohttp

    text = one_line(str(error))
    has = f"HTTP status {body.status}, but "
    match error:
        case UnusableBody():
            return error.code, has + text if body.status else text
        case aiohttp.ConnectionTimeoutError():
            return "ConnectTimeout", f"no connection within {CONNECT_SECONDS} s"
        case TimeoutError() if body.status is None:
            return TIMEOUT, f"no answer within {attempt_seconds:g} s"
        case TimeoutError():
            return TIMEOUT, f"{has}after {attempt_seconds:g} s only {body.progress} of its body had come"
        case _ if body.status is not None:
            why = f": {text}" if body.announced_bytes is None else ""
            return type(error).__name__, f"{has}the connection ended after {body.progress} of its body{why}"
        case aiohttp.ServerDisconnectedError():
            where = "before an answer came" if isinstance(error.message, str) else "within the headers of an answer"
            return type(error).__name__, f"the connection was closed {where}"
        case aiohttp.ClientHttpProxyError():
            return proxy_failure(error)
        case aiohttp.ClientResponseError():
            text = f"what came is not an HTTP answer: {one_line(error.message)}"
    return type(error).__name__, text or type(error).__name__


def proxy_failure(error: ClientHttpProxyError) -> tuple[str, str]:
    """The error code and the reason of an attempt that the proxy gave no way to the service."""
    location = error.headers.get("Location", "") if error.headers else ""
    answer = redirect(error.status, location) or f"HTTP status {error.status}"
    is_lasting = classify(error.status, None) == "refused"
    return PROXY_REFUSES if is_lasting else type(error).__name__, f"the proxy answered CONNECT with {one_line(answer)}"


def call_error(
    failed: AttemptFailed, *, account: str, action: Action, url: str, throttled_for: float, policy: RetryPolicy
) -> EnsImagesError:
    """The error for the last attempt of a call; `throttled_for` is how many seconds the account has been throttled."""
    attempt = failed.attempt
    cause = f"{attempt.error_code}: {one_line(attempt.error or '') or 'no message'}"
    if failed.outcome == "throttled":
        duration = _throttling(attempt, throttled_for, policy)
        return StillThrottled(
            f"{cause} — {url} kept throttling account {account!r} {duration}: lower --rate, or try later"
        )
    if attempt.error_code == UNTRUSTED_CERTIFICATE:
        return Unreachable(
            f"{cause} — {url} has a TLS certificate that is not trusted; nothing was sent for account {account!r}: "
            "check the endpoint, or add its certificate authority to SSL_CERT_FILE"
        )
    if attempt.error_code == PROXY_REFUSES:
        return Unreachable(
            f"{cause} — no way through the proxy to {url} for account {account!r}: check HTTPS_PROXY, its user and "
            "password, and whether this network wants a login; NO_PROXY connects directly"
        )
    if failed.outcome == "transient":
        return Unreachable(f"{cause} — no usable answer from {url} for account {account!r}: try later")
    if failed.outcome == "clock":
        return ClockIsWrong(f"{cause} — the service refuses this machine's time ({utc_now():%F %T} UTC): set the clock")
    advice = _advice(attempt.error_code)
    kind = NotPermitted if is_not_permitted(attempt.error_code) else Refused
    return kind(f"{cause} — the service refused {action.permission} for account {account!r}: {advice}")


def _throttling(attempt: Attempt, throttled_for: float, policy: RetryPolicy) -> str:
    """How long or how often the account was throttled, as part of a sentence."""
    if throttled_for >= policy.throttled_seconds:
        return f"for {throttled_for:,.0f} s without one answer"
    retry_after = attempt.retry_after_seconds or 0.0
    if throttled_for + retry_after > policy.throttled_seconds:
        return f"and asks to wait {retry_after:,.0f} s"
    return f"in {pluralize(policy.attempts_throttled, 'attempt')}"


def is_not_permitted(error_code: str | None) -> bool:
    """Whether the code says that the account lacks a right."""
    return error_code is not None and (error_code.startswith("Forbidden") or error_code == "NoPermission")


def _advice(error_code: str | None) -> str:
    code = error_code or ""
    if code.startswith("HTTP3"):
        return "check the endpoint, and whether a proxy or a login page of the network stands before it"
    if code == "HTTP407":
        return "check the user and the password of the proxy in HTTP_PROXY"
    if is_not_permitted(code):
        return "grant it in RAM (resource *)"
    if code in {"SignatureDoesNotMatch", "IncompleteSignature"}:
        return "the secret does not belong to the key id; set both again"
    if code == "InvalidAccessKeyId.NotFound":
        return "the key id does not exist, or is disabled"
    if code.startswith("InvalidSecurityToken"):
        return "the security token is no longer valid; get new credentials"
    return "see its message"
