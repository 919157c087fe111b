-- Contribution of each image to capacity: one row per image of image_capacity.
-- The capacity_by_… views sum these columns.
-- The image columns count owned images. Shared images, and images of another or an unknown owner, are counted separately.
-- The processor is derived from the architecture; without one, from the compute type, which identifies ARM but not x86.
-- Reads: image_capacity.
-- Example: select account, region_id, sum(image_size_gib) as image_size_gib from capacity_items group by account, region_id

select
    account,
    image_id,
    region_id,
    platform,
    case
        when lower(architecture) in ('x86_64', 'amd64', 'x86') or lower(architecture) like 'i_86' then 'x86'
        when lower(architecture) like 'arm%' or lower(architecture) like 'aarch64%' then 'ARM'
        when architecture <> '' then 'other'
        when lower(compute_type) like 'arm!_%' escape '!' then 'ARM'
        else 'unknown'
    end as processor,                                                                       -- `x86`, `ARM`, `other` (another architecture), or `unknown` (no architecture, and the compute type does not identify ARM).
    architecture,
    cast(ownership = 'owned' as bigint) as image_count,  -- Images that the account owns.
    case when ownership = 'owned' then coalesce(image_size_gib, 0) else 0 end as image_size_gib,  -- Total size of the owned images; an image without a size adds 0.
    cast(ownership = 'owned' and image_size_gib is null as bigint) as unsized_image_count,  -- Owned images without a size.
    case when ownership = 'owned' then disk_count else 0 end as disk_count,                 -- Disks of the owned images.
    case when ownership = 'owned' then coalesce(disk_size_gib, 0) else 0 end as disk_size_gib,  -- Total size of the disks of owned images; a disk without a size adds 0.
    cast(ownership = 'shared' as bigint) as shared_image_count,  -- Images shared with the account.
    case when ownership = 'shared' then coalesce(image_size_gib, 0) else 0 end as shared_image_size_gib,  -- Total size of the shared images; an image without a size adds 0.
    cast(ownership = 'other' as bigint) as other_image_count  -- Images of another or an unknown owner.
from image_capacity
