"""The manifest of a compaction: it names the files that hold the compacted observations.

    data/lake/manifests/000012.json                  only the newest manifest is read; put only if absent
      ├─ covered      run → its group of accounts and resources: the observations that the versions hold
      ├─ groups       account and resource of each group, listed once for all runs that share it
      ├─ runs         the runs that are compacted as a whole, and their days
      ├─ ended        lake/image_versions/<name>.parquet, …: versions that have ended, never written again
      ├─ resources    lake/image_versions_open/000012.parquet, …: versions that are still open
      │               lake/compacted_observations/000012.parquet: the commit records of `runs`
      ├─ rejects      lake/compacted_rejects/<name>.parquet
      └─ superseded   files that are no longer read, and the end of their grace period

In a bucket several machines may compact at once: their files have a random suffix in their names, the manifest has
none. The first one to put it wins; the files of the others are named by no manifest.

A manifest is written last and never changed: it commits the compaction. Before format 5 its groups were of accounts,
and the resource was `images`. Before format 4 the keys `manifest` and
`invalidated` of `ended` were `fold` and `void`; before format 3 a manifest had no groups and listed the accounts of
each run.
"""

from __future__ import annotations

import contextlib
import datetime as dt  # noqa: TC003  (msgspec reads the hints)
import re
from typing import TYPE_CHECKING, Final

import msgspec

from pipeline.errors import LakeDamaged
from pipeline.lake.layout import command, shown
from pipeline.lake.tombstones import Listed
from pipeline.memory import raise_if_out_of_memory
from pipeline.resources.schema import FORMAT
from pipeline.resources.tables import COMPACTED_OBSERVATIONS, COMPACTED_REJECTS, RESOURCES
from pipeline.storage.digest import OWN_DIGEST, UNKNOWN_DIGEST, FileDigest, refuse_changed, with_own_digest
from pipeline.storage.partitions import refuse_newer
from pipeline.storage.store import read_whole

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pipeline.resources.resource import Resource
    from pipeline.resources.schema import Table

MANIFESTS: Final = "manifests"
OLDER_MANIFESTS: Final = "folds"
RECORDS: Final = "compacted_observations"
REJECTED: Final = "compacted_rejects"


def open_place(resource: Resource) -> str:
    """Return the folder of the versions that are still open; that of the ended ones has the name of their table."""
    return f"{resource.versions_name}_open"


COMPACTED: Final[dict[str, Table]] = {
    **{place: resource.versions for resource in RESOURCES for place in (resource.versions_name, open_place(resource))},
    REJECTED: COMPACTED_REJECTS,
    RECORDS: COMPACTED_OBSERVATIONS,
}
"""The folders of compacted files in `lake`, and the table of each."""
OLDER_COMPACTED: Final = {REJECTED: "folded_rejects", RECORDS: "folded_observations"}
"""The names of these folders before format 4."""
_MANIFEST_FILE: Final = re.compile(r"\d{6,}\.json", re.ASCII)
_RENAMED_KEYS: Final = {"fold": "manifest", "void": "invalidated"}


class Ended(msgspec.Struct, frozen=True):
    """A file of versions that have ended."""

    manifest: str
    """The name of the file: the manifest that it was written with, and its suffix."""
    accounts: tuple[str, ...]
    invalidated: tuple[str, ...] = ()
    """Accounts that were rebuilt since: their rows in the file are not read."""
    resource: str = "images"


class Superseded(msgspec.Struct, frozen=True):
    """A file that is no longer read."""

    path: str
    """Below `lake`."""
    until_utc: dt.datetime


