"""A value as text: in a terminal, in JSON, in SQL, in a sentence.

What the service sent can hold anything. Where a person reads it, control
characters are shown, never obeyed.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
import unicodedata
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.errors import BadSetting

if TYPE_CHECKING:
    from collections.abc import Iterable

NOTHING: Final = "–"  # noqa: RUF001  (the dash that stands for null)
_NUMBERS: Final = ("BIGINT", "INTEGER", "SMALLINT", "TINYINT", "HUGEINT", "UHUGEINT", "DOUBLE", "FLOAT", "DECIMAL")


def escape_control(text: str, *, json_escapes: bool = False) -> str:
    """Show control characters, and those that turn the direction of text, instead of sending them."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        else _escape(ord(character), json_escapes=json_escapes)
        for character in text
    )


def _escape(code: int, *, json_escapes: bool) -> str:
    if json_escapes:
        return json.dumps(chr(code))[1:-1] if code != 0x7F else "\\u007f"
    short = {0x09: "\\t", 0x0A: "\\n", 0x0D: "\\r"}
    return short.get(code) or (
        f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    )


def read_text(path: str | Path) -> str:
    """Read a file that a user wrote: UTF-8, with or without a byte order mark.

    Raises:
        BadSetting: it is not UTF-8.
    """
    content = Path(path).read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise BadSetting(f"{str(path)!r}, line {line}: not UTF-8: save the file as UTF-8") from None


def os_reason(error: OSError) -> str:
    """Spell an error of the operating system: its file, where it names one, and the reason."""
    path = "" if error.filename is None else f"{str(error.filename)!r}: "
    return f"{path}{error.strerror or error or type(error).__name__}"


def plain_text(value: object) -> str:
    """Spell a value as text: instants as `2017-12-08 12:10:03`, with a fraction only where there is one."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(json_value(value), ensure_ascii=False)
    return str(value)


def utc_text(instant: dt.datetime, separator: str = " ") -> str:
    """Spell an instant for another program, always with six digits of a second: a reader then infers one type.

    An instant without a zone is in UTC, as everywhere in the lake.
    """
    in_utc = instant.astimezone(dt.UTC) if instant.tzinfo else instant
    return in_utc.replace(tzinfo=None).isoformat(separator, "microseconds")


def thousands(value: object) -> str:
    """Spell a number with thousands separators."""
    return (
        f"{value:,}" if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool) else plain_text(value)
    )


def is_number(kind: str) -> bool:
    """Tell whether a type of DuckDB's is one of numbers."""
    return kind.startswith(_NUMBERS) and not kind.endswith("]")


def json_value(value: object) -> object:
    """Turn a value into one that JSON can hold; integers stay integers."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dt.datetime):
        return f"{utc_text(value, 'T')}Z"
    if isinstance(value, (list, tuple)):
        return [json_value(item) for item in value]
    if isinstance(value, dict):
        return {plain_text(key): json_value(item) for key, item in value.items()}
    return plain_text(value)


def pluralize(number: int, word: str, plural: str | None = None) -> str:
    """`1 image`, `1,037 images`; `plural` for a word that takes more than an s."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {plural or word + 's'}"


def with_article(word: str) -> str:
    """`an image`, `a snapshot`."""
    return f"{'an' if word[:1] in 'aeiou' else 'a'} {word}"


def duration(seconds: float) -> str:
    """Return a time span in its two largest units: `1 h 5 min`, `12 min 30 s`, `40 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (rest, "s")]
    shown = [f"{number:,} {unit}" for number, unit in parts if number][:2]
    return " ".join(shown) if seconds >= 1 else f"{seconds:.2g} s"


def escape_glob(path: str | Path) -> str:
    """The pattern by which DuckDB reads this file alone: `data [old]` may be a folder's name."""
    return re.sub(r"[*?[]", r"[\g<0>]", str(path))


def sql_literal(text: str | Path) -> str:
    """Spell a text as a literal of SQL."""
    return "'" + str(text).replace("'", "''") + "'"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Find the name in `known` that a misspelled `word` most likely stands for.

    Returns: that name, or None where nothing is similar.
    """
    import difflib

    matches = difflib.get_close_matches(word, [*known], n=1, cutoff=0.5)
    return matches[0] if matches else None
