"""The query of `image_versions` and of the versions of any other resource.

compacted versions of accounts in order       as they are, cut at `as_of`
accounts with new observations                their open versions and the new observations, merged
accounts out of order                         all their versions and observations, merged
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.lake.item_rows import compacted, fingerprinted, fingerprints, observed_rows, version_rows
from pipeline.lake.scan import empty, is_among, listed_rows, observations
from pipeline.lake.versions import as_of_cut, number_observations, versions, with_values
from pipeline.text import sql_literal
from pipeline.views.account_names import counted_as
from pipeline.views.catalog import IS_CURRENT, SAME_ACCOUNT_AS

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Collection

    from pipeline.lake.file_set import FileSet
    from pipeline.lake.tombstones import Listed
    from pipeline.resources.resource import Resource
    from pipeline.views.state import LakeState


@dataclass(frozen=True, slots=True)
class _Accounts:
    """The accounts of a resource, by what their versions need."""

    extended: frozenset[str]
    out_of_order: frozenset[str]

    @classmethod
    def of(cls, resource: Resource, state: LakeState) -> _Accounts:
        return cls(*(_accounts_of(listed, resource) for listed in (state.extended, state.out_of_order)))


def _accounts_of(listed: Collection[Listed], resource: Resource) -> frozenset[str]:
    return frozenset(account for account, name in listed if name == resource.name)


def versions_query(resource: Resource, files: FileSet, state: LakeState, as_of: dt.datetime | None) -> str:
    """Write the query of the versions of a resource over the files of a lake."""
    parts = []
    accounts = _Accounts.of(resource, state)
    if files.manifest is not None:
        unchanged = _unchanged_versions(resource, files, accounts)
        parts.append(unchanged if as_of is None else as_of_cut(resource, unchanged, _cuts(resource, state)))
    if accounts.extended or accounts.out_of_order:
        merged = _merged_versions(resource, files, accounts, as_of)
        parts.append(f"select * from (\n{merged}\n) as merged")  # noqa: S608
    return with_current_columns(resource, "\nunion all\n".join(parts) or empty(resource.versions), state)


def with_current_columns(resource: Resource, query: str, state: LakeState | None = None) -> str:
    """Add `is_current` and `same_account_as` to versions: no file holds them, because an observation changes them."""
    latest = [(one.account, str(one.observed_at_utc)) for one in (state.latest_of(resource) if state else ())]
    is_current = is_among(latest, {"account": "varchar", "last_seen_utc": "timestamp"})
    counted = counted_as(state.names if state else {})
    return (
        f"select *, {is_current} as {IS_CURRENT}, {counted} as {SAME_ACCOUNT_AS} "  # noqa: S608  (SQL of this package)
        f"from (\n{query}\n) as version"
    )


def _unchanged_versions(resource: Resource, files: FileSet, accounts: _Accounts) -> str:
    """The compacted versions that later observations do not change."""
    ended = version_rows(resource, files, ended=True, still_open=False, accounts=_not_of(accounts.out_of_order))
    still_open = version_rows(resource, files, ended=False, accounts=_not_of(accounts.extended | accounts.out_of_order))
    return f"{ended}\nunion all\n{still_open}"


def _cuts(resource: Resource, state: LakeState) -> str:
    """The instant at which the versions of each account are cut."""
    latest = [(one.account, str(one.observed_at_utc)) for one in state.latest_of(resource)]
    return listed_rows(latest, {"account": "varchar", "cut_utc": "timestamp"})


def _merged_versions(resource: Resource, files: FileSet, of: _Accounts, as_of: dt.datetime | None) -> str:
    """Merge compacted versions and plain observations, for the accounts that need it."""
    names = ("account", "resource", "observed_at_utc", "run_id", "is_published", "certificate")
    numbered = number_observations(f"""
        select
            record.account,
            record.observed_at_utc,
            coalesce(record.certificate = 'verified', false) as is_verified,
            compacted.account is not null as is_covered
        from ({observations(files, as_of, names)}) as record
        left join ({compacted(resource, files, as_of)}) as compacted using (account, observed_at_utc)
        where
            record.is_published
            and record.resource = {sql_literal(resource.name)}
            and record.account in ({_list(of.extended | of.out_of_order)})""")  # noqa: S608
    valued = version_rows(resource, files, ended=False, accounts=f"account in ({_list(of.extended)})")
    segments = fingerprinted(resource, valued)
    if of.out_of_order:
        all_versions = version_rows(resource, files, ended=True, accounts=f"account in ({_list(of.out_of_order)})")
        without_lives = "null::timestamp as life_began_utc, null::timestamp as previous_seen_utc"
        segments += (
            f"\nunion all\nselect * replace ({without_lives}) from ({fingerprinted(resource, all_versions)}) as version"
        )
        valued += f"\nunion all\n{all_versions}"
    new_versions = (
        f"select account, first_seen_utc as observed_at_utc, item_id as {resource.key.name} "  # noqa: S608
        "from living where valued_utc is null"
    )
    return (
        f"with living as materialized (\n{versions(numbered, segments, fingerprints(resource, files))}\n)\n"
        f"{with_values(resource, 'living', valued, observed_rows(resource, files, new_versions))}"
    )


def _not_of(accounts: Collection[str]) -> str:
    """A condition that leaves accounts out; empty for none, because DuckDB would evaluate it for every row."""
    return f"account not in ({_list(accounts)})" if accounts else ""


def _list(names: Collection[str]) -> str:
    return ", ".join(map(sql_literal, sorted(names))) or "''"
