"""Rules that the rows of each run, and the versions, must satisfy, as SQL: a row in the answer is a violation.

A rule is one query over a batch of runs: a query for each run would cost more than its rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.resources.control import OBSERVATIONS, REJECTS
from pipeline.resources.images import IMAGE_DISKS, IMAGES

if TYPE_CHECKING:
    from pipeline.resources.schema import Table


class Rule(NamedTuple):
    """A rule for one table of a run, over the views `<table>_of_runs`, in which `run` numbers the runs."""

    table: Table
    problem: str
    """Message, formatted with the columns of a row of the answer but for the first."""
    query: str
    """Its first column is the number of the run."""


def _unique_key(table: Table) -> Rule:
    names = ", ".join(table.key)
    query = f"""
        select run, sum(n)
        from (select run, count(*) as n from {table.name}_of_runs group by run, {names} having n > 1) as shared
        group by run"""  # noqa: S608  (declared names, as everywhere here)
    return Rule(table, f"{{0:,}} rows share their key ({names}) with another", query)


def _complete_key(table: Table) -> Rule:
    missing = " or ".join(f"{name} is null" for name in table.key)
    query = f"select run, count(*) from {table.name}_of_runs where {missing} group by run"  # noqa: S608
    return Rule(table, "{0:,} rows lack a part of their key", query)


def _row_count(table: Table, count: str) -> Rule:
    query = f"""
        select run, account, coalesce(n, 0), expected
        from (
            select run, account, observed_at_utc, {count} as expected from observations_of_runs where is_published
        ) as record
        left join (
            select run, account, observed_at_utc, count(*) as n
            from {table.name}_of_runs
            group by run, account, observed_at_utc
        ) as counted using (run, account, observed_at_utc)
        where coalesce(n, 0) is distinct from expected"""  # noqa: S608
    return Rule(table, f"account {{0!r}}: {{1:,}} rows, and {count} is {{2}}", query)


def _published_observation(table: Table) -> Rule:
    query = f"""
        select run, count(*) from {table.name}_of_runs
        anti join (select run, account, observed_at_utc from observations_of_runs where is_published) as record
            using (run, account, observed_at_utc)
        group by run"""  # noqa: S608
    return Rule(table, "{0:,} rows are of no published observation of the run", query)


_DISKS_WITHOUT_IMAGE: Final = """
    select run, count(*)
    from image_disks_of_runs anti join images_of_runs using (run, account, observed_at_utc, image_id)
    group by run"""

_WRONG_DISK_SUMS: Final = """
    select run, count(*)
    from images_of_runs as image
    left join (
        select
            run, account, observed_at_utc, image_id, count(*) as disk_count,
            count(*) - count(disk_size_gib) as unsized_disk_count, sum(disk_size_gib) as disk_size_gib
        from image_disks_of_runs
        group by run, account, observed_at_utc, image_id
    ) as disk using (run, account, observed_at_utc, image_id)
    where
        image.unsized_disk_count is not null
        and (
            image.disk_count is distinct from coalesce(disk.disk_count, 0)
            or image.unsized_disk_count is distinct from coalesce(disk.unsized_disk_count, 0)
            or image.disk_size_gib is distinct from disk.disk_size_gib
        )
    group by run"""

RUN_RULES: Final = (
    _complete_key(IMAGES),
    _unique_key(IMAGES),
    _published_observation(IMAGES),
    _row_count(IMAGES, "item_count"),
    _complete_key(IMAGE_DISKS),
    _unique_key(IMAGE_DISKS),
    Rule(IMAGE_DISKS, "{0:,} disks belong to no image", _DISKS_WITHOUT_IMAGE),
    _row_count(IMAGE_DISKS, "child_item_count"),
    Rule(IMAGES, "{0:,} images have other disk counts or sizes than their rows in image_disks", _WRONG_DISK_SUMS),
    _published_observation(REJECTS),
    _row_count(REJECTS, "reject_count"),
)
"""Rules for the tables of a run."""

RULE_COLUMNS: Final = {
    IMAGES.name: (*IMAGES.key, "disk_count", "unsized_disk_count", "disk_size_gib"),
    IMAGE_DISKS.name: (*IMAGE_DISKS.key, "disk_size_gib"),
    REJECTS.name: ("account", "observed_at_utc"),
    OBSERVATIONS.name: ("account", "observed_at_utc", "is_published", "item_count", "child_item_count", "reject_count"),
}
"""The columns that the rules read, by table."""

VERSION_RULES: Final = (
    (
        "{0:,} versions overlap another of their image",
        """
        select count(*) from (
            select
                first_seen_utc,
                lag(last_seen_utc) over (partition by account, image_id order by first_seen_utc) as previous
            from version
        ) as pair where first_seen_utc <= previous having count(*) > 0""",
    ),
    (
        "{0:,} versions end before they begin, or lack a part of their key",
        """
        select count(*) from version
        where coalesce(last_seen_utc < first_seen_utc or account is null or image_id is null, true)
        having count(*) > 0""",
    ),
)
"""Problem and query, over the view `version`."""
