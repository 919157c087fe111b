-- Names used by several images: one row per account and name of two or more owned images, most images first.
-- Names are compared exactly, including case; images without a name are not listed.
-- Reads: image_capacity.
-- Example: select image_name, image_count, image_size_gib from repeated_names where image_count > 2

select
    account,
    image_name,
    count(*) as image_count,                         -- Owned images with this name.
    cast(
        coalesce(sum(image_size_gib), 0) as bigint
    ) as image_size_gib,                             -- Total size of these images; an image without a size adds 0.
    count(*) - count(image_size_gib) as unsized_image_count,  -- Images without a size, among these.
    count(distinct region_id) as region_count,       -- Regions of these images.
    min(created_at_utc) as first_created_utc,        -- Creation time of the oldest of these images.
    max(created_at_utc) as last_created_utc          -- Creation time of the newest of these images.
from image_capacity
where
    ownership = 'owned'
    and image_name <> ''
group by
    account,
    image_name
having count(*) > 1
order by
    image_count desc,
    image_size_gib desc,
    account,
    image_name
