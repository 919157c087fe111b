"""Sign a call with the vendor's library, and remove the key's secrets from what comes back."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from pipeline.credentials import Key
    from pipeline.resources.resource import Action


VERSION: Final = "2017-11-10"

_SIGN_TYPE: Final = "ACS3-HMAC-SHA256"
_EMPTY_SHA256: Final = hashlib.sha256(b"").hexdigest()
_SHORTEST_SECRET: Final = 16
"""The vendor's secrets have thirty characters. A shorter one (the emulator's) may be part of an image's name."""


def signed_headers(
    host: str, key: Key, action: Action, parameters: Mapping[str, str], at_utc: dt.datetime
) -> dict[str, str]:
    """The headers of one POST with an empty body, with a new nonce."""
    from alibabacloud_tea_openapi.utils import Utils
    from darabonba.request import DaraRequest

    headers = {
        "host": host,
        "x-acs-action": action.name,
        "x-acs-version": VERSION,
        "x-acs-date": f"{at_utc.isoformat(timespec='seconds')}Z",
        "x-acs-signature-nonce": secrets.token_hex(16),
        "x-acs-content-sha256": _EMPTY_SHA256,
    }
    if key.token:
        headers["x-acs-security-token"] = key.token
        headers["x-acs-accesskey-id"] = key.id
    request = DaraRequest()
    request.method, request.pathname = "POST", "/"
    request.query, request.headers = dict(parameters), headers
    headers["Authorization"] = Utils.get_authorization(request, _SIGN_TYPE, _EMPTY_SHA256, key.id, key.secret)
    return headers


def redact_key(key: Key, content: bytes) -> bytes:
    """Replace the secret and the token of `key` in `content`: a refusal quotes the headers of its request."""
    for secret in (key.secret, key.token):
        if secret and len(secret) >= _SHORTEST_SECRET:
            for spelling in (secret, secret.replace("/", "\\/")):  # JSON may escape the slash
                content = content.replace(spelling.encode(), b"***")
    return content
