-- Images and GiB by age: one row per age band, youngest first; an empty band has a row of zeros.
-- A year is 365 days. A creation time less than a day after the observation (clocks differ) counts as under 30 days.
-- The image columns count owned images. Shared images, and images of another or an unknown owner, are counted separately.
-- Reads: image_age, rejects_latest.
-- Example: select age_band, image_count, image_size_gib from age_bands order by band_number

with bands as (
    select
        band_number,
        age_band
    from (
        values
            (1, 'under 30 days'),
            (2, '30–89 days'),
            (3, '90–179 days'),
            (4, '180–364 days'),
            (5, '1–2 years'),
            (6, '2 years and over'),
            (7, 'unknown')
    ) as band (band_number, age_band)
),

impossible as (
    select distinct
        account,
        item_id as image_id
    from rejects_latest
    where
        resource = 'images'
        and field = 'CreationTime'
        and (reason like 'before %' or reason like '%after the observation')
),

images as (
    select
        case
            when image_age.age_days is null then 7
            when image_age.age_days < 30 then 1
            when image_age.age_days < 90 then 2
            when image_age.age_days < 180 then 3
            when image_age.age_days < 365 then 4
            when image_age.age_days < 730 then 5
            else 6
        end as band_number,
        image_age.ownership,
        image_age.image_size_gib,
        image_age.age_days is null
        and (image_age.created_at_utc is not null or impossible.image_id is not null)
            as is_impossible
    from image_age
    left join impossible
        on
            image_age.account = impossible.account
            and image_age.image_id = impossible.image_id
)

select
    cast(bands.band_number as bigint) as band_number,                -- Number of the band: 1 is the youngest, the last is `unknown`.
    bands.age_band,                                                  -- Days from creation to the observation; `unknown` without a creation time.
    count(case when images.ownership = 'owned' then 1 end) as image_count,  -- Images that the account owns.
    cast(
        coalesce(sum(case when images.ownership = 'owned' then images.image_size_gib end), 0) as bigint
    ) as image_size_gib,                                             -- Total size of the owned images; an image without a size adds 0.
    count(
        case when images.ownership = 'owned' and images.image_size_gib is null then 1 end
    ) as unsized_image_count,                                        -- Owned images without a size.
    count(
        case when images.ownership = 'owned' and images.is_impossible then 1 end
    ) as impossible_age_count,                                       -- Owned images with a creation time that cannot be: before 2009, or a day or more after the observation.
    count(case when images.ownership = 'shared' then 1 end) as shared_image_count,  -- Images shared with the account.
    count(case when images.ownership = 'other' then 1 end) as other_image_count     -- Images of another or an unknown owner.
from bands
left join images
    on bands.band_number = images.band_number
group by
    bands.band_number,
    bands.age_band
order by bands.band_number
