"""Files of a table, by day: `observed_on=2026-11-23/20261123T020000.000000Z.parquet`.

A run's id begins with its instant, so a file has one day in which it can lie. Under any other name it is not ours: a
sync tool's copy, a partial download, a copied folder.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Final

from pipeline.errors import LakeDamaged, LakeTooNew
from pipeline.resources.schema import FORMAT
from pipeline.storage.store import store_of

if TYPE_CHECKING:
    from pathlib import Path

STAGING: Final = ".staging"
"""The folder, in `raw` and in `lake`, in which a file is written before it is linked into place."""
DAMAGED: Final = ".damaged"
"""The folder in `raw` and in `lake` to which damaged files go that no reader needs, or whose loss was accepted."""
OLDER_STAGING: Final = ".aside"
"""Its name before format 4: orphans in it are deleted too."""
WITHDRAWN: Final = ".withdrawn"
"""The folder in `lake` in which files with withdrawn rows wait for the end of their grace period, by table and day."""


_RUN_ID: Final = re.compile(
    r"(\d{4})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3])(?:[0-5]\d){2}(?:\.\d{6})?Z(?:-[0-9a-f]+)?", re.ASCII
)
"""A run's id. Where another run had its instant, a number follows; in a bucket always a random one."""


def is_run_id(text: str) -> bool:
    """Return whether a text has the form of a run's id, and its instant is one."""
    if _RUN_ID.fullmatch(text) is None:
        return False
    try:
        instant_of_run(text)
    except ValueError:
        return False
    return True


def is_run_file(path: Path) -> bool:
    """Return whether a file has the name of a run's file, and lies in the folder of its day."""
    match = _RUN_ID.fullmatch(run_of(path)) if path.suffix == ".parquet" else None
    if match is None or path.parent.name != "observed_on={}-{}-{}".format(*match.groups()):
        return False
    return match.group(3) <= "28" or is_run_id(run_of(path))


def run_of(path: Path) -> str:
    """Return the run of a file, which may be a replacement: `<run>.<number>.parquet`."""
    run_id, _, number = path.stem.rpartition(".")
    return run_id if number.isdecimal() else path.stem


def number_of(path: Path) -> int:
    """Return the number of a replacement; 0 for the file that the run committed."""
    number = path.stem.rpartition(".")[2]
    return int(number) if number.isdecimal() else 0


def instant_of_run(run_id: str) -> dt.datetime:
    """Return the instant at which a run began, to the second."""
    return dt.datetime.strptime(run_id[:15], "%Y%m%dT%H%M%S")  # noqa: DTZ007  (UTC without a zone, as everywhere)


def day_of_run(run_id: str) -> dt.date:
    """Return the UTC day on which a run began: that of its folders."""
    return instant_of_run(run_id).date()


def files_by_day(folder: Path) -> list[Path]:
    """List the runs' files in the days of a folder, oldest run first; none where there is no such folder.

    Raises:
        NoAccess: a folder cannot be read: its files must not be taken for deleted.
    """
    return [path for path in store_of(folder).list_partitions(folder) if is_run_file(path)]


def refuse_newer(content: str, path: Path) -> None:
    """Refuse a format that this version does not know.

    Raises:
        LakeTooNew: it is newer.
        LakeDamaged: it is not a format.
    """
    if not (content.isascii() and content.isdigit()):
        raise LakeDamaged(f"{str(path)!r} should hold the format of the lake, such as {FORMAT}, not {content[:40]!r}")
    if int(content[:9]) > int(FORMAT):
        raise LakeTooNew(
            f"{str(path)!r} has format {content[:9]}, and this version of ens-images reads {FORMAT} at most: "
            "pip install --upgrade ens-images"
        )
