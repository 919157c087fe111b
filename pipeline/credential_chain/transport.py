"""Call a credentials service for the vendor's library: STS, OAuth, CloudSSO, a credentials URI, the metadata service.

    provider.get_credentials() ─→ Transport.do_action ─┬─ 200: the answer, for the provider to read
                                                       ├─ NoAnswer: network, TLS, proxy, 5xx, throttling
                                                       └─ Refusal: the service's error code and message

The library's own transport ignores NO_PROXY, and SSL_CERT_FILE behind a proxy. It raises the same kind of error for
all troubles, with the signed request in its text. This one quotes the host alone.
"""

from __future__ import annotations

import re
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

import msgspec
import urllib3
from Tea.core import TeaCore
from Tea.response import TeaResponse

from pipeline.errors import classify
from pipeline.network import proxy_for, redirect, tls_context

if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_BYTES: Final = 1 << 20
"""An answer has a few kilobytes."""
_MAX_SECONDS: Final = 30.0
"""From the connection to the end of an answer."""
_PLAIN_TEXT: Final = ("/api/token", "/security-credentials/")
"""The two answers of the metadata service that are not JSON."""


class NoAnswer(Exception):
    """A credentials service gave no usable answer. `is_lasting`: neither will it to another try."""

    def __init__(self, address: str, cause: str, *, status: int | None = None, is_lasting: bool = False) -> None:
        super().__init__(address, cause)
        self.address = address
        self.cause = cause
        self.status = status
        self.is_lasting = is_lasting


class Refusal(Exception):
    """A credentials service refused: its error code and its message."""

    def __init__(self, address: str, code: str, message: str) -> None:
        super().__init__(address, code)
        self.address = address
        self.code = code
        self.message = message


class Transport(TeaCore):  # type: ignore[misc]
    """The vendor's transport, with another way over the network."""

    @staticmethod
    def do_action(request: Any, runtime_option: dict[str, Any] | None = None) -> TeaResponse:
        """Send a request, and return the answer if its status is 200.

        Raises:
            NoAnswer, Refusal: it is not.
            BadSetting: the environment names a proxy or certificates that cannot be used.
        """
        url = TeaCore.compose_url(request)
        address = "{0.scheme}://{0.netloc}".format(urlsplit(url))
        options = runtime_option or {}
        timeout = urllib3.Timeout(
            connect=(options.get("connectTimeout") or 5000) / 1000, read=(options.get("readTimeout") or 10000) / 1000
        )
        response: TeaResponse = _within_bounds(
            lambda deadline: _exchange(request, url, address, timeout, deadline), address
        )
        if response.status_code != 200:
            raise _error(address, response.status_code, response.body, response.headers.get("location", ""))
        if not _is_of_kind(str if url.endswith(_PLAIN_TEXT) else dict, response.body):
            raise NoAnswer(address, "its answer is not JSON")
        return response


def _within_bounds(call: Callable[[float], TeaResponse], address: str) -> TeaResponse:
    """Return the result of a call that ends within `_MAX_SECONDS`: no timeout of a socket covers slow headers."""
    done: Future[TeaResponse] = Future()

    def work() -> None:
        try:
            done.set_result(call(time.monotonic() + _MAX_SECONDS))
        except BaseException as error:  # noqa: BLE001  (raised again in the thread that waits)
            done.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        return done.result(_MAX_SECONDS)
    except TimeoutError:
        raise _too_slow(address) from None


