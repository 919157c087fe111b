"""Whether an account may be published that is much smaller than it was: a lost permission looks like that too.

    the ids of its last published observation ── more than half of them gone, from ten on? all of them? ─→ AccountShrank

The decision stands in the header of the raw file, so that a rebuild comes to
the same one. Where a damaged lake did not let a run decide, the rebuild that
mends the lake does.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

from pipeline.errors import AccountShrank, LakeMissing
from pipeline.reports.query import duckdb_message
from pipeline.views.connection import connect

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from pipeline.extract.raw_pages import RawRun
    from pipeline.extract.response import Answer

_COUNTS_FROM: Final = 10


@contextlib.contextmanager
def lake_or_none(data: Path) -> Iterator[Any]:
    """A connection to the lake as it is, or None where there is none yet."""
    try:
        lake = connect(data)
    except LakeMissing:
        yield None
        return
    with contextlib.closing(lake):
        yield lake


def volume_drop(lake: Any, account: str, now: set[str], max_percent: float) -> AccountShrank | None:
    """The error that keeps an account with the images `now` from being published into `lake`, or None.

    Raises:
        LakeUnusable: what it was before cannot be read.
    """
    if not lake:
        return None
    with duckdb_message():
        rows = lake.execute("select image_id from images_latest where account = ?", [account]).fetchall()
    before = {row[0] for row in rows}
    gone = len(before - now)
    percent = 100 * gone / len(before) if before else 0.0
    became_empty = bool(before) and not now
    if not became_empty and (len(before) < _COUNTS_FROM or percent <= max_percent):
        return None
    what = "is empty now" if became_empty else f"has lost {gone:,} of them ({percent:.0f} %)"
    return AccountShrank(
        f"account {account!r} had {len(before):,} images and {what}; nothing was published: "
        "look whether that is true (a lost permission looks the same), then run with --accept-shrink"
    )


def judge_undecided(data: Path, raw: RawRun, answers: dict[str, list[tuple[int, Answer]]]) -> None:
    """Decide now about the accounts of a landed run on which a damaged lake let nothing be decided then."""
    for decision in raw.header["accounts"]:
        if decision["is_published"] is None:
            ids = set(_last_ids(decision["ended_passes"], answers.get(decision["account"], [])))
            with lake_or_none(data) as lake:
                error = volume_drop(lake, decision["account"], ids, raw.header["max_shrink_percent"])
            decision["is_published"] = error is None
            decision["error"] = error and f"{type(error).__name__}: {error}"


def _last_ids(number: int, answers: Iterable[tuple[int, Answer]]) -> Iterator[str]:
    last = {answer.page_number: answer.page for _, answer in answers if answer.pass_number == number}
    for page in last.values():
        yield from page.ids if page else ()
