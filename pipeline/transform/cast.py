"""Cast columns of text to their declared types."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.resources.schema import EARLIEST_PAST, LATEST_PAST
from pipeline.transform.parse_irregular import json
from pipeline.transform.text_columns import Position, Reject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.resources.schema import Column
    from pipeline.transform.text_columns import TextColumns


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
        self,
        texts: pa.RecordBatch,
        fields: dict[str, Column],
        raw_json: dict[tuple[int, str], str],
        *,
        disks: TextColumns | None,
    ) -> dict[str, pa.Array]:
        """Cast each column of `texts`.

        `disks` gives the positions of the rows if they are disks; None: they are images.
        """
        columns: dict[str, pa.Array] = {}
        for index, (name, column) in enumerate(fields.items()):
            values = texts.column(name)
            if column.kind == "text":
                columns[column.name] = values
                continue
            columns[column.name], misfits = self._column(column, values)
            for row, reason in misfits:
                position = (
                    Position(row)
                    if disks is None
                    else Position(disks.disk_image_row[row].as_py(), disks.disk_number[row].as_py())
                )
                raw = raw_json.get((row, name)) or json(values[row].as_py())
                self.rejects.append(position.reject(index, name, reason, raw))
        return columns

    def _column(self, column: Column, values: pa.Array) -> tuple[pa.Array, list[tuple[int, str]]]:
        """The typed values, and the rows of the others, each with the reason."""
        is_timestamp = column.kind == "timestamp"
        fits, typed = _timestamps(values, self.reading) if is_timestamp else _integers(values, column.most_digits)
        is_empty = pc.equal(values, "")
        misfits = [
            (row, _reason(column, values[row].as_py()))
            for row in pc.indices_nonzero(pc.invert(pc.or_(fits, is_empty))).to_pylist()
        ]
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
    if text.startswith("-") and text[1:].isdigit():
        return "negative"
    if text.isascii() and text.isdigit():
        return "too large"
    return "not a whole number"
