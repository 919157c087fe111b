"""Who signed a request, and rightly: both signatures that clients of this API use.

    Authorization: ACS3-HMAC-SHA256 Credential=…,SignedHeaders=…,Signature=…     today's clients
    ?AccessKeyId=…&SignatureMethod=HMAC-SHA1&Signature=…                         older ones

The order of the checks: the key, its token, the clock, the signature, the nonce. Only a rightly
signed request uses its nonce up.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from pipeline.emulator.refusals import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.emulator.accounts import Account

CLOCK_S = 15 * 60  # how far a client's clock may be off
ACS3 = "ACS3-HMAC-SHA256"
MUST_BE_SIGNED = {"host", "x-acs-date", "x-acs-signature-nonce", "x-acs-content-sha256"}
OLDER_METHODS = {"HMAC-SHA1": "sha1", "HMAC-SHA256": "sha256"}


class Key(NamedTuple):
    """One access key: its secret, the account that it opens, and whether it may list images.

    With a `security_token` (STS) every request must bring it, until `expires_at`, if that is set.
    """

    secret: str
    account: Account
    security_token: str | None = None
    expires_at: datetime | None = None
    is_permitted: bool = True


class Request(NamedTuple):
    """A request as it came: `query` and `form` decoded, header names in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    form: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


class Signed(NamedTuple):
    """What a request says about its signature, whichever kind it is."""

    key_id: str
    token: str | None
    signed_at: str
    nonce: str
    signature: str


class Verifier:
    """Checks requests against the keys; remembers the nonces it has seen."""

    def __init__(self, keys: Mapping[str, Key]) -> None:
        self._keys = keys
        self._nonces: dict[tuple[str, str], float] = {}  # in the order seen

    def key_id(self, request: Request, now: datetime) -> str:
        """The id of the key that signed the request.

        Raises:
            Refused: nobody did, or not rightly.
        """
        if "authorization" in request.headers:
            signed = _acs3_parts(request)
        elif "Signature" in request.query or "Signature" in request.form:
            signed = _older_parts(request)
        else:
            raise Refused("IncompleteSignature", "There is no signature.")
        key = self._keys.get(signed.key_id)
        if key is None:
            raise Refused("InvalidAccessKeyId.NotFound")
        _check_token(signed, key, now)
        _check_clock(signed, now)
        sign = _acs3_signature if "authorization" in request.headers else _older_signature
        expected, string_to_sign = sign(request, key.secret)
        if not hmac.compare_digest(expected.encode(), signed.signature.encode()):
            raise Refused("SignatureDoesNotMatch", f"Server string to sign is: {string_to_sign}")
        self._use(signed, now.timestamp())
        return signed.key_id

    def _use(self, signed: Signed, now_s: float) -> None:
        for old in list(islice(self._nonces, 2)):  # two out for one in: it never grows without end
            if self._nonces[old] < now_s - 2 * CLOCK_S:  # the clock refuses its request from here on
                del self._nonces[old]
        nonce = (signed.key_id, signed.nonce)
        if nonce in self._nonces:
            raise Refused("SignatureNonceUsed")
        self._nonces[nonce] = now_s


def _check_token(signed: Signed, key: Key, now: datetime) -> None:
    if key.security_token is None:
        if signed.token:
            raise Refused("InvalidSecurityToken.Malformed", "This key has none.")
        return
    if not signed.token:
        raise Refused("MissingSecurityToken")
    if signed.token != key.security_token or (key.expires_at and now >= key.expires_at):
        raise Refused("InvalidSecurityToken.Expired")


def _check_clock(signed: Signed, now: datetime) -> None:
    try:
        signed_at = datetime.fromisoformat(signed.signed_at)
    except ValueError:
        raise Refused("InvalidTimeStamp.Format") from None
    if abs((now - signed_at.replace(tzinfo=UTC)).total_seconds()) > CLOCK_S:
        raise Refused("InvalidTimeStamp.Expired")


def _acs3_parts(request: Request) -> Signed:
    scheme, _, rest = request.headers["authorization"].partition(" ")
    if scheme != ACS3:
        raise Refused("IncompleteSignature", f"{scheme} is not {ACS3}.")
    parts = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    missing = {"Credential", "SignedHeaders", "Signature"} - parts.keys()
    if missing:
        raise Refused("IncompleteSignature", f"Authorization lacks {', '.join(sorted(missing))}.")
    names = set(parts["SignedHeaders"].split(";"))
    unsigned = (MUST_BE_SIGNED | {name for name in request.headers if name.startswith("x-acs-")}) - names
    absent = names - request.headers.keys()
    if unsigned or absent:
        raise Refused("IncompleteSignature", f"Not signed or not sent: {', '.join(sorted(unsigned | absent))}.")
    return Signed(
        parts["Credential"],
        request.headers.get("x-acs-security-token"),
        request.headers["x-acs-date"],
        request.headers["x-acs-signature-nonce"],
        parts["Signature"],
    )


def _acs3_signature(request: Request, secret: str) -> tuple[str, str]:
    """The right signature, and the text that was signed."""
    headers = request.headers
    names = request.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0]
    canonical = "\n".join(
        [
            request.method,
            request.path,
            _canonical(request.query),
            *[f"{name}:{headers[name].strip()}" for name in names.split(";")],
            "",
            names,
            hashlib.sha256(request.body).hexdigest(),
        ]
    )
    string_to_sign = f"{ACS3}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    if headers["x-acs-content-sha256"] != hashlib.sha256(request.body).hexdigest():
        return "", f"{string_to_sign} (x-acs-content-sha256 is not the body's)"
    return hmac.new(secret.encode(), string_to_sign.encode(), "sha256").hexdigest(), string_to_sign


def _older_parts(request: Request) -> Signed:
    sent = {**request.form, **request.query}
    needed = ("AccessKeyId", "Timestamp", "SignatureNonce", "SignatureMethod", "SignatureVersion")
    missing = [name for name in needed if not sent.get(name)]
    if missing:
        raise Refused("IncompleteSignature", f"Not sent: {', '.join(missing)}.")
    if sent["SignatureMethod"] not in OLDER_METHODS or sent["SignatureVersion"] != "1.0":
        unknown = f"{sent['SignatureMethod']} {sent['SignatureVersion']}"
        raise Refused("IncompleteSignature", f"{unknown} is not known.")
    return Signed(
        sent["AccessKeyId"],
        sent.get("SecurityToken"),
        sent["Timestamp"],
        sent["SignatureNonce"],
        sent["Signature"],
    )


def _older_signature(request: Request, secret: str) -> tuple[str, str]:
    """The right signature, and the text that was signed."""
    sent = {**request.form, **request.query}
    del sent["Signature"]
    string_to_sign = f"{request.method}&%2F&{quote(_canonical(sent), safe='~')}"
    digest = hmac.new(f"{secret}&".encode(), string_to_sign.encode(), OLDER_METHODS[sent["SignatureMethod"]])
    return base64.b64encode(digest.digest()).decode(), string_to_sign


def _canonical(sent: Mapping[str, str]) -> str:
    return "&".join([f"{quote(name, safe='~')}={quote(sent[name], safe='~')}" for name in sorted(sent)])
