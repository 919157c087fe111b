"""Run: list every account, land the raw pages, publish what is proven complete.

    check the arguments → lock the lake → name the run
      → list the accounts, land every answer               raw/…/<run>.parquet
      → guard against a drop in volume → write the header: what is published, and why not
      → publish → write the catalog → compact, if needed

A run publishes what it has landed in the same way as a rebuild does, by the
decisions in the header of the raw file: the same pages give the same lake.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pipeline.errors import AlreadyObserved, BadSetting, EnsImagesError, LakeDamaged, LakeMissing, NotPermitted
from pipeline.extract.attempt import utc_now
from pipeline.extract.body import DEFAULT_MAX_ANSWER_MIB
from pipeline.extract.client import DEFAULT_WORKERS
from pipeline.extract.endpoint import DEFAULT_ENDPOINT
from pipeline.extract.rate_limit import DEFAULT_RATE
from pipeline.extract.reader import listing_name
from pipeline.jobs.accounts import select_accounts
from pipeline.jobs.compaction import compact_if_needed
from pipeline.jobs.land import Landed, Request, land
from pipeline.lake.commit import Publication
from pipeline.lake.committed import taken_run_ids
from pipeline.lake.delta_log import require_delta_logs, write_delta_logs
from pipeline.lake.layout import CATALOG
from pipeline.lake.lock import lock
from pipeline.lake.prefetch import Prefetch
from pipeline.lake.publish import listed_in, publish
from pipeline.log import about, logger, timed
from pipeline.resources.tables import RESOURCES, resource_named
from pipeline.runtime import interruptible
from pipeline.storage.store import open_location, store_of
from pipeline.text import escape_control, pluralize
from pipeline.views.connection import read_published
from pipeline.views.database import begin_catalog, write_catalog

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from pipeline.credentials import Account
    from pipeline.extract.completeness import Level
    from pipeline.extract.reader import Progress
    from pipeline.jobs.same_account import OtherName
    from pipeline.jobs.share_check import ShareCheck
    from pipeline.lake.latest import LatestObservation
    from pipeline.lake.tombstones import Listed
    from pipeline.resources.resource import Resource
    from pipeline.views.database_file import CatalogBuilder
    from pipeline.views.parameters import Thresholds


MAX_SHRINK_PERCENT: Final = 50.0
"""An account that lost a larger share of its images is not published, unless the user accepts it."""

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Run:
    """The result of a run: an observation per account, and the error of each account that was not published."""

    run_id: str
    data: Path
    observations: tuple[dict[str, Any], ...]
    errors: dict[Listed, EnsImagesError] = field(default_factory=dict)
    """Account and resource → why nothing was published, where that fails the run."""
    compaction_error: str | None = None
    """Why a compaction failed: the run is published all the same, and the next run compacts again."""
    catalog_error: str | None = None
    """Why `lake.duckdb` could not be written: the run is published all the same, and the next run writes it."""
    delta_errors: tuple[str, ...] = ()
    """Why a Delta log is not up to date: the run is published all the same, and the next run writes it."""
    names: tuple[OtherName, ...] = ()
    """The accounts that are another name of one: the views count them once."""
    not_permitted: tuple[Listed, ...] = ()
    """Accounts and resources that were not asked for by name, and that the account has no right to list."""
    shares: ShareCheck | None = None
    """Who the cleanup candidates are shared with; None: the run was not asked to check it."""

    @property
    def exit_code(self) -> int:
        """0, or the largest of the accounts' exit codes."""
        return max((error.exit_code for error in self.errors.values()), default=0)

    def __str__(self) -> str:
        """Return a line per account: what was published, or why nothing was; then other names, and what else failed."""
        lines = [_account_line(row) for row in self.observations if listed_in(row) not in self.not_permitted]
        lines += [_permission_line(*listed) for listed in self.not_permitted]
        lines += self.shares.lines() if self.shares else []
        lines += map(str, self.names)
        lines += [error for error in (self.catalog_error, self.compaction_error, *self.delta_errors) if error]
        return "\n".join(map(escape_control, lines))


def _permission_line(account: str, resource: str) -> str:
    """Say that a resource is not listed for lack of a right, what that costs, and what to add."""
    permission = resource_named(resource).action.permission
    return (
        f"{account}/{resource}: not permitted, so nothing is known of them: add {permission} to the policy "
        f'(Action "{permission}", Resource "*"), or list other resources alone with --resource'
    )


