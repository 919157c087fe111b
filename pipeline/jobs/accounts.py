"""The accounts of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.credentials import Account, environment_account, profile_account
from pipeline.errors import BadSetting
from pipeline.settings import AccountEntry

if TYPE_CHECKING:
    from collections.abc import Sequence


def select_accounts(
    profiles: Sequence[str] = (),
    profiles_from: str | Path | None = None,
    entries: Sequence[AccountEntry] = (),
    accounts: Sequence[Account] = (),
) -> list[Account]:
    """The accounts that a run lists: those named; else the `entries` of a settings file; else the default chain's.

    A profile that an entry names, or labels, takes label and endpoint from there; `accounts` are ready-made ones.

    Raises:
        BadSetting: one is named twice, or has no name.
    """
    named: list[AccountEntry] = []
    for name in (*profiles, *_lines(profiles_from)):
        known = [entry for entry in entries if name in {entry.label, entry.profile}]
        named += known or [AccountEntry(profile=name)]
    ready = [*accounts, *map(_account, named or (() if accounts else entries))]
    return _distinct(ready or [environment_account()])


def _account(entry: AccountEntry) -> Account:
    if entry.profile is None:
        return environment_account(entry.name, entry.endpoint)
    return profile_account(entry.profile, entry.label, entry.endpoint)


def _lines(file: str | Path | None) -> list[str]:
    """The names in a file of profiles; an empty one is refused, for it would mean the default account."""
    if file is None:
        return []
    said = (line.partition("#")[0].strip() for line in Path(file).read_text("utf-8").splitlines())
    names = [line for line in said if line]
    if not names:
        raise BadSetting(f"{str(file)!r} names no profile: a name a line is expected")
    return names


def _distinct(accounts: Sequence[Account]) -> list[Account]:
    labels = [account.label for account in accounts]
    for label in labels:
        if labels.count(label) > 1:
            raise BadSetting(f"account {label!r} is named twice: each account is listed once a run")
    return list(accounts)
