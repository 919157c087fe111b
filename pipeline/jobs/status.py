"""How fresh each account is: of all that is said about a lake, the one thing that looks at the clock.

    the view `accounts`  +  the accounts that are asked for  +  now   ─→   a row an account, and a verdict

`ok`, or the first of: `never published`, `failed since`, `too old`, `in the future`. An account in the lake that is
not asked for any more is `not listed now`, and nothing is expected of it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from typing import TYPE_CHECKING, Any, Final

from pipeline.errors import NotFresh
from pipeline.reports.query import Rows
from pipeline.settings import span
from pipeline.text import escape_control
from pipeline.views.connection import connect

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

_CLOCKS_DIFFER: Final = dt.timedelta(minutes=15)
"""As much as the service forgives: no observation was made later than this from now by clocks that are right."""
_HOUR: Final = dt.timedelta(hours=1)
_EXPECTED: Final = ("ok", "not listed now")
_COLUMNS: Final = {
    "account": "VARCHAR",
    "state": "VARCHAR",
    "observed_at_utc": "TIMESTAMP",
    "age_hours": "DOUBLE",
    "certificate": "VARCHAR",
    "image_count": "BIGINT",
    "failed_try_count": "BIGINT",
    "last_error": "VARCHAR",
}


def status(
    data: str | Path = "data",
    *,
    max_age: str | dt.timedelta | None = None,
    labels: Collection[str] | None = None,
    now: dt.datetime | None = None,
) -> tuple[Rows, NotFresh | None]:
    """Tell each account's last observation, its age, its certificate, and the failures since.

    `labels` are the accounts that are asked for; None: those that the lake knows. `now` (UTC) stands for the clock.

    Returns:
        A row an account, and the error that names the accounts which are not as fresh as `max_age` asks for.

    Raises:
        BadSetting: `max_age` is no time span.
        LakeMissing: there is no lake in `data`.
    """
    at = (now or dt.datetime.now(dt.UTC)).replace(tzinfo=None)
    allowed = None if max_age is None else span(max_age)
    with contextlib.closing(connect(data)) as lake:
        found = lake.execute(
            "select account, observed_at_utc, certificate, image_count, failed_try_count, last_error from accounts"
        ).fetchall()
    known = {row[0]: row[1:] for row in found}
    rows: list[tuple[Any, ...]] = []
    for name in sorted({*known, *(labels or ())}):
        observed, *rest = known.get(name, (None, None, None, 0, None))
        age = None if observed is None else at - observed
        state = _state(age, failed=rest[2], allowed=allowed, is_listed=labels is None or name in labels)
        rows.append((name, state, observed, None if age is None else round(age / _HOUR, 1), *rest))
    late = [row for row in rows if row[1] not in _EXPECTED]
    error = None
    if allowed is not None and late:
        named = "; ".join(_told(row) for row in late)
        error = NotFresh(escape_control(f"{len(late)} of {len(rows)} accounts: {named}"))
    return Rows(tuple(_COLUMNS), tuple(_COLUMNS.values()), rows), error


def _state(age: dt.timedelta | None, *, failed: int, allowed: dt.timedelta | None, is_listed: bool) -> str:
    if not is_listed:
        return "not listed now"
    if age is None:
        return "never published"
    if failed:
        return "failed since"
    if allowed is not None and age > allowed:
        return "too old"
    return "in the future" if age < -_CLOCKS_DIFFER else "ok"


def _told(row: tuple[Any, ...]) -> str:
    name, state, observed, hours, *_ = row
    since = f", {hours:,.1f} hours old" if observed is not None else ""
    why = f" ({row[-1]})" if row[-1] else ""
    return f"{name} {state}{since}{why}"
