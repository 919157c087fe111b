"""Tombstones: what was withdrawn from the lake or has expired, and the end of its grace period.

    Tombstones, one file (tombstone_files.py)
      ├─ withdrawn      observations known to be wrong: which, when, the latest one instead, the end of the grace period
      ├─ replacements   files without withdrawn rows, which took the place of a run's own
      ├─ days           days whose daily files have expired, and the end of their grace period
      └─ raw_pages      runs whose raw pages have expired, and the end of their grace period

Everything that reads or rebuilds the lake reads them first. So what they name is hidden from every reader at once, and
its bytes are deleted after the grace period.
"""

from __future__ import annotations

import datetime as dt  # noqa: TC003  (msgspec reads the hints)

import msgspec

from pipeline.storage.digest import FileDigest  # noqa: TC001  (msgspec reads the hints)

Listed = tuple[str, str]
"""Account and resource: what a run lists, and what a row of its commit record is about."""


def observation_name(run_id: str, listed: Listed) -> str:
    """Name an observation as commands take it: `<run>/<account>`, and its resource unless that is `images`."""
    account, resource = listed
    return f"{run_id}/{account}" if resource == "images" else f"{run_id}/{account}/{resource}"


def is_called(name: str, run_id: str, listed: Listed) -> bool:
    """Return whether a user means this observation: `<run>`, `<run>/<account>` or `<run>/<account>/<resource>`."""
    account, resource = listed
    return name in {run_id, f"{run_id}/{account}", f"{run_id}/{account}/{resource}"}


class Withdrawal(msgspec.Struct, frozen=True):
    """One withdrawn observation."""

    account: str
    run_id: str
    observed_at_utc: dt.datetime
    withdrawn_at_utc: dt.datetime
    until_utc: dt.datetime
    """The end of its grace period: until then it can be restored."""
    published_with: tuple[Listed | str, ...]
    """All that the run published: it shares its files. Before format 5 the accounts alone."""
    latest_instead: str | None = None
    """The run that became the account's latest; None: it was not the latest, or the only one."""
    restored_at_utc: dt.datetime | None = None
    resource: str = "images"
    """The resource; before format 5 there was this one."""

    @property
    def listed(self) -> Listed:
        """Account and resource."""
        return self.account, self.resource

    @property
    def name(self) -> str:
        """Run, account and resource, as commands take them."""
        return observation_name(self.run_id, self.listed)

    @property
    def published(self) -> frozenset[Listed]:
        """All that the run published."""
        return frozenset((one, "images") if isinstance(one, str) else one for one in self.published_with)

    @property
    def error(self) -> str:
        """The error in its row of `observations`."""
        return f"Withdrawn: taken out of the lake at {self.withdrawn_at_utc:%F %T} UTC"


class Replacement(msgspec.Struct, frozen=True):
    """Files of a run without some withdrawn rows: `<run>.<number>.parquet` in the folder of each table.

    Number 0 stands for the files that the run committed.
    """

    run_id: str
    number: int
    without: tuple[Listed, ...]
    """The accounts and resources of which it holds no row."""
    digests: dict[str, FileDigest]
    """By table; of a resource of which nothing is withdrawn, the committed files stay."""

    @property
    def left_out(self) -> frozenset[Listed]:
        """The accounts and resources of which it holds no row."""
        return frozenset(self.without)


class ExpiredPages(msgspec.Struct, frozen=True):
    """The raw pages of one run, expired by age."""

    run_id: str
    observed_on: dt.date
    expired_at_utc: dt.datetime = msgspec.field(name="taken_out_at_utc")
    """The key in the file is that of format 1."""
    until_utc: dt.datetime


class ExpiredDay(msgspec.Struct, frozen=True):
    """The daily files of one day, expired by age: the versions hold their rows."""

    observed_on: dt.date
    expired_at_utc: dt.datetime
    until_utc: dt.datetime


class Tombstones(msgspec.Struct, frozen=True):
    """The content of the file."""

    format: str = "1"
    number: int = 0
    """The number in the name of the file; 0: it has none."""
    withdrawn: tuple[Withdrawal, ...] = ()
    replacements: tuple[Replacement, ...] = ()
    raw_pages: tuple[ExpiredPages, ...] = ()
    days: tuple[ExpiredDay, ...] = ()
    last_numbers: dict[str, int] = {}
    """The highest number that a replacement of a run has had: a name is never given to other rows."""

    @property
    def active(self) -> tuple[Withdrawal, ...]:
        """The withdrawals that were not restored."""
        return tuple(one for one in self.withdrawn if one.restored_at_utc is None)

    @property
    def whole_runs(self) -> frozenset[str]:
        """The runs of which all that they published is withdrawn: nothing in their files is read."""
        withdrawn: dict[str, set[Listed]] = {}
        published: dict[str, set[Listed]] = {}
        for one in self.active:
            withdrawn.setdefault(one.run_id, set()).add(one.listed)
        for one in self.withdrawn:  # a failed try lists only what was not withdrawn before it
            published.setdefault(one.run_id, set()).update(one.published)
        return frozenset(run_id for run_id, listed in withdrawn.items() if listed >= published[run_id])

    def published_by(self, run_id: str) -> frozenset[Listed]:
        """Return all that a run published, of which something was withdrawn at any time; nothing for any other run."""
        return frozenset(listed for one in self.withdrawn if one.run_id == run_id for listed in one.published)

    def hidden_in(self, run_id: str) -> frozenset[Listed]:
        """Return the accounts and resources of which the files of a run may hold rows that no reader sees."""
        return frozenset(self.withdrawn_from(run_id)) & self.published_by(run_id)

    def replacements_of(self, run_id: str) -> dict[int, Replacement]:
        """Return the replacements of the files of a run, by number."""
        return {one.number: one for one in self.replacements if one.run_id == run_id}

    def current_number(self, run_id: str) -> int | None:
        """Return the number of the files that belong in the folders; None: none do, or the replacement is missing."""
        hidden = self.hidden_in(run_id)
        if not hidden:
            return 0
        return next((one.number for one in self.replacements_of(run_id).values() if one.left_out == hidden), None)

    @property
    def expired_days(self) -> frozenset[dt.date]:
        """The days whose daily files have expired."""
        return frozenset(day.observed_on for day in self.days)

    @property
    def raw_runs(self) -> frozenset[str]:
        """The runs whose raw pages have expired."""
        return frozenset(pages.run_id for pages in self.raw_pages)

    def withdrawn_from(self, run_id: str) -> dict[Listed, Withdrawal]:
        """Return the withdrawals of one run that were not restored, by account and resource."""
        return {one.listed: one for one in self.active if one.run_id == run_id}
