"""Find the keys that stand twice in one JSON object: decoders keep the value of the last and do not tell.

Every key is followed by a colon that is in no value. So an object with as many colons outside of its decoded values as
it has keys has each key once. Where the numbers differ, the object is read token by token: a key may hold a colon.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[][{},:]', re.DOTALL)


class Doubled(bytes):
    """The values of a key that stands twice: as sent and in their order, as a JSON list."""

    __slots__ = ()


def doubled_values(raw: bytes | msgspec.Raw, values: Mapping[str, bytes | msgspec.Raw]) -> dict[str, Doubled]:
    """Find the keys that stand twice in the object `raw`; `values` are its values as decoded, the last of each key."""
    raw = bytes(raw)
    if raw.count(b":") - b"".join(values.values()).count(b":") == len(values):
        return {}
    found = defaultdict(list)
    for name, value in _members(raw):
        found[name].append(value)
    return {name: Doubled(b"[%b]" % b",".join(each)) for name, each in found.items() if len(each) > 1}


def _members(raw: bytes) -> Iterator[tuple[str, bytes]]:
    """The keys of an object that was decoded, and their values as sent."""
    depth, start, text, name = 0, 0, b"", b""
    for match in _TOKEN.finditer(raw):
        token = match[0]
        depth -= token in {b"}", b"]"}
        if token == b":" and depth == 1:
            name, start = text, match.end()
        elif name and ((token == b"," and depth == 1) or depth == 0):
            yield msgspec.json.decode(name, type=str), raw[start : match.start()].strip()
            name = b""
        depth += token in {b"{", b"["}
        text = token
