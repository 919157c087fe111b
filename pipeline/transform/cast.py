"""Cast columns of text to their declared types."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.transform.parse_irregular import json
from pipeline.transform.text_columns import Position, Reject

if TYPE_CHECKING:
    from pipeline.resources.schema import Column
    from pipeline.transform.text_columns import TextColumns


_TIMESTAMP: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2})?Z$"


def cast_columns(
    texts: pa.RecordBatch,
    fields: dict[str, Column],
    raw_json: dict[tuple[int, str], str],
    rejects: list[Reject],
    *,
    disks: TextColumns | None,
) -> dict[str, pa.Array]:
    """Cast each column of `texts`; a value that does not fit becomes null, and is appended to `rejects`.

    `disks` gives the positions of the rows if they are disks; None: they are images.
    """
    columns: dict[str, pa.Array] = {}
    for index, (name, column) in enumerate(fields.items()):
        values = texts.column(name)
        if column.kind == "text":
            columns[column.name] = values
            continue
        fits, columns[column.name] = (
            _timestamps(values) if column.kind == "timestamp" else _integers(values, column.most_digits)
        )
        is_empty = pc.equal(values, "")
        for row in pc.indices_nonzero(pc.invert(pc.or_(fits, is_empty))).to_pylist():
            position = (
                Position(row)
                if disks is None
                else Position(disks.disk_image_row[row].as_py(), disks.disk_number[row].as_py())
            )
            text = values[row].as_py()
            raw = raw_json.get((row, name)) or json(text)
            rejects.append(position.reject(index, name, _reason(column, text), raw))
    return columns


def _integers(values: pa.Array, most_digits: int) -> tuple[pa.Array, pa.Array]:
    """Whether each text is an integer (null stays null), and the integers."""
    fits = pc.and_(pc.ascii_is_decimal(values), pc.less_equal(pc.binary_length(values), most_digits))
    return fits, pc.if_else(fits, values, None).cast(pa.int64())


def _timestamps(values: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Whether each text is a timestamp (null stays null), and the timestamps."""
    fits = pc.and_not(pc.match_substring_regex(values, _TIMESTAMP), pc.starts_with(values, "0000"))
    without_zone = pc.if_else(fits, pc.utf8_slice_codeunits(values, 0, -1), None)
    try:
        return fits, without_zone.cast(pa.timestamp("us"))
    except pa.ArrowInvalid:  # a date or a time that does not exist, such as 30 February
        timestamps = pa.array(map(_timestamp, without_zone.to_pylist()), pa.timestamp("us"))
        return pc.and_(fits, pc.or_(pc.is_null(values), pc.is_valid(timestamps))), timestamps


def _timestamp(text: str | None) -> dt.datetime | None:
    try:
        return None if text is None else dt.datetime.fromisoformat(text)
    except ValueError:
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
