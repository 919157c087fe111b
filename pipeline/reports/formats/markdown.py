"""A Markdown table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.reports.formats import OutputFormat
from pipeline.text import escape_control, is_number, plain_text, thousands

if TYPE_CHECKING:
    from typing import TextIO

    from pipeline.reports.query import Rows


def write_markdown(rows: Rows, out: TextIO) -> int:
    """Write a table; numbers are right-aligned, with thousands separators."""
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
    """Escape a text so that Markdown shows it unchanged."""
    escaped = "".join(f"\\{character}" if character in "\\`*[]<>|~&" else character for character in text)
    return escape_control(escaped)


FORMAT: Final = OutputFormat(write=write_markdown)
