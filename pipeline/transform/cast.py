"""Cast columns of text to their declared types."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.resources.schema import EARLIEST_PAST, FAR_FUTURE, LATEST_PAST
from pipeline.transform.parse_irregular import json
from pipeline.transform.text_columns import Position, Reject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pipeline.resources.schema import Column
    from pipeline.transform.text_columns import Fields, TextRows


_DAY_AND_MINUTE: Final = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}"
_TIMESTAMP: Final = {
    1: rf"^{_DAY_AND_MINUTE}(:[0-9]{{2}})?Z$",
    2: rf"^{_DAY_AND_MINUTE}(:[0-9]{{2}}([.,][0-9]+)?)?(Z|[+-]([01][0-9]|2[0-3])(:?[0-5][0-9])?)$",
}
"""Version of reading → ISO 8601 as accepted."""
_FIRST_INSTANT: Final = dt.datetime.min  # noqa: DTZ901  (UTC without a zone, as everywhere)
_LAST_INSTANT: Final = dt.datetime.max  # noqa: DTZ901


@dataclass(frozen=True, slots=True)
class Cast:
    """Casts columns of text; a value that does not fit becomes null, and is appended to `rejects`."""

    reading: int
    observed_at_utc: dt.datetime
    rejects: list[Reject]

    def columns(
        self, rows: TextRows, fields: Fields, position: Callable[[int], Position] = Position
    ) -> dict[str, pa.Array]:
        """Cast each column of `rows`; `position` gives that of a row."""
        columns: dict[str, pa.Array] = {}
        for index, (name, column) in enumerate(fields.columns.items()):
            values = rows.texts.column(name)
            if column.kind == "text":
                columns[column.name] = values
                continue
            typed, misfits = self._column(column, values)
            if column.never:
                is_never = pc.greater_equal(typed, pa.scalar(FAR_FUTURE, typed.type))
                columns[column.never] = is_never
                typed = pc.if_else(is_never, None, typed)
            columns[column.name] = typed
            for row, reason in misfits:
                text = values[row].as_py()
                raw = text if name in rows.bare else rows.raw_json.get((row, name)) or json(text)
                self.rejects.append(position(row).reject(index, name, reason, raw))
        return columns

    def _column(self, column: Column, values: pa.Array) -> tuple[pa.Array, list[tuple[int, str]]]:
        """The typed values, and the rows of the others, each with the reason."""
        if column.kind == "timestamp":
            fits, typed = _timestamps(values, self.reading)
        elif column.kind == "boolean":
            fits, typed = _booleans(values)
        else:
            fits, typed = _integers(values, column.most_digits)
        is_empty = pc.equal(values, "")
        misfits = [
            (row, _reason(column, values[row].as_py()))
            for row in pc.indices_nonzero(pc.invert(pc.or_(fits, is_empty))).to_pylist()
        ]
        if column.is_from_mib:
            whole = pc.divide(typed, _MIB_PER_GIB)
            is_whole = pc.equal(pc.multiply(whole, _MIB_PER_GIB), typed)
            misfits += [(row, NOT_WHOLE) for row in pc.indices_nonzero(pc.invert(is_whole)).to_pylist()]
            typed = pc.if_else(is_whole, whole, None)
        if column.is_past and self.reading > 1:
            for reason, is_impossible in self._impossible(typed):
                rows = pc.indices_nonzero(is_impossible).to_pylist()
                if rows:
                    misfits += [(row, reason) for row in rows]
                    typed = pc.if_else(is_impossible, None, typed)
        return typed, misfits

    def _impossible(self, instants: pa.Array) -> Iterator[tuple[str, pa.Array]]:
        """Each reason why an instant cannot be in the past of the observation, and whether it holds."""
        yield BEFORE, pc.less(instants, pa.scalar(EARLIEST_PAST, instants.type))
        last = min(self.observed_at_utc, _LAST_INSTANT - LATEST_PAST) + LATEST_PAST
        yield AFTER, pc.greater_equal(instants, pa.scalar(last, instants.type))


BEFORE: Final = f"before {EARLIEST_PAST.year}"
AFTER: Final = "a day or more after the observation"
NOT_WHOLE: Final = "MiB that are no whole number of GiB"
_MIB_PER_GIB: Final = 1024


def _booleans(values: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Whether each text is `true` or `false`, in any case (null stays null), and the booleans."""
    lower = pc.utf8_lower(values)
    is_true = pc.equal(lower, "true")
    fits = pc.or_(is_true, pc.equal(lower, "false"))
    return fits, pc.if_else(fits, is_true, None)


def _integers(values: pa.Array, most_digits: int) -> tuple[pa.Array, pa.Array]:
    """Whether each text is an integer (null stays null), and the integers."""
    fits = pc.and_(pc.ascii_is_decimal(values), pc.less_equal(pc.binary_length(values), most_digits))
    return fits, pc.if_else(fits, values, None).cast(pa.int64())


def _timestamps(values: pa.Array, reading: int) -> tuple[pa.Array, pa.Array]:
    """Whether each text is a timestamp (null stays null), and the timestamps, in UTC."""
    fits = pc.and_not(pc.match_substring_regex(values, _TIMESTAMP[reading]), pc.starts_with(values, "0000"))
    texts = pc.if_else(fits, values, None)
    try:
        timestamps = texts.cast(pa.timestamp("us", "UTC")).cast(pa.timestamp("us"))
    except pa.ArrowInvalid:  # a date or a time that does not exist, such as 30 February, or a seventh digit
        timestamps = None
    if timestamps is None or _is_beyond_the_calendar(timestamps):
        timestamps = pa.array(map(_timestamp, texts.to_pylist()), pa.timestamp("us"))
        fits = pc.and_(fits, pc.or_(pc.is_null(values), pc.is_valid(timestamps)))
    return fits, timestamps


def _is_beyond_the_calendar(timestamps: pa.Array) -> bool:
    """Whether an offset moved an instant out of the years 1 to 9999."""
    first, last = pc.min_max(timestamps).values()
    kind = timestamps.type
    is_beyond = pc.or_(
        pc.less(first, pa.scalar(_FIRST_INSTANT, kind)), pc.greater(last, pa.scalar(_LAST_INSTANT, kind))
    )
    return is_beyond.as_py() is True


def _timestamp(text: str | None) -> dt.datetime | None:
    if text is None or text[11:13] == "24":  # later versions of Python accept it, pyarrow does not
        return None
    try:
        return dt.datetime.fromisoformat(text).astimezone(dt.UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None


def _reason(column: Column, text: str) -> str:
    """The reason of a reject, as stored."""
    if column.kind == "timestamp":
        return "not an instant such as 2017-12-08T12:10:03Z"
    if column.kind == "boolean":
        return "neither true nor false"
    if text.startswith("-") and text[1:].isdigit():
        return "negative"
    if text.isascii() and text.isdigit():
        return "too large"
    return "not a whole number"
