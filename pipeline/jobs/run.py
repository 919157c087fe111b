"""The steps in order: run, rebuild, export, demo.

    run      hold the lake → extract → land the pages → publish them → make the catalogue anew → fold what is due
    rebuild  hold the lake → for each landed run that the lake lacks: publish it
    export   connect → one view → one file

A run publishes what it has landed in the same way in which a rebuild does, by
the decisions that stand in the header of the raw file. So the same pages
always give the same lake.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import secrets
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from pipeline.errors import AlreadyObserved, BadSetting, EnsImagesError, LakeDamaged, LakeUnusable
from pipeline.extract.attempt import utc_now
from pipeline.extract.client import DEFAULT_WORKERS
from pipeline.extract.completeness import LEVELS, Level
from pipeline.extract.endpoint import DEFAULT_ENDPOINT, endpoint_url
from pipeline.extract.listing import extract
from pipeline.extract.rate_limit import DEFAULT_RATE
from pipeline.extract.raw_pages import RawPagesWriter, RawRun
from pipeline.jobs.accounts import select_accounts
from pipeline.jobs.compaction import compact_if_needed
from pipeline.jobs.volume_guard import lake_or_none, volume_drop
from pipeline.lake.commit import Publication
from pipeline.lake.committed import taken_run_ids
from pipeline.lake.flatten_pool import FlattenPool
from pipeline.lake.lock import lock
from pipeline.lake.publish import publish
from pipeline.log import about, logger, timed
from pipeline.storage.store import open_location, store_of
from pipeline.text import escape_control, pluralize
from pipeline.views.database import begin_catalog, write_catalog

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from pipeline.credentials import Account
    from pipeline.extract.reader import Listing, Progress
    from pipeline.extract.response import Answer


MAX_SHRINK_PERCENT: Final = 50.0
"""An account of which a larger share is gone is not published without the user's word."""

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Run:
    """What a run did: one observation an account, and the error of each account that was not published."""

    run_id: str
    data: Path
    observations: tuple[dict[str, Any], ...]
    errors: dict[str, EnsImagesError] = field(default_factory=dict)
    not_folded: str | None = None
    """Why a fold that was due failed: the run is published all the same, and the next one tries again."""

    @property
    def exit_code(self) -> int:
        """0, or the largest of the accounts' exit codes."""
        return max((error.exit_code for error in self.errors.values()), default=0)

    def __str__(self) -> str:
        """A line an account: what was published, or why nothing was; and what is left to do."""
        lines = [_run_line(row) for row in self.observations]
        return "\n".join(escape_control(line) for line in (*lines, *filter(None, (self.not_folded,))))


def _run_line(row: dict[str, Any]) -> str:
    if not row["is_published"]:
        return f"{row['account']}: not published: {row['error']}"
    words = ["image", "disk", "reject", *(["unknown_field"] if row["unknown_field_count"] else [])]
    counts = ", ".join(pluralize(row[f"{word}_count"], word.replace("_", " ")) for word in words)
    calls = pluralize(row["call_count"], "call")
    return f"{row['account']}: {row['certificate']}, {counts}, as of {row['observed_at_utc']:%F %T} UTC ({calls})"


