-- How long images live: one row per image and life, the newest first. A life goes on while nothing proves an absence.
-- The image is as it was last seen. What is not proven is null: an image that was there in its account's first observation,
-- or in whichever came before any verified one, may be of any age, and one that is only unseen may still be there.
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
    where is_published
),

lives as (
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
    lives.account,
    lives.image_id,
    lives.image_name,
    lives.region_id,
    lives.platform,
    lives.ownership,                          -- `owned` by the account, `shared` with it, or `other`: a further owner, or none told.
    lives.image_size_gib,
    lives.created_at_utc,
    lives.missing_until_utc,                  -- The last verified observation before its life, which lacks it; null where there is none: its birth is not proven.
    lives.life_began_utc,                     -- The first observation of its life.
    lives.last_seen_utc,                      -- The last observation of its life.
    lives.gone_at_utc,                        -- The first verified observation without it; null while nothing proves that it is gone.
    lives.state,                              -- `here` in its account's last observation, `gone` for certain, or `unseen`: not in the last, which proves nothing.
    cast(
        extract(day from (lives.last_seen_utc - lives.life_began_utc)) as bigint
    ) as seen_days,                           -- Whole days from the first observation of its life to the last: it has lived at least so long.
    cast(
        extract(day from (lives.gone_at_utc - lives.missing_until_utc)) as bigint
    ) as at_most_days                         -- Whole days that it has lived at most, between the two that lack it; null where either is not proven.
from lives
order by
    lives.life_began_utc desc,
    lives.account,
    lives.image_id
