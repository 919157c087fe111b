-- What each image adds to the capacity of its account: one row per image of image_capacity.
-- Images that the account owns; those shared with it, and those of another owner or none told, stand apart. The sums of
-- these columns by region, platform or architecture are the capacity_by_… views.
-- The processor follows from the architecture; where none is told, from the compute type, which says ARM but not x86.
-- Reads: image_capacity.
-- Example: select account, region_id, sum(image_size_gib) as image_size_gib from capacity_items group by account, region_id

select
    account,
    image_id,
    region_id,
    platform,
    case
        when lower(architecture) in ('x86_64', 'i386', 'i486', 'i586', 'i686', 'amd64', 'x86') then 'x86'
        when lower(architecture) like 'arm%' or lower(architecture) like 'aarch64%' then 'ARM'
        when architecture <> '' then 'other'
        when lower(compute_type) like 'arm!_%' escape '!' then 'ARM'
        else 'not told'
    end as processor,                                                                       -- `x86`, `ARM`, `other`, or `not told`.
    architecture,
    cast(ownership = 'owned' as bigint) as image_count,  -- Images that the account owns.
    case when ownership = 'owned' then coalesce(image_size_gib, 0) else 0 end as image_size_gib,  -- Sizes of the owned images, added up; those without a size add nothing.
    cast(ownership = 'owned' and image_size_gib is null as bigint) as unsized_image_count,  -- Owned images whose size is not known.
    case when ownership = 'owned' then disk_count else 0 end as disk_count,                 -- Disks of the owned images.
    case when ownership = 'owned' then coalesce(disk_size_gib, 0) else 0 end as disk_size_gib,  -- Sizes of the owned images' disks, added up; those without a size add nothing.
    cast(ownership = 'shared' as bigint) as shared_image_count,  -- Images that others share with the account.
    case when ownership = 'shared' then coalesce(image_size_gib, 0) else 0 end as shared_image_size_gib,  -- Sizes of the shared images, added up.
    cast(ownership = 'other' as bigint) as other_image_count  -- Images of another owner, or none told.
from image_capacity
