"""Output formats: one module a format, found by its name.

    rows  ──►  write          table  csv  json  markdown  ndjson      to a stream of text, as `--format` names it
    rows  ──►  write_bytes    parquet                                 to a stream of bytes, which no terminal shows
    view  ──►  export         csv  json  ndjson  parquet  xlsx        to a file, by its suffix

Each module here declares `FORMAT`, and the module's name is the format's name and suffix. A new format is one
new module: the command line, the settings file and the exports offer it as soon as it exists. The modules import
heavy libraries where they use them, because `ens-images --help` lists the formats.
"""

from __future__ import annotations

import functools
import pkgutil
from dataclasses import dataclass
from importlib import import_module
from itertools import count
from typing import TYPE_CHECKING

from pipeline.errors import BadSetting
from pipeline.text import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path
    from typing import BinaryIO, TextIO

    import duckdb

    from pipeline.reports.query import Rows
    from pipeline.views.model import Relation


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """The functions of one format; None where the format has no such use."""

    write: Callable[[Rows, TextIO], int] | None = None
    """Write rows to a text stream. Returns: the number of rows."""
    write_bytes: Callable[[Rows, BinaryIO], int] | None = None
    """Write rows to a stream of bytes, where the format is not text. Returns: the number of rows."""
    write_tables: Callable[[Iterable[tuple[str, Rows]], TextIO], None] | None = None
    """Write several named results as one document; None where a document holds one table."""
    export: Callable[[duckdb.DuckDBPyConnection, Relation, Path], int] | None = None
    """Write a table or view to a file. Returns: the number of rows."""


@functools.cache
def formats() -> dict[str, OutputFormat]:
    """Every format by name: the table first, the others by alphabet."""
    names = sorted((module.name for module in pkgutil.iter_modules(__path__)), key=lambda name: (name != "table", name))
    return {name: import_module(f"{__name__}.{name}").FORMAT for name in names}


def stream_formats() -> tuple[str, ...]:
    """The formats in which a result is written to a stream."""
    return tuple(name for name, output_format in formats().items() if output_format.write or output_format.write_bytes)


def is_binary(name: str) -> bool:
    """Tell whether a format is not text."""
    return formats()[name].write is None


def export_formats() -> tuple[str, ...]:
    """The formats in which a table or view is exported to a file; each is the file's suffix too."""
    return tuple(name for name, output_format in formats().items() if output_format.export)


def check_export_formats(names: Sequence[str]) -> None:
    """Check the export formats that a settings file names.

    Raises:
        BadSetting: there is none, or no such format; the message names the nearest.
    """
    known = export_formats()
    if not names:
        raise BadSetting(f"after_run.export_formats names no format: there are {', '.join(known)}")
    for name in names:
        if name not in known:
            suggestion = nearest(name.lower(), known)
            meant = f"did you mean {suggestion}? " if suggestion else ""
            raise BadSetting(
                f"after_run.export_formats: no format is called {name}: {meant}there are {', '.join(known)}"
            )


def write_rows(rows: Rows, output_format: str, out: TextIO) -> int:
    """Write `rows` to a stream; a format that is not text writes to the bytes below it.

    Returns: the number of rows written.
    """
    chosen = formats()[output_format]
    if chosen.write is not None:
        return chosen.write(rows, out)
    assert chosen.write_bytes is not None, output_format  # noqa: S101  (the command line offers `stream_formats` alone)
    out.flush()
    return chosen.write_bytes(rows, out.buffer)


def unique_names(names: Sequence[str]) -> list[str]:
    """Number the names that repeat an earlier one: `a`, `a_2`. A format whose columns are keys needs that."""
    unique: list[str] = []
    for name in names:
        numbered = (name if number == 1 else f"{name}_{number}" for number in count(1))
        unique.append(next(candidate for candidate in numbered if candidate not in unique))
    return unique
