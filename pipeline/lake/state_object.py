"""The state object of a lake in a bucket: what opening would find out by requests, put after each commit.

    lake/states/000012.json       put only if absent; the newest counts
      ├─ counted_to      the newest run that it counts
      ├─ compaction      the manifest behind `latest`, and the SHA-256 of its records
      ├─ withdrawn       what was withdrawn then
      ├─ latest          the last compacted observation of each account and resource
      ├─ runs            of each run since, and of the latest: the tag of its record, what it published, digests
      └─ files           the tags of the compacted files and of those of the latest, as they were verified

No reader needs it to be right: it lists the commit records, and fetches every one that the state does not name with the
tag that it has now. A stale, missing or damaged state costs requests, and no row. In a folder there is none.
"""

from __future__ import annotations

import contextlib
import datetime as dt  # noqa: TC003  (msgspec reads the hints)
import re
import secrets
from typing import TYPE_CHECKING, Final

import msgspec

from pipeline.lake.compaction.manifest import RECORDS
from pipeline.log import logger
from pipeline.resources.schema import FORMAT
from pipeline.storage.digest import OWN_DIGEST, UNKNOWN_DIGEST, refuse_changed, with_own_digest
from pipeline.storage.partitions import STAGING
from pipeline.storage.store import store_of

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.lake.file_set import FileSet

_log = logger(__name__)

STATES: Final = "states"
_NAME: Final = re.compile(r"\d{6,}\.json", re.ASCII)
_KEPT: Final = 2
"""Newest states that stay: a reader may have listed the one before the last."""


class StateRow(msgspec.Struct, frozen=True, array_like=True):
    """A published observation."""

    account: str
    observed_at_utc: dt.datetime
    observed_on: dt.date
    run_id: str
    same_account_as: str | None
    resource: str


class RunState(msgspec.Struct, frozen=True):
    """A run with a commit record of its own."""

    tag: str
    """The tag of the record: as long as the object has it, nothing of this has changed."""
    digests: str | None
    """The digests of its files, as the record has them."""
    published: tuple[StateRow, ...] = ()
    """Its observations that were not withdrawn; of a compacted run none."""


class State(msgspec.Struct, frozen=True):
    """The content of a state object."""

    counted_to: str
    compaction: tuple[str, str] | None
    withdrawn: tuple[tuple[str, str, str], ...]
    latest: tuple[StateRow, ...]
    has_names: bool
    """Whether a compacted record says that its account is another name of one."""
    runs: dict[str, RunState]
    files: dict[str, str]
    """The compacted files and those of the latest observations, by their path in the lake: the tags of the verified."""
    format: str = FORMAT

    def tags(self) -> dict[str, str]:
        """Return the tags of the records that it names, by run."""
        return {run_id: run.tag for run_id, run in self.runs.items()}


def compaction_of(files: FileSet) -> tuple[str, str] | None:
    """Return the manifest and the SHA-256 of its records, empty where nothing tells; None: nothing is compacted."""
    if files.manifest is None:
        return None
    digests = [files.manifest.digests.get(f"{RECORDS}/{path.stem}") for path in files.compacted[RECORDS]]
    return files.manifest.name, "".join(digest.sha256 for digest in digests if digest is not None)


def withdrawn_now(files: FileSet) -> tuple[tuple[str, str, str], ...]:
    """Return run, account and resource of each withdrawn observation."""
    return tuple(sorted((one.run_id, *one.listed) for one in files.tombstones.active))


def read_state(files: FileSet) -> State | None:
    """Read the newest state, if it is of the present compaction and withdrawals; None: requests find it out.

    In a folder it is None.
    """
    if store_of(files.data).is_local:
        return None
    try:
        paths = _states(files.data)
        if not paths:
            return None
        path = paths[-1]
        content = path.read_bytes()
        refuse_changed(content, path.name, is_required=True)
        state = msgspec.json.decode(content, type=State)
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        _log.debug("the state object is not used: %s", error)
        return None
    compaction = compaction_of(files)
    is_known = compaction is None or compaction[1] != ""
    is_present = (state.format, state.compaction, state.withdrawn) == (FORMAT, compaction, withdrawn_now(files))
    return state if is_known and is_present else None


def put_state(data: Path, state: State) -> None:
    """Put the next state, and delete older ones: where either fails, readers need more requests.

    Raises:
        LakeLocked: another machine has put one of this number.
    """
    store = store_of(data)
    older = _states(data)
    name = f"{int(older[-1].stem) + 1 if older else 1:06}.json"
    content = msgspec.to_builtins(state) | {OWN_DIGEST: UNKNOWN_DIGEST}
    staged = store.staging_dir(data / "lake" / STAGING) / f"state.{secrets.token_hex(4)}"
    staged.write_bytes(with_own_digest(msgspec.json.format(msgspec.json.encode(content), indent=0), name))
    try:
        store.commit_file(staged, data / "lake" / STATES / name)
    finally:
        staged.unlink(missing_ok=True)
    for path in older[: 1 - _KEPT]:
        with contextlib.suppress(OSError):
            store.delete(path)


def _states(data: Path) -> list[Path]:
    """List the states, the newest last."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        found = [path for path in (data / "lake" / STATES).iterdir() if _NAME.fullmatch(path.name)]
        return sorted(found, key=lambda path: int(path.stem))
    return []
