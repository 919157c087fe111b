-- How many images came, went and changed: one row per account and published observation after its first, newest first.
-- Counts what image_changes lists, an image once however many of its fields changed; an observation that found nothing
-- new has a row of zeros. A year is counted without comparing a value: a stretch that follows another without a gap
-- began because something changed.
-- Reads: image_versions, observations.
-- Example: select observed_at_utc, appeared_image_count, gone_image_count from changes_by_observation limit 7

with published as (
    select
        account,
        observed_at_utc,
        coalesce(certificate = 'verified', false) as is_verified,
        lag(observed_at_utc) over (partition by account order by observed_at_utc) as observation_before_utc,
        max(case when certificate = 'verified' then observed_at_utc end) over (
            partition by account
            order by observed_at_utc
            rows between unbounded preceding and 1 preceding
        ) as verified_before_utc
    from observations
    where is_published
),

-- A few rows an observation: whatever is asked of stretches is asked of these.
begun as (
    select
        account,
        first_seen_utc,
        previous_seen_utc,
        count(*) as image_count,
        sum(image_size_gib) as image_size_gib
    from image_versions
    group by
        account,
        first_seen_utc,
        previous_seen_utc
),

ended as (
    select
        account,
        last_seen_utc,
        next_seen_utc,
        count(*) as image_count
    from image_versions
    group by
        account,
        last_seen_utc,
        next_seen_utc
),

here as (
    select
        published.account,
        published.observed_at_utc,
        sum(
            case
                when begun.previous_seen_utc is null and published.verified_before_utc is not null
                    then begun.image_count
            end
        ) as appeared_image_count,
        sum(
            case
                when begun.previous_seen_utc is null and published.verified_before_utc is not null
                    then begun.image_size_gib
            end
        ) as appeared_image_size_gib,
        sum(
            case
                when begun.previous_seen_utc is null and published.verified_before_utc is null then begun.image_count
                when begun.previous_seen_utc < published.observation_before_utc then begun.image_count
            end
        ) as seen_image_count,
        sum(
            case when begun.previous_seen_utc = published.observation_before_utc then begun.image_count end
        ) as changed_image_count
    from begun
    inner join published
        on begun.account = published.account
        and begun.first_seen_utc = published.observed_at_utc
    where published.observation_before_utc is not null
    group by
        published.account,
        published.observed_at_utc
),

gone as (
    select
        account,
        gone_at_utc as observed_at_utc,
        count(*) as gone_image_count,
        sum(image_size_gib) as gone_image_size_gib
    from image_versions
    where gone_at_utc is not null
    group by
        account,
        gone_at_utc
),

unseen as (
    select
        published.account,
        published.observed_at_utc,
        sum(ended.image_count) as unseen_image_count
    from ended
    inner join published
        on ended.account = published.account
        and ended.last_seen_utc = published.observation_before_utc
    where
        not published.is_verified
        and (ended.next_seen_utc is null or ended.next_seen_utc > published.observed_at_utc)
    group by
        published.account,
        published.observed_at_utc
),

-- What was overlooked for a while may have changed meanwhile: these few alone are compared.
overlooked as (
    select distinct
        begun.account,
        begun.first_seen_utc,
        begun.previous_seen_utc
    from begun
    inner join published
        on begun.account = published.account
        and begun.first_seen_utc = published.observed_at_utc
        and begun.previous_seen_utc < published.observation_before_utc
),

-- The versions before and after.
sides as (
    select
        version.account,
        version.image_id,
        version.first_seen_utc,
        version.first_seen_utc as observed_at_utc
    from image_versions as version
    where
        version.previous_seen_utc is not null
        and exists (
            select 1
            from overlooked
            where
                overlooked.account = version.account
                and overlooked.first_seen_utc = version.first_seen_utc
                and overlooked.previous_seen_utc = version.previous_seen_utc
        )
    union all
    select
        version.account,
        version.image_id,
        version.first_seen_utc,
        version.next_seen_utc as observed_at_utc
    from image_versions as version
    where
        version.next_seen_utc is not null
        and exists (
            select 1
            from overlooked
            where
                overlooked.account = version.account
                and overlooked.first_seen_utc = version.next_seen_utc
                and overlooked.previous_seen_utc = version.last_seen_utc
        )
),

-- Their values, equal ones once.
before_and_after as (
    select distinct
        sides.account,
        sides.image_id,
        sides.observed_at_utc,
        version.image_name,
        version.image_owner,
        version.status,
        version.platform,
        version.os_version,
        version.architecture,
        version.compute_type,
        version.region_id,
        version.image_size_gib,
        version.image_storage_size,
        version.created_at_utc,
        version.instance_id,
        version.snapshot_id,
        version.extra,
        version.disks
    from sides
    inner join image_versions as version
        on sides.account = version.account
        and sides.image_id = version.image_id
        and sides.first_seen_utc = version.first_seen_utc
),

changed_images as (
    select
        account,
        image_id,
        observed_at_utc
    from before_and_after
    group by
        account,
        image_id,
        observed_at_utc
    having count(*) > 1
),

changed_meanwhile as (
    select
        account,
        observed_at_utc,
        count(*) as changed_image_count
    from changed_images
    group by
        account,
        observed_at_utc
)

select
    published.account,
    published.observed_at_utc,                                      -- The observation that shows the changes.
    published.observation_before_utc as previous_observed_at_utc,   -- The account's published observation before it.
    cast(coalesce(here.appeared_image_count, 0) as bigint) as appeared_image_count,         -- Images that are proven to be new.
    cast(coalesce(here.appeared_image_size_gib, 0) as bigint) as appeared_image_size_gib,   -- Their sizes, added up; those without a size add nothing.
    coalesce(gone.gone_image_count, 0) as gone_image_count,                                 -- Images that are proven to be gone.
    cast(coalesce(gone.gone_image_size_gib, 0) as bigint) as gone_image_size_gib,           -- Their sizes when last seen, added up; those without a size add nothing.
    cast(
        coalesce(here.changed_image_count, 0) + coalesce(changed_meanwhile.changed_image_count, 0) as bigint
    ) as changed_image_count,                                       -- Images with another value than when they were last seen.
    cast(coalesce(here.seen_image_count, 0) as bigint) as seen_image_count,                 -- Images that are here, and may only have been overlooked before.
    cast(coalesce(unseen.unseen_image_count, 0) as bigint) as unseen_image_count            -- Images that are missing, and may only be overlooked here.
from published
left join here
    on published.account = here.account
    and published.observed_at_utc = here.observed_at_utc
left join gone
    on published.account = gone.account
    and published.observed_at_utc = gone.observed_at_utc
left join unseen
    on published.account = unseen.account
    and published.observed_at_utc = unseen.observed_at_utc
left join changed_meanwhile
    on published.account = changed_meanwhile.account
    and published.observed_at_utc = changed_meanwhile.observed_at_utc
where published.observation_before_utc is not null
order by
    published.observed_at_utc desc,
    published.account
