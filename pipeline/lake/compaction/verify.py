"""Verify a compaction before its commit: every compacted row can be restored unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import LakeDamaged
from pipeline.lake.compaction.manifest import ENDED, OPEN
from pipeline.lake.scan import scan_files
from pipeline.resources.images import DISK_FIELDS, IMAGE_DISKS, IMAGE_FIELDS, IMAGE_VERSIONS, IMAGES

if TYPE_CHECKING:
    import duckdb

    from pipeline.lake.commit import CompactionCommit
    from pipeline.lake.compaction.plan import Plan


def verify(con: duckdb.DuckDBPyConnection, plan: Plan, commit: CompactionCommit) -> None:
    """Compare the versions just written with the daily files that were taken, row for row and value for value.

    Raises:
        LakeDamaged: an image or a disk would not come back as it was.
    """
    daily = plan.taken_files.daily
    written = scan_files(IMAGE_VERSIONS, commit.written(OPEN, ENDED))
    disks = (
        "select account, image_id, first_seen_utc, last_seen_utc, "  # noqa: S608
        f"unnest(disks, recursive := true) from ({written}) as version"
    )
    taken = f"select account, observed_at_utc from observed where (run_id, account) in ({plan.taken_pairs})"  # noqa: S608
    spanned = "observed_at_utc between version.first_seen_utc and version.last_seen_utc"
    queries = [
        f"""
        select row.account, row.observed_at_utc, count(*), 0
        from ({scan_files(table, daily[table.name])}) as row
        inner join ({rows}) as version
            on {" and ".join(f"row.{name} = version.{name}" for name in table.key if name != "observed_at_utc")}
            and row.{spanned}
        where {" and ".join(f"row.{field.name} is not distinct from version.{field.name}" for field in fields)}
        group by all"""  # noqa: S608
        for table, rows, fields in ((IMAGES, written, IMAGE_FIELDS), (IMAGE_DISKS, disks, DISK_FIELDS))
    ]
    queries.append(f"""
        select taken.account, taken.observed_at_utc, count(*), sum(version.disk_count)
        from ({written}) as version
        inner join ({taken}) as taken on taken.account = version.account and taken.{spanned}
        group by all""")  # noqa: S608
    equal_images, equal_disks, restored = (
        {(account, at): (count, disk_count) for account, at, count, disk_count in con.execute(query).fetchall()}
        for query in queries
    )
    for record in plan.taken:
        key = (record.account, record.observed_at_utc)
        equal = equal_images.get(key, (0,))[0], equal_disks.get(key, (0,))[0]
        if not equal == restored.get(key, (0, 0)) == (record.item_count, record.child_item_count):
            raise LakeDamaged(
                f"account {record.account!r} of run {record.run_id} cannot be compacted: of {record.item_count:,} "
                f"images and {record.child_item_count:,} disks, {equal[0]:,} and {equal[1]:,} would come back "
                "unchanged: "
                "`ens-images check` names what is wrong"
            )
