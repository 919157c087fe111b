-- Latest disk capacity by format, raw or qcow2: one row per format (as listed), summed over all accounts, largest first.
-- The disk columns count disks of owned images. Disks of shared images, and of another or an unknown owner, are counted
-- separately. An image with disks of two formats counts in both rows.
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
    count(distinct account) as account_count,                        -- Accounts with at least one disk of this format.
    count(case when ownership = 'owned' then 1 end) as image_count,  -- Owned images with at least one disk of this format.
    cast(
        coalesce(sum(case when ownership = 'owned' then disk_count end), 0) as bigint
    ) as disk_count,                                                 -- Disks of owned images.
    cast(
        coalesce(sum(case when ownership = 'owned' then disk_size_gib end), 0) as bigint
    ) as disk_size_gib,                                              -- Total size of these disks; a disk without a size adds 0.
    cast(
        coalesce(sum(case when ownership = 'owned' then unsized_disk_count end), 0) as bigint
    ) as unsized_disk_count,                                         -- Disks without a size, of owned images.
    cast(
        coalesce(sum(case when ownership = 'shared' then disk_count end), 0) as bigint
    ) as shared_disk_count,                                          -- Disks of images shared with the account.
    cast(
        coalesce(sum(case when ownership = 'other' then disk_count end), 0) as bigint
    ) as other_disk_count                                            -- Disks of images of another or an unknown owner.
from image_formats
group by
    disk_format
order by
    disk_size_gib desc,
    disk_format nulls last
