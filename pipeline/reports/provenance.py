"""How far it can all be trusted, in one line, the same under every answer."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from pipeline.reports.query import as_dicts, read
from pipeline.text import escape_control, pluralize
from pipeline.views.catalog import AS_OF

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import duckdb


def provenance_line(con: duckdb.DuckDBPyConnection, among: Collection[str] | None = None) -> str:
    """Say in one line whose images these are, as of when, how far proven, how many, and what did not fit.

    1 account · as of 2026-10-30 02:00 UTC · verified · 143 images · 0 rejects · 0 unknown fields

    Of a lake that is shown as it was, it says so, and of when. With `among`, it speaks of those accounts alone.
    """
    accounts = [row for row in as_dicts(read(con, "accounts")) if among is None or row["account"] in among]
    published = [row for row in accounts if row["observed_at_utc"] is not None]
    stale = [row["account"] for row in published if row["is_stale"]]
    never = [row["account"] for row in accounts if row["observed_at_utc"] is None]
    asides = [
        f"{len(names)} {word}: {_some(names)}"
        for word, names in (("stale", stale), ("never published", never))
        if names
    ]
    whose = pluralize(len(accounts), "account") + (f" ({'; '.join(asides)})" if asides else "")
    if not published:
        return f"{whose} · nothing is published"
    as_of, proven, images = as_of_and_certificate(published)
    asked = con.execute(f"select {AS_OF}()").fetchall()[0][0]
    if asked is not None:
        as_of += f" (the lake as it was at {asked:%Y-%m-%d %H:%M} UTC)"
    rejects, fields = (sum(row[f"{word}_count"] or 0 for row in published) for word in ("reject", "unknown_field"))
    return " · ".join((whose, as_of, proven, images, pluralize(rejects, "reject"), pluralize(fields, "unknown field")))


def as_of_and_certificate(published: Sequence[dict[str, Any]]) -> tuple[str, str, str]:
    """Say of accounts, at least one of them, as of when they are told, how far that is proven, and of how many images.

    Each has an observed_at_utc, a certificate and an image_count.
    """
    times = sorted(f"{row['observed_at_utc']:%Y-%m-%d %H:%M}" for row in published)
    as_of = f"as of {times[0]} UTC" if times[0] == times[-1] else f"as of {times[0]} to {times[-1]} UTC"
    levels = Counter(row["certificate"] or "no certificate" for row in published)
    proven = (
        next(iter(levels)) if len(levels) == 1 else ", ".join(f"{levels[level]} {level}" for level in sorted(levels))
    )
    return as_of, proven, pluralize(sum(row["image_count"] or 0 for row in published), "image")


def _some(names: Sequence[str]) -> str:
    """Name three at most."""
    told = ", ".join(map(escape_control, names[:3]))
    return told if len(names) <= 3 else f"{told} and {len(names) - 3:,} more"
