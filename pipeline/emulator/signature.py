"""Verify who signed a request: ACS3-HMAC-SHA256, the signature of today's clients.

    Authorization: ACS3-HMAC-SHA256 Credential=…,SignedHeaders=…,Signature=…   →  key id

The order of the checks: key, security token, clock, signature, nonce. A request with a wrong signature does
not use up its nonce. `older_signature` has the scheme of old clients, which is off by default.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from pipeline.emulator.api_errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping, Sequence

    from pipeline.emulator.accounts import EmulatedAccount

CLOCK_SKEW_S = 15 * 60  # largest difference to a client's clock
ACS3_METHOD = "ACS3-HMAC-SHA256"
REQUIRED_SIGNED_HEADERS = {"host", "x-acs-date", "x-acs-signature-nonce", "x-acs-content-sha256"}


class Key(NamedTuple):
    """An access key: its secret, its account, and which actions it may call.

    With a `security_token` (STS) every request must send it, until `expires_at`, if that is set. `permitted_days` has
    the days on which an action may be called: `{"DescribeInstances": range(7, 400)}`, a right that came late; an action
    that is not named may be called on any day.
    """

    secret: str
    account: EmulatedAccount
    security_token: str | None = None
    expires_at: datetime | None = None
    is_permitted: bool = True
    permitted_days: Mapping[str, Container[int]] = MappingProxyType({})

    def permits(self, action_name: str, day: int) -> bool:
        """Return whether the key may call the action on this day."""
        days = self.permitted_days.get(action_name)
        return self.is_permitted and (days is None or day in days)


class Request(NamedTuple):
    """A received request: `query` and `form` decoded, header names in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    form: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


class SignatureFields(NamedTuple):
    """The signature of a request and the fields needed to verify it, in any scheme."""

    key_id: str
    token: str | None
    signed_at: str
    nonce: str
    signature: str


class SignatureScheme(NamedTuple):
    """One way to sign a request.

    `is_used_by` recognizes it; `read` extracts the fields (raises ApiError if one is missing);
    `sign` returns the expected signature and the string to sign.
    """

    is_used_by: Callable[[Request], bool]
    read: Callable[[Request], SignatureFields]
    sign: Callable[[Request, str], tuple[str, str]]


class Verifier:
    """Verifies requests against the keys; remembers used nonces."""

    def __init__(self, keys: Mapping[str, Key], schemes: Sequence[SignatureScheme]) -> None:
        self._keys = keys
        self._schemes = schemes
        self._nonces: dict[tuple[str, str], float] = {}  # (key id, nonce): time of use in s, oldest first

    def verify(self, request: Request, now: datetime) -> str:
        """Verify the signature of a request.

        Returns:
            The id of the key that signed it.

        Raises:
            ApiError: there is no signature, or it is not valid.
        """
        scheme = self._find_scheme(request)
        fields = scheme.read(request)
        key = self._keys.get(fields.key_id)
        if key is None:
            raise ApiError("InvalidAccessKeyId.NotFound")
        _check_token(fields, key, now)
        _check_clock(fields, now)
        expected, string_to_sign = scheme.sign(request, key.secret)
        if not hmac.compare_digest(expected.encode(), fields.signature.encode()):
            raise ApiError("SignatureDoesNotMatch", f"Server string to sign is: {string_to_sign}")
        self._use_nonce(fields, now.timestamp())
        return fields.key_id

    def _find_scheme(self, request: Request) -> SignatureScheme:
        for scheme in self._schemes:
            if scheme.is_used_by(request):
                return scheme
        if "Signature" in request.query or "Signature" in request.form:
            raise ApiError(
                "IncompleteSignature",
                "The older signature, in a parameter, is off: start the endpoint with --older-signatures.",
            )
        raise ApiError("IncompleteSignature", "There is no signature.")

    def _use_nonce(self, fields: SignatureFields, now_s: float) -> None:
        for oldest in list(islice(self._nonces, 2)):  # delete up to two for each one added: the size stays bounded
            if self._nonces[oldest] < now_s - 2 * CLOCK_SKEW_S:  # the clock check refuses its request from now on
                del self._nonces[oldest]
        nonce = (fields.key_id, fields.nonce)
        if nonce in self._nonces:
            raise ApiError("SignatureNonceUsed")
        self._nonces[nonce] = now_s


def canonical_query(parameters: Mapping[str, str]) -> str:
    """Encode parameters for signing: sorted by name, RFC 3986."""
    return "&".join([f"{quote(name, safe='~')}={quote(parameters[name], safe='~')}" for name in sorted(parameters)])


def _check_token(fields: SignatureFields, key: Key, now: datetime) -> None:
    if key.security_token is None:
        if fields.token:
            raise ApiError("InvalidSecurityToken.Malformed", "This key has no token.")
        return
    if not fields.token:
        raise ApiError("MissingSecurityToken")
    if fields.token != key.security_token or (key.expires_at and now >= key.expires_at):
        raise ApiError("InvalidSecurityToken.Expired")


def _check_clock(fields: SignatureFields, now: datetime) -> None:
    try:
        signed_at = datetime.fromisoformat(fields.signed_at)
    except ValueError:
        raise ApiError("InvalidTimeStamp.Format") from None
    if abs((now - signed_at.replace(tzinfo=UTC)).total_seconds()) > CLOCK_SKEW_S:
        raise ApiError("InvalidTimeStamp.Expired")


# --- ACS3-HMAC-SHA256 ---


def _has_authorization(request: Request) -> bool:
    return "authorization" in request.headers


def _read_acs3(request: Request) -> SignatureFields:
    method, _, rest = request.headers["authorization"].partition(" ")
    if method != ACS3_METHOD:
        raise ApiError("IncompleteSignature", f"{method} is not {ACS3_METHOD}.")
    parts = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    missing = {"Credential", "SignedHeaders", "Signature"} - parts.keys()
    if missing:
        raise ApiError("IncompleteSignature", f"Authorization lacks {', '.join(sorted(missing))}.")
    names = set(parts["SignedHeaders"].split(";"))
    unsigned = (REQUIRED_SIGNED_HEADERS | {name for name in request.headers if name.startswith("x-acs-")}) - names
    absent = names - request.headers.keys()
    if unsigned or absent:
        raise ApiError("IncompleteSignature", f"Not signed or not sent: {', '.join(sorted(unsigned | absent))}.")
    return SignatureFields(
        parts["Credential"],
        request.headers.get("x-acs-security-token"),
        request.headers["x-acs-date"],
        request.headers["x-acs-signature-nonce"],
        parts["Signature"],
    )


def _sign_acs3(request: Request, secret: str) -> tuple[str, str]:
    headers = request.headers
    names = request.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0]
    canonical_request = "\n".join(
        [
            request.method,
            request.path,
            canonical_query(request.query),
            *[f"{name}:{headers[name].strip()}" for name in names.split(";")],
            "",
            names,
            hashlib.sha256(request.body).hexdigest(),
        ]
    )
    string_to_sign = f"{ACS3_METHOD}\n{hashlib.sha256(canonical_request.encode()).hexdigest()}"
    if headers["x-acs-content-sha256"] != hashlib.sha256(request.body).hexdigest():
        return "", f"{string_to_sign} (x-acs-content-sha256 is not the body's)"
    return hmac.new(secret.encode(), string_to_sign.encode(), "sha256").hexdigest(), string_to_sign


ACS3 = SignatureScheme(_has_authorization, _read_acs3, _sign_acs3)
