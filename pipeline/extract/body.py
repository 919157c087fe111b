"""Read the body of one answer within bounds: bytes received, bytes unpacked, and no step that blocks the event loop.

    socket ─→ at most 64 KiB ─→ unpack at most 256 KiB ─→ other tasks and the deadline ─→ … ─→ bytes

The HTTP library unpacks without a bound and between two looks at the clock, so
it only delivers the bytes as received. The deadline is the caller's:
`asyncio.timeout` around `Body.read`. What was read before an error is `start`.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import zlib
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    import aiohttp


ACCEPTED_ENCODINGS: Final = "gzip"
"""What a request asks for: what is unpacked here."""
DEFAULT_MAX_ANSWER_MIB: Final = 12
"""A page of 50 images has 100 KiB. To keep and to type a page takes up to 14 times its size: 400 MiB at this limit, and
above 800 MiB at one of 64 MiB (`make fuzz`)."""
START_BYTES: Final = 64 << 10
"""Bytes of an unusable body that are kept as evidence."""
MAX_VALUES: Final = 150_000
"""Values and brackets in a body: each costs memory many times its bytes. A page of 50 images has some 2,000."""

_STEP_BYTES: Final = 256 << 10
_PIECE_BYTES: Final = 64 << 10
_COUNTED_BYTES: Final = 256 << 10
"""A smaller body has few values."""
_LARGE_BYTES: Final = 512 << 10
"""Larger bodies are read one at a time, and have to be JSON: to repair one would take long."""


class UnusableBody(Exception):
    """A body that is not read to its end, or not examined: the error code, and the reason in words."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Body:
    """The body of one answer while it is read."""

    def __init__(self, max_bytes: int, large: asyncio.Lock) -> None:
        """Of all bodies with the same `large`, one at a time may be larger than 512 KiB."""
        self.status: int | None = None
        """The HTTP status, once the headers are read."""
        self.received_bytes = 0
        self.announced_bytes: int | None = None
        self._max_bytes = max_bytes
        self._large = large
        self._content = bytearray()
        self._first_piece = b""

    @property
    def start(self) -> bytes:
        """The first bytes: unpacked, or as received where nothing could be unpacked."""
        return bytes(self._content[:START_BYTES]) or self._first_piece[:START_BYTES]

    @property
    def progress(self) -> str:
        """How much was received, as part of a sentence."""
        announced = "" if self.announced_bytes is None else f" of {self.announced_bytes:,}"
        return f"{self.received_bytes:,}{announced} bytes"

    async def read(self, response: aiohttp.ClientResponse) -> bytes:
        """Read and unpack the whole body.

        Raises:
            UnusableBody: it is too large, or cannot be unpacked.
        """
        self.status, self.announced_bytes = response.status, response.content_length
        unpacker = _Unpacker(response.headers.get("Content-Encoding", ""))
        async with contextlib.AsyncExitStack() as stack:
            is_alone = False
            while piece := await response.content.readany():
                self._first_piece = self._first_piece or piece
                self.received_bytes += len(piece)
                self._check_size(self.received_bytes, "received")
                for part in unpacker.unpack(piece):
                    self._content += part
                    self._check_size(len(self._content), "unpacked")
                    if len(self._content) > _LARGE_BYTES and not is_alone:
                        is_alone = True
                        await stack.enter_async_context(self._large)
                    await asyncio.sleep(0)
            unpacker.check_end()
            content = bytes(self._content)
            self._first_piece = content[:START_BYTES]
            self._content.clear()
        check_large(content)
        return content

    def _check_size(self, size: int, verb: str) -> None:
        if size > self._max_bytes:
            limit = f"{self._max_bytes / (1 << 20):,.4g} MiB"
            raise UnusableBody("TooLarge", f"its body is larger than {limit} {verb} and was not read further")


class _Unpacker:
    """Unpacks gzip and zlib in bounded steps."""

    def __init__(self, encoding: str) -> None:
        encoding = encoding.strip().lower()
        self._is_packed = encoding not in {"", "identity"}
        if self._is_packed and encoding not in {"gzip", "x-gzip", "deflate"}:
            raise UnusableBody("BadEncoding", f"its Content-Encoding is {encoding[:100]!r}, which was not asked for")
        self._encoding = encoding
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)  # by the header: gzip or zlib
        self._unpacked_bytes = 0
        self._is_begun = False

    def unpack(self, received: bytes) -> Iterator[bytes]:
        """Yield the bytes that `received` unpacks to, in steps; a step may be empty.

        Raises:
            UnusableBody: `received` cannot be unpacked.
        """
        if not self._is_packed:
            yield received
            return
        for begin in range(0, len(received), _PIECE_BYTES):
            piece = received[begin : begin + _PIECE_BYTES]
            part = b""
            while piece or (len(part) == _STEP_BYTES and not self._inflate.eof):  # a full step may leave more inside
                if self._inflate.eof:  # gzip may be several files in a row
                    self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
                try:
                    part = self._inflate.decompress(piece, _STEP_BYTES)
                except zlib.error as error:
                    reason = f"its {self._encoding} cannot be unpacked after {self._unpacked_bytes:,} bytes: {error}"
                    raise UnusableBody("BadEncoding", reason) from None
                self._is_begun = True
                self._unpacked_bytes += len(part)
                piece = self._inflate.unconsumed_tail or self._inflate.unused_data
                yield part

    def check_end(self) -> None:
        """Raise UnusableBody if the packed bytes ended early."""
        if self._is_begun and not self._inflate.eof:
            raise UnusableBody("BadEncoding", f"its {self._encoding} ends early, after {self._unpacked_bytes:,} bytes")


def check_large(body: bytes) -> None:
    """Check that a large body is JSON, and that it costs little memory; a small one may be anything.

    Raises:
        UnusableBody: it is not.
    """
    if len(body) <= _COUNTED_BYTES:
        return
    if sum(body.count(character) for character in (b",", b"[", b"{", b":")) > MAX_VALUES:
        raise UnusableBody("TooLarge", f"its body has {len(body):,} bytes and more than {MAX_VALUES:,} values")
    if len(body) <= _LARGE_BYTES:
        return
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for begin in range(0, len(body), _STEP_BYTES):
            decoder.decode(body[begin : begin + _STEP_BYTES])
        msgspec.json.decode(body, type=msgspec.Raw)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
        reason = "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise UnusableBody("NotJSON", f"its body has {len(body):,} bytes and is not JSON: {reason}") from None