def _account_line(row: dict[str, Any]) -> str:
    name = listing_name(*listed_in(row))
    if not row["is_published"]:
        return f"{name}: not published: {row['error']}"
    resource = resource_named(row["resource"])
    children = " or ".join(child.noun for child in resource.children)
    words = {"item": resource.noun, **({"child_item": children} if children else {}), "reject": "reject"}
    words |= {"unknown_field": "unknown field"} if row["unknown_field_count"] else {}
    counts = ", ".join(pluralize(row[f"{column}_count"], word) for column, word in words.items())
    calls = pluralize(row["call_count"], "call")
    return f"{name}: {row['certificate']}, {counts}, as of {row['observed_at_utc']:%F %T} UTC ({calls})"


def run(
    data: str | Path = "data",
    *,
    profiles: Sequence[str] = (),
    profiles_from: str | Path | None = None,
    accounts: Sequence[Account] = (),
    endpoint: str = DEFAULT_ENDPOINT,
    allow_plain_http: bool = False,
    certificate: Level = "verified",
    strict: bool = False,
    workers: int = DEFAULT_WORKERS,
    rate: float | None = DEFAULT_RATE,
    timeout_seconds: float | None = None,
    max_answer_mib: float = DEFAULT_MAX_ANSWER_MIB,
    max_shrink_percent: float = MAX_SHRINK_PERCENT,
    accept_shrink: bool | Collection[str] = (),
    resources: Sequence[str] = (),
    share_check: bool | Thresholds = False,
    delta: bool = False,
    observed_at: dt.datetime | None = None,
    progress: Progress | None = None,
) -> Run:
    """List every account, store the raw pages, publish what is proven complete.

    Args:
        data: The lake: a folder or a bucket.
        profiles: Names of profiles of the vendor's file.
        profiles_from: A file of such names. Without any account the vendor's default chain gives one.
        accounts: Ready-made accounts.
        endpoint: The endpoint of the accounts that have none of their own.
        allow_plain_http: Allow an http:// endpoint on another machine.
        certificate: The completeness that a listing must prove.
        strict: Ask twice for an account of one page too.
        workers: Concurrent calls to each endpoint.
        rate: Calls per second to each endpoint; None: no limit.
        timeout_seconds: The time limit of all listings; None: 4 times what the announced pages take at `rate`, and 10
            minutes.
        max_answer_mib: The largest body of one answer, as received and unpacked.
        max_shrink_percent: An account that lost a larger share of its images is not published.
        accept_shrink: Publish such an account all the same; the names of resources accept it of those alone.
        resources: The resources to list, such as `images`; none: all, and one that an account has no right to list
            fails nothing.
        share_check: Ask who the images are shared with that `cleanup_candidates` and `stale_images` name, a call each;
            or do so by other thresholds of these views: see `connect`. It needs the right
            ens:DescribeImageSharePermission; a failure fails nothing.
        delta: Begin a Delta log of each table; one that is there is written in any case.
        observed_at: Replaces the instant of the observation and the day of the run (UTC), to generate a history.
        progress: Is called with the progress of each listing.

    Raises:
        BadSetting, AlreadyObserved: an argument is wrong.
        LakeLocked: another process has locked the lake.
        EnsImagesError: an account was not published. It is the error with the largest exit code, and carries the
            `Run`. The other accounts are published all the same.
    """
    data = open_location(data)
    if isinstance(profiles, str):
        raise BadSetting(f"profiles is a list of names, not one: profiles=[{profiles!r}]")
    request = Request(
        accounts=select_accounts(profiles, profiles_from, accounts=accounts),
        endpoint=endpoint,
        allow_plain_http=allow_plain_http,
        certificate=certificate,
        is_strict=strict,
        workers=workers,
        rate=rate,
        timeout_seconds=timeout_seconds,
        max_answer_mib=max_answer_mib,
        max_shrink_percent=max_shrink_percent,
        accept_shrink=_accepted(accept_shrink),
        resources=_resources(resources),
        share_check=share_check,
        observed_at=_naive_utc(observed_at),
        progress=progress,
    )
    request.check()
    require_delta_logs(data, begin=delta)
    with lock(data), contextlib.ExitStack() as stack:
        _refuse_second_observation(data, request)
        began_at = request.observed_at or utc_now()
        run_id = _free_run_id(data, began_at)
        stack.enter_context(about(run=run_id))
        catalog = stack.enter_context(begin_catalog(data))
        prefetch = stack.enter_context(_prefetch(request, Publication(data, run_id, began_at.date())))
        landed = land(data, run_id, began_at, request, prefetch)
        _refuse_undecided(landed)
        with timed(_log, "publishing"):
            observations = publish(data, landed.raw, landed.answers, prefetch=prefetch)
        with timed(_log, "the catalog"):
            catalog_error = _write_catalog(data, catalog)
        with timed(_log, "compaction"):
            compaction_error = compact_if_needed(data)
        with timed(_log, "the Delta logs"):
            delta_errors = write_delta_logs(data, begin=delta)
    errors = {listing.listed: listing.error for listing in landed.listings if listing.error is not None}
    not_permitted = () if resources else _not_permitted(errors)
    result = Run(
        run_id,
        data,
        tuple(observations),
        {listed: error for listed, error in errors.items() if listed not in not_permitted},
        compaction_error,
        catalog_error,
        tuple(delta_errors),
        tuple(landed.names.values()),
        not_permitted,
        landed.shares,
    )
    _raise_worst_error(result)
    return result


