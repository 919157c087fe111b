"""A made-up resource that differs from images wherever a resource may: the laws are tested with it too.

Its list has no inner list, its sizes are in MiB, its parts stand in an object and in a list, all of them are the
account's own, and some of its fields are excluded.
"""

from __future__ import annotations

from pipeline.resources.resource import Action, Child, ChildPath, Resource, count, count_null, total_gib
from pipeline.resources.schema import ADDED, boolean, gib, integer, text, timestamp_utc

_ID = text("snapshot_id", "SnapshotId", "The snapshot.", is_distinct=True)

_PARTS = Child(
    name="snapshot_parts",
    noun="part",
    item_key=_ID,
    grain="One part of one snapshot in one published observation.",
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
    example="select part_kind, count(*) as part_count from snapshot_parts group by part_kind",
    rollups=(
        count("part_count", "Parts of the snapshot."),
        count_null("unsized_part_count", "part_size_gib", "Those of its parts whose size is not known."),
        total_gib("parts_size_gib", "part_size_gib", "Sizes of its parts, added up; null where none is known."),
    ),
    excluded=("device", "Address"),
)

SNAPSHOTS = Resource(
    name="snapshots",
    noun="snapshot",
    action=Action(
        "DescribeSnapshots",
        items=("Snapshots",),
        page_size=100,
        permission="ens:DescribeSnapshots",
        parameters=(("OrderBy", "created"),),
    ),
    key=_ID,
    created="created_at_utc",
    columns=(
        text("snapshot_name", "SnapshotName", "Name of the snapshot."),
        gib("snapshot_size_gib", "Size", "Size of the snapshot.", is_from_mib=True, is_number=True),
        integer("cpu_count", "Cpu", "Processors.", is_number=True),
        timestamp_utc("created_at_utc", "CreationTime", "When it was created.", is_past=True),
        timestamp_utc("expires_at_utc", "ExpiredTime", "When it expires; null: never.", never="is_kept"),
        boolean("is_kept", ADDED, "True where it never expires."),
        boolean("is_protected", "Protected", "True where it cannot be deleted."),
    ),
    children=(_PARTS,),
    excluded=("Addresses", "KeyPair"),
)
