-- Which images nobody has touched for long: one row per owned image, oldest first, with why it is listed.
-- Created long before the observation, and not changed since, as far as the lake has watched: it says how far that is.
-- An image whose creation is not known is not listed: nothing shows that it is old.
-- Reads: image_age, image_versions, image_changes.
-- Example: select image_id, why, freed_gib from stale_images(older_than_days := 365, watched_days := 28)

with settings as (
    select
        180 as older_than_days,  -- Created at least so many days before the observation.
        180 as unchanged_days,   -- No change of it was seen in so many days before the observation.
        0 as watched_days        -- The lake has watched it for at least so many days; 0 lists it from its first day on.
),

first_seen as (
    select
        account,
        image_id,
        min(first_seen_utc) as first_seen_utc
    from image_versions
    group by
        account,
        image_id
),

last_changed as (
    select
        account,
        image_id,
        max(observed_at_utc) as last_changed_utc
    from image_changes
    where change = 'changed'
    group by
        account,
        image_id
),

judged as (
    select
        image.account,
        image.observed_at_utc,
        image.image_id,
        image.image_name,
        image.region_id,
        image.platform,
        image.created_at_utc,
        image.age_days,
        last_changed.last_changed_utc,
        cast(extract(day from (image.observed_at_utc - last_changed.last_changed_utc)) as bigint) as unchanged_days,
        cast(extract(day from (image.observed_at_utc - first_seen.first_seen_utc)) as bigint) as watched_days,
        image.image_size_gib
    from image_age as image
    inner join first_seen
        on image.account = first_seen.account
        and image.image_id = first_seen.image_id
    left join last_changed
        on image.account = last_changed.account
        and image.image_id = last_changed.image_id
    where image.ownership = 'owned'
)

select
    judged.account,
    judged.observed_at_utc,
    judged.image_id,
    judged.image_name,
    judged.region_id,
    judged.platform,
    judged.created_at_utc,
    judged.age_days,
    judged.last_changed_utc,                  -- When a change of it was last seen; null where none ever was.
    judged.watched_days,                      -- Whole days from the first observation that held it to the last.
    judged.image_size_gib as freed_gib,       -- What deleting it would free: its size; null where the size is not known.
    concat(
        judged.age_days,
        ' days old; ',
        case
            when judged.last_changed_utc is null then 'no change'
            else concat('last changed ', judged.unchanged_days, ' days ago')
        end,
        ' in ',
        judged.watched_days,
        ' days watched'
    ) as why                                  -- Why it is listed, in words.
from judged
cross join settings
where
    judged.age_days >= settings.older_than_days
    and judged.watched_days >= settings.watched_days
    and (judged.last_changed_utc is null or judged.unchanged_days >= settings.unchanged_days)
order by
    judged.created_at_utc,
    judged.account,
    judged.image_id
