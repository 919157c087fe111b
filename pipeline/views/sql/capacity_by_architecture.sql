-- What the accounts hold now, x86 against ARM: one row per processor and architecture as told, all accounts together.
-- Images that the account owns; those shared with it, and those of another owner or none told, stand apart.
-- The processor follows from the architecture; where none is told, from the compute type, which says ARM but not x86.
-- Reads: image_capacity.
-- Example: select processor, sum(image_size_gib) as image_size_gib from capacity_by_architecture group by processor

with images as (
    select
        account,
        case
            when lower(architecture) in ('x86_64', 'i386', 'i486', 'i586', 'i686', 'amd64', 'x86') then 'x86'
            when lower(architecture) like 'arm%' or lower(architecture) like 'aarch64%' then 'ARM'
            when architecture <> '' then 'other'
            when lower(compute_type) like 'arm!_%' escape '!' then 'ARM'
            else 'not told'
        end as processor,
        architecture,
        ownership,
        image_size_gib,
        disk_count,
        disk_size_gib
    from image_capacity
)

select
    processor,                                                       -- `x86`, `ARM`, `other`, or `not told`.
    architecture,
    count(distinct account) as account_count,                        -- Accounts with such an image.
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
from images
group by
    processor,
    architecture
order by
    image_size_gib desc,
    processor,
    architecture nulls last
