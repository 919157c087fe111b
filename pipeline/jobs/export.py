"""Export views to files: connect, then the writers of `reports.export`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from pipeline.errors import BadSetting
from pipeline.lake.verification import ALL_BUT_PAGES
from pipeline.paths import user_path
from pipeline.reports import database
from pipeline.reports import export as exports
from pipeline.reports.formats import export_formats
from pipeline.reports.provenance import provenance_line
from pipeline.resources.control import RAW_PAGES
from pipeline.views.connection import connect

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence
    from pathlib import Path
    from typing import TextIO

    from pipeline.views.parameters import Thresholds


def export(
    view: str,
    file: str | Path,
    data: str | Path = "data",
    *,
    as_of: str | dt.date | None = None,
    thresholds: Thresholds | None = None,
) -> tuple[int, str]:
    """Write a table or view to `file`, in the format of its suffix, one of `export_formats()`.

    The file is written completely or not at all. `as_of` and `thresholds` are those of `connect`.

    Returns:
        The number of rows, and the provenance line.

    Raises:
        UnknownName: there is no such view; the message names the nearest.
        BadSetting: the suffix is none of those, or there was no observation by then.
        LakeMissing: there is no lake in `data`.
    """
    with contextlib.closing(connect(data, as_of=as_of, thresholds=thresholds, anew=ALL_BUT_PAGES | {view})) as lake:
        return exports.export(lake, view, user_path(file)), provenance_line(lake)


def export_to_stream(
    view: str,
    output_format: str,
    out: TextIO,
    data: str | Path = "data",
    *,
    as_of: str | dt.date | None = None,
    thresholds: Thresholds | None = None,
) -> tuple[int, str]:
    """Write a table or view to `out`: the bytes that `export` writes to a file.

    A format that is not text is written to the bytes below `out`. `as_of` and `thresholds` are those of `connect`.

    Returns:
        The number of rows, and the provenance line.

    Raises:
        UnknownName: there is no such view; the message names the nearest.
        BadSetting: the format needs an extra, or there was no observation by then.
        LakeMissing: there is no lake in `data`.
    """
    with contextlib.closing(connect(data, as_of=as_of, thresholds=thresholds, anew=ALL_BUT_PAGES | {view})) as lake:
        return exports.export_to_stream(lake, view, output_format, out), provenance_line(lake)


def export_database(
    file: str | Path,
    data: str | Path = "data",
    *,
    as_of: str | dt.date | None = None,
    thresholds: Thresholds | None = None,
) -> tuple[int, int, str]:
    """Write every table and view as a table of one DuckDB file, with comments and a manifest.

    The file is written completely or not at all. `as_of` and `thresholds` are those of `connect`.

    Returns:
        The number of tables, the number of rows of all, and the provenance line.

    Raises:
        BadSetting: the file is not an earlier export, cannot be written, or there was no observation by then.
        LakeMissing: there is no lake in `data`.
    """
    with contextlib.closing(
        connect(data, as_of=as_of, thresholds=thresholds, anew=ALL_BUT_PAGES | {RAW_PAGES.name}, keeps_versions=True)
    ) as lake:
        return *database.export_database(lake, user_path(file)), provenance_line(lake)


def export_all(
    folder: str | Path,
    data: str | Path = "data",
    *,
    formats: Sequence[str] = ("csv",),
    as_of: str | dt.date | None = None,
    thresholds: Thresholds | None = None,
) -> tuple[dict[str, Any], str]:
    """Write every standing report into `folder`, one file per format, with a manifest.

    The folder is replaced as a whole. `as_of` and `thresholds` are those of `connect`.

    Returns:
        The manifest, and the provenance line.

    Raises:
        BadSetting: the folder is not an earlier export, a format needs an extra, or there was no observation by then.
        LakeMissing: there is no lake in `data`.
    """
    if unknown := set(formats) - set(export_formats()):
        raise BadSetting(f"no format is called {', '.join(sorted(unknown))}: choose from {', '.join(export_formats())}")
    with contextlib.closing(
        connect(data, as_of=as_of, thresholds=thresholds, anew=ALL_BUT_PAGES, keeps_versions=True)
    ) as lake:
        return exports.export_all(lake, user_path(folder), tuple(dict.fromkeys(formats))), provenance_line(lake)
