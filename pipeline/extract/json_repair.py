r"""Repair JSON that cannot be decoded: replace only the unreadable parts by placeholders.

    half a surrogate pair      "\ud800"          a placeholder inside the text
    bytes that are not UTF-8   "\xff"            a placeholder inside the text
    nested too deep            [[[[[[…]]]]]]     a placeholder, as text, for the whole value
    a byte order mark          before the body   removed

A value that contains a placeholder becomes null and a row of `rejects` with
the original JSON; nothing else is affected. Only bodies that cannot be decoded
are repaired.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

MAX_DEPTH: Final = 100
"""Nesting of lists and objects, counted from the body, that is decoded; the API uses eight levels."""

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[{]|[\]}]', re.DOTALL)
_HALF: Final = rb"\\u[dD][%b][0-9a-fA-F]{2}"
_ESCAPE: Final = re.compile(rb"%b%b|(%b)|\\." % (_HALF % b"89abAB", _HALF % b"c-fC-F", _HALF % b"89a-fA-F"), re.DOTALL)
"""Every escape, so that none is found inside another; half a surrogate pair is the group."""
_NOT_UTF8: Final = re.compile("[\udc80-\udcff]+")


@dataclass(frozen=True, slots=True)
class Placeholders:
    r"""The placeholders in a repaired body, `\ufdd0…`, and the original parts by number."""

    prefix: bytes = b""
    """Start of every placeholder in raw JSON: an escape, so that equal text is not taken for a placeholder."""
    parts: tuple[bytes, ...] = ()

    def occur_in(self, raw: bytes) -> bool:
        """Whether raw JSON contains a placeholder."""
        return bool(self.prefix) and self.prefix in bytes(raw)

    def reason(self, raw: bytes) -> str:
        """The reason for the first placeholder in raw JSON."""
        number = re.search(rb"%b([0-9]+)" % re.escape(self.prefix), bytes(raw))
        part = self.parts[int(number[1])] if number else b""
        return {b"\\u": "half a surrogate pair", b"\\\\": "not UTF-8"}.get(part[:2], "nested too deep")

    def original(self, raw: bytes) -> str:
        r"""Raw JSON with the original parts; bytes that are not UTF-8 are written as the text `\xff`."""
        return self._restore(bytes(raw)).decode()

    def _restore(self, raw: bytes) -> bytes:
        if not self.occur_in(raw):
            return raw
        placeholder = rb'"%b([0-9]+)!"|%b([0-9]+);' % (re.escape(self.prefix), re.escape(self.prefix))
        return re.sub(placeholder, lambda match: self._restore(self.parts[int(match[1] or match[2])]), raw)

    def readable_name(self, name: str) -> str:
        """The name of a field with U+FFFD in place of placeholders."""
        prefix = self.prefix.decode().replace("\\ufdd0", "\ufdd0")
        return re.sub(f"{prefix}[0-9]+;", "\ufffd", name) if prefix else name


NO_PLACEHOLDERS: Final = Placeholders()
"""Stands beside every body that needed no repair."""


def repair(body: bytes) -> tuple[bytes, Placeholders]:
    """Replace the parts of `body` that cannot be decoded.

    Returns:
        The repaired body, which is still not JSON if the rest of it is not, and its placeholders.
    """
    body = body.removeprefix(_BYTE_ORDER_MARK)
    prefix = b"\\ufdd0" + hashlib.sha256(body).hexdigest()[:20].encode()  # occurs in no body: it is the body's digest
    parts: list[bytes] = []

    def placeholder(part: bytes, end: bytes = b";") -> bytes:
        parts.append(part)
        return b"%b%d%b" % (prefix, len(parts) - 1, end)

    def escaped(match: re.Match[str]) -> str:
        return placeholder("".join(f"\\\\x{ord(byte) - 0xDC00:02x}" for byte in match[0]).encode()).decode()

    text = _NOT_UTF8.sub(escaped, body.decode("utf-8", "surrogateescape")).encode()
    chunks, end = [], 0
    for start, stop in _too_deep(text):
        chunks += [text[end:start], b'"', placeholder(text[start:stop], b'!"')]
        end = stop
    text = b"".join((*chunks, text[end:]))
    text = _ESCAPE.sub(lambda escape: placeholder(escape[1]) if escape[1] else escape[0], text)
    return text, Placeholders(prefix, tuple(parts))


def _too_deep(text: bytes) -> list[tuple[int, int]]:
    """The spans of lists and objects below MAX_DEPTH, each from its first bracket to its last."""
    spans, depth, start = [], 0, 0
    for token in _TOKEN.finditer(text):
        if token[0] in (b"[", b"{"):
            depth += 1
            start = token.start() if depth == MAX_DEPTH + 1 else start
        elif token[0] in (b"]", b"}"):
            depth -= 1
            if depth == MAX_DEPTH:
                spans.append((start, token.end()))
    return spans
