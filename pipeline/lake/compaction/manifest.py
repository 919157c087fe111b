"""What is folded: one record, which names every file that stands for it.

    data/lake/manifests/000012.json                  the newest record is the one that counts
      ├─ covered      run → its group of accounts: the observations that the versions hold
      ├─ groups       the accounts of each group, named once, however many runs listed them
      ├─ runs         the runs that nothing is read of any more but what is folded, and their days
      ├─ ended        lake/image_versions/<fold>.parquet: stretches that have ended, never written again
      │               lake/image_versions_open/000012.parquet: those that may go on
      │               lake/compacted_observations/000012.parquet: the commit records of `runs`
      ├─ rejects      lake/compacted_rejects/<n>.parquet
      └─ superseded   files that nothing reads any more, and until when they stay for who has them open

A record is written once and never changed. It goes in last, as a commit record does: before it there is the fold
before, after it this one. Before format 3 there were no groups: a record named the accounts of each run.
"""

from __future__ import annotations

import contextlib
import datetime as dt  # noqa: TC003  (msgspec reads the hints)
from typing import TYPE_CHECKING, Final

import msgspec

from pipeline.errors import LakeDamaged
from pipeline.resources.images import IMAGE_VERSIONS
from pipeline.resources.schema import FORMAT
from pipeline.resources.tables import COMPACTED_OBSERVATIONS, COMPACTED_REJECTS
from pipeline.storage.partitions import refuse_newer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pipeline.resources.schema import Table

MANIFESTS: Final = "manifests"
OLDER_MANIFESTS: Final = "folds"
ENDED: Final = "image_versions"
OPEN: Final = "image_versions_open"
RECORDS: Final = "compacted_observations"
REJECTED: Final = "compacted_rejects"
PLACES: Final[dict[str, Table]] = {
    ENDED: IMAGE_VERSIONS,
    OPEN: IMAGE_VERSIONS,
    REJECTED: COMPACTED_REJECTS,
    RECORDS: COMPACTED_OBSERVATIONS,
}
"""The folders of compacted files in `lake`, and the table of each."""
OLDER_PLACES: Final = {REJECTED: "folded_rejects", RECORDS: "folded_observations"}
"""The names of these folders before format 4."""


class Ended(msgspec.Struct, frozen=True):
    """A file of stretches that have ended."""

    fold: str
    accounts: tuple[str, ...]
    void: tuple[str, ...] = ()
    """Accounts that were folded anew since: their rows in it are passed over."""


class Superseded(msgspec.Struct, frozen=True):
    """A file that nothing reads any more."""

    path: str
    """Below `lake`."""
    until_utc: dt.datetime


class Manifest(msgspec.Struct, frozen=True):
    """The record."""

    name: str
    covered: dict[str, tuple[str, ...]]
    """Run → accounts; runs of the same accounts share one tuple."""
    runs: dict[str, dt.date]
    ended: tuple[Ended, ...] = ()
    rejects: tuple[str, ...] = ()
    superseded: tuple[Superseded, ...] = ()
    open_count: int = 0
    """Stretches that may go on."""
    format: str = FORMAT

    def encoded(self) -> bytes:
        """The record as it is written."""
        groups = {accounts: number for number, accounts in enumerate(dict.fromkeys(self.covered.values()))}
        said = msgspec.to_builtins(msgspec.structs.replace(self, covered={}))
        said["covered"] = {run: groups[accounts] for run, accounts in self.covered.items()}
        said["groups"] = list(groups)
        return msgspec.json.format(msgspec.json.encode(said), indent=1) + b"\n"

    @property
    def names(self) -> dict[str, tuple[str, ...]]:
        """The names of the files that it stands on, by folder."""
        return {
            ENDED: tuple(one.fold for one in self.ended),
            OPEN: (self.name,),
            REJECTED: self.rejects,
            RECORDS: (self.name,),
        }

    def files(self, data: Path) -> dict[str, tuple[Path, ...]]:
        """The files that it stands on, by folder."""
        return {
            place: tuple(compacted_path(data, place, name) for name in names) for place, names in self.names.items()
        }


def compacted_path(data: Path, place: str, name: str) -> Path:
    """Where a file of a compaction lies, or is to lie; a lake before format 4 has it under the older name."""
    path = data / "lake" / place / f"{name}.parquet"
    if place in OLDER_PLACES and not path.exists():
        older = data / "lake" / OLDER_PLACES[place] / path.name
        return older if older.exists() else path
    return path


def manifest_path(data: Path, name: str) -> Path:
    """Where a manifest lies, or is to lie; a lake before format 4 has it under the older name."""
    path = data / "lake" / MANIFESTS / f"{name}.json"
    older = data / "lake" / OLDER_MANIFESTS / path.name
    return older if not path.exists() and older.exists() else path


def next_name(before: Manifest | None) -> str:
    """The name of the fold that follows."""
    return f"{int(before.name) + 1 if before else 1:06}"


def newest_manifest(data: Path) -> Manifest | None:
    """Read the newest record; None where nothing was ever folded.

    Raises:
        LakeTooNew: a newer version has written it.
        LakeDamaged: it cannot be read, or a file that it names is not there.
    """
    while True:
        paths = manifest_paths(data)
        if not paths:
            return None
        path = max(paths, key=lambda path: path.name)
        try:
            said = path.read_bytes()
        except FileNotFoundError:  # a newer one came, and this one went
            continue
        except OSError as error:
            raise LakeDamaged(f"{str(path)!r} cannot be read ({error})") from error
        return _decoded(path, said)


def manifest_paths(data: Path) -> list[Path]:
    """Every record that lies there."""
    found: list[Path] = []
    for folder in (MANIFESTS, OLDER_MANIFESTS):
        with contextlib.suppress(FileNotFoundError):
            found += [path for path in (data / "lake" / folder).iterdir() if path.suffix == ".json"]
    return found


def _decoded(path: Path, said: bytes) -> Manifest:
    try:
        told = msgspec.json.decode(said)
        refuse_newer(str(told["format"]), path)
        if "groups" not in told:
            return msgspec.convert(told, Manifest)
        groups = msgspec.convert(told["groups"], list[tuple[str, ...]])
        covered = {run: groups[number] for run, number in told["covered"].items()}
        return msgspec.structs.replace(msgspec.convert({**told, "covered": {}}, Manifest), covered=covered)
    except (msgspec.MsgspecError, LookupError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise LakeDamaged(
            f"{str(path)!r} cannot be read ({error}): it says what is folded; put it back from a copy, "
            "or `ens-images rebuild --into` a new folder"
        ) from error


def first_missing(files: Iterable[Path]) -> Path | None:
    """The first of these files that is not there."""
    return next((path for path in files if not path.exists()), None)
