"""The client of a bucket: its endpoint, region and credentials; and its errors in our words.

    endpoint, region   environment (AWS_*, OSS_*), else [bucket] of the settings file, else the AWS profile's region
    credentials        s3: environment, else an AWS profile, else the role of this machine
                       oss: environment, else the credentials chain of Alibaba Cloud

A key is never a setting and never part of an address.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipeline.credentials import environment_account
from pipeline.errors import BadSetting, NoAccess, NoCredentials, Unreachable
from pipeline.known_secrets import known_secrets
from pipeline.redaction import redact, redact_userinfo

if TYPE_CHECKING:
    from collections.abc import Iterator

_RETRY: Final[Any] = {"max_retries": 6}
_TIMEOUTS: Final = {"connect_timeout": "10s", "read_timeout": "60s", "timeout": "600s"}
_ENDPOINT: Final = re.compile(r"https?://[^/@]+(/|$)")
_LOCAL_ENDPOINT: Final = re.compile(r"http://(localhost|127\.[0-9.]+|\[::1\])(:|/|$)")
_REFUSED: Final = re.compile(r"status code: (?!408|409|429)4\d\d|incorrectly configured region")
"""In an error of obstore: the service refused the request, and will refuse it again."""
_MACHINE_ROLE: Final = re.compile(r"169\.254\.|/latest/(api/token|meta-data)")
"""In an error of obstore: it asked for the role of this machine, because it found no other credentials."""
_OSS_KEY_MINUTES: Final = 10
"""After which the credentials chain is asked again."""

_settings: dict[str, str] = {}


def configure(endpoint: str | None, region: str | None) -> None:
    """Set the endpoint and the region of buckets, for processes whose environment names none."""
    _settings.clear()
    _settings.update({name: value for name, value in (("endpoint", endpoint), ("region", region)) if value})
    object_client.cache_clear()


# ── the client ───────────────────────────────────────────────────────────────


@functools.cache
def object_client(scheme: str, bucket: str, *, is_writing: bool = False) -> Any:
    """Return obstore's client of one bucket. OSS needs another one for writing: conditional put is a header there.

    Raises:
        BadSetting: the extra `cloud` is not installed; or the endpoint or the region is missing or wrong.
        NoCredentials: there is no key.
    """
    with needs_extra():
        from obstore.store import S3Store
    is_oss = scheme == "oss"
    variables = ("OSS_ENDPOINT",) if is_oss else ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    endpoint = _environment(*variables) or _settings.get("endpoint")
    region = _environment(*(("OSS_REGION",) if is_oss else ("AWS_REGION", "AWS_DEFAULT_REGION")))
    region = region or _settings.get("region")
    options: Any = dict(_TIMEOUTS)
    config: dict[str, Any] = {}
    if is_oss:
        if not (region or endpoint):
            raise BadSetting(f"oss://{bucket} needs a region: OSS_REGION, or `region` below [bucket] in the settings")
        endpoint = endpoint or f"https://{bucket}.s3.oss-{region}.aliyuncs.com"
        config["virtual_hosted_style_request"] = f"//{bucket}." in endpoint
        config["conditional_put"] = "disabled"
        if is_writing:
            options["default_headers"] = {"x-oss-forbid-overwrite": "true"}
    if endpoint:
        _check_endpoint(endpoint)
        options["allow_http"] = endpoint.startswith("http:")
        config["endpoint"] = endpoint
    provider = _oss_credentials(bucket) if is_oss else _aws_credentials(bucket)
    if not (is_oss or region or provider is None):
        region = provider.config.get("region")  # of the profile
    return S3Store(
        bucket,
        region=region or "us-east-1",
        client_options=options,
        retry_config=_RETRY,
        credential_provider=provider,
        **config,
    )


def _environment(*names: str) -> str | None:
    return next((value for name in names if (value := os.environ.get(name))), None)


def _check_endpoint(endpoint: str) -> None:
    if not _ENDPOINT.match(endpoint):
        raise BadSetting(
            f"the bucket's endpoint {redact_userinfo(endpoint)!r} is not an address: https://HOST is expected"
        )
    is_plain = endpoint.startswith("http:") and not _LOCAL_ENDPOINT.match(endpoint)
    if is_plain and os.environ.get("AWS_ALLOW_HTTP") != "true":
        raise BadSetting(f"the bucket's endpoint {endpoint!r} is not https: AWS_ALLOW_HTTP=true allows it")


@contextlib.contextmanager
def needs_extra() -> Iterator[None]:
    """Name the missing extra where an import fails.

    Raises:
        BadSetting: the extra `cloud` is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise BadSetting("a lake in a bucket needs the extra `cloud`: pip install 'ens-images[cloud]'") from error


