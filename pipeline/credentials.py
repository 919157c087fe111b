"""Whose images: an account under a label, and its credentials from the vendor's own providers.

    environment_account ── the vendor's default chain: environment, profile files, instance role
    profile_account ────── one profile of ~/.aliyun/config.json
    key_account ────────── a key that is at hand

    none found ─→ NoCredentials     refused ─→ Refused     no answer, after four tries ─→ Unreachable
    a file that cannot be parsed ─→ BadSetting

Nothing secret is ever shown: not by `repr`, in no log, in no error.
"""

from __future__ import annotations

import logging
import os
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from pipeline.errors import (
    BadSetting,
    ClockIsWrong,
    EnsImagesError,
    NoCredentials,
    Refused,
    Unreachable,
    classify,
)
from pipeline.known_secrets import known_secrets
from pipeline.log import about, logger
from pipeline.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logger(__name__)

_METADATA_SERVICE: Final = "http://100.100.100.200"
TRIES: Final = 4
"""Tries of a credentials service that does not answer, with waits of 0.25, 0.5 and 1 s between them."""
_FIRST_WAIT_SECONDS: Final = 0.25
_EVERYBODY: Final = (
    "on a laptop, run `aliyun configure`; under cron, set HOME in the crontab, or the first two variables; in a "
    "container, pass these two or mount the file; on an instance, attach a RAM role to it"
)


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
        self.settle_seconds: float | None = None
        """Time after which an answer shows no older state than one before it; None: as a run assumes."""
        self._make_provider = provider
        self._where = where
        self.key: Key | None = None
        self.found_by: str | None = None
        """The vendor's provider that found the credentials, once one did."""

    def __repr__(self) -> str:
        return f"Account({self.label!r})"

    def _error(self, error: Exception) -> EnsImagesError:
        """Return our error for one of a source, with what to do about it."""
        from pipeline.credential_chain.files import NotThere
        from pipeline.credential_chain.helper import HelperFailed
        from pipeline.credential_chain.transport import NoAnswer, Refusal

        whose = f"credentials of account {self.label!r}"
        if isinstance(error, NotThere):
            return NoCredentials(f"no credentials for account {self.label!r}: {error}: {error.advice or self._where}")
        if isinstance(error, HelperFailed):
            return NoCredentials(
                f"the helper for the {whose} gave none that can be used: {error}: run the process_command of the "
                "profile by hand, as this user, to see what it prints"
            )
        if isinstance(error, NoAnswer):
            advice = "check the network, the proxy and the certificates" if error.is_lasting else "try later"
            cause = library_text(error.cause)
            return Unreachable(f"{cause} — no usable answer from {error.address} for the {whose}: {advice}")
        if isinstance(error, Refusal):
            text = f"{library_text(f'{error.code}: {error.message}')} — {error.address} refused the {whose}"
            if classify(400, error.code) == "clock":
                return ClockIsWrong(f"{text}: set the clock of this machine")
            return Refused(f"{text}: {_advice(error.code, error.address)}")
        if isinstance(error, (TypeError, AttributeError, LookupError)) or "does not match format" in str(error):
            return Unreachable(f"an answer of an unexpected form — no usable answer for the {whose}: try later")
        return NoCredentials(f"the {whose} cannot be used: {library_text(error)}: {self._where}")

    def resolve(self, *, tries: int = TRIES) -> Key:
        """Request the credentials again, and keep them for the next calls.

        A provider holds on to what it once found, the expired too: so each time there is a new one.

        Raises:
            NoCredentials: none were found, or they are not usable; the message says where it looked.
            Refused, ClockIsWrong: the service that gives them refused.
            Unreachable: that service gave no usable answer, in `tries` tries.
            BadSetting: a file of credentials, or a variable, cannot be used.
        """
        for number in range(1, tries + 1):
            try:
                provider = self._make_provider()
                quiet_the_vendor()
                found = provider.get_credentials()
                key = Key(found.get_access_key_id(), found.get_access_key_secret(), found.get_security_token() or None)
                break
            except EnsImagesError:
                raise
            except Exception as error:  # noqa: BLE001  (the vendor raises many kinds, bare ones among them)
                if number == tries or not _is_passing(error):
                    raise self._error(error) from None
            time.sleep(_FIRST_WAIT_SECONDS * 2 ** (number - 1))
        if not key.id or not key.secret:
            raise NoCredentials(f"the credentials of account {self.label!r} are incomplete: key id or secret is empty")
        self.key = key
        self.found_by = found.get_provider_name()
        with about(account=self.label):
            _log.debug("credentials found by %s", self.found_by)
        return key


def library_text(text: object) -> str:
    """Return a text of the vendor's library or of a credentials service for a message: the one way into it.

    The answer that the library quotes is left out, and so is what a service says to have been signed: it holds the
    security token.
    """
    words = redact(re.sub(r"\s+", " ", str(text)), known_secrets())
    return re.split(r"[,:;]? *(?:result: |response: |server string to sign)", words)[0][:300].rstrip(" .:")


def _advice(code: str, address: str) -> str:
    if address == _METADATA_SERVICE:
        return "attach this role to the instance"
    if code.startswith("InvalidAccessKeyId"):
        return "the key id does not exist, or is disabled"
    if code in {"SignatureDoesNotMatch", "IncompleteSignature"}:
        return "the secret does not belong to the key id; set both again"
    if code.startswith("InvalidSecurityToken"):
        return "the security token is no longer valid; get new credentials"
    if address.startswith("https://sts") and code.startswith(("NoPermission", "Forbidden")):
        return "allow sts:AssumeRole to the user, and the user in the trust policy of the role"
    if code.startswith("EntityNotExist"):
        return "check the role's name in the profile"
    if code in {"invalid_grant", "invalid_token", "HTTP401"}:
        return "log in again with `aliyun configure`"
    return "see its message"


def _is_passing(error: Exception) -> bool:
    from pipeline.credential_chain.transport import NoAnswer

    return isinstance(error, NoAnswer) and not error.is_lasting


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
        from pipeline.credential_chain.sources import DefaultChain  # slow to import

        return DefaultChain()

    return Account(label, provider, _EVERYBODY, endpoint=endpoint)


def profile_account(name: str, label: str | None = None, endpoint: str | None = None) -> Account:
    """The account of one profile of the vendor's file, whatever the environment holds; its label is that name too.

    Raises:
        BadSetting: the name is empty, which would mean some other profile.
    """
    if not name.strip():
        raise BadSetting("a profile's name is empty: name one of ~/.aliyun/config.json, or leave the option out")

    def provider() -> _Provider:
        from pipeline.credential_chain.sources import Profile  # slow to import

        return Profile(name)

    return Account(label or name, provider, f"`aliyun configure --profile {name}` writes it", endpoint=endpoint)


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
