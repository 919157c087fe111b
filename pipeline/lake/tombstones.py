"""Tombstones: what was withdrawn from the lake or has expired, and the end of its grace period.

    data/raw/_tombstones.json
      ├─ withdrawn   observations known to be wrong: which, when, the latest one instead, the end of the grace period
      └─ raw_pages   runs whose raw pages have expired, and the end of their grace period

`withdraw`, `restore` and `prune` replace the file by rename; everything that
reads or rebuilds the lake reads it first. So what it names is hidden from every
reader at once, and its bytes are deleted after the grace period. The file is in
`raw`, because a lake is rebuilt from that folder; its name begins with an
underscore, so that no engine reads it as data.
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
    """One withdrawn observation."""

    account: str
    run_id: str
    observed_at_utc: dt.datetime
    withdrawn_at_utc: dt.datetime
    until_utc: dt.datetime
    """The end of its grace period: until then it can be restored."""
    published_with: tuple[str, ...]
    """Every account that the run published: they share its files."""
    latest_instead: str | None = None
    """The run that became the account's latest; None: it was not the latest, or the only one."""
    restored_at_utc: dt.datetime | None = None

    @property
    def name(self) -> str:
        """Run and account, as commands take them."""
        return f"{self.run_id}/{self.account}"

    @property
    def error(self) -> str:
        """The error in its row of `observations`."""
        return f"Withdrawn: taken out of the lake at {self.withdrawn_at_utc:%F %T} UTC"


class ExpiredPages(msgspec.Struct, frozen=True):
    """The raw pages of one run, expired by age."""

    run_id: str
    observed_on: dt.date
    expired_at_utc: dt.datetime = msgspec.field(name="taken_out_at_utc")
    """The key in the file is that of format 1."""
    until_utc: dt.datetime


class Tombstones(msgspec.Struct, frozen=True):
    """The content of the file."""

    format: str = "1"
    withdrawn: tuple[Withdrawal, ...] = ()
    raw_pages: tuple[ExpiredPages, ...] = ()

    @property
    def active(self) -> tuple[Withdrawal, ...]:
        """The withdrawals that were not restored."""
        return tuple(one for one in self.withdrawn if one.restored_at_utc is None)

    @property
    def whole_runs(self) -> frozenset[str]:
        """The runs whose published accounts are all withdrawn: nothing in their files is read."""
        accounts: dict[str, set[str]] = {}
        for withdrawal in self.active:
            accounts.setdefault(withdrawal.run_id, set()).add(withdrawal.account)
        return frozenset(one.run_id for one in self.active if accounts[one.run_id] >= set(one.published_with))

    @property
    def raw_runs(self) -> frozenset[str]:
        """The runs whose raw pages have expired."""
        return frozenset(pages.run_id for pages in self.raw_pages)

    def withdrawn_from(self, run_id: str) -> dict[str, Withdrawal]:
        """Return the withdrawals of one run that were not restored, by account."""
        return {one.account: one for one in self.active if one.run_id == run_id}


def tombstones_path(data: Path) -> Path:
    """Return the path of the tombstones."""
    return data / "raw" / "_tombstones.json"


def older_tombstones_path(data: Path) -> Path:
    """Return their path before format 4: read where the present one is absent."""
    return data / "raw" / "_taken_out.json"


def read_tombstones(data: Path) -> Tombstones:
    """Read the tombstones of the lake under `data`; empty where there is no file.

    Raises:
        LakeDamaged: the file cannot be read.
    """
    path = tombstones_path(data)
    try:
        try:
            body = path.read_bytes()
        except FileNotFoundError:  # the older one is deleted once the present one is there: read in this order
            path = older_tombstones_path(data)
            try:
                body = path.read_bytes()
            except FileNotFoundError:  # upgraded between the two reads, or never written
                path = tombstones_path(data)
                body = path.read_bytes()
        return msgspec.json.decode(body, type=Tombstones)
    except FileNotFoundError:
        return Tombstones()
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise LakeDamaged(
            f"{str(path)!r} cannot be read ({error}): it names the withdrawn observations; restore it from a copy"
        ) from error


def write_tombstones(data: Path, record: Tombstones) -> None:
    """Replace the tombstones by rename."""
    path = tombstones_path(data)
    staged = path.parent / STAGING / path.name
    make_folder(staged.parent)
    staged.write_bytes(msgspec.json.format(msgspec.json.encode(record)) + b"\n")
    commit_file(staged, path)
    older = older_tombstones_path(data)
    if older.exists():
        older.unlink()
        sync_folder(older.parent)
