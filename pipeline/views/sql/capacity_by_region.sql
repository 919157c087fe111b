-- What the accounts hold now, by region: one row per region, all accounts together, largest first.
-- Images that the account owns; those shared with it, and those of another owner or none told, stand apart.
-- Reads: image_capacity.
-- Example: select region_id, image_count, image_size_gib from capacity_by_region limit 3

-- Added up by owner first: there are few of these, and many images.
with held as (
    select
        account,
        region_id,
        ownership,
        count(*) as image_count,
        count(*) - count(image_size_gib) as unsized_image_count,
        sum(image_size_gib) as image_size_gib,
        sum(disk_count) as disk_count,
        sum(disk_size_gib) as disk_size_gib
    from image_capacity
    group by
        account,
        region_id,
        ownership
)

select
    region_id,
    count(distinct account) as account_count,                        -- Accounts with an image there.
    cast(
        coalesce(sum(case when ownership = 'owned' then image_count end), 0) as bigint
    ) as image_count,                                                -- Images that the account owns.
    cast(
        coalesce(sum(case when ownership = 'owned' then image_size_gib end), 0) as bigint
    ) as image_size_gib,                                             -- Sizes of the owned images, added up; those without a size add nothing.
    cast(
        coalesce(sum(case when ownership = 'owned' then unsized_image_count end), 0) as bigint
    ) as unsized_image_count,                                        -- Owned images whose size is not known.
    cast(
        coalesce(sum(case when ownership = 'owned' then disk_count end), 0) as bigint
    ) as disk_count,                                                 -- Disks of the owned images.
    cast(
        coalesce(sum(case when ownership = 'owned' then disk_size_gib end), 0) as bigint
    ) as disk_size_gib,                                              -- Sizes of the owned images' disks, added up; those without a size add nothing.
    cast(
        coalesce(sum(case when ownership = 'shared' then image_count end), 0) as bigint
    ) as shared_image_count,                                         -- Images that others share with the account.
    cast(
        coalesce(sum(case when ownership = 'shared' then image_size_gib end), 0) as bigint
    ) as shared_image_size_gib,                                      -- Sizes of the shared images, added up.
    cast(
        coalesce(sum(case when ownership = 'other' then image_count end), 0) as bigint
    ) as other_image_count                                           -- Images of another owner, or none told.
from held
group by
    region_id
order by
    image_size_gib desc,
    region_id nulls last
