"""Status: how fresh each account is. No other report looks at the clock.

    the view `accounts` + the expected accounts + now → one row per account, with its state

The state is `ok`, or the first that applies of `never published`, `failed
since`, `too old`, `in the future`. An account in the lake that is no longer
expected is `not listed now`, and never late. Each resource has such a state; it
is `not listed` where no run tried to list it of the account, and `not permitted`
where the account never had the right to: neither is late.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from typing import TYPE_CHECKING, Any, Final

from pipeline.errors import EnsImagesError, NotFresh, NotPermitted
from pipeline.lake.committed import unpublished_runs
from pipeline.lake.delta_log import delta_log_flaws
from pipeline.lake.folder_schema import tables_with_older_files
from pipeline.lake.layout import command
from pipeline.lake.tombstone_files import read_tombstones
from pipeline.reports.query import Rows
from pipeline.resources.tables import RESOURCES
from pipeline.settings import span
from pipeline.storage.store import open_location
from pipeline.text import escape_control, pluralize
from pipeline.views.connection import connect

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

_MAX_CLOCK_DIFFERENCE: Final = dt.timedelta(minutes=15)
"""The difference that the service accepts: no correct clock makes an observation that is further in the future."""
_MOST_AHEAD: Final = dt.timedelta(days=1)
"""A run further ahead of the clock is none that can be."""
_ACCOUNTS: Final = """
    select
        accounts.account, accounts.observed_at_utc, accounts.certificate, accounts.proof, accounts.image_count,
        count(tried.run_id), accounts.watch_note, arg_max(tried.error, tried.run_id)
    from accounts
    left join observations as tried
        on tried.account = accounts.account
        and tried.resource = 'images'
        and not tried.is_published
        and tried.error not like 'Withdrawn: %'
        and tried.run_id > coalesce(accounts.run_id, '')
        and tried.run_id <= $last_run
    group by all"""
_OTHER_RESOURCES: Final = """
    select
        account,
        resource,
        max(observed_at_utc) filter (is_published),
        max(run_id) filter (is_published),
        max(run_id),
        arg_max(error, run_id) filter (not is_published)
    from observations
    where resource <> 'images' and run_id <= $last_run and (is_published or error not like 'Withdrawn: %')
    group by all"""
_LAST_TRIES: Final = """
    select account, max(run_id) from observations
    where resource = 'images' and run_id <= $last_run
    group by all"""
_FOLDERS: Final = "select any_value(complete_from_utc), any_value(missing_because), sum(size_bytes) from partitions"
_LARGE_FOLDERS: Final = 4 << 30
"""From so many bytes on, a retention of the days in the folders is suggested."""
_HOUR: Final = dt.timedelta(hours=1)
_NOT_LATE: Final = ("ok", "not listed now", "not listed", "not permitted")
_OTHERS: Final = RESOURCES[1:]
_COLUMNS: Final = {
    "account": "VARCHAR",
    "state": "VARCHAR",
    "observed_at_utc": "TIMESTAMP",
    "age_hours": "DOUBLE",
    "certificate": "VARCHAR",
    "proof": "VARCHAR",
    "image_count": "BIGINT",
    "failed_try_count": "BIGINT",
    **{f"{resource.name}_state": "VARCHAR" for resource in _OTHERS},
    "watch_note": "VARCHAR",
    "last_error": "VARCHAR",
}


def status(
    data: str | Path = "data",
    *,
    max_age: str | dt.timedelta | None = None,
    labels: Collection[str] | None = None,
    now: dt.datetime | None = None,
) -> tuple[Rows, NotFresh | None]:
    """Report each account's last observation, its age, its certificate, and the failures since.

    Args:
        data: The lake.
        max_age: The age from which on an account is too old, such as `26h`; None: no account is.
        labels: The accounts that are expected; None: those in the lake.
        now: Replaces the clock (UTC).

    Returns:
        A row per account, and the error that names the accounts which are not as fresh as `max_age` requires.

    Raises:
        BadSetting: `max_age` is not a time span.
        LakeMissing: there is no lake in `data`.
    """
    at = (now or dt.datetime.now(dt.UTC)).replace(tzinfo=None)
    limit = None if max_age is None else span(max_age)
    with contextlib.closing(connect(data)) as lake:
        until = {"last_run": _run_id(at + _MOST_AHEAD)}
        records = lake.execute(_ACCOUNTS, until).fetchall()
        last_tries = dict(lake.execute(_LAST_TRIES, until).fetchall())
        others = {(row[0], row[1]): row[2:] for row in lake.execute(_OTHER_RESOURCES, until).fetchall()}
    known = {row[0]: row[1:] for row in records}
    rows: list[tuple[Any, ...]] = []
    for name in sorted({*known, *(labels or ())}):
        observed, *rest, note, last_error = known.get(name, (None, None, None, None, 0, None, None))
        age = None if observed is None else at - observed
        is_listed = labels is None or name in labels
        state = _state(age, failed=rest[3], limit=limit, is_listed=is_listed)
        mine = {one.name: others.get((name, one.name)) for one in _OTHERS}
        if is_listed and observed is None and name not in last_tries and any(mine.values()):
            state = "not listed"
        states = {
            one: _other_state(found, last_tries.get(name), at, limit, is_listed=is_listed)
            for one, found in mine.items()
        }
        failed = [(one, mine[one]) for one, found in states.items() if found not in _NOT_LATE]
        last_error = last_error or next((found[-1] for _, found in failed if found), None)
        hours = None if age is None else round(age / _HOUR, 1)
        rows.append((name, state, observed, hours, *rest, *states.values(), note, last_error))
    late = [row for row in rows if not {row[1], *_other_states(row).values()}.issubset(_NOT_LATE)]
    error = None
    if limit is not None and late:
        descriptions = "; ".join(map(_describe, late))
        error = NotFresh(escape_control(f"{len(late):,} of {pluralize(len(rows), 'account')}: {descriptions}"))
    return Rows(tuple(_COLUMNS), tuple(_COLUMNS.values()), rows), error


def runs_ahead(data: str | Path, *, now: dt.datetime | None = None) -> list[str]:
    """Describe each run that began more than a day ahead of the clock: a line with the command that withdraws it.

    A wrong clock made it, then or now. Where it failed, `status` does not count it as a failure since.

    Raises:
        LakeMissing: there is no lake in `data`.
    """
    at = (now or dt.datetime.now(dt.UTC)).replace(tzinfo=None)
    with contextlib.closing(connect(data)) as lake:
        found = lake.execute(
            "select distinct run_id, account from observations "
            "where run_id > $1 and (is_published or error not like 'Withdrawn: %') order by all",
            [_run_id(at + _MOST_AHEAD)],
        ).fetchall()
    return [
        f"account {escape_control(account)!r}: run {run} began in the future, by a wrong clock: "
        f"{command(open_location(data), 'withdraw', f'{run}/{account}')} withdraws it"
        for run, account in found
    ]


def runs_without_tables(data: str | Path) -> list[str]:
    """Describe the runs of which only the raw pages are there: in a line with the command that publishes them."""
    location = open_location(data)
    runs = [path.stem for path in unpublished_runs(location, read_tombstones(location))]
    if not runs:
        return []
    named = f"run {runs[0]}" if len(runs) == 1 else f"{len(runs):,} runs, {runs[0]} to {runs[-1]}"
    return [f"only the raw pages are there of {named}: {command(location, 'rebuild')} publishes them"]


def folder_notes(data: str | Path, *, has_retention: bool = False) -> list[str]:
    """Say from which day on the Parquet folders hold every day, where that is not the first; and when they grow large.

    Raises:
        LakeMissing: there is no lake in `data`.
    """
    location = open_location(data)
    with contextlib.closing(connect(data)) as lake:
        ((complete_from, because, size),) = lake.execute(_FOLDERS).fetchall()
    lines = []
    if because is not None:
        held = f"every day from {complete_from} on" if complete_from else "no day"
        lines.append(
            f"the Parquet folders hold {held}: {because} deleted the earlier ones, which only the tables and views show"
        )
    if older := tables_with_older_files(location):
        lines.append(
            f"the oldest files of {', '.join(older)} are of an older version, without every column: "
            f"{command(location, 'rebuild')} writes them again"
        )
    if not has_retention and (size or 0) > _LARGE_FOLDERS:
        lines.append(
            f'the Parquet folders take {size / 2**30:,.1f} GiB: `daily_older_than = "400d"` in the settings, with '
            f"{command(location, 'prune')}, deletes older days there; the tables and views go on to show every day"
        )
    return lines


def delta_log_notes(data: str | Path) -> list[str]:
    """Describe each Delta log that is not as the lake is; empty where there is none."""
    location = open_location(data)
    try:
        flaws = delta_log_flaws(location.resolve())
    except EnsImagesError as error:
        return [f"the Delta logs are not compared with the lake: {error}"]
    return [
        f"the Delta log of {log.parent.name}: {flaw}; {command(location, 'rebuild', '--delta')} writes it"
        for log, flaw in flaws.items()
    ]


def _run_id(at: dt.datetime) -> str:
    return f"{at:%Y%m%dT%H%M%S.%fZ}"


def _state(age: dt.timedelta | None, *, failed: int, limit: dt.timedelta | None, is_listed: bool) -> str:
    if not is_listed:
        return "not listed now"
    if age is None:
        return "never published"
    if failed:
        return "failed since"
    if limit is not None and age > limit:
        return "too old"
    return "in the future" if age < -_MAX_CLOCK_DIFFERENCE else "ok"


def _other_state(
    found: Sequence[Any] | None, last_try: str | None, at: dt.datetime, limit: dt.timedelta | None, *, is_listed: bool
) -> str:
    """The state of a resource other than images; `last_try` is the account's last run of all."""
    if found is None:
        return "not listed"
    observed, published_run, last_run, error = found
    if published_run is None:
        return "not permitted" if error.startswith(f"{NotPermitted.__name__}: ") else "never published"
    if not is_listed or (last_try is not None and last_try > last_run):
        return "not listed now"
    return _state(at - observed, failed=int(last_run > published_run), limit=limit, is_listed=True)


def _other_states(row: tuple[Any, ...]) -> dict[str, str]:
    """The states of the other resources in a row."""
    by_column = dict(zip(_COLUMNS, row, strict=True))
    return {one.name: by_column[f"{one.name}_state"] for one in _OTHERS}


def _describe(row: tuple[Any, ...]) -> str:
    name, state, observed, hours, *_ = row
    late = [f", {one} {found}" for one, found in _other_states(row).items() if found not in _NOT_LATE]
    others = "".join(late) if state in _NOT_LATE else ""
    age = f", {hours:,.1f} hours old" if observed is not None else ""
    error = f" ({row[-1]})" if row[-1] else ""
    return f"{name} {state}{age}{others}{error}"
