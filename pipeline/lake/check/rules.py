"""Rules that the rows of one run, and the versions, must satisfy, as SQL: a row in the answer is a violation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.resources.control import REJECTS
from pipeline.resources.images import IMAGE_DISKS, IMAGES

if TYPE_CHECKING:
    from pipeline.resources.schema import Table


class Rule(NamedTuple):
    """A rule for one table of a run, over the views `<table>_of_run`."""

    table: Table
    problem: str
    """Message, formatted with the columns of a row of the answer."""
    query: str


def _unique_key(table: Table) -> Rule:
    names = ", ".join(table.key)
    query = f"""
        select sum(n) from (select count(*) as n from {table.name}_of_run group by {names} having n > 1) as shared
        having sum(n) > 0"""  # noqa: S608  (declared names, as everywhere here)
    return Rule(table, f"{{0:,}} rows share their key ({names}) with another", query)


def _complete_key(table: Table) -> Rule:
    missing = " or ".join(f"{name} is null" for name in table.key)
    query = f"select count(*) from {table.name}_of_run where {missing} having count(*) > 0"  # noqa: S608
    return Rule(table, "{0:,} rows lack a part of their key", query)


def _row_count(table: Table, count: str) -> Rule:
    query = f"""
        select account, coalesce(n, 0), expected
        from (
            select account, observed_at_utc, {count} as expected from observations_of_run where is_published
        ) as record
        left join (
            select account, observed_at_utc, count(*) as n from {table.name}_of_run group by account, observed_at_utc
        ) as counted using (account, observed_at_utc)
        where coalesce(n, 0) is distinct from expected"""  # noqa: S608
    return Rule(table, f"account {{0!r}}: {{1:,}} rows, and {count} is {{2}}", query)


def _published_observation(table: Table) -> Rule:
    query = f"""
        select count(*) from {table.name}_of_run
        anti join (select account, observed_at_utc from observations_of_run where is_published) as record
            using (account, observed_at_utc)
        having count(*) > 0"""  # noqa: S608
    return Rule(table, "{0:,} rows are of no published observation of the run", query)


_DISKS_WITHOUT_IMAGE: Final = """
    select count(*) from image_disks_of_run anti join images_of_run using (account, observed_at_utc, image_id)
    having count(*) > 0"""

_WRONG_DISK_SUMS: Final = """
    select count(*)
    from images_of_run as image
    left join (
        select
            account, observed_at_utc, image_id, count(*) as disk_count,
            count(*) - count(disk_size_gib) as unsized_disk_count, sum(disk_size_gib) as disk_size_gib
        from image_disks_of_run
        group by account, observed_at_utc, image_id
    ) as disk using (account, observed_at_utc, image_id)
    where
        image.unsized_disk_count is not null
        and (
            image.disk_count is distinct from coalesce(disk.disk_count, 0)
            or image.unsized_disk_count is distinct from coalesce(disk.unsized_disk_count, 0)
            or image.disk_size_gib is distinct from disk.disk_size_gib
        )
    having count(*) > 0"""

RUN_RULES: Final = (
    _complete_key(IMAGES),
    _unique_key(IMAGES),
    _published_observation(IMAGES),
    _row_count(IMAGES, "image_count"),
    _complete_key(IMAGE_DISKS),
    _unique_key(IMAGE_DISKS),
    Rule(IMAGE_DISKS, "{0:,} disks belong to no image", _DISKS_WITHOUT_IMAGE),
    _row_count(IMAGE_DISKS, "disk_count"),
    Rule(IMAGES, "{0:,} images have other disk counts or sizes than their rows in image_disks", _WRONG_DISK_SUMS),
    _published_observation(REJECTS),
    _row_count(REJECTS, "reject_count"),
)
"""Rules for the tables of one run."""

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
