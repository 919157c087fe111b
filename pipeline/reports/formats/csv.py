"""CSV as in RFC 4180, in UTF-8, but each line ends with LF, as shells and databases write it.

Null is empty, an empty text is `""`. An instant is `2026-10-30 02:00:00.000000`,
in UTC without a zone. A text that a spreadsheet would run as a formula (it
begins with = + - @, a tab or a carriage return) gets an apostrophe before it.
"""

from __future__ import annotations

import datetime as dt
import re
from itertools import chain
from typing import TYPE_CHECKING, Final

from pipeline.reports.formats import OutputFormat
from pipeline.text import escape_control, plain_text, utc_text

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TextIO

    import duckdb

    from pipeline.reports.query import Rows
    from pipeline.views.model import Relation

_FORMULA: Final = re.compile(r"[\s\ufeff\u200b-\u200f\u2060]*[=+\-@\uff1d\uff0b\uff0d\uff20]")
"""What a spreadsheet may run as a formula, also after blanks or in full width."""


def write_csv(rows: Rows, out: TextIO) -> int:
    """Write a header and a line a row; on a terminal, with control characters escaped."""
    on_terminal = out.isatty()
    count = 0
    for count, row in enumerate(chain([rows.columns], rows.rows)):  # noqa: B007  (the header is row 0)
        cells = [_cell(value) for value in row]
        line = ",".join(cells) if cells != [""] else '""'  # an empty line would be no row
        out.write((escape_control(line) if on_terminal else line) + "\n")
    return count


def export_csv(con: duckdb.DuckDBPyConnection, relation: Relation, path: Path) -> int:
    """Write a table or view to a file."""
    from pipeline.reports.query import read

    with path.open("w", encoding="utf-8", newline="") as out:
        return write_csv(read(con, relation.name), out)


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = utc_text(value) if isinstance(value, dt.datetime) else plain_text(value)
    if isinstance(value, (str, bytes)) and (_FORMULA.match(text) or text.startswith(("\t", "\r"))):
        text = f"'{text}"
    if not text or any(character in text for character in ',;"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


FORMAT: Final = OutputFormat(write=write_csv, export=export_csv)
