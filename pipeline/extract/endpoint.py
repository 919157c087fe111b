"""The service's address: endpoint to URL."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from pipeline.errors import BadSetting
from pipeline.network import is_loopback
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
