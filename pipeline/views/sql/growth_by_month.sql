-- Growth per month: one row per UTC month, from the first month with data to the last, summed over all accounts.
-- An account's first observation is not growth: its images are added to the start of its first month. The last value of
-- an account that is not observed is carried forward. Appeared and gone are proven; an image that appeared and is gone
-- within a month counts in both. start + appeared - gone differs from the end by images that are only seen or unseen
-- (not proven), were resized, or changed owner. Only owned images.
-- Reads: capacity_by_day, image_versions, observations.
-- Example: select month_utc, grown_image_size_gib from growth_by_month order by month_utc

with published as (
    select
        account,
        observed_at_utc,
        row_number() over (partition by account order by observed_at_utc) as observation_number,
        max(case when certificate = 'verified' then observed_at_utc end) over (
            partition by account
            order by observed_at_utc
            rows between unbounded preceding and 1 preceding
        ) as verified_before_utc
    from observations
    where
        is_published
        and resource = 'images'
        and same_account_as is null
),

came_and_went as (
    select
        version.first_seen_utc as observed_at_utc,
        case when published.observation_number = 1 then 'first' else 'appeared' end as change,
        version.image_size_gib
    from image_versions as version
    inner join published
        on version.account = published.account
        and version.first_seen_utc = published.observed_at_utc
    where
        lower(version.image_owner) = 'self'
        and (
            published.observation_number = 1
            or (version.previous_seen_utc is null and published.verified_before_utc is not null)
        )
    union all
    select
        gone_at_utc as observed_at_utc,
        'gone' as change,
        image_size_gib
    from image_versions
    where
        lower(image_owner) = 'self'
        and gone_at_utc is not null
        and same_account_as is null
),

moves as (
    select
        date_trunc('month', observed_at_utc) as month_utc,
        count(case when change = 'first' then 1 end) as first_image_count,
        sum(case when change = 'first' then image_size_gib end) as first_image_size_gib,
        count(case when change = 'appeared' then 1 end) as appeared_image_count,
        sum(case when change = 'appeared' then image_size_gib end) as appeared_image_size_gib,
        count(case when change = 'gone' then 1 end) as gone_image_count,
        sum(case when change = 'gone' then image_size_gib end) as gone_image_size_gib
    from came_and_went
    group by date_trunc('month', observed_at_utc)
),

new_accounts as (
    select
        date_trunc('month', observed_at_utc) as month_utc,
        count(*) as new_account_count
    from published
    where observation_number = 1
    group by date_trunc('month', observed_at_utc)
),

days as (
    select
        date_trunc('month', day_utc) as month_utc,
        count(*) over (partition by date_trunc('month', day_utc)) as day_count,
        row_number() over (partition by date_trunc('month', day_utc) order by day_utc desc) as place_from_last,
        account_count,
        image_count,
        image_size_gib
    from capacity_by_day
),

months as (
    select
        month_utc,
        day_count,
        account_count,
        coalesce(lag(image_count) over (order by month_utc), 0) as previous_image_count,
        coalesce(lag(image_size_gib) over (order by month_utc), 0) as previous_image_size_gib,
        image_count,
        image_size_gib
    from days
    where place_from_last = 1
),

growth as (
    select
        months.month_utc,
        months.day_count,
        months.account_count,
        coalesce(new_accounts.new_account_count, 0) as new_account_count,
        months.previous_image_count + coalesce(moves.first_image_count, 0) as start_image_count,
        coalesce(moves.appeared_image_count, 0) as appeared_image_count,
        coalesce(moves.gone_image_count, 0) as gone_image_count,
        months.image_count as end_image_count,
        months.previous_image_size_gib + coalesce(moves.first_image_size_gib, 0) as start_image_size_gib,
        coalesce(moves.appeared_image_size_gib, 0) as appeared_image_size_gib,
        coalesce(moves.gone_image_size_gib, 0) as gone_image_size_gib,
        months.image_size_gib as end_image_size_gib
    from months
    left join moves
        on months.month_utc = moves.month_utc
    left join new_accounts
        on months.month_utc = new_accounts.month_utc
)

select
    cast(growth.month_utc as date) as month_utc,                                             -- The first day of the UTC month.
    growth.day_count,                                                                        -- Days of the month covered by the lake: fewer in the first and the last month.
    growth.account_count,                                                                    -- Accounts observed in the month or before.
    growth.new_account_count,                                                                -- Accounts first observed in the month.
    cast(growth.start_image_count as bigint) as start_image_count,                           -- Images at the start of the month; for a new account, those of its first observation.
    growth.appeared_image_count,                                                             -- Images proven to be new: an earlier verified observation does not contain them.
    growth.gone_image_count,                                                                 -- Images proven to be gone: a verified observation of this month does not contain them.
    growth.end_image_count,                                                                  -- Images at the end of the month.
    cast(growth.end_image_count - growth.start_image_count as bigint) as grown_image_count,  -- Images at the end minus images at the start; negative if fewer.
    cast(growth.start_image_size_gib as bigint) as start_image_size_gib,                     -- Total size of the images at the start; an image without a size adds 0, here and below.
    cast(growth.appeared_image_size_gib as bigint) as appeared_image_size_gib,               -- Total size of the appeared images, as first observed.
    cast(growth.gone_image_size_gib as bigint) as gone_image_size_gib,                       -- Total size of the gone images, as last observed.
    growth.end_image_size_gib,                                                               -- Total size of the images at the end.
    cast(
        growth.end_image_size_gib - growth.start_image_size_gib as bigint
    ) as grown_image_size_gib                                                                -- GiB at the end minus GiB at the start; negative if less.
from growth
order by growth.month_utc
