"""Land a run: list the accounts, write every answer to the raw file, decide what is published.

    list → guard against a drop in volume, accounts of two names → header of the raw file → Landed

The header holds each decision and its reason; publishing follows it, also years later.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from pipeline.errors import BadSetting, LakeUnusable
from pipeline.extract.bounds import Bounds
from pipeline.extract.claim import RULE
from pipeline.extract.completeness import LEVELS, Level
from pipeline.extract.endpoint import endpoint_url
from pipeline.extract.listing import extract
from pipeline.extract.raw_pages import RawPagesWriter
from pipeline.jobs.same_account import OtherName, find_other_names
from pipeline.jobs.share_check import ShareCheck, check_shares
from pipeline.jobs.volume_guard import LastIds, guard_volume, open_lake, open_with_last_ids
from pipeline.log import logger
from pipeline.resources.image_shares import IMAGE_SHARES
from pipeline.resources.images import IMAGES

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from pipeline.credentials import Account
    from pipeline.extract.claim import FirstLook
    from pipeline.extract.page_reader import Land
    from pipeline.extract.raw_pages import RawRun
    from pipeline.extract.reader import Listing, Progress
    from pipeline.extract.response import Answer
    from pipeline.lake.prefetch import Prefetch
    from pipeline.lake.publish import Answers
    from pipeline.lake.tombstones import Listed
    from pipeline.resources.resource import Resource
    from pipeline.views.parameters import Thresholds

_log = logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The checked arguments of a run."""

    accounts: Sequence[Account]
    endpoint: str
    allow_plain_http: bool
    certificate: Level
    is_strict: bool
    workers: int
    rate: float | None
    timeout_seconds: float | None
    max_answer_mib: float
    max_shrink_percent: float
    accept_shrink: Collection[str]
    """The resources of which a drop in volume is accepted."""
    resources: Sequence[Resource]
    share_check: bool | Thresholds
    """Whether to ask who the cleanup candidates are shared with; thresholds: and by which an image is one."""
    observed_at: dt.datetime | None
    progress: Progress | None

    def check(self) -> None:
        """Refuse arguments that are wrong, before the lake is locked.

        Raises:
            BadSetting: one is.
        """
        if not 0 <= self.max_shrink_percent <= 100:  # refuses `nan` too
            raise BadSetting(f"max_shrink_percent must be a percentage from 0 to 100, not {self.max_shrink_percent}")
        if self.certificate not in LEVELS:
            raise BadSetting(f"certificate {self.certificate!r} is not a level: choose from {', '.join(LEVELS)}")
        endpoint_url(self.endpoint, allow_plain_http=self.allow_plain_http)
        for account in self.accounts:
            self.url_of(account)

    def url_of(self, account: Account) -> str:
        """Return the URL that the account is called at."""
        return endpoint_url(account.endpoint or self.endpoint, allow_plain_http=self.allow_plain_http)


@dataclass(frozen=True, slots=True)
class Landed:
    """The raw file of a run, and what was read into it."""

    raw: RawRun
    listings: Sequence[Listing]
    answers: Answers
    """Account and resource → the answers, each with its row in the raw file."""
    undecided: dict[Listed, LakeUnusable]
    """Account and resource → why a damaged lake did not let its volume be compared."""
    names: dict[str, OtherName]
    """Account → the account that it is another name of."""
    shares: ShareCheck | None
    """Who the cleanup candidates are shared with; None: the run was not asked to check it."""


def land(data: Path, run_id: str, began_at: dt.datetime, request: Request, prefetch: Prefetch) -> Landed:
    """List the accounts, land every answer, decide what is published, and write that into the header."""
    lake, last = open_with_last_ids(data, [account.label for account in request.accounts], request.resources)
    with (
        contextlib.closing(lake) if lake else contextlib.nullcontext(),
        RawPagesWriter(data, run_id, began_at.date()) as writer,
    ):
        if request.certificate == "verified" and prefetch.listed not in last.looks:
            prefetch.wants = lambda pass_number: pass_number > 1  # the first pass of a large account proves nothing
        rows: dict[Listed, list[int]] = defaultdict(list)

        def land_answer(answer: Answer, body: bytes | None) -> None:
            rows[answer.account, answer.resource].append(writer.row_count)
            prefetch.take(writer.row_count, answer, body)
            writer.add(answer, body)

        listings = _list_accounts(request, land_answer, last.looks)
        undecided, names = _compare_with_lake(data, lake, last, request, listings)
        shares = check_shares(data, request, listings, land_answer)
        raw = writer.finish(_header(run_id, began_at, request, listings, undecided, names, shares))
        _log.info("landed %d answers in %r", writer.row_count, str(raw.path))
    landed = {listing.listed: listing.answers for listing in listings}
    landed |= {(account, IMAGE_SHARES.name): one.answers for account, one in (shares.shares if shares else {}).items()}
    answers = {listed: list(zip(rows[listed], found, strict=True)) for listed, found in landed.items()}
    return Landed(raw, listings, answers, undecided, names, shares)


