"""Guard against a drop in volume: an account that lost most of its images, or instances, is not published.

    the ids of its last published observation: more than half of ten or more are gone, or all → AccountShrank

A lost permission looks like that too. The decision stands in the header of the
raw file, so that a rebuild comes to the same one. Where a damaged lake did not
let a run decide, the rebuild that repairs the lake does, and the commit record
keeps what it decided. Where that is lost too, it is decided again, by the
observations before the run.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pipeline.errors import AccountShrank, BadSetting, LakeMissing, LakeUnusable
from pipeline.extract.claim import Claim, FirstLook
from pipeline.extract.completeness import listed_ids
from pipeline.lake.publish import evidence_of, listed_in
from pipeline.reports.query import duckdb_message
from pipeline.resources.tables import RESOURCES, resource_named
from pipeline.text import pluralize
from pipeline.views.catalog import latest_name
from pipeline.views.connection import connect

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from pipeline.extract.raw_pages import RawRun
    from pipeline.extract.reader import Listing
    from pipeline.lake.publish import Answers
    from pipeline.lake.survey import RunState
    from pipeline.lake.tombstones import Listed
    from pipeline.resources.resource import Resource

_MIN_ITEMS: Final = 10
"""A smaller account is only guarded against becoming empty."""


def open_lake(data: Path, as_of: dt.datetime | None = None) -> tuple[Any, LakeUnusable | None]:
    """Connect to the lake, now or as of an instant.

    Returns: the connection, None where there is no lake yet, no observation by then, or it is damaged; the damage.
    """
    try:
        return connect(data, as_of=as_of), None
    except LakeMissing:
        return None, None
    except BadSetting:
        if as_of is None:
            raise
        return None, None
    except LakeUnusable as damage:
        return None, damage


def open_with_last_ids(
    data: Path, accounts: Sequence[str], resources: Sequence[Resource], as_of: dt.datetime | None = None
) -> tuple[Any, LastIds]:
    """Connect to the lake, and read the ids as `read_last_ids` does. Returns: the connection, as `open_lake` does.

    In a bucket another machine may withdraw an observation just then, which moves its files: then once more.
    """
    lake, damage = open_lake(data, as_of)
    last = read_last_ids(lake, damage, accounts, resources)
    if lake is not None and last.damage:
        lake.close()
        lake, damage = open_lake(data, as_of)
        last = read_last_ids(lake, damage, accounts, resources)
    return lake, last


@dataclass(frozen=True, slots=True)
class LastIds:
    """The ids in the last published observation of each account and resource."""

    looks: dict[Listed, FirstLook]
    damage: dict[Listed, LakeUnusable]
    """Account and resource → why a damaged lake does not tell them."""


def read_last_ids(
    lake: Any, damage: LakeUnusable | None, accounts: Sequence[str], resources: Sequence[Resource]
) -> LastIds:
    """Read the ids in the last published observation of these accounts, from the lake as `open_lake` gives it."""
    pairs = [(account, resource) for account in accounts for resource in resources]
    last = LastIds({}, {} if damage is None else {(account, one.name): damage for account, one in pairs})
    for account, resource in pairs if lake else ():
        try:
            look = _last_ids(lake, account, resource)
        except LakeUnusable as unreadable:
            last.damage[account, resource.name] = unreadable
        else:
            last.looks.update({} if look is None else {(account, resource.name): look})
    return last


def _last_ids(lake: Any, account: str, resource: Resource) -> FirstLook | None:
    key = resource.key.name

    def count_returned(ids: Collection[str]) -> int:
        with duckdb_message():
            query = (
                f"select count(distinct {key}) from {resource.name} "  # noqa: S608  (declared names)
                f"where account = $1 and {key} in (select unnest($2))"
            )
            return int(lake.execute(query, [account, list(ids)]).fetchall()[0][0])

    with duckdb_message():
        found = lake.execute(_LAST, [account, resource.name]).fetchall()
        if not found:
            return None
        query = f"select {key} from {latest_name(resource.table)} where account = ?"  # noqa: S608
        ids = lake.sql(query, params=[account]).to_arrow_table()
        if not len(ids):  # another name of an account is not in the latest items
            is_here = "account = ? and is_current and same_account_as is not null"
            query = f"select {key} from {resource.versions.name} where {is_here}"  # noqa: S608
            ids = lake.sql(query, params=[account]).to_arrow_table()
    run_id, ids_sha256, certificate, went_back = found[0]
    last_ids = frozenset(ids.column(key).to_pylist())
    if certificate != "verified":  # what it lacks may not have been gone
        return FirstLook(run_id, last_ids, ids_sha256, went_back=went_back)
    return FirstLook(run_id, last_ids, ids_sha256, count_returned, went_back)


_LAST: Final = """
    with recent as (
        select run_id, ids_sha256, certificate, observed_at_utc,
            returned_count > 0 or server_clock_back_count > 0 as went_back
        from observations
        where account = ? and resource = ? and is_published
        order by observed_at_utc desc
        limit 30
    )
    select run_id, ids_sha256, certificate, (select coalesce(bool_or(went_back), false) from recent)
    from recent
    order by observed_at_utc desc
    limit 1
