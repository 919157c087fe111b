"""What a corporate network sets for every program: the proxy, and the certificate authorities.

    HTTPS_PROXY HTTP_PROXY ALL_PROXY NO_PROXY            ─→  proxy_for(url)
    SSL_CERT_FILE REQUESTS_CA_BUNDLE CURL_CA_BUNDLE      ─→  tls_context()

The calls to the service and those to a credentials service use both.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import ssl
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pipeline.errors import BadSetting
from pipeline.redaction import redact_userinfo

_BUNDLES: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def tls_context() -> ssl.SSLContext:
    """Trust the system's certificate authorities, or SSL_CERT_FILE's instead, and those of the two other bundles.

    Raises:
        BadSetting: one of the variables names a file or folder that cannot be used.
    """
    context = ssl.create_default_context()
    for name in _BUNDLES:
        path = os.environ.get(name)
        if not path:
            continue
        try:
            context.load_verify_locations(**{"capath" if Path(path).is_dir() else "cafile": path})
        except OSError as error:  # an SSLError is one
            problem = "holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
            raise BadSetting(f"{name} names {path!r}: {problem}; name a file of certificates in PEM format") from error
    return context


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost" or host.endswith(".localhost")


def proxy_for(url: str) -> str | None:
    """The proxy for `url` from HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY; None: connect directly.

    Nothing else of the environment is used: a signed call must not carry a password from ~/.netrc.

    Raises:
        BadSetting: the proxy is neither http nor https, or its address cannot be used.
    """
    from urllib.request import getproxies, proxy_bypass

    target = urlsplit(url)
    host = target.hostname or ""
    proxies = getproxies()
    proxy = proxies.get(target.scheme) or proxies.get("all")
    if not proxy or is_loopback(host) or proxy_bypass(host):  # no proxy reaches this machine's own loopback
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    kind = proxy.partition("://")[0]
    variable = f"{target.scheme.upper()}_PROXY"
    if kind not in {"http", "https"}:
        raise BadSetting(
            f"the environment names a proxy of kind {kind!r} for {target.scheme}://; only http and https are "
            f"supported: set {variable} to one of them, or NO_PROXY={host} to connect directly"
        )
    if problem := _problem(proxy):
        raise BadSetting(f"the proxy of the environment for {target.scheme}:// (ALL_PROXY or {variable}) {problem}")
    return proxy


def _problem(proxy: str) -> str | None:
    """Return what is wrong with the address of a proxy, without a word of it; None: nothing."""
    address = proxy.partition("://")[2]
    if "@" in address and "@" not in re.split("[/?#]", address)[0]:
        return (
            "has a user or password with a raw /, ? or #, which must be percent-encoded there: / is %2F, ? is %3F, "
            "# is %23; and so must @ (%40), : (%3A) and % (%25)"
        )
    try:
        parts = urlsplit(proxy)
        is_address = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    return None if is_address else "is not an address: http://HOST:PORT, or http://USER:PASSWORD@HOST:PORT, is expected"


def redirect(status: int, location: str) -> str | None:
    """Spell a redirect, without what may be secret in its target. Returns: None if it is none."""
    if not (300 <= status < 400 and location):
        return None
    target = redact_userinfo(location.partition("?")[0].partition("#")[0])
    return f"HTTP status {status}, a redirect to {target}, which is not followed"
