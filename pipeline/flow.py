"""The steps in order: run, rebuild, export, demo.

    run      hold the lake → extract → land the pages → publish them → make the catalogue anew
    rebuild  hold the lake → for each landed run that the lake lacks: publish it
    export   connect → one view → one file

A run publishes what it has landed in the same way in which a rebuild does, by
the decisions that stand in the header of the raw file. So the same pages
always give the same lake.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipeline.certificate import LEVELS, Answer, Level, NotAPage, evidence, read_page
from pipeline.ens_api import (
    DEFAULT_ENDPOINT,
    DEFAULT_RATE,
    DEFAULT_WORKERS,
    Account,
    endpoint_url,
    environment_account,
    profile_account,
    utc_now,
)
from pipeline.errors import AccountShrank, AlreadyObserved, BadSetting, EnsImagesError, LakeMissing
from pipeline.extract import Listing, Progress, extract
from pipeline.flatten import flatten
from pipeline.lake import Publication, committed_files, has_published, held
from pipeline.landing import Landing, RawRun, landed
from pipeline.tables import IMAGE_DISKS, IMAGES, OBSERVATIONS, REJECTS
from pipeline.views import connect, write_catalogue

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

MAX_SHRINK_PERCENT: Final = 50.0
"""An account of which a larger share is gone is not published without the user's word."""

_SHRINK_COUNTS_FROM: Final = 10
_PAGES_AT_ONCE: Final = 64


@dataclass(frozen=True, slots=True)
class Run:
    """What a run did: one observation an account, and the error of each account that was not published."""

    run_id: str
    data: Path
    observations: tuple[dict[str, Any], ...]
    errors: dict[str, EnsImagesError] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0, or the largest of the accounts' exit codes."""
        return max((error.exit_code for error in self.errors.values()), default=0)

    def __str__(self) -> str:
        """A line an account: what was published, or why nothing was."""
        return "\n".join(_told(row) for row in self.observations)


def _told(row: dict[str, Any]) -> str:
    if not row["is_published"]:
        return f"{row['account']}: not published: {row['error']}"
    counts = f"{row['image_count']:,} images, {row['disk_count']:,} disks, {row['reject_count']:,} rejects"
    unknown = f", {row['unknown_field_count']} unknown fields" if row["unknown_field_count"] else ""
    return (
        f"{row['account']}: {row['certificate']}, {counts}{unknown}, "
        f"as of {row['observed_at_utc']:%F %T} UTC ({row['call_count']} calls)"
    )


# ── run ──────────────────────────────────────────────────────────────────────


