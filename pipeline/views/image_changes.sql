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
-- Reads: images, image_disks, observations.

with published as (
    select
        account,
        observed_at_utc,
        coalesce(certificate = 'verified', false) as is_verified,
        row_number() over (partition by account order by observed_at_utc) as observation_number,
        sum(case when certificate = 'verified' then 1 else 0 end) over (
            partition by account
            order by observed_at_utc
        ) as verified_count
    from observations
    where is_published
),

verified as (
    select
        account,
        observed_at_utc,
        observation_number,
        verified_count
    from published
    where is_verified
),

sightings as (
    select
        image.account,
        image.image_id,
        published.observed_at_utc,
        published.observation_number,
        published.verified_count,
        published.verified_count - case when published.is_verified then 1 else 0 end as verified_count_before,
        lag(published.observed_at_utc) over image_sightings as last_seen_utc,
        lag(published.observation_number) over image_sightings as last_number,
        lag(published.verified_count) over image_sightings as last_verified_count,
        lead(published.observation_number) over image_sightings as next_number
    from images as image
    inner join published
        on image.account = published.account
        and image.observed_at_utc = published.observed_at_utc
    window image_sightings as (
        partition by image.account, image.image_id
        order by published.observation_number
    )
),

-- Where a stretch of sightings begins: proven new, or seen only now.
arrivals as (
    select
        account,
        image_id,
        observed_at_utc,
        observation_number,
        verified_count_before,
        case
            when verified_count_before > coalesce(last_verified_count, 0) then 'appeared'
            else 'seen'
        end as change
    from sightings
    where
        observation_number > 1
        and (last_number is null or last_number < observation_number - 1)
),

-- Where a stretch of sightings ends.
departures as (
    select
        account,
        image_id,
        observed_at_utc,
        observation_number,
        verified_count,
        next_number
    from sightings
    where next_number is null or next_number > observation_number + 1
),

comings_and_goings as (
    select
        arrivals.account,
        arrivals.image_id,
        arrivals.change,
        arrivals.observed_at_utc,
        verified.observed_at_utc as previous_observed_at_utc,
        arrivals.observed_at_utc as described_at_utc
    from arrivals
    inner join verified
        on arrivals.account = verified.account
        and arrivals.verified_count_before = verified.verified_count
    where arrivals.change = 'appeared'
    union all
    select
        arrivals.account,
        arrivals.image_id,
        arrivals.change,
        arrivals.observed_at_utc,
        published.observed_at_utc as previous_observed_at_utc,
        arrivals.observed_at_utc as described_at_utc
    from arrivals
    inner join published
        on arrivals.account = published.account
        and arrivals.observation_number - 1 = published.observation_number
    where arrivals.change = 'seen'
    union all
    select
        departures.account,
        departures.image_id,
        'gone' as change,
        verified.observed_at_utc,
        departures.observed_at_utc as previous_observed_at_utc,
        departures.observed_at_utc as described_at_utc
    from departures
    inner join verified
        on departures.account = verified.account
        and departures.verified_count + 1 = verified.verified_count
    where departures.next_number is null or verified.observation_number < departures.next_number
    union all
    select
        departures.account,
        departures.image_id,
        'unseen' as change,
        published.observed_at_utc,
        departures.observed_at_utc as previous_observed_at_utc,
        departures.observed_at_utc as described_at_utc
    from departures
    inner join published
        on departures.account = published.account
        and departures.observation_number + 1 = published.observation_number
    where not published.is_verified
),

-- An image's sighting and the one before it, with nothing in between that proves it gone.
pairs as (
    select
        account,
        image_id,
        observed_at_utc,
        last_seen_utc
    from sightings
    where verified_count_before = last_verified_count
),

