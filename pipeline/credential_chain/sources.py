"""Find credentials with the vendor's providers: its default chain, or one profile of ~/.aliyun/config.json.

    1  ALIBABA_CLOUD_ACCESS_KEY_ID, …_SECRET      read by credentials.py, without this module
    2  OIDC role                                  ALIBABA_CLOUD_ROLE_ARN, …_OIDC_PROVIDER_ARN, …_OIDC_TOKEN_FILE
    3  ~/.aliyun/config.json                      the profile ALIBABA_CLOUD_PROFILE, or else `current`
    4  ~/.alibabacloud/credentials.ini            or ALIBABA_CLOUD_CREDENTIALS_FILE; section ALIBABA_CLOUD_PROFILE
    5  the role of an ECS instance                ALIBABA_CLOUD_ECS_METADATA names it
    6  ALIBABA_CLOUD_CREDENTIALS_URI

A source that is not set up is passed over. One that is set up and fails ends the search, unlike in the vendor's own
chain: the next source may belong to another account, whose images would be listed under this label.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Final

from alibabacloud_credentials.provider import (
    CLIProfileCredentialsProvider,
    EcsRamRoleCredentialsProvider,
    OIDCRoleArnCredentialsProvider,
    ProfileCredentialsProvider,
    URLCredentialsProvider,
    cli_profile,
)
from alibabacloud_credentials.provider import profile as ini_profile
from alibabacloud_credentials.provider.refreshable import Credentials
from alibabacloud_credentials.utils import auth_util

from pipeline.credential_chain.files import NotThere, check_profile, read_profiles, read_sections
from pipeline.credential_chain.helper import BoundedHelper
from pipeline.credential_chain.transport import NoAnswer, Refusal, Transport

_KEY_VARIABLES: Final = ("ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET")
_OIDC_VARIABLES: Final = (
    "ALIBABA_CLOUD_ROLE_ARN",
    "ALIBABA_CLOUD_OIDC_PROVIDER_ARN",
    "ALIBABA_CLOUD_OIDC_TOKEN_FILE",
)
_URI: Final = "ALIBABA_CLOUD_CREDENTIALS_URI"
_METADATA: Final = "ALIBABA_CLOUD_ECS_METADATA"


class DefaultChain:
    """The vendor's default chain."""

    def get_credentials(self) -> Credentials:
        """Return the credentials of the first source that has any.

        Raises:
            NotThere: none has; the message lists them in their order.
            NoAnswer, Refusal: a source that is set up got none from its service.
            BadSetting: a file or a variable cannot be used.
        """
        looked = []
        for find in (_environment, _oidc_role, _current_profile, _ini_section, _instance_role, _uri):
            try:
                return _prefixed("default", find())
            except NotThere as reason:
                looked.append(str(reason))
        raise NotThere("; ".join(f"({number}) {reason}" for number, reason in enumerate(looked, start=1)))


class Profile:
    """One profile of ~/.aliyun/config.json."""

    def __init__(self, name: str) -> None:
        self._name = name

    def get_credentials(self) -> Credentials:
        """Return the credentials of this profile.

        Raises:
            NotThere: there is no such profile, or it holds no key.
            NoAnswer, Refusal: its service gave none.
            BadSetting: the file cannot be used.
        """
        return _profile(self._name)


def _environment() -> Credentials:
    missing = [name for name in _KEY_VARIABLES if not os.environ.get(name)]
    raise NotThere(f"{' and '.join(missing)}: not set")


def _oidc_role() -> Credentials:
    role, issuer, file = (os.environ.get(name) for name in _OIDC_VARIABLES)
    if not (role and issuer and file):
        raise NotThere(f"{', '.join(name for name in _OIDC_VARIABLES if not os.environ.get(name))}: not set")
    try:
        provider = OIDCRoleArnCredentialsProvider(role_arn=role, oidc_provider_arn=issuer, oidc_token_file_path=file)
        return provider.get_credentials()
    except OSError as error:
        raise NotThere(f"{_OIDC_VARIABLES[2]} names {file!r}, which cannot be read: {error.strerror}") from error


def _current_profile() -> Credentials:
    return _profile(os.environ.get("ALIBABA_CLOUD_PROFILE"))


def _profile(name: str | None) -> Credentials:
    path = _in_home(".aliyun/config.json")
    if _is_on("ALIBABA_CLOUD_CLI_PROFILE_DISABLED"):
        raise NotThere(
            f"{str(path)!r}: not read, for ALIBABA_CLOUD_CLI_PROFILE_DISABLED is set", advice="unset that variable"
        )
    config = read_profiles(path)
    name = name or config.get("current")
    if not isinstance(name, str) or not name:
        raise NotThere(f"{str(path)!r} names no current profile")
    check_profile(config, name, path)
    return CLIProfileCredentialsProvider(profile_name=name, profile_file=str(path)).get_credentials()


def _ini_section() -> Credentials:
    file = os.environ.get("ALIBABA_CLOUD_CREDENTIALS_FILE")
    path = Path(file) if file else _in_home(".alibabacloud/credentials.ini")
    name = os.environ.get("ALIBABA_CLOUD_PROFILE") or "default"
    if name not in read_sections(path):
        raise NotThere(f"there is no section [{name}] in {str(path)!r}")
    return ProfileCredentialsProvider(profile_file=str(path), profile_name=name).get_credentials()


def _instance_role() -> Credentials:
    if _is_on("ALIBABA_CLOUD_ECS_METADATA_DISABLED"):
        raise NotThere("role of the instance: not requested, for ALIBABA_CLOUD_ECS_METADATA_DISABLED is set")
    role = os.environ.get(_METADATA)
    provider = EcsRamRoleCredentialsProvider(role_name=role or "", async_update_enabled=False)
    try:
        return provider.get_credentials()
    except NoAnswer as error:
        if role or error.status is not None:
            raise
        raise NotThere(f"role of the instance: no answer from {error.address}") from error
    except Refusal as error:
        if role:
            raise
        raise NotThere(f"role of the instance: {error.address} knows of none") from error


def _uri() -> Credentials:
    uri = os.environ.get(_URI)
    if not uri:
        raise NotThere(f"{_URI}: not set")
    return URLCredentialsProvider(uri=uri).get_credentials()


def _prefixed(chain: str, found: Credentials) -> Credentials:
    return Credentials(
        access_key_id=found.get_access_key_id(),
        access_key_secret=found.get_access_key_secret(),
        security_token=found.get_security_token(),
        provider_name=f"{chain}/{found.get_provider_name()}",
    )


def _in_home(name: str) -> Path:
    home = auth_util.get_home()
    if home.startswith("~"):
        raise NotThere(f"~/{name}: there is no home folder, and HOME is not set", advice="set HOME")
    return Path(home, name)


def _is_on(variable: str) -> bool:
    return os.environ.get(variable, "").lower() == "true"


def _adapt_the_vendor() -> None:
    """Make the vendor's providers, and nothing else in this process, use our transport, helper and reading of files.

    The library offers no way for it. Its own writing of a refreshed login goes through the same reading.
    """
    for name, module in list(sys.modules.items()):
        if name.startswith("alibabacloud_credentials.provider.") and hasattr(module, "TeaCore"):
            vars(module)["TeaCore"] = Transport
    replacements: tuple[tuple[Any, str, Any], ...] = (
        (cli_profile, "_load_config", read_profiles),
        (cli_profile, "ExternalCredentialsProvider", BoundedHelper),
        (ini_profile, "_load_ini", read_sections),
    )
    for module, name, replacement in replacements:
        vars(module)[name] = replacement


_adapt_the_vendor()
