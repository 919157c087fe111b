-- Latest capacity by platform: one row per platform, summed over all accounts, largest first.
-- The image columns count owned images. Shared images, and images of another or an unknown owner, are counted separately.
-- Reads: capacity_items.
-- Example: select platform, image_count, image_size_gib from capacity_by_platform

select
    platform,
    count(distinct account) as account_count,  -- Accounts with at least one image of this platform.
    cast(sum(image_count) as bigint) as image_count,
    cast(sum(image_size_gib) as bigint) as image_size_gib,
    cast(sum(unsized_image_count) as bigint) as unsized_image_count,
    cast(sum(disk_count) as bigint) as disk_count,
    cast(sum(disk_size_gib) as bigint) as disk_size_gib,
    cast(sum(shared_image_count) as bigint) as shared_image_count,
    cast(sum(shared_image_size_gib) as bigint) as shared_image_size_gib,
    cast(sum(other_image_count) as bigint) as other_image_count
from capacity_items
group by
    platform
order by
    image_size_gib desc,
    platform nulls last
