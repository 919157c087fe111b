"""Reach an endpoint without a signature."""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from pipeline.errors import Unreachable
from pipeline.extract.endpoint import endpoint_url, proxy_for
from pipeline.extract.event_loop import run_blocking


@dataclass(frozen=True, slots=True)
class Probe:
    """What became of one unsigned request: how long it took, how far this clock is ahead; or what stood in its way."""

    url: str
    seconds: float = 0.0
    ahead_seconds: float | None = None
    error: Unreachable | None = None
    is_tls: bool = False
    """Whether the endpoint was there, and only its TLS could not be trusted."""


def probe(endpoint: str, *, allow_plain_http: bool = False, try_seconds: float = 15.0) -> Probe:
    """Ask an endpoint for nothing, without a signature: any answer will do, and its Date tells the service's time.

    Raises:
        BadSetting: `endpoint` makes no sense.
    """
    import aiohttp

    url = endpoint_url(endpoint, allow_plain_http=allow_plain_http)

    async def ask() -> Probe:
        wait = aiohttp.ClientTimeout(total=try_seconds)
        began = time.monotonic()
        async with (
            aiohttp.ClientSession(timeout=wait, proxy=proxy_for(url)) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            seconds = time.monotonic() - began
            with contextlib.suppress(KeyError, TypeError, ValueError):
                told = parsedate_to_datetime(answer.headers["Date"])
                return Probe(url, seconds, (dt.datetime.now(dt.UTC) - told).total_seconds() - seconds / 2)
            return Probe(url, seconds)

    try:
        return run_blocking(ask)
    except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
        why = Unreachable(
            f"{type(error).__name__}: {error} — {url} did not prove who it is, and was sent nothing: "
            "a wrong endpoint, a wrong clock, or a certificate authority that is not in SSL_CERT_FILE"
        )
        return Probe(url, error=why, is_tls=True)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        said = f"{type(error).__name__}: {str(error) or 'no answer'}"
        return Probe(
            url, error=Unreachable(f"{said} — no answer from {url}: a wrong name, no network, or a proxy in between")
        )
