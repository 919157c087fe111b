-- Snapshots and instances that are the source of several images: one row per account and source of two or more owned
-- images, most images first. An image with both a snapshot and an instance counts in two rows.
-- Reads: images_latest.
-- Example: select source_id, image_count, image_size_gib from repeated_sources where source_type = 'snapshot'

with sources as (
    select
        account,
        'snapshot' as source_type,
        snapshot_id as source_id,
        image_size_gib,
        created_at_utc
    from images_latest
    where
        lower(image_owner) = 'self'
        and snapshot_id <> ''
    union all
    select
        account,
        'instance' as source_type,
        instance_id as source_id,
        image_size_gib,
        created_at_utc
    from images_latest
    where
        lower(image_owner) = 'self'
        and instance_id <> ''
)

select
    account,
    source_type,                                     -- `snapshot` (a disk snapshot) or `instance`.
    source_id,                                       -- Id of the source: the `snapshot_id` or `instance_id` of the images.
    count(*) as image_count,                         -- Owned images created from this source.
    cast(
        coalesce(sum(image_size_gib), 0) as bigint
    ) as image_size_gib,                             -- Total size of these images; an image without a size adds 0.
    count(*) - count(image_size_gib) as unsized_image_count,  -- Images without a size, among these.
    min(created_at_utc) as first_created_utc,        -- Creation time of the oldest of these images.
    max(created_at_utc) as last_created_utc          -- Creation time of the newest of these images.
from sources
group by
    account,
    source_type,
    source_id
having count(*) > 1
order by
    image_count desc,
    image_size_gib desc,
    account,
    source_type,
    source_id
