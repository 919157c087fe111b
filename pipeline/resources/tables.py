"""Every resource, every table, and the tables of a compaction."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from pipeline.resources.control import OBSERVATIONS, RAW_PAGES, REJECTS
from pipeline.resources.image_shares import IMAGE_SHARES
from pipeline.resources.images import IMAGES_RESOURCE
from pipeline.resources.instances import INSTANCES_RESOURCE
from pipeline.resources.schema import ADDED, Table, text

if TYPE_CHECKING:
    from collections.abc import Collection

    from pipeline.resources.resource import Resource

RESOURCES = (IMAGES_RESOURCE, INSTANCES_RESOURCE)
"""Every resource, in the order in which a run lists them."""


def resource_named(name: str) -> Resource:
    """Return the resource called `name`; `image_shares` too, of which the raw pages may hold answers.

    Raises:
        LookupError: there is none.
    """
    for resource in (*RESOURCES, IMAGE_SHARES):
        if resource.name == name:
            return resource
    raise LookupError(f"{name!r} is no resource")


ROW_TABLES = (*(table for resource in RESOURCES for table in resource.tables), REJECTS)
"""The tables of what a run found."""


def tables_of(names: Collection[str]) -> tuple[Table, ...]:
    """Return the tables of what a run found, where it published these resources."""
    return (*(table for resource in RESOURCES if resource.name in names for table in resource.tables), REJECTS)


LAKE_TABLES = (*ROW_TABLES, OBSERVATIONS)
"""The tables of the lake, in the order in which a run writes them: `observations`, the commit record, last."""

TABLES = (*LAKE_TABLES, *(resource.versions for resource in RESOURCES), RAW_PAGES)
"""Every declared table."""


def _compacted(table: Table) -> Table:
    """The table as a compaction writes it: many runs in one file, so that each row has its run and its day."""
    names = {column.name for column in table.columns}
    run = () if "run_id" in names else (text("run_id", ADDED, "The run."),)
    columns = tuple(dataclasses.replace(column, in_folder=False) for column in (*run, *table.columns))
    name, before = f"compacted_{table.name}", f"folded_{table.name}"
    return dataclasses.replace(table, name=name, columns=columns, format="4", renamed_from=before)


COMPACTED_OBSERVATIONS = _compacted(OBSERVATIONS)
COMPACTED_REJECTS = _compacted(REJECTS)
