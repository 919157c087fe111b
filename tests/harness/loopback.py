"""A server of a test: on a port of 127.0.0.1, in a thread, as long as a `with` block lasts."""

from __future__ import annotations

import socketserver
import ssl
import threading
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pathlib import Path


class _Http(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Print nothing: a client that hangs up, perhaps during the handshake, is what is tested."""


class _Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True


class LoopbackServer:
    """Serves with a handler of requests, or of whole connections; with TLS where there is a certificate."""

    def __init__(self, handler: type[socketserver.BaseRequestHandler], certificate: Path | None = None) -> None:
        is_http = issubclass(handler, socketserver.StreamRequestHandler)
        self.server: Any = (_Http if is_http else _Tcp)(("127.0.0.1", 0), handler)
        """What the handler knows as its server."""
        self.port: int = self.server.server_address[1]
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{self.port}"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False
            )

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()
