"""Versions of items as SQL: the query behind `image_versions`, `…_versions` and behind compaction.

    compacted versions, cut to the observations that stand ──┐
                                                             ├──► segments ──► bounds of versions, lifetimes ──► values
    rows of plain files, each a segment of its own ──────────┘

Segments of one item that follow each other without an observation in between,
with equal values, are one version. This holds for any segments: days after the
last compaction, a day that arrives late and splits a version, a withdrawn day
that separated two. So one query compacts a new day, and shows the lake until
then.

Equal values are found by a fingerprint of 64 bits, so a segment is a few
numbers; the values are read at the end, once a version. Compaction does not
rely on the fingerprint: it reads back what it wrote and compares every value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.resources.resource import VERSION_BOUNDS

if TYPE_CHECKING:
    from pipeline.resources.resource import Resource

_BOUNDS: Final = tuple(column.name for column in VERSION_BOUNDS)
"""The instants of a version."""


def number_observations(observations: str) -> str:
    """Number the published observations, given as account, observed_at_utc, is_verified and is_covered.

    A number identifies one observation of one account, so joins need nothing else. With two joins on the account,
    DuckDB may choose an order that pairs all observations of an account with each other.
    """
    return f"""
        select
            *,
            row_number() over (order by account, observed_at_utc) as number,
            sum(case when is_verified then 1 else 0 end) over (
                partition by account order by observed_at_utc
            ) as verified_count
        from ({observations}) as published"""  # noqa: S608  (SQL of this package, as everywhere here)


def versions(observations: str, compacted_versions: str, fingerprints: str) -> str:
    """Write the query for the bounds of all versions, without their values.

    observations          as from `number_observations`: every published observation of the accounts in question
    compacted_versions    rows as from `fingerprinted`. The first version of an item keeps its `life_began_utc` and
                          `previous_seen_utc`; a caller that passes all versions of an account sets both to null
    fingerprints          rows as from `item_rows.fingerprints`; those of covered or other observations are ignored

    `valued_utc` says where the values are: in the given version with this `first_seen_utc`; null: in the row that was
    observed at the version's own `first_seen_utc`.
    """
    steps = (
        f"observation as materialized ({observations})",
        _PROVEN,
        f"compacted_version as materialized ({compacted_versions})",
        _SPANS,
        _segments(fingerprints),
        _ITEMS,
        _BEGUN,
        _TIMED,
        _LIVES,
    )
    columns = ", ".join(_BOUNDS)
    return "with " + ",\n".join(steps) + f"\nselect account, item_id, {columns}, valued_utc\nfrom living"


_PROVEN: Final = """\
-- An observation, and the first verified one after it.
proven as materialized (
    select observation.*, proof.observed_at_utc as proof_utc
    from observation
    left join (select * from observation where is_verified) as proof
        on observation.account = proof.account and observation.verified_count + 1 = proof.verified_count
)"""
"""Each observation with the first verified one after it."""

_SPANS: Final = """\
covered as materialized (select * from observation where is_covered),
blocks as (
    select account, min(number) as from_number, max(number) as to_number
    from (
        select account, number, number - row_number() over (partition by account order by number) as block
        from covered
    ) as numbered
    group by account, block
),
-- The covered observations that a span takes in: by one pass over them all in order, for a join of spans with
-- observations would grow with the product of the two.
bounds as (
    select account, observed_at_utc as at_utc, number, null as first_seen_utc, null as last_seen_utc from covered
    union all
    select account, unnest([first_seen_utc, last_seen_utc]), null, first_seen_utc, last_seen_utc
    from (select distinct account, first_seen_utc, last_seen_utc from compacted_version) as span
),
reached as (
    select
        *,
        min(number) over (partition by account order by at_utc desc) as number_from_here,
        max(number) over (partition by account order by at_utc) as number_up_to_here
    from bounds
),
numbers as (
    select
        account,
        first_seen_utc,
        last_seen_utc,
        max(number_from_here) filter (at_utc = first_seen_utc) as from_number,
        max(number_up_to_here) filter (at_utc = last_seen_utc) as to_number
    from reached
    where first_seen_utc is not null
    group by account, first_seen_utc, last_seen_utc
),
spans as materialized (
    select
        numbers.account,
        numbers.first_seen_utc,
        numbers.last_seen_utc,
        greatest(numbers.from_number, blocks.from_number) as first_number,
        least(numbers.to_number, blocks.to_number) as last_number
    from numbers
    inner join blocks
        on numbers.account = blocks.account
        and numbers.from_number <= blocks.to_number
        and numbers.to_number >= blocks.from_number
    where numbers.from_number <= numbers.to_number
)"""
"""The runs of covered observations that each pair of bounds takes in."""


def _segments(fingerprints: str) -> str:
    """The spans of compacted versions, and each plain row as a span of one observation."""
    return f"""\
