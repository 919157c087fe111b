-- Images that the rule "old, unused, and not the newest of its name" would delete: one row per candidate image, largest first.
-- A candidate is owned by the account, has a creation time, and has newer images of the same name and architecture that
-- are Available and stay. An image without a name or an architecture is not listed: it cannot be compared with others.
-- An image that an instance of the lake names is not listed. One whose use is not known is listed only for an account
-- without a verified listing of instances: check before you delete it.
-- Reads: image_age, image_use.
-- Example: select count(*) as image_count, sum(freed_gib) as freed_gib from cleanup_candidates(older_than_days := 90)

with settings as (
    select
        180 as older_than_days,  -- Minimum age: days from creation to the observation.
        1 as keep_newest,        -- Number of newer images of the same name that must stay; 0 also lists an image without a newer one.
        cast(null as boolean) as only_unused,  -- True: only images that are proven to be unused; false: those whose use is not known too; null: true where the account has a verified listing of instances, else false.
        0 as unused_days,        -- Minimum number of days for which an image is proven to be unused; 1 or more leaves out those whose use is not known.
        false as include_used,   -- True: also images in use, which cannot go before their instances do.
        '' as ignored_in_name    -- Regular expression; its first match is removed from a name before names are compared: '-[0-9]{8}$' ignores a date at the end.
),

kinds as (
    select
        image.account,
        image.observed_at_utc,
        image.image_id,
        image.image_name,
        image.region_id,
        image.status,
        image.created_at_utc,
        image.age_days,
        image.image_size_gib,
        lower(image.architecture) as architecture,
        regexp_replace(image.image_name, settings.ignored_in_name, '') as name_kept,
        case when lower(image.status) = 'available' then 1 else 0 end as available_count
    from image_age as image
    cross join settings
    where
        image.ownership = 'owned'
        and image.age_days is not null
),

-- Newer means strictly newer: of two images created at the same instant, neither is newer.
compared as (
    select
        *,
        sum(available_count) over (
            partition by account, name_kept, architecture
            order by created_at_utc desc
        ) - sum(available_count) over (
            partition by account, name_kept, architecture, created_at_utc
        ) as newer_image_count,
        first_value(image_id) over (
            partition by account, name_kept, architecture
            order by
                available_count desc,
                created_at_utc desc,
                image_id
        ) as newest_image_id
    from kinds
    where
        name_kept <> ''
        and architecture <> ''
)

select
    compared.account,
    compared.observed_at_utc,
    compared.image_id,
    compared.image_name,
    compared.region_id,
    compared.status,
    compared.created_at_utc,
    compared.age_days,
    cast(compared.newer_image_count as bigint) as newer_image_count,  -- Newer Available images of the same name and architecture.
    case
        when compared.newer_image_count > 0 then compared.newest_image_id
    end as newest_image_id,                                           -- The newest of them; null if there is none.
    image_use.use_status,                                             -- `unused`: proven at instances_observed_at_utc; `not known`; `in use` only where it is asked for.
    image_use.instances_observed_at_utc,
    image_use.unused_days,
    image_use.why as use_why,                                       -- Reason for the use status, as text: by which instances, or why it is not known.
    image_use.instance_count,
    compared.image_size_gib as freed_gib,                             -- GiB that deleting the image frees: its size; null if the size is unknown.
    image_use.shared_account_count,                                   -- Accounts that it is shared with; null: not asked for.
    concat_ws(
        '; ',
        concat(compared.age_days, ' days old'),
        concat(cast(compared.newer_image_count as bigint), ' newer of its name'),
        image_use.shared_with
    ) as why                                                          -- Reason for the listing, as text.
from compared
cross join settings
inner join image_use
    on compared.account = image_use.account
    and compared.image_id = image_use.image_id
where
    compared.age_days >= settings.older_than_days
    and compared.newer_image_count >= settings.keep_newest
    and (
        (image_use.use_status = 'unused' and coalesce(image_use.unused_days, 0) >= settings.unused_days)
        or (
            image_use.use_status = 'not known'
            and settings.unused_days = 0
            and not coalesce(settings.only_unused, image_use.is_use_proven)
        )
        or (image_use.use_status = 'in use' and settings.include_used)
    )
order by
    compared.image_size_gib desc nulls last,
    compared.account,
    compared.image_id
