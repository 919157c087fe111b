"""The service's address: host name to URL, proxy."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

from pipeline.errors import BadSetting
from pipeline.text import redact_userinfo

DEFAULT_ENDPOINT: Final = "ens.aliyuncs.com"


def endpoint_url(endpoint: str, *, allow_plain_http: bool = False) -> str:
    """`endpoint` as a URL without a path: a host name gets https, http is for this machine only, or on demand.

    Raises:
        BadSetting: it is no host name and no http(s) URL, or plain http to another machine.
    """
    try:
        url = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
        host, port = url.hostname or "", url.port
    except ValueError:
        url, host, port = urlsplit(""), "", None
    if "@" in url.netloc:
        said = redact_userinfo(endpoint)
        raise BadSetting(f"endpoint {said!r} has a user or a password in it: name the host alone, calls are signed")
    is_a_name = re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9a-f:.]+", host) is not None
    if url.scheme not in {"http", "https"} or not is_a_name or url.path.strip("/") or url.query:
        raise BadSetting(
            f"endpoint {redact_userinfo(endpoint)!r} is not a host name or an http(s) URL: "
            f"try {DEFAULT_ENDPOINT} or http://127.0.0.1:8017"
        )
    if url.scheme == "http" and not (allow_plain_http or is_loopback(host)):
        raise BadSetting(
            f"endpoint {endpoint!r} would send signed calls in the clear: use https://{host} (or --allow-plain-http)"
        )
    shown = f"[{host}]" if ":" in host else host
    return f"{url.scheme}://{shown}" + (f":{port}" if port else "")


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost" or host.endswith(".localhost")


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for `url` (HTTPS_PROXY, HTTP_PROXY, NO_PROXY), asked once and not a call.

    Nothing else of the environment counts: a password in ~/.netrc would be one too many for a signed call.

    Raises:
        BadSetting: it is of a kind that nobody here understands.
    """
    from urllib.request import getproxies, proxy_bypass

    there = urlsplit(url)
    host = there.hostname or ""
    said = getproxies().get(there.scheme)
    if not said or is_loopback(host) or proxy_bypass(host):  # no proxy reaches this machine's own loopback
        return None
    proxy = said if "://" in said else f"http://{said}"
    kind = proxy.partition("://")[0]
    if kind not in {"http", "https"}:
        raise BadSetting(
            f"the environment names a proxy of kind {kind!r} for {there.scheme}://: http and https are understood; "
            f"with NO_PROXY={host} there is none"
        )
    return proxy
