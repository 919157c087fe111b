"""Select the accounts of a run.

--profile, --profiles-from  →  else [[accounts]] of the settings file  →  else the vendor's default chain
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.credentials import Account, environment_account, profile_account
from pipeline.errors import BadSetting
from pipeline.paths import user_path
from pipeline.settings import AccountEntry, span
from pipeline.text import read_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def select_accounts(
    profiles: Sequence[str] = (),
    profiles_from: str | Path | None = None,
    entries: Sequence[AccountEntry] = (),
    accounts: Sequence[Account] = (),
) -> list[Account]:
    """Return the named accounts; else those of the settings file (`entries`); else that of the default chain.

    A name that an entry has as its profile or label takes label and endpoint from the entry. Ready-made `accounts`
    are added.

    Raises:
        BadSetting: a label occurs twice, or `profiles_from` holds no name.
    """
    named: list[AccountEntry] = []
    for name in (*profiles, *_read_names(profiles_from)):
        known = [entry for entry in entries if name in {entry.label, entry.profile}]
        named += known or [AccountEntry(profile=name)]
    ready = [*accounts, *map(_account, named or (() if accounts else entries))]
    return _distinct(ready or [environment_account()])


def _account(entry: AccountEntry) -> Account:
    if entry.profile is None:
        account = environment_account(entry.name, entry.endpoint)
    else:
        account = profile_account(entry.profile, entry.label, entry.endpoint)
    account.same_account_as = entry.same_account_as
    account.settle_seconds = None if entry.settle is None else span(entry.settle).total_seconds()
    return account


def _read_names(file: str | Path | None) -> list[str]:
    """Return the names in a file of profiles; refuse an empty one, which would mean the default account."""
    if file is None:
        return []
    lines = (line.partition("#")[0].strip() for line in read_text(user_path(file)).splitlines())
    names = [line for line in lines if line]
    if not names:
        raise BadSetting(f"{str(file)!r} names no profile: one name per line is expected")
    return names


def _distinct(accounts: Sequence[Account]) -> list[Account]:
    labels = [account.label for account in accounts]
    for label in labels:
        if labels.count(label) > 1:
            raise BadSetting(f"account {label!r} is named twice: each account is listed once a run")
    return list(accounts)
