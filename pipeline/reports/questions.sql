-- 1. What holds most?
select account, image_id, image_name, region_id, image_size_gib
from image_capacity
where ownership = 'owned'
order by image_size_gib desc nulls last, account, image_id
limit 10;

-- 2. Where does it lie?
select region_id, image_count, image_size_gib, disk_size_gib, unsized_image_count
from capacity_by_region;

-- 3. Which operating systems does it hold?
select platform, image_count, image_size_gib, disk_size_gib, unsized_image_count
from capacity_by_platform;

-- 4. How fast does it grow?
select
    day_utc,
    image_count,
    image_size_gib,
    image_size_gib - lag(image_size_gib, 7) over (order by day_utc) as grown_in_a_week_gib
from capacity_by_day
order by day_utc desc;

-- 5. How old is it?
select age_band, image_count, image_size_gib, unsized_image_count
from age_bands
order by band_number;

-- 6. Which images are over 90, 180 or 365 days old, and were never changed?
-- Never means: in the days that the lake has watched them, which each row tells.
-- An image that an instance uses is left out.
select
    case when age_days >= 365 then 365 when age_days >= 180 then 180 else 90 end as over_days,
    account,
    image_id,
    image_name,
    freed_gib,
    why
from stale_images(older_than_days := 90)
where last_changed_utc is null
order by age_days desc, account, image_id;

-- 7. Which images failed?
select account, image_id, image_name, status, region_id, image_size_gib, created_at_utc
from failed_images
where reason in ('failed', 'unavailable');

-- 8. Which images hang in the making for over two hours?
select account, image_id, image_name, status, region_id, created_at_utc, observed_at_utc
from failed_images
where reason = 'hanging';

-- 9. Which images are shared with us?
select account, image_id, image_name, platform, region_id, image_size_gib
from image_capacity
where ownership = 'shared'
order by image_size_gib desc nulls last, account, image_id;

-- 10. Which images were made from one snapshot?
select account, source_id as snapshot_id, image_count, image_size_gib, first_created_utc, last_created_utc
from repeated_sources
where source_type = 'snapshot';

-- 11. Which images were made from one instance?
select account, source_id as instance_id, image_count, image_size_gib, first_created_utc, last_created_utc
from repeated_sources
where source_type = 'instance';

-- 12. Which names stand for many images?
select account, image_name, image_count, image_size_gib, region_count
from repeated_names;

-- 13. Where does the size of an image differ from its disks?
select account, image_id, image_name, image_size_gib, disk_size_gib, difference_gib
from disk_mismatch;

-- 14. How much is raw, how much qcow2?
select disk_format, image_count, disk_count, disk_size_gib, unsized_disk_count
from capacity_by_disk_format;

-- 15. How much is x86, how much ARM?
select
    processor,
    cast(sum(image_count) as bigint) as image_count,
    cast(sum(image_size_gib) as bigint) as image_size_gib
from capacity_by_architecture
group by processor
order by image_size_gib desc, processor;

-- 16. What appeared last week?
-- The last week is the seven days before the last observation.
select account, observed_at_utc, image_id, image_name, region_id, image_size_gib
from image_changes
where
    change = 'appeared'
    and observed_at_utc > (select max(observed_at_utc) from accounts) - interval '7' day;

-- 17. What went last week?
select account, observed_at_utc, image_id, image_name, region_id, image_size_gib
from image_changes
where
    change = 'gone'
    and observed_at_utc > (select max(observed_at_utc) from accounts) - interval '7' day;

-- 18. What would the rule "older than 180 days, not the newest of its name" free?
-- An image that an instance uses is left out; question 27 has those that are proven to be unused.
select account, image_id, image_name, newest_image_id, freed_gib, why
from cleanup_candidates(older_than_days := 180);

-- 19. Which images count nowhere, for their size is not known?
select account, image_id, image_name, status, region_id, created_at_utc
from image_capacity
where
    ownership = 'owned'
    and image_size_gib is null
order by created_at_utc nulls last, account, image_id;

-- 20. How far can each account be trusted?
select
    account,
    observed_at_utc,
    certificate,
    image_count,
    instances_certificate,
    instance_count,
    reject_count,
    unknown_field_count,
    is_stale,
    last_error
from accounts;

-- 21. How much is in use, how much is not?
-- Not known means: the account has no verified listing of instances, or the image is newer than it.
select use_status, count(*) as image_count, cast(sum(image_size_gib) as bigint) as image_size_gib
from image_use
where ownership = 'owned'
group by use_status
order by use_status;

-- 22. Which images has no instance used for 90 days?
-- The days count from the first listing of instances that proves it.
select account, image_id, image_name, image_size_gib, unused_since_utc, unused_days
from image_use
where
    ownership = 'owned'
    and unused_days >= 90
order by image_size_gib desc nulls last, account, image_id;

-- 23. Which image do most instances run from?
select
    image_id,
    count(*) as instance_count,
    count(case when lower(status) = 'running' then 1 end) as running_instance_count,
    count(distinct account) as account_count
from instances_latest
group by image_id
order by instance_count desc, image_id
limit 10;

-- 24. Which instances run from an image that is over a year old?
select account, instance_id, instance_name, status, image_id, image_name, image_age_days
from instance_images
where image_age_days >= 365
order by image_age_days desc, account, instance_id;

-- 25. Which instances run from an image of which a newer version is there?
select account, instance_id, instance_name, status, image_id, image_name, newest_image_id
from instance_images
where newest_image_id is not null
order by account, image_name, instance_id;

-- 26. Which instances run from an image that is gone?
select account, instance_id, instance_name, status, image_id, image_name, image_state, image_gone_at_utc
from instances_without_image
where image_state <> 'never listed';

-- 27. What would deleting the candidates free that are proven to be unused?
select account, count(*) as image_count, cast(sum(freed_gib) as bigint) as freed_gib
from cleanup_candidates(only_unused := true)
group by account
order by account;

-- 28. Which images are shared with us, and unused here?
select account, image_id, image_name, image_size_gib, unused_days
from image_use
where
    ownership = 'shared'
    and use_status = 'unused'
order by image_size_gib desc nulls last, account, image_id;
