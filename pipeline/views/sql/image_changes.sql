-- What became of each image: one row per image and change, newest first; of a changed image, one row per field.
-- Told between published observations of one account, in their order; the first observation of an account tells nothing.
--
--     appeared   here, and missing from an earlier verified observation since it was last seen (or ever)
--     gone       missing from the first verified observation since it was last seen
--     seen       here, and not in the observation before, which proves nothing: it may only have been overlooked there
--     unseen     in the observation before, and missing from this one, which proves nothing: it may still be there
--     changed    a field is not what it was when the image was last seen, and nothing shows that it was gone in between
--
-- So `gone` is never said of an image that was merely not listed, and an image that is overlooked once and comes back
-- unchanged is `unseen`, then `seen`, and neither gone nor new.
-- Reads: image_versions, observations.
-- Example: select change, count(distinct (account, image_id, observed_at_utc)) as image_count from image_changes group by change

with published as (
    select
        account,
        observed_at_utc,
        coalesce(certificate = 'verified', false) as is_verified,
        row_number() over (partition by account order by observed_at_utc) as observation_number,
        lag(observed_at_utc) over (partition by account order by observed_at_utc) as observation_before_utc,
        lead(observed_at_utc) over (partition by account order by observed_at_utc) as observation_after_utc,
        lead(coalesce(certificate = 'verified', false)) over (
            partition by account
            order by observed_at_utc
        ) as is_verified_after,
        max(case when certificate = 'verified' then observed_at_utc end) over (
            partition by account
            order by observed_at_utc
            rows between unbounded preceding and 1 preceding
        ) as verified_before_utc
    from observations
    where is_published
),

-- Where a stretch begins and does not go on from the observation before: proven new, or seen only now. A life begins
-- with a proof where there is a verified observation before it; within a life nothing proves an absence.
arrivals as (
    select
        version.account,
        version.image_id,
        version.image_name,
        version.region_id,
        version.image_size_gib,
        case
            when version.previous_seen_utc is null and published.verified_before_utc is not null then 'appeared'
            else 'seen'
        end as change,
        version.first_seen_utc as observed_at_utc,
        case
            when version.previous_seen_utc is null and published.verified_before_utc is not null
                then published.verified_before_utc
            else published.observation_before_utc
        end as previous_observed_at_utc
    from image_versions as version
    inner join published
        on version.account = published.account
        and version.first_seen_utc = published.observed_at_utc
    where
        published.observation_number > 1
        and (version.previous_seen_utc is null or version.previous_seen_utc < published.observation_before_utc)
),

gone as (
    select
        account,
        image_id,
        image_name,
        region_id,
        image_size_gib,
        'gone' as change,
        gone_at_utc as observed_at_utc,
        last_seen_utc as previous_observed_at_utc
    from image_versions
    where gone_at_utc is not null
),

-- Where a stretch ends before an observation that proves nothing.
unseen as (
    select
        version.account,
        version.image_id,
        version.image_name,
        version.region_id,
        version.image_size_gib,
        'unseen' as change,
        published.observation_after_utc as observed_at_utc,
        version.last_seen_utc as previous_observed_at_utc
    from image_versions as version
    inner join published
        on version.account = published.account
        and version.last_seen_utc = published.observed_at_utc
    where
        not published.is_verified_after
        and (version.next_seen_utc is null or version.next_seen_utc > published.observation_after_utc)
),

-- A stretch beside the one before it in the same life: each field is equal within a stretch, so it changes here alone.
differing as (
    select
        later.account,
        later.image_id,
        later.first_seen_utc as observed_at_utc,
        earlier.last_seen_utc as previous_observed_at_utc,
        later.image_name as new_image_name,
        earlier.image_name as old_image_name,
        later.image_owner as new_image_owner,
        earlier.image_owner as old_image_owner,
        later.status as new_status,
        earlier.status as old_status,
        later.platform as new_platform,
        earlier.platform as old_platform,
        later.os_version as new_os_version,
        earlier.os_version as old_os_version,
        later.architecture as new_architecture,
        earlier.architecture as old_architecture,
        later.compute_type as new_compute_type,
        earlier.compute_type as old_compute_type,
        later.region_id as new_region_id,
        earlier.region_id as old_region_id,
        later.image_size_gib as new_image_size_gib,
        earlier.image_size_gib as old_image_size_gib,
        later.image_storage_size as new_image_storage_size,
        earlier.image_storage_size as old_image_storage_size,
        later.created_at_utc as new_created_at_utc,
        earlier.created_at_utc as old_created_at_utc,
        later.instance_id as new_instance_id,
        earlier.instance_id as old_instance_id,
        later.snapshot_id as new_snapshot_id,
        earlier.snapshot_id as old_snapshot_id,
        later.extra as new_extra,
        earlier.extra as old_extra,
        later.disks as new_disks,
        earlier.disks as old_disks
    from image_versions as later
    inner join image_versions as earlier
        on later.account = earlier.account
        and later.image_id = earlier.image_id
        and later.previous_seen_utc = earlier.last_seen_utc
    where
        later.previous_seen_utc is not null
        and earlier.next_seen_utc is not null
),

