"""The signature of older clients, off by default: HMAC-SHA1 over the parameters.

    ?AccessKeyId=…&SignatureMethod=HMAC-SHA1&Signature=…   →  key id

`Endpoint(…, older_signatures=True)` and `emulate --older-signatures` accept it beside ACS3; nothing else needs it.
"""

from __future__ import annotations

import base64
import hmac
from urllib.parse import quote

from pipeline.emulator.api_errors import ApiError
from pipeline.emulator.signature import Request, SignatureFields, SignatureScheme, canonical_query

DIGESTS = {"HMAC-SHA1": "sha1", "HMAC-SHA256": "sha256"}
REQUIRED_PARAMETERS = ("AccessKeyId", "Timestamp", "SignatureNonce", "SignatureMethod", "SignatureVersion")


def _has_signature_parameter(request: Request) -> bool:
    return "Signature" in request.query or "Signature" in request.form


def _read(request: Request) -> SignatureFields:
    parameters = {**request.form, **request.query}
    missing = [name for name in REQUIRED_PARAMETERS if not parameters.get(name)]
    if missing:
        raise ApiError("IncompleteSignature", f"Not sent: {', '.join(missing)}.")
    if parameters["SignatureMethod"] not in DIGESTS or parameters["SignatureVersion"] != "1.0":
        unknown = f"{parameters['SignatureMethod']} {parameters['SignatureVersion']}"
        raise ApiError("IncompleteSignature", f"{unknown} is not supported.")
    return SignatureFields(
        parameters["AccessKeyId"],
        parameters.get("SecurityToken"),
        parameters["Timestamp"],
        parameters["SignatureNonce"],
        parameters["Signature"],
    )


def _sign(request: Request, secret: str) -> tuple[str, str]:
    parameters = {**request.form, **request.query}
    del parameters["Signature"]
    string_to_sign = f"{request.method}&%2F&{quote(canonical_query(parameters), safe='~')}"
    digest = hmac.new(f"{secret}&".encode(), string_to_sign.encode(), DIGESTS[parameters["SignatureMethod"]])
    return base64.b64encode(digest.digest()).decode(), string_to_sign


OLDER_SIGNATURE = SignatureScheme(_has_signature_parameter, _read, _sign)
