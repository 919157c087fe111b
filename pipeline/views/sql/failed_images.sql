-- Images that cannot be used and will not recover by themselves: one row per image, oldest first.
-- Failed, unavailable, or still being created more than two hours after creation: the API documentation gives two hours as
-- the maximum.
-- Reads: images_latest.
-- Example: select image_id, status, created_at_utc from failed_images where reason = 'hanging'

with judged as (
    select
        account,
        observed_at_utc,
        image_id,
        image_name,
        image_owner,
        status,
        region_id,
        image_size_gib,
        created_at_utc,
        case
            when lower(status) like '%!_failed' escape '!' then 'failed'
            when lower(status) = 'unavailable' then 'unavailable'
            when
                lower(status) in ('creating', 'packing', 'uploading')
                and created_at_utc < observed_at_utc - interval '2' hour
                then 'hanging'
        end as reason
    from images_latest
)

select
    account,
    observed_at_utc,
    image_id,
    image_name,
    image_owner,
    status,
    reason,          -- `failed`: the status ends in _failed; `unavailable`: the status is Unavailable; `hanging`: Creating, Packing or Uploading for more than two hours at the observation.
    region_id,
    image_size_gib,
    created_at_utc
from judged
where reason is not null
order by
    created_at_utc nulls last,
    account,
    image_id
