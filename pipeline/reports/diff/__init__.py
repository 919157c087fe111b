"""Compare the lake at two instants: images that appeared, went and changed, and the capacity by region; then instances.

    diff ──► Diff         three tables on a connection that shows the lake as of TO    tables.py
               └──► write_diff       table, csv, json, markdown                         render.py

    gone        missing from TO; a verified observation without it followed its last sighting by then
    unseen      missing from TO; nothing proves that it is gone
    appeared    missing from FROM; a verified observation, of FROM or later, lacked it before it was seen
    seen        missing from FROM; nothing proves that it was not there
    changed     in both, with a field that differs: a row for each field

An image that changed and changed back does not differ.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.errors import BadSetting, Differs, UnknownName
from pipeline.reports.diff.tables import changes_name, tables
from pipeline.reports.query import duckdb_message
from pipeline.reports.standing.changes import count_changes
from pipeline.resources.images import IMAGES_RESOURCE
from pipeline.resources.instances import INSTANCES_RESOURCE
from pipeline.resources.tables import RESOURCES
from pipeline.text import nearest
from pipeline.views.connection import connect, resolve_as_of

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    import duckdb

    from pipeline.resources.resource import Resource


@dataclass(frozen=True, slots=True)
class Diff:
    """The differences, as tables of `lake`, which shows every table and view as of TO.

    diff_changes               a row for each image that came or went, and for each field of a changed image
    diff_capacity_by_region    a row for each region: count and GiB of the owned images, old, new and difference
    diff_accounts              a row for each account: its observations of FROM and TO, and the failures since
    diff_instance_changes      as diff_changes, of instances
    """

    lake: duckdb.DuckDBPyConnection

    @property
    def changes(self) -> duckdb.DuckDBPyRelation:
        """`diff_changes`, in the order appeared, gone, changed, seen, unseen."""
        return self.lake.table("diff_changes")

    @property
    def capacity_by_region(self) -> duckdb.DuckDBPyRelation:
        """`diff_capacity_by_region`, the largest difference first."""
        return self.lake.table("diff_capacity_by_region")

    @property
    def accounts(self) -> duckdb.DuckDBPyRelation:
        """`diff_accounts`, by name."""
        return self.lake.table("diff_accounts")

    @property
    def instance_changes(self) -> duckdb.DuckDBPyRelation:
        """`diff_instance_changes`, in the order of `changes`."""
        return self.lake.table(changes_name(INSTANCES_RESOURCE))

    @property
    def others(self) -> tuple[Resource, ...]:
        """The resources besides images that were published by TO."""
        names = "select distinct resource from observations where is_published"
        published = {name for (name,) in self.lake.execute(names).fetchall()}
        return tuple(one for one in RESOURCES if one is not IMAGES_RESOURCE and one.name in published)

    def count(self, resource: Resource) -> Counter[str]:
        """Count the items of a resource that differ, by the kind of change."""
        items = f"select distinct change, account, {resource.key.name} from {changes_name(resource)}"  # noqa: S608
        return Counter(change for change, _, _ in self.lake.execute(items).fetchall())

    def __bool__(self) -> bool:
        """True where an item of any resource differs."""
        return any(self.count(resource) for resource in RESOURCES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.lake.close()


def diff(
    old: str | dt.date, new: str | dt.date = "latest", data: str | Path = "data", *, accounts: Sequence[str] = ()
) -> Diff:
    """Compare the lake at two instants, each given as for `connect(as_of=…)`; `accounts` empty: all accounts.

    Raises:
        BadSetting: an instant has no meaning or lies before the first observation, or `old` is later than `new`.
        UnknownName: there was no such account by then.
        LakeMissing: no run was ever committed in `data`.
        LakeDamaged: a file of the lake is missing or cannot be read.
    """
    since, until = resolve_as_of(data, old, new)
    if since > until:
        raise BadSetting(f"FROM, {old}, is later than TO, {new} ({until:%F %T} UTC): give the earlier instant first")
    lake = connect(data, as_of=new, keeps_versions=True)
    try:
        _refuse_unknown(lake, accounts)
        with duckdb_message():
            for statement in tables(since, accounts):
                lake.execute(statement).fetchall()
    except BaseException:
        lake.close()
        raise
    return Diff(lake)


def _refuse_unknown(lake: duckdb.DuckDBPyConnection, accounts: Sequence[str]) -> None:
    known = [account for (account,) in lake.execute("select account from accounts").fetchall()]
    for name in accounts:
        if name not in known:
            suggestion = nearest(name, known)
            meant = f"did you mean {suggestion!r}? " if suggestion else ""
            names = ", ".join(known[:10]) + (f" and {len(known) - 10:,} more" if len(known) > 10 else "")
            raise UnknownName(f"no account is called {name!r} by then: {meant}there are {names}")


def count_differences(differences: Diff) -> str:
    """Count the items that differ: `3 appeared, 1 gone; instances: 1 changed`; empty where none differs."""
    counts = {resource: count_changes(differences.count(resource)) for resource in RESOURCES}
    return "; ".join(
        counted if resource is IMAGES_RESOURCE else f"{resource.name}: {counted}"
        for resource, counted in counts.items()
        if counted
    )


def raise_if_different(differences: Diff) -> None:
    """Raise an error where an item of any resource differs: the command ends with its exit code.

    Raises:
        Differs: an item differs.
    """
    if differences:
        raise Differs(count_differences(differences))
