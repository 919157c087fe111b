-- Use of each image by instances: one row per image that an account owns or that is shared with it, largest first.
-- An image is `in use` if an instance of the lake names it: of its account, or of another account. A stopped or an
-- expired instance uses its image too: starting or re-initialising it needs the image. An image is `unused` only if the
-- account's last listing of instances is verified, is not empty, is at most a day older than the listing of images, names
-- an image for each instance, and names this one nowhere. It says nothing of accounts that are not in the lake, nor of
-- instances that are created later. Any other image is `not known`. An empty listing proves nothing: a key without the
-- right may get one. Of an account with several names, the last listing under any of them counts.
-- Reads: image_age, image_shares, instance_versions, observations.
-- Example: select use_status, count(*) as image_count, sum(image_size_gib) as image_size_gib from image_use group by use_status

with settings as (
    select
        1 as most_days_before  -- Days of 24 hours that the listing of instances may be older than that of the images; beyond, a missing use is not known.
),

listings as (
    select
        coalesce(listing.same_account_as, listing.account) as account,
        listing.account as listed_as,
        listing.observed_at_utc,
        listing.certificate,
        listing.item_count,
        listing.run_id,
        row_number() over (
            partition by listing.account
            order by listing.observed_at_utc desc, listing.run_id desc
        ) as place_from_last
    from observations as listing
    where
        listing.resource = 'instances'
        and listing.is_published
),

-- Of several names of an account, the key of one may lack the right and get an empty listing: another name's counts first.
places as (
    select
        *,
        row_number() over (
            partition by account
            order by
                case when item_count > 0 then 0 else 1 end,
                observed_at_utc desc,
                run_id desc
        ) as place_of_name
    from listings
    where place_from_last = 1
),

latest as (
    select
        account,
        listed_as,
        observed_at_utc,
        certificate,
        item_count,
        run_id
    from places
    where place_of_name = 1
),

-- An instance whose image could not be read may use any image: its listing proves no disuse.
imageless as (
    select
        listings.listed_as,
        listings.observed_at_utc,
        count(*) as instance_count
    from listings
    inner join instance_versions as version
        on listings.listed_as = version.account
        and listings.observed_at_utc >= version.first_seen_utc
        and listings.observed_at_utc <= version.last_seen_utc
    where coalesce(version.image_id, '') = ''
    group by
        listings.listed_as,
        listings.observed_at_utc
),

instances as (
    select
        latest.account,
        version.instance_id,
        version.image_id,
        version.status,
        version.created_at_utc
    from latest
    inner join instance_versions as version
        on latest.listed_as = version.account
        and latest.observed_at_utc = version.last_seen_utc
    where version.image_id <> ''
),

-- A run id starts with the start time of the run, so a later run has a greater id.
failed_since as (
    select
        coalesce(tried.same_account_as, tried.account) as account,
        tried.error,
        row_number() over (
            partition by coalesce(tried.same_account_as, tried.account)
            order by tried.run_id desc, tried.account
        ) as place_from_last
    from observations as tried
    left join latest
        on coalesce(tried.same_account_as, tried.account) = latest.account
    where
        tried.resource = 'instances'
        and not tried.is_published
        and (latest.run_id is null or tried.run_id > latest.run_id)
),

own_uses as (
    select
        account,
        image_id,
        count(*) as instance_count,
        count(case when lower(status) = 'running' then 1 end) as running_instance_count,
        count(case when lower(status) = 'stopped' then 1 end) as stopped_instance_count,
        count(case when lower(status) = 'expired' then 1 end) as expired_instance_count,
        min(instance_id) as first_instance_id,
        min(created_at_utc) as oldest_use_utc,
        max(created_at_utc) as newest_use_utc
    from instances
    group by
        account,
        image_id
),

all_uses as (
    select
        image_id,
        count(*) as instance_count
    from instances
    group by image_id
),

last_uses as (
    select
        image_id,
        max(last_seen_utc) as last_use_utc
    from instance_versions
    group by image_id
),

compared as (
    select
        image.account,
        image.observed_at_utc,
        image.image_id,
        image.image_name,
        image.ownership,
        image.region_id,
        image.status,
        image.created_at_utc,
        image.age_days,
        image.image_size_gib,
        latest.observed_at_utc as instances_observed_at_utc,
        coalesce(own_uses.instance_count, 0) as instance_count,
        coalesce(own_uses.running_instance_count, 0) as running_instance_count,
        coalesce(own_uses.stopped_instance_count, 0) as stopped_instance_count,
        coalesce(own_uses.expired_instance_count, 0) as expired_instance_count,
        coalesce(all_uses.instance_count, 0) - coalesce(own_uses.instance_count, 0) as other_account_instance_count,
        own_uses.first_instance_id,
        own_uses.oldest_use_utc,
        own_uses.newest_use_utc,
        last_uses.last_use_utc,
        coalesce(image.created_at_utc, image.observed_at_utc) as existed_at_utc,
        case
            when latest.account is null and failed_since.error is not null then concat('instances were never listed: ', failed_since.error)
            when latest.account is null then 'instances were never listed'
            when latest.certificate is null or latest.certificate <> 'verified'
                then concat('the listing of instances is ', coalesce(latest.certificate, 'without a certificate'), ', not verified')
            when latest.item_count is null or latest.item_count = 0
                then 'the listing of instances is empty: the account has none, or the key may not list them'
            when
                image.observed_at_utc > latest.observed_at_utc + interval '1' day * settings.most_days_before
                then concat(
                    'instances were listed ',
                    case
                        when image.observed_at_utc < latest.observed_at_utc + interval '1' day then 'hours'
                        when image.observed_at_utc < latest.observed_at_utc + interval '2' day then 'over 1 day'
                        else concat(cast(extract(day from (image.observed_at_utc - latest.observed_at_utc)) as bigint), ' days')
                    end,
                    ' before the images',
                    case when failed_since.error is null then '' else concat(': ', failed_since.error) end
                )
            when imageless.instance_count = 1 then 'one instance names no image'
            when imageless.instance_count > 1 then concat(imageless.instance_count, ' instances name no image')
        end as unproven_because
    from image_age as image
    cross join settings
    left join latest
        on image.account = latest.account
    left join imageless
        on latest.listed_as = imageless.listed_as
        and latest.observed_at_utc = imageless.observed_at_utc
    left join failed_since
        on image.account = failed_since.account
        and failed_since.place_from_last = 1
    left join own_uses
        on image.account = own_uses.account
        and image.image_id = own_uses.image_id
    left join all_uses
        on image.image_id = all_uses.image_id
    left join last_uses
        on image.image_id = last_uses.image_id
    where image.ownership in ('owned', 'shared')
),

