"""Hostile answers: what one answer may cost a run, in memory and in time.

    HOSTILE     name → bytes on the wire: of any size, slow, packed, nested, not UTF-8
    measure     a whole run in a process of its own against one of them: its peak memory, its longest try

The promise: a run takes at most MOST_MIB, a try ends within its deadline, and nothing but what is JSON is published.
`make fuzz` measures each of them; a few are part of the test suite.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

MOST_MIB = 400
TRY_SECONDS = 30.0
"""The deadline of a try, as `EnsApi` has it."""
SLACK_SECONDS = 2.0
"""Of two busy cores: what a try may take longer than its deadline."""

MIB = 1 << 20
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
GZIP = HEAD + b"Content-Encoding: gzip\r\n\r\n"


def page(images: bytes = b"", around: bytes = b"", code: bytes = b"0") -> bytes:
    """A listing with these images, as raw JSON."""
    envelope = b'{"Code":%b,"Images":{"Image":[%b]},"TotalCount":"1","PageNumber":"1","PageSize":"50"%b}'
    return envelope % (code, images, around)


def whole(body: bytes, head: bytes = HEAD) -> list[bytes]:
    """The answer with this body."""
    return [head + b"Content-Length: %d\r\n\r\n" % len(body), body]


def image(**fields: bytes) -> bytes:
    """One image as raw JSON."""
    return b"{%b}" % b",".join(b'"%b":%b' % (name.encode(), value) for name, value in fields.items())


def text(length: int, of: bytes = b"x") -> bytes:
    """A JSON text."""
    return b'"%b"' % (of * length)


def slowly(pieces: Iterable[bytes], seconds: float = 1.0) -> Iterator[bytes]:
    """Each piece after a pause."""
    for piece in pieces:
        time.sleep(seconds)
        yield piece


def chunked(chunk: bytes, extension: bytes = b"") -> Iterator[bytes]:
    """A body in chunks, without end."""
    yield HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    yield from itertools.repeat(b"%x%b\r\n%b\r\n" % (len(chunk), extension, chunk))


def bomb(mebibytes: int) -> Iterator[bytes]:
    """A page and some spaces, packed a thousand times."""
    yield GZIP + gzip.compress(page())
    yield from itertools.repeat(gzip.compress(b" " * (16 * MIB)), mebibytes // 16)


ID = text(20)
BYTES = [bytes([byte]) for byte in page(image(ImageId=ID))]
HOSTILE: dict[str, Callable[[], Iterable[bytes]]] = {
    # size
    "a body without end": lambda: chunked(b" " * 65_536),
    "a body without end, in chunks of one byte": lambda: chunked(b" "),
    "chunks with long extensions, without end": lambda: chunked(b" ", b";" + b"x" * 4_000),
    "10 TiB announced": lambda: itertools.chain(
        [HEAD + b"Content-Length: %d\r\n\r\n" % (10 << 40)], itertools.repeat(b" " * 65_536)
    ),
    "gzip that unpacks to 8 GiB": lambda: bomb(8_192),
    "gzip of empty members, without end": lambda: itertools.chain([GZIP], itertools.repeat(gzip.compress(b"") * 3_000)),
    "11 MiB of spaces around a page": lambda: whole(page(image(ImageId=ID)) + b" " * (11 * MIB)),
    "a name of 11 MiB": lambda: whole(page(image(ImageId=ID, ImageName=text(11 * MIB)))),
    "a name of 11 MiB beyond ASCII": lambda: whole(
        page(image(ImageId=ID, ImageName=text(11 * MIB // 4, "🜁".encode())))
    ),
    "an unknown field of 11 MiB": lambda: whole(page(image(ImageId=ID, Unknown=text(11 * MIB)))),
    "an id of 11 MiB": lambda: whole(page(image(ImageId=text(11 * MIB)))),
    "a RequestId of 11 MiB": lambda: whole(page(image(ImageId=ID), b',"RequestId":' + text(11 * MIB))),
    "a Code of 11 MiB": lambda: whole(page(code=text(11 * MIB))),
    "a refusal of 11 MiB": lambda: whole(
        b'{"Code":"NoPermission","Message":%b}' % text(11 * MIB), HEAD.replace(b"200 OK", b"400 Bad Request")
    ),
    "a page of HTML of 11 MiB": lambda: whole(b"<html>" + b"x" * (11 * MIB)),
    "5 million images without a field": lambda: whole(page(b",".join([b"{}"] * 5_000_000))),
    "70,000 images without a field": lambda: whole(page(b",".join([b"{}"] * 70_000))),
    "700 images of 20 KiB": lambda: whole(
        page(b",".join(image(ImageId=text(20, b"%d" % number), X=text(20_000)) for number in range(700)))
    ),
    # time
    "silence": lambda: slowly([b""], 100),
    "a header byte a second": lambda: slowly(bytes([byte]) for byte in HEAD),
    "a body byte a second": lambda: itertools.chain([HEAD + b"Content-Length: 9999\r\n\r\n"], slowly(BYTES)),
    "a gzip byte a second": lambda: itertools.chain([GZIP], slowly(bytes([byte]) for byte in gzip.compress(page()))),
    "100 Continue, without end": lambda: itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000),
    "headers without end": lambda: itertools.chain([HEAD], itertools.repeat(b"X-A: b\r\n" * 1_000)),
    "a header without end": lambda: itertools.chain([HEAD + b"X-A: "], itertools.repeat(b"x" * 65_536)),
    # encoding
    "gzip that is none": lambda: whole(page(), HEAD + b"Content-Encoding: gzip\r\n"),
    "gzip in gzip": lambda: whole(gzip.compress(gzip.compress(page())), HEAD + b"Content-Encoding: gzip, gzip\r\n"),
    "UTF-16": lambda: whole(page(image(ImageId=ID)).decode().encode("utf-16")),
    "11 MiB that are not UTF-8": lambda: whole(page(image(ImageId=ID, ImageName=text(11 * MIB, b"\xff")))),
    "512 KiB, half of it not UTF-8": lambda: whole(page(image(ImageId=ID, ImageName=text(MIB // 4 - 200, b"\xffx")))),
    "512 KiB of half surrogates": lambda: whole(page(image(ImageId=ID, ImageName=text(85_000, b"\\ud800")))),
    "11 MiB of half surrogates": lambda: whole(page(image(ImageId=ID, ImageName=text(5 * MIB // 2, b"\\ud800")))),
    # nesting
    "100,000 lists in each other": lambda: whole(page(image(ImageId=ID, X=b"[" * 100_000 + b"]" * 100_000))),
    "500,000 lists in each other": lambda: whole(page(image(ImageId=ID, X=b"[" * 500_000 + b"]" * 500_000))),
    "15 million brackets": lambda: whole(b"[" * 15_000_000),
    "500,000 quotes": lambda: whole(b'"' * 500_000),
    # duplicates
    "one key 70,000 times": lambda: whole(page(b"{%b}" % b",".join([b'"ImageId":1'] * 70_000))),
    "70,000 keys": lambda: whole(page(b"{%b}" % b",".join(b'"k%d":1' % number for number in range(70_000)))),
}


class Server:
    """Answers every request with the bytes of one hostile answer: a context manager."""

    def __init__(self, name: str) -> None:
        self._answer = HOSTILE[name]
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                threading.Thread(target=self._send, args=self._listener.accept()[:1], daemon=True).start()

    def _send(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:  # the client has gone
            while connection.recv(65_536):  # one request each: they are small
                for piece in self._answer():
                    connection.sendall(piece)


class Cost(NamedTuple):
    """What a run against one hostile answer took, and how it ended."""

    name: str
    peak_mib: int
    try_seconds: float
    """The longest try."""
    seconds: float
    """The whole run: tries, waits, landing and publishing."""
    outcome: str

    @property
    def trouble(self) -> str | None:
        """The broken promise, if one is."""
        if self.peak_mib > MOST_MIB:
            return f"{self.peak_mib} MiB are more than {MOST_MIB}"
        if self.try_seconds > TRY_SECONDS + SLACK_SECONDS:
            return f"a try of {self.try_seconds:.1f} s is longer than {TRY_SECONDS:.0f} s"
        if self.outcome.startswith(("OurMistake", "died")):
            return self.outcome
        return None


def measure(name: str) -> Cost:
    """Run once against a hostile answer, in a process of its own."""
    with Server(name) as server, tempfile.TemporaryDirectory() as data:
        child = [sys.executable, __file__, "--run", server.url, data]
        done = subprocess.run(child, capture_output=True, text=True, check=False)
    if done.returncode:
        return Cost(name, 0, 0, 0, f"died with {done.returncode}: {done.stderr[-300:]}")
    return Cost(name, **json.loads(done.stdout))


def peak_mib() -> int:
    """The most memory that this process has had; where there is no /proc, its parent's counts as well."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (MIB if sys.platform == "darwin" else 1024)


