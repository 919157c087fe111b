"""The service on a socket of this machine: HTTP in and out, in a thread of its own or until a signal.

    with Endpoint({"emulator": Key("emulator", living_account(images=1037))}) as endpoint:
        endpoint.url            "http://127.0.0.1:54321"
        endpoint.day = 3        the accounts as they are on that day

It listens on 127.0.0.1 only.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import struct
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qsl

from aiohttp import web

from pipeline.emulator.faults import Laboratory
from pipeline.emulator.service import Answer, Reply, Service
from pipeline.emulator.signature import Key, Request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

    from pipeline.emulator.accounts import Account
    from pipeline.emulator.faults import Fault

HOST = "127.0.0.1"
NO_LINGER = struct.pack("ii", 1, 0)  # closing resets the connection
FORM = "application/x-www-form-urlencoded"


class Endpoint:
    """A local ENS endpoint for these keys; a context manager that listens while it is open.

    Port 0 takes a free port. Each answer is `latency_ms` late, side by side with the others. Over `qps`
    requests a second a key is throttled. A PageSize above 50 is cut to 50, or refused on request.
    `faults` are the laboratory's, as Fault(…) or as text: "empty:page=5,times=1".

    Raises:
        ValueError: an argument makes no sense.
        OSError: (on entering) the port is taken.
    """

    def __init__(
        self,
        keys: Mapping[str, Key | tuple[str, Account]],
        *,
        port: int = 0,
        day: int = 0,
        latency_ms: float = 0,
        qps: float | None = None,
        refuse_large_pages: bool = False,
        seed: int = 0,
        faults: Iterable[Fault | str] = (),
    ) -> None:
        if qps is not None and qps <= 0:
            raise ValueError(f"qps {qps}: a rate is above zero")
        if latency_ms < 0:
            raise ValueError(f"latency_ms {latency_ms}: an answer is not early")
        self.keys = {key_id: Key(*key) for key_id, key in keys.items()}
        self.latency_ms = latency_ms
        self._port = port
        self._service = Service(self.keys, qps=qps, refuse_large_pages=refuse_large_pages, seed=seed, faults=faults)
        self.day = day
        self._thread: threading.Thread | None = None
        self._stop: Callable[[], object] = lambda: None

    @property
    def url(self) -> str:
        """Where it listens, from the moment that it does."""
        return f"http://{HOST}:{self._port}"

    @property
    def day(self) -> int:
        """The day of the living accounts; it may be set while requests are served."""
        return self._service.day

    @day.setter
    def day(self, day: int) -> None:
        if day < 0:
            raise ValueError(f"day {day}: an account lives from day 0 on")
        self._service.day = day

    @property
    def faults(self) -> list[Fault]:
        """The faults at work; a new list may be set while requests are served, and starts afresh."""
        return self._service.laboratory.faults

    @faults.setter
    def faults(self, faults: Iterable[Fault | str]) -> None:
        self._service.laboratory = Laboratory(faults)

    @property
    def calls(self) -> int:
        """How many requests were answered, refused ones included."""
        return self._service.calls

    @property
    def truth(self) -> list[Answer]:
        """Every answer in order, each with the ids that were alive when it was made."""
        return list(self._service.answers.values())

    def truth_of(self, request_id: str) -> Answer:
        """The answer with this RequestId; KeyError if there was none."""
        return self._service.answers[request_id]

    def __enter__(self) -> Self:
        is_ready = threading.Event()
        failed: list[Exception] = []

        async def listen() -> None:
            stop = asyncio.Event()
            loop = asyncio.get_running_loop()
            self._stop = lambda: loop.call_soon_threadsafe(stop.set)
            try:
                async with self._listening():
                    is_ready.set()
                    await stop.wait()
            except Exception as error:  # noqa: BLE001 - raised again by the thread that waits for it
                failed.append(error)
                is_ready.set()

        self._thread = threading.Thread(target=asyncio.run, args=(listen(),), name="ens-endpoint", daemon=True)
        self._thread.start()
        is_ready.wait()
        if failed:
            self._thread.join()
            raise failed[0]
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        if self._thread:
            self._thread.join()

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        for key_id in self.keys:
            self._service.stock(key_id)  # a large account is made before anyone waits for it
        runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=0)
        await runner.setup()
        site = web.TCPSite(runner, HOST, self._port)
        try:
            await site.start()
            self._port = runner.addresses[0][1]
            yield
        finally:
            await runner.cleanup()

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        body = await http.read()
        if self.latency_ms:
            await asyncio.sleep(self.latency_ms / 1_000)
        path, _, query = http.raw_path.partition("?")
        is_form = http.headers.get("Content-Type", "").startswith(FORM)
        request = Request(
            http.method,
            path,
            _decoded(query),
            _decoded(body.decode("utf-8", "replace")) if is_form else {},
            {name.lower(): value for name, value in http.headers.items()},
            body,
        )
        reply = self._service.answer(request)
        if reply.delivery == "whole":
            return web.Response(status=reply.status, headers=reply.headers, body=reply.body)
        return await _deliver_badly(http, reply)


def serve(endpoint: Endpoint, on_ready: Callable[[str], object]) -> None:
    """Listen until SIGINT or SIGTERM, in this thread, the main one; `on_ready` is told the URL.

    Raises:
        OSError: the port is taken.
    """

    async def listen() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with endpoint._listening():  # noqa: SLF001 - the two ways to run it live in this file
            on_ready(endpoint.url)
            await stop.wait()

    asyncio.run(listen())


async def _deliver_badly(http: web.BaseRequest, reply: Reply) -> web.StreamResponse:
    """Piece by piece, late; or half of it, and then a reset."""
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    response.content_length = len(reply.body)
    await response.prepare(http)
    if reply.delivery == "reset":
        await response.write(reply.body[: len(reply.body) // 2])
        if http.transport:
            connection = http.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            http.transport.abort()
        return response
    length = -(-len(reply.body) // reply.pieces)
    for start in range(0, len(reply.body), length):
        await asyncio.sleep(reply.over_ms / 1_000 / reply.pieces)
        await response.write(reply.body[start : start + length])
    await response.write_eof()
    return response


def _decoded(pairs: str) -> dict[str, str]:
    return dict(parse_qsl(pairs, keep_blank_values=True))  # the wire's + is a space
