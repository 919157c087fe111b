-- Lifetime of each image: one row per image and lifetime, newest first. A lifetime ends only when an absence is proven.
-- Values are those last observed. An end that is not proven is null: an image first observed in or before the account's
-- first verified observation may have existed for any time, and an image that is only unseen may still exist.
-- Reads: image_versions, observations.
-- Example: select image_id, life_began_utc, gone_at_utc, seen_days from image_lifetimes where gone_at_utc is not null

with published as (
    select
        account,
        observed_at_utc,
        max(observed_at_utc) over (partition by account) as last_observed_at_utc,
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

lifetimes as (
    select
        version.account,
        version.image_id,
        version.image_name,
        version.region_id,
        version.platform,
        case lower(version.image_owner)
            when 'self' then 'owned'
            when 'others' then 'shared'
            else 'other'
        end as ownership,
        version.image_size_gib,
        version.created_at_utc,
        published.verified_before_utc as missing_until_utc,
        version.life_began_utc,
        version.last_seen_utc,
        version.gone_at_utc,
        case
            when version.gone_at_utc is not null then 'gone'
            when version.last_seen_utc = published.last_observed_at_utc then 'here'
            else 'unseen'
        end as state
    from image_versions as version
    inner join published
        on version.account = published.account
        and version.life_began_utc = published.observed_at_utc
    where version.next_seen_utc is null
)

select
    lifetimes.account,
    lifetimes.image_id,
    lifetimes.image_name,
    lifetimes.region_id,
    lifetimes.platform,
    lifetimes.ownership,                      -- `owned` by the account, `shared` with it, or `other`: another or an unknown owner.
    lifetimes.image_size_gib,
    lifetimes.created_at_utc,
    lifetimes.missing_until_utc,              -- The last verified observation before the lifetime, which does not contain the image; null if there is none: the creation is not proven.
    lifetimes.life_began_utc,                 -- The first observation of the lifetime.
    lifetimes.last_seen_utc,                  -- The last observation of the lifetime.
    lifetimes.gone_at_utc,                    -- The first verified observation without the image; null if the deletion is not proven.
    lifetimes.state,                          -- `here`: in the account's last observation; `gone`: proven; `unseen`: not in the last observation, which is not verified.
    cast(
        extract(day from (lifetimes.last_seen_utc - lifetimes.life_began_utc)) as bigint
    ) as seen_days,                           -- Minimum lifetime: whole days from its first to its last observation.
    cast(
        extract(day from (lifetimes.gone_at_utc - lifetimes.missing_until_utc)) as bigint
    ) as at_most_days                         -- Maximum lifetime: whole days between the verified observations without the image; null if either end is not proven.
from lifetimes
order by
    lifetimes.life_began_utc desc,
    lifetimes.account,
    lifetimes.image_id