class Manifest(msgspec.Struct, frozen=True):
    """The content of a manifest."""

    name: str
    """Its number, which is the name of its file."""
    covered: dict[str, tuple[Listed, ...]]
    """Run → account and resource of each observation; runs of the same ones share one tuple."""
    runs: dict[str, dt.date]
    ended: tuple[Ended, ...] = ()
    rejects: tuple[str, ...] = ()
    superseded: tuple[Superseded, ...] = ()
    resources: tuple[str, ...] = ("images",)
    """The resources that have a file of open versions."""
    open_count: int = 0
    """Versions that are still open."""
    suffix: str = ""
    """What follows the number in the names of the files that were written with it."""
    digests: dict[str, FileDigest] = {}
    """`<folder>/<name>` → the digest of a compacted file. A file that an older version wrote has none."""
    format: str = FORMAT

    def encoded(self) -> bytes:
        """Encode it as it is written."""
        groups = {listed: number for number, listed in enumerate(dict.fromkeys(self.covered.values()))}
        content = msgspec.to_builtins(msgspec.structs.replace(self, covered={}))
        content["covered"] = {run: groups[listed] for run, listed in self.covered.items()}
        content["groups"] = list(groups)
        content[OWN_DIGEST] = UNKNOWN_DIGEST
        return with_own_digest(msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n", f"{self.name}.json")

    @property
    def stem(self) -> str:
        """The name of the files that were written with it."""
        return f"{self.name}{self.suffix}"

    @property
    def names(self) -> dict[str, tuple[str, ...]]:
        """The names of its files, by folder."""
        versions: dict[str, tuple[str, ...]] = {}
        for resource in RESOURCES:
            ended = (file.manifest for file in self.ended if file.resource == resource.name)
            versions[resource.versions_name] = tuple(ended)
            versions[open_place(resource)] = (self.stem,) if resource.name in self.resources else ()
        return {
            **versions,
            REJECTED: self.rejects,
            RECORDS: (self.stem,),
        }

    def files(self, data: Path) -> dict[str, tuple[Path, ...]]:
        """Its files, by folder."""
        return {
            place: tuple(compacted_path(data, place, name) for name in names) for place, names in self.names.items()
        }


def compacted_path(data: Path, place: str, name: str) -> Path:
    """Return the path of a compacted file; in a lake before format 4 it has the older name."""
    path = data / "lake" / place / f"{name}.parquet"
    if place in OLDER_COMPACTED and not path.exists():
        older = data / "lake" / OLDER_COMPACTED[place] / path.name
        return older if older.exists() else path
    return path


def manifest_path(data: Path, name: str) -> Path:
    """Return the path of a manifest; in a lake before format 4 it has the older name."""
    path = data / "lake" / MANIFESTS / f"{name}.json"
    older = data / "lake" / OLDER_MANIFESTS / path.name
    return older if not path.exists() and older.exists() else path


def next_name(before: Manifest | None) -> str:
    """Return the name of the next manifest."""
    return f"{int(before.name) + 1 if before else 1:06}"


def newest_manifest(data: Path) -> Manifest | None:
    """Read the newest manifest; None where nothing was ever compacted.

    Raises:
        LakeTooNew: a newer version has written it.
        LakeDamaged: it cannot be read.
    """
    while True:
        paths = manifest_paths(data)
        if not paths:
            return None
        path = paths[-1]
        try:
            content = read_whole(path)
        except FileNotFoundError:  # replaced by a newer one, and deleted
            continue
        except OSError as error:
            raise_if_out_of_memory(error)
            raise LakeDamaged(
                f"{shown(path)!r} cannot be read ({error.strerror or error}): {command(data, 'rebuild')} compacts again"
            ) from error
        return _decode(path, content)


def manifest_paths(data: Path) -> list[Path]:
    """List every manifest, the newest last."""
    found: list[Path] = []
    for folder in (OLDER_MANIFESTS, MANIFESTS):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found += [path for path in (data / "lake" / folder).iterdir() if _MANIFEST_FILE.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.stem))


def _decode(path: Path, encoded: bytes) -> Manifest:
    try:
        content = msgspec.json.decode(encoded)
        refuse_changed(encoded, path.name, is_required="digests" in content)
        refuse_newer(str(content["format"]), path)
        content["ended"] = [
            {_RENAMED_KEYS.get(key, key): value for key, value in file.items()} for file in content["ended"]
        ]
        if "groups" in content:
            groups = [_listed(group) for group in content["groups"]]
            covered = {run: groups[number] for run, number in content["covered"].items()}
        else:
            covered = {run: _listed(accounts) for run, accounts in content["covered"].items()}
        return msgspec.structs.replace(msgspec.convert({**content, "covered": {}}, Manifest), covered=covered)
    except (msgspec.MsgspecError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise LakeDamaged(
            f"{shown(path)!r} cannot be read ({error}): it names the compacted files; "
            f"{command(path.parents[2], 'rebuild')} compacts again"
        ) from error


def _listed(group: object) -> tuple[Listed, ...]:
    """Decode a group; before format 5 it names the accounts."""
    members = msgspec.convert(group, tuple[Listed | str, ...])
    return tuple((member, "images") if isinstance(member, str) else member for member in members)


def first_missing(files: Iterable[Path]) -> Path | None:
    """Return the first of these files that does not exist."""
    return next((path for path in files if not path.exists()), None)
