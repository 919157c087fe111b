"""What a corporate network sets for every program: the proxy, and the certificate authorities.

    HTTPS_PROXY HTTP_PROXY ALL_PROXY NO_PROXY            ─→  proxy_for(url)
    SSL_CERT_FILE REQUESTS_CA_BUNDLE CURL_CA_BUNDLE      ─→  tls_context()

The calls to the service and those to a credentials service use both.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import ssl
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pipeline.errors import BadSetting

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
        BadSetting: the proxy is neither http nor https.
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
    if kind not in {"http", "https"}:
        raise BadSetting(
            f"the environment names a proxy of kind {kind!r} for {target.scheme}://; only http and https are "
            f"supported: set {target.scheme.upper()}_PROXY to one of them, or NO_PROXY={host} to connect directly"
        )
    return proxy
