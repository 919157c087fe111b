-- Number of images that appeared, are gone or changed: one row per account and published observation after its first,
-- newest first. Counts the changes in image_changes; an image with several changed fields counts once. An observation
-- without changes has a row of zeros.
-- Most changes are counted without comparing values: a version that directly follows another version
-- of its image exists because a value changed.
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
    where
        is_published
        and resource = 'images'
        and same_account_as is null
),

-- Versions aggregated to a few rows per observation; the counts below read these instead of image_versions.
begun as (
    select
        account,
        first_seen_utc,
        previous_seen_utc,
        count(*) as image_count,
        sum(image_size_gib) as image_size_gib
    from image_versions
    where same_account_as is null
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
    where same_account_as is null
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
    where
        gone_at_utc is not null
        and same_account_as is null
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

-- An image missing from some listings may have changed in the meantime: only these few are compared by value.
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

-- Their last version before the gap and their first version after it.
sides as (
    select
        version.account,
        version.image_id,
        version.first_seen_utc,
        version.first_seen_utc as observed_at_utc
    from image_versions as version
    where
        version.previous_seen_utc is not null
        and version.same_account_as is null
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
        and version.same_account_as is null
        and exists (
            select 1
            from overlooked
            where
                overlooked.account = version.account
                and overlooked.first_seen_utc = version.next_seen_utc
                and overlooked.previous_seen_utc = version.last_seen_utc
        )
),

-- Distinct values of these versions: two rows mean that a value changed.
before_and_after as (
    select distinct
        sides.account,
        sides.image_id,
        sides.observed_at_utc,
        version.image_name,    -- for each image field
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
    published.observed_at_utc,                                      -- The observation in which the changes are visible.
    published.observation_before_utc as previous_observed_at_utc,   -- The account's previous published observation.
    cast(coalesce(here.appeared_image_count, 0) as bigint) as appeared_image_count,         -- Images proven to be new.
    cast(coalesce(here.appeared_image_size_gib, 0) as bigint) as appeared_image_size_gib,   -- Total size of these images; an image without a size adds 0.
    coalesce(gone.gone_image_count, 0) as gone_image_count,                                 -- Images proven to be gone.
    cast(coalesce(gone.gone_image_size_gib, 0) as bigint) as gone_image_size_gib,           -- Total last observed size of these images; an image without a size adds 0.
    cast(
        coalesce(here.changed_image_count, 0) + coalesce(changed_meanwhile.changed_image_count, 0) as bigint
    ) as changed_image_count,                                       -- Images with a value that differs from their previous observation.
    cast(coalesce(here.seen_image_count, 0) as bigint) as seen_image_count,                 -- Listed images that may have been missing from the previous listing by mistake: not proven to be new.
    cast(coalesce(unseen.unseen_image_count, 0) as bigint) as unseen_image_count            -- Images that may be missing from this listing by mistake: not proven to be gone.
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
