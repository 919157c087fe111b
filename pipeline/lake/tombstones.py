"""What was taken out of the lake, and until when it can come back: one small record beside the raw pages.

    data/raw/_tombstones.json
      ├─ withdrawn   observations known to be wrong: which, when, who is the latest instead, until when it can come back
      └─ raw_pages   runs whose pages were taken out by age, and when their files go

A `prune` writes it, whole, and swaps it in by rename; everything that reads the
lake or builds it again reads this first. So what is named here is gone at once,
for every reader; its bytes go when the grace is over. It lies with the raw
pages, so that whoever builds a lake from them knows it too, and its name begins
with a line, so that nothing takes it for one of them.
"""

from __future__ import annotations

import datetime as dt  # noqa: TC003  (msgspec reads the hints)
from typing import TYPE_CHECKING

import msgspec

from pipeline.errors import LakeDamaged
from pipeline.storage.folder import commit_file, make_folder, sync_folder
from pipeline.storage.partitions import STAGING

if TYPE_CHECKING:
    from pathlib import Path


class Withdrawal(msgspec.Struct, frozen=True):
    """One observation that was withdrawn, and what came of that."""

    account: str
    run_id: str
    observed_at_utc: dt.datetime
    withdrawn_at_utc: dt.datetime
    until_utc: dt.datetime
    """When its files may go: up to then it can be restored."""
    published_with: tuple[str, ...]
    """Every account that the run published: they share its files."""
    latest_instead: str | None = None
    """The run that is the account's latest in its place; None where it was not the latest, or none is left."""
    restored_at_utc: dt.datetime | None = None

    @property
    def name(self) -> str:
        """How the observation is called: run and account."""
        return f"{self.run_id}/{self.account}"

    @property
    def error(self) -> str:
        """What its row in `observations` says."""
        return f"Withdrawn: taken out of the lake at {self.withdrawn_at_utc:%F %T} UTC"


class RawPages(msgspec.Struct, frozen=True):
    """The raw pages of one run, taken out by age."""

    run_id: str
    observed_on: dt.date
    taken_out_at_utc: dt.datetime
    until_utc: dt.datetime


class Tombstones(msgspec.Struct, frozen=True):
    """The record."""

    format: str = "1"
    withdrawn: tuple[Withdrawal, ...] = ()
    raw_pages: tuple[RawPages, ...] = ()

    @property
    def active(self) -> tuple[Withdrawal, ...]:
        """The withdrawals that hold: those that were not restored."""
        return tuple(one for one in self.withdrawn if one.restored_at_utc is None)

    @property
    def whole_runs(self) -> frozenset[str]:
        """The runs of which every published account is withdrawn: their files hold nothing else."""
        gone: dict[str, set[str]] = {}
        for one in self.active:
            gone.setdefault(one.run_id, set()).add(one.account)
        return frozenset(one.run_id for one in self.active if gone[one.run_id] >= set(one.published_with))

    @property
    def raw_runs(self) -> frozenset[str]:
        """The runs whose raw pages were taken out."""
        return frozenset(one.run_id for one in self.raw_pages)

    def withdrawn_from(self, run_id: str) -> dict[str, Withdrawal]:
        """The withdrawals that hold in one run, by account."""
        return {one.account: one for one in self.active if one.run_id == run_id}


def tombstones_path(data: Path) -> Path:
    """Where the record lies."""
    return data / "raw" / "_tombstones.json"


def older_tombstones_path(data: Path) -> Path:
    """Where lakes before format 4 keep it: read where the present one is absent."""
    return data / "raw" / "_taken_out.json"


def read_tombstones(data: Path) -> Tombstones:
    """Read what was taken out of the lake under `data`; nothing, where no prune was.

    Raises:
        LakeDamaged: the record cannot be read.
    """
    path = tombstones_path(data)
    try:
        try:
            body = path.read_bytes()
        except FileNotFoundError:  # the older one is deleted once the present one is there: read in this order
            path = older_tombstones_path(data)
            try:
                body = path.read_bytes()
            except FileNotFoundError:  # …and was upgraded between the two looks, or there never was one
                path = tombstones_path(data)
                body = path.read_bytes()
        return msgspec.json.decode(body, type=Tombstones)
    except FileNotFoundError:
        return Tombstones()
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise LakeDamaged(
            f"{str(path)!r} cannot be read ({error}): it says what was withdrawn; put it back from a copy"
        ) from error


def write_tombstones(data: Path, record: Tombstones) -> None:
    """Swap the record for a new one, whole."""
    path = tombstones_path(data)
    aside = path.parent / STAGING / path.name
    make_folder(aside.parent)
    aside.write_bytes(msgspec.json.format(msgspec.json.encode(record)) + b"\n")
    commit_file(aside, path)
    older = older_tombstones_path(data)
    if older.exists():
        older.unlink()
        sync_folder(older.parent)
