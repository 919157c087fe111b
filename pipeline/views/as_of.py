"""An instant of the lake, as a user writes it: a day, an instant, an observation, or `latest`.

2026-10-01                         the end of that UTC day
2026-10-01T12:00Z                  that instant; without a zone it is UTC
20261001T020000.000000Z            the observation of a run; of several accounts, the last
20261001T020000.000000Z/prod       the observation of an account in it; of several resources, the last
20261001T020000.000000Z/prod/images
latest                             the lake as it is
"""

from __future__ import annotations

import contextlib
import datetime as dt
from typing import TYPE_CHECKING, Final

from pipeline.errors import BadSetting

if TYPE_CHECKING:
    from pipeline.views.published import Published

LATEST: Final = "latest"


def parse_as_of(as_of: str | dt.date, published: Published) -> dt.datetime | None:
    """Parse an instant of the lake.

    Returns: the last instant to show, or None for the lake as it is now.

    Raises:
        BadSetting: it is none of these, or nothing was published by then; the message names the first observation.
    """
    instant = _parse(as_of, published)
    first = published.first_instant if instant is not None else None
    if instant is not None and (first is None or first > instant):
        known = f"the first is of {first:%F %T} UTC" if first else "there is none yet"
        raise BadSetting(f"as of {as_of} there was no published observation: {known}")
    return instant


def _parse(as_of: str | dt.date, published: Published) -> dt.datetime | None:
    if isinstance(as_of, dt.datetime):
        try:
            return as_of.astimezone(dt.UTC).replace(tzinfo=None) if as_of.tzinfo else as_of
        except OverflowError:
            raise BadSetting(f"as of {as_of} means nothing here: in UTC it is outside of the years 1 to 9999") from None
    if isinstance(as_of, dt.date):
        return dt.datetime.combine(as_of, dt.time.max)
    text = as_of.strip()
    if text == LATEST:
        return None
    if instants := published.instants_of(text):
        return max(instants)
    for kind in (dt.date, dt.datetime):
        with contextlib.suppress(ValueError):
            return _parse(kind.fromisoformat(text), published)
    raise BadSetting(
        f"as of {text!r} means nothing here: a day such as 2026-10-01, an instant such as 2026-10-01T12:00Z, "
        f"the run_id of an observation, or `{LATEST}` is expected"
    )
