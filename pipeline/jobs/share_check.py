"""Ask who the images are shared with that a clean-up would name, and only those.

    candidates of the lake before the run, that the new listing still has ─→ DescribeImageSharePermission, a call each

It is asked for by `share_check`, needs a right of its own, and fails no run.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.errors import EnsImagesError, LakeMissing
from pipeline.extract.bounds import Bounds
from pipeline.extract.shares import Shares, read_shares
from pipeline.reports.query import duckdb_message
from pipeline.resources.images import IMAGES_RESOURCE
from pipeline.text import pluralize
from pipeline.views.connection import connect

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pipeline.credentials import Account
    from pipeline.extract.page_reader import Land
    from pipeline.extract.reader import Listing
    from pipeline.jobs.land import Request

_CANDIDATES: Final = """
    select account, image_id from cleanup_candidates
    union
    select account, image_id from stale_images
    order by account, image_id
"""


@dataclass(frozen=True, slots=True)
class ShareCheck:
    """The result of a run that was asked to check shares."""

    shares: Mapping[str, Shares]
    """Account → its answers, for each account whose listing of images is published."""
    error: EnsImagesError | None = None
    """Why the lake does not tell the candidates."""

    def lines(self) -> list[str]:
        """Return a line for each account that was asked for anything."""
        if self.error is not None:
            return [f"shares not checked: {type(self.error).__name__}: {self.error}"]
        return [_line(one) for one in self.shares.values() if one.image_ids]


def _line(shares: Shares) -> str:
    counts = shares.counts
    shared = sum(count > 0 for count in counts.values())
    candidates = pluralize(len(shares.image_ids), "cleanup candidate")
    line = f"{shares.account}: {shared:,} of {candidates} shared with other accounts"
    unknown = len(shares.image_ids) - len(counts)
    if not unknown:
        return line
    error = shares.error
    reason = "no usable answer" if error is None else f"{type(error).__name__}: {error}"
    return f"{line}, {unknown:,} not known: {reason}"


def check_shares(data: Path, request: Request, listings: Sequence[Listing], land: Land) -> ShareCheck | None:
    """Ask for the candidates of each account whose images were listed; None: the run was not asked to."""
    if request.share_check is False:
        return None
    listed = {
        listing.account: listing.ids
        for listing in listings
        if listing.resource is IMAGES_RESOURCE and listing.error is None
    }
    if not listed:
        return None
    try:
        candidates = _candidates(data, request)
    except EnsImagesError as error:
        return ShareCheck({}, error)
    asked: dict[Account, list[str]] = {
        account: [image_id for image_id in candidates.get(account.label, ()) if image_id in listed[account.label]]
        for account in request.accounts
        if account.label in listed
    }
    found = read_shares(
        asked,
        land,
        endpoint=request.endpoint,
        allow_plain_http=request.allow_plain_http,
        workers=request.workers,
        rate=request.rate,
        timeout_seconds=request.timeout_seconds,
        bounds=Bounds(max_answer_mib=request.max_answer_mib),
    )
    return ShareCheck({one.account: one for one in found})


def _candidates(data: Path, request: Request) -> dict[str, list[str]]:
    """Return account → the images that the lake would name, by the thresholds of the run."""
    thresholds = None if isinstance(request.share_check, bool) else request.share_check
    found: dict[str, list[str]] = {}
    with (
        contextlib.suppress(LakeMissing),  # the first run: nothing is known yet
        contextlib.closing(connect(data, thresholds=thresholds)) as lake,
        duckdb_message(),
    ):
        for account, image_id in lake.execute(_CANDIDATES).fetchall():
            found.setdefault(account, []).append(image_id)
    return found
