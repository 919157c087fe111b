-- What the rule "old, and not the newest of its name" would free: one row per image that could go, the largest first.
-- Listed only on proof: the account owns it, its creation is known, and newer ones of its name, which are Available
-- and of the same architecture, stay. Where the name or the architecture is not told, nothing shows that there are any.
-- No listing tells whether an instance still runs from an image, or is to be made from it: look before deleting.
-- Reads: image_age.
-- Example: select count(*) as image_count, sum(freed_gib) as freed_gib from cleanup_candidates(older_than_days := 90)

with settings as (
    select
        180 as older_than_days,  -- Created at least so many days before the observation.
        1 as keep_newest,        -- So many newer ones of its name stay; 0 lists it without any.
        '' as ignored_in_name    -- A regular expression: the first part of a name that it fits does not tell names apart; '-[0-9]{8}$' passes over a date at the end.
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
        and image.created_at_utc is not null
),

-- Newer is strictly newer: what was created at the same instant is no proof for either.
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
    cast(compared.newer_image_count as bigint) as newer_image_count,  -- Newer ones of its name and architecture that are Available.
    case
        when compared.newer_image_count > 0 then compared.newest_image_id
    end as newest_image_id,                                           -- The newest of them; null where there is none.
    compared.image_size_gib as freed_gib,                             -- What deleting it would free: its size; null where the size is not known.
    concat(
        compared.age_days,
        ' days old; ',
        cast(compared.newer_image_count as bigint),
        ' newer of its name'
    ) as why                                                          -- Why it is listed, in words.
from compared
cross join settings
where
    compared.age_days >= settings.older_than_days
    and compared.newer_image_count >= settings.keep_newest
order by
    compared.image_size_gib desc nulls last,
    compared.account,
    compared.image_id
