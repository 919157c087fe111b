-- Which names stand for many images: one row per account and name that two or more of its own images bear, most first.
-- Names are compared letter by letter; images without a name are not listed.
-- Reads: image_capacity.
-- Example: select image_name, image_count, image_size_gib from repeated_names where image_count > 2

select
    account,
    image_name,
    count(*) as image_count,                         -- Owned images of that name.
    cast(
        coalesce(sum(image_size_gib), 0) as bigint
    ) as image_size_gib,                             -- Their sizes, added up; those without a size add nothing.
    count(*) - count(image_size_gib) as unsized_image_count,  -- Those whose size is not known.
    count(distinct region_id) as region_count,       -- Regions in which they are.
    min(created_at_utc) as first_created_utc,        -- When the oldest of them was created.
    max(created_at_utc) as last_created_utc          -- When the newest of them was created.
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