fields as (
    select field
    from (
        values
            ('image_name'),
            ('image_owner'),
            ('status'),
            ('platform'),
            ('os_version'),
            ('architecture'),
            ('compute_type'),
            ('region_id'),
            ('image_size_gib'),
            ('image_storage_size'),
            ('created_at_utc'),
            ('instance_id'),
            ('snapshot_id'),
            ('extra')
    ) as each_field (field)
),

field_values as (
    select
        differing.account,
        differing.image_id,
        differing.new_image_name as image_name,
        differing.new_region_id as region_id,
        differing.new_image_size_gib as image_size_gib,
        differing.observed_at_utc,
        differing.previous_observed_at_utc,
        fields.field,
        case fields.field
            when 'image_name' then differing.old_image_name
            when 'image_owner' then differing.old_image_owner
            when 'status' then differing.old_status
            when 'platform' then differing.old_platform
            when 'os_version' then differing.old_os_version
            when 'architecture' then differing.old_architecture
            when 'compute_type' then differing.old_compute_type
            when 'region_id' then differing.old_region_id
            when 'image_size_gib' then cast(differing.old_image_size_gib as varchar)
            when 'image_storage_size' then cast(differing.old_image_storage_size as varchar)
            when 'created_at_utc' then cast(differing.old_created_at_utc as varchar)
            when 'instance_id' then differing.old_instance_id
            when 'snapshot_id' then differing.old_snapshot_id
            when 'extra' then differing.old_extra
        end as old_value,
        case fields.field
            when 'image_name' then differing.new_image_name
            when 'image_owner' then differing.new_image_owner
            when 'status' then differing.new_status
            when 'platform' then differing.new_platform
            when 'os_version' then differing.new_os_version
            when 'architecture' then differing.new_architecture
            when 'compute_type' then differing.new_compute_type
            when 'region_id' then differing.new_region_id
            when 'image_size_gib' then cast(differing.new_image_size_gib as varchar)
            when 'image_storage_size' then cast(differing.new_image_storage_size as varchar)
            when 'created_at_utc' then cast(differing.new_created_at_utc as varchar)
            when 'instance_id' then differing.new_instance_id
            when 'snapshot_id' then differing.new_snapshot_id
            when 'extra' then differing.new_extra
        end as new_value
    from differing
    cross join fields
),

-- The disks of a version lie in the order of their numbers.
disk_changes as (
    select
        account,
        image_id,
        new_image_name as image_name,
        new_region_id as region_id,
        new_image_size_gib as image_size_gib,
        observed_at_utc,
        previous_observed_at_utc,
        nullif(
            array_to_string(
                list_transform(
                    old_disks,
                    lambda disk: coalesce(disk.disk_type, '?')
                    || ' ' || coalesce(cast(disk.disk_size_gib as varchar), '?') || ' GiB '
                    || coalesce(disk.disk_format, '?')
                    || coalesce(' ' || disk.disk_image_id, '') || coalesce(' ' || disk.extra, '')
                ),
                ', '
            ),
            ''
        ) as old_value,
        nullif(
            array_to_string(
                list_transform(
                    new_disks,
                    lambda disk: coalesce(disk.disk_type, '?')
                    || ' ' || coalesce(cast(disk.disk_size_gib as varchar), '?') || ' GiB '
                    || coalesce(disk.disk_format, '?')
                    || coalesce(' ' || disk.disk_image_id, '') || coalesce(' ' || disk.extra, '')
                ),
                ', '
            ),
            ''
        ) as new_value
    from differing
    where old_disks is distinct from new_disks
),

came_and_went as (
    select * from arrivals
    union all
    select * from gone
    union all
    select * from unseen
),

changes as (
    select
        account,
        image_id,
        image_name,
        region_id,
        image_size_gib,
        change,
        cast(null as varchar) as field,
        cast(null as varchar) as old_value,
        cast(null as varchar) as new_value,
        observed_at_utc,
        previous_observed_at_utc
    from came_and_went
    union all
    select
        account,
        image_id,
        image_name,
        region_id,
        image_size_gib,
        'changed' as change,
        field,
        old_value,
        new_value,
        observed_at_utc,
        previous_observed_at_utc
    from field_values
    where old_value is distinct from new_value
    union all
    select
        account,
        image_id,
        image_name,
        region_id,
        image_size_gib,
        'changed' as change,
        'disks' as field,
        old_value,
        new_value,
        observed_at_utc,
        previous_observed_at_utc
    from disk_changes
)

select
    changes.account,
    changes.observed_at_utc,             -- The observation that shows the change.
    changes.previous_observed_at_utc,    -- The observation it is told against: where the image was last seen; for `appeared` the last verified one without it, for `seen` the one before, which lacks it.
    changes.image_id,
    changes.image_name,                -- Name of the image when it was last seen, by then.
    changes.region_id,                 -- Region of the image when it was last seen, by then.
    changes.image_size_gib,            -- Size of the image when it was last seen, by then.
    changes.change,                      -- appeared, gone, seen, unseen or changed: see the view's own words.
    changes.field,                       -- Column that changed, or `disks`; null where the image came or went.
    changes.old_value,                   -- What it was, as text; null where there was nothing.
    changes.new_value                    -- What it is, as text; null where there is nothing.
from changes
order by
    changes.observed_at_utc desc,
    changes.account,
    changes.image_id,
    changes.change,
    changes.field
