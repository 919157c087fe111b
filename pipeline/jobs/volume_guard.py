"""Guard against a drop in volume: an account that lost most of its images is not published.

    the ids of its last published observation: more than half of ten or more are gone, or all → AccountShrank

A lost permission looks like that too. The decision stands in the header of the
raw file, so that a rebuild comes to the same one. Where a damaged lake did not
let a run decide, the rebuild that repairs the lake does.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

from pipeline.errors import AccountShrank, LakeMissing, LakeUnusable
from pipeline.reports.query import duckdb_message
from pipeline.text import pluralize
from pipeline.views.connection import connect

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from pipeline.extract.raw_pages import RawRun
    from pipeline.extract.reader import Listing
    from pipeline.extract.response import Answer

_MIN_IMAGES: Final = 10
"""A smaller account is only guarded against becoming empty."""


@contextlib.contextmanager
def lake_or_none(data: Path) -> Iterator[Any]:
    """Connect to the lake; None where there is none yet."""
    try:
        lake = connect(data)
    except LakeMissing:
        yield None
        return
    with contextlib.closing(lake):
        yield lake


def volume_drop(lake: Any, account: str, image_ids: set[str], max_percent: float) -> AccountShrank | None:
    """Compare the images of an account with its last observation in `lake`.

    Returns:
        The error that keeps the account from being published, or None.

    Raises:
        LakeUnusable: the last observation cannot be read.
    """
    if not lake:
        return None
    with duckdb_message():
        rows = lake.execute("select image_id from images_latest where account = ?", [account]).fetchall()
        if not rows:  # another name of an account is not in images_latest
            is_here = "account = ? and is_current and same_account_as is not null"
            rows = lake.execute(f"select image_id from image_versions where {is_here}", [account]).fetchall()  # noqa: S608
    before = {row[0] for row in rows}
    gone_count = len(before - image_ids)
    percent = 100 * gone_count / len(before) if before else 0.0
    became_empty = bool(before) and not image_ids
    if not became_empty and (len(before) < _MIN_IMAGES or percent <= max_percent):
        return None
    drop = "is empty now" if became_empty else f"has lost {gone_count:,} of them ({percent:.0f} %)"
    return AccountShrank(
        f"account {account!r} had {pluralize(len(before), 'image')} and {drop}; nothing was published: "
        "verify that this is true (a lost permission looks the same), then run with --accept-shrink"
    )


def guard_volume(lake: Any, listings: Iterable[Listing], max_percent: float) -> dict[str, LakeUnusable]:
    """Set the error of each complete listing whose account lost too much.

    Returns:
        The accounts that a damaged lake does not let compare, each with the damage.
    """
    undecided: dict[str, LakeUnusable] = {}
    for listing in listings:
        if listing.error is None:
            image_ids = {image_id for page in listing.last_pass for image_id in page.ids}
            try:
                listing.error = volume_drop(lake, listing.account, image_ids, max_percent)
            except LakeUnusable as damage:
                undecided[listing.account] = damage
    return undecided


def decide_undecided(data: Path, raw: RawRun, answers: dict[str, list[tuple[int, Answer]]]) -> None:
    """Decide in the header of a landed run about the accounts that a damaged lake left undecided."""
    for decision in raw.header["accounts"]:
        if decision["is_published"] is None:
            image_ids = set(_last_ids(decision["ended_passes"], answers.get(decision["account"], [])))
            with lake_or_none(data) as lake:
                error = volume_drop(lake, decision["account"], image_ids, raw.header["max_shrink_percent"])
            decision["is_published"] = error is None
            decision["error"] = error and f"{type(error).__name__}: {error}"


def _last_ids(pass_number: int, answers: Iterable[tuple[int, Answer]]) -> Iterator[str]:
    last = {answer.page_number: answer.page for _, answer in answers if answer.pass_number == pass_number}
    for page in last.values():
        yield from page.ids if page else ()
