"""Read accounts page by page, until each listing is proven complete.

    pass 1   page 1 ─→ TotalCount ─→ last page ─→ the others, concurrently ─→ page 1 again
             every image was seen before page 1, or in the last observation, and after it?      ─→ verified
    pass 2   the same, started after the last answer of pass 1; and so on, within bounds

Page numbers shift while an account changes: three deletions on pages already
read hide three living images, and rows == TotalCount proves nothing. An instant
with witnesses before and after it does: `proof` has the rule and its reason.

An account of m pages in which nothing is new since its last observation takes
m + 1 calls, m + 3 where new images are at an end of the list, 2 m + 1 where
they are in the middle, or at the first time. An account that fits into one
answer takes one.

A page with a contradiction (null, short, a wrong PageNumber, a repeated id, a
TotalCount unlike the others') is requested again before it is accepted. Pages,
requests, passes and throttling are all bounded (`Bounds`): with 1,037 images
and 20 calls a second, every contradiction ends within 90 s. Honest progress is
read as long as it keeps a quarter of the rate (`TimeLimit`): a service that
cuts pages to one image costs as many calls as images. `--timeout` replaces
that limit.
"""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING

from pipeline.credentials import TRIES
from pipeline.errors import BadSetting, EnsImagesError, Unreachable
from pipeline.extract.bounds import Bounds
from pipeline.extract.client import DEFAULT_WORKERS, EnsApi
from pipeline.extract.endpoint import DEFAULT_ENDPOINT
from pipeline.extract.event_loop import gather, run_blocking
from pipeline.extract.rate_limit import DEFAULT_RATE
from pipeline.extract.reader import Listing, Progress, Reader
from pipeline.extract.time_limit import TimeLimit
from pipeline.resources.images import IMAGES_RESOURCE
from pipeline.runtime import rare_collection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.credentials import Account
    from pipeline.extract.claim import FirstLook
    from pipeline.extract.completeness import Level
    from pipeline.extract.page_reader import Land
    from pipeline.resources.resource import Resource


def extract(
    accounts: Sequence[Account],
    land: Land,
    *,
    endpoint: str = DEFAULT_ENDPOINT,
    allow_plain_http: bool = False,
    resources: Sequence[Resource] = (IMAGES_RESOURCE,),
    level: Level = "verified",
    filters: Mapping[str, str] | None = None,
    workers: int = DEFAULT_WORKERS,
    rate: float | None = DEFAULT_RATE,
    timeout_seconds: float | None = None,
    bounds: Bounds | None = None,
    progress: Progress | None = None,
    looks: Mapping[tuple[str, str], FirstLook] | None = None,
    is_strict: bool = False,
) -> list[Listing]:
    """Read the resources of the accounts concurrently, until each listing proves `level` or the bounds are reached.

    An account with an endpoint of its own is read there. Each endpoint has its own workers and rate limit.
    Every answer goes to `land` as it arrives. `looks` holds what the last observation of an account and resource has;
    with `is_strict` an account of one page is asked for twice.

    Returns:
        One listing per account and resource, account by account, in the same order. An account that fails has the error
        in its listings.

    Raises:
        BadSetting: the endpoint, the workers, the rate or the timeout make no sense.
    """
    if timeout_seconds is not None and not (math.isfinite(timeout_seconds) and timeout_seconds > 0):
        raise BadSetting(f"timeout must be a number of seconds above 0, not {timeout_seconds}")
    limits = bounds or Bounds()
    failed = _resolve_credentials(accounts)

    async def read_all() -> list[Listing]:
        apis = {
            address: EnsApi(
                address,
                allow_plain_http=allow_plain_http,
                workers=workers,
                rate=rate,
                max_answer_mib=limits.max_answer_mib,
                retry=limits.retry,
            )
            for address in dict.fromkeys(account.endpoint or endpoint for account in accounts)
        }
        listed: dict[str, list[tuple[str, str]]] = {address: [] for address in apis}
        for account in accounts:
            listed[account.endpoint or endpoint] += [(account.label, resource.name) for resource in resources]
        times = {address: TimeLimit(listed[address], rate, timeout_seconds, limits) for address in apis}

        def reader(account: Account, resource: Resource) -> Reader:
            address = account.endpoint or endpoint
            look = (looks or {}).get((account.label, resource.name))
            time_limit = times[address]
            return Reader(
                apis[address],
                account,
                resource,
                level,
                filters or {},
                land,
                limits,
                time_limit,
                workers,
                progress,
                look,
                is_strict=is_strict,
            )

        readers = [
            reader(account, resource) for account in accounts if account.label not in failed for resource in resources
        ]
        async with contextlib.AsyncExitStack() as stack:
            for api in apis.values():
                await stack.enter_async_context(api)
            return await gather(reader.listing() for reader in readers)

    with rare_collection():
        listings = {listing.listed: listing for listing in run_blocking(read_all)}
    return [
        Listing(account.label, resource, error=failed[account.label])
        if account.label in failed
        else listings[account.label, resource.name]
        for account in accounts
        for resource in resources
    ]


def _resolve_credentials(accounts: Sequence[Account]) -> dict[str, EnsImagesError]:
    """Resolve every account's credentials one by one: the vendor's providers are not made for concurrent use.

    Returns:
        The error of each account that has no credentials.
    """
    failed: dict[str, EnsImagesError] = {}
    tries = TRIES
    for account in accounts:
        try:
            account.resolve(tries=tries)
        except EnsImagesError as error:
            failed[account.label] = error
            if isinstance(error, Unreachable):
                tries = 1  # a network that is down would be waited for once an account, of hundreds
    return failed