# ── credentials ──────────────────────────────────────────────────────────────


def _aws_credentials(bucket: str) -> Any:
    """Return the credentials of an AWS profile; None: obstore takes the environment, then the role of this machine."""
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return None
    files = (
        _environment("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials",
        _environment("AWS_CONFIG_FILE") or "~/.aws/config",
    )
    paths = map(os.path.expanduser, files)  # that of Path raises where there is no home
    if not (os.environ.get("AWS_PROFILE") or any(Path(path).exists() for path in paths)):
        return None
    with needs_extra():
        import boto3
        from botocore.exceptions import BotoCoreError
        from obstore.auth.boto3 import Boto3CredentialProvider
    try:
        return Boto3CredentialProvider(boto3.Session())
    except (BotoCoreError, ValueError) as error:  # there is no such profile, or it has no key
        raise _no_credentials(f"s3://{bucket}", error) from None  # a notebook prints the cause too


def _oss_credentials(bucket: str) -> Any:
    """Return a provider of OSS credentials; call it once here, to report missing ones early."""

    def provide() -> dict[str, Any]:
        key, secret = _environment("OSS_ACCESS_KEY_ID"), _environment("OSS_ACCESS_KEY_SECRET")
        token = _environment("OSS_SESSION_TOKEN")
        if not (key and secret):
            credentials = environment_account().resolve()
            key, secret, token = credentials.id, credentials.secret, credentials.token
        expires_at = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=_OSS_KEY_MINUTES)
        return {"access_key_id": key, "secret_access_key": secret, "token": token or None, "expires_at": expires_at}

    try:
        provide()
    except NoCredentials as error:
        raise _no_credentials(f"oss://{bucket}", error) from None
    return provide


def _no_credentials(bucket: str, error: Exception) -> NoCredentials:
    aws, oss = "AWS_ACCESS_KEY_ID and its secret, or AWS_PROFILE", "OSS_ACCESS_KEY_ID and OSS_ACCESS_KEY_SECRET"
    names = oss if bucket.startswith("oss:") else aws
    return NoCredentials(f"no credentials for {bucket!r}: set {names} ({first_line(error)})")


# ── errors ───────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Raise the errors of obstore about an object as ours: see `translated`."""
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, FileNotFoundError) as error:
        raise translated(path, error) from None  # a notebook prints the cause too, with the library's texts


def translated(path: Path, error: Exception) -> Exception:
    """Return our error for an error of obstore about the object `path`.

    Returns: FileNotFoundError, BadSetting, NoCredentials, NoAccess, or else Unreachable: a later try may succeed.
    """
    from obstore.exceptions import NotFoundError, PermissionDeniedError, UnauthenticatedError

    text = str(error)
    if "NoSuchBucket" in text:
        return no_bucket(path)
    if isinstance(error, NotFoundError | FileNotFoundError):
        return FileNotFoundError(str(path))
    if _MACHINE_ROLE.search(text):
        return _no_credentials("://".join((path.parts[0][:-1], path.parts[1])), error)
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return NoAccess(f"{str(path)!r} may not be read or written with these credentials: {first_line(error)}")
    if _REFUSED.search(text):
        return BadSetting(
            f"the service refused a request about {str(path)!r}: check the endpoint and the region "
            f"({first_line(error)})"
        )
    return Unreachable(f"no usable answer about {str(path)!r}: {first_line(error)}")


def no_bucket(path: Path) -> BadSetting:
    """Return the error for a bucket that does not exist."""
    return BadSetting(f"there is no bucket {path.parts[1]!r}: make it, or name another one")


def first_line(error: Exception) -> str:
    """Return an error of obstore without its debug output and without secrets."""
    return redact(re.sub(r"\s+", " ", str(error)).split(" Debug source:")[0], known_secrets())[:300]
