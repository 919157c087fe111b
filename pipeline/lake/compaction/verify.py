"""Verify a compaction before its commit: every compacted row can be restored unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import LakeDamaged
from pipeline.lake.compaction.manifest import open_place
from pipeline.lake.compaction.merge import taken_pairs
from pipeline.lake.scan import scan_files

if TYPE_CHECKING:
    import duckdb

    from pipeline.lake.commit import CompactionCommit
    from pipeline.lake.compaction.plan import Plan
    from pipeline.resources.resource import Resource


def verify(con: duckdb.DuckDBPyConnection, resource: Resource, plan: Plan, commit: CompactionCommit) -> None:
    """Compare the versions just merged with the daily files that were taken, row for row and value for value.

    Raises:
        LakeDamaged: an item or a child item would not come back as it was.
    """
    daily = plan.taken_files.daily
    written = scan_files(resource.versions, commit.written(open_place(resource), resource.versions_name))
    pairs = taken_pairs(resource, plan)
    taken = f"select account, observed_at_utc from observed where (run_id, account) in ({pairs})"  # noqa: S608
    spanned = "observed_at_utc between version.first_seen_utc and version.last_seen_utc"
    compared = [(resource.table, written, resource.fields)]
    for child in resource.children:
        unnested = (
            f"select account, {resource.key.name}, first_seen_utc, last_seen_utc, "  # noqa: S608
            f"unnest({child.rows.name}, recursive := true) from ({written}) as version"
        )
        compared.append((child.table, unnested, child.fields))
    queries = [
        f"""
        select row.account, row.observed_at_utc, count(*), 0
        from ({scan_files(table, daily[table.name])}) as row
        inner join ({rows}) as version
            on {" and ".join(f"row.{name} = version.{name}" for name in table.key if name != "observed_at_utc")}
            and row.{spanned}
        where {" and ".join(f"row.{field.name} is not distinct from version.{field.name}" for field in fields)}
        group by all"""  # noqa: S608
        for table, rows, fields in compared
    ]
    child_count = " + ".join(f"len(version.{child.rows.name})" for child in resource.children) or "0"
    queries.append(f"""
        select taken.account, taken.observed_at_utc, count(*), sum({child_count})
        from ({written}) as version
        inner join ({taken}) as taken on taken.account = version.account and taken.{spanned}
        group by all""")  # noqa: S608
    equal_items, *equal_children, restored = (
        {(account, at): (count, children) for account, at, count, children in con.execute(query).fetchall()}
        for query in queries
    )
    for record in plan.taken_of(resource):
        key = (record.account, record.observed_at_utc)
        equal = equal_items.get(key, (0,))[0], sum(counts.get(key, (0,))[0] for counts in equal_children)
        if not equal == restored.get(key, (0, 0)) == (record.item_count, record.child_item_count):
            nouns = " and ".join(f"{child.noun}s" for child in resource.children) or "child items"
            raise LakeDamaged(
                f"account {record.account!r} of run {record.run_id} cannot be compacted: of {record.item_count:,} "
                f"{resource.name} and {record.child_item_count:,} {nouns}, {equal[0]:,} and {equal[1]:,} would come "
                "back unchanged: `ens-images check` names what is wrong"
            )
