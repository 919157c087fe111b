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
import shutil
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipeline import exports
from pipeline.accounts import Account, environment_account, key_account, profile_account
from pipeline.ahead import Ahead
from pipeline.bucket import is_bucket, place, refuse
from pipeline.certificate import LEVELS, Answer, Level, evidence
from pipeline.ens_api import (
    DEFAULT_ENDPOINT,
    DEFAULT_RATE,
    DEFAULT_WORKERS,
    endpoint_url,
    utc_now,
)
from pipeline.errors import AlreadyObserved, BadSetting, EnsImagesError, LakeDamaged, LakeMissing, LakeUnusable
from pipeline.extract import Listing, Progress, extract, seldom_collected
from pipeline.flatten import flatten
from pipeline.fold import fold_what_is_due
from pipeline.judge import judge_what_was_not, lake_or_nothing, shrunk
from pipeline.lake import LOCK, Publication, held, new_lake, taken_run_ids
from pipeline.landing import Landing, RawRun, landed
from pipeline.logs import about, logger, timed
from pipeline.publish import publish, read_answers, whole_runs
from pipeline.rows import Rows
from pipeline.settings import AccountEntry
from pipeline.spelling import harmless, how_many
from pipeline.tables import IMAGES
from pipeline.taken_out import taken_out
from pipeline.trust import trust_line
from pipeline.views import connect, draft_catalogue, write_catalogue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pipeline.taken_out import Withdrawal
    from pipeline.views.thresholds import Thresholds


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
        lines = [_told(row) for row in self.observations]
        return "\n".join(harmless(line) for line in (*lines, *filter(None, (self.not_folded,))))


def _told(row: dict[str, Any]) -> str:
    if not row["is_published"]:
        return f"{row['account']}: not published: {row['error']}"
    words = ["image", "disk", "reject", *(["unknown_field"] if row["unknown_field_count"] else [])]
    counts = ", ".join(how_many(row[f"{word}_count"], word.replace("_", " ")) for word in words)
    calls = how_many(row["call_count"], "call")
    return f"{row['account']}: {row['certificate']}, {counts}, as of {row['observed_at_utc']:%F %T} UTC ({calls})"


