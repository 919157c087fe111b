"""Checks of the accounts and the service: credentials, endpoint, TLS, clock, one signed call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.errors import ClockIsWrong, NotPermitted, Refused
from pipeline.extract.client import EnsApi
from pipeline.extract.event_loop import run_blocking
from pipeline.extract.response import NotAPage, read_page
from pipeline.extract.retry import RetryPolicy
from pipeline.jobs.doctor.findings import NotKnown, NotNeeded
from pipeline.log import about
from pipeline.redaction import redact_userinfo
from pipeline.resources.images import IMAGES_RESOURCE
from pipeline.text import escape_control, pluralize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.credentials import Account
    from pipeline.extract.attempt import Attempt
    from pipeline.extract.probe import Probe
    from pipeline.resources.resource import Resource

_MAX_CLOCK_SECONDS: Final = 15 * 60
"""The service refuses a signature that is older or younger than this."""
_RETRY: Final = RetryPolicy(back_off_seconds=0.05, throttled_seconds=10.0)
"""A user waits, so a call that keeps failing ends sooner than in a run."""
_PROVIDERS: Final = {
    "env": "environment variables",
    "oidc_role_arn": "an OIDC role",
    "cli_profile": "~/.aliyun/config.json",
    "profile": "~/.alibabacloud/credentials.ini",
    "ecs_ram_role": "the role of this ECS instance",
    "credential_uri": "ALIBABA_CLOUD_CREDENTIALS_URI",
}


def check_accounts(accounts: Sequence[Account]) -> tuple[str, Sequence[Account]]:
    """Return the labels of the accounts, and the accounts."""
    return ", ".join(escape_control(account.label) for account in accounts), accounts


def check_credentials(account: Account) -> str:
    """Return which provider of the vendor's chain found the credentials; the credentials themselves stay hidden.

    Raises:
        NoCredentials: no provider found any.
    """
    account.resolve()
    provider = account.found_by or "the caller"
    place = next((place for part in provider.split("/") if (place := _PROVIDERS.get(part))), None)
    return f"found by {provider}" + (f": {place}" if place else "")


def check_endpoint(endpoint: str, probe: Probe) -> tuple[str, Probe]:
    """Return how fast the endpoint responds, and the probe.

    Raises:
        Unreachable: there is no response.
    """
    if probe.error is not None and not probe.is_tls:
        raise probe.error
    return f"{redact_userinfo(endpoint)} answers, in {probe.seconds:.3f} s", probe


def check_tls(probe: Probe | None) -> str:
    """Return whether TLS is used and trusted.

    Raises:
        Unreachable: the certificate is not trusted.
    """
    if probe is None:
        raise NotKnown("the endpoint does not answer")
    if probe.error is not None:
        raise probe.error
    return "none: plain http" if probe.url.startswith("http://") else "the certificate is trusted"


def check_clock(probe: Probe | None) -> str:
    """Compare this machine's clock with the service's.

    Raises:
        ClockIsWrong: they differ by more than the service accepts.
    """
    if probe is None or probe.error is not None:
        raise NotKnown("the time of the service is known once it is reached, with a trusted certificate")
    if probe.clock_ahead_seconds is None:
        raise NotKnown("the service has not sent its time")
    ahead = probe.clock_ahead_seconds
    difference = f"{abs(ahead):,.0f} s {'ahead of' if ahead > 0 else 'behind'} the service"
    if abs(ahead) > _MAX_CLOCK_SECONDS:
        raise ClockIsWrong(f"this machine is {difference}, which accepts 15 minutes: set the clock (NTP)")
    return "right to the second" if abs(ahead) <= 2 else difference


def check_call(
    account: Account,
    endpoint: str,
    probe: Probe | None,
    resource: Resource = IMAGES_RESOURCE,
    *,
    allow_plain_http: bool,
    is_optional: bool = False,
) -> str:
    """List one item of a resource with a signed call.

    Raises:
        NotNeeded: the account has no right to list it, and a run does without.
        Refused: the service refuses the call, or the endpoint is not ENS.
    """
    if account.key is None:
        raise NotKnown("there are no credentials to sign with")
    if probe is None or probe.error is not None:
        raise NotKnown("the endpoint cannot be called")

    async def call() -> Attempt:
        async with EnsApi(endpoint, allow_plain_http=allow_plain_http, retry=_RETRY) as api:
            return await api.call(account, resource.action, {"PageNumber": "1", "PageSize": "1"}, lambda _: None)

    try:
        with about(account=account.label):
            answer = run_blocking(call)
    except NotPermitted as error:
        if is_optional:
            right = resource.action.permission
            raise NotNeeded(f"{right} is not granted: a run does without, and knows no {resource.name}") from error
        raise
    try:
        page = read_page(answer.body or b"", resource=resource)
    except NotAPage as error:
        raise Refused(f"{probe.url} answers, but not as ENS: {error}: check the endpoint") from error
    items = "it does not say how many" if page.total is None else pluralize(page.total, resource.noun)
    return f"allowed: {resource.action.permission}, {items}"
