"""A moment of the lake, as a user names it: a day, an instant, an observation, or `latest`.

2026-10-01                         the end of that UTC day
2026-10-01T12:00Z                  that instant; without a zone it is UTC
20261001T020000.000000Z            the observation of a run; of several accounts, the last
20261001T020000.000000Z/prod       the observation of an account in it
latest                             the lake as it is
"""

from __future__ import annotations

import contextlib
import datetime as dt
from typing import TYPE_CHECKING, Final

from pipeline.errors import BadSetting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.lake.latest import LatestObservation

LATEST: Final = "latest"


def parse_as_of(said: str | dt.date, published: Sequence[LatestObservation]) -> dt.datetime | None:
    """Read a moment: the last instant that is shown; None for the lake as it is.

    Raises:
        BadSetting: it is none of these, or nothing was published by then; the message names the first observation.
    """
    at = _instant(said, published)
    if at is not None and not any(one.observed_at_utc <= at for one in published):
        first = min((f"{one.observed_at_utc:%F %T} UTC" for one in published), default=None)
        there = f"the first is of {first}" if first else "there is none yet"
        raise BadSetting(f"as of {said} there was no published observation: {there}")
    return at


def _instant(said: str | dt.date, published: Sequence[LatestObservation]) -> dt.datetime | None:
    if isinstance(said, dt.datetime):
        try:
            return said.astimezone(dt.UTC).replace(tzinfo=None) if said.tzinfo else said
        except OverflowError:
            raise BadSetting(f"as of {said} means nothing here: in UTC it is outside of the years 1 to 9999") from None
    if isinstance(said, dt.date):
        return dt.datetime.combine(said, dt.time.max)
    text = said.strip()
    if text == LATEST:
        return None
    named = [one for one in published if text in (one.run_id, f"{one.run_id}/{one.account}")]
    if named:
        return max(one.observed_at_utc for one in named)
    for kind in (dt.date, dt.datetime):
        with contextlib.suppress(ValueError):
            return _instant(kind.fromisoformat(text), published)
    raise BadSetting(
        f"as of {text!r} means nothing here: a day such as 2026-10-01, an instant such as 2026-10-01T12:00Z, "
        f"the run_id of an observation, or `{LATEST}` is expected"
    )
