-- Size of each image: one row per image of images_latest, with the totals of its disks.
-- Reads: images_latest, image_disks_latest.
-- Example: select image_id, image_name, image_size_gib from image_capacity order by image_size_gib desc nulls last limit 10

-- Files of older versions do not contain the totals of the disks: the disks are read only for accounts with such files.
with accounts_without_sums as (
    select distinct account
    from images_latest
    where unsized_disk_count is null
),

disks as (
    select
        disk.account,
        disk.image_id,
        count(*) as disk_count,
        count(*) - count(disk.disk_size_gib) as unsized_disk_count,
        sum(disk.disk_size_gib) as disk_size_gib
    from image_disks_latest as disk
    where
        exists (
            select 1
            from accounts_without_sums
            where accounts_without_sums.account = disk.account
        )
    group by
        disk.account,
        disk.image_id
)

select
    image.account,
    image.observed_at_utc,
    image.image_id,
    image.image_name,
    image.status,
    image.platform,
    image.architecture,
    image.compute_type,
    image.region_id,
    image.created_at_utc,
    case lower(image.image_owner)
        when 'self' then 'owned'
        when 'others' then 'shared'
        else 'other'
    end as ownership,                                                -- `owned` by the account, `shared` with it, or `other`: another or an unknown owner.
    image.image_size_gib,
    coalesce(image.disk_count, disks.disk_count, 0) as disk_count,   -- Disks of the image.
    coalesce(
        image.unsized_disk_count, disks.unsized_disk_count, 0
    ) as unsized_disk_count,                                         -- Disks without a size.
    coalesce(
        image.disk_size_gib, cast(disks.disk_size_gib as bigint)
    ) as disk_size_gib                                               -- Total size of the disks; null if no disk has a size.
from images_latest as image
left join disks
    on image.account = disks.account
    and image.image_id = disks.image_id
