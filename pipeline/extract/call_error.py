"""The error that ends a call: what the service answered, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import ClockIsWrong, EnsImagesError, Refused, StillThrottled, Unreachable
from pipeline.extract.attempt import utc_now
from pipeline.extract.retry import UNTRUSTED_CERTIFICATE
from pipeline.extract.signing import ACTION
from pipeline.text import pluralize

if TYPE_CHECKING:
    from pipeline.extract.attempt import Attempt, AttemptFailed
    from pipeline.extract.retry import RetryPolicy


def call_error(
    failed: AttemptFailed, *, account: str, url: str, throttled_for: float, policy: RetryPolicy
) -> EnsImagesError:
    """The error for the last attempt of a call; `throttled_for` is how many seconds the account has been throttled."""
    attempt = failed.attempt
    lines = (attempt.error or "").strip().splitlines()
    cause = f"{attempt.error_code}: {lines[0][:300] if lines else 'no message'}"
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
    if failed.outcome == "transient":
        return Unreachable(f"{cause} — no usable answer from {url} for account {account!r}: try later")
    if failed.outcome == "clock":
        return ClockIsWrong(f"{cause} — the service refuses this machine's time ({utc_now():%F %T} UTC): set the clock")
    return Refused(f"{cause} — the service refused ens:{ACTION} for account {account!r}: {_advice(attempt.error_code)}")


def _throttling(attempt: Attempt, throttled_for: float, policy: RetryPolicy) -> str:
    """How long or how often the account was throttled, as part of a sentence."""
    if throttled_for >= policy.throttled_seconds:
        return f"for {throttled_for:,.0f} s without one answer"
    retry_after = attempt.retry_after_seconds or 0.0
    if throttled_for + retry_after > policy.throttled_seconds:
        return f"and asks to wait {retry_after:,.0f} s"
    return f"in {pluralize(policy.attempts_throttled, 'attempt')}"


def _advice(error_code: str | None) -> str:
    code = error_code or ""
    if code.startswith("Forbidden") or code == "NoPermission":
        return "grant it in RAM (resource *)"
    if code in {"SignatureDoesNotMatch", "IncompleteSignature"}:
        return "the secret does not belong to the key id; set both again"
    if code == "InvalidAccessKeyId.NotFound":
        return "the key id does not exist, or is disabled"
    if code.startswith("InvalidSecurityToken"):
        return "the security token is no longer valid; get new credentials"
    return "see its message"