# ── run ──────────────────────────────────────────────────────────────────────


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
        LakeIsHeld: another run holds the lake.
        EnsImagesError: an account was not published: the error with the largest exit code, which carries the
            `Run`. The other accounts are published all the same.
    """
    data = place(data)
    if isinstance(profiles, str):
        raise BadSetting(f"profiles is a list of names, not one: profiles=[{profiles!r}]")
    if observed_at is not None and not isinstance(observed_at, dt.datetime):
        raise BadSetting(f"observed_at is a datetime in UTC, not {observed_at!r}")
    if not 0 <= max_shrink_percent <= 100:  # `nan` is neither
        raise BadSetting(f"max_shrink_percent must be a percentage from 0 to 100, not {max_shrink_percent}")
    if certificate not in LEVELS:
        raise BadSetting(f"certificate {certificate!r} is no level: choose from {', '.join(LEVELS)}")
    listed = chosen(profiles, profiles_from, accounts=accounts)
    own = {x.label: endpoint_url(x.endpoint, allow_plain_http=allow_plain_http) for x in listed if x.endpoint}
    asked = {
        "asked_certificate": certificate,
        "endpoint": endpoint_url(endpoint, allow_plain_http=allow_plain_http),
        "max_shrink_percent": max_shrink_percent,
        "accept_shrink": accept_shrink,
    }
    given = _naive_utc(observed_at)
    with held(data), contextlib.ExitStack() as stack:
        if given is not None:
            _refuse_second_observation(data, listed, given)
        began_at = given or utc_now()
        run_id = _free_run_id(data, began_at)
        # of a larger account the first pass proves nothing yet, where more than counting is asked for
        first = 2 if certificate == "verified" else 1
        draft = stack.enter_context(draft_catalogue(data))
        publication = Publication(data, run_id, began_at.date())
        ahead = stack.enter_context(
            Ahead(lambda _, number: number >= first, at=given, publication=publication, first=listed[0].label)
        )
        with about(run=run_id), Landing(data, run_id, began_at.date()) as landing:
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
            write_catalogue(data, draft=draft)
        with about(run=run_id), timed(_log, "folding"):
            not_folded = fold_what_is_due(data)
    errors = {x.account: x.error for x in listings if x.error is not None}
    result = Run(run_id, data, tuple(observations), errors, not_folded)
    if result.errors:
        worst = max(result.errors.values(), key=lambda error: error.exit_code)
        worst.run = result
        raise worst
    return result


def _named(error: EnsImagesError) -> str:
    return f"{type(error).__name__}: {error}"


def chosen(
    profiles: Sequence[str] = (),
    profiles_from: str | Path | None = None,
    entries: Sequence[AccountEntry] = (),
    accounts: Sequence[Account] = (),
) -> list[Account]:
    """The accounts that a run lists: those named; else the `entries` of a settings file; else the default chain's.

    A profile that an entry names, or labels, takes label and endpoint from there; `accounts` are ready-made ones.

    Raises:
        BadSetting: one is named twice, or has no name.
    """
    named: list[AccountEntry] = []
    for name in (*profiles, *_lines(profiles_from)):
        known = [entry for entry in entries if name in {entry.label, entry.profile}]
        named += known or [AccountEntry(profile=name)]
    ready = [*accounts, *map(_account, named or (() if accounts else entries))]
    return _distinct(ready or [environment_account()])


def _account(entry: AccountEntry) -> Account:
    if entry.profile is None:
        return environment_account(entry.name, entry.endpoint)
    return profile_account(entry.profile, entry.label, entry.endpoint)


def _lines(file: str | Path | None) -> list[str]:
    """The names in a file of profiles; an empty one is refused, for it would mean the default account."""
    if file is None:
        return []
    said = (line.partition("#")[0].strip() for line in Path(file).read_text("utf-8").splitlines())
    names = [line for line in said if line]
    if not names:
        raise BadSetting(f"{str(file)!r} names no profile: a name a line is expected")
    return names


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
    if is_bucket(data):  # several machines may ask at once, and hold no lock
        return f"{run_id}-{secrets.token_hex(4)}"
    taken = taken_run_ids(data)
    number = 1
    while (name := run_id if number == 1 else f"{run_id}-{number}") in taken:
        number += 1
    return name


def _refuse_second_observation(data: Path, accounts: Iterable[Account], at: dt.datetime) -> None:
    with lake_or_nothing(data) as lake:
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
        with lake_or_nothing(data) as lake:  # once for all accounts: opening it is what takes time
            for listing in to_judge:
                ids = {image_id for page in listing.last_pass for image_id in page.ids}
                try:
                    listing.error = shrunk(lake, listing.account, ids, max_percent)
                except LakeUnusable as damage:
                    unjudged[listing.account] = damage
    except LakeUnusable as damage:
        unjudged = {listing.account: damage for listing in to_judge}
    return unjudged


# ── rebuild ──────────────────────────────────────────────────────────────────


def rebuild(data: str | Path = "data", *, into: str | Path | None = None) -> list[str]:
    """Publish every landed run that the lake lacks, run by run, or all at once into a new lake; the ids of those.

    By the decisions of the runs that landed the pages: nothing that was refused comes back, and nothing that was
    withdrawn since. Pages that were taken out by age are not used any more.

    Raises:
        LakeMissing: no pages were ever landed in `data`.
        BadSetting: `into` holds a lake already.
        LakeDamaged: a raw file cannot be read; what came before it is published, into a new lake nothing.
    """
    data = place(data)
    target = data if into is None else place(into)
    if into is not None:
        refuse(target, "a new lake all at once", "copy raw/ into the bucket, then `rebuild --data` adds run by run")
    gone = taken_out(data)
    raw_files = [path for path in landed(data) if path.stem not in gone.raw_runs]
    if not raw_files:
        raise LakeMissing(f"no landed pages in {str(data / 'raw')!r}: there is nothing to rebuild from")
    if into is not None and whole_runs(target):
        raise BadSetting(f"{str(target)!r} holds a lake already: give an empty folder")
    with held(target), draft_catalogue(target) as draft:
        there = whole_runs(target)
        missing = [path for path in raw_files if path.stem not in there]
        with contextlib.nullcontext(data) if into is None else new_lake(target) as written:
            for path in missing:
                # In place a withdrawal can still be taken back, and the record beside the raw pages hides its rows.
                withdrawn = {} if into is None else gone.withdrawn_from(path.stem)
                with about(run=path.stem), timed(_log, "publishing"):
                    publish_again(written, RawRun(path), withdrawn)
        write_catalogue(target, draft=draft)
    return [path.stem for path in missing]


def publish_again(data: Path, raw: RawRun, withdrawn: Mapping[str, Withdrawal]) -> None:
    """Publish a landed run from its raw pages, without the accounts that are `withdrawn`."""
    ended = {one["account"]: one["ended_passes"] for one in raw.header["accounts"] if one["is_published"]}
    publication = Publication(data, raw.header["run_id"], raw.observed_on)
    ahead = Ahead(
        lambda account, number: ended.get(account) == number,
        at=raw.given_at_utc,
        publication=publication,
        first=raw.header["accounts"][0]["account"],
    )
    with seldom_collected(), ahead:
        answers = read_answers(raw, ahead)
        judge_what_was_not(data, raw, answers)
        publish(data, raw, answers, ahead, without=withdrawn)


# ── list ─────────────────────────────────────────────────────────────────────


def list_images(
    *,
    profiles: Sequence[str] = (),
    accounts: Sequence[Account] = (),
    endpoint: str = DEFAULT_ENDPOINT,
    allow_plain_http: bool = False,
    image_id: str | None = None,
    image_name: str | None = None,
    snapshot_id: str | None = None,
    exact: bool = False,
    workers: int = DEFAULT_WORKERS,
    rate: float | None = DEFAULT_RATE,
) -> tuple[Rows, str]:
    """List images live by the API's own filters, one pass, nothing stored: the rows, and the trust line.

    The API's filters are fuzzy; `exact` compares here, letter by letter.

    Raises:
        EnsImagesError: an account could not be read.
    """
    asked = {"ImageId": image_id, "ImageName": image_name, "SnapshotId": snapshot_id}
    filters = {name: value for name, value in asked.items() if value is not None}
    bodies: dict[tuple[str, int, int], bytes | None] = {}
    listings = extract(
        chosen(profiles, accounts=accounts),
        lambda answer, body: bodies.update({(answer.account, answer.pass_number, answer.page_number): body}),
        endpoint=endpoint,
        allow_plain_http=allow_plain_http,
        level="unproven",
        filters=filters,
        workers=workers,
        rate=rate,
    )
    rows: list[tuple[Any, ...]] = []
    names = [column.name for column in IMAGES.stored]
    trust = []
    for listing in listings:
        if listing.error is not None:
            raise listing.error
        at: Any = evidence(listing.answers, listing.ended_passes)["observed_at_utc"]
        pages = [bodies[place] for place in sorted(bodies) if place[:2] == (listing.account, listing.ended_passes)]
        flat = flatten([body for body in pages if body is not None], listing.account, at, seen=set())
        found = [
            tuple(row[name] for name in names)
            for row in flat.images.to_pylist()
            if not exact or all(row[_COLUMN_OF[field]] == value for field, value in filters.items())
        ]
        rows += found
        unknown = f"{len(flat.rejects)} rejects · {len(flat.unknown_fields)} unknown fields"
        trust.append(f"{listing.account} · as of {at:%F %R} UTC · {listing.level} · {len(found)} images · {unknown}")
    types = tuple(column.duckdb_type for column in IMAGES.stored)
    return Rows(tuple(names), types, rows), "\n".join(trust)


_COLUMN_OF: Final = {column.api: column.name for column in IMAGES.columns}


# ── export ───────────────────────────────────────────────────────────────────


def export(
    view: str,
    file: str | Path,
    data: str | Path = "data",
    *,
    as_of: str | dt.date | None = None,
    thresholds: Thresholds | None = None,
) -> tuple[int, str]:
    """Write a table or view to `file`, .csv, .json, .parquet or .xlsx by its suffix, whole or not at all.

    With `as_of`, the lake as it was then, with `thresholds` the views by those: see `connect`.

    Returns:
        How many rows were written, and the trust line.

    Raises:
        UnknownName: there is no such view; the message names the nearest.
        BadSetting: the suffix is none of those, or there was no observation by then.
        LakeMissing: there is no lake in `data`.
    """
    with contextlib.closing(connect(data, as_of=as_of, thresholds=thresholds)) as lake:
        return exports.export(lake, view, Path(file)), trust_line(lake)


def export_all(
    folder: str | Path,
    data: str | Path = "data",
    *,
    formats: Sequence[str] = ("csv",),
    as_of: str | dt.date | None = None,
    thresholds: Thresholds | None = None,
) -> tuple[dict[str, Any], str]:
    """Write every standing report into `folder`, a file a format, with a manifest: replaced as a whole.

    With `as_of`, the lake as it was then, with `thresholds` the views by those: see `connect`.

    Returns:
        The manifest, and the trust line.

    Raises:
        BadSetting: the folder holds something else than an earlier export, a format needs an extra, or there was no
            observation by then.
        LakeMissing: there is no lake in `data`.
    """
    if unknown := set(formats) - set(exports.SUFFIXES):
        raise BadSetting(f"no format is called {', '.join(sorted(unknown))}: choose from {', '.join(exports.SUFFIXES)}")
    with contextlib.closing(connect(data, as_of=as_of, thresholds=thresholds)) as lake:
        return exports.export_all(lake, Path(folder), tuple(dict.fromkeys(formats))), trust_line(lake)


# ── demo ─────────────────────────────────────────────────────────────────────

DEMO_DAYS: Final = 30
DEMO_IMAGES: Final = 143
_DEMO_BEGINS: Final = dt.datetime(2026, 10, 1, 2)  # noqa: DTZ001  (UTC; the local endpoint's day 0)
_DEMO_MARK: Final = ".demo"
_DEMO_ACCOUNT: Final = "demo"


def demo(
    data: str | Path = "data/demo",
    *,
    days: int = DEMO_DAYS,
    images: int = DEMO_IMAGES,
    told: Callable[[str], object] = print,
) -> None:
    """Live through `days` days of a made account on a local endpoint, a real `run` each; `told` is told of each.

    The folder is made anew: nothing but an earlier demo is ever cleared away.

    Raises:
        BadSetting: `data` is something else than a demo's folder.
    """
    from pipeline.emulator import Endpoint, Key, living_account

    data = place(data)
    refuse(data, "the demo", "give a folder")
    if data.exists() and any(data.iterdir()) and not _is_a_demos(data):
        raise BadSetting(f"{str(data)!r} is no demo's folder, and the demo makes its folder anew: give another one")
    with held(data):
        for entry in data.iterdir():
            if entry.name != LOCK:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        (data / _DEMO_MARK).touch()
    with Endpoint({"emulator": Key("emulator", living_account(images=images, seed=1))}) as endpoint:
        told(f"A local ENS endpoint at {endpoint.url}, an account of {images} images, {days} days of it, a run a day:")
        account = key_account(_DEMO_ACCOUNT, "emulator", "emulator")
        for day in range(days):
            endpoint.day = day
            at = _DEMO_BEGINS + dt.timedelta(days=day)
            done = run(data, accounts=[account], endpoint=endpoint.url, rate=None, accept_shrink=True, observed_at=at)
            told(str(done))
    told("")


def _is_a_demos(data: Path) -> bool:
    """Whether nothing but a demo has ever written there: no pages of another account than its own."""
    if not (data / _DEMO_MARK).exists():
        return False
    landed_for = {decision["account"] for path in landed(data) for decision in RawRun(path).header["accounts"]}
    return landed_for <= {_DEMO_ACCOUNT}


def what_next(data: Path, program: str = "ens-images") -> str:
    """Where the bytes of a lake lie, and the commands to try next, as `program` is called here."""
    return "\n".join(
        (
            "",
            f"The bytes: {data}/raw (what the service said), {data}/lake (the tables), {data}/lake.duckdb (the views).",
            "Try next:",
            f"  {program} questions --data {data}",
            f'  {program} sql --data {data} "from cleanup_candidates(older_than_days := 90)"',
            f"  {program} export --data {data} --all reports",
            f"  {program} describe capacity_by_day",
        )
    )


# ── the local endpoint ───────────────────────────────────────────────────────


def faults() -> dict[str, str]:
    """The faults that the local endpoint knows: name → what goes wrong."""
    from pipeline.emulator import FAULTS

    return dict(FAULTS)


def emulate(
    *,
    images: int,
    seed: int,
    day: int,
    file: Path | None,
    port: int,
    latency_ms: float,
    qps: float | None,
    refuse_large_pages: bool,
    keys: Sequence[str],
    faults: Sequence[str],
    told: Callable[[str], object],
) -> None:
    """Serve a local endpoint until SIGINT or SIGTERM; `told` is told where, and how to call it.

    Raises:
        BadSetting: an option makes no sense, a file holds no images, or the port is taken.
    """
    from pipeline.emulator import Endpoint, Key, living_account, read_account, serve

    opened = {}
    try:
        for number, spelled in enumerate(keys or ["emulator:emulator"]):
            key_id, colon, secret = spelled.partition(":")
            if not (key_id and colon and secret):
                raise BadSetting(f"--key {spelled!r} is not of the form ID:SECRET")
            if key_id in opened:
                raise BadSetting(f"--key {key_id!r} is given twice: each key opens one account")
            stock = read_account(file) if file else living_account(images=images, seed=seed + number)
            opened[key_id] = Key(secret, stock)
        endpoint = Endpoint(
            opened,
            port=port,
            day=day,
            latency_ms=latency_ms,
            qps=qps,
            refuse_large_pages=refuse_large_pages,
            seed=seed,
            faults=faults,
        )
        key_id, key = next(iter(opened.items()))
        serve(
            endpoint,
            lambda url: told(
                f"ENS endpoint at {url} for {', '.join(opened)}; Ctrl-C ends it. In another terminal:\n"
                f"  export ALIBABA_CLOUD_ACCESS_KEY_ID={key_id} ALIBABA_CLOUD_ACCESS_KEY_SECRET={key.secret}\n"
                f"  ens-images run --endpoint {url}"
            ),
        )
    except (ValueError, RecursionError) as error:
        raise BadSetting(str(error)) from error
    except OSError as error:
        raise BadSetting(
            f"port {port} cannot be listened on ({error.strerror}): take another one with --port"
        ) from error