judged as (
    select
        *,
        case
            when instance_count + other_account_instance_count > 0 then 'in use'
            when unproven_because is not null then 'not known'
            when existed_at_utc > instances_observed_at_utc then 'not known'
            when last_use_utc >= instances_observed_at_utc then 'not known'
            else 'unused'
        end as use_status
    from compared
),

-- The first listing that proves the disuse of images without an earlier use, or with their last use before it.
bounds as (
    select distinct
        account,
        existed_at_utc,
        last_use_utc
    from judged
    where use_status = 'unused'
),

proven_since as (
    select
        bounds.account,
        bounds.existed_at_utc,
        bounds.last_use_utc,
        min(listings.observed_at_utc) as unused_since_utc
    from bounds
    inner join listings
        on bounds.account = listings.account
    left join imageless
        on listings.listed_as = imageless.listed_as
        and listings.observed_at_utc = imageless.observed_at_utc
    where
        listings.certificate = 'verified'
        and listings.item_count > 0
        and imageless.listed_as is null
        and listings.observed_at_utc >= bounds.existed_at_utc
        and (bounds.last_use_utc is null or listings.observed_at_utc > bounds.last_use_utc)
    group by
        bounds.account,
        bounds.existed_at_utc,
        bounds.last_use_utc
)

select
    judged.account,
    judged.observed_at_utc,
    judged.instances_observed_at_utc,     -- The instant of the account's last published listing of instances, under any of its names; null if there is none.
    judged.image_id,
    judged.image_name,
    judged.ownership,
    judged.region_id,
    judged.status,
    judged.created_at_utc,
    judged.age_days,
    judged.image_size_gib,
    judged.use_status,                    -- `in use`: an instance names it; `unused`: proven that none of the account did at instances_observed_at_utc; `not known`.
    judged.instance_count,                -- Instances of the account that name the image.
    judged.running_instance_count,        -- Those that are running.
    judged.stopped_instance_count,        -- Those that are stopped.
    judged.expired_instance_count,        -- Those whose term has ended.
    judged.other_account_instance_count,  -- Instances of other accounts of the lake that name the image.
    judged.first_instance_id,             -- One of the account's instances that name it, the first by its id; null without one.
    judged.oldest_use_utc,                -- Creation time of the oldest instance of the account that names the image; null without one.
    judged.newest_use_utc,                -- Creation time of the newest of them.
    judged.last_use_utc,                  -- The last listing of instances, of any account, that named the image; null if none did.
    case
        when judged.use_status = 'unused' then proven_since.unused_since_utc
    end as unused_since_utc,              -- The first listing of instances that proves it unused, with no use seen since; null unless it is unused now.
    case
        when judged.use_status = 'unused'
            then cast(extract(day from (judged.instances_observed_at_utc - proven_since.unused_since_utc)) as bigint)
    end as unused_days,                   -- Whole days from there to instances_observed_at_utc. Between two listings nothing is proven.
    judged.unproven_because is null as is_use_proven,  -- True where the account's listing of instances tells unused images from used ones: it is verified, not empty, not too old, and each of its instances names an image.
    case
        when judged.instance_count > 0
            then concat(
                'in use by ',
                judged.first_instance_id,
                case
                    when judged.instance_count > 1
                        then concat(' and ', judged.instance_count - 1, ' more')
                    else ''
                end,
                ': ',
                judged.running_instance_count,
                ' running, ',
                judged.stopped_instance_count,
                ' stopped, ',
                judged.expired_instance_count,
                ' expired'
            )
        when judged.other_account_instance_count > 0
            then concat(
                'in use by other accounts of the lake: ',
                judged.other_account_instance_count,
                case when judged.other_account_instance_count = 1 then ' instance' else ' instances' end
            )
        when judged.unproven_because is not null then judged.unproven_because
        when judged.existed_at_utc > judged.instances_observed_at_utc then 'newer than the listing of instances'
        when judged.use_status = 'not known' then 'a later listing of instances, of another name or account, named it'
        else 'no instance of the account names it, by a verified listing'
    end as why,                           -- Reason for the status, as text.
    shares.shared_account_count,          -- Accounts that it is shared with; null: not asked for.
    case
        when shares.shared_account_count = 1 then 'shared with 1 account'
        when shares.shared_account_count > 1 then concat('shared with ', shares.shared_account_count, ' accounts')
    end as shared_with                    -- The same as text; null where it is shared with none.
from judged
left join image_shares as shares
    on judged.account = shares.account
    and judged.image_id = shares.image_id
left join proven_since
    on judged.account = proven_since.account
    and judged.existed_at_utc = proven_since.existed_at_utc
    and judged.last_use_utc is not distinct from proven_since.last_use_utc
order by
    judged.image_size_gib desc nulls last,
    judged.account,
    judged.image_id