segments as materialized (
    select
        compacted_version.account,
        compacted_version.item_id,
        spans.first_number,
        spans.last_number,
        compacted_version.life_began_utc as carried_began,
        compacted_version.previous_seen_utc as carried_previous,
        compacted_version.first_seen_utc as valued_utc,
        compacted_version.fingerprint
    from compacted_version
    inner join spans using (account, first_seen_utc, last_seen_utc)
    union all
    select
        observed.account,
        observed.item_id,
        observation.number as first_number,
        observation.number as last_number,
        null as carried_began,
        null as carried_previous,
        null as valued_utc,
        observed.fingerprint
    from ({fingerprints}) as observed
    inner join observation
        on observed.account = observation.account and observed.observed_at_utc = observation.observed_at_utc
    where not observation.is_covered
)"""  # noqa: S608


_ITEMS: Final = """\
items as materialized (
    select
        account,
        item_id,
        min(first_number) as first_number,
        max(last_number) as end_number,
        min(valued_utc) as valued_utc,
        min(carried_began) as carried_began,
        min(carried_previous) as carried_previous,
        min(fingerprint) = max(fingerprint)
        and sum(last_number - first_number + 1) = max(last_number) - min(first_number) + 1 as is_steady
    from segments
    group by account, item_id
)"""
"""Each item over all its segments; steady: one version without a gap."""

_BEGUN: Final = """\
-- Most items were always there, and always the same: only the others are sorted.
flagged as (
    select
        *,
        lag(last_number) over item as number_before,
        max(last_number) over (partition by account, item_id) as final_number,
        coalesce(lag(last_number) over item + 1 <> first_number, true)
        or lag(fingerprint) over item <> fingerprint as begins
    from segments
    semi join (select account, item_id from items where not is_steady) as unsteady using (account, item_id)
    window item as (partition by account, item_id order by first_number)
),
begun as (
    select
        account,
        item_id,
        valued_utc,
        carried_began,
        carried_previous,
        number_before,
        first_number,
        coalesce(lead(number_before) over item, final_number) as end_number,
        lead(first_number) over item as number_after
    from flagged
    where begins
    window item as (partition by account, item_id order by first_number)
)"""
"""The segments with which a version begins; the end is that of the segment before the next."""

_TIMED: Final = """\
timed as (
    select
        begun.account,
        begun.item_id,
        begun.valued_utc,
        begun.carried_began,
        begun.carried_previous,
        begun.number_before,
        beginning.observed_at_utc as first_seen_utc,
        ending.observed_at_utc as last_seen_utc,
        before.number is null
        or beginning.verified_count - beginning.is_verified::int > before.verified_count as is_life_start,
        before.observed_at_utc as before_utc,
        case
            when after.verified_count - after.is_verified::int = ending.verified_count then after.observed_at_utc
        end as next_seen_utc,
        ending.proof_utc
    from begun
    inner join observation as beginning on begun.first_number = beginning.number
    inner join proven as ending on begun.end_number = ending.number
    left join observation as before on begun.number_before = before.number
    left join observation as after on begun.number_after = after.number
)"""
"""The instants of these versions."""

_LIVES: Final = """\
living as (
    select
        account,
        item_id,
        valued_utc,
        first_seen_utc,
        last_seen_utc,
        case when next_seen_utc is null then proof_utc end as gone_at_utc,
        max(
            case
                when number_before is null then coalesce(carried_began, first_seen_utc)
                when is_life_start then first_seen_utc
            end
        ) over (partition by account, item_id order by first_seen_utc) as life_began_utc,
        case
            when number_before is null then carried_previous
            when not is_life_start then before_utc
        end as previous_seen_utc,
        next_seen_utc
    from timed
    union all
    select
        items.account,
        items.item_id,
        items.valued_utc,
        beginning.observed_at_utc as first_seen_utc,
        ending.observed_at_utc as last_seen_utc,
        ending.proof_utc as gone_at_utc,
        coalesce(items.carried_began, beginning.observed_at_utc) as life_began_utc,
        items.carried_previous as previous_seen_utc,
        null as next_seen_utc
    from items
    inner join observation as beginning on items.first_number = beginning.number
    inner join proven as ending on items.end_number = ending.number
    where items.is_steady
)"""
"""The bounds of all versions: of lifetimes, proofs of absence, and the steady items."""


def with_values(resource: Resource, living: str, valued_versions: str, observed_rows: str) -> str:
    """Write the query that adds the values to the bounds in the relation `living`.

    The values come from `valued_versions`, rows of the resource's versions, and from `observed_rows`, as from
    `item_rows.observed_rows`.
    """
    key = resource.key.name
    bounds = ", ".join(f"living.{name}" for name in _BOUNDS)
    names = [column.name for column in resource.versions.columns]
    values = ", ".join(f"valued.{name}" for name in names if name not in {"account", key, *_BOUNDS})
    sources = [
        (valued_versions, "living.valued_utc = valued.first_seen_utc"),
        (observed_rows, "living.valued_utc is null and living.first_seen_utc = valued.observed_at_utc"),
    ]
    return "\nunion all\n".join(
        f"select living.account, living.item_id as {key}, {bounds}, {values}\n"
        f"from ({rows}) as valued\ninner join {living} as living\n"
        f"    on living.account = valued.account and living.item_id = valued.{key} and {condition}"
        for rows, condition in sources
    )


def as_of_cut(resource: Resource, version_rows: str, cuts: str) -> str:
    """Cut versions at an instant of each account, given as account, cut_utc; accounts without one are left out."""
    changed = {
        "last_seen_utc": "least(version.last_seen_utc, cut.cut_utc) as last_seen_utc",
        "gone_at_utc": "case when version.gone_at_utc <= cut.cut_utc then version.gone_at_utc end as gone_at_utc",
        "next_seen_utc": (
            "case when version.next_seen_utc <= cut.cut_utc then version.next_seen_utc end as next_seen_utc"
        ),
    }
    columns = ", ".join(changed.get(column.name, f"version.{column.name}") for column in resource.versions.columns)
    return (
        f"select {columns}\nfrom (\n{version_rows}\n) as version\ninner join ({cuts}) as cut\n"
        "    on version.account = cut.account and version.first_seen_utc <= cut.cut_utc"
    )