def _write_catalog(data: Path, builder: CatalogBuilder | None) -> str | None:
    """Write the catalog. Returns: why that failed, or None.

    Nothing that was published depends on it. The old one is deleted: it would show other tools the lake before the run.
    """
    try:
        with interruptible():
            write_catalog(data, builder=builder)
    except Exception as error:  # noqa: BLE001  (a catalog that fails costs nothing but time)
        with contextlib.suppress(OSError):
            (data / CATALOG).unlink(missing_ok=True)
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        return f"{CATALOG} is deleted, because a new one cannot be written: {reason}; the next run writes it"
    return None


def _resources(names: Sequence[str]) -> tuple[Resource, ...]:
    """Return the resources of these names, in the order in which a run lists them; none: all."""
    _refuse_unknown(names, "resources")
    return tuple(one for one in RESOURCES if not names or one.name in names)


def _accepted(accept_shrink: Collection[str] | bool) -> Collection[str]:  # noqa: FBT001  (as `run` takes it)
    """Return the names of the resources of which a drop in volume is accepted."""
    if isinstance(accept_shrink, bool):
        return tuple(one.name for one in RESOURCES) if accept_shrink else ()
    _refuse_unknown(accept_shrink, "accept_shrink")
    return accept_shrink


def _refuse_unknown(names: Collection[str], argument: str) -> None:
    known = [one.name for one in RESOURCES]
    for name in [names] if isinstance(names, str) else names:
        if isinstance(names, str) or name not in known:
            raise BadSetting(f"{argument} is a list of names from {', '.join(known)}, not {name!r}")


def _not_permitted(errors: Mapping[Listed, EnsImagesError]) -> tuple[Listed, ...]:
    """Return what an account has no right to list, and may do without."""
    return tuple(
        listed
        for listed, error in errors.items()
        if isinstance(error, NotPermitted) and resource_named(listed[1]).is_optional
    )


def _naive_utc(at: dt.datetime | None) -> dt.datetime | None:
    if at is not None and not isinstance(at, dt.datetime):
        raise BadSetting(f"observed_at is a datetime in UTC, not {at!r}")
    if at is None or at.tzinfo is None:
        return at
    return at.astimezone(dt.UTC).replace(tzinfo=None)


def _refuse_second_observation(data: Path, request: Request) -> None:
    """Raise AlreadyObserved if an account has a published observation at the given `observed_at`."""
    at = request.observed_at
    if at is None:
        return
    published: list[LatestObservation] = []
    with contextlib.suppress(LakeMissing, LakeDamaged):  # the guard of the volume finds the damage, once all is landed
        published = read_published(data)
    labels = {account.label for account in request.accounts}
    names = {resource.name for resource in request.resources}
    for one in published:
        if one.account in labels and one.resource in names and one.observed_at_utc == at:
            raise AlreadyObserved(
                f"account {one.account!r} has a published observation at {at:%F %T} UTC (run {one.run_id}): "
                "give another observed_at"
            )


def _free_run_id(data: Path, at: dt.datetime) -> str:
    """Return an id for the run: its instant, and a number where another run has that id."""
    run_id = f"{at:%Y%m%dT%H%M%S.%fZ}"
    if suffix := store_of(data).unique_suffix():  # several machines may run at once
        return f"{run_id}{suffix}"
    taken = taken_run_ids(data)
    number = 1
    while (name := run_id if number == 1 else f"{run_id}-{number}") in taken:
        number += 1
    return name


def _prefetch(request: Request, publication: Publication) -> Prefetch:
    """Write the first account while its pages are still read."""
    return Prefetch(publication, request.accounts[0].label, lambda _: True, observed_at_utc=request.observed_at)


def _refuse_undecided(landed: Landed) -> None:
    """Raise LakeDamaged if the lake was too damaged to compare the volume of an account."""
    for damage in landed.undecided.values():
        raise LakeDamaged(f"{damage}; the pages of this run are kept, and a rebuild publishes them too") from damage


def _raise_worst_error(result: Run) -> None:
    """Raise the error with the largest exit code, with the result of the run; none where all accounts are published."""
    if result.errors:
        worst = max(result.errors.values(), key=lambda error: error.exit_code)
        worst.run = result
        raise worst
