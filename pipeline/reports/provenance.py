"""The provenance line: accounts, as of when, certificate, images, rejects, unknown fields. Every answer carries it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from pipeline.reports.query import as_dicts, read
from pipeline.text import escape_control, pluralize
from pipeline.views.catalog import AS_OF

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import duckdb

_MOST_NAMES: Final = 3


def provenance_line(con: duckdb.DuckDBPyConnection, among: Collection[str] | None = None) -> str:
    """Write the provenance of a connection's answers in one line.

    1 account · as of 2026-10-30 02:00 UTC · verified · 143 images · 0 rejects · 0 unknown fields

    A connection with `as_of` says so. With `among`, the line is about those accounts alone. An account with several
    names counts once.
    """
    accounts = [row for row in as_dicts(read(con, "accounts")) if among is None or row["account"] in among]
    names = names_by_account(accounts)
    published = [row for row in accounts if row["observed_at_utc"] is not None]
    stale = [row["account"] for row in published if row["is_stale"]]
    never_published = [row["account"] for row in accounts if row["observed_at_utc"] is None]
    exceptions = [
        f"{len(labels)} {state}: {_first_names(labels)}"
        for state, labels in (("stale", stale), ("never published", never_published))
        if labels
    ]
    same = [f"{len(labels)} names of one account: {_first_names(labels)}" for labels in names.values()]
    more = [f"and {len(same) - _MOST_NAMES:,} more with several names"] if len(same) > _MOST_NAMES else []
    exceptions += [*same[:_MOST_NAMES], *more]
    others = {name for labels in names.values() for name in labels[1:]}
    counted = pluralize(len(accounts) - len(others), "account")
    counted += f" ({'; '.join(exceptions)})" if exceptions else ""
    published = [row for row in published if row["account"] not in others]
    if not published:
        return f"{counted} · nothing is published"
    as_of, certificate, images = as_of_and_certificate(published)
    requested_as_of = con.execute(f"select {AS_OF}()").fetchall()[0][0]
    if requested_as_of is not None:
        as_of += f" (the lake as it was at {requested_as_of:%Y-%m-%d %H:%M} UTC)"
    rejects, fields = (sum(row[f"{kind}_count"] or 0 for row in published) for kind in ("reject", "unknown_field"))
    return " · ".join(
        (counted, as_of, certificate, images, pluralize(rejects, "reject"), pluralize(fields, "unknown field"))
    )


def names_by_account(accounts: Collection[dict[str, Any]]) -> dict[str, list[str]]:
    """Return the names of each account that has several among these rows of `accounts`, the counted name first."""
    here = {row["account"] for row in accounts}
    names: dict[str, list[str]] = {}
    for row in accounts:
        if row["same_account_as"] in here:
            names.setdefault(row["same_account_as"], [row["same_account_as"]]).append(row["account"])
    return names


def as_of_and_certificate(published: Sequence[dict[str, Any]]) -> tuple[str, str, str]:
    """Write as of when some accounts were observed, with which certificates, and how many images they have.

    There is at least one account. Each has observed_at_utc, certificate and image_count.
    """
    times = sorted(f"{row['observed_at_utc']:%Y-%m-%d %H:%M}" for row in published)
    as_of = f"as of {times[0]} UTC" if times[0] == times[-1] else f"as of {times[0]} to {times[-1]} UTC"
    levels = Counter(row["certificate"] or "no certificate" for row in published)
    certificate = (
        next(iter(levels)) if len(levels) == 1 else ", ".join(f"{levels[level]} {level}" for level in sorted(levels))
    )
    return as_of, certificate, pluralize(sum(row["image_count"] or 0 for row in published), "image")


def _first_names(names: Sequence[str]) -> str:
    """Name the first accounts, and count the others."""
    first = ", ".join(map(escape_control, names[:_MOST_NAMES]))
    return first if len(names) <= _MOST_NAMES else f"{first} and {len(names) - _MOST_NAMES:,} more"
