"""Retry a call: which failed attempts are repeated, how soon, and when the call is given up.

    throttled                 up to 12 attempts, while the account is throttled for less than 60 s
    no response, 5xx          up to 6 attempts
    no end of it in time      up to 3 attempts: each has taken 30 s
    too large                 one more attempt
    nonce used, key expired   one more attempt, at once, with a new signature
    anything else             no further attempt

Back-off doubles with each attempt and has jitter. A wait that the service asks
for replaces it. A quota by the minute is outlived: the limit is 60 s for an
account without one usable response, not for a call.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import stamina

from pipeline.extract.attempt import AttemptFailed
from pipeline.log import logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pipeline.errors import Outcome
    from pipeline.extract.attempt import Attempt


UNTRUSTED_CERTIFICATE: Final = "ClientConnectorCertificateError"
"""The error code of an attempt that ended because the server's TLS certificate is not trusted."""

PROXY_REFUSES: Final = "ProxyRefuses"
"""The error code of an attempt that ended because the proxy refuses to connect, or wants a login."""

TIMEOUT: Final = "Timeout"
"""The error code of an attempt that was connected and exceeded its deadline."""
_COSTLY: Final = {TIMEOUT: 3, "TooLarge": 2, "NotJSON": 2}
"""Error code → attempts of a call that may end with it: each takes long, or many bytes."""

logging.getLogger("stamina").addHandler(logging.NullHandler())  # without a handler, stamina prints each retry

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How many attempts a call gets, and how long they wait."""

    attempts_throttled: int = 12
    attempts_without_response: int = 6
    back_off_seconds: float = 0.25
    """Mean wait before the second attempt; it doubles with each attempt, up to 60 times the first."""
    throttled_seconds: float = 60.0
    """An account that is throttled for so long without one usable response is given up."""


DEFAULT_RETRY: Final = RetryPolicy()


class ThrottledAccounts:
    """Since when each account has been throttled without a usable response."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def begin(self, account: str) -> None:
        """Record that `account` was throttled."""
        self._since.setdefault(account, time.monotonic())

    def end(self, account: str) -> None:
        """Record a usable response to `account`."""
        self._since.pop(account, None)

    def seconds(self, account: str) -> float:
        """Seconds since `account` was first throttled after its last usable response; 0 if it is not throttled."""
        since = self._since.get(account)
        return 0.0 if since is None else time.monotonic() - since


async def with_retries(
    attempt: Callable[[float], Awaitable[Attempt]], account: str, policy: RetryPolicy, throttled: ThrottledAccounts
) -> Attempt:
    """Await `attempt(waited_seconds)` until it succeeds or `policy` allows no further attempt.

    Raises:
        AttemptFailed: the last attempt.
    """
    counts: Counter[Outcome] = Counter()
    codes: Counter[str | None] = Counter()
    allowed: dict[Outcome, int] = {
        "throttled": policy.attempts_throttled,
        "transient": policy.attempts_without_response,
        "nonce": 2,
        "expired": 2,
    }

    def next_wait(error: Exception) -> bool | float:
        """Returns: False: no further attempt; True: back off; a number: wait so many seconds."""
        if not isinstance(error, AttemptFailed) or error.attempt.error_code in {UNTRUSTED_CERTIFICATE, PROXY_REFUSES}:
            return False
        counts[error.outcome] += 1
        code = error.attempt.error_code
        codes[code] += 1
        if codes[code] >= _COSTLY.get(code or "", math.inf):
            return False
        if counts[error.outcome] >= allowed.get(error.outcome, 0):
            return False
        retry_after = error.attempt.retry_after_seconds or 0.0
        if throttled.seconds(account) + retry_after > policy.throttled_seconds:
            return False
        if error.outcome in {"nonce", "expired"}:
            return 0.0
        return retry_after or True

    # Most calls succeed at once: the retry context is built only for those that do not.
    try:
        return await attempt(0.0)
    except AttemptFailed as error:
        first_failure: AttemptFailed | None = error
    failed_at = time.monotonic()
    first_wait = policy.back_off_seconds
    retries = stamina.retry_context(  # no timeout: a call may wait long for the rate limit before it is even sent
        on=next_wait,
        attempts=None,
        timeout=None,
        wait_initial=first_wait,
        wait_max=60 * first_wait,
        wait_jitter=2 * first_wait,
    )
    async for retry in retries:
        with retry:
            if first_failure:
                failure, first_failure = first_failure, None
                raise failure
            waited_seconds = time.monotonic() - failed_at
            _log.debug("attempt %d, after %.3f s: %s", retry.num, waited_seconds, dict(counts))
            try:
                return await attempt(waited_seconds)
            finally:
                failed_at = time.monotonic()
    raise AssertionError  # the loop returns or raises
