-- Freshness and certificate of each account: one row per account that a run ever tried, with its last published
-- observation of images, whose columns are null if there is none, and the last one of instances.
-- Reads: observations.
-- Example: select account, observed_at_utc, last_error from accounts where is_stale or observed_at_utc is null

with published as (
    select
        account,
        observed_at_utc,
        run_id,
        certificate,
        resource,
        item_count,
        child_item_count,
        reject_count,
        unknown_field_count,
        proof,
        nullif(
            concat_ws(
                ', ',
                case when returned_count > 0 then concat(returned_count, ' that were gone are back') end,
                case when is_quiet_only then 'answers went back in time lately, so that two quiet passes must prove it' end,
                case when server_clock_back_count > 0 then 'the clock of the service went back' end,
                case
                    when abs(server_clock_offset_seconds) > 60
                        then concat('the clock of the service differs by ', server_clock_offset_seconds, ' s')
                end,
                case when beyond_total_count > 0 then concat(beyond_total_count, ' rows beyond TotalCount') end,
                case when is_total_constant then 'TotalCount stayed while images came or went' end,
                case when is_round_total then concat('TotalCount is the round number ', total_count) end
            ),
            ''
        ) as watch_note,
        row_number() over (partition by account, resource order by observed_at_utc desc, run_id desc) as place_from_last
    from observations
    where is_published
),

latest as (
    select
        account,
        resource,
        observed_at_utc,
        run_id,
        certificate,
        item_count,
        child_item_count,
        reject_count,
        unknown_field_count,
        proof,
        watch_note
    from published
    where place_from_last = 1
),

-- A run id starts with the start time of the run, so a later run has a greater id.
failed_since as (
    select
        tried.account,
        tried.resource,
        tried.error,
        row_number() over (partition by tried.account, tried.resource order by tried.run_id desc) as place_from_last,
        count(*) over (partition by tried.account, tried.resource) as failed_try_count
    from observations as tried
    left join latest
        on tried.account = latest.account
        and tried.resource = latest.resource
    where
        not tried.is_published
        and tried.error not like 'Withdrawn: %'    -- on purpose, by a person
        and (latest.run_id is null or tried.run_id > latest.run_id)
),

-- Every row of an account has the same name.
tried_accounts as (
    select
        account,
        max(same_account_as) as same_account_as,
        case when count(case when resource = 'images' then 1 end) > 0 then 'images' else 'instances' end as resource
    from observations
    group by account
)

select
    tried_accounts.account,
    images.observed_at_utc,
    images.run_id,
    images.certificate,
    images.proof,                                                      -- How it is proven: `one page`, `quiet`, `instant`; null where it is not, or an older version wrote it.
    images.watch_note,                                                 -- What the listing showed that a proof assumes not to happen; null if nothing.
    images.item_count as image_count,                                  -- Images in the last pass of the listing, each counted once.
    images.child_item_count as disk_count,                             -- Disks of those images.
    images.reject_count,
    images.unknown_field_count,
    coalesce(failed_since.failed_try_count, 0) as failed_try_count,    -- Runs after that observation that did not publish the account's images; its instances where no run ever tried its images.
    failed_since.error as last_error,                                  -- Error of the last of these runs; null if there is none.
    failed_since.account is not null as is_stale,                      -- True if there is such a run.
    instances.observed_at_utc as instances_observed_at_utc,            -- Instant of the last published listing of instances; null if there is none.
    instances.certificate as instances_certificate,                    -- What that listing proves.
    instances.item_count as instance_count,                            -- Instances in it.
    instances_failed.error as instances_last_error,                    -- Error of the last run after it that did not publish the account's instances; null if there is none.
    tried_accounts.same_account_as                                     -- The account that this one is another name of: views count its images there; null where the account is counted.
from tried_accounts
left join latest as images
    on tried_accounts.account = images.account
    and images.resource = 'images'
left join latest as instances
    on tried_accounts.account = instances.account
    and instances.resource = 'instances'
left join failed_since
    on tried_accounts.account = failed_since.account
    and tried_accounts.resource = failed_since.resource
    and failed_since.place_from_last = 1
left join failed_since as instances_failed
    on tried_accounts.account = instances_failed.account
    and instances_failed.resource = 'instances'
    and instances_failed.place_from_last = 1
order by tried_accounts.account
