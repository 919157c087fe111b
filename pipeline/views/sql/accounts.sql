-- Freshness and certificate of each account: one row per account that a run ever tried, with its last published
-- observation, whose columns are null if the account was never published.
-- Reads: observations.
-- Example: select account, observed_at_utc, last_error from accounts where is_stale or observed_at_utc is null

with published as (
    select
        account,
        observed_at_utc,
        run_id,
        certificate,
        item_count as image_count,
        child_item_count as disk_count,
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
        row_number() over (partition by account order by observed_at_utc desc, run_id desc) as place_from_last
    from observations
    where
        is_published
        and resource = 'images'
),

latest as (
    select
        account,
        observed_at_utc,
        run_id,
        certificate,
        image_count,
        disk_count,
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
        tried.error,
        row_number() over (partition by tried.account order by tried.run_id desc) as place_from_last,
        count(*) over (partition by tried.account) as failed_try_count
    from observations as tried
    left join latest
        on tried.account = latest.account
    where
        not tried.is_published
        and tried.resource = 'images'
        and tried.error not like 'Withdrawn: %'    -- on purpose, by a person
        and (latest.run_id is null or tried.run_id > latest.run_id)
),

-- Every row of an account has the same value.
tried_accounts as (
    select distinct
        account,
        same_account_as
    from observations
    where resource = 'images'
)

select
    tried_accounts.account,
    latest.observed_at_utc,
    latest.run_id,
    latest.certificate,
    latest.proof,                                                      -- How it is proven: `one page`, `quiet`, `instant`; null where it is not, or an older version wrote it.
    latest.watch_note,                                                 -- What the listing showed that a proof assumes not to happen; null if nothing.
    latest.image_count,                                                -- Images in the last pass of the listing, each counted once.
    latest.disk_count,                                                 -- Disks of those images.
    latest.reject_count,
    latest.unknown_field_count,
    coalesce(failed_since.failed_try_count, 0) as failed_try_count,    -- Runs after that observation that did not publish the account.
    failed_since.error as last_error,                                  -- Error of the last of these runs; null if there is none.
    failed_since.account is not null as is_stale,                      -- True if a later run tried the account and did not publish it.
    tried_accounts.same_account_as                                     -- The account that this one is another name of: views count its images there; null where the account is counted.
from tried_accounts
left join latest
    on tried_accounts.account = latest.account
left join failed_since
    on tried_accounts.account = failed_since.account
    and failed_since.place_from_last = 1
order by tried_accounts.account
