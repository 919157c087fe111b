-- Which images were made from one and the same: one row per account and snapshot or instance that two or more of its own
-- images were made from, most first. An image that tells both stands in two rows.
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
    source_type,                                     -- `snapshot`: a disk snapshot; or `instance`.
    source_id,                                       -- Its id: the `snapshot_id` or the `instance_id` of the images.
    count(*) as image_count,                         -- Owned images that were made from it.
    cast(
        coalesce(sum(image_size_gib), 0) as bigint
    ) as image_size_gib,                             -- Their sizes, added up; those without a size add nothing.
    count(*) - count(image_size_gib) as unsized_image_count,  -- Those whose size is not known.
    min(created_at_utc) as first_created_utc,        -- When the oldest of them was created.
    max(created_at_utc) as last_created_utc          -- When the newest of them was created.
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
