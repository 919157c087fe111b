"""Redaction of a lake: remove the secrets that an older version stored, such as a signed request in an error.

    each run     raw file → commit record: it names the new digest
    compaction   commit records of compacted runs → manifest

What is replaced is deleted at once, without a grace period. Rows, counts and certificates stay: the evidence is
computed again from the new pages and compared. A file is replaced under its own name, the record of its run last. A
killed redaction is run again, and `rebuild` alone mends the run that it left between its two files: the new raw file
names the digest of the one that it replaces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from pipeline.errors import LakeDamaged
from pipeline.extract.raw_pages import RawRun, raw_paths
from pipeline.extract.stored_secrets import raw_secrets, stored_secrets, without_secrets, write_redacted
from pipeline.lake.check.files import with_every_column
from pipeline.lake.commit import CompactionCommit, write_record
from pipeline.lake.committed_digests import COMMITTED_FILES, decode_digests, encode_digests
from pipeline.lake.compaction.damage import compaction_flaws
from pipeline.lake.compaction.manifest import (
    COMPACTED,
    RECORDS,
    Manifest,
    compacted_path,
    manifest_paths,
    next_name,
    open_place,
)
from pipeline.lake.delta_log import warn_of_delta_logs
from pipeline.lake.layout import command, shown
from pipeline.lake.lock import lock
from pipeline.lake.publish import evidence_of, read_answers
from pipeline.lake.survey import survey
from pipeline.lake.tombstone_files import read_tombstones
from pipeline.lake.verification import read_verified
from pipeline.log import logger
from pipeline.redaction import redact
from pipeline.resources.control import OBSERVATIONS, RAW_PAGES
from pipeline.resources.tables import RESOURCES
from pipeline.storage.digest import FileDigest, digest_of
from pipeline.storage.partitions import STAGING
from pipeline.storage.store import open_location, store_of
from pipeline.views.database import begin_catalog, write_catalog

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from pipeline.lake.survey import RunState

_log = logger(__name__)


def redact_lake(data: str | Path = "data") -> list[str]:
    """Remove secrets from the raw pages and the commit records of an intact lake.

    Returns:
        The files that were written anew, below the lake.

    Raises:
        LakeDamaged: a file of the lake is not what was committed: nothing is written from it.
    """
    data = open_location(data).resolve()
    with lock(data), begin_catalog(data) as builder:
        manifest, flaws = compaction_flaws(data)
        states = survey(data, read_tombstones(data), ignore_compaction=bool(flaws))
        _refuse_damage(data, {path: flaw for state in states.values() for path, flaw in state.flaws.items()} | flaws)
        changed: list[Path] = []
        for path in raw_paths(data):
            changed += _redact_run(data, path, states.get(path.stem))
        for state in states.values():
            if state.raw is None and state.record.exists():
                changed += _redact_record(data, state, None)
        if manifest is not None:
            changed += _redact_compaction(data, manifest, states)
        if changed:
            write_catalog(data, builder=builder)
            warn_of_delta_logs(data)
    return [str(path.relative_to(data)) for path in changed]


def _refuse_damage(data: Path, flaws: dict[Path, str]) -> None:
    for path, flaw in flaws.items():
        raise LakeDamaged(f"{shown(path)!r}: {flaw}: {command(data, 'rebuild')} mends it first")


def _redact_run(data: Path, path: Path, state: RunState | None) -> list[Path]:
    """Write the raw file of a run anew, then its commit record. Returns: what was written."""
    if state is not None and state.raw_flaw is not None:
        raise LakeDamaged(f"{shown(path)!r}: {state.raw_flaw}: {command(data, 'rebuild')} moves it aside first")
    raw = RawRun(path)
    is_changed = bool(raw_secrets(raw))
    digest = None
    if is_changed:
        staged = store_of(data).staging_dir(data / "raw" / STAGING) / path.name
        write_redacted(raw, staged)
        new = RawRun(staged, digest_of(staged))
        _require_same_evidence(raw, new)
        tag = store_of(data).replace_file(staged, path)
        digest = FileDigest(new.digest.bytes, new.digest.sha256, tag)
        _log.info("wrote %r anew", str(path))
    record = [] if state is None or not state.record.exists() else _redact_record(data, state, digest)
    return [*([path] if is_changed else []), *record]


def _require_same_evidence(before: RawRun, after: RawRun) -> None:
    """Refuse pages that prove something else than before: the redaction must not touch a listing.

    Raises:
        LakeDamaged: they do.
    """
    old, new = read_answers(before), read_answers(after)
    for decision in before.header["accounts"]:
        account = decision["account"]
        expected, actual = (evidence_of(before, decision, one) for one in (old, new))
        if {name: _redacted_text(value) for name, value in expected.items()} != actual:
            raise LakeDamaged(
                f"{shown(before.path)!r} was left as it is: without its secrets it would prove something else for "
                f"account {account!r}; report this as a bug"
            )


def _redacted_text(value: Any) -> Any:
    return redact(value) if isinstance(value, str) else value


def _redact_record(data: Path, state: RunState, raw: FileDigest | None) -> list[Path]:
    """Write the commit record of a run anew, with the digest of its new raw file. Returns: what was written."""
    rows = with_every_column(read_verified(state.record), OBSERVATIONS)
    if raw is None and not stored_secrets(rows):
        return []
    if raw is not None:
        state.digests[RAW_PAGES.name] = raw
    staging = store_of(data).staging_dir(data / "lake" / STAGING / state.run_id)
    staged = staging / f"{OBSERVATIONS.name}.parquet"
    write_record(staged, _rewritten(rows, {state.run_id: state}, OBSERVATIONS.arrow()), state.record.name)
    store_of(data).replace_file(staged, state.record)
    staging.rmdir()
    return [state.record]


def _rewritten(rows: pa.Table, states: dict[str, RunState], schema: pa.Schema) -> pa.Table:
    """Return commit records without secrets, each naming the raw file of its run as it is now."""
    import pyarrow as pa

    rows = without_secrets(rows).select(schema.names).cast(schema)
    named = [
        _naming(text, states.get(run_id))
        for run_id, text in zip(*(rows.column(name).to_pylist() for name in ("run_id", COMMITTED_FILES)), strict=True)
    ]
    place = schema.get_field_index(COMMITTED_FILES)
    return rows.set_column(place, schema.field(place), pa.array(named, pa.string()))


def _naming(committed: str | None, state: RunState | None) -> str | None:
    digests = decode_digests(committed)
    raw = state.digests.get(RAW_PAGES.name) if state else None
    if raw is None or RAW_PAGES.name not in digests or digests[RAW_PAGES.name] == raw:
        return committed
    return encode_digests({**digests, RAW_PAGES.name: raw})


# ── compaction ───────────────────────────────────────────────────────────────


def _redact_compaction(data: Path, before: Manifest, states: dict[str, RunState]) -> list[Path]:
    """Write the records of the compacted runs and the manifest anew; delete those before. Returns: what was written."""
    old = read_verified(compacted_path(data, RECORDS, before.stem))
    old = with_every_column(old, COMPACTED[RECORDS])
    new = _rewritten(old, states, COMPACTED[RECORDS].arrow())
    superseded = [one for one in before.superseded if _holds_records(one.path)]
    if new.equals(old.select(new.column_names).cast(new.schema)) and not superseded:
        return []
    name = next_name(before)
    commit = CompactionCommit(data, name)
    open_places = [place for place in map(open_place, RESOURCES) if before.names[place]]
    for place in open_places:
        versions = with_every_column(read_verified(compacted_path(data, place, before.stem)), COMPACTED[place])
        schema = COMPACTED[place].arrow()
        commit.add(place, versions.select(schema.names).cast(schema))
    commit.add(RECORDS, new)
    after = msgspec.structs.replace(
        before,
        name=name,
        suffix=commit.suffix,
        superseded=tuple(one for one in before.superseded if one not in superseded),
    )
    replaced = [compacted_path(data, place, before.stem) for place in (*open_places, RECORDS)]
    replaced += [data / "lake" / one.path for one in superseded]
    manifests = manifest_paths(data)
    commit.commit(after)
    for path in (*manifests, *replaced):
        store_of(data).delete(path)
    _log.info("wrote the records of compaction %s anew, as %s", before.name, name)
    return [compacted_path(data, RECORDS, after.stem)]


def _holds_records(path: str) -> bool:
    return path.partition("/")[0] in {RECORDS, "folded_observations"}
