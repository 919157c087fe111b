"""A proxy on loopback that plays the services that give credentials: STS, OAuth, CloudSSO, the metadata service.

    HTTP_PROXY=proxy.url    GET http://100.100.100.200/latest/…    the metadata service
    HTTPS_PROXY=proxy.url   CONNECT sts.aliyuncs.com:443 ─→ TLS    STS, OAuth, with the certificate given
    proxy.url/…                                                     a credentials URI, CloudSSO

The vendor's addresses are fixed, so a proxy is the one way to them that needs no patch.
"""

from __future__ import annotations

import contextlib
import json
import socketserver
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from loopback import LoopbackServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Answer = tuple[int, Any]
"""Status and body: an object is sent as JSON, a text as it is, a list piece by piece, 50 ms apart.

Status 0 closes the connection without an answer; 302 leads to the login page of a network.
"""

FOUND = {
    "AccessKeyId": "from-the-service",
    "AccessKeySecret": "s",
    "SecurityToken": "t",
    "Expiration": "2099-01-01T00:00:00Z",
}


class CredentialServices(LoopbackServer):
    """Answers every request with `answer(host, path)`, and keeps what was asked."""

    def __init__(
        self, answer: Callable[[str, str], Answer], certificate: Path | None = None, *, is_tls: bool = False
    ) -> None:
        """`certificate` is that of the services behind the proxy; `is_tls`: and of the proxy itself."""
        self.requests: list[str] = []
        self.proxy_logins: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            host = ""

            def do_CONNECT(self) -> None:
                assert certificate is not None
                self.host = self.path.partition(":")[0]
                outer.proxy_logins.append(self.headers["Proxy-Authorization"])
                status, _ = answer(self.host, "CONNECT")
                self.send_response(status)
                self.end_headers()
                if status != 200:
                    return
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(certificate)
                try:
                    self.connection = self.request = context.wrap_socket(self.connection, server_side=True)
                except OSError:  # the client does not trust the certificate
                    self.close_connection = True
                    return
                self.setup()
                self.handle_one_request()
                self.close_connection = True
                self.connection.close()

            def do_GET(self) -> None:
                url = urlsplit(self.path)
                host = url.hostname or self.host or "direct"
                outer.requests.append(f"{self.command} {host}{url.path}")
                self.rfile.read(int(self.headers["Content-Length"] or 0))
                status, body = answer(host, url.path)
                if not status:
                    self.close_connection = True
                    return
                if isinstance(body, list):
                    self.send_response(status)
                    self.end_headers()
                    with contextlib.suppress(OSError):  # the client has gone
                        for piece in body:
                            self.wfile.write(piece)
                            time.sleep(0.05)
                    self.close_connection = True
                    return
                content = (body if isinstance(body, str) else json.dumps(body)).encode()
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "https://me:s3cret@portal.example/login?token=s3cret")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_PUT = do_GET  # noqa: N815  (names of the standard library)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        super().__init__(Handler, certificate if is_tls else None)


class DrippingService(LoopbackServer):
    """Answers every connection with `start` at once, and one byte every 50 ms from then on."""

    def __init__(self, start: bytes) -> None:
        self._is_stopped = stopped = threading.Event()

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):  # the client has gone
                    self.request.sendall(start)
                    while not stopped.wait(0.05):
                        self.request.sendall(b"H")

        super().__init__(Handler)

    def __exit__(self, *reason: object) -> None:
        self._is_stopped.set()
        super().__exit__(*reason)
