"""The tables of a diff, made on a connection that shows the lake as of TO.

    observations      ──► diff_old_listings            the observations of FROM, by account and resource
                            └──► diff_accounts         those of FROM and TO, by account
    image_versions    ──► diff_versions                the versions since FROM, without those that span both instants
                            └──► diff_changes
                      ──► diff_capacity_by_region
    instance_versions ──► diff_instance_changes        so for any other resource, by its declaration

A version that spans both instants is an image with equal values in both, so
only versions that began or ended in between are compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.lake.scan import instant
from pipeline.reports.standing.changes import CHANGES
from pipeline.resources.images import IMAGES_RESOURCE
from pipeline.resources.tables import RESOURCES
from pipeline.text import sql_literal

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Sequence

    from pipeline.resources.resource import Child, Resource


def tables(since: dt.datetime, accounts: Sequence[str]) -> Iterator[str]:
    """The statements that make the tables, in order; `accounts` empty: of all accounts, each under one name."""
    yield _old_listings(since)
    yield _accounts(since, accounts)
    yield _capacity()
    for resource in RESOURCES:
        if resource is not IMAGES_RESOURCE:
            yield _spans(resource, since)
        yield _versions(resource)
        yield _changes(resource)


def _old_listings(since: dt.datetime) -> str:
    return f"""
        create temp table diff_old_listings as
        select account, resource, observed_at_utc, run_id, certificate, item_count
        from observations
        where is_published and observed_at_utc <= {instant(since)}
        qualify row_number() over (partition by account, resource order by observed_at_utc desc) = 1"""  # noqa: S608


def _accounts(since: dt.datetime, accounts: Sequence[str]) -> str:
    asked = ", ".join(map(sql_literal, accounts))
    of_accounts = (
        f"account in ({asked}) and coalesce(same_account_as not in ({asked}), true)"
        if accounts
        else "same_account_as is null"
    )
    return f"""
        create temp table diff_accounts as
        with published as (
            from observations
            where is_published and resource = 'images' and {of_accounts}
        ),
        old as (
            from diff_old_listings
            where resource = 'images'
        )
        select
            account,
            old.observed_at_utc as old_observed_at_utc,
            old.certificate as old_certificate,
            old.item_count as old_image_count,
            new.observed_at_utc as new_observed_at_utc,
            new.certificate as new_certificate,
            new.image_count as new_image_count,
            (
                select count(*) from published
                where account = new.account and observed_at_utc > {instant(since)}
            ) as observation_count,
            new.failed_try_count,
            new.last_error
        from (from accounts where {of_accounts}) as new
        left join old using (account)
        order by account"""  # noqa: S608  (identifiers of this module and quoted literals, as everywhere here)


def _prefix(resource: Resource) -> str:
    """Images came first: their tables have no prefix."""
    return "diff" if resource is IMAGES_RESOURCE else f"diff_{resource.noun}"


def changes_name(resource: Resource) -> str:
    """Return the name of the table of the changes of a resource."""
    return f"{_prefix(resource)}_changes"


def spans_name(resource: Resource) -> str:
    """Return the name of the table of the observations of a resource, by account."""
    return f"{_prefix(resource)}_accounts"


def _spans(resource: Resource, since: dt.datetime) -> str:
    """The observations of FROM and TO of another resource than images, by account."""
    return f"""
        create temp table {spans_name(resource)} as
        select
            account,
            max(observed_at_utc) filter (observed_at_utc <= {instant(since)}) as old_observed_at_utc,
            max(observed_at_utc) as new_observed_at_utc,
            arg_max(item_count, observed_at_utc) as new_item_count,
            count(*) filter (observed_at_utc > {instant(since)}) as observation_count
        from observations
        where
            is_published
            and resource = {sql_literal(resource.name)}
            and account in (select account from diff_accounts)
        group by account"""  # noqa: S608


def _versions(resource: Resource) -> str:
    return f"""
        create temp table {_prefix(resource)}_versions as
        select
            version.*,
            span.old_observed_at_utc,
            coalesce(span.old_observed_at_utc between first_seen_utc and last_seen_utc, false) as is_old,
            span.new_observed_at_utc between first_seen_utc and last_seen_utc as is_new
        from {resource.versions_name} as version
        inner join {spans_name(resource)} as span using (account)
        where
            (span.old_observed_at_utc is null or last_seen_utc >= span.old_observed_at_utc)
            and not (is_old and is_new)"""  # noqa: S608


# ── changes ──────────────────────────────────────────────────────────────────


def _shown(resource: Resource) -> list[str]:
    """The columns that tell an item apart."""
    names = (f"{resource.noun}_name", "image_id", "region_id", f"{resource.noun}_size_gib")
    return [column.name for column in resource.columns if column.name in names]


def _changes(resource: Resource) -> str:
    order = ", ".join(map(sql_literal, CHANGES))
    key, shown = resource.key.name, _shown(resource)
    return f"""
        create temp table {changes_name(resource)} as
        with {_published(resource)},
        {_paired(resource)},
        {_came_and_went(resource)},
        {_changed_fields(resource)},
        changes as (
            select
                account, {key}, {", ".join(shown)}, change, null as field, null as old_value,
                null as new_value, since_utc
            from came_and_went
            union all
            select
                account, {key}, {", ".join(f"new.{name}" for name in shown)}, 'changed', field, old_value,
                new_value, new.first_seen_utc
            from changed_fields
            inner join paired using (account, {key})
        )
        from changes
        order by list_position([{order}], change), account, {key}, field"""  # noqa: S608


def _published(resource: Resource) -> str:
    return f"""\
