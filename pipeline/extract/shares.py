"""Read the accounts that images are shared with: a call an image, of the few images that are asked for.

    image 1, 2, … of an account ─→ DescribeImageSharePermission, page by page ─→ land ─→ count

The place of an image, from 1, is the `pass_number` of its answers. A failure ends the reading of its account and no
listing: an image without a consistent answer has no count.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pipeline.errors import EnsImagesError, OurMistake, OutOfTime
from pipeline.extract.client import EnsApi
from pipeline.extract.event_loop import gather, run_blocking
from pipeline.extract.listing_pass import Pass
from pipeline.extract.page_reader import LandingFailed, PageReader, PassBroken
from pipeline.log import about, logger
from pipeline.memory import raise_if_out_of_memory
from pipeline.resources.image_shares import IMAGE_SHARES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pipeline.credentials import Account
    from pipeline.extract.bounds import Bounds
    from pipeline.extract.page_reader import Land
    from pipeline.extract.response import Answer, Page

_log = logger(__name__)

_TIME_FACTOR: Final = 4.0
_LEAST_SECONDS: Final = 60.0
"""The time limit: so many times what a call an image takes at the rate, and so many seconds."""


@dataclass(slots=True)
class Shares:
    """The answers about some images of an account, in the order they arrived, and the error that ended the reading."""

    account: str
    image_ids: Sequence[str]
    answers: list[Answer] = field(default_factory=list)
    error: EnsImagesError | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Image → the number of accounts that it is shared with."""
        return share_counts(self.image_ids, self.answers)


def share_counts(image_ids: Sequence[str], answers: Iterable[Answer]) -> dict[str, int]:
    """Count the accounts of each image by the last page of each number, where TotalCount agrees.

    Returns: image → count, without the images that have no consistent answer.
    """
    pages: dict[int, dict[int, Page]] = {}
    for answer in answers:
        if answer.page is not None:
            pages.setdefault(answer.pass_number, {})[answer.page_number] = answer.page
    counts = {}
    for number, image_id in enumerate(image_ids, start=1):
        found = pages.get(number, {}).values()
        shared_with = {uid for page in found for uid in page.ids}
        if {page.total for page in found} == {len(shared_with)}:
            counts[image_id] = len(shared_with)
    return counts


def read_shares(
    accounts: Mapping[Account, Sequence[str]],
    land: Land,
    *,
    endpoint: str,
    allow_plain_http: bool,
    workers: int,
    rate: float | None,
    timeout_seconds: float | None,
    bounds: Bounds,
) -> list[Shares]:
    """Read who the given images of each account are shared with; every answer goes to `land` as it arrives."""
    calls = sum(map(len, accounts.values()))
    seconds = timeout_seconds or _LEAST_SECONDS + _TIME_FACTOR * calls / (rate or math.inf)

    async def read_all() -> list[Shares]:
        async with contextlib.AsyncExitStack() as stack:
            apis = {}
            for address in dict.fromkeys(account.endpoint or endpoint for account in accounts):
                api = EnsApi(
                    address,
                    allow_plain_http=allow_plain_http,
                    workers=workers,
                    rate=rate,
                    max_answer_mib=bounds.max_answer_mib,
                    retry=bounds.retry,
                )
                apis[address] = await stack.enter_async_context(api)
            return await gather(
                _read_account(apis[account.endpoint or endpoint], account, image_ids, land, bounds, seconds)
                for account, image_ids in accounts.items()
            )

    return run_blocking(read_all)


async def _read_account(
    api: EnsApi, account: Account, image_ids: Sequence[str], land: Land, bounds: Bounds, seconds: float
) -> Shares:
    shares = Shares(account.label, image_ids)
    try:
        with about(account=f"{account.label}/{IMAGE_SHARES.name}"):
            async with asyncio.timeout(seconds):
                await gather(
                    _read_image(api, account, number, image_id, land, bounds, shares)
                    for number, image_id in enumerate(image_ids, start=1)
                )
    except TimeoutError:
        shares.error = OutOfTime(f"account {account.label!r} was not read within {seconds:,.0f} s")
    except EnsImagesError as error:
        shares.error = error
    except LandingFailed as failed:
        raise failed.cause from None
    except Exception as bug:  # noqa: BLE001  (a bug met here must not cost the listings)
        raise_if_out_of_memory(bug)
        _log.warning("unexpected error", exc_info=bug)
        shares.error = OurMistake(f"a bug in ens-images: {type(bug).__name__}: {bug}; report it")
    return shares


async def _read_image(
    api: EnsApi, account: Account, number: int, image_id: str, land: Land, bounds: Bounds, shares: Shares
) -> None:
    """Read every page of one image; one that stays unreadable leaves the image without a count."""
    parameters = {name: image_id for _, name in IMAGE_SHARES.action.filters}
    reader = PageReader(api, account, IMAGE_SHARES, parameters, land, bounds, shares.answers)
    current = Pass(number, IMAGE_SHARES.action.page_size, bounds)
    with contextlib.suppress(PassBroken):
        current.accept(1, await reader.read(current, 1))
        current.accept_page_size()
        for page_number in range(2, (current.page_count() or 1) + 1):
            current.accept(page_number, await reader.read(current, page_number))
