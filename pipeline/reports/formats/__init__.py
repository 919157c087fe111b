"""Any result, in any format: a table, CSV, JSON, Markdown."""

from __future__ import annotations

import json
import re
from itertools import chain
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from pipeline.reports.query import Rows, cut
from pipeline.reports.terminal import as_table, console_on
from pipeline.text import escape_control, is_number, json_value, plain_text, thousands

if TYPE_CHECKING:
    from typing import TextIO

Format: TypeAlias = Literal["table", "csv", "json", "markdown"]

TABLE_ROWS: Final = 1_000
"""Rows of a query's result as a table; the other formats hold them all."""
_UNBOUNDED: Final = 1_000_000


def write_rows(rows: Rows, output_format: Format, out: TextIO, *, limit: int | None = None) -> int:
    """Write `rows` in a format and return how many were written; `limit` (by default `TABLE_ROWS`) is for tables.

    table      aligned, numbers with thousands separators; records below each other where it is too wide
    csv        RFC 4180, UTF-8; null is empty, an empty text is `""`. Text that a spreadsheet would take for a
               formula (it begins with = + - @, a tab or a carriage return) gets an apostrophe before it
    json       an array of objects, one a line; integers stay integers, instants are ISO text without a zone
    markdown   a table
    """
    if output_format == "csv":
        return _write_csv(rows, out)
    if output_format == "json":
        return write_json(rows, out)
    if output_format == "markdown":
        return write_markdown(rows, out)
    kept, more = cut(rows, TABLE_ROWS if limit is None else limit)
    with console_on(out, width=_UNBOUNDED) as shown:
        shown.print(as_table(kept, shown))
        if more:
            shown.print(f"… and {more:,} more: `--format csv` writes them all", style="dim", soft_wrap=True)
    return len(list(kept.rows))


def _write_csv(rows: Rows, out: TextIO) -> int:
    on_terminal = out.isatty()
    count = 0
    for count, row in enumerate(chain([rows.columns], rows.rows)):  # noqa: B007  (the header is row 0)
        cells = [_csv_cell(value) for value in row]
        line = ",".join(cells) if cells != [""] else '""'  # an empty line would be no row
        out.write((escape_control(line) if on_terminal else line) + "\r\n")
    return count


_FORMULA: Final = re.compile(r"[\s\ufeff\u200b-\u200f\u2060]*[=+\-@\uff1d\uff0b\uff0d\uff20]")
"""What a spreadsheet may take for a formula: behind blanks, or in full width, too."""


def _csv_cell(value: object) -> str:
    if value is None:
        return ""
    text = plain_text(value)
    if isinstance(value, (str, bytes)) and (_FORMULA.match(text) or text.startswith(("\t", "\r"))):
        text = f"'{text}"
    if not text or any(character in text for character in ',;"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def write_json(rows: Rows, out: TextIO, indent: str = "") -> int:
    """Write an array of objects, one a line; columns of one name get a number."""
    names: list[str] = []
    for name in rows.columns:
        number = 1 + names.count(name)
        names.append(name if number == 1 else f"{name}_{number}")
    count = 0
    out.write("[")
    for count, row in enumerate(rows.rows, start=1):
        line = json.dumps({name: json_value(value) for name, value in zip(names, row, strict=True)}, ensure_ascii=False)
        out.write(f"{',' if count > 1 else ''}\n{indent}{escape_control(line, json_escapes=True)}")
    out.write(f"\n{indent}]" if count else "]")
    if not indent:
        out.write("\n")
    return count


def write_markdown(rows: Rows, out: TextIO) -> int:
    """Write a Markdown table."""
    out.write("| " + " | ".join(markdown_cell(name) for name in rows.columns) + " |\n")
    out.write("|" + "|".join("---:" if is_number(kind) else "---" for kind in rows.types) + "|\n")
    count = 0
    for row in rows.rows:
        count += 1
        cells = (
            thousands(value) if is_number(kind) else plain_text(value)
            for value, kind in zip(row, rows.types, strict=True)
        )
        out.write("| " + " | ".join(map(markdown_cell, cells)) + " |\n")
    return count


def markdown_cell(text: str) -> str:
    """Spell a text so that Markdown shows it as it is."""
    escaped = "".join(f"\\{character}" if character in "\\`*[]<>|~&" else character for character in text)
    return escape_control(escaped)