def run(
    data: str | Path = "data",
    *,
    profiles: Sequence[str] = (),
    accounts: Sequence[Account] = (),
    endpoint: str = DEFAULT_ENDPOINT,
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

    `profiles` names profiles of the vendor's file; `accounts` are ready-made ones; neither: the vendor's
    default chain. `rate` is calls a second over the whole run (None: no limit). `observed_at` (UTC) stands
    for the observation's instant and the run's day, for those who live through days that are not today.

    Raises:
        BadSetting, AlreadyObserved: what was asked makes no sense.
        LakeIsHeld: another run holds the lake.
        EnsImagesError: an account was not published: the error with the largest exit code, which carries the
            `Run`. The other accounts are published all the same.
    """
    data = Path(data)
    if certificate not in LEVELS:
        raise BadSetting(f"certificate {certificate!r} is no level: choose from {', '.join(LEVELS)}")
    asked = {
        "asked_certificate": certificate,
        "endpoint": endpoint_url(endpoint),
        "max_shrink_percent": max_shrink_percent,
        "accept_shrink": accept_shrink,
    }
    given = _naive_utc(observed_at)
    listed = _distinct([*accounts, *map(profile_account, profiles)] or [environment_account()])
    with held(data):
        if given is not None:
            _refuse_second_observation(data, listed, given)
        began_at = given or utc_now()
        run_id = _free_run_id(data, began_at)
        with Landing(data, run_id, began_at.date()) as landing:
            rows: dict[str, list[int]] = {account.label: [] for account in listed}

            def land(answer: Answer, body: bytes | None) -> None:
                rows[answer.account].append(landing.row_count)
                landing.add(answer, body)

            listings = extract(
                listed,
                land,
                endpoint=endpoint,
                level=certificate,
                workers=workers,
                rate=rate,
                timeout_seconds=timeout_seconds,
                progress=progress,
            )
            for listing in listings:
                if listing.error is None:
                    listing.error = _shrunk(data, listing, max_shrink_percent, accept_shrink=accept_shrink)
            header = {
                "run_id": run_id,
                "observed_on": str(began_at.date()),
                "code_version": version("ens-images"),
                **asked,
                "observed_at_utc": None if given is None else given.isoformat(),
                "accounts": [
                    {
                        "account": listing.account,
                        "is_published": listing.error is None,
                        "error": None if listing.error is None else _named(listing.error),
                        "ended_passes": listing.ended_passes,
                    }
                    for listing in listings
                ],
            }
            raw = RawRun(landing.finish(header))
        answers = {x.account: list(zip(rows[x.account], x.answers, strict=True)) for x in listings}
        observations = _publish(data, raw, answers)
        write_catalogue(data)
    result = Run(run_id, data, tuple(observations), {x.account: x.error for x in listings if x.error is not None})
    if result.errors:
        worst = max(result.errors.values(), key=lambda error: error.exit_code)
        worst.run = result
        raise worst
    return result


def _named(error: EnsImagesError) -> str:
    return f"{type(error).__name__}: {error}"


def _distinct(accounts: Sequence[Account]) -> list[Account]:
    labels = [account.label for account in accounts]
    for label in labels:
        if labels.count(label) > 1:
            raise BadSetting(f"account {label!r} is named twice: each account is listed once a run")
    return list(accounts)


def _naive_utc(at: dt.datetime | None) -> dt.datetime | None:
    if at is None or at.tzinfo is None:
        return at
    return at.astimezone(dt.UTC).replace(tzinfo=None)


def _free_run_id(data: Path, at: dt.datetime) -> str:
    run_id = f"{at:%Y%m%dT%H%M%S.%fZ}"
    taken = {path.stem for path in landed(data)}
    number = 1
    while (name := run_id if number == 1 else f"{run_id}-{number}") in taken:
        number += 1
    return name


def _refuse_second_observation(data: Path, accounts: Iterable[Account], at: dt.datetime) -> None:
    with _lake_or_nothing(data) as lake:
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


@contextlib.contextmanager
def _lake_or_nothing(data: Path) -> Iterator[Any]:
    """A connection to the lake as it is, or None where there is none yet."""
    try:
        lake = connect(data)
    except LakeMissing:
        yield None
        return
    with contextlib.closing(lake):
        yield lake


def _shrunk(data: Path, listing: Listing, max_percent: float, *, accept_shrink: bool) -> AccountShrank | None:
    """The error that keeps an account from being published which has lost too much since it last was."""
    if accept_shrink:
        return None
    with _lake_or_nothing(data) as lake:
        if not lake:
            return None
        before = {
            row[0]
            for row in lake.execute(
                "select image_id from images_latest where account = ?", [listing.account]
            ).fetchall()
        }
    now = {image_id for page in listing.last_pass for image_id in page.ids}
    gone = len(before - now)
    percent = 100 * gone / len(before) if before else 0.0
    became_empty = bool(before) and not now
    if not became_empty and (len(before) < _SHRINK_COUNTS_FROM or percent <= max_percent):
        return None
    what = "is empty now" if became_empty else f"has lost {gone:,} of them ({percent:.0f} %)"
    return AccountShrank(
        f"account {listing.account!r} had {len(before):,} images and {what}; nothing was published: "
        "look whether that is true (a lost permission looks the same), then run with --accept-shrink"
    )


# ── publish: the same for run and rebuild ────────────────────────────────────


def _publish(data: Path, raw: RawRun, answers: dict[str, list[tuple[int, Answer]]]) -> list[dict[str, Any]]:
    """Publish a landed run by the decisions in its header; `answers` are its rows, each with its place in the file."""
    header = raw.header
    observed_on = dt.date.fromisoformat(header["observed_on"])
    given = header["observed_at_utc"]
    publication = Publication(data, header["run_id"], observed_on)
    observations = []
    for decision in header["accounts"]:
        account = decision["account"]
        mine = answers.get(account, [])
        row: dict[str, Any] = {
            "account": account,
            "run_id": header["run_id"],
            "is_published": decision["is_published"],
            "error": decision["error"],
            **{name: header[name] for name in ("asked_certificate", "code_version", "endpoint")},
            **evidence([answer for _, answer in mine], decision["ended_passes"]),
        }
        if given is not None and row["observed_at_utc"] is not None:
            row["observed_at_utc"] = dt.datetime.fromisoformat(given)
        if decision["is_published"]:
            last_pass = _last_pass(mine, decision["ended_passes"])
            row.update(_publish_account(publication, raw, account, row, last_pass))
        observations.append(row)
    publication.add(OBSERVATIONS, OBSERVATIONS.to_arrow(observations))
    publication.commit()
    return observations


def _last_pass(answers: Iterable[tuple[int, Answer]], number: int) -> list[tuple[int, Answer]]:
    """The believed answers of the last pass, in the order of their pages."""
    found = {a.page_number: (place, a) for place, a in answers if a.pass_number == number and a.page is not None}
    return [found[page_number] for page_number in sorted(found)]


def _publish_account(
    publication: Publication, raw: RawRun, account: str, row: dict[str, Any], last_pass: list[tuple[int, Answer]]
) -> dict[str, int]:
    """Flatten one account's last pass into the publication; the counts that only this tells."""
    bodies = raw.bodies(place for place, _ in last_pass)
    seen: set[str] | None = set() if row["certificate"] == "unproven" else None
    counts = {"image_count": 0, "disk_count": 0, "reject_count": 0}
    unknown: set[str] = set()
    while batch := list(itertools.islice(bodies, _PAGES_AT_ONCE)):
        flat = flatten(batch, account, row["observed_at_utc"], seen=seen)
        for table, rows, count in (
            (IMAGES, flat.images, "image_count"),
            (IMAGE_DISKS, flat.image_disks, "disk_count"),
            (REJECTS, flat.rejects, "reject_count"),
        ):
            publication.add(table, rows)
            counts[count] += len(rows)
        unknown |= flat.unknown_fields
    return {**counts, "unknown_field_count": len(unknown)}


# ── rebuild ──────────────────────────────────────────────────────────────────


def rebuild(data: str | Path = "data", *, into: str | Path | None = None) -> list[str]:
    """Publish every landed run that the lake lacks, or all of them into a new lake; the ids of those published.

    By the decisions of the runs that landed the pages: nothing that was refused comes back.

    Raises:
        LakeMissing: no pages were ever landed in `data`.
        BadSetting: `into` holds a lake already.
        LakeDamaged: a raw file cannot be read; what came before it is published.
    """
    data = Path(data)
    target = data if into is None else Path(into)
    raw_files = landed(data)
    if not raw_files:
        raise LakeMissing(f"no landed pages in {str(data / 'raw')!r}: there is nothing to rebuild from")
    if into is not None and _whole_runs(target):
        raise BadSetting(f"{str(target)!r} holds a lake already: give an empty folder")
    with held(target):
        there = _whole_runs(target)
        missing = [path for path in raw_files if path.stem not in there]
        for path in missing:
            raw = RawRun(path)
            _publish(target, raw, _read_answers(raw))
        write_catalogue(target)
    return [path.stem for path in missing]


def _whole_runs(data: Path) -> set[str]:
    """The runs that the lake has whole: their commit record, and the files of the tables if anything was published."""
    try:
        files = committed_files(data).of
    except LakeMissing:
        return set()
    with_tables = set.intersection(*({path.stem for path in files[t.name]} for t in (IMAGES, IMAGE_DISKS, REJECTS)))
    records = files[OBSERVATIONS.name]
    return with_tables | {path.stem for path in records if path.stem not in with_tables and not has_published(path)}


def _read_answers(raw: RawRun) -> dict[str, list[tuple[int, Answer]]]:
    answers: dict[str, list[tuple[int, Answer]]] = {}
    for place, (row, body) in enumerate(raw.answers()):
        page = None
        if row["status"] == 200 and body is not None:
            with contextlib.suppress(NotAPage):
                page = read_page(body)
        answers.setdefault(row["account"], []).append((place, Answer(**row, page=page)))
    return answers
