-- What the accounts held, day by day: one row per UTC day, from the first day with data to the last, all accounts together.
-- A day's figure is the account's last published observation of that UTC day; an account without one carries its last
-- value, and the row says how many were carried. An account counts from its first observation on.
-- Images that the account owned; those shared with it, and those of another owner or none told, stand apart.
-- Reads: image_versions, observations.
-- Example: select day_utc, image_count, image_size_gib from capacity_by_day order by day_utc desc limit 7

with published as (
    select
        account,
        observed_at_utc,
        cast(observed_at_utc as date) as day_utc,
        row_number() over (
            partition by account, cast(observed_at_utc as date)
            order by observed_at_utc desc
        ) as place_from_last
    from observations
    where is_published
),

sized as (
    select
        account,
        first_seen_utc,
        last_seen_utc,
        case
            when lower(image_owner) = 'self' then 'owned'
            when lower(image_owner) = 'others' then 'shared'
            else 'other'
        end as ownership,
        image_size_gib,
        disk_count,
        disk_size_gib
    from image_versions
),

began as (
    select
        account,
        first_seen_utc as seen_utc,
        count(case when ownership = 'owned' then 1 end) as image_count,
        coalesce(sum(case when ownership = 'owned' then image_size_gib end), 0) as image_size_gib,
        count(case when ownership = 'owned' and image_size_gib is null then 1 end) as unsized_image_count,
        coalesce(sum(case when ownership = 'owned' then disk_count end), 0) as disk_count,
        coalesce(sum(case when ownership = 'owned' then disk_size_gib end), 0) as disk_size_gib,
        count(case when ownership = 'shared' then 1 end) as shared_image_count,
        coalesce(sum(case when ownership = 'shared' then image_size_gib end), 0) as shared_image_size_gib,
        count(case when ownership = 'other' then 1 end) as other_image_count
    from sized
    group by
        account,
        first_seen_utc
),

ended as (
    select
        account,
        last_seen_utc as seen_utc,
        count(case when ownership = 'owned' then 1 end) as image_count,
        coalesce(sum(case when ownership = 'owned' then image_size_gib end), 0) as image_size_gib,
        count(case when ownership = 'owned' and image_size_gib is null then 1 end) as unsized_image_count,
        coalesce(sum(case when ownership = 'owned' then disk_count end), 0) as disk_count,
        coalesce(sum(case when ownership = 'owned' then disk_size_gib end), 0) as disk_size_gib,
        count(case when ownership = 'shared' then 1 end) as shared_image_count,
        coalesce(sum(case when ownership = 'shared' then image_size_gib end), 0) as shared_image_size_gib,
        count(case when ownership = 'other' then 1 end) as other_image_count
    from sized
    group by
        account,
        last_seen_utc
),

-- A stretch adds what it holds from its first observation on, and takes it away with the one after its last.
held as (
    select
        published.account,
        published.day_utc,
        published.place_from_last,
        coalesce(sum(began.image_count) over until_then, 0) - coalesce(sum(ended.image_count) over before_then, 0) as image_count,
        coalesce(sum(began.image_size_gib) over until_then, 0) - coalesce(sum(ended.image_size_gib) over before_then, 0) as image_size_gib,
        coalesce(sum(began.unsized_image_count) over until_then, 0) - coalesce(sum(ended.unsized_image_count) over before_then, 0) as unsized_image_count,
        coalesce(sum(began.disk_count) over until_then, 0) - coalesce(sum(ended.disk_count) over before_then, 0) as disk_count,
        coalesce(sum(began.disk_size_gib) over until_then, 0) - coalesce(sum(ended.disk_size_gib) over before_then, 0) as disk_size_gib,
        coalesce(sum(began.shared_image_count) over until_then, 0) - coalesce(sum(ended.shared_image_count) over before_then, 0) as shared_image_count,
        coalesce(sum(began.shared_image_size_gib) over until_then, 0) - coalesce(sum(ended.shared_image_size_gib) over before_then, 0) as shared_image_size_gib,
        coalesce(sum(began.other_image_count) over until_then, 0) - coalesce(sum(ended.other_image_count) over before_then, 0) as other_image_count
    from published
    left join began
        on published.account = began.account
        and published.observed_at_utc = began.seen_utc
    left join ended
        on published.account = ended.account
        and published.observed_at_utc = ended.seen_utc
    window
        until_then as (partition by published.account order by published.observed_at_utc),
        before_then as (
            partition by published.account
            order by published.observed_at_utc
            rows between unbounded preceding and 1 preceding
        )
),

