"""A cheaper endpoint than the emulator: every page is made before the first call, and no signature is looked at.

    python tests/bench/endpoint.py --images 100000 [--latency-ms 30]      its URL on stdout, then it listens

Any key is an account, all of them the same. When it ends (SIGTERM) it says on stdout how many calls it answered, and
the seconds of processor time that took: what is not the reader's own.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import re
import signal
import sys
import time
from typing import Final

from pipeline.emulator import living_account
from pipeline.emulator.account_state import AccountState
from pipeline.emulator.action import Query
from pipeline.emulator.actions.describe_self_images import ACTION
from pipeline.resources.images import IMAGES_RESOURCE

PAGE_SIZE: Final = IMAGES_RESOURCE.action.page_size
REQUEST_ID: Final = "473469C7-AA6F-4DC5-B3DB-A3DC0DE3C83E"
"""That of the published example."""
_PAGE: Final = re.compile(rb"[?&]PageNumber=([0-9]+)")
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_ENDING: Final = b"\r\n\r\n"
MADE_AT_ONCE: Final = 100_000
"""Images of one living account; a larger one is several of them, with ids of their own."""


def pages(images: int, left_out: int = 0) -> list[bytes]:
    """Every page of an account of so many images, and an empty one behind the last.

    The first `left_out` of them are not there: an account as it was before its newest images were made.
    """
    rows: list[bytes] = []
    for seed in range(1, 2 + (images - 1) // MADE_AT_ONCE):
        state = AccountState(ACTION, living_account(min(images - len(rows), MADE_AT_ONCE), seed).images_on(0))
        rows += [row.replace(b'"ImageId":"', b'"ImageId":"%d-' % seed, 1) for row in state.rows]
    state = AccountState(ACTION, [])
    state.rows = rows[left_out:]
    count = -(-len(state.rows) // PAGE_SIZE)
    return [state.page(Query(), number, PAGE_SIZE).render(REQUEST_ID) for number in range(1, count + 2)]


def replies(bodies: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Each body as an answer for the wire: as it is, and packed."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n"
    packed = [gzip.compress(body, 1) for body in bodies]
    return [
        (head % (b"", len(body)) + body, head % (b"Content-Encoding: gzip\r\n", len(small)) + small)
        for body, small in zip(bodies, packed, strict=True)
    ]


class Connection(asyncio.Protocol):
    """One connection: requests in, made answers out, each after the latency."""

    answered = 0

    def __init__(self, made: list[tuple[bytes, bytes]], latency_s: float) -> None:
        self._made = made
        self._latency_s = latency_s
        self._waiting = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where answers go."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
        self._waiting += data
        while (end := self._waiting.find(_ENDING)) >= 0:
            head = self._waiting[: end + 2]
            length = _LENGTH.search(head)
            whole = end + len(_ENDING) + (int(length[1]) if length else 0)
            if len(self._waiting) < whole:
                return
            self._waiting = self._waiting[whole:]
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        Connection.answered += 1
        number = _PAGE.search(head)
        page = min(int(number[1]) if number else 1, len(self._made))
        reply = self._made[page - 1][b"gzip" in head.lower()]
        if self._latency_s:
            asyncio.get_running_loop().call_later(self._latency_s, self._transport.write, reply)
        else:
            self._transport.write(reply)


async def listen(made: list[tuple[bytes, bytes]], latency_s: float) -> None:
    """Listen on this machine's loopback until SIGTERM."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(made, latency_s), "127.0.0.1", 0)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)  # noqa: T201
    before = time.process_time()
    await stop.wait()
    print(Connection.answered, time.process_time() - before, flush=True)  # noqa: T201


def main() -> int:
    """Make the pages, then listen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--left-out", type=int, default=0)
    parser.add_argument("--latency-ms", type=float, default=0)
    asked = parser.parse_args()
    asyncio.run(listen(replies(pages(asked.images, asked.left_out)), asked.latency_ms / 1_000))
    return 0


if __name__ == "__main__":
    sys.exit(main())
