"""Rebuild the lake from raw pages."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from pipeline.errors import BadSetting, LakeMissing
from pipeline.extract.raw_pages import RawRun, raw_paths
from pipeline.jobs.volume_guard import decide_undecided
from pipeline.lake.commit import Publication, new_lake
from pipeline.lake.flatten_pool import FlattenPool
from pipeline.lake.lock import lock
from pipeline.lake.publish import complete_runs, publish, read_answers
from pipeline.lake.tombstones import read_tombstones
from pipeline.log import about, logger, timed
from pipeline.runtime import rare_collection
from pipeline.storage.store import open_location, store_of
from pipeline.views.database import begin_catalog, write_catalog

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pipeline.lake.tombstones import Withdrawal

_log = logger(__name__)


def rebuild(data: str | Path = "data", *, into: str | Path | None = None) -> list[str]:
    """Publish every landed run that the lake lacks, run by run, or all at once into a new lake; the ids of those.

    By the decisions of the runs that landed the pages: nothing that was refused comes back, and nothing that was
    withdrawn since. Pages that were taken out by age are not used any more.

    Raises:
        LakeMissing: no pages were ever landed in `data`.
        BadSetting: `into` holds a lake already.
        LakeDamaged: a raw file cannot be read; what came before it is published, into a new lake nothing.
    """
    data = open_location(data)
    target = data if into is None else open_location(into)
    if into is not None:
        store_of(target).require_local(
            target, "a new lake all at once", "copy raw/ into the bucket, then `rebuild --data` adds run by run"
        )
    gone = read_tombstones(data)
    raw_files = [path for path in raw_paths(data) if path.stem not in gone.raw_runs]
    if not raw_files:
        raise LakeMissing(f"no landed pages in {str(data / 'raw')!r}: there is nothing to rebuild from")
    if into is not None and complete_runs(target):
        raise BadSetting(f"{str(target)!r} holds a lake already: give an empty folder")
    with lock(target), begin_catalog(target) as draft:
        there = complete_runs(target)
        missing = [path for path in raw_files if path.stem not in there]
        with contextlib.nullcontext(data) if into is None else new_lake(target) as written:
            for path in missing:
                # In place a withdrawal can still be taken back, and the record beside the raw pages hides its rows.
                withdrawn = {} if into is None else gone.withdrawn_from(path.stem)
                with about(run=path.stem), timed(_log, "publishing"):
                    publish_again(written, RawRun(path), withdrawn)
        write_catalog(target, draft=draft)
    return [path.stem for path in missing]


def publish_again(data: Path, raw: RawRun, withdrawn: Mapping[str, Withdrawal]) -> None:
    """Publish a landed run from its raw pages, without the accounts that are `withdrawn`."""
    ended = {one["account"]: one["ended_passes"] for one in raw.header["accounts"] if one["is_published"]}
    publication = Publication(data, raw.header["run_id"], raw.observed_on)
    ahead = FlattenPool(
        lambda account, number: ended.get(account) == number,
        at=raw.given_at_utc,
        publication=publication,
        first=raw.header["accounts"][0]["account"],
    )
    with rare_collection(), ahead:
        answers = read_answers(raw, ahead)
        decide_undecided(data, raw, answers)
        publish(data, raw, answers, ahead, without=withdrawn)
