"""Accounts that are listed under several names: one name counts in the views, the others do not.

same_account_as of the commit records ──► groups of names ──► in each group the counted name

Counted is the name that the others are said to be, and of those the one that was listed first. A name that no run
published for two days, while another name of the account was, is a former name: it counts no more.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

from pipeline.text import sql_literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.lake.latest import LatestObservation

_FORMER_AFTER: Final = dt.timedelta(days=2)
"""The lag of its last observation behind that of another name, from which on a name counts no more."""


def names_not_counted(
    same_as: Mapping[str, str], first: Mapping[str, dt.datetime], latest: Mapping[str, LatestObservation]
) -> dict[str, str]:
    """Return each name that is not counted, with the counted name of the same account.

    `same_as` is what the last observation of each name tells, and `first` is the instant of the first one, both of all
    observations, also those after the instant of `latest`: what was learned later about the names holds for the days
    before.
    """
    groups: dict[str, frozenset[str]] = {}
    for name, other in same_as.items():
        group = groups.get(name, frozenset({name})) | groups.get(other, frozenset({other}))
        groups |= dict.fromkeys(group, group)
    names: dict[str, str] = {}
    for group in set(groups.values()):
        members = [latest[name] for name in group if name in latest]
        if members:
            newest = max(member.observed_at_utc for member in members)
            current = [member.account for member in members if newest - member.observed_at_utc <= _FORMER_AFTER]
            counted = min(current, key=lambda name: (same_as.get(name) in latest, first[name], name))
            names |= {member.account: counted for member in members if member.account != counted}
    return names


def counted_as(names: Mapping[str, str]) -> str:
    """Write the expression of `same_account_as` for a row with an `account`."""
    cases = "".join(f" when {sql_literal(name)} then {sql_literal(other)}" for name, other in sorted(names.items()))
    return f"case account{cases} end" if names else "cast(null as varchar)"
