"""How a resource is declared, and the tables that follow from a declaration.

    Resource("images", noun="image", action=Action("DescribeSelfImages", …), key=…, fields=…, children=(Child(…),))
     │
     ├─ table       images             one row an item and observation
     ├─ children    image_disks        one row a child item, such as a disk
     └─ versions    image_versions     one row an item and version, its child items in a list

An item is one entry of the action's list, a child item one entry of a list or an object in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from pipeline.resources.columns import ACCOUNT, EXTRA, OBSERVED_AT, OBSERVED_ON
from pipeline.resources.schema import ADDED, FORMAT, Column, Table, gib, integer, rows, text, timestamp_utc

_EXTRA = text("extra", ADDED, EXTRA)


@dataclass(frozen=True, slots=True)
class Action:
    """The action of the API that lists the items."""

    name: str
    items: tuple[str, ...]
    """The path of the list of items in an answer: `("Images", "Image")` is `Images.Image[]`."""
    page_size: int
    """The largest page size that the API documents; every request asks for it."""
    permission: str
    """The RAM permission that the action needs."""
    filters: tuple[tuple[str, str], ...] = ()
    """Column → request parameter, for the filters of a live list."""
    parameters: tuple[tuple[str, str], ...] = ()
    """Request parameters of every call, such as an order."""


@dataclass(frozen=True, slots=True)
class ChildPath:
    """Where the child items stand in an item."""

    path: tuple[str, ...]
    """One name or two: `("SystemDisk",)`, `("DataDisk", "DataDisk")`."""
    is_object: bool = False
    """True where the path leads to a single object; false: to a list of objects."""
    values: tuple[tuple[str, str], ...] = ()
    """Column → text, for what the path alone tells, such as `system` of a disk in `SystemDisk`."""


@dataclass(frozen=True, slots=True)
class Rollup:
    """A column of the item that sums up its child items, so that reports need no join."""

    column: Column
    how: Literal["count", "count_null", "sum"]
    of: str | None = None
    """The column of the child that is counted where null, or added up; None: the rows are counted."""


def count(name: str, doc: str, *, since: str | None = None) -> Rollup:
    """Child items of an item."""
    return Rollup(integer(name, ADDED, doc, since=since), "count")


def count_null(name: str, of: str, doc: str, *, since: str | None = None) -> Rollup:
    """Child items whose column `of` is null."""
    return Rollup(integer(name, ADDED, doc, since=since), "count_null", of)


def total_gib(name: str, of: str, doc: str, *, since: str | None = None) -> Rollup:
    """The column `of` added up over the child items, in GiB; null where all are null."""
    return Rollup(gib(name, ADDED, doc, since=since), "sum", of)


@dataclass(frozen=True, eq=False)  # a declaration is one object: compared and hashed by identity
class Child:
    """Items within an item: a table of their own, numbered from 1 in the order of `paths`."""

    name: str
    """The name of the table."""
    noun: str
    item_key: Column
    """The key of the item that it belongs to."""
    grain: str
    paths: tuple[ChildPath, ...]
    number: Column
    """The place of the child item."""
    columns: tuple[Column, ...]
    """The fields from the API, and those that `ChildPath.values` fill."""
    example: str
    rollups: tuple[Rollup, ...] = ()
    excluded: tuple[str, ...] = ()
    """API fields that are left in the raw pages: no column, not in `extra`, not unknown."""
    format: str = FORMAT
    """The format of the lake that introduced the daily files."""

    @property
    def fields(self) -> tuple[Column, ...]:
        """The fields of a child item: its number and its columns without the key of the item."""
        return (self.number, *self.columns, _EXTRA)

    @cached_property
    def table(self) -> Table:
        """The table of the child items."""
        return Table(
            name=self.name,
            grain=self.grain,
            key=("account", "observed_at_utc", self.item_key.name, self.number.name),
            columns=(ACCOUNT, OBSERVED_AT, OBSERVED_ON, self.item_key, *self.fields),
            example=self.example,
            format=self.format,
        )

    @cached_property
    def rows(self) -> Column:
        """The column of `…_versions` that lists the child items of an item."""
        api = " or ".join(path.path[-1] for path in self.paths)
        return rows(f"{self.noun}s", api, f"Its {self.noun}s, in the order of their numbers.", of=self.fields)


@dataclass(frozen=True, eq=False)  # a declaration is one object: compared and hashed by identity
class Resource:
    """What one action of the API lists, and how its items are typed."""

    name: str
    noun: str
    action: Action
    key: Column
    """The id of an item, unique in the account."""
    columns: tuple[Column, ...]
    """The fields from the API, in the order of the table."""
    created: str | None = None
    """The column of the creation time; None: the API tells none."""
    owned: tuple[str, str] | None = None
    """Column and value that mark the account's own items, compared without case; None: all are its own."""
    children: tuple[Child, ...] = ()
    excluded: tuple[str, ...] = ()
    """API fields that are left in the raw pages: no column, not in `extra`, not unknown."""
    is_optional: bool = False
    """True where a run that was not asked for it by name does without it, if the account has no right to list it."""
    format: str = FORMAT
    """The format of the lake that introduced the daily files."""
    versions_format: str = FORMAT
    """The format of the lake that introduced the versions."""

    @property
    def rollups(self) -> tuple[Column, ...]:
        """The columns that sum up the child items."""
        return tuple(rollup.column for child in self.children for rollup in child.rollups)

    @property
    def fields(self) -> tuple[Column, ...]:
        """The fields of an item: its stored columns without the key and the roll-ups."""
        return (*self.columns, _EXTRA)

    @property
    def versions_name(self) -> str:
        """The name of the table of versions."""
        return f"{self.noun}_versions"

    @cached_property
    def table(self) -> Table:
        """The table of the items."""
        example = (
            f"select observed_on, count(*) as {self.noun}_count from {self.name} "  # noqa: S608  (declared names)
            "group by observed_on order by observed_on"
        )
        return Table(
            name=self.name,
            grain=f"One {self.noun} of one account in one published observation.",
            key=("account", "observed_at_utc", self.key.name),
            columns=(ACCOUNT, OBSERVED_AT, OBSERVED_ON, self.key, *self.fields, *self.rollups),
            example=example,
            format=self.format,
        )

    @cached_property
    def versions(self) -> Table:
        """The table of the versions: an item with equal values over consecutive observations."""
        lists = (child.rows for child in self.children)
        example = (
            f"select {self.key.name}, first_seen_utc, last_seen_utc from {self.versions_name} "  # noqa: S608
            "where gone_at_utc is not null"
        )
        return Table(
            name=self.versions_name,
            grain=(
                f"One {self.noun} with equal values over consecutive published observations of its account (a slowly "
                "changing dimension, type 2). Any absence ends a version. A life is a chain of versions without a "
                "proof of absence between them."
            ),
            key=("account", self.key.name, "first_seen_utc"),
            columns=(ACCOUNT, self.key, *VERSION_BOUNDS, *self.fields, *self.rollups, *lists),
            format=self.versions_format,
            example=example,
        )

    @property
    def tables(self) -> tuple[Table, ...]:
        """The tables of what a run found: that of the items, then those of the child items."""
        return (self.table, *(child.table for child in self.children))


VERSION_BOUNDS = (
    timestamp_utc("first_seen_utc", ADDED, "The first observation of the version."),
    timestamp_utc("last_seen_utc", ADDED, "The last observation of the version."),
    timestamp_utc("gone_at_utc", ADDED, "The first verified observation without it; null until then."),
    timestamp_utc("life_began_utc", ADDED, "The first observation of its life: the same in every version of a life."),
    timestamp_utc(
        "previous_seen_utc", ADDED, "The last observation of the version before; null on the first of a life."
    ),
    timestamp_utc("next_seen_utc", ADDED, "The first observation of the next version; null on the last of a life."),
)
"""The columns of `…_versions` that say when a version was seen."""
