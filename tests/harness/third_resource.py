"""A made-up resource that differs from images wherever a resource may: the laws are tested with it too.

    probes ─┬─< probe_parts      one object and a list in an item
            └─< probe_tags       a list without an inner list, and without roll-ups

Its list has no inner list, its sizes are in MiB, all items are the account's own, an instant may mean never, and some
of its fields are excluded. `declare()` adds it to those of the package, before anything else is imported. The rest
writes a history of every resource into a lake.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from pipeline.resources import control, tables
from pipeline.resources.resource import Action, Child, ChildPath, Resource, count, count_null, total_gib
from pipeline.resources.schema import ADDED, boolean, gib, integer, text, timestamp_utc

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

_ID = text("probe_id", "ProbeId", "The probe.", is_distinct=True)

_PARTS = Child(
    name="probe_parts",
    noun="part",
    item_key=_ID,
    grain="One part of one probe in one published observation.",
    paths=(
        ChildPath(("FirstPart",), is_object=True, values=(("part_kind", "first"),)),
        ChildPath(("Parts", "Part"), values=(("part_kind", "other"),)),
    ),
    number=integer("part_number", ADDED, "Place of the part, from 1: the first part, then the others."),
    columns=(
        text("part_kind", ADDED, "`first` or `other`."),
        text("part_id", "PartId", "The part.", is_distinct=True),
        gib("part_size_gib", "Size", "Size of the part.", is_from_mib=True, is_number=True),
        boolean("is_encrypted", "Encrypted", "True where the part is encrypted."),
    ),
    example="select part_kind, count(*) as part_count from probe_parts group by part_kind",
    rollups=(
        count("part_count", "Parts of the probe."),
        count_null("unsized_part_count", "part_size_gib", "Those of its parts whose size is not known."),
        total_gib("parts_size_gib", "part_size_gib", "Sizes of its parts, added up; null where none is known."),
    ),
    excluded=("device", "Address"),
)

_TAGS = Child(
    name="probe_tags",
    noun="tag",
    item_key=_ID,
    grain="One tag of one probe in one published observation.",
    paths=(ChildPath(("Tags",)),),
    number=integer("tag_number", ADDED, "Place of the tag, from 1."),
    columns=(text("tag_name", "Key", "Name of the tag."),),
    example="select count(*) as tag_count from probe_tags",
)

PROBES = Resource(
    name="probes",
    noun="probe",
    action=Action(
        "DescribeProbes",
        items=("Probes",),
        page_size=100,
        permission="ens:DescribeProbes",
        parameters=(("OrderBy", "created"),),
    ),
    key=_ID,
    created="created_at_utc",
    columns=(
        text("probe_name", "ProbeName", "Name of the probe."),
        gib("probe_size_gib", "Size", "Size of the probe.", is_from_mib=True, is_number=True),
        integer("cpu_count", "Cpu", "Processors.", is_number=True),
        timestamp_utc("created_at_utc", "CreationTime", "When it was created.", is_past=True),
        timestamp_utc("expires_at_utc", "ExpiredTime", "When it expires; null: never.", never="is_kept"),
        boolean("is_kept", ADDED, "True where it never expires."),
        boolean("is_protected", "Protected", "True where it cannot be deleted."),
    ),
    children=(_PARTS, _TAGS),
    excluded=("Addresses", "KeyPair"),
)


def declare() -> None:
    """Add the resource to those of the package."""
    tables.RESOURCES = (*tables.RESOURCES, PROBES)
    tables.ROW_TABLES = (*(one for resource in tables.RESOURCES for one in resource.tables), control.REJECTS)
    tables.LAKE_TABLES = (*tables.ROW_TABLES, control.OBSERVATIONS)
    tables.TABLES = (
        *tables.LAKE_TABLES,
        *(resource.versions for resource in tables.RESOURCES),
        control.RAW_PAGES,
    )


# ── a history ────────────────────────────────────────────────────────────────

Items = dict[str, dict[str, Any]]
"""Id → values of the columns, and for each child its items."""


def value(column: Any, random_: random.Random) -> Any:
    """A value of a column, or null."""
    kinds = {
        "text": lambda: random_.choice(["a", "b's", "名"]),
        "integer": lambda: random_.randrange(3),
        "gib": lambda: random_.randrange(1, 40),
        "boolean": lambda: random_.random() < 0.5,
        "timestamp": lambda: dt.datetime(2026, 1, random_.randrange(1, 9), 2),  # noqa: DTZ001  (UTC without a zone)
    }
    return None if random_.random() < 0.2 else kinds[column.kind]()


def item(resource: Resource, random_: random.Random) -> dict[str, Any]:
    """The values of an item, with those of its child items."""
    values = {column.name: value(column, random_) for column in resource.columns}
    for child in resource.children:
        values[child.name] = [
            {column.name: value(column, random_) for column in child.columns} for _ in range(random_.randrange(3))
        ]
    return values


def change(resource: Resource, items: Items, random_: random.Random) -> Items:
    """The items a day later: some are gone, some are new, some have other values."""
    later = {key: values for key, values in items.items() if random_.random() < 0.85}
    for number in random_.sample(range(9), 2):
        later[f"{resource.noun}-{number}"] = item(resource, random_)
    return later


def rows_of(resource: Resource, account: str, at: dt.datetime, items: Items) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The rows of the tables of a resource."""
    key = {"account": account, "observed_at_utc": at}
    for item_id, values in sorted(items.items()):
        row = {**key, resource.key.name: item_id}
        sums = {}
        for child in resource.children:
            children = values[child.name]
            for number, one in enumerate(children, start=1):
                yield child.table, {**row, child.number.name: number, **one}
            for rollup in child.rollups:
                known = [one[rollup.of] for one in children if rollup.of and one[rollup.of] is not None]
                found = {"count": len(children), "count_null": len(children) - len(known), "sum": sum(known)}
                sums[rollup.column.name] = None if rollup.how == "sum" and not known else found[rollup.how]
        columns = {column.name: values[column.name] for column in resource.columns}
        yield resource.table, {**row, **columns, **sums}


