"""Answer with a published error: code, HTTP status and message of each.

    raise ApiError("Throttling.User")  →  400 {"Code": "Throttling.User", "Message": …, "RequestId": …}

Only codes in `PUBLISHED_ERRORS` can be raised.
"""

from __future__ import annotations

import msgspec

JSON = "application/json;charset=utf-8"
TROUBLESHOOT_URL = "https://api.alibabacloud.com/troubleshoot?q="

# code: (HTTP status, message); {} stands for the part of the code after the dot
PUBLISHED_ERRORS = {
    "MissingParameter": (
        400,
        "The input parameters that is mandatory for processing this request is not supplied.",
    ),
    "NoPermission": (400, "Permission denied."),
    "InvalidParameter": (400, "The specified field {} invalid. Please check it again."),
    "InvalidAction.NotFound": (404, "Specified api is not found, please check your url and method."),
    "InvalidVersion": (400, "Specified parameter Version is not valid."),
    "UnsupportedHTTPMethod": (405, "This http method is not supported."),
    "IncompleteSignature": (400, "The request signature does not conform to Aliyun standards."),
    "SignatureDoesNotMatch": (400, "Specified signature is not matched with our calculation."),
    "SignatureNonceUsed": (400, "Specified signature nonce was used already."),
    "InvalidAccessKeyId.NotFound": (404, "Specified access key is not found."),
    "MissingSecurityToken": (400, "SecurityToken is mandatory for this action."),
    "InvalidSecurityToken.Expired": (403, "Specified SecurityToken is expired."),
    "InvalidSecurityToken.Malformed": (400, "Specified SecurityToken is malformed."),
    "InvalidTimeStamp.Expired": (400, "Specified time stamp or date value is expired."),
    "InvalidTimeStamp.Format": (400, "Specified time stamp or date value is not well formatted."),
    "Throttling.User": (400, "Request was denied due to user flow control."),
    "InternalError": (500, "The request processing has failed due to some unknown error."),
    "ServiceUnavailable": (503, "The request has failed due to a temporary failure of the server."),
}


class ApiError(Exception):
    """An error response: a published code, and a detail for the message.

    Raises:
        KeyError: the code is not published.
    """

    def __init__(self, code: str, detail: str = "", *, headers: dict[str, str] | None = None) -> None:
        self.status, message = PUBLISHED_ERRORS.get(code) or PUBLISHED_ERRORS[code.partition(".")[0]]
        self.code = code
        self.headers = headers or {}
        self.message = message.format(code.partition(".")[2]) + (f" {detail}" if detail else "")
        super().__init__(f"{code}: {self.message}")

    def body(self, request_id: str, host: str) -> bytes:
        """Encode the error as the published JSON body."""
        return msgspec.json.encode(
            {
                "RequestId": request_id,
                "HostId": host,
                "Code": self.code,
                "Message": self.message,
                "Recommend": f"{TROUBLESHOOT_URL}{self.code}&product=Ens&requestId={request_id}",
            }
        )
