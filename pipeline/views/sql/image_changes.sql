-- Changes of each image between observations: one row per image and change, newest first; for a changed image,
-- one row per field. Compares consecutive published observations of one account; its first observation has no changes.
--
--     appeared   listed now, but not in an earlier verified observation after it was last listed (if ever)
--     gone       not in this verified observation, the first one after the image was last listed
--     seen       listed now, but not in the previous observation, which is not verified: it may have missed the image
--     unseen     in the previous observation, but not in this one, which is not verified: the image may still exist
--     changed    a field differs from its last listed value, and no verified observation in between lacks the image
--
-- So an image that is only missing from a listing is never `gone`. An image that one listing misses and that comes back
-- unchanged is `unseen`, then `seen`, but neither gone nor new.
-- Reads: image_versions, observations.
-- Example: select change, count(distinct (account, image_id, observed_at_utc)) as image_count from image_changes group by change

with published as (
    select
        account,
        observed_at_utc,
        coalesce(certificate = 'verified', false) as is_verified,
        row_number() over (partition by account order by observed_at_utc) as observation_number,
        lag(observed_at_utc) over (partition by account order by observed_at_utc) as observation_before_utc,
        lead(observed_at_utc) over (partition by account order by observed_at_utc) as observation_after_utc,
        lead(coalesce(certificate = 'verified', false)) over (
            partition by account
            order by observed_at_utc
        ) as is_verified_after,
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

-- Versions that begin without a version in the previous observation: appeared (proven) or seen (not proven).
-- The start of a lifetime is proven if a verified observation precedes it. Within a lifetime no absence is proven.
arrivals as (
    select
        version.account,
        version.image_id,
        version.image_name,
        version.region_id,
        version.image_size_gib,
        case
            when version.previous_seen_utc is null and published.verified_before_utc is not null then 'appeared'
            else 'seen'
        end as change,
        version.first_seen_utc as observed_at_utc,
        case
            when version.previous_seen_utc is null and published.verified_before_utc is not null
                then published.verified_before_utc
            else published.observation_before_utc
        end as previous_observed_at_utc
    from image_versions as version
    inner join published
        on version.account = published.account
        and version.first_seen_utc = published.observed_at_utc
    where
        published.observation_number > 1
        and (version.previous_seen_utc is null or version.previous_seen_utc < published.observation_before_utc)
),

gone as (
    select
        account,
        image_id,
        image_name,
        region_id,
        image_size_gib,
        'gone' as change,
        gone_at_utc as observed_at_utc,
        last_seen_utc as previous_observed_at_utc
    from image_versions
    where
        gone_at_utc is not null
        and same_account_as is null
),

-- Versions that end before an observation that is not verified: the absence is not proven.
unseen as (
    select
        version.account,
        version.image_id,
        version.image_name,
        version.region_id,
        version.image_size_gib,
        'unseen' as change,
        published.observation_after_utc as observed_at_utc,
        version.last_seen_utc as previous_observed_at_utc
    from image_versions as version
    inner join published
        on version.account = published.account
        and version.last_seen_utc = published.observed_at_utc
    where
        not published.is_verified_after
        and (version.next_seen_utc is null or version.next_seen_utc > published.observation_after_utc)
),

-- Each version and the previous version in the same lifetime, compared by field. Within a version no field changes.
field_changes as (
    select
        later.account,
        later.image_id,
        later.image_name,
        later.region_id,
        later.image_size_gib,
        'changed' as change,
        each.field,
        each.old_value,
        each.new_value,
        later.first_seen_utc as observed_at_utc,
        earlier.last_seen_utc as previous_observed_at_utc
    from image_versions as later
    inner join image_versions as earlier
        on later.account = earlier.account
        and later.image_id = earlier.image_id
        and later.previous_seen_utc = earlier.last_seen_utc
    cross join lateral (
        values
            ('image_name', cast(earlier.image_name as varchar), cast(later.image_name as varchar))    -- for each image field
    ) as each (field, old_value, new_value)
    where
        later.previous_seen_utc is not null
        and earlier.next_seen_utc is not null
        and later.same_account_as is null
        and each.old_value is distinct from each.new_value
),

-- The disks of a version are ordered by disk number.
disk_changes as (
    select
        later.account,
        later.image_id,
        later.image_name,
        later.region_id,
        later.image_size_gib,
        'changed' as change,
        'disks' as field,
        nullif(
            array_to_string(
                list_transform(
                    earlier.disks,
                    lambda disk: coalesce(disk.disk_type, '?')
                    || ' ' || coalesce(cast(disk.disk_size_gib as varchar), '?') || ' GiB '
                    || coalesce(disk.disk_format, '?')
                    || coalesce(' ' || cast(disk.disk_image_id as varchar), '')    -- for each further disk field
                ),
                ', '
            ),
            ''
        ) as old_value,
        nullif(
            array_to_string(
                list_transform(
                    later.disks,
                    lambda disk: coalesce(disk.disk_type, '?')
                    || ' ' || coalesce(cast(disk.disk_size_gib as varchar), '?') || ' GiB '
                    || coalesce(disk.disk_format, '?')
                    || coalesce(' ' || cast(disk.disk_image_id as varchar), '')    -- for each further disk field
                ),
                ', '
            ),
            ''
        ) as new_value,
        later.first_seen_utc as observed_at_utc,
        earlier.last_seen_utc as previous_observed_at_utc
    from image_versions as later
    inner join image_versions as earlier
        on later.account = earlier.account
        and later.image_id = earlier.image_id
        and later.previous_seen_utc = earlier.last_seen_utc
    where
        later.previous_seen_utc is not null
        and earlier.next_seen_utc is not null
        and later.same_account_as is null
        and later.disks is distinct from earlier.disks
),

came_and_went as (
    select * from arrivals
    union all
    select * from gone
    union all
    select * from unseen
),

changes as (
    select
        account,
        image_id,
        image_name,
        region_id,
        image_size_gib,
        change,
        cast(null as varchar) as field,
        cast(null as varchar) as old_value,
        cast(null as varchar) as new_value,
        observed_at_utc,
        previous_observed_at_utc
    from came_and_went
    union all
    select * from field_changes
    union all
    select * from disk_changes
)

select
    changes.account,
    changes.observed_at_utc,             -- The observation in which the change is visible.
    changes.previous_observed_at_utc,    -- The observation compared with: the last one with the image; for `appeared` the last verified one without it; for `seen` the previous one, which does not contain it.
    changes.image_id,
    changes.image_name,                -- Name of the image, as last observed at this change.
    changes.region_id,                 -- Region of the image, as last observed at this change.
    changes.image_size_gib,            -- Size of the image, as last observed at this change.
    changes.change,                      -- `appeared`, `gone`, `seen`, `unseen` or `changed`: defined in the description of the view.
    changes.field,                       -- Column that changed, or `disks`; null for all other changes.
    changes.old_value,                   -- Previous value, as text; null if there was none.
    changes.new_value                    -- New value, as text; null if there is none.
from changes
order by
    changes.observed_at_utc desc,
    changes.account,
    changes.image_id,
    changes.change,
    changes.field
