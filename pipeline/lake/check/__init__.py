"""Check that the lake is intact: every file, key, count and certificate. Changes nothing, takes no lock.

    commit records ─→ files      readable, checksums right, of the declared schema       files.py
        a run        ─→ rules      keys unique, disks belong to images, counts and ids     runs.py, rules.py
        its pages    ─→ evidence   computed again, every column of it                      runs.py
        its pages    ─→ rows       built again, compared by key (deep)                     compare.py, later_fields.py
    compaction     ─→ versions   disjoint; each run restored, and checked as above       versions.py
    everything else ─→ strays     files that no commit names, the catalog              files.py

One run at a time, in Arrow and DuckDB. A finding names the file, the problem,
and how many rows have it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import LakeDamaged
from pipeline.extract.raw_pages import raw_paths
from pipeline.lake.check.files import check_other_files
from pipeline.lake.check.model import CheckResult, CheckState, Finding
from pipeline.lake.check.runs import check_run, open_pages, read_plain_run
from pipeline.lake.check.versions import check_compacted
from pipeline.lake.committed import committed_files
from pipeline.lake.file_set import FileSet
from pipeline.lake.tombstones import Tombstones, read_tombstones
from pipeline.log import about, logger
from pipeline.resources.control import OBSERVATIONS
from pipeline.storage.store import open_location, store_of

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CheckResult", "Finding", "check"]

_log = logger(__name__)


def check(data: str | Path = "data", *, deep: bool = False) -> CheckResult:
    """Check every committed file of the lake, and the raw pages that are there.

    With `deep`, build every run again from its raw pages in a temporary folder, and compare every row.

    Raises:
        LakeMissing: there is no lake in `data`.
        LakeDamaged: the manifest of the compaction cannot be read, or a file that it names is missing.
    """
    import duckdb

    location = open_location(data)
    result = CheckResult(location, deep)
    try:
        tombstones = read_tombstones(location)
    except LakeDamaged as error:
        result.add("raw/_tombstones.json", str(error))
        tombstones = Tombstones()
    result.withdrawn_count = len(tombstones.active)
    everything = Tombstones()  # what is withdrawn is checked too, as long as it is there
    committed = committed_files(location, everything)
    records = committed.daily[OBSERVATIONS.name]
    with duckdb.connect() as con:
        store_of(location).register_filesystem(con)
        state = CheckState(
            location,
            result,
            con,
            files=FileSet.read(location, everything),
            manifest=committed.manifest,
            tombstones=tombstones,
            records={path.stem: path for path in (*records, *committed.retained[OBSERVATIONS.name])},
            raw_files={path.stem: path for path in raw_paths(location) if path.stem not in tombstones.raw_runs},
        )
        for record in records:
            with about(run=record.stem):
                result.run_count += 1
                raw = open_pages(state, record.stem)
                run = read_plain_run(state, record)
                if run is not None:
                    check_run(state, run, raw)
                    _log.info("checked, with %d observations", len(run.observations))
        if state.manifest is not None:
            check_compacted(state, state.manifest)
        check_other_files(state)
    return result
