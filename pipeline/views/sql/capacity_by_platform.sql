-- What the accounts hold now, by platform: one row per platform, all accounts together, largest first.
-- Images that the account owns; those shared with it, and those of another owner or none told, stand apart.
-- Reads: image_capacity.
-- Example: select platform, image_count, image_size_gib from capacity_by_platform

select
    platform,
    count(distinct account) as account_count,                        -- Accounts with an image there.
    count(case when ownership = 'owned' then 1 end) as image_count,  -- Images that the account owns.
    cast(
        coalesce(sum(case when ownership = 'owned' then image_size_gib end), 0) as bigint
    ) as image_size_gib,                                             -- Sizes of the owned images, added up; those without a size add nothing.
    count(
        case when ownership = 'owned' and image_size_gib is null then 1 end
    ) as unsized_image_count,                                        -- Owned images whose size is not known.
    cast(
        coalesce(sum(case when ownership = 'owned' then disk_count end), 0) as bigint
    ) as disk_count,                                                 -- Disks of the owned images.
    cast(
        coalesce(sum(case when ownership = 'owned' then disk_size_gib end), 0) as bigint
    ) as disk_size_gib,                                              -- Sizes of the owned images' disks, added up; those without a size add nothing.
    count(case when ownership = 'shared' then 1 end) as shared_image_count,  -- Images that others share with the account.
    cast(
        coalesce(sum(case when ownership = 'shared' then image_size_gib end), 0) as bigint
    ) as shared_image_size_gib,                                      -- Sizes of the shared images, added up.
    count(case when ownership = 'other' then 1 end) as other_image_count     -- Images of another owner, or none told.
from image_capacity
group by
    platform
order by
    image_size_gib desc,
    platform nulls last
