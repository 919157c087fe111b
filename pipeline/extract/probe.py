"""Probe an endpoint with one unsigned request: is it reachable, is its TLS trusted, what is its time?"""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from pipeline.errors import Unreachable
from pipeline.extract.call_error import proxy_failure
from pipeline.extract.endpoint import endpoint_url
from pipeline.extract.event_loop import run_blocking
from pipeline.known_secrets import known_secrets
from pipeline.network import proxy_for, tls_context
from pipeline.redaction import redact


@dataclass(frozen=True, slots=True)
class Probe:
    """The result of one unsigned request: its latency and the clock difference, or the error."""

    url: str
    seconds: float = 0.0
    clock_ahead_seconds: float | None = None
    """How far this machine's clock is ahead of the service's; None: the response has no usable Date."""
    error: Unreachable | None = None
    is_tls: bool = False
    """Whether `error` is about TLS alone: the endpoint is reachable."""


def probe(endpoint: str, *, allow_plain_http: bool = False, attempt_seconds: float = 15.0) -> Probe:
    """Send one unsigned GET: any response proves that the endpoint is reachable.

    Raises:
        BadSetting: `endpoint` makes no sense.
    """
    import aiohttp

    url = endpoint_url(endpoint, allow_plain_http=allow_plain_http)

    async def get() -> Probe:
        timeout = aiohttp.ClientTimeout(total=attempt_seconds)
        connector = aiohttp.TCPConnector(ssl=tls_context() if url.startswith("https:") else True)
        started = time.monotonic()
        async with (
            aiohttp.ClientSession(timeout=timeout, proxy=proxy_for(url), connector=connector) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            seconds = time.monotonic() - started
            with contextlib.suppress(KeyError, TypeError, ValueError):
                server_time = parsedate_to_datetime(response.headers["Date"])
                return Probe(url, seconds, (dt.datetime.now(dt.UTC) - server_time).total_seconds() - seconds / 2)
            return Probe(url, seconds)

    try:
        return run_blocking(get)
    except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
        untrusted = Unreachable(
            f"{_cause(error)} — {url} has a TLS certificate that is not trusted; nothing was sent: "
            "check the endpoint and the clock, or add its certificate authority to SSL_CERT_FILE"
        )
        return Probe(url, error=untrusted, is_tls=True)
    except aiohttp.ClientHttpProxyError as error:
        cause = redact(": ".join(proxy_failure(error)), known_secrets())
        return Probe(url, error=Unreachable(f"{cause} — no way through the proxy to {url}: check HTTPS_PROXY"))
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return Probe(
            url,
            error=Unreachable(
                f"{_cause(error)} — no answer from {url}: check the host name, the network and the proxy"
            ),
        )


def _cause(error: Exception) -> str:
    return f"{type(error).__name__}: {redact(str(error), known_secrets()) or 'no answer'}"
