"""Read one account, pass by pass, until its listing is proven or the bounds are reached."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pipeline.errors import EnsImagesError, IncompleteListing, OurMistake, OutOfTime
from pipeline.extract.claim import Claim, FirstLook, claim_of, published_ids
from pipeline.extract.completeness import LEVELS, Level, accepted_pages, certify_count, listed_ids
from pipeline.extract.event_loop import gather
from pipeline.extract.listing_pass import Pass
from pipeline.extract.page_reader import Land, LandingFailed, PageReader, PassBroken
from pipeline.extract.proof import Terms
from pipeline.extract.shortfall import shortfall, state_at_timeout
from pipeline.extract.watch import count_clock_steps_back, remarkable, watched
from pipeline.log import about, logger
from pipeline.memory import raise_if_out_of_memory
from pipeline.resources.images import IMAGES_RESOURCE
from pipeline.text import pluralize

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.credentials import Account
    from pipeline.extract.bounds import Bounds
    from pipeline.extract.client import EnsApi
    from pipeline.extract.response import Answer, Page
    from pipeline.extract.time_limit import Estimate, TimeLimit
    from pipeline.resources.resource import Resource

_log = logger(__name__)


class Progress(Protocol):
    """Called after every page: pages read in this pass, how many there are (None: not known), how long it may take."""

    def __call__(
        self, account: str, pass_number: int, pages: int, page_count: int | None, estimate: Estimate, /
    ) -> None:
        """Show it."""


@dataclass(slots=True)
class Listing:
    """The result for a resource of an account: its answers in the order they arrived, and the error that ended it."""

    account: str
    resource: Resource
    answers: list[Answer] = field(default_factory=list)
    begun_passes: int = 0
    ended_passes: int = 0
    last_pass: list[Page] = field(default_factory=list)
    level: Level | None = None
    claim: Claim | None = None
    """How the answers prove the listing, where they do."""
    claimed_ids: set[str] = field(default_factory=set)
    """The ids at the instant of the claim."""
    returned_count: int = 0
    """Items that were gone by the last observation, and are back."""
    is_quiet_only: bool = False
    """Whether two quiet passes alone could prove it, for answers of the account went back in time."""
    error: EnsImagesError | None = None

    @property
    def listed(self) -> tuple[str, str]:
        """Account and resource."""
        return self.account, self.resource.name

    @property
    def ids(self) -> set[str]:
        """The ids that are published: those at the instant of the claim, else those of the last pass."""
        return self.claimed_ids if self.claim else listed_ids(self.answers, self.ended_passes, None)


def listing_name(account: str, resource: str) -> str:
    """What a line about a listing begins with: the account, and the resource where it is not the first."""
    return account if resource == IMAGES_RESOURCE.name else f"{account}/{resource}"


class _Ends(NamedTuple):
    """Both ends of the list, as the first pass reads them before the rest."""

    last_page: int
    new_ids: set[str]


class _Proving:
    """The time that proving takes: within a pass it is tried when that costs little beside the reading."""

    _SHARE = 30
    _FEW_ANSWERS = 64
    """So many cost nothing: a small account takes the same calls each time."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._ended_at = time.monotonic()

    def __enter__(self) -> None:
        self._began_at = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._ended_at = time.monotonic()
        self._seconds = self._ended_at - self._began_at

    def is_due(self, answer_count: int) -> bool:
        """Whether thirty times as long as the last try took has gone by, or the answers are few."""
        return answer_count <= self._FEW_ANSWERS or time.monotonic() - self._ended_at > self._SHARE * self._seconds


