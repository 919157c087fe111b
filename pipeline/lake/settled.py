"""Settled months: every file in their folders belongs to a compacted run, so opening does not list them.

    images/observed_on=2026-10-01 … -31      known by the names, inodes and times of these folders (verified_files.py)

A folder that somebody changed since is listed again, and so is a month with a run that is not compacted. The commit
records are always listed: a run that is published late, into an old month, is found whatever the folders' times say.
In a bucket, the prefixes of the days of runs that are not compacted are listed, and nothing else.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from pipeline.lake.verified_files import SETTLED_SECONDS, VerifiedFiles
from pipeline.storage.folder import FolderStore
from pipeline.storage.partitions import is_run_file
from pipeline.storage.store import store_of

if TYPE_CHECKING:
    import os
    from collections.abc import Collection
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from pipeline.lake.compaction.manifest import Manifest

ANY_MONTH: Final = "observed_on="
_MONTH: Final = len("observed_on=2026-10")


def new_records(folder: Path, compacted: AbstractSet[str]) -> tuple[list[Path], frozenset[str]]:
    """List the commit records of the runs that are not compacted, oldest run first.

    Returns: them, and the compacted runs of which no daily record is there.
    """
    store = store_of(folder)
    if not isinstance(store, FolderStore):
        paths = [path for path in store.list_partitions(folder) if is_run_file(path)]
        there = {path.stem for path in paths}
        return [path for path in paths if path.stem not in compacted], frozenset(compacted - there)
    names: list[str] = []
    for day in FolderStore.days(folder):
        names += FolderStore.names(day)
    there = {name[: -len(".parquet")] for name in names}
    days = {_day_of(run_id) for run_id in there - compacted}
    listed = store.list_partitions(folder, days=days, without=compacted)
    return [path for path in listed if is_run_file(path)], frozenset(compacted - there)


def _day_of(run_id: str) -> str:
    """Return the folder of the day of a run; of any other name, one that is not there."""
    return f"observed_on={run_id[:4]}-{run_id[4:6]}-{run_id[6:8]}"


class SettledMonths:
    """The months of one lake of which nothing is listed."""

    def __init__(self, data: Path, manifest: Manifest | None, new_runs: Collection[str]) -> None:
        """`new_runs` are those that are not compacted."""
        self._verified = VerifiedFiles(data)
        self._is_local = isinstance(store_of(data), FolderStore)
        self._runs = manifest.runs if manifest else {}
        self._compacted_counts = Counter(map(itemgetter(slice(6)), self._runs))
        self._busy_months = {run[:6] for run in new_runs}
        self._new_days = set(map(_day_of, new_runs))

    def files(self, folder: Path) -> tuple[list[Path], list[str]]:
        """List the runs' files in all other months. Returns: the files, oldest run first; the settled months."""
        store = store_of(folder)
        if not self._is_local:  # any month may be settled but for what is new: the names of its runs tell
            listed = store.list_partitions(folder, days=self._new_days, without=self._runs)
            return [path for path in listed if is_run_file(path)], [ANY_MONTH]
        months: dict[str, list[os.DirEntry[str]]] = {}
        for day in FolderStore.days(folder):
            months.setdefault(day.name[:_MONTH], []).append(day)
        to_list, settled = list[str](), list[str]()
        for month, days in sorted(months.items()):
            key = self._key(folder, month, days)
            if key is not None and (self._verified.is_known(key) or self._is_settled(key, days)):
                settled.append(month)
            else:
                to_list += [day.name for day in days]
        self._verified.save()
        return [path for path in store.list_partitions(folder, days=to_list) if is_run_file(path)], settled

    def _key(self, folder: Path, month: str, days: list[os.DirEntry[str]]) -> bytes | None:
        """Return the key of a month as its folders are now; None where it may hold a file of a new run."""
        number = month[-7:-3] + month[-2:]
        if number in self._busy_months or not self._compacted_counts[number]:
            return None
        digest = hashlib.blake2b(f"{folder}\0{self._compacted_counts[number]}".encode(), digest_size=8)
        for day in sorted(days, key=lambda day: day.name):
            try:
                stat = day.stat()
            except FileNotFoundError:  # deleted since it was listed
                return None
            digest.update(f"\0{day.name} {stat.st_ino} {stat.st_mtime_ns} {stat.st_ctime_ns}".encode())
        return digest.digest()

    def _is_settled(self, key: bytes, days: list[os.DirEntry[str]]) -> bool:
        """List a month. Returns: whether it is settled; it is remembered once its folders rest.

        A month without a file is none: a pattern must find one.
        """
        changed_at = max(day.stat().st_ctime for day in days)
        files = [(day.name, name) for day in days for name in FolderStore.names(day)]
        if not files or not all(self._is_of_compacted_run(*file) for file in files):
            return False
        if changed_at < time.time() - SETTLED_SECONDS:
            self._verified.add(key)
        return True

    def _is_of_compacted_run(self, day: str, name: str) -> bool:
        run_id = name.removesuffix(".parquet")
        return run_id != name and run_id in self._runs and _day_of(run_id) == day
