"""Secrets that an older version stored, in raw pages and commit records: a finding names file and column, no text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import LakeDamaged
from pipeline.extract.raw_pages import RawRun, raw_paths
from pipeline.extract.stored_secrets import raw_secrets, stored_secrets
from pipeline.lake.compaction.manifest import OLDER_COMPACTED, RECORDS
from pipeline.lake.layout import command
from pipeline.lake.verification import read_verified
from pipeline.text import pluralize

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.lake.check.model import CheckState


def check_secrets(state: CheckState) -> None:
    """Find secrets in every raw file and commit record, expired and superseded ones too: their bytes are there."""
    for path in raw_paths(state.data):
        _add(state, path, is_raw=True)
    for path in state.records.values():
        _add(state, path)
    for folder in (RECORDS, OLDER_COMPACTED[RECORDS]):
        for path in sorted((state.data / "lake" / folder).glob("*.parquet")):
            _add(state, path)


def _add(state: CheckState, path: Path, *, is_raw: bool = False) -> None:
    try:
        found = state.secrets.get(path)
        if found is None:  # no other step of the check read it
            found = raw_secrets(RawRun(path)) if is_raw else stored_secrets(read_verified(path))
    except (LakeDamaged, UnicodeDecodeError):
        return  # a finding already, or superseded
    if found:
        columns = ", ".join(f"{name} ({pluralize(count, 'row')})" for name, count in sorted(found.items()))
        cure = command(state.data, "rebuild", "--redact")
        state.result.add(path, f"it holds what looks like a secret, in {columns}: {cure} writes it anew without")