class Reader:
    """Reads one account."""

    def __init__(
        self,
        api: EnsApi,
        account: Account,
        resource: Resource,
        level: Level,
        filters: Mapping[str, str],
        land: Land,
        bounds: Bounds,
        limit: TimeLimit,
        workers: int,
        progress: Progress | None,
        look: FirstLook | None = None,
        *,
        is_strict: bool = False,
    ) -> None:
        self._url = api.url
        self._account = account.label
        self._level = level
        self._bounds = bounds
        self._limit = limit
        self._timer: asyncio.Timeout | None = None
        self._workers = workers
        self._progress = progress
        self._noun = resource.noun
        self._page_size = resource.action.page_size
        self._listing = Listing(account.label, resource)
        self._name = listing_name(account.label, resource.name)
        self._pages = PageReader(api, account, resource, filters, land, bounds, self._listing.answers)
        self._current: Pass | None = None
        self._look = look
        self._is_settled = account.settle_seconds is not None
        self._terms = Terms(
            bounds.settle_seconds if account.settle_seconds is None else account.settle_seconds,
            account.settle_seconds or 0.0,
            is_strict=is_strict,
            is_quiet_only=look is not None and look.went_back and not self._is_settled,
        )
        self._proving = _Proving()
        self._claimed_answer_count = 0

    async def listing(self) -> Listing:
        """Read until the level is proven, within the limits.

        Returns:
            The listing; an error of this account is in it, so that it affects no other account.
        """
        with about(account=self._name):
            started = time.monotonic()
            await self._read_within()
            error = self._listing.error
            if error is not None:
                self._listing.claim = None  # answers came after it, and it was not proven again
            has_clock_gone_back = count_clock_steps_back(self._listing.answers) > 0
            self._listing.is_quiet_only = self._terms.is_quiet_only or has_clock_gone_back
            result = self._listing.level if error is None else type(error).__name__
            self._log_watch()
            _log.info("%s, in %.3f s", result, time.monotonic() - started)
            return self._listing

    async def _read_within(self) -> None:
        try:
            async with asyncio.timeout_at(self._limit.deadline()) as self._timer:
                await self._read()
        except TimeoutError:
            state = state_at_timeout(self._listing, self._current, self._limit, self._url)
            self._listing.error = OutOfTime(f"account {self._account!r} was not read within {self._limit}: {state}")
        except EnsImagesError as error:
            self._listing.error = error
        except LandingFailed as failed:
            raise failed.cause from None
        except Exception as bug:  # noqa: BLE001 - a bug met in one account must not affect the others
            raise_if_out_of_memory(bug)
            _log.warning("unexpected error", exc_info=bug)
            self._listing.error = OurMistake(
                f"account {self._account!r} could not be read because of a bug in ens-images: "
                f"{type(bug).__name__}: {bug}; report it with the traceback above and the raw pages, which are kept"
            )

    async def _read(self) -> None:
        listing = self._listing
        second_ended_at = float("inf")
        is_broken = False
        for number in range(1, self._bounds.passes + 1):
            if (
                time.monotonic() - second_ended_at
                > self._bounds.seconds_after_two + 4 * self._terms.quiet_settle_seconds
            ):
                break
            listing.begun_passes = number
            try:
                listing.last_pass = await self._read_pass(number)
            except PassBroken:
                is_broken = True
            else:
                is_broken = False
                listing.ended_passes = number
                # computed from the answers, as `rebuild` and `check` do: they include the pages of broken passes
                self._prove()
                listing.level = "verified" if listing.claim else certify_count(accepted_pages(listing.answers))
                if LEVELS.index(listing.level) >= LEVELS.index(self._level):
                    return
            if number == 2:
                second_ended_at = time.monotonic()
        raise IncompleteListing(shortfall(listing, self._level, is_broken=is_broken))

    async def _read_pass(self, number: int) -> list[Page]:
        """Read all pages once.

        Raises:
            PassBroken: a page stayed unreadable.
        """
        previous = self._listing.last_pass
        total = previous[0].total if previous else None
        current = Pass(number, self._page_size, self._bounds, total, is_counted=self._level != "verified")
        self._current = current
        settle = self._terms.settle_seconds if number > 2 else self._terms.quiet_settle_seconds
        await asyncio.sleep(settle if number > 1 else 0.0)
        await self._read_page(current, 1)
        current.accept_page_size()
        await asyncio.sleep(settle if (current.page_count() or 0) > 1 else 0.0)
        ends = await self._read_ends(current)
        requested = 1
        while True:
            page_count = current.page_count() or 0
            if self._gives_up(current):
                return current.pages_in_order
            if page_count > requested and not current.has_too_many_empty_pages():
                await self._read_concurrently(current, range(requested + 1, page_count + 1))
                requested = page_count
            elif current.continues():
                await self._read_page(current, max(current.pages) + 1)
            else:
                self._page_size = current.smallest_page_size()
                await self._read_first_page_again(current, ends)
                return current.pages_in_order

    async def _read_ends(self, current: Pass) -> _Ends:
        """Read the last page second, where the last observation is a first look at most of the account.

        Where it has not all of both ends, page 1 is read again: it is the instant then, and what is new at the ends was
        seen before it.

        Returns:
            The last page, and the ids at the ends that are new.
        """
        page_count = current.page_count() or 0
        if (
            self._level != "verified"
            or self._look is None
            or self._terms.is_quiet_only
            or self._terms.quiet_settle_seconds  # page 1 would come too soon after what is new at the ends
            or current.number > 1
            or page_count < 2
        ):
            return _Ends(page_count, set())
        await self._read_page(current, page_count)
        new = {item_id for page in current.pages_in_order for item_id in page.ids} - self._look.ids
        if new:
            await self._read_page(current, 1)
        return _Ends(page_count, new)

    async def _read_first_page_again(self, current: Pass, ends: _Ends) -> None:
        """Read page 1 after the others: its items are seen after the instant too.

        With new items at the ends, the last page as well: it was read before the instant.

        In the first pass only where that may prove the listing: every item was seen before.
        """
        if self._level != "verified" or (len(current.pages) == 1 and current.is_one_page()):
            return
        if current.number == 1:
            known = (self._look.ids if self._look and not self._terms.is_quiet_only else frozenset()) | ends.new_ids
            if not all(known.issuperset(page.ids) for page in current.pages_in_order):
                return
        await self._read_page(current, 1)
        if ends.new_ids:
            await self._read_page(current, ends.last_page)

    async def _read_concurrently(self, current: Pass, numbers: range) -> None:
        remaining = iter(numbers)  # a wrong TotalCount makes them many

        async def worker() -> None:
            for number in remaining:
                if current.has_too_many_empty_pages() or self._gives_up(current):
                    return
                if number not in current.pages:
                    await self._read_page(current, number)

        await gather(worker() for _ in range(min(self._workers, len(numbers))))

    async def _read_page(self, current: Pass, number: int) -> None:
        current.accept(number, await self._pages.read(current, number))
        if current.number > 1 and self._proving.is_due(len(self._listing.answers)):
            self._prove()
        page_count = current.page_count()
        self._limit.announce(self._listing.listed, max(page_count or 0, len(current.pages)))
        if self._timer and not self._timer.expired():
            self._timer.reschedule(self._limit.deadline())
        if self._progress:
            try:
                self._progress(self._name, current.number, len(current.pages), page_count, self._limit.estimate())
            except Exception as error:  # noqa: BLE001  (whatever shows it fails no listing)
                self._progress = None
                _log.warning("progress is not shown any more: %s: %s", type(error).__name__, error)

    def _prove(self) -> None:
        """Look for a proof in the answers so far; below `verified` a single page alone may be one."""
        listing = self._listing
        if self._level != "verified" and len(listing.last_pass) != 1:
            return
        if listing.claim is not None and self._claimed_answer_count == len(listing.answers):
            return
        with self._proving:
            self._claim()
            if listing.claim is not None and self._look is not None:
                new = listing.claimed_ids - self._look.ids
                listing.returned_count = self._look.count_returned(new) if new else 0
                if listing.returned_count and not self._is_settled and not self._terms.is_quiet_only:
                    _log.warning(
                        "%s that the last observation had not, and an earlier one had: two quiet passes must prove it",
                        pluralize(listing.returned_count, self._noun),
                    )
                    self._terms = replace(self._terms, is_quiet_only=True)
                    self._claim()

    def _claim(self) -> None:
        listing = self._listing
        self._claimed_answer_count = len(listing.answers)
        listing.claim = claim_of(listing.answers, self._look, self._terms)
        listing.claimed_ids = published_ids(listing.answers, listing.claim) if listing.claim else set()

    def _log_watch(self) -> None:
        """Log what the answers showed that a proof assumes not to happen; `status` shows it too."""
        claim = self._listing.claim
        seen = watched(self._listing.answers, is_quiet=claim is not None and claim.kind != "instant")
        if found := remarkable(seen):
            _log.warning("the answers show %s", ", ".join(f"{name} {value}" for name, value in found.items()))

    def _gives_up(self, current: Pass) -> bool:
        """Whether the pass ends: the listing is proven, or the pass cannot prove the level."""
        if self._listing.claim is not None:
            return True
        return self._level == "counted" and current.is_unprovable()
