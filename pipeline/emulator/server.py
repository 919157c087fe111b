"""Serve a local ENS endpoint over HTTP: in a thread, or until a signal.

    with Endpoint({"emulator": Key("emulator", living_account(images=1037))}) as endpoint:
        endpoint.url            "http://127.0.0.1:54321"
        endpoint.day = 3        serve the accounts as they are on day 3

It listens on 127.0.0.1 only.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qsl

from aiohttp import web

from pipeline.emulator.fault_injector import FaultInjector
from pipeline.emulator.service import Answer, Response, Service
from pipeline.emulator.signature import Key, Request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

    from pipeline.emulator.accounts import EmulatedAccount
    from pipeline.emulator.fault_injector import Fault

HOST = "127.0.0.1"
NO_LINGER = struct.pack("ii", 1, 0)  # close() then resets the connection
SPACES = 64 << 10
FORM = "application/x-www-form-urlencoded"


class Endpoint:
    """A local ENS endpoint for these keys; a context manager that listens while it is open.

    Port 0 chooses a free port. Each answer is delayed by `latency_ms`; requests are served concurrently. A key
    with more than `qps` requests a second is throttled. A PageSize above the action's limit is cut to it, or
    refused with `refuse_large_pages`. `older_signatures` accepts HMAC-SHA1 of old clients too. `faults` are
    Fault(…) or text: "empty:page=5,times=1". `clock` is the server's clock: `Date`, changes by time, and the creation
    time of inserted items; signatures are verified by the real time.

    Raises:
        ValueError: an argument is out of range.
        OSError: (on entering) the port is in use.
    """

    def __init__(
        self,
        keys: Mapping[str, Key | tuple[str, EmulatedAccount]],
        *,
        port: int = 0,
        day: int = 0,
        latency_ms: float = 0,
        qps: float | None = None,
        refuse_large_pages: bool = False,
        older_signatures: bool = False,
        seed: int = 0,
        faults: Iterable[Fault | str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        if qps is not None and qps <= 0:
            raise ValueError(f"qps {qps}: a rate must be above 0")
        if latency_ms < 0:
            raise ValueError(f"latency_ms {latency_ms}: a latency must be 0 or more")
        self.keys = {key_id: Key(*key) for key_id, key in keys.items()}
        self.latency_ms = latency_ms
        self._port = port
        self._service = Service(
            self.keys,
            qps=qps,
            refuse_large_pages=refuse_large_pages,
            older_signatures=older_signatures,
            seed=seed,
            faults=faults,
            clock=clock,
        )
        self.day = day
        self._thread: threading.Thread | None = None
        self._stop: Callable[[], object] = lambda: None

    @property
    def url(self) -> str:
        """The URL; with port 0 valid only while it listens."""
        return f"http://{HOST}:{self._port}"

    @property
    def day(self) -> int:
        """The day of the accounts; it may be set while requests are served."""
        return self._service.day

    @day.setter
    def day(self, day: int) -> None:
        if day < 0:
            raise ValueError(f"day {day}: the first day of an account is 0")
        self._service.day = day

    @property
    def faults(self) -> list[Fault]:
        """The faults; a new list may be set while requests are served, and resets all counts."""
        return self._service.fault_injector.faults

    @faults.setter
    def faults(self, faults: Iterable[Fault | str]) -> None:
        self._service.fault_injector = FaultInjector(faults)

    @property
    def calls(self) -> int:
        """The number of answered requests, refused ones included."""
        return self._service.calls

    @property
    def answers(self) -> list[Answer]:
        """All answers in order, each with the ids that existed when it was made."""
        return list(self._service.answers.values())

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
            except Exception as error:  # noqa: BLE001 - raised again by the waiting thread
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

    @contextlib.asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        self._service.prepare()  # a large account takes seconds
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
            _decode_parameters(query),
            _decode_parameters(body.decode("utf-8", "replace")) if is_form else {},
            {name.lower(): value for name, value in http.headers.items()},
            body,
        )
        response = self._service.answer(request)
        if response.delivery == "silent":
            await asyncio.sleep(response.duration_ms / 1_000)
        if response.delivery in ("whole", "silent"):
            return web.Response(status=response.status, headers=response.headers, body=response.body)
        return await _deliver_slowly_or_in_part(http, response)


def serve(endpoint: Endpoint, on_ready: Callable[[str], object]) -> None:
    """Listen until SIGINT or SIGTERM, in the main thread; call `on_ready` with the URL.

    Raises:
        OSError: the port is in use.
    """

    async def listen() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with endpoint._listening():  # noqa: SLF001 - the same module
            on_ready(endpoint.url)
            await stop.wait()

    asyncio.run(listen())


async def _deliver_slowly_or_in_part(http: web.BaseRequest, response: Response) -> web.StreamResponse:
    """Send the body piece by piece; or without end; or a part of the answer, then end the connection."""
    stream = web.StreamResponse(status=response.status, headers=response.headers)
    if response.delivery == "hang-up":
        if http.transport:
            http.transport.write(b"HTTP/1.1 200 OK\r\nContent-")
            http.transport.close()
        return stream
    if response.delivery == "endless":
        return await _deliver_without_end(http, stream, response)
    stream.content_length = len(response.body)
    await stream.prepare(http)
    if response.delivery == "reset":
        await stream.write(response.body[: len(response.body) // 2])
        if http.transport:
            connection = http.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            http.transport.abort()
        return stream
    length = -(-len(response.body) // response.pieces)
    for start in range(0, len(response.body), length):
        await asyncio.sleep(response.duration_ms / 1_000 / response.pieces)
        await stream.write(response.body[start : start + length])
    await stream.write_eof()
    return stream


async def _deliver_without_end(
    http: web.BaseRequest, stream: web.StreamResponse, response: Response
) -> web.StreamResponse:
    """Send the body, then spaces until the client has gone."""
    spaces = b" " * SPACES
    with contextlib.suppress(ConnectionError):
        await stream.prepare(http)
        await stream.write(response.body)
        while True:
            await stream.write(spaces)
    return stream


def _decode_parameters(pairs: str) -> dict[str, str]:
    return dict(parse_qsl(pairs, keep_blank_values=True))  # "+" on the wire is a space