def run(
    data: str | Path = "data",
    *,
    profiles: Sequence[str] = (),
    profiles_from: str | Path | None = None,
    accounts: Sequence[Account] = (),
    endpoint: str = DEFAULT_ENDPOINT,
    allow_plain_http: bool = False,
    certificate: Level = "verified",
    workers: int = DEFAULT_WORKERS,
    rate: float | None = DEFAULT_RATE,
    timeout_seconds: float | None = None,
    max_shrink_percent: float = MAX_SHRINK_PERCENT,
    accept_shrink: bool = False,
    observed_at: dt.datetime | None = None,
    progress: Progress | None = None,
) -> Run:
    """List every account, keep the pages, publish what is proven.

    `profiles` and the lines of `profiles_from` name profiles of the vendor's file; `accounts` are ready-made
    ones; none of them: the vendor's default chain. `rate` is calls a second to each endpoint (None: no limit).
    `observed_at` (UTC) stands for the observation's instant and the run's day, for those who live through days
    that are not today.

    Raises:
        BadSetting, AlreadyObserved: what was asked makes no sense.
        LakeLocked: another run holds the lake.
        EnsImagesError: an account was not published: the error with the largest exit code, which carries the
            `Run`. The other accounts are published all the same.
    """
    data = open_location(data)
    if isinstance(profiles, str):
        raise BadSetting(f"profiles is a list of names, not one: profiles=[{profiles!r}]")
    if observed_at is not None and not isinstance(observed_at, dt.datetime):
        raise BadSetting(f"observed_at is a datetime in UTC, not {observed_at!r}")
    if not 0 <= max_shrink_percent <= 100:  # `nan` is neither
        raise BadSetting(f"max_shrink_percent must be a percentage from 0 to 100, not {max_shrink_percent}")
    if certificate not in LEVELS:
        raise BadSetting(f"certificate {certificate!r} is no level: choose from {', '.join(LEVELS)}")
    listed = select_accounts(profiles, profiles_from, accounts=accounts)
    own = {x.label: endpoint_url(x.endpoint, allow_plain_http=allow_plain_http) for x in listed if x.endpoint}
    asked = {
        "asked_certificate": certificate,
        "endpoint": endpoint_url(endpoint, allow_plain_http=allow_plain_http),
        "max_shrink_percent": max_shrink_percent,
        "accept_shrink": accept_shrink,
    }
    given = _naive_utc(observed_at)
    with lock(data), contextlib.ExitStack() as stack:
        if given is not None:
            _refuse_second_observation(data, listed, given)
        began_at = given or utc_now()
        run_id = _free_run_id(data, began_at)
        # of a larger account the first pass proves nothing yet, where more than counting is asked for
        first = 2 if certificate == "verified" else 1
        draft = stack.enter_context(begin_catalog(data))
        publication = Publication(data, run_id, began_at.date())
        ahead = stack.enter_context(
            FlattenPool(lambda _, number: number >= first, at=given, publication=publication, first=listed[0].label)
        )
        with about(run=run_id), RawPagesWriter(data, run_id, began_at.date()) as landing:
            rows: dict[str, list[int]] = {account.label: [] for account in listed}

            def land(answer: Answer, body: bytes | None) -> None:
                rows[answer.account].append(landing.row_count)
                ahead.take(landing.row_count, answer, body)
                landing.add(answer, body)

            listings = extract(
                listed,
                land,
                endpoint=endpoint,
                allow_plain_http=allow_plain_http,
                level=certificate,
                workers=workers,
                rate=rate,
                timeout_seconds=timeout_seconds,
                progress=progress,
            )
            unjudged = _judge(data, listings, max_shrink_percent, accept_shrink=accept_shrink)
            header = {
                "run_id": run_id,
                "observed_on": str(began_at.date()),
                "code_version": version("ens-images"),
                **asked,
                "observed_at_utc": None if given is None else given.isoformat(),
                "accounts": [
                    {
                        "account": listing.account,
                        **({"endpoint": own[listing.account]} if listing.account in own else {}),
                        "is_published": None if listing.account in unjudged else listing.error is None,
                        "error": None if listing.error is None else _named(listing.error),
                        "ended_passes": listing.ended_passes,
                    }
                    for listing in listings
                ],
            }
            raw = RawRun(landing.finish(header))
            _log.info("landed %d answers in %r", landing.row_count, str(raw.path))
        for damage in unjudged.values():
            raise LakeDamaged(f"{damage}; the pages of this run are kept, and a rebuild publishes them too") from damage
        answers = {x.account: list(zip(rows[x.account], x.answers, strict=True)) for x in listings}
        with about(run=run_id), timed(_log, "publishing"):
            observations = publish(data, raw, answers, ahead)
        with about(run=run_id), timed(_log, "the catalogue"):
            write_catalog(data, draft=draft)
        with about(run=run_id), timed(_log, "folding"):
            not_folded = compact_if_needed(data)
    errors = {x.account: x.error for x in listings if x.error is not None}
    result = Run(run_id, data, tuple(observations), errors, not_folded)
    if result.errors:
        worst = max(result.errors.values(), key=lambda error: error.exit_code)
        worst.run = result
        raise worst
    return result


def _named(error: EnsImagesError) -> str:
    return f"{type(error).__name__}: {error}"


def _naive_utc(at: dt.datetime | None) -> dt.datetime | None:
    if at is None or at.tzinfo is None:
        return at
    return at.astimezone(dt.UTC).replace(tzinfo=None)


def _free_run_id(data: Path, at: dt.datetime) -> str:
    run_id = f"{at:%Y%m%dT%H%M%S.%fZ}"
    if not store_of(data).has_lock:  # several machines may run at once
        return f"{run_id}-{secrets.token_hex(4)}"
    taken = taken_run_ids(data)
    number = 1
    while (name := run_id if number == 1 else f"{run_id}-{number}") in taken:
        number += 1
    return name


def _refuse_second_observation(data: Path, accounts: Iterable[Account], at: dt.datetime) -> None:
    with lake_or_none(data) as lake:
        for account in accounts if lake else ():
            taken = lake.execute(
                "select run_id from observations where is_published and account = ? and observed_at_utc = ?",
                [account.label, at],
            ).fetchall()
            if taken:
                raise AlreadyObserved(
                    f"account {account.label!r} has a published observation at {at:%F %T} UTC (run {taken[0][0]}): "
                    "give another observed_at"
                )


def _judge(
    data: Path, listings: Iterable[Listing], max_percent: float, *, accept_shrink: bool
) -> dict[str, LakeUnusable]:
    """Let no account be published that has lost too much; tell those that a damaged lake does not let judge."""
    to_judge = [listing for listing in listings if listing.error is None and not accept_shrink]
    unjudged: dict[str, LakeUnusable] = {}
    try:
        with lake_or_none(data) as lake:  # once for all accounts: opening it is what takes time
            for listing in to_judge:
                ids = {image_id for page in listing.last_pass for image_id in page.ids}
                try:
                    listing.error = volume_drop(lake, listing.account, ids, max_percent)
                except LakeUnusable as damage:
                    unjudged[listing.account] = damage
    except LakeUnusable as damage:
        unjudged = {listing.account: damage for listing in to_judge}
    return unjudged
