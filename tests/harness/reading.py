"""What the tests of anything written share: a terminal, golden files, hostile text."""

from __future__ import annotations

import io
import os
from pathlib import Path

from pipeline.reports.formats import write_rows
from pipeline.reports.query import Rows
from pipeline.reports.report import report
from pipeline.views.connection import connect

GOLDEN = Path(__file__).parents[1] / "golden"
HOSTILE = "\x1b[31mred\x1b[0m [bold]x[/bold] :smile: a\tb\nc\r\x9b2J \u202eevil\u2028 <script>|`*"


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def golden(name: str, found: str) -> None:
    """Compare with a golden file; `ENS_IMAGES_GOLDEN=write` writes it anew, to be read in review."""
    path = GOLDEN / name
    if os.environ.get("ENS_IMAGES_GOLDEN") == "write":
        path.write_text(found, "utf-8", newline="")
    with path.open(encoding="utf-8", newline="") as file:
        assert found == file.read()


def written(rows: Rows, output_format: str, out: io.StringIO | None = None) -> str:
    out = out or io.StringIO()
    write_rows(rows, output_format, out)
    return out.getvalue()


def reported(data: Path, *views: str, output_format: str = "table") -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    report(connect(data), views, output_format=output_format, out=out, err=err)
    return out.getvalue(), err.getvalue()


def one(value: object, kind: str = "VARCHAR") -> Rows:
    return Rows(("value",), (kind,), [(value,)])
