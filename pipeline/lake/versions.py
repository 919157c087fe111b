"""Stretches of sightings: what `image_versions` is, as SQL.

    stretches of the fold, clipped to the observations that stand ──┐
                                                                    ├──► segments ──► stretches, lives ──► values
    sightings in plain files, each a segment of its own ────────────┘

Segments of one image that follow each other without an observation in between,
with equal values, are one stretch. That holds whatever the segments are: days
that follow the last fold, a day that comes late and cuts a stretch in two, or
one that was withdrawn and no longer parts two of them. So the same query folds
a new day, and shows the lake rightly until it is folded.

Whether values are equal is told by a fingerprint of 64 bits, so that a segment is
a few numbers: the values are fetched in the end, for the stretches that there are.
A fold does not rely on it: it reads back what it wrote, and compares every value.
"""

from __future__ import annotations

from typing import Final

from pipeline.resources.images import IMAGE_VERSIONS

_OWN: Final = tuple(column.name for column in IMAGE_VERSIONS.columns[2:8])
"""The instants of a stretch."""
_VALUES: Final = tuple(
    column.name for column in IMAGE_VERSIONS.columns if column.name not in {"account", "image_id", *_OWN}
)


def number_observations(observations: str) -> str:
    """Number the published observations, given as account, observed_at_utc, is_verified and is_covered.

    A number is of one observation of one account, and is joined by alone: were two joins by the account as well, DuckDB
    may do them in an order that pairs all observations of an account with each other.
    """
    return f"""
        select
            *,
            row_number() over (order by account, observed_at_utc) as number,
            sum(case when is_verified then 1 else 0 end) over (
                partition by account order by observed_at_utc
            ) as verified_count
        from ({observations}) as published"""  # noqa: S608  (of our own making, as everywhere here)


def versions(observation: str, stretch: str, print_: str) -> str:
    """Write the query that makes stretches of stretches and sightings, still without their values.

    observation   as `numbered` gives it: every published observation of the accounts in question
    stretch       rows as `fingerprinted` gives them; what they say of their life is believed for the first of an
                  image, so who gives all stretches of an account leaves `life_began_utc` and `previous_seen_utc` null
    print_        rows as `prints` gives them; those of covered observations, and of others, are passed over

    Beside the instants, a row says where its values are: `valued_utc` is the `first_seen_utc` of a given stretch; null
    where it is the sighting at its own `first_seen_utc`.
    """
    return f"""
    with observation as materialized ({observation}),
    -- An observation, and the first verified one after it.
    proven as materialized (
        select observation.*, proof.observed_at_utc as proof_utc
        from observation
        left join (select * from observation where is_verified) as proof
            on observation.account = proof.account and observation.verified_count + 1 = proof.verified_count
    ),
    stretch as materialized ({stretch}),
    covered as materialized (select * from observation where is_covered),
    blocks as (
        select account, min(number) as from_number, max(number) as to_number
        from (
            select account, number, number - row_number() over (partition by account order by number) as block
            from covered
        ) as standing
        group by account, block
    ),
    -- The covered observations that a span takes in: by one pass over them all in order, for a join of spans with
    -- observations would grow with the product of the two.
    bounds as (
        select account, observed_at_utc as at_utc, number, null as first_seen_utc, null as last_seen_utc from covered
        union all
        select account, unnest([first_seen_utc, last_seen_utc]), null, first_seen_utc, last_seen_utc
        from (select distinct account, first_seen_utc, last_seen_utc from stretch) as span
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
    ),
    segments as materialized (
        select
            stretch.account,
            stretch.image_id,
            spans.first_number,
            spans.last_number,
            stretch.life_began_utc as carried_began,
            stretch.previous_seen_utc as carried_previous,
            stretch.first_seen_utc as valued_utc,
            stretch.fingerprint
        from stretch
        inner join spans using (account, first_seen_utc, last_seen_utc)
        union all
        select
            print.account,
            print.image_id,
            observation.number as first_number,
            observation.number as last_number,
            null as carried_began,
            null as carried_previous,
            null as valued_utc,
            print.fingerprint
        from ({print_}) as print
        inner join observation
            on print.account = observation.account and print.observed_at_utc = observation.observed_at_utc
        where not observation.is_covered
    ),
    images as materialized (
        select
            account,
            image_id,
            min(first_number) as first_number,
            max(last_number) as end_number,
            min(valued_utc) as valued_utc,
            min(carried_began) as carried_began,
            min(carried_previous) as carried_previous,
            min(fingerprint) = max(fingerprint)
            and sum(last_number - first_number + 1) = max(last_number) - min(first_number) + 1 as is_steady
        from segments
        group by account, image_id
    ),
    -- Most images were always there, and always the same: only the others are sorted.
    flagged as (
        select
            *,
            lag(last_number) over image as number_before,
            max(last_number) over (partition by account, image_id) as final_number,
            coalesce(lag(last_number) over image + 1 <> first_number, true)
            or lag(fingerprint) over image <> fingerprint as begins
        from segments
        semi join (select account, image_id from images where not is_steady) as unsteady using (account, image_id)
        window image as (partition by account, image_id order by first_number)
    ),
    kept as (
        select
            account,
            image_id,
            valued_utc,
            carried_began,
            carried_previous,
            number_before,
            first_number,
            coalesce(lead(number_before) over image, final_number) as end_number,
            lead(first_number) over image as number_after
        from flagged
        where begins
        window image as (partition by account, image_id order by first_number)
    ),
    timed as (
        select
            kept.account,
            kept.image_id,
            kept.valued_utc,
            kept.carried_began,
            kept.carried_previous,
            kept.number_before,
            beginning.observed_at_utc as first_seen_utc,
            ending.observed_at_utc as last_seen_utc,
            before.number is null
            or beginning.verified_count - beginning.is_verified::int > before.verified_count as is_life_start,
            before.observed_at_utc as before_utc,
            case
                when after.verified_count - after.is_verified::int = ending.verified_count then after.observed_at_utc
            end as next_seen_utc,
            ending.proof_utc
        from kept
        inner join observation as beginning on kept.first_number = beginning.number
        inner join proven as ending on kept.end_number = ending.number
        left join observation as before on kept.number_before = before.number
        left join observation as after on kept.number_after = after.number
    ),
    living as (
        select
            account,
            image_id,
            valued_utc,
            first_seen_utc,
            last_seen_utc,
            case when next_seen_utc is null then proof_utc end as gone_at_utc,
            max(
                case
                    when number_before is null then coalesce(carried_began, first_seen_utc)
                    when is_life_start then first_seen_utc
                end
            ) over (partition by account, image_id order by first_seen_utc) as life_began_utc,
            case
                when number_before is null then carried_previous
                when not is_life_start then before_utc
            end as previous_seen_utc,
            next_seen_utc
        from timed
        union all
        select
            images.account,
            images.image_id,
            images.valued_utc,
            beginning.observed_at_utc as first_seen_utc,
            ending.observed_at_utc as last_seen_utc,
            ending.proof_utc as gone_at_utc,
            coalesce(images.carried_began, beginning.observed_at_utc) as life_began_utc,
            images.carried_previous as previous_seen_utc,
            null as next_seen_utc
        from images
        inner join observation as beginning on images.first_number = beginning.number
        inner join proven as ending on images.end_number = ending.number
        where images.is_steady
    )
    select account, image_id, {", ".join(_OWN)}, valued_utc
    from living"""  # noqa: S608


