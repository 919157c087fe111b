"""The service's address: endpoint to URL, and the proxy for it."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

from pipeline.errors import BadSetting
from pipeline.redaction import redact_userinfo

DEFAULT_ENDPOINT: Final = "ens.aliyuncs.com"


def endpoint_url(endpoint: str, *, allow_plain_http: bool = False) -> str:
    """The URL of `endpoint`, without a path.

    A host name gets https. Plain http is allowed to this machine, or with `allow_plain_http`.

    Raises:
        BadSetting: `endpoint` is not a host name or http(s) URL, or plain http to another machine.
    """
    try:
        url = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
        host, port = url.hostname or "", url.port
    except ValueError:
        url, host, port = urlsplit(""), "", None
    if "@" in url.netloc:
        raise BadSetting(
            f"endpoint {redact_userinfo(endpoint)!r} contains a user or a password: "
            "give the host alone, calls are signed"
        )
    is_host = re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9a-f:.]+", host) is not None
    if url.scheme not in {"http", "https"} or not is_host or url.path.strip("/") or url.query:
        raise BadSetting(
            f"endpoint {redact_userinfo(endpoint)!r} is not a host name or an http(s) URL: "
            f"try {DEFAULT_ENDPOINT} or http://127.0.0.1:8017"
        )
    if url.scheme == "http" and not (allow_plain_http or is_loopback(host)):
        raise BadSetting(
            f"endpoint {endpoint!r} would send signed calls in the clear: use https://{host} (or --allow-plain-http)"
        )
    netloc = f"[{host}]" if ":" in host else host
    return f"{url.scheme}://{netloc}" + (f":{port}" if port else "")


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost" or host.endswith(".localhost")


def proxy_for(url: str) -> str | None:
    """The proxy for `url` from HTTPS_PROXY, HTTP_PROXY and NO_PROXY; None: connect directly.

    Nothing else of the environment is used: a signed call must not carry a password from ~/.netrc.

    Raises:
        BadSetting: the proxy is neither http nor https.
    """
    from urllib.request import getproxies, proxy_bypass

    target = urlsplit(url)
    host = target.hostname or ""
    proxy = getproxies().get(target.scheme)
    if not proxy or is_loopback(host) or proxy_bypass(host):  # no proxy reaches this machine's own loopback
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    kind = proxy.partition("://")[0]
    if kind not in {"http", "https"}:
        raise BadSetting(
            f"the environment names a proxy of kind {kind!r} for {target.scheme}://; only http and https are "
            f"supported: set NO_PROXY={host} to connect directly"
        )
    return proxy