-- The fields beside what they were when the image was last seen. A window and no join: joined on the image alone, a
-- year of days would meet a year of days.
values_in_order as (
    select
        image.account,
        image.image_id,
        published.observed_at_utc,
        published.verified_count - case when published.is_verified then 1 else 0 end as verified_count_before,
        lag(published.observed_at_utc) over image_sightings as last_seen_utc,
        lag(published.verified_count) over image_sightings as last_verified_count,
        image.image_name as new_image_name,
        lag(image.image_name) over image_sightings as old_image_name,
        image.image_owner as new_image_owner,
        lag(image.image_owner) over image_sightings as old_image_owner,
        image.status as new_status,
        lag(image.status) over image_sightings as old_status,
        image.platform as new_platform,
        lag(image.platform) over image_sightings as old_platform,
        image.os_version as new_os_version,
        lag(image.os_version) over image_sightings as old_os_version,
        image.architecture as new_architecture,
        lag(image.architecture) over image_sightings as old_architecture,
        image.compute_type as new_compute_type,
        lag(image.compute_type) over image_sightings as old_compute_type,
        image.region_id as new_region_id,
        lag(image.region_id) over image_sightings as old_region_id,
        image.image_size_gib as new_image_size_gib,
        lag(image.image_size_gib) over image_sightings as old_image_size_gib,
        image.image_storage_size as new_image_storage_size,
        lag(image.image_storage_size) over image_sightings as old_image_storage_size,
        image.created_at_utc as new_created_at_utc,
        lag(image.created_at_utc) over image_sightings as old_created_at_utc,
        image.instance_id as new_instance_id,
        lag(image.instance_id) over image_sightings as old_instance_id,
        image.snapshot_id as new_snapshot_id,
        lag(image.snapshot_id) over image_sightings as old_snapshot_id,
        image.extra as new_extra,
        lag(image.extra) over image_sightings as old_extra
    from images as image
    inner join published
        on image.account = published.account
        and image.observed_at_utc = published.observed_at_utc
    window image_sightings as (
        partition by image.account, image.image_id
        order by published.observation_number
    )
),

