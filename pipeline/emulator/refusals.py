"""What the service says when it refuses: the published code, status and sentence of each case."""

from __future__ import annotations

import msgspec

JSON = "application/json;charset=utf-8"
MORE = "https://api.alibabacloud.com/troubleshoot?q="

# code: (HTTP status, message); what follows the second part of a code's name is put in for {}
PUBLISHED = {
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


class Refused(Exception):
    """The service answers with an error: its code, and what the sentence adds for this request."""

    def __init__(self, code: str, detail: str = "", *, headers: dict[str, str] | None = None) -> None:
        known = PUBLISHED.get(code) or PUBLISHED[code.partition(".")[0]]
        self.code = code
        self.status = known[0]
        self.headers = headers or {}
        self.message = known[1].format(code.partition(".")[2]) + (f" {detail}" if detail else "")
        super().__init__(f"{code}: {self.message}")

    def body(self, request_id: str, host: str) -> bytes:
        """The published error body."""
        return msgspec.json.encode(
            {
                "RequestId": request_id,
                "HostId": host,
                "Code": self.code,
                "Message": self.message,
                "Recommend": f"{MORE}{self.code}&product=Ens&requestId={request_id}",
            }
        )