def _exchange(request: Any, url: str, address: str, timeout: urllib3.Timeout, deadline: float) -> TeaResponse:
    """Send a request, and read its answer whole."""
    try:
        with (
            _pool(url) as pool,
            pool.request(
                request.method,
                url,
                body=request.body,
                headers=request.headers,
                timeout=timeout,
                retries=False,
                redirect=False,
                preload_content=False,
            ) as answer,
        ):
            response = TeaResponse()
            response.status_code = answer.status
            response.headers = {name.lower(): value for name, value in answer.headers.items()}
            response.body = _read(answer, address, deadline)
    except urllib3.exceptions.SSLError as error:
        raise NoAnswer(address, _in_words(error), is_lasting="CERTIFICATE_VERIFY_FAILED" in str(error)) from error
    except urllib3.exceptions.ProxyError as error:
        raise _proxy_error(address, error) from error
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise NoAnswer(address, _in_words(error)) from error
    return response


def _read(answer: urllib3.BaseHTTPResponse, address: str, deadline: float) -> bytes:
    """Return the bytes of an answer, within bounds of size and time."""
    content = b""
    while chunk := answer.read1(1 << 16, decode_content=False):
        content += chunk
        if len(content) > _MAX_BYTES:
            raise NoAnswer(address, f"its answer is larger than {_MAX_BYTES:,} bytes")
        if time.monotonic() > deadline:
            raise _too_slow(address)
    return content


def _too_slow(address: str) -> NoAnswer:
    return NoAnswer(address, f"no answer within {_MAX_SECONDS:g} s")


def _pool(url: str) -> urllib3.PoolManager:
    tls = tls_context() if url.startswith("https:") else None
    proxy = proxy_for(url)
    if proxy is None:
        return urllib3.PoolManager(ssl_context=tls)
    parts = urlsplit(proxy)
    user = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    login = urllib3.make_headers(proxy_basic_auth=user) if parts.username else None
    plain = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    to_proxy = tls_context() if parts.scheme == "https" else None
    return urllib3.ProxyManager(plain, proxy_headers=login, ssl_context=tls, proxy_ssl_context=to_proxy)


def _proxy_error(address: str, error: urllib3.exceptions.ProxyError) -> NoAnswer:
    """Return the error for a proxy that gives no way: the library keeps the status of its answer alone."""
    found = re.search(r"Tunnel connection failed: ([0-9]{3})\b", str(error.original_error))
    if not found:
        return NoAnswer(address, _in_words(error))
    status = int(found[1])
    return NoAnswer(
        address,
        f"the proxy answered CONNECT with HTTP status {status}",
        status=status,
        is_lasting=classify(status, None) == "refused",
    )


def _in_words(error: Exception) -> str:
    """Return kind and cause of an error of the network, without the request that it may quote."""
    cause = getattr(error, "original_error", None) or error
    last = re.sub(r"\s+", " ", str(cause)).rpartition(": ")[2].removeprefix("[Errno ").strip("()'\", ")
    return f"{type(error).__name__}: {re.sub(r'^-?[0-9]+] ', '', last)[:200]}"


def _is_of_kind(kind: type, content: bytes) -> bool:
    """Tell whether an answer is an object of JSON, or for `str` text."""
    try:
        content.decode() if kind is str else msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


class _Body(msgspec.Struct):
    """An error as STS and the metadata service, CloudSSO, and OAuth spell it."""

    Code: Any = None
    Message: Any = None
    ErrorCode: Any = None
    ErrorMessage: Any = None
    error: Any = None
    error_description: Any = None


def _error(address: str, status: int, content: bytes, location: str) -> Exception:
    try:
        body = msgspec.json.decode(content, type=_Body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        body = _Body()
    if status == 407 or 300 <= status < 400:  # from the proxy, or from a network that wants a login
        cause = redirect(status, location) or f"HTTP status {status}"
        return NoAnswer(address, cause, status=status, is_lasting=True)
    code = str(body.Code or body.ErrorCode or body.error or f"HTTP{status}")
    message = str(body.Message or body.ErrorMessage or body.error_description or "")
    if classify(status, code) in {"throttled", "transient"}:
        return NoAnswer(
            address, f"HTTP status {status}" + ("" if code == f"HTTP{status}" else f", {code}"), status=status
        )
    return Refusal(address, code, message)
