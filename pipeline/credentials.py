"""Whose images: an account under a label, and its credentials from the vendor's own providers.

    environment_account ── the vendor's default chain: environment, profile files, instance role
    profile_account ────── one profile of ~/.aliyun/config.json
    key_account ────────── a key that is at hand

Nothing secret is ever shown: not by `repr`, in no log, in no error.
"""

from __future__ import annotations

import ast
import logging
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from pipeline.errors import BadSetting, NoCredentials
from pipeline.log import about, logger

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logger(__name__)

_PROFILES: Final = "~/.aliyun/config.json"
_VARIABLES: Final = "EnvironmentVariableCredentialsProvider"
_NOT_SET: Final = "variable not set"
_CHAIN: Final = re.compile(r"unable to load credentials from any of the providers in the chain: (\[.*\])", re.DOTALL)
_CHAIN_SOURCES: Final = {
    _VARIABLES: "environment",
    "CLIProfileCredentialsProvider": _PROFILES,
    "ProfileCredentialsProvider": "~/.alibabacloud/credentials.ini",
    "OIDCRoleArnCredentialsProvider": "OIDC role",
    "EcsRamRoleCredentialsProvider": "instance role",
    "URLCredentialsProvider": "URL of ALIBABA_CLOUD_CREDENTIALS_URI",
}


class _Credentials(Protocol):
    def get_access_key_id(self) -> str: ...
    def get_access_key_secret(self) -> str: ...
    def get_security_token(self) -> str | None: ...
    def get_provider_name(self) -> str | None: ...


class _Provider(Protocol):
    def get_credentials(self) -> _Credentials: ...


@dataclass(frozen=True, slots=True)
class Key:
    """What signs a call."""

    id: str
    secret: str = field(repr=False)
    token: str | None = field(repr=False)


class Account:
    """One set of credentials under a label. Made by the functions below; nothing secret is ever shown."""

    def __init__(
        self, label: str, provider: Callable[[], _Provider], where: str, *, endpoint: str | None = None
    ) -> None:
        """`provider` makes the vendor's provider again; `where` says what to do if it finds nothing.

        `endpoint` is the account's own; None: that of the run.
        """
        self.label = label
        self.endpoint = endpoint
        self.same_account_as: str | None = None
        """The account that this one is another name of; `none`: of no other; None: its image ids tell."""
        self._make_provider = provider
        self._where = where
        self.key: Key | None = None
        self.found_by: str | None = None
        """The vendor's provider that found the credentials, once one did."""

    def __repr__(self) -> str:
        return f"Account({self.label!r})"

    def resolve(self) -> Key:
        """Request the credentials again, and keep them for the next calls.

        A provider holds on to what it once found, the expired too: so each time there is a new one.

        Raises:
            NoCredentials: none were found, or they are not usable; the message says where it looked.
        """
        try:
            provider = self._make_provider()
            quiet_the_vendor()
            found = provider.get_credentials()
            key = Key(found.get_access_key_id(), found.get_access_key_secret(), found.get_security_token() or None)
        except Exception as error:  # the vendor raises many kinds, bare ones among them
            raise NoCredentials(
                f"no credentials for account {self.label!r}: {_reason(error)}; {self._where}"
            ) from error
        if not key.id or not key.secret:
            raise NoCredentials(f"the credentials of account {self.label!r} are incomplete: key id or secret is empty")
        self.key = key
        self.found_by = found.get_provider_name()
        with about(account=self.label):
            _log.debug("credentials found by %s", self.found_by)
        return key


def _reason(error: Exception) -> str:
    """Why the vendor found nothing; for its chain, each source with its reason."""
    match = _CHAIN.fullmatch(str(error))
    if match is None:
        return str(error)
    try:
        found = [str(reason).partition(": ") for reason in ast.literal_eval(match[1])]
    except (SyntaxError, ValueError):
        return str(error)
    reasons = [
        (name, _NOT_SET if name == _VARIABLES and "cannot be empty" in text else text) for name, _, text in found
    ]
    return "none in " + ", ".join(f"{_CHAIN_SOURCES.get(name, name)} ({reason})" for name, reason in reasons)


class _Environment:
    """The first of the vendor's chain. Read here, for to import the chain takes longer than to list a small account."""

    _ID: Final = "ALIBABA_CLOUD_ACCESS_KEY_ID"
    _SECRET: Final = "ALIBABA_CLOUD_ACCESS_KEY_SECRET"  # noqa: S105  (a name)
    _TOKEN: Final = "ALIBABA_CLOUD_SECURITY_TOKEN"  # noqa: S105

    @classmethod
    def speaks(cls) -> bool:
        return bool(os.environ.get(cls._ID) and os.environ.get(cls._SECRET))

    def get_credentials(self) -> _Environment:
        return self

    def get_access_key_id(self) -> str:
        return os.environ[self._ID]

    def get_access_key_secret(self) -> str:
        return os.environ[self._SECRET]

    def get_security_token(self) -> str | None:
        return os.environ.get(self._TOKEN)

    def get_provider_name(self) -> str:
        return "default/env"


def environment_account(label: str = "default", endpoint: str | None = None) -> Account:
    """The account of the vendor's default chain: environment, profile files, instance role."""

    def provider() -> _Provider:
        if _Environment.speaks():
            return _Environment()
        from alibabacloud_credentials.provider import DefaultCredentialsProvider  # slow to import

        chain: _Provider = DefaultCredentialsProvider()
        return chain

    where = "set ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET, or add a profile to "
    return Account(label, provider, f"{where}{_PROFILES}", endpoint=endpoint)


def profile_account(name: str, label: str | None = None, endpoint: str | None = None) -> Account:
    """The account of one profile of the vendor's file, whatever the environment holds; its label is that name too.

    Raises:
        BadSetting: the name is empty, which would mean some other profile.
    """
    if not name.strip():
        raise BadSetting("a profile's name is empty: name one of ~/.aliyun/config.json, or leave the option out")

    def provider() -> _Provider:
        from alibabacloud_credentials.provider import CLIProfileCredentialsProvider  # slow to import

        profile: _Provider = CLIProfileCredentialsProvider(profile_name=name)
        return profile

    where = f"`aliyun configure --profile {name}` adds it to {_PROFILES}"
    return Account(label or name, provider, where, endpoint=endpoint)


def key_account(label: str, key_id: str, secret: str, token: str | None = None) -> Account:
    """An account whose key is at hand: the local endpoint's, or one from a vault of the caller's."""

    def provider() -> _Provider:
        from alibabacloud_credentials.provider import (  # slow to import
            StaticAKCredentialsProvider,
            StaticSTSCredentialsProvider,
        )

        if token is None:
            plain: _Provider = StaticAKCredentialsProvider(access_key_id=key_id, access_key_secret=secret)
            return plain
        temporary: _Provider = StaticSTSCredentialsProvider(
            access_key_id=key_id, access_key_secret=secret, security_token=token
        )
        return temporary

    return Account(label, provider, "the key was given by the caller")


def quiet_the_vendor() -> None:
    """Take off the handlers that the SDK puts on its loggers at import: they print to stderr, tokens included."""
    for name in ("darabonba-core", "alibabacloud-tea", "credentials"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [logging.NullHandler()]
        logger.propagate = False