"""
"""The last observation, and whether answers went back in time in one of the last thirty."""


def volume_drop(
    account: str, resource: Resource, before: frozenset[str], ids: set[str], max_percent: float
) -> AccountShrank | None:
    """Compare the items of an account with those of its last observation, `before`.

    Returns:
        The error that keeps the account from being published, or None.
    """
    gone_count = len(before - ids)
    percent = 100 * gone_count / len(before) if before else 0.0
    became_empty = bool(before) and not ids
    if not became_empty and (len(before) < _MIN_ITEMS or percent <= max_percent):
        return None
    emptied = "is empty now" if resource is RESOURCES[0] else "has none now"
    drop = emptied if became_empty else f"has lost {gone_count:,} of them ({percent:.0f} %)"
    return AccountShrank(
        f"account {account!r} had {pluralize(len(before), resource.noun)} and {drop}; nothing was published: "
        f"verify that this is true (a lost permission looks the same), then run with --accept-shrink {resource.name}"
    )


def guard_volume(last: LastIds, listings: Iterable[Listing], max_percent: float) -> dict[Listed, LakeUnusable]:
    """Set the error of each complete listing whose account lost too much.

    Returns:
        The accounts and resources that a damaged lake does not let compare, each with the damage.
    """
    complete = [listing for listing in listings if listing.error is None]
    for listing in complete:
        if listing.listed in last.looks:
            before = last.looks[listing.listed].ids
            listing.error = volume_drop(listing.account, listing.resource, before, listing.ids, max_percent)
    return {one.listed: last.damage[one.listed] for one in complete if one.listed in last.damage}


def decide_undecided(data: Path, raw: RawRun, answers: Answers, state: RunState | None = None) -> None:
    """Decide in the header of a landed run about the accounts that a damaged lake left undecided.

    What the run published before, by its commit record or a compacted one, it publishes again: `state` tells.
    """
    for decision in raw.header["accounts"]:
        if decision["is_published"] is not None:
            continue
        listed = listed_in(decision)
        if state is not None and listed in {*state.published, *state.errors}:
            decision["is_published"] = listed in state.published
            decision["error"] = state.errors.get(listed)
        else:
            error = _drop_since(data, raw, decision, answers)
            decision["is_published"] = error is None
            decision["error"] = error and f"{type(error).__name__}: {error}"


def _drop_since(data: Path, raw: RawRun, decision: Mapping[str, Any], answers: Answers) -> AccountShrank | None:
    """Compare a landed listing with the observation before it."""
    account, resource = decision["account"], resource_named(listed_in(decision)[1])
    mine = [answer for _, answer in answers.get(listed_in(decision), [])]
    ids = listed_ids(mine, decision["ended_passes"], Claim.from_decision(decision))
    at = evidence_of(raw, decision, answers)["observed_at_utc"]
    before = at - dt.timedelta(microseconds=1) if at else None
    lake, last = open_with_last_ids(data, [account], [resource], before)
    with contextlib.closing(lake) if lake else contextlib.nullcontext():
        look = last.looks.get((account, resource.name))
    for unreadable in last.damage.values():
        raise unreadable
    last_ids = look.ids if look else frozenset[str]()
    return volume_drop(account, resource, last_ids, ids, raw.header["max_shrink_percent"])
