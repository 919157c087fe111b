"""A damaged compaction: what is wrong with it, and how it begins again from the daily files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import LakeDamaged
from pipeline.lake.compaction.manifest import (
    COMPACTED,
    OLDER_COMPACTED,
    RECORDS,
    Manifest,
    manifest_paths,
    newest_manifest,
)
from pipeline.lake.orphans import delete
from pipeline.lake.verification import file_flaw, read_verified

if TYPE_CHECKING:
    from pathlib import Path


def compaction_flaws(data: Path) -> tuple[Manifest | None, dict[Path, str]]:
    """Find what is wrong with the newest manifest or a file that it names. Returns: the manifest, and the flaws."""
    try:
        manifest = newest_manifest(data)
    except LakeDamaged as error:
        return None, {data / "lake" / "manifests": str(error)}
    if manifest is None:
        return None, {path: "no manifest names it" for place in COMPACTED for path in _compacted_files(data, place)[:1]}
    flaws = {}
    for place, paths in manifest.files(data).items() if manifest else ():
        for path in paths:
            digest = manifest.digests.get(f"{place}/{path.stem}") if manifest else None
            flaw = _older_flaw(path) if digest is None else file_flaw(path, digest)
            if flaw is not None:
                flaws[path] = flaw
    return manifest, flaws


def _older_flaw(path: Path) -> str | None:
    try:
        read_verified(path)
    except LakeDamaged as error:
        return str(error)
    return None


def compacted_runs(data: Path, manifest: Manifest | None) -> set[str]:
    """Return the runs that were compacted: by the manifest, or, without it, by the newest readable records."""
    if manifest is not None:
        return set(manifest.runs)
    for path in sorted(_compacted_files(data, RECORDS), key=lambda path: path.name, reverse=True):
        try:
            return set(read_verified(path).column("run_id").to_pylist())
        except LakeDamaged:
            continue
    return set()


def delete_compaction(data: Path) -> None:
    """Delete every manifest and compacted file: from here on, all runs are read from their daily files.

    The newest manifest goes last: until then no reader takes an older one for it.
    """
    for path in sorted(manifest_paths(data), key=lambda path: path.name):
        delete(path)
    for place in COMPACTED:
        for path in _compacted_files(data, place):
            delete(path)


def _compacted_files(data: Path, place: str) -> list[Path]:
    folders = [data / "lake" / name for name in (place, OLDER_COMPACTED.get(place)) if name]
    return [path for folder in folders for path in folder.glob("*.parquet")]
