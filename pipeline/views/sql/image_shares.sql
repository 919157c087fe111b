-- With how many other accounts an image is shared: one row per image that the last run of its account asked for.
-- A run asks for the images that a clean-up would name, where `share_check` is set: an image that is not here was not
-- asked for, or not answered. The numbers of the accounts are in the raw pages alone.
-- Reads: observations.
-- Example: select account, count(*) as image_count from image_shares where shared_account_count > 0 group by account

with latest as (
    select
        account,
        observed_at_utc,
        image_shares,
        row_number() over (
            partition by account
            order by observed_at_utc desc
        ) as place
    from observations
    where
        resource = 'images'
        and is_published
),

shares as (
    select
        account,
        observed_at_utc,
        unnest(from_json(image_shares, '[{"image_id":"VARCHAR","shared_account_count":"BIGINT"}]')) as share
    from latest
    where place = 1
)

select
    account,
    observed_at_utc,
    share.image_id as image_id,                         -- The image, unique in the account.
    share.shared_account_count as shared_account_count  -- Accounts that the image is shared with; 0: with none.
from shares
order by
    account,
    image_id