differing as (
    select *
    from values_in_order
    where
        verified_count_before = last_verified_count
        and (
            new_image_name is distinct from old_image_name
            or new_image_owner is distinct from old_image_owner
            or new_status is distinct from old_status
            or new_platform is distinct from old_platform
            or new_os_version is distinct from old_os_version
            or new_architecture is distinct from old_architecture
            or new_compute_type is distinct from old_compute_type
            or new_region_id is distinct from old_region_id
            or new_image_size_gib is distinct from old_image_size_gib
            or new_image_storage_size is distinct from old_image_storage_size
            or new_created_at_utc is distinct from old_created_at_utc
            or new_instance_id is distinct from old_instance_id
            or new_snapshot_id is distinct from old_snapshot_id
            or new_extra is distinct from old_extra
        )
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
        differing.observed_at_utc,
        differing.last_seen_utc,
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

later_disks as (
    select
        pairs.account,
        pairs.image_id,
        pairs.observed_at_utc,
        pairs.last_seen_utc,
        disk.disk_number,
        disk.disk_type,
        disk.disk_size_gib,
        disk.disk_format,
        disk.disk_image_id,
        disk.extra
    from pairs
    inner join image_disks as disk
        on pairs.account = disk.account
        and pairs.image_id = disk.image_id
        and pairs.observed_at_utc = disk.observed_at_utc
),

earlier_disks as (
    select
        pairs.account,
        pairs.image_id,
        pairs.observed_at_utc,
        pairs.last_seen_utc,
        disk.disk_number,
        disk.disk_type,
        disk.disk_size_gib,
        disk.disk_format,
        disk.disk_image_id,
        disk.extra
    from pairs
    inner join image_disks as disk
        on pairs.account = disk.account
        and pairs.image_id = disk.image_id
        and pairs.last_seen_utc = disk.observed_at_utc
),

disk_pairs as (
    select distinct
        coalesce(later.account, earlier.account) as account,
        coalesce(later.image_id, earlier.image_id) as image_id,
        coalesce(later.observed_at_utc, earlier.observed_at_utc) as observed_at_utc,
        coalesce(later.last_seen_utc, earlier.last_seen_utc) as last_seen_utc
    from later_disks as later
    full outer join earlier_disks as earlier
        on later.account = earlier.account
        and later.image_id = earlier.image_id
        and later.observed_at_utc = earlier.observed_at_utc
        and later.disk_number = earlier.disk_number
    where
        later.disk_number is null
        or earlier.disk_number is null
        or later.disk_type is distinct from earlier.disk_type
        or later.disk_size_gib is distinct from earlier.disk_size_gib
        or later.disk_format is distinct from earlier.disk_format
        or later.disk_image_id is distinct from earlier.disk_image_id
        or later.extra is distinct from earlier.extra
),

new_disks as (
    select
        disk_pairs.account,
        disk_pairs.image_id,
        disk_pairs.observed_at_utc,
        string_agg(
            coalesce(disk.disk_type, '?') || ' ' || coalesce(cast(disk.disk_size_gib as varchar), '?') || ' GiB '
            || coalesce(disk.disk_format, '?') || coalesce(' ' || disk.disk_image_id, '') || coalesce(' ' || disk.extra, ''),
            ', ' order by disk.disk_number
        ) as disks
    from disk_pairs
    inner join image_disks as disk
        on disk_pairs.account = disk.account
        and disk_pairs.image_id = disk.image_id
        and disk_pairs.observed_at_utc = disk.observed_at_utc
    group by
        disk_pairs.account,
        disk_pairs.image_id,
        disk_pairs.observed_at_utc
),

old_disks as (
    select
        disk_pairs.account,
        disk_pairs.image_id,
        disk_pairs.observed_at_utc,
        string_agg(
            coalesce(disk.disk_type, '?') || ' ' || coalesce(cast(disk.disk_size_gib as varchar), '?') || ' GiB '
            || coalesce(disk.disk_format, '?') || coalesce(' ' || disk.disk_image_id, '') || coalesce(' ' || disk.extra, ''),
            ', ' order by disk.disk_number
        ) as disks
    from disk_pairs
    inner join image_disks as disk
        on disk_pairs.account = disk.account
        and disk_pairs.image_id = disk.image_id
        and disk_pairs.last_seen_utc = disk.observed_at_utc
    group by
        disk_pairs.account,
        disk_pairs.image_id,
        disk_pairs.observed_at_utc
),

changes as (
    select
        account,
        image_id,
        change,
        cast(null as varchar) as field,
        cast(null as varchar) as old_value,
        cast(null as varchar) as new_value,
        observed_at_utc,
        previous_observed_at_utc,
        described_at_utc
    from comings_and_goings
    union all
    select
        account,
        image_id,
        'changed' as change,
        field,
        old_value,
        new_value,
        observed_at_utc,
        last_seen_utc as previous_observed_at_utc,
        observed_at_utc as described_at_utc
    from field_values
    where old_value is distinct from new_value
    union all
    select
        disk_pairs.account,
        disk_pairs.image_id,
        'changed' as change,
        'disks' as field,
        old_disks.disks as old_value,
        new_disks.disks as new_value,
        disk_pairs.observed_at_utc,
        disk_pairs.last_seen_utc as previous_observed_at_utc,
        disk_pairs.observed_at_utc as described_at_utc
    from disk_pairs
    left join old_disks
        on disk_pairs.account = old_disks.account
        and disk_pairs.image_id = old_disks.image_id
        and disk_pairs.observed_at_utc = old_disks.observed_at_utc
    left join new_disks
        on disk_pairs.account = new_disks.account
        and disk_pairs.image_id = new_disks.image_id
        and disk_pairs.observed_at_utc = new_disks.observed_at_utc
)

select
    changes.account,
    changes.observed_at_utc,             -- The observation that shows the change.
    changes.previous_observed_at_utc,    -- The observation it is told against: where the image was last seen; for `appeared` the last verified one without it.
    changes.image_id,
    described.image_name,                -- Name of the image when it was last seen, by then.
    described.region_id,                 -- Region of the image when it was last seen, by then.
    described.image_size_gib,            -- Size of the image when it was last seen, by then.
    changes.change,                      -- appeared, gone, seen, unseen or changed: see the view's own words.
    changes.field,                       -- Column that changed, or `disks`; null where the image came or went.
    changes.old_value,                   -- What it was, as text; null where there was nothing.
    changes.new_value                    -- What it is, as text; null where there is nothing.
from changes
inner join images as described
    on changes.account = described.account
    and changes.image_id = described.image_id
    and changes.described_at_utc = described.observed_at_utc
order by
    changes.observed_at_utc desc,
    changes.account,
    changes.image_id,
    changes.change,
    changes.field
