-- Use of each image over time: one row per owned or shared image and UTC day on which its account was observed, oldest
-- day first. The day's use is that of the last published listing of instances of the day; a day without one is `not known`.
-- `unused` needs a verified listing that is not empty and names an image for each instance. Between two listings nothing is
-- proven: an image is unused since the first listing that proves it after the last use, and no listing since names it.
-- Every listing of a day counts as a use, also where the last one of the day names the image no more.
-- Instances of every account of the lake count; of an account with several names, those under the name listed last.
-- Reads: image_versions, instance_versions, observations.
-- Example: select day_utc, use_status, count(*) as image_count from image_use_by_day group by day_utc, use_status order by day_utc

with published as (
    select
        coalesce(listing.same_account_as, listing.account) as account,
        listing.account as listed_as,
        listing.resource,
        listing.observed_at_utc,
        cast(listing.observed_at_utc as date) as day_utc,
        listing.certificate,
        listing.item_count,
        listing.run_id,
        row_number() over (
            partition by listing.account, listing.resource, cast(listing.observed_at_utc as date)
            order by listing.observed_at_utc desc, listing.run_id desc
        ) as place_from_last
    from observations as listing
    where listing.is_published
),

image_days as (
    select
        account,
        day_utc,
        observed_at_utc,
        case when lead(day_utc) over (partition by account order by day_utc) is null then true else false end as is_last_day
    from published
    where
        resource = 'images'
        and account = listed_as
        and place_from_last = 1
),

-- As in image_use: of several names of an account, one whose listing is not empty counts first.
places as (
    select
        *,
        row_number() over (
            partition by account, day_utc
            order by
                case when item_count > 0 then 0 else 1 end,
                observed_at_utc desc,
                run_id desc
        ) as place_of_name
    from published
    where
        resource = 'instances'
        and place_from_last = 1
),

-- What each listing of a day names.
named as (
    select
        published.listed_as,
        published.day_utc,
        published.observed_at_utc,
        coalesce(version.image_id, '') as image_id,
        count(*) as instance_count
    from published
    inner join instance_versions as version
        on published.listed_as = version.account
        and published.observed_at_utc >= version.first_seen_utc
        and published.observed_at_utc <= version.last_seen_utc
    where published.resource = 'instances'
    group by
        published.listed_as,
        published.day_utc,
        published.observed_at_utc,
        coalesce(version.image_id, '')
),

instance_days as (
    select
        places.account,
        places.listed_as,
        places.day_utc,
        places.observed_at_utc,
        coalesce(places.certificate = 'verified' and places.item_count > 0, false) and imageless.listed_as is null as is_proof
    from places
    left join named as imageless
        on places.listed_as = imageless.listed_as
        and places.observed_at_utc = imageless.observed_at_utc
        and imageless.image_id = ''
    where places.place_of_name = 1
),

images_of_day as (
    select
        image_days.account,
        image_days.day_utc,
        image_days.observed_at_utc,
        image_days.is_last_day,
        version.image_id,
        version.image_name,
        version.image_size_gib,
        version.created_at_utc,
        case lower(version.image_owner) when 'self' then 'owned' else 'shared' end as ownership
    from image_days
    inner join image_versions as version
        on image_days.account = version.account
        and image_days.observed_at_utc >= version.first_seen_utc
        and image_days.observed_at_utc <= version.last_seen_utc
    where lower(version.image_owner) in ('self', 'others')
),

-- Every account counts: an image is shared with others, which may run from it.
uses_of_day as (
    select
        named.day_utc,
        named.image_id,
        sum(case when instance_days.listed_as is null then 0 else named.instance_count end) as instance_count,
        max(named.observed_at_utc) as last_use_utc
    from named
    left join instance_days
        on named.listed_as = instance_days.listed_as
        and named.observed_at_utc = instance_days.observed_at_utc
    where named.image_id <> ''
    group by
        named.day_utc,
        named.image_id
),

statuses as (
    select
        image.account,
        image.day_utc,
        image.observed_at_utc,
        image.is_last_day,
        image.image_id,
        image.image_name,
        image.ownership,
        image.image_size_gib,
        instance_days.observed_at_utc as instances_observed_at_utc,
        cast(coalesce(uses_of_day.instance_count, 0) as bigint) as instance_count,
        uses_of_day.last_use_utc is not null as is_day_of_use,
        case
            when uses_of_day.instance_count > 0 then 'in use'
            when
                coalesce(instance_days.is_proof, false)
                and coalesce(image.created_at_utc, image.observed_at_utc) <= instance_days.observed_at_utc
                and (uses_of_day.last_use_utc is null or uses_of_day.last_use_utc < instance_days.observed_at_utc)
                then 'unused'
            else 'not known'
        end as use_status
    from images_of_day as image
    left join instance_days
        on image.account = instance_days.account
        and image.day_utc = instance_days.day_utc
    left join uses_of_day
        on image.day_utc = uses_of_day.day_utc
        and image.image_id = uses_of_day.image_id
),

-- Each use begins a period; within it, the first proof of disuse counts.
periods as (
    select
        *,
        sum(case when is_day_of_use then 1 else 0 end) over (
            partition by account, image_id
            order by day_utc
        ) as use_number
    from statuses
),

since as (
    select
        *,
        min(case when use_status = 'unused' then instances_observed_at_utc end) over (
            partition by account, image_id, use_number
            order by day_utc
        ) as unused_since_utc,
        max(case when is_day_of_use then day_utc end) over (
            partition by account, image_id
            order by day_utc
        ) as last_use_day_utc
    from periods
)

select
    account,
    day_utc,                    -- The UTC day.
    image_id,
    image_name,
    ownership,                  -- `owned` by the account, or `shared` with it.
    image_size_gib,
    observed_at_utc,
    instances_observed_at_utc,  -- The last published listing of instances of the day; null without one.
    is_last_day,                -- True on the last day on which the account's images were observed.
    instance_count,             -- Instances of any account of the lake that name the image in the last listing of that day.
    use_status,                 -- `in use`, `unused` or `not known`, by the last listings of that day.
    last_use_day_utc,           -- The last day, until then, on which a listing named the image, the last one of its day or not; null without one.
    case
        when use_status <> 'in use' then unused_since_utc
    end as unused_since_utc,    -- The first proof of disuse since then; null while in use, and without a proof.
    case
        when use_status = 'unused'
            then cast(extract(day from (instances_observed_at_utc - unused_since_utc)) as bigint)
    end as unused_days          -- Whole days from that proof to that of the day; null unless it is unused on the day.
from since
order by
    day_utc,
    account,
    image_id
