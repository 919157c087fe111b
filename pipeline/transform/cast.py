"""Text to declared types."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.transform.parse_odd import json
from pipeline.transform.texts import Line, Place

if TYPE_CHECKING:
    from pipeline.resources.schema import Column
    from pipeline.transform.texts import Texts


_INSTANT: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2})?Z$"


def typed(
    texts: pa.RecordBatch,
    fields: dict[str, Column],
    raw_of: dict[tuple[int, str], str],
    rejects: list[Line],
    *,
    disks: Texts | None,
) -> dict[str, pa.Array]:
    """Every column in its declared type; what does not fit is null there, and a line in `rejects`."""
    typed: dict[str, pa.Array] = {}
    for place, (name, column) in enumerate(fields.items()):
        values = texts.column(name)
        if column.kind == "text":
            typed[column.name] = values
            continue
        fits, typed[column.name] = (
            _instants(values) if column.kind == "instant" else _wholes(values, column.most_digits)
        )
        says_nothing = pc.equal(values, "")
        for row in pc.indices_nonzero(pc.invert(pc.or_(fits, says_nothing))).to_pylist():
            where = (
                Place(row)
                if disks is None
                else Place(disks.disk_image_row[row].as_py(), disks.disk_number[row].as_py())
            )
            text = values[row].as_py()
            rejects.append(where.line(place, name, _reason(column, text), raw_of.get((row, name)) or json(text)))
    return typed


def _wholes(values: pa.Array, most_digits: int) -> tuple[pa.Array, pa.Array]:
    """Which texts are whole numbers (null: nothing is said), and the numbers."""
    fits = pc.and_(pc.ascii_is_decimal(values), pc.less_equal(pc.binary_length(values), most_digits))
    return fits, pc.if_else(fits, values, None).cast(pa.int64())


def _instants(values: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Which texts are instants (null: nothing is said), and the instants."""
    fits = pc.and_not(pc.match_substring_regex(values, _INSTANT), pc.starts_with(values, "0000"))
    said = pc.if_else(fits, pc.utf8_slice_codeunits(values, 0, -1), None)  # without the Z
    try:
        return fits, said.cast(pa.timestamp("us"))
    except pa.ArrowInvalid:  # a day or an hour that no calendar has
        instants = pa.array(map(_instant, said.to_pylist()), pa.timestamp("us"))
        return pc.and_(fits, pc.or_(pc.is_null(values), pc.is_valid(instants))), instants


def _instant(text: str | None) -> dt.datetime | None:
    try:
        return None if text is None else dt.datetime.fromisoformat(text)
    except ValueError:
        return None


def _reason(column: Column, text: str) -> str:
    if column.kind == "instant":
        return "not an instant such as 2017-12-08T12:10:03Z"
    if text.startswith("-") and text[1:].isdigit():
        return "negative"
    if text.isascii() and text.isdigit():
        return "too large"
    return "not a whole number"
