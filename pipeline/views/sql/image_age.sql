-- Age of each image: one row per image of images_latest, oldest first.
-- Age is measured at the observation, not at the time of the query. A creation time before 2009, when Alibaba Cloud did not
-- exist, or a day or more after the observation cannot be; less than a day after it counts as 0 days: clocks differ.
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
    case
        when
            created_at_utc >= cast('2009-01-01' as date)
            and created_at_utc < observed_at_utc + interval '1' day
            then cast(extract(day from (observed_at_utc - created_at_utc)) as bigint)
    end as age_days  -- Whole days (24 hours each) from creation to the observation; null without a creation time, and for one that cannot be.
from image_capacity
order by
    created_at_utc nulls last,
    account,
    image_id