def _compare_with_lake(
    data: Path, lake: Any, last: LastIds, request: Request, listings: Sequence[Listing]
) -> tuple[dict[Listed, LakeUnusable], dict[str, OtherName]]:
    """Guard the volume of each account, and find the accounts that are listed under two names.

    Returns:
        The accounts that a damaged lake does not let compare, and those that are another name.
    """
    guarded = [listing for listing in listings if listing.resource.name not in request.accept_shrink]
    undecided = guard_volume(last, guarded, request.max_shrink_percent)
    set_by_hand = {account.label: account.same_account_as for account in request.accounts if account.same_account_as}
    try:
        return undecided, _find_other_names(data, lake, listings, set_by_hand)
    except LakeUnusable as damage:
        undecided = {listing.listed: damage for listing in guarded if listing.error is None}
    return undecided, find_other_names(None, listings, set_by_hand)


def _find_other_names(
    data: Path, lake: Any, listings: Sequence[Listing], set_by_hand: Mapping[str, str]
) -> dict[str, OtherName]:
    try:
        return find_other_names(lake, listings, set_by_hand)
    except LakeUnusable:
        again, damage = open_lake(data)  # in a bucket, another machine may have withdrawn an observation
        if damage is not None:
            raise
        with contextlib.closing(again) if again else contextlib.nullcontext():
            return find_other_names(again, listings, set_by_hand)


def _list_accounts(request: Request, land_answer: Land, looks: Mapping[Listed, FirstLook]) -> list[Listing]:
    """List the accounts, and land each answer as it arrives."""
    return extract(
        request.accounts,
        land_answer,
        endpoint=request.endpoint,
        allow_plain_http=request.allow_plain_http,
        resources=request.resources,
        level=request.certificate,
        workers=request.workers,
        rate=request.rate,
        timeout_seconds=request.timeout_seconds,
        bounds=Bounds(max_answer_mib=request.max_answer_mib),
        progress=request.progress,
        looks=looks,
        is_strict=request.is_strict,
    )


def _header(
    run_id: str,
    began_at: dt.datetime,
    request: Request,
    listings: Iterable[Listing],
    undecided: dict[Listed, LakeUnusable],
    names: dict[str, OtherName],
    shares: ShareCheck | None,
) -> dict[str, Any]:
    """Return the header of the raw file: what was asked of the run, and the decision about each account."""
    asked = {(account, IMAGES.name): one.image_ids for account, one in (shares.shares if shares else {}).items()}
    own_urls = {account.label: request.url_of(account) for account in request.accounts if account.endpoint}
    return {
        "run_id": run_id,
        "observed_on": str(began_at.date()),
        "code_version": version("ens-images"),
        "asked_certificate": request.certificate,
        "completeness_rule": RULE,
        "endpoint": endpoint_url(request.endpoint, allow_plain_http=request.allow_plain_http),
        "max_shrink_percent": request.max_shrink_percent,
        "accept_shrink": sorted(request.accept_shrink),
        "observed_at_utc": None if request.observed_at is None else request.observed_at.isoformat(),
        "accounts": [
            {
                "account": listing.account,
                "resource": listing.resource.name,
                **({"endpoint": own_urls[listing.account]} if listing.account in own_urls else {}),
                "is_published": None if listing.listed in undecided else listing.error is None,
                "error": None if listing.error is None else f"{type(listing.error).__name__}: {listing.error}",
                "ended_passes": listing.ended_passes,
                "proof": None if listing.claim is None else listing.claim.to_header(),
                "returned_count": listing.returned_count,
                "is_quiet_only": listing.is_quiet_only,
                **(names[listing.account].as_header() if listing.account in names else {}),
                **({"share_image_ids": asked[listing.listed]} if listing.listed in asked else {}),
            }
            for listing in listings
        ],
    }
