-- Age of each image: one row per image of images_latest, oldest first.
-- Age is measured at the observation, not at the time of the query.
-- Reads: image_capacity.
-- Example: select image_id, image_name, age_days from image_age where age_days > 365 and ownership = 'owned'

select
    account,
    observed_at_utc,
    image_id,
    image_name,
    ownership,
    region_id,
    platform,
    architecture,
    compute_type,
    status,
    image_size_gib,
    created_at_utc,
    cast(extract(day from (observed_at_utc - created_at_utc)) as bigint) as age_days  -- Whole days (24 hours each) from creation to the observation; null without a creation time.
from image_capacity
order by
    created_at_utc nulls last,
    account,
    image_id
