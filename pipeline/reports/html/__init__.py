"""The HTML page: all standing reports and their SQL in one file, to mail, print or keep.

    connect() ──► Report ──► charts.py    charts as Vega-Lite, colours by name
                                │
    page.html.j2 + page.css + page.js + the Vega library ──► one file

The page loads nothing, and its Content-Security-Policy forbids it: scripts and
styles run by their digest, expressions of charts are interpreted, not
evaluated. Text of the service stays text: Jinja escapes it, and control
characters are shown. The same lake gives the same bytes; the clock is not read.
Without scripts the charts are missing, and the tables show the same figures.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipeline.errors import BadSetting
from pipeline.reports.provenance import provenance_line
from pipeline.reports.standing import build_report
from pipeline.reports.standing.model import format_value
from pipeline.runtime import any_home
from pipeline.storage.folder import atomic_write

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

    from pipeline.reports.standing.model import Column, Row

_HERE: Final = Path(__file__).parent
TABLE_ROWS: Final = 50
"""Rows of a table on the page; it says how many the view has."""
_NEEDED: Final = {"altair": "altair", "jinja2": "jinja2", "vl_convert": "vl-convert-python"}


def write_page(con: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Write the page of a lake to `path`, or to standard output for `-`. A file is replaced as a whole.

    Raises:
        BadSetting: the extra is not installed, or the file cannot be written.
        LakeDamaged: a committed file is missing or unreadable.
    """
    if missing := missing_packages():
        raise BadSetting(f"a page needs {', '.join(missing)}, not installed here: pip install 'ens-images[report]'")
    if str(path) == "-":
        sys.stdout.buffer.write(render_page(con).encode())
        return
    if path.is_dir() or not path.parent.is_dir():
        problem = "is a folder" if path.is_dir() else f"cannot be written: there is no folder {str(path.parent)!r}"
        raise BadSetting(f"{str(path)!r} {problem}: give a file in a folder that is there")
    with atomic_write(path) as staged:
        staged.write_text(render_page(con), encoding="utf-8")


def missing_packages() -> list[str]:
    """Name the packages of the extra that are not installed."""
    return [package for module, package in _NEEDED.items() if find_spec(module) is None]


def render_page(con: duckdb.DuckDBPyConnection) -> str:
    """Render the page of a lake as an HTML document."""
    with any_home():
        import altair  # noqa: F401, ICN001
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from pipeline.reports.html.charts import vega_lite

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, loader=FileSystemLoader(_HERE), trim_blocks=True, lstrip_blocks=True
    )
    report = build_report(con)
    return environment.get_template("page.html.j2").render(
        report=report,
        provenance=provenance_line(con),
        cell=_cell,
        line=_line,
        table_rows=TABLE_ROWS,
        charts={section.name: _json(vega_lite(section.chart)) for section in report.sections if section.chart},
        css=(style := _text("page.css")),
        css_digest=_digest(style),
        library=_library(),
        library_digest=_digest(_library()),
        script=(script := _text("page.js")),
        script_digest=_digest(script),
    )


def _cell(row: Row, column: Column) -> dict[str, Any]:
    """A cell: its text, its sort key (empty goes last), and its share where a bar shows it."""
    value = row.get(column.name, "")
    text = format_value(value, column) if column.name in row else ""
    if column.sort_by:
        sort = str(row.get(column.sort_by, ""))
    elif value is None or value == "":
        sort = ""
    elif column.kind in {"day", "minute"}:
        sort = f"{value:%Y-%m-%dT%H:%M:%S}"
    else:
        sort = str(value) if column.is_number else text
    return {"text": text, "sort": sort, "share": value if column.kind == "share" and sort else None}


def _line(values: Sequence[int]) -> str:
    """Draw a line of at most 60 values in a box of 100 by 24, as the points of an SVG polyline."""
    if len(values) > 60:
        values = [values[(index + 1) * len(values) // 60 - 1] for index in range(60)]
    low, high = min(values), max(values)
    across, up = 100 / max(len(values) - 1, 1), 20 / (high - low) if high > low else 0
    return " ".join(
        f"{index * across:.1f},{22 - (value - low) * up if up else 12:.1f}" for index, value in enumerate(values)
    )


@functools.cache
def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script."""
    import vl_convert

    return f"\n{vl_convert.javascript_bundle('window.vegaEmbed = vegaEmbed;')}\n".replace("</script", "<\\/script")


def _text(name: str) -> str:
    return f"\n{(_HERE / name).read_text('utf-8')}"


def _digest(text: str) -> str:
    """Digest an inline script or style for the Content-Security-Policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _json(value: Any) -> str:
    """Write JSON in which no text can end the surrounding script element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