def write_observations(data: Path, at: dt.datetime, seen: dict[tuple[str, str], Items | None]) -> str:
    """Publish one run; items of each account and resource, or None for a try in vain. Returns: its id."""
    from lake_builder import commit_again, write_table

    run_id = f"{at:%Y%m%dT%H%M%S}Z"
    rows: dict[str, tuple[Any, list[dict[str, Any]]]] = {}
    resources = {resource.name: resource for resource in tables.RESOURCES}
    for table in tables.tables_of({name for (_, name), items in seen.items() if items is not None}):
        rows[table.name] = (table, [])
    records = []
    for (account, name), items in seen.items():
        instant = at + dt.timedelta(seconds=list(resources).index(name))  # each resource has its own
        children = 0
        for table, row in rows_of(resources[name], account, instant, items or {}):
            rows[table.name][1].append(row)
            children += table is not resources[name].table
        if items:
            bad = {"item_id": min(items), "field": "X", "reason": "is null", "raw_json": "null"}
            rows[control.REJECTS.name][1].append(
                {"account": account, "resource": name, "observed_at_utc": instant, **bad}
            )
        counts = {"item_count": len(items), "child_item_count": children} if items is not None else {}
        records.append(
            {
                "account": account,
                "resource": name,
                "run_id": run_id,
                "observed_at_utc": instant if items is not None else None,
                "is_published": items is not None,
                "certificate": "verified" if items is not None else None,
                "reject_count": 1 if items else 0,
                "unknown_field_count": 0,
                "error": None if items is not None else "Refused: no",
                **counts,
            }
        )
    for table, found in rows.values():
        write_table(data / "lake" / table.name, table, found, run_id, at)
    record = write_table(data / "lake" / control.OBSERVATIONS.name, control.OBSERVATIONS, records, run_id, at)
    (data / "lake" / "format").write_text("5\n", "ascii")
    commit_again(record)
    return run_id
