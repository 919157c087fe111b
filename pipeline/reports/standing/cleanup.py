"""The standing report on images that can be deleted, in three groups by what is proven of their use.

    cleanup_candidates                                               unused, or not known where nothing is proven
    cleanup_candidates(only_unused := false, include_used := true)   in use and not known too: what stays, and why

A lake in which no listing of instances has one is of one group: not known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.reports.standing.declaration import StandingReport
from pipeline.reports.standing.model import Column, QueryText, Series, table
from pipeline.reports.standing.queries import bar_chart, summed, without_one_account
from pipeline.text import pluralize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.reports.standing.declaration import SectionData
    from pipeline.reports.standing.model import Chart, Row, Table
    from pipeline.reports.standing.queries import Answers

CLEANUP_BY_REGION: Final = QueryText(
    "the chart",
    """\
select
    region_id,
    count(*) as image_count,
    count(*) - count(freed_gib) as unsized_image_count,
    cast(coalesce(sum(case when age_days >= 730 then freed_gib end), 0) as bigint) as oldest_gib,
    cast(coalesce(sum(case when age_days >= 365 and age_days < 730 then freed_gib end), 0) as bigint) as older_gib,
    cast(coalesce(sum(case when age_days < 365 then freed_gib end), 0) as bigint) as old_gib,
    count(case when shared_account_count > 0 then 1 end) as shared_image_count
from cleanup_candidates
group by region_id
order by region_id nulls last""",
)
USE_BY_REGION: Final = QueryText(
    "the groups and the chart",
    """\
select
    region_id,
    count(case when use_status = 'unused' then 1 end) as unused_image_count,
    count(case when use_status = 'not known' then 1 end) as unknown_image_count,
    count(case when use_status = 'in use' then 1 end) as used_image_count,
    cast(coalesce(sum(case when use_status = 'unused' then freed_gib end), 0) as bigint) as unused_gib,
    cast(coalesce(sum(case when use_status = 'not known' then freed_gib end), 0) as bigint) as unknown_gib,
    cast(coalesce(sum(case when use_status = 'in use' then freed_gib end), 0) as bigint) as used_gib,
    cast(coalesce(sum(instance_count), 0) as bigint) as instance_count,
    count(case when use_status = 'in use' and instance_count = 0 then 1 end) as used_elsewhere_count,
    min(instances_observed_at_utc) as instances_observed_at_utc,
    min(case when use_status = 'not known' then use_why end) as unknown_why,
    count(distinct case when use_status = 'not known' then use_why end) as unknown_why_count
from cleanup_candidates(only_unused := false, include_used := true)
group by region_id
order by region_id nulls last""",
)
_LISTED: Final = QueryText(
    "the listings of instances",
    """\
select
    account,
    max(observed_at_utc) as observed_at_utc
from observations
where
    resource = 'instances'
    and is_published
    and item_count > 0
group by account
order by account""",
)
_CANDIDATES: Final = QueryText(
    "the table",
    """\
select
    freed_gib,
    account,
    image_id,
    image_name,
    region_id,
    age_days,
    newer_image_count,
    use_status,
    unused_days,
    use_why,
    shared_account_count,
    why
from cleanup_candidates
order by
    freed_gib desc nulls last,
    account,
    image_id
limit 50""",
)
_STAYING: Final = QueryText(
    "the images that stay",
    """\
select
    image.use_status,
    image.account,
    image.image_id,
    image.image_name,
    image.age_days,
    image.instance_count,
    image.use_why,
    image.freed_gib,
    count(*) over () as staying_count
from cleanup_candidates(only_unused := false, include_used := true) as image
left join cleanup_candidates as candidate
    on image.account = candidate.account
    and image.image_id = candidate.image_id
where candidate.image_id is null
order by
    image.freed_gib desc nulls last,
    image.account,
    image.image_id
limit 50""",
)
_CANDIDATES_IGNORING_DATES: Final = QueryText(
    "names without their dates",
    """\
select
    count(*) as image_count,
    cast(coalesce(sum(freed_gib), 0) as bigint) as freed_gib
