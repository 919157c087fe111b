"""An Excel workbook: typed cells, a frozen header, the meaning of each column in its comment.

A text is written as text, whatever it begins with, so no spreadsheet runs it as
a formula. The same rows give the same bytes.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import math
from decimal import Decimal
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from pipeline.errors import BadSetting
from pipeline.reports.formats import OutputFormat
from pipeline.storage.staging import staging_folder
from pipeline.text import plain_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import duckdb

    from pipeline.reports.query import Rows
    from pipeline.views.model import Relation

MOST_ROWS: Final = 1_048_575
"""Rows of a sheet below its header, by the format of the file."""
MOST_CHARACTERS: Final = 32_767
_MOST_DIGITS: Final = 10**15
_FIRST_YEAR: Final = 1900
_NO_INSTANT: Final = dt.datetime(1980, 1, 1)  # noqa: DTZ001  (the earliest instant of a zip file)
_WIDTHS: Final = {"VARCHAR": 28, "TIMESTAMP": 19, "BOOLEAN": 8}


def export_workbook(con: duckdb.DuckDBPyConnection, relation: Relation, path: Path) -> int:
    """Write a table or view to a workbook.

    Raises:
        BadSetting: the extra is not installed, or the rows do not fit on a sheet.
    """
    from pipeline.reports.provenance import provenance_line
    from pipeline.reports.query import read

    provenance = provenance_line(con)  # first: the connection answers one query at a time
    return write_workbook(path, relation, read(con, relation.name), provenance)


def write_workbook(path: Path, relation: Relation, rows: Rows, provenance: str) -> int:
    """Write rows as the first sheet and their description as the second.

    Integers of more than 15 digits and instants before 1900 are text, because Excel cannot hold them.

    Returns: the number of rows.

    Raises:
        BadSetting: the extra is not installed, or the rows do not fit on a sheet.
    """
    if find_spec("xlsxwriter") is None:
        raise BadSetting("an Excel file needs XlsxWriter, not installed here: pip install 'ens-images[excel]'")
    with _workbook(path) as book:
        book.set_properties({"title": relation.name, "comments": provenance, "created": _NO_INSTANT})
        sheet = book.add_worksheet(relation.name[:31])
        header = book.add_format({"bold": True, "bottom": 1})
        cell_formats = {
            "day": book.add_format({"num_format": "yyyy-mm-dd"}),
            "instant": book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"}),
            "whole": book.add_format({"num_format": "#,##0"}),
        }
        meanings = {column.name: column.comment for column in relation.columns}
        sheet.freeze_panes(1, 0)
        for place, (name, kind) in enumerate(zip(rows.columns, rows.types, strict=True)):
            sheet.set_column(place, place, max(len(name) + 3, _WIDTHS.get(kind, 12)))
            sheet.write_string(0, place, name, header)
            sheet.write_comment(0, place, meanings[name], {"x_scale": 2})
        count = 0
        for count, row in enumerate(rows.rows, start=1):
            if count > MOST_ROWS:
                raise BadSetting(f"{relation.name} has more than {MOST_ROWS:,} rows, the most of a sheet: take .csv")
            for place, value in enumerate(row):
                _write_cell(sheet, (count, place), value, cell_formats)
        sheet.autofilter(0, 0, max(count, 1), len(rows.columns) - 1)
        _write_about(book, relation, provenance)
    return count


@contextlib.contextmanager
def _workbook(path: Path) -> Iterator[Any]:
    """Open a workbook; its sheets wait in our temporary folder until it is closed.

    Raises:
        OSError: it cannot be written.
    """
    import xlsxwriter
    from xlsxwriter.exceptions import FileCreateError

    book = xlsxwriter.Workbook(str(path), {"constant_memory": True, "tmpdir": str(staging_folder())})
    try:
        yield book
    finally:
        try:
            book.close()
        except FileCreateError as error:  # it stands for an OSError, and is none
            raise OSError(*error.args[0].args) from error


def _write_cell(sheet: Any, at: tuple[int, int], value: object, cell_formats: dict[str, Any]) -> None:
    """Write a value with its type, or as text where Excel has no such type."""
    if value is None:
        return
    if isinstance(value, bool):
        sheet.write_boolean(*at, value)
    elif isinstance(value, int) and abs(value) < _MOST_DIGITS:
        sheet.write_number(*at, value, cell_formats["whole"])
    elif isinstance(value, (float, Decimal)) and math.isfinite(value):
        sheet.write_number(*at, float(value))
    elif isinstance(value, dt.datetime) and value.year >= _FIRST_YEAR:
        sheet.write_datetime(*at, value, cell_formats["instant"])
    elif isinstance(value, dt.date) and value.year >= _FIRST_YEAR:
        sheet.write_datetime(*at, value, cell_formats["day"])
    else:
        text = plain_text(value)
        if len(text) > MOST_CHARACTERS:
            raise BadSetting(f"a text of {len(text):,} characters does not fit in a cell of Excel: take .csv")
        sheet.write_string(*at, text)


def _write_about(book: Any, relation: Relation, provenance: str) -> None:
    about = book.add_worksheet("about")
    about.set_column(0, 0, 14)
    about.set_column(1, 1, 110)
    for row, (name, text) in enumerate(
        (
            ("table", relation.name),
            ("one row is", relation.grain),
            ("provenance", provenance),
            ("example", relation.example),
        )
    ):
        about.write_string(row, 0, name)
        about.write_string(row, 1, text)


FORMAT: Final = OutputFormat(export=export_workbook)
