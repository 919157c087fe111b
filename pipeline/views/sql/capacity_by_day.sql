-- Capacity per day: one row per UTC day, from the first day with data to the last, summed over all accounts.
-- An account's value for a day is its last published observation of that UTC day. Without one, its previous value is
-- carried forward and the account is counted in carried_account_count. An account counts from its first observation.
-- The image columns count owned images. Shared images, and images of another or an unknown owner, are counted separately.
-- Reads: image_versions, observations.
-- Example: select day_utc, image_count, image_size_gib from capacity_by_day order by day_utc desc limit 7

with published as (
    select
        account,
        observed_at_utc,
        cast(observed_at_utc as date) as day_utc,
        cast(lead(observed_at_utc) over account_observations as date) as next_day_utc,
        row_number() over account_observations as place
    from observations
    where
        is_published
        and resource = 'images'
        and same_account_as is null
    window account_observations as (partition by account order by observed_at_utc)
),

began as (
    select
        cast(first_seen_utc as date) as day_utc,
        image_owner,
        count(*) as image_count,
        sum(image_size_gib) as image_size_gib,
        count(*) - count(image_size_gib) as unsized_image_count,
        sum(disk_count) as disk_count,
        sum(disk_size_gib) as disk_size_gib
    from image_versions
    where same_account_as is null
    group by
        cast(first_seen_utc as date),
        image_owner
),

ended as (
    select
        account,
        last_seen_utc,
        image_owner,
        count(*) as image_count,
        sum(image_size_gib) as image_size_gib,
        count(*) - count(image_size_gib) as unsized_image_count,
        sum(disk_count) as disk_count,
        sum(disk_size_gib) as disk_size_gib
    from image_versions
    where same_account_as is null
    group by
        account,
        last_seen_utc,
        image_owner
),

-- A version adds its values on the day of its first observation, and subtracts them on the day of the account's first
-- observation after its last. The running total over the days therefore carries values forward without a further step.
steps as (
    select * from began
    union all
    select
        published.next_day_utc as day_utc,
        ended.image_owner,
        -ended.image_count as image_count,
        -ended.image_size_gib as image_size_gib,
        -ended.unsized_image_count as unsized_image_count,
        -ended.disk_count as disk_count,
        -ended.disk_size_gib as disk_size_gib
    from ended
    inner join published
        on ended.account = published.account
        and ended.last_seen_utc = published.observed_at_utc
    where published.next_day_utc is not null
),

day_steps as (
    select
        day_utc,
        sum(case when lower(image_owner) = 'self' then image_count end) as image_count,
        sum(case when lower(image_owner) = 'self' then image_size_gib end) as image_size_gib,
        sum(case when lower(image_owner) = 'self' then unsized_image_count end) as unsized_image_count,
        sum(case when lower(image_owner) = 'self' then disk_count end) as disk_count,
        sum(case when lower(image_owner) = 'self' then disk_size_gib end) as disk_size_gib,
        sum(case when lower(image_owner) = 'others' then image_count end) as shared_image_count,
        sum(case when lower(image_owner) = 'others' then image_size_gib end) as shared_image_size_gib,
        sum(case when coalesce(lower(image_owner), '') not in ('self', 'others') then image_count end) as other_image_count
    from steps
    group by day_utc
),

seen as (
    select
        day_utc,
        count(distinct account) as account_count,
        count(case when place = 1 then 1 end) as new_account_count
    from published
    group by day_utc
),

span as (
    select
        min(day_utc) as first_day_utc,
        max(day_utc) as last_day_utc
    from seen
),

days as (
    select cast(unnest(generate_series(first_day_utc, last_day_utc, interval 1 day)) as date) as day_utc
    from span
)

select
    days.day_utc,                                                                            -- The UTC day.
    cast(sum(seen.new_account_count) over so_far as bigint) as account_count,                -- Accounts observed on that day or before.
    cast(
        sum(seen.new_account_count) over so_far - coalesce(seen.account_count, 0) as bigint
    ) as carried_account_count,                                                              -- Accounts not observed on that day: their previous value is carried forward.
    cast(coalesce(sum(day_steps.image_count) over so_far, 0) as bigint) as image_count,      -- Images that the account owned.
    cast(coalesce(sum(day_steps.image_size_gib) over so_far, 0) as bigint) as image_size_gib,  -- Total size of the owned images; an image without a size adds 0.
    cast(coalesce(sum(day_steps.unsized_image_count) over so_far, 0) as bigint) as unsized_image_count,  -- Owned images without a size.
    cast(coalesce(sum(day_steps.disk_count) over so_far, 0) as bigint) as disk_count,        -- Disks of the owned images.
    cast(coalesce(sum(day_steps.disk_size_gib) over so_far, 0) as bigint) as disk_size_gib,  -- Total size of the disks of owned images; a disk without a size adds 0.
    cast(coalesce(sum(day_steps.shared_image_count) over so_far, 0) as bigint) as shared_image_count,  -- Images shared with the account.
    cast(coalesce(sum(day_steps.shared_image_size_gib) over so_far, 0) as bigint) as shared_image_size_gib,  -- Total size of the shared images; an image without a size adds 0.
    cast(coalesce(sum(day_steps.other_image_count) over so_far, 0) as bigint) as other_image_count  -- Images of another or an unknown owner.
from days
left join seen
    on days.day_utc = seen.day_utc
left join day_steps
    on days.day_utc = day_steps.day_utc
window so_far as (order by days.day_utc)
order by days.day_utc
