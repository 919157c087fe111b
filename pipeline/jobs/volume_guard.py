"""Guard against a drop in volume: an account that lost most of its items is not published.

    the ids of its last published observation: more than half of ten or more are gone, or all → AccountShrank

A lost permission looks like that too. The decision stands in the header of the
raw file, so that a rebuild comes to the same one. Where a damaged lake did not
let a run decide, the rebuild that repairs the lake does.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pipeline.errors import AccountShrank, LakeMissing, LakeUnusable
from pipeline.extract.claim import Claim, FirstLook
from pipeline.extract.completeness import listed_ids
from pipeline.lake.publish import listed_in
from pipeline.reports.query import duckdb_message
from pipeline.resources.images import IMAGES_RESOURCE
from pipeline.resources.tables import resource_named
from pipeline.text import pluralize
from pipeline.views.catalog import latest_name
from pipeline.views.connection import connect

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from pathlib import Path

    from pipeline.extract.raw_pages import RawRun
    from pipeline.extract.reader import Listing
    from pipeline.lake.publish import Answers
    from pipeline.resources.resource import Resource

_MIN_ITEMS: Final = 10
"""A smaller account is only guarded against becoming empty."""


def open_lake(data: Path) -> tuple[Any, LakeUnusable | None]:
    """Connect to the lake. Returns: the connection, None where there is no lake yet or it is damaged; the damage."""
    try:
        return connect(data), None
    except LakeMissing:
        return None, None
    except LakeUnusable as damage:
        return None, damage


@dataclass(frozen=True, slots=True)
class LastIds:
    """The items of the last published observation of a resource of each account."""

    looks: dict[str, FirstLook]
    damage: dict[str, LakeUnusable]
    """Account → why a damaged lake does not tell them."""


def read_last_ids(
    lake: Any, damage: LakeUnusable | None, accounts: Sequence[str], resource: Resource = IMAGES_RESOURCE
) -> LastIds:
    """Read the items of the last published observation of these accounts, from the lake as `open_lake` gives it."""
    last = LastIds({}, {} if damage is None else dict.fromkeys(accounts, damage))
    for account in accounts if lake else ():
        try:
            look = _last_ids(lake, account, resource)
        except LakeUnusable as unreadable:
            last.damage[account] = unreadable
        else:
            last.looks.update({} if look is None else {account: look})
    return last


def _last_ids(lake: Any, account: str, resource: Resource) -> FirstLook | None:
    key, latest = resource.key.name, latest_name(resource.table)

    def count_returned(ids: Collection[str]) -> int:
        with duckdb_message():
            query = (
                f"select count(distinct {key}) from {resource.name} "  # noqa: S608  (declared names, as everywhere here)
                f"where account = $1 and {key} in (select unnest($2))"
            )
            return int(lake.execute(query, [account, list(ids)]).fetchall()[0][0])

    with duckdb_message():
        found = lake.execute(_LAST, [account, resource.name]).fetchall()
        if not found:
            return None
        ids = lake.sql(f"select {key} from {latest} where account = ?", params=[account]).to_arrow_table()  # noqa: S608
        if not len(ids):  # another name of an account is not in the latest view
            is_here = "account = ? and is_current and same_account_as is not null"
            query = f"select {key} from {resource.versions_name} where {is_here}"  # noqa: S608
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
    account: str, before: frozenset[str], ids: set[str], max_percent: float, noun: str = IMAGES_RESOURCE.noun
) -> AccountShrank | None:
    """Compare the items of an account with those of its last observation, `before`; `noun` names one.

    Returns:
        The error that keeps the account from being published, or None.
    """
    gone_count = len(before - ids)
    percent = 100 * gone_count / len(before) if before else 0.0
    became_empty = bool(before) and not ids
    if not became_empty and (len(before) < _MIN_ITEMS or percent <= max_percent):
        return None
    drop = "is empty now" if became_empty else f"has lost {gone_count:,} of them ({percent:.0f} %)"
    return AccountShrank(
        f"account {account!r} had {pluralize(len(before), noun)} and {drop}; nothing was published: "
        "verify that this is true (a lost permission looks the same), then run with --accept-shrink"
    )


def guard_volume(last: LastIds, listings: Iterable[Listing], max_percent: float) -> dict[str, LakeUnusable]:
    """Set the error of each complete listing whose account lost too much.

    Returns:
        The accounts that a damaged lake does not let compare, each with the damage.
    """
    complete = [listing for listing in listings if listing.error is None]
    for listing in complete:
        if listing.account in last.looks:
            ids = listing.claimed_ids if listing.claim else listed_ids(listing.answers, listing.ended_passes, None)
            before = last.looks[listing.account].ids
            listing.error = volume_drop(listing.account, before, ids, max_percent, listing.resource.noun)
    return {one.account: last.damage[one.account] for one in complete if one.account in last.damage}


def decide_undecided(data: Path, raw: RawRun, answers: Answers) -> None:
    """Decide in the header of a landed run about the accounts that a damaged lake left undecided."""
    for decision in raw.header["accounts"]:
        if decision["is_published"] is None:
            account, name = listed_in(decision)
            resource = resource_named(name)
            mine = [answer for _, answer in answers.get((account, name), [])]
            ids = listed_ids(mine, decision["ended_passes"], Claim.from_decision(decision))
            lake, damage = open_lake(data)
            with contextlib.closing(lake) if lake else contextlib.nullcontext():
                last = read_last_ids(lake, damage, [account], resource)
            for unreadable in last.damage.values():
                raise unreadable
            before = last.looks[account].ids if account in last.looks else frozenset[str]()
            error = volume_drop(account, before, ids, raw.header["max_shrink_percent"], resource.noun)
            decision["is_published"] = error is None
            decision["error"] = error and f"{type(error).__name__}: {error}"
