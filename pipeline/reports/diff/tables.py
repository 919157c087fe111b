"""The tables of a diff, made on a connection that shows the lake as of TO.

    observations      ──► diff_accounts                what either moment stands on
    image_versions    ──► diff_stretches               those since FROM, without those that span both moments
                            └──► diff_changes
                      ──► diff_capacity_by_region

A stretch that spans both is the same image with the same values, so only what
changed in between is compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.lake.scan import instant
from pipeline.reports.standing.changes import CHANGES
from pipeline.resources.images import IMAGE_FIELDS
from pipeline.text import sql_literal

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Sequence


def tables(since: dt.datetime, accounts: Sequence[str]) -> Iterator[str]:
    """The statements that make them, in order."""
    among = f"account in ({', '.join(map(sql_literal, accounts))})" if accounts else "true"
    yield f"""
        create temp table diff_accounts as
        with published as (
            from observations
            where is_published and {among}
        ),
        old as (
            from published
            where observed_at_utc <= {instant(since)}
            qualify row_number() over (partition by account order by observed_at_utc desc) = 1
        )
        select
            account,
            old.observed_at_utc as old_observed_at_utc,
            old.certificate as old_certificate,
            old.image_count as old_image_count,
            new.observed_at_utc as new_observed_at_utc,
            new.certificate as new_certificate,
            new.image_count as new_image_count,
            (
                select count(*) from published
                where account = new.account and observed_at_utc > {instant(since)}
            ) as observation_count,
            new.failed_try_count,
            new.last_error
        from accounts as new
        left join old using (account)
        where {among}
        order by account"""  # noqa: S608  (of our own making, and quoted, as everywhere here)
    yield """
        create temp table diff_stretches as
        select
            version.*,
            span.old_observed_at_utc,
            coalesce(span.old_observed_at_utc between first_seen_utc and last_seen_utc, false) as is_old,
            span.new_observed_at_utc between first_seen_utc and last_seen_utc as is_new
        from image_versions as version
        inner join diff_accounts as span using (account)
        where
            (span.old_observed_at_utc is null or last_seen_utc >= span.old_observed_at_utc)
            and not (is_old and is_new)"""
    yield _changes()
    yield _capacity()


def _changes() -> str:
    fields = " union all ".join(
        f"select account, image_id, '{one.name}' as field, "  # noqa: S608
        f"cast(old.{one.name} as varchar) as old_value, cast(new.{one.name} as varchar) as new_value "
        f"from paired where old.{one.name} is distinct from new.{one.name}"
        for one in IMAGE_FIELDS
    )
    order = ", ".join(f"'{word}'" for word in CHANGES)
    return f"""
        create temp table diff_changes as
        with published as (
            select
                account,
                observed_at_utc,
                lead(observed_at_utc) over by_time as next_utc,
                -- How many verified observations came before: between two, there was one if the numbers differ.
                count(*) filter (certificate = 'verified') over by_time
                - (coalesce(certificate, '') = 'verified')::int as verified_count
            from observations
            where is_published
            window by_time as (partition by account order by observed_at_utc)
        ),
        paired as (
            select account, image_id, old, new
            from (select account, image_id, one as old from diff_stretches as one where is_old)
            inner join (select account, image_id, one as new from diff_stretches as one where is_new)
                using (account, image_id)
        ),
        one as (
            select one.*
            from diff_stretches as one
            anti join paired using (account, image_id)
            where is_old or is_new
        ),
        paths as (
            select
                account,
                image_id,
                min(first_seen_utc) filter (
                    old_observed_at_utc is null or first_seen_utc > old_observed_at_utc
                ) as seen_again_utc,
                max(last_seen_utc) as last_seen_utc,
                max(gone_at_utc) as gone_at_utc
            from diff_stretches
            group by account, image_id
        ),
        came_and_went as (
            select
                one.*,
                case
                    when one.is_old then if(paths.gone_at_utc > paths.last_seen_utc, 'gone', 'unseen')
                    else if(born.verified_count > began.verified_count, 'appeared', 'seen')
                end as change,
                case
                    when one.is_old then if(change = 'gone', paths.gone_at_utc, last_seen.next_utc)
                    else if(change = 'appeared', one.life_began_utc, paths.seen_again_utc)
                end as since_utc
            from one
            inner join paths using (account, image_id)
            left join published as began
                on one.account = began.account and one.old_observed_at_utc = began.observed_at_utc
            left join published as born
                on one.account = born.account and one.life_began_utc = born.observed_at_utc
            left join published as last_seen
                on one.account = last_seen.account and paths.last_seen_utc = last_seen.observed_at_utc
        ),
        fields as (
            {fields}
            union all
            select account, image_id, 'disks', {_disks("old")}, {_disks("new")}
            from paired
            where old.disks is distinct from new.disks
        ),
        changes as (
            select
                account, image_id, image_name, region_id, image_size_gib, change, null as field, null as old_value,
                null as new_value, since_utc
            from came_and_went
            union all
            select
                account, image_id, new.image_name, new.region_id, new.image_size_gib, 'changed', field, old_value,
                new_value, new.first_seen_utc
            from fields
            inner join paired using (account, image_id)
        )
        from changes
        order by list_position([{order}], change), account, image_id, field"""  # noqa: S608


def _disks(side: str) -> str:
    """A list of disks as text, spelled as in `image_changes`; null where there is none."""
    told = (
        "coalesce(disk.disk_type, '?') || ' ' || coalesce(disk.disk_size_gib::varchar, '?') || ' GiB ' "
        "|| coalesce(disk.disk_format, '?') || coalesce(' ' || disk.disk_image_id, '') "
        "|| coalesce(' ' || disk.extra, '')"
    )
    return f"nullif(array_to_string(list_transform({side}.disks, lambda disk: {told}), ', '), '')"


def _capacity() -> str:
    """What the owned images hold in either moment, by region."""
    figures = {
        "image_count": "count(*)",
        "image_size_gib": "sum(image_size_gib)",
        "disk_size_gib": "sum(disk_size_gib)",
    }
    sides = {"old": "is_old", "new": "is_new"}
    sums = ",\n".join(
        f"coalesce({form} filter ({held}), 0)::bigint as {side}_{name}"
        for name, form in figures.items()
        for side, held in sides.items()
    )
    shown = ",\n".join(f"old_{name}, new_{name}, new_{name} - old_{name} as difference_{name}" for name in figures)
    return f"""
        create temp table diff_capacity_by_region as
        with held as (
            select
                region_id,
                image_size_gib,
                disk_size_gib,
                coalesce(old_observed_at_utc between first_seen_utc and last_seen_utc, false) as is_old,
                new_observed_at_utc between first_seen_utc and last_seen_utc as is_new
            from image_versions
            inner join diff_accounts using (account)
            where lower(image_owner) = 'self'
        ),
        regions as (
            select region_id, {sums}
            from held
            where is_old or is_new
            group by region_id
        )
        select region_id, {shown}
        from regions
        order by abs(difference_image_size_gib) desc, region_id nulls last"""  # noqa: S608
