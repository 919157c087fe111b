"""Rebuild: publish landed runs that the lake lacks, from their raw pages.

    tombstones → raw files that are neither expired nor in the lake → publish, run by run → write the catalog

It decides nothing: the header of each raw file holds the decisions of the run
that landed it. The exception is an account that a damaged lake left undecided.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from pipeline.errors import BadSetting, LakeMissing
from pipeline.extract.raw_pages import RawRun, raw_paths
from pipeline.jobs.volume_guard import decide_undecided
from pipeline.lake.commit import Publication, new_lake
from pipeline.lake.lock import lock
from pipeline.lake.prefetch import Prefetch
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
    """Publish every landed run that the lake lacks: one by one, or `into` a new lake all at once.

    Nothing that a run refused comes back, and nothing that was withdrawn since. Expired pages are ignored.

    Returns:
        The ids of the runs that were published.

    Raises:
        LakeMissing: no pages were ever landed in `data`.
        BadSetting: `into` holds a lake already.
        LakeDamaged: a raw file cannot be read. The runs before it are published; into a new lake, none.
    """
    data = open_location(data)
    target = data if into is None else open_location(into)
    if into is not None:
        store_of(target).require_local(
            target, "a new lake all at once", "copy raw/ into the bucket, then `rebuild --data` adds run by run"
        )
    tombstones = read_tombstones(data)
    raw_files = [path for path in raw_paths(data) if path.stem not in tombstones.raw_runs]
    if not raw_files:
        raise LakeMissing(f"no landed pages in {str(data / 'raw')!r}: there is nothing to rebuild from")
    if into is not None and complete_runs(target):
        raise BadSetting(f"{str(target)!r} holds a lake already: give an empty folder")
    with lock(target), begin_catalog(target) as builder:
        complete = complete_runs(target)
        missing = [path for path in raw_files if path.stem not in complete]
        with contextlib.nullcontext(data) if into is None else new_lake(target) as lake:
            for path in missing:
                # In place a withdrawal can still be undone, and its tombstone hides the rows.
                withdrawn = {} if into is None else tombstones.withdrawn_from(path.stem)
                with about(run=path.stem), timed(_log, "publishing"):
                    publish_again(lake, RawRun(path), withdrawn)
        write_catalog(target, builder=builder)
    return [path.stem for path in missing]


def publish_again(data: Path, raw: RawRun, withdrawn: Mapping[str, Withdrawal]) -> None:
    """Publish a landed run from its raw pages, without the accounts that are `withdrawn`."""
    first = raw.header["accounts"][0]
    prefetch = Prefetch(
        Publication(data, raw.header["run_id"], raw.observed_on),
        first["account"],
        lambda pass_number: bool(first["is_published"]) and pass_number == first["ended_passes"],
        observed_at_utc=raw.given_at_utc,
    )
    with rare_collection(), prefetch:
        answers = read_answers(raw, prefetch)
        decide_undecided(data, raw, answers)
        publish(data, raw, answers, prefetch=prefetch, withdrawn=withdrawn)