published as (
            select
                account,
                observed_at_utc,
                lead(observed_at_utc) over by_time as next_utc,
                -- The number of verified observations before: where two numbers differ, there was one in between.
                count(*) filter (certificate = 'verified') over by_time
                - (coalesce(certificate, '') = 'verified')::int as verified_count
            from observations
            where is_published and resource = {sql_literal(resource.name)}
            window by_time as (partition by account order by observed_at_utc)
        )"""  # noqa: S608


def _paired(resource: Resource) -> str:
    """The items of both instants, with the version of each."""
    key, table = resource.key.name, f"{_prefix(resource)}_versions"
    return f"""\
paired as (
            select account, {key}, old, new
            from (select account, {key}, version as old from {table} as version where is_old)
            inner join (select account, {key}, version as new from {table} as version where is_new)
                using (account, {key})
        )"""  # noqa: S608


def _came_and_went(resource: Resource) -> str:
    key, table = resource.key.name, f"{_prefix(resource)}_versions"
    return f"""\
-- The items of one instant alone.
        unpaired as (
            select version.*
            from {table} as version
            anti join paired using (account, {key})
            where is_old or is_new
        ),
        -- From when on they were seen since FROM, and until when.
        paths as (
            select
                account,
                {key},
                min(first_seen_utc) filter (
                    old_observed_at_utc is null or first_seen_utc > old_observed_at_utc
                ) as seen_again_utc,
                max(last_seen_utc) as last_seen_utc,
                max(gone_at_utc) as gone_at_utc
            from {table}
            group by account, {key}
        ),
        came_and_went as (
            select
                unpaired.*,
                case
                    when unpaired.is_old then if(paths.gone_at_utc > paths.last_seen_utc, 'gone', 'unseen')
                    else if(life_start.verified_count > old.verified_count, 'appeared', 'seen')
                end as change,
                case
                    when unpaired.is_old then if(change = 'gone', paths.gone_at_utc, last_seen.next_utc)
                    else if(change = 'appeared', unpaired.life_began_utc, paths.seen_again_utc)
                end as since_utc
            from unpaired
            inner join paths using (account, {key})
            left join published as old
                on unpaired.account = old.account and unpaired.old_observed_at_utc = old.observed_at_utc
            left join published as life_start
                on unpaired.account = life_start.account and unpaired.life_began_utc = life_start.observed_at_utc
            left join published as last_seen
                on unpaired.account = last_seen.account and paths.last_seen_utc = last_seen.observed_at_utc
        )"""  # noqa: S608


def _changed_fields(resource: Resource) -> str:
    """A row for each field that differs between the two versions of an item, and one where child items differ."""
    values = {field.name: (f"old.{field.name}::varchar", f"new.{field.name}::varchar") for field in resource.fields}
    values |= {child.rows.name: (_listed(child, "old"), _listed(child, "new")) for child in resource.children}
    changed = "\n            union all\n            ".join(
        f"select account, {resource.key.name}, '{name}' as field, {old} as old_value, {new} as new_value "  # noqa: S608
        f"from paired where old.{name} is distinct from new.{name}"
        for name, (old, new) in values.items()
    )
    return f"""\
changed_fields as (
            {changed}
        )"""


def _listed(child: Child, side: str) -> str:
    """An expression for a list of child items as text, as in `image_changes`; null where there is none.

    A value is `?` where it is null; an id and `extra` are left out then.
    """
    of = child.noun
    values = [
        f"coalesce({of}.{column.name}::varchar, '?')" + (f" || ' {column.unit}'" if column.unit else "")
        for column in child.columns
        if not column.is_distinct
    ]
    optional = [*(column.name for column in child.columns if column.is_distinct), "extra"]
    text = " || ' ' || ".join(values) + "".join(f" || coalesce(' ' || {of}.{name}, '')" for name in optional)
    return f"nullif(array_to_string(list_transform({side}.{child.rows.name}, lambda {of}: {text}), ', '), '')"


# ── capacity ─────────────────────────────────────────────────────────────────


def _capacity() -> str:
    """The capacity of the owned images at both instants, by region."""
    figures = {
        "image_count": "count(*)",
        "image_size_gib": "sum(image_size_gib)",
        "disk_size_gib": "sum(disk_size_gib)",
    }
    sides = {"old": "is_old", "new": "is_new"}
    sums = ",\n".join(
        f"coalesce({aggregate} filter ({condition}), 0)::bigint as {side}_{name}"
        for name, aggregate in figures.items()
        for side, condition in sides.items()
    )
    columns = ",\n".join(f"old_{name}, new_{name}, new_{name} - old_{name} as difference_{name}" for name in figures)
    return f"""
        create temp table diff_capacity_by_region as
        with owned as (
            select
                region_id,
                image_size_gib,
                disk_size_gib,
                coalesce(old_observed_at_utc between first_seen_utc and last_seen_utc, false) as is_old,
                new_observed_at_utc between first_seen_utc and last_seen_utc as is_new
            from image_versions
            inner join diff_accounts using (account)
            where lower(image_owner) = 'self'
        ),
        regions as (
            select region_id, {sums}
            from owned
            where is_old or is_new
            group by region_id
        )
        select region_id, {columns}
        from regions
        order by abs(difference_image_size_gib) desc, region_id nulls last"""  # noqa: S608