figures as (
    select
        account,
        day_utc,
        image_count,
        image_size_gib,
        unsized_image_count,
        disk_count,
        disk_size_gib,
        shared_image_count,
        shared_image_size_gib,
        other_image_count
    from held
    where place_from_last = 1
),

-- What each account's day adds to its day before: added up over days and accounts, the carried values come of themselves.
steps as (
    select
        day_utc,
        case when lag(day_utc) over account_days is null then 1 else 0 end as account_count,
        image_count - coalesce(lag(image_count) over account_days, 0) as image_count,
        image_size_gib - coalesce(lag(image_size_gib) over account_days, 0) as image_size_gib,
        unsized_image_count - coalesce(lag(unsized_image_count) over account_days, 0) as unsized_image_count,
        disk_count - coalesce(lag(disk_count) over account_days, 0) as disk_count,
        disk_size_gib - coalesce(lag(disk_size_gib) over account_days, 0) as disk_size_gib,
        shared_image_count - coalesce(lag(shared_image_count) over account_days, 0) as shared_image_count,
        shared_image_size_gib - coalesce(lag(shared_image_size_gib) over account_days, 0) as shared_image_size_gib,
        other_image_count - coalesce(lag(other_image_count) over account_days, 0) as other_image_count
    from figures
    window account_days as (partition by account order by day_utc)
),

day_steps as (
    select
        day_utc,
        count(*) as seen_account_count,
        sum(account_count) as account_count,
        sum(image_count) as image_count,
        sum(image_size_gib) as image_size_gib,
        sum(unsized_image_count) as unsized_image_count,
        sum(disk_count) as disk_count,
        sum(disk_size_gib) as disk_size_gib,
        sum(shared_image_count) as shared_image_count,
        sum(shared_image_size_gib) as shared_image_size_gib,
        sum(other_image_count) as other_image_count
    from steps
    group by day_utc
),

span as (
    select
        min(day_utc) as first_day_utc,
        max(day_utc) as last_day_utc
    from figures
),

days as (
    select cast(unnest(generate_series(first_day_utc, last_day_utc, interval 1 day)) as date) as day_utc
    from span
)

select
    days.day_utc,                                                                            -- The UTC day.
    cast(sum(day_steps.account_count) over so_far as bigint) as account_count,               -- Accounts observed on that day or before.
    cast(
        sum(day_steps.account_count) over so_far - coalesce(day_steps.seen_account_count, 0) as bigint
    ) as carried_account_count,                                                              -- Accounts not observed on that day: they carry their last value.
    cast(sum(day_steps.image_count) over so_far as bigint) as image_count,                   -- Images that the account owned.
    cast(sum(day_steps.image_size_gib) over so_far as bigint) as image_size_gib,             -- Sizes of the owned images, added up; those without a size add nothing.
    cast(sum(day_steps.unsized_image_count) over so_far as bigint) as unsized_image_count,   -- Owned images whose size was not known.
    cast(sum(day_steps.disk_count) over so_far as bigint) as disk_count,                     -- Disks of the owned images.
    cast(sum(day_steps.disk_size_gib) over so_far as bigint) as disk_size_gib,               -- Sizes of the owned images' disks, added up; those without a size add nothing.
    cast(sum(day_steps.shared_image_count) over so_far as bigint) as shared_image_count,     -- Images that others shared with the account.
    cast(sum(day_steps.shared_image_size_gib) over so_far as bigint) as shared_image_size_gib,  -- Sizes of the shared images, added up.
    cast(sum(day_steps.other_image_count) over so_far as bigint) as other_image_count        -- Images of another owner, or none told.
from days
left join day_steps
    on days.day_utc = day_steps.day_utc
window so_far as (order by days.day_utc)
order by days.day_utc
