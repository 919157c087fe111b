-- What the disks hold now, raw against qcow2: one row per format as told, all accounts together, largest first.
-- Disks of images that the account owns; those of images shared with it, and of another owner or none told, stand apart.
-- An image whose disks are of two formats counts in both.
-- Reads: image_disks_latest, image_capacity.
-- Example: select disk_format, disk_count, disk_size_gib from capacity_by_disk_format

with image_formats as (
    select
        disk.account,
        disk.image_id,
        disk.disk_format,
        image.ownership,
        count(*) as disk_count,
        sum(disk.disk_size_gib) as disk_size_gib,
        count(*) - count(disk.disk_size_gib) as unsized_disk_count
    from image_disks_latest as disk
    inner join image_capacity as image
        on disk.account = image.account
        and disk.image_id = image.image_id
    group by
        disk.account,
        disk.image_id,
        disk.disk_format,
        image.ownership
)

select
    disk_format,
    count(distinct account) as account_count,                        -- Accounts with such a disk.
    count(case when ownership = 'owned' then 1 end) as image_count,  -- Owned images with such a disk.
    cast(
        coalesce(sum(case when ownership = 'owned' then disk_count end), 0) as bigint
    ) as disk_count,                                                 -- Disks of owned images.
    cast(
        coalesce(sum(case when ownership = 'owned' then disk_size_gib end), 0) as bigint
    ) as disk_size_gib,                                              -- Sizes of those disks, added up; those without a size add nothing.
    cast(
        coalesce(sum(case when ownership = 'owned' then unsized_disk_count end), 0) as bigint
    ) as unsized_disk_count,                                         -- Disks of owned images whose size is not known.
    cast(
        coalesce(sum(case when ownership = 'shared' then disk_count end), 0) as bigint
    ) as shared_disk_count,                                          -- Disks of images that others share with the account.
    cast(
        coalesce(sum(case when ownership = 'other' then disk_count end), 0) as bigint
    ) as other_disk_count                                            -- Disks of images of another owner, or none told.
from image_formats
group by
    disk_format
order by
    disk_size_gib desc,
    disk_format nulls last