def run_here(url: str, data: str) -> dict[str, Any]:
    """Run in this process: the fields of Cost."""
    from pipeline import connect, run
    from pipeline.credentials import key_account
    from pipeline.errors import EnsImagesError

    began = time.monotonic()
    try:
        outcome = str(
            run(data, accounts=[key_account("default", "key", "a secret of thirty characters")], endpoint=url)
        )
    except EnsImagesError as error:
        outcome = f"{type(error).__name__}: {error}"
    seconds = time.monotonic() - began
    peak = peak_mib()
    with connect(data) as lake:
        ((longest,),) = lake.execute("select max(epoch(received_at_utc - sent_at_utc)) from raw_pages").fetchall()
    return {"peak_mib": peak, "try_seconds": longest or 0.0, "seconds": seconds, "outcome": outcome[:300]}


def line(cost: Cost) -> str:
    """The figures of one run."""
    broken = "" if cost.trouble is None else f"  BROKEN: {cost.trouble}"
    figures = f"{cost.peak_mib:5} MiB {cost.try_seconds:6.2f} s a try {cost.seconds:7.2f} s"
    return f"{figures}  {cost.name}: {cost.outcome}"[:200] + broken


def worst(costs: Sequence[Cost]) -> str:
    """The most that any of them took."""
    peak, longest = max(cost.peak_mib for cost in costs), max(cost.try_seconds for cost in costs)
    return f"{len(costs)} hostile answers: at most {peak} MiB, at most {longest:.1f} s a try"


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run_here(*sys.argv[2:])))
