"""Find accounts that are listed under two names: they own the same images.

    ids of owned images, of this run and of the lake ──► the account that listed them first ──► OtherName

An id of an owned image names one image, so two accounts that own it are one account. A shared image is in several
accounts by right. The result stands in the header of the raw file, so that a rebuild comes to the same one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.reports.query import duckdb_message
from pipeline.resources.images import IMAGES_RESOURCE
from pipeline.settings import NO_OTHER
from pipeline.text import pluralize

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.extract.reader import Listing


@dataclass(frozen=True, slots=True)
class OtherName:
    """An account that is another name of one."""

    account: str
    same_account_as: str
    owned_count: int
    common_count: int

    def as_header(self) -> dict[str, Any]:
        """Return its part of the header of a raw file."""
        return {"same_account_as": self.same_account_as, "common_image_count": self.common_count}

    def __str__(self) -> str:
        """Return a line for the result of a run."""
        return (
            f"{self.account}: another name of account {self.same_account_as!r}: {self.common_count:,} of its "
            f"{pluralize(self.owned_count, 'owned image')} are in both; views count one name alone (if they are two "
            f'accounts: same_account_as = "{NO_OTHER}" in [[accounts]])'
        )


@dataclass(frozen=True, slots=True)
class _Known:
    """The accounts of the lake."""

    same_account_as: Mapping[str, str | None]
    """Each account, the counted ones first, and first listed first → the account that it is another name of."""
    common: Mapping[str, set[str]]
    """Accounts that own images and are not listed now → those of the listed ids that they own."""


def find_other_names(lake: Any, listings: Sequence[Listing], set_by_hand: Mapping[str, str]) -> dict[str, OtherName]:
    """Find the listed accounts that are another name of an account of this run or of the lake (None: there is none).

    `set_by_hand` is the `same_account_as` of the settings. An account known as another name stays one, until both own
    images and none in common.

    Raises:
        LakeUnusable: the lake cannot be read.
    """
    owned = {
        listing.account: {image_id for page in listing.last_pass for image_id in page.owned_ids}
        for listing in listings
        if listing.error is None and listing.resource is IMAGES_RESOURCE
    }
    known = _read_known(lake, owned)
    ids = {**known.common, **owned}
    owning = {account for account in ids if account in known.common or owned[account]}
    accounts = list(dict.fromkeys((*known.same_account_as, *owned)))
    former = {other: name for name, other in known.same_account_as.items() if other and name not in owned}
    names: dict[str, OtherName] = {}
    owners: dict[str, str] = {}  # image → the account that listed it first
    for account in accounts:
        other = set_by_hand.get(account)
        if other is None:
            common = Counter(owners[image_id] for image_id in owners.keys() & ids.get(account, ()))
            before = known.same_account_as.get(account) or former.get(account)
            if common:
                other = max((name for name in accounts if name in common), key=common.__getitem__)
            elif before not in set_by_hand and not {before, account} <= owning:
                other = before
            for image_id in ids.get(account, ()) if account != accounts[-1] else ():
                owners.setdefault(image_id, account)
        if other is not None and other != NO_OTHER and account in owned:
            mine = owned[account]
            names[account] = OtherName(account, other, len(mine), len(mine.intersection(ids.get(other, ()))))
    return names


def _read_known(lake: Any, owned: Mapping[str, set[str]]) -> _Known:
    """Read the accounts of the lake; nothing where the lake holds but the one account that is listed."""
    if not lake or not owned:
        return _Known({}, {})
    with duckdb_message():
        rows = lake.execute("select distinct account from images_latest where lower(image_owner) = 'self'").fetchall()
        counted = {account for (account,) in rows}
        some_name = "select account from observations where same_account_as is not null limit 1"
        # Without a name, the query reads no file: the column is a constant.
        if counted == owned.keys() and len(counted) == 1 and not lake.execute(some_name).fetchall():
            return _Known({}, {})
        names = lake.execute(
            "select account, any_value(same_account_as) from observations where is_published and resource = 'images' "
            "group by account order by any_value(same_account_as) is not null, min(observed_at_utc), account"
        ).fetchall()
        common: dict[str, set[str]] = {account: set() for account in counted - owned.keys()}
        if common:
            rows = lake.execute(
                "select account, image_id from images_latest where lower(image_owner) = 'self' "
                "and account not in (select unnest($1)) and image_id in (select unnest($2))",
                [list(owned), list(set().union(*owned.values()))],
            ).fetchall()
            for account, image_id in rows:
                common[account].add(image_id)
    return _Known(dict(names), common)
