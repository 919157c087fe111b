-- What the accounts hold now, by region: one row per region, all accounts together, largest first.
-- Images that the account owns; those shared with it, and those of another owner or none told, stand apart.
-- Reads: capacity_items.
-- Example: select region_id, image_count, image_size_gib from capacity_by_region limit 3

select
    region_id,
    count(distinct account) as account_count,  -- Accounts with an image there.
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
    region_id
order by
    image_size_gib desc,
    region_id nulls last