from cleanup_candidates(ignored_in_name := '-[0-9]{8}$')""",
)
_AGES: Final = {
    "oldest_gib": Series("2 years and over", "blue"),
    "older_gib": Series("1–2 years", "sky"),  # noqa: RUF001  (as the view age_bands has it)
    "old_gib": Series("under a year", "grey"),
}
_GROUPS: Final = {"unused": "unused, proven", "unknown": "not known", "used": "in use"}
"""The groups by the start of their columns in `USE_BY_REGION`."""
_NEVER_LISTED: Final = "instances were never listed"
"""The reason of a lake without instances: a note tells it once."""
_USES: Final = {
    "unused_gib": Series(_GROUPS["unused"], "blue"),
    "unknown_gib": Series(_GROUPS["unknown"], "grey"),
    "used_gib": Series(_GROUPS["used"], "orange"),
}


def freed_gib(by_region: Sequence[Row]) -> int:
    """Add up the GiB that deleting all candidates would free."""
    total = summed(by_region)
    return sum(total[name] for name in _AGES)


def candidates_note(answers: Answers) -> str:
    """Count the candidates; where instances were listed, by what is proven of their use."""
    count = summed(answers.rows(CLEANUP_BY_REGION))["image_count"]
    if not answers.rows(_LISTED):
        return pluralize(count, "image")
    unused = summed(answers.rows(USE_BY_REGION))["unused_image_count"]
    return f"{pluralize(unused, 'image')} unused" + (f", {count - unused:,} not known" if count > unused else "")


# ── findings and notes ───────────────────────────────────────────────────────


def _has_instances(data: SectionData) -> bool:
    return bool(data.query(_LISTED))


def _finding(data: SectionData) -> str:
    by_region = data.query(CLEANUP_BY_REGION)
    if not _has_instances(data):
        count = summed(by_region)["image_count"]
        if not count:
            return "No image matches the standing rule"
        return f"{_frees(count, freed_gib(by_region))}; whether an instance uses one is not known"
    total = summed(data.query(USE_BY_REGION))
    if not any(total[f"{name}_image_count"] for name in _GROUPS):
        return "No image matches the standing rule"
    unused = total["unused_image_count"]
    parts = [_frees(unused, total["unused_gib"]) if unused else "No image is proven to be unused"]
    parts += [
        f"{total[f'{name}_image_count']:,} {_GROUPS[name]}, {total[f'{name}_gib']:,} GiB"
        for name in ("unknown", "used")
        if total[f"{name}_image_count"]
    ]
    return "; ".join(parts)


def _frees(image_count: int, gib: int) -> str:
    return f"{pluralize(image_count, 'image')} can be deleted, freeing {gib:,} GiB"


def _rule_note(data: SectionData) -> str:
    days = data.answers.threshold("cleanup_candidates", "older_than_days")
    rule = (
        f"The rule: our own, {pluralize(int(days), 'day')} old or more, and a newer one of its name and architecture "
        "is Available."
    )
    if not _has_instances(data):
        reasons = {row["unknown_why"] for row in data.query(USE_BY_REGION) if row["unknown_why"]}
        if reasons - {_NEVER_LISTED}:
            return f"{rule} The use is not known ({min(reasons)}): look before deleting."
        return f"{rule} No listing tells whether an instance still runs from an image: look before deleting."
    return (
        f"{rule} Unused: no instance of the account names it, by a verified listing. Accounts outside the lake that an "
        "image is shared with, and templates that name it, are not seen: look before deleting."
    )


def _ignoring_dates_note(data: SectionData) -> str:
    (candidates,) = data.query(_CANDIDATES_IGNORING_DATES)
    if candidates["image_count"] <= summed(data.query(CLEANUP_BY_REGION))["image_count"]:
        return ""
    frees = _frees(candidates["image_count"], candidates["freed_gib"])
    return f"If a date at the end of a name is ignored: {frees}."


def _unsized_candidates_note(data: SectionData) -> str:
    unsized = summed(data.query(CLEANUP_BY_REGION))["unsized_image_count"]
    return f"{pluralize(unsized, 'image')} without a size: not in the GiB." if unsized else ""


def _shared_note(data: SectionData) -> str:
    count = summed(data.query(CLEANUP_BY_REGION))["shared_image_count"]
    return f"{pluralize(count, 'image')} shared with other accounts: ask there first." if count else ""


# ── the groups, what stays, the chart ────────────────────────────────────────


def _groups(data: SectionData) -> Table | None:
    """A row for each group: images, GiB, and what is known of them."""
    if not _has_instances(data):
        return None
    by_region = data.query(USE_BY_REGION)
    total = summed(by_region)
    oldest = min((at for row in by_region if (at := row["instances_observed_at_utc"])), default=None)
    reasons = sorted({row["unknown_why"] for row in by_region if row["unknown_why"]})
    has_more = len(reasons) > 1 or any(row["unknown_why_count"] > 1 for row in by_region)
    why = {
        "unused": f"instances listed at {oldest:%Y-%m-%d %H:%M} UTC name none" if oldest else "",
        "unknown": (reasons[0] + (", and other reasons" if has_more else "")) if reasons else "",
        "used": _used_by(total["instance_count"], total["used_elsewhere_count"]),
    }
    rows = [
        {
            "use_status": _GROUPS[name],
            "image_count": total[f"{name}_image_count"],
            "freed_gib": total[f"{name}_gib"],
            "why": why[name] if total[f"{name}_image_count"] else "",
        }
        for name in _GROUPS
    ]
    columns = (
        Column("use_status", "what could go"),
        Column("image_count", "images", "number"),
        Column("freed_gib", "GiB", "number"),
        Column("why", "why", "words"),
    )
    return table("Images that match the rule, by use", "image_use", columns, rows)


def _used_by(instance_count: int, elsewhere_count: int) -> str:
    """By how many instances of the accounts, and how many images only other accounts use."""
    own = f"by {pluralize(instance_count, 'instance')}" if instance_count or not elsewhere_count else ""
    elsewhere = f"{pluralize(elsewhere_count, 'image')} by other accounts of the lake" if elsewhere_count else ""
    return ", ".join(filter(None, (own, elsewhere)))


def _staying(data: SectionData) -> Table | None:
    """The images that match the rule and stay."""
    rows = data.query(_STAYING) if _has_instances(data) else []
    if not rows:
        return None
    columns = (
        Column("use_status", "use"),
        Column("account", "account"),
        Column("image_id", "image"),
        Column("image_name", "name", "words", rank=2),
        Column("age_days", "age, days", "number", rank=3),
        Column("freed_gib", "GiB", "number"),
        Column("use_why", "why it stays", "words"),
    )
    caption = "Images that match the rule and stay, largest first"
    count = rows[0]["staying_count"]
    return table(caption, "image_use", without_one_account(columns, rows), rows, count=count)


def _chart(data: SectionData, finding: str) -> Chart | None:
    query, series = (USE_BY_REGION, _USES) if _has_instances(data) else (CLEANUP_BY_REGION, _AGES)
    return bar_chart(data.query(query), "region_id", series, "region", unit="GiB", finding=finding)


def _use(row: Row) -> str:
    """For how long it is unused, or why that is not known, short: the groups have the whole reason."""
    days, count = row["unused_days"], row["shared_account_count"]
    use = row["use_status"] if not days else f"unused for {pluralize(days, 'day')}"
    if use == "not known" and row["use_why"] != _NEVER_LISTED:
        use = f"{use}: {row['use_why'].partition(':')[0]}"
    return f"{use}, shared with {pluralize(count, 'account')}" if count else str(use)


def _queries(answers: Answers) -> tuple[QueryText, ...]:
    of_use = (USE_BY_REGION, _STAYING) if answers.rows(_LISTED) else ()
    return (CLEANUP_BY_REGION, _CANDIDATES, *of_use, _CANDIDATES_IGNORING_DATES)


CLEANUP: Final = StandingReport(
    view="cleanup_candidates",
    name="cleanup",
    topic="Cleanup candidates",
    caption="Images that can be deleted, largest first",
    table_query=_CANDIDATES,
    queries=_queries,
    count=lambda data: summed(data.query(CLEANUP_BY_REGION))["image_count"],
    columns=(
        Column("account", "account"),
        Column("image_id", "image"),
        Column("image_name", "name", "words"),
        Column("region_id", "region", rank=3),
        Column("age_days", "age, days", "number"),
        Column("newer_image_count", "newer of its name", "number", rank=4),
        Column("use", "use", "words", rank=2, value=lambda row, _: _use(row)),
        Column("freed_gib", "frees GiB", "number"),
    ),
    finding=_finding,
    chart=_chart,
    notes=(_rule_note, _shared_note, _ignoring_dates_note, _unsized_candidates_note),
    is_wide=True,
    groups=_groups,
    further=(_staying,),
)
