"""A whole account, page by page, with the proof that nothing is missing.

    pass 1   page 1 ─→ TotalCount ─→ pages 2 … n, side by side ─→ a short page ends it
    pass 2   the same again, begun after the last answer of pass 1
             the same ids, none twice, as many as the one TotalCount?  ─→ verified
             else read again, within bounds

Page numbers shift when an account changes while it is read: three deletions
among the pages already read lose three living images, and rows == TotalCount
proves nothing. Why two equal passes do:

    Let t be the instant of the believed page 1 of the last pass. Every answer
    believed in an earlier pass came before t, for page 1 was asked for after
    all of them; every other answer believed in the last pass came after t,
    for the pages behind page 1 are asked for once page 1 is believed.
    So an id seen in both passes was alive before t and after t; ids are never
    reused, so it was alive at t. The answer at t says that TotalCount images
    were alive then. If the ids in both passes are as many as that, they are
    all of them, and none of them is one too many.

So a verified listing is the account at t, its `observed_at_utc`. Two
assumptions, no more: ids are not reused, and TotalCount is honest at t. The
proof asks nothing of the order, the page numbers, the page size or the other
answers, nor that a page came at the first try: an answer that is not believed
is not used. An account whose one answer holds all of its TotalCount needs no
second pass.

A page that does not hold together (null, short, a wrong PageNumber, an id
twice, a TotalCount unlike the others') is asked again before it is believed.
Nothing is asked for ever: pages, asks, passes and throttling all have an end
(`Bounds`). Over 1,037 images every lie ends within 90 s at 20 calls a second.
What makes honest progress is read to its end, however long that takes: a
service that cuts its pages to one image costs as many calls as images. Who
cannot wait gives a `--timeout`.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import TYPE_CHECKING

from pipeline.errors import BadSetting, EnsImagesError
from pipeline.extract.client import DEFAULT_WORKERS, EnsApi
from pipeline.extract.endpoint import DEFAULT_ENDPOINT
from pipeline.extract.event_loop import run_blocking
from pipeline.extract.rate_limit import DEFAULT_RATE
from pipeline.extract.reader import Bounds, Land, Listing, Progress, Reader, _gather
from pipeline.log import logger
from pipeline.runtime import rare_collection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.credentials import Account
    from pipeline.extract.completeness import Level

_log = logger(__name__)


def extract(
    accounts: Sequence[Account],
    land: Land,
    *,
    endpoint: str = DEFAULT_ENDPOINT,
    allow_plain_http: bool = False,
    level: Level = "verified",
    filters: Mapping[str, str] | None = None,
    workers: int = DEFAULT_WORKERS,
    rate: float | None = DEFAULT_RATE,
    timeout_seconds: float | None = None,
    bounds: Bounds | None = None,
    progress: Progress | None = None,
) -> list[Listing]:
    """Read every account, side by side, until its listing proves `level` or the bounds are reached.

    An account that has an endpoint of its own is read there. Each endpoint has its own workers and pace.
    Every answer goes to `land` as it comes. An account that fails costs no other: its error is in its listing.

    Raises:
        BadSetting: the endpoint, the workers, the rate or the timeout make no sense.
    """

    async def read_all() -> list[Listing]:
        apis = {
            place: EnsApi(
                place,
                allow_plain_http=allow_plain_http,
                workers=workers,
                rate=rate,
                back_off_seconds=limits.back_off_seconds,
                throttled_seconds=limits.throttled_seconds,
            )
            for place in dict.fromkeys(account.endpoint or endpoint for account in accounts)
        }
        readers = [
            Reader(apis[account.endpoint or endpoint], account, level, filters or {}, land, limits, workers, progress)
            for account in accounts
            if account.label not in failed
        ]
        until = None if timeout_seconds is None else asyncio.get_running_loop().time() + timeout_seconds
        async with contextlib.AsyncExitStack() as stack:
            for api in apis.values():
                await stack.enter_async_context(api)
            return await _gather(reader.listing(until, timeout_seconds) for reader in readers)

    if timeout_seconds is not None and not (math.isfinite(timeout_seconds) and timeout_seconds > 0):
        raise BadSetting(f"timeout must be a number of seconds above 0, not {timeout_seconds}")
    limits = bounds or Bounds()
    failed: dict[str, Listing] = {}
    for account in accounts:  # before fanning out: the vendor's providers are not made for many coroutines
        try:
            account.resolve()
        except EnsImagesError as error:
            failed[account.label] = Listing(account.label, error=error)
    with rare_collection():
        read = {listing.account: listing for listing in run_blocking(read_all)}
    return [(read | failed)[account.label] for account in accounts]
