-- Old images without a recent change or use: one row per owned image, oldest first, with the reason for the listing.
-- Created long before the observation, and not changed recently. Only changes within watched_days, the days that the lake
-- has observed the image, are known. An image without a creation time is not listed, nor one that an instance of the lake
-- names. One whose use is not known is listed only for an account without a verified listing of instances.
-- Reads: image_age, image_versions, image_changes, image_use.
-- Example: select image_id, why, freed_gib from stale_images(older_than_days := 365, watched_days := 28)

with settings as (
    select
        180 as older_than_days,  -- Minimum age: days from creation to the observation.
        180 as unchanged_days,   -- No change observed in this number of days before the observation.
        cast(null as boolean) as only_unused,  -- True: only images that are proven to be unused; false: those whose use is not known too; null: true where the account has a verified listing of instances, else false.
        0 as unused_days,        -- Minimum number of days for which an image is proven to be unused; 1 or more leaves out those whose use is not known.
        0 as watched_days        -- Minimum number of days that the lake has observed the image; 0 lists it from its first day.
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
    judged.last_changed_utc,                  -- Time of the last observed change; null if there is none.
    judged.watched_days,                      -- Whole days from the first observation of the image to the last.
    image_use.use_status,                     -- `unused`: proven at instances_observed_at_utc; or `not known`.
    image_use.instances_observed_at_utc,
    image_use.unused_days,
    image_use.why as use_why,               -- Reason for the use status, as text: by which instances, or why it is not known.
    judged.image_size_gib as freed_gib,       -- GiB that deleting the image frees: its size; null if the size is unknown.
    image_use.shared_account_count,           -- Accounts that it is shared with; null: not asked for.
    concat_ws(
        '; ',
        concat(judged.age_days, ' days old'),
        concat(
            case
                when judged.last_changed_utc is null then 'no change'
                else concat('last changed ', judged.unchanged_days, ' days ago')
            end,
            ' in ',
            judged.watched_days,
            ' days watched'
        ),
        image_use.shared_with
    ) as why                                  -- Reason for the listing, as text.
from judged
cross join settings
inner join image_use
    on judged.account = image_use.account
    and judged.image_id = image_use.image_id
where
    judged.age_days >= settings.older_than_days
    and judged.watched_days >= settings.watched_days
    and (judged.last_changed_utc is null or judged.unchanged_days >= settings.unchanged_days)
    and (
        (image_use.use_status = 'unused' and coalesce(image_use.unused_days, 0) >= settings.unused_days)
        or (
            image_use.use_status = 'not known'
            and settings.unused_days = 0
            and not coalesce(settings.only_unused, image_use.is_use_proven)
        )
    )
order by
    judged.created_at_utc,
    judged.account,
    judged.image_id
