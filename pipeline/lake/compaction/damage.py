"""A damaged compaction: what is wrong with it, and how it begins again from the daily files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import LakeDamaged
from pipeline.extract.raw_pages import raw_paths
from pipeline.lake.compaction.manifest import (
    COMPACTED,
    OLDER_COMPACTED,
    RECORDS,
    Manifest,
    manifest_paths,
    newest_manifest,
)
from pipeline.lake.layout import command
from pipeline.lake.orphans import delete
from pipeline.lake.scan import scan_files
from pipeline.lake.survey import pages_flaw
from pipeline.lake.tombstone_files import read_tombstones
from pipeline.lake.verification import file_flaw, read_verified
from pipeline.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from pipeline.lake.tombstones import Listed, Tombstones


def compaction_flaws(data: Path) -> tuple[Manifest | None, dict[Path, str]]:
    """Find what is wrong with the newest manifest or a file that it names. Returns: the manifest, and the flaws."""
    try:
        manifest = newest_manifest(data)
    except LakeDamaged as error:
        return None, {data / "lake" / "manifests": str(error)}
    if manifest is None:
        if not (store_of(data).has_lock or _has_expired_days(data)):
            return None, {}  # another machine may be at work on the first compaction
        return None, {path: "no manifest names it" for place in COMPACTED for path in _compacted_files(data, place)[:1]}
    flaws = {}
    for place, paths in manifest.files(data).items() if manifest else ():
        for path in paths:
            digest = manifest.digests.get(f"{place}/{path.stem}") if manifest else None
            flaw = _older_flaw(path) if digest is None else file_flaw(path, digest)
            if flaw is not None:
                flaws[path] = flaw
    return manifest, flaws


def _has_expired_days(data: Path) -> bool:
    try:
        return bool(read_tombstones(data).expired_days)
    except LakeDamaged:  # which another check names
        return False


def _older_flaw(path: Path) -> str | None:
    try:
        read_verified(path)
    except LakeDamaged as error:
        return str(error)
    return None


def compacted_observations(data: Path, manifest: Manifest | None) -> dict[str, tuple[Listed, ...]]:
    """Return the runs that were compacted, by the manifest, or, without it, by the newest readable records.

    Returns: run → accounts and resources of which the versions held rows.
    """
    import duckdb

    if manifest is not None:
        return {run_id: manifest.covered.get(run_id, ()) for run_id in manifest.runs}
    names = ("run_id", "account", "resource", "is_published")
    for path in sorted(_compacted_files(data, RECORDS), key=lambda path: (len(path.name), path.name), reverse=True):
        try:
            read_verified(path)
            query = scan_files(COMPACTED[RECORDS], [path], names=names)
            with duckdb.connect() as con:
                store_of(data).register_filesystem(con)
                rows = con.execute(f"select {', '.join(names)} from ({query}) as record").fetchall()  # noqa: S608
        except (LakeDamaged, duckdb.Error):
            continue
        found: dict[str, tuple[Listed, ...]] = {}
        for run_id, account, resource, is_published in rows:
            found[run_id] = (*found.get(run_id, ()), *([(account, resource)] if is_published else []))
        return found
    return {}


def lost_runs(
    data: Path, compacted: Mapping[str, Sequence[Listed]], with_record: Collection[str], tombstones: Tombstones
) -> dict[str, list[Listed]]:
    """Select the runs that a damaged compaction alone held: nothing brings back what they published.

    `compacted` is as from `compacted_observations`; the runs `with_record` have a daily commit record.

    Returns: run → what is not withdrawn, which accepts its loss.
    """
    raw = {path.stem: path for path in raw_paths(data) if path.stem not in tombstones.raw_runs}
    left = {
        run_id: [one for one in listed if one not in tombstones.withdrawn_from(run_id)]
        for run_id, listed in sorted(compacted.items())
        if run_id not in with_record and (run_id not in raw or pages_flaw(raw[run_id]) is not None)
    }
    return {run_id: listed for run_id, listed in left.items() if listed}


def loss_of(data: Path, run_id: str, listed: Iterable[Listed]) -> str:
    """Say what of a run is lost with the compaction, and how to accept it."""
    accounts = dict.fromkeys(account for account, _ in listed)
    accept = ", ".join(command(data, "withdraw", f"{run_id}/{account}") for account in accounts)
    gone = "the versions that hold its rows are damaged, and its daily files and raw pages are gone"
    return f"{gone}: {accept} accepts the loss"


def delete_compaction(data: Path) -> None:
    """Delete every manifest and compacted file: from here on, all runs are read from their daily files.

    The newest manifest goes last: until then no reader takes an older one for it.
    """
    for path in manifest_paths(data):
        delete(path)
    for place in COMPACTED:
        for path in _compacted_files(data, place):
            delete(path)


def _compacted_files(data: Path, place: str) -> list[Path]:
    folders = [data / "lake" / name for name in (place, OLDER_COMPACTED.get(place)) if name]
    return [path for folder in folders for path in folder.glob("*.parquet")]