def with_values(living: str, stretch: str, sighting: str) -> str:
    """Write the query that gives the stretches in the relation `living`, which `lives` has made, their values.

    `stretch` and `sighting` give the rows of `image_versions` and of `sightings` that they are taken from.
    """
    own = ", ".join(f"living.{name}" for name in _OWN)
    parts = [
        (stretch, "living.valued_utc = valued.first_seen_utc"),
        (sighting, "living.valued_utc is null and living.first_seen_utc = valued.observed_at_utc"),
    ]
    return "\nunion all\n".join(
        f"select living.account, living.image_id, {own}, {', '.join(f'valued.{name}' for name in _VALUES)}\n"
        f"from ({rows}) as valued\ninner join {living} as living\n"
        f"    on living.account = valued.account and living.image_id = valued.image_id and {where}"
        for rows, where in parts
    )


def as_of_cut(stretches: str, cuts: str) -> str:
    """Show stretches as they were at each account's cut (account, cut_utc); an account without one is left out."""
    changed = {
        "last_seen_utc": "least(stretch.last_seen_utc, cut.cut_utc) as last_seen_utc",
        "gone_at_utc": "case when stretch.gone_at_utc <= cut.cut_utc then stretch.gone_at_utc end as gone_at_utc",
        "next_seen_utc": (
            "case when stretch.next_seen_utc <= cut.cut_utc then stretch.next_seen_utc end as next_seen_utc"
        ),
    }
    columns = ", ".join(changed.get(one.name, f"stretch.{one.name}") for one in IMAGE_VERSIONS.columns)
    return (
        f"select {columns}\nfrom (\n{stretches}\n) as stretch\ninner join ({cuts}) as cut\n"
        "    on stretch.account = cut.account and stretch.first_seen_utc <= cut.cut_utc"
    )
