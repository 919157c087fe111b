"""The provenance line: accounts, as of when, certificate, images, rejects, unknown fields. Every answer carries it.

Where other resources are published, such as instances, it has their certificate and number too.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from pipeline.reports.query import as_dicts, query, read
from pipeline.resources.images import IMAGES_RESOURCE
from pipeline.resources.tables import RESOURCES
from pipeline.text import escape_control, pluralize
from pipeline.views.catalog import AS_OF

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    import duckdb

    from pipeline.resources.resource import Resource

_MOST_NAMES: Final = 3
_OTHER_LISTINGS: Final = """\
from observations
where is_published and resource <> 'images'
qualify row_number() over (partition by account, resource order by observed_at_utc desc, run_id desc) = 1"""
"""The last published observation of each account and resource besides images."""


def provenance_line(con: duckdb.DuckDBPyConnection, among: Collection[str] | None = None) -> str:
    """Write the provenance of a connection's answers in one line.

    1 account · as of 2026-10-30 02:00 UTC · verified · 143 images · 0 rejects · 0 unknown fields
    … · verified · 143 images · instances verified · 60 instances · 0 rejects · 0 unknown fields

    Rejects and unknown fields are those of every resource.
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
    counted_here = {row["account"] for row in accounts} - others
    listings = [row for row in as_dicts(query(con, _OTHER_LISTINGS)) if row["account"] in counted_here]
    rejects, fields = (
        sum(row[f"{kind}_count"] or 0 for row in (*published, *listings)) for kind in ("reject", "unknown_field")
    )
    return " · ".join(
        (
            *(counted, as_of, certificate, images, *_other_resources(published, listings)),
            *(pluralize(rejects, "reject"), pluralize(fields, "unknown field")),
        )
    )


def _other_resources(published: Sequence[dict[str, Any]], listings: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Write the certificate and number of the items of each resource besides images.

    It says of how many accounts, where some have images alone; and as of when, where not as of the run of the images.
    """
    runs = {row["account"]: row["run_id"] for row in published}
    for resource in RESOURCES:
        rows = [row for row in listings if row["resource"] == resource.name]
        if not rows:
            continue
        as_of, certificate, items = as_of_and_certificate(rows, resource)
        of_accounts = f" of {pluralize(len(rows), 'account')}" if runs.keys() - {row["account"] for row in rows} else ""
        when = "" if all(row["run_id"] == runs.get(row["account"]) for row in rows) else f" {as_of}"
        yield f"{resource.name}{of_accounts}{when} {certificate}"
        yield items


def names_by_account(accounts: Collection[dict[str, Any]]) -> dict[str, list[str]]:
    """Return the names of each account that has several among these rows of `accounts`, the counted name first."""
    here = {row["account"] for row in accounts}
    names: dict[str, list[str]] = {}
    for row in accounts:
        if row["same_account_as"] in here:
            names.setdefault(row["same_account_as"], [row["same_account_as"]]).append(row["account"])
    return names


def as_of_and_certificate(
    published: Sequence[dict[str, Any]], resource: Resource = IMAGES_RESOURCE
) -> tuple[str, str, str]:
    """Write as of when some accounts were observed, with which certificates, and how many items they have.

    There is at least one account. Each has observed_at_utc, certificate, and image_count or item_count.
    """
    times = sorted(f"{row['observed_at_utc']:%Y-%m-%d %H:%M}" for row in published)
    as_of = f"as of {times[0]} UTC" if times[0] == times[-1] else f"as of {times[0]} to {times[-1]} UTC"
    levels = Counter(row["certificate"] or "no certificate" for row in published)
    certificate = (
        next(iter(levels)) if len(levels) == 1 else ", ".join(f"{levels[level]} {level}" for level in sorted(levels))
    )
    count = "image_count" if resource is IMAGES_RESOURCE else "item_count"
    return as_of, certificate, pluralize(sum(row[count] or 0 for row in published), resource.noun)


def _first_names(names: Sequence[str]) -> str:
    """Name the first accounts, and count the others."""
    first = ", ".join(map(escape_control, names[:_MOST_NAMES]))
    return first if len(names) <= _MOST_NAMES else f"{first} and {len(names) - _MOST_NAMES:,} more"
