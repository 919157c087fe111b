r"""JSON that is not quite readable, mended: what cannot be read is set aside, and costs nothing that stands beside it.

    half a surrogate pair      "\ud800"          a mark inside its text
    bytes that are no UTF-8    "\xff"            a mark inside its text
    nested without an end      [[[[[[…]]]]]]     a mark in its place, as text
    a byte order mark          before the body   gone

A value that holds a mark is no value: it is null, and a line in `rejects`, as
it was sent. Only bodies that could not be read otherwise are mended at all.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

DEEPEST: Final = 100
"""Lists and objects inside each other, from the body on, that are followed; the API has eight."""

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[{]|[\]}]', re.DOTALL)
_HALF: Final = rb"\\u[dD][%b][0-9a-fA-F]{2}"
_ESCAPE: Final = re.compile(rb"%b%b|(%b)|\\." % (_HALF % b"89abAB", _HALF % b"c-fC-F", _HALF % b"89a-fA-F"), re.DOTALL)
"""Every escape, so that none is looked for inside another; what is half a surrogate pair is a group."""
_NO_UTF8: Final = re.compile("[\udc80-\udcff]+")


@dataclass(frozen=True, slots=True)
class Repaired:
    r"""What was set aside of a body: the marks that stand for it, `\ufdd0…`, and the pieces by their number."""

    mark: bytes = b""
    """How every mark begins in the raw JSON: an escape, so that no text that says the same is taken for one."""
    pieces: tuple[bytes, ...] = ()

    def is_in(self, raw: bytes) -> bool:
        """Whether something of this raw JSON was set aside."""
        return bool(self.mark) and self.mark in bytes(raw)

    def why(self, raw: bytes) -> str:
        """Why the first of what was set aside of this raw JSON was."""
        number = re.search(rb"%b([0-9]+)" % re.escape(self.mark), bytes(raw))
        piece = self.pieces[int(number[1])] if number else b""
        return {b"\\u": "half a surrogate pair", b"\\\\": "not UTF-8"}.get(piece[:2], "nested too deep")

    def as_sent(self, raw: bytes) -> str:
        r"""Raw JSON with everything back in its place; bytes that are no UTF-8 spelled as the text `\xff`."""
        return self._put_back(bytes(raw)).decode()

    def _put_back(self, raw: bytes) -> bytes:
        if not self.is_in(raw):
            return raw
        marks = rb'"%b([0-9]+)!"|%b([0-9]+);' % (re.escape(self.mark), re.escape(self.mark))
        return re.sub(marks, lambda found: self._put_back(self.pieces[int(found[1] or found[2])]), raw)

    def shown(self, name: str) -> str:
        """A field's name: U+FFFD for what was set aside of it."""
        mark = self.mark.decode().replace("\\ufdd0", "\ufdd0")
        return re.sub(f"{mark}[0-9]+;", "\ufffd", name) if mark else name


UNTOUCHED: Final = Repaired()


def repair(body: bytes) -> tuple[bytes, Repaired]:
    """Make `body` readable as far as that goes; what was set aside for it.

    It may still be no JSON: then it was none before.
    """
    body = body.removeprefix(_BYTE_ORDER_MARK)
    mark = b"\\ufdd0" + hashlib.sha256(body).hexdigest()[:20].encode()  # in no body: it would hold its own digest
    pieces: list[bytes] = []

    def aside(piece: bytes, end: bytes = b";") -> bytes:
        pieces.append(piece)
        return b"%b%d%b" % (mark, len(pieces) - 1, end)

    def spelled(found: re.Match[str]) -> str:
        return aside("".join(f"\\\\x{ord(byte) - 0xDC00:02x}" for byte in found[0]).encode()).decode()

    text = _NO_UTF8.sub(spelled, body.decode("utf-8", "surrogateescape")).encode()
    parts, end = [], 0
    for start, stop in _too_deep(text):
        parts += [text[end:start], b'"', aside(text[start:stop], b'!"')]
        end = stop
    text = b"".join((*parts, text[end:]))
    text = _ESCAPE.sub(lambda escape: aside(escape[1]) if escape[1] else escape[0], text)
    return text, Repaired(mark, tuple(pieces))


def _too_deep(text: bytes) -> list[tuple[int, int]]:
    """Where lists and objects stand that are nested too deep: from the first bracket to the last."""
    found, depth, start = [], 0, 0
    for token in _TOKEN.finditer(text):
        if token[0] in (b"[", b"{"):
            depth += 1
            start = token.start() if depth == DEEPEST + 1 else start
        elif token[0] in (b"]", b"}"):
            depth -= 1
            if depth == DEEPEST:
                found.append((start, token.end()))
    return found
