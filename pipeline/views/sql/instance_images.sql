-- The image of each instance: one row per instance whose image an account of the lake lists, oldest image first.
-- An image of the instance's own account counts before the same image in another account. A newer image is one of the
-- same account, name and architecture that is Available and was created later: the instance could be moved to it.
-- Of an account with several names it shows those of `instances_latest`, under the name that they were listed under.
-- Reads: instances_latest, image_age.
-- Example: select region_id, count(*) as instance_count from instance_images where image_age_days >= 365 group by region_id

with versions as (
    select
        account,
        image_id,
        image_name,
        ownership,
        image_size_gib,
        created_at_utc,
        age_days,
        case
            when image_name <> '' and architecture <> ''
                then first_value(image_id) over (
                    partition by account, ownership, image_name, lower(architecture)
                    order by
                        case when lower(status) = 'available' then 1 else 0 end desc,
                        created_at_utc desc nulls last,
                        image_id
                )
        end as newest_image_id
    from image_age
),

paired as (
    select
        instance.account,
        instance.observed_at_utc,
        instance.instance_id,
        instance.instance_name,
        instance.status,
        instance.region_id,
        instance.created_at_utc,
        version.image_id,
        version.image_name,
        version.ownership,
        version.age_days as image_age_days,
        version.image_size_gib,
        case
            when newest.created_at_utc > version.created_at_utc and lower(newest.status) = 'available'
                then newest.image_id
        end as newest_image_id,
        row_number() over (
            partition by instance.account, instance.instance_id
            order by
                case when version.account = instance.account then 0 else 1 end,
                version.account
        ) as place
    from instances_latest as instance
    inner join versions as version
        on instance.image_id = version.image_id
    left join image_age as newest
        on version.account = newest.account
        and version.newest_image_id = newest.image_id
)

select
    account,
    observed_at_utc,
    instance_id,
    instance_name,
    status,
    region_id,
    created_at_utc,
    image_id,
    image_name,
    ownership,
    image_age_days,   -- Whole days from the creation of the image to its observation; null where the age of the image is.
    image_size_gib,
    newest_image_id   -- The newest Available image of the same name and architecture, if that is newer; else null.
from paired
where place = 1
order by
    image_age_days desc nulls last,
    account,
    instance_id
