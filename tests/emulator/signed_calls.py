"""Calls to an endpoint, signed by the vendor's own code; and the vendor's client.

call(endpoint, {"PageNumber": "2"})  →  Got(status, headers, body)
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from alibabacloud_ens20171110.client import Client
from alibabacloud_tea_openapi.models import Config
from alibabacloud_tea_openapi.utils import Utils
from darabonba.request import DaraRequest

if TYPE_CHECKING:
    from pipeline.emulator import Endpoint

SECRET = "emulator"


class Got(NamedTuple):
    """One answer: its status, headers and parsed body."""

    status: int
    headers: dict[str, str]
    body: Any


def sign(
    endpoint: Endpoint,
    params: dict[str, str],
    *,
    method: str = "POST",
    form: bytes = b"",
    key: str = "emulator",
    secret: str = SECRET,
    **headers: str | None,
) -> dict[str, str]:
    """The headers of a call, signed by the vendor's own code; a header given as None is left out."""
    sent = {
        "host": endpoint.url.removeprefix("http://"),
        "x-acs-action": "DescribeSelfImages",
        "x-acs-version": "2017-11-10",
        "x-acs-date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "x-acs-signature-nonce": uuid.uuid4().hex,
        "x-acs-content-sha256": hashlib.sha256(form).hexdigest(),
    }
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    signed = {name: value for name, value in (sent | given).items() if value is not None}
    request = DaraRequest()
    request.method, request.pathname, request.query, request.headers = method, "/", params, signed
    payload = hashlib.sha256(form).hexdigest()
    signed["authorization"] = Utils.get_authorization(request, "ACS3-HMAC-SHA256", payload, key, secret)
    if form:
        signed["content-type"] = "application/x-www-form-urlencoded"
    return signed


def send(
    endpoint: Endpoint,
    headers: dict[str, str],
    query: str = "",
    *,
    method: str = "POST",
    body: bytes = b"",
    path: str = "/",
) -> Got:
    """Send a request as it is given."""
    connection = http.client.HTTPConnection(endpoint.url.removeprefix("http://"), timeout=10)
    try:
        connection.putrequest(method, f"{path}?{query}" if query else path, skip_host=True, skip_accept_encoding=True)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        raw = answer.read()
    finally:
        connection.close()
    got = {name.lower(): value for name, value in answer.getheaders()}
    if got.get("content-encoding") == "gzip":
        raw = gzip.decompress(raw)
    return Got(answer.status, got, json.loads(raw))


def call(endpoint: Endpoint, params: dict[str, str] | None = None, *, method: str = "POST", **signing: Any) -> Got:
    """One signed call, parameters in the query."""
    query = params or {}
    return send(endpoint, sign(endpoint, query, method=method, **signing), urlencode(query), method=method)


def images_of(got: Got) -> list[dict[str, Any]]:
    return got.body["Images"]["Image"]


def vendor_client(endpoint: Endpoint, secret: str = SECRET) -> Client:
    return Client(
        Config(
            access_key_id="emulator",
            access_key_secret=secret,
            endpoint=endpoint.url.removeprefix("http://"),
            protocol="HTTP",
            region_id="cn-hangzhou",
        )
    )
