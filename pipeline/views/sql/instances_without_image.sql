-- Instances whose image is in no listing: one row per instance whose image no account of the lake has now, oldest first.
-- The image is deleted, or it was never listed: a public image, or one of an account that is not in the lake. An instance
-- whose image is deleted runs on, but its system disk cannot be initialised again, nor a second instance be created.
-- Of an account with several names it shows those of `instances_latest`, under the name that they were listed under.
-- Reads: instances_latest, images_latest, image_versions.
-- Example: select image_id, count(*) as instance_count from instances_without_image where image_state = 'deleted' group by image_id

-- The life of an image that was seen last, in any account.
with known as (
    select
        image_id,
        image_name,
        last_seen_utc,
        gone_at_utc,
        row_number() over (partition by image_id order by last_seen_utc desc, account) as place_from_last
    from image_versions
    where next_seen_utc is null
),

listed as (
    select distinct image_id
    from images_latest
)

select
    instance.account,
    instance.observed_at_utc,
    instance.instance_id,
    instance.instance_name,
    instance.status,
    instance.region_id,
    instance.created_at_utc,
    instance.image_id,
    known.image_name,                              -- Name of the image when it was last seen; null if it never was.
    known.last_seen_utc as image_last_seen_utc,    -- The last observation of the image in any account; null if it never was.
    known.gone_at_utc as image_gone_at_utc,        -- The first verified observation without the image; null if its deletion is not proven.
    case
        when known.gone_at_utc is not null then 'deleted'
        when known.image_id is not null then 'unseen'
        else 'never listed'
    end as image_state                             -- `deleted`: proven; `unseen`: listed once, its deletion is not proven; `never listed`: public, of an account that is not in the lake, or deleted before the first observation.
from instances_latest as instance
left join listed
    on instance.image_id = listed.image_id
left join known
    on instance.image_id = known.image_id
    and known.place_from_last = 1
where
    listed.image_id is null
    and instance.image_id is not null
order by
    instance.created_at_utc nulls last,
    instance.account,
    instance.instance_id
