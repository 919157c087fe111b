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
    from collections.abc import Collection, Iterator, Mapping, Sequence

    import duckdb

    from pipeline.lake.tombstones import Listed

_MOST_NAMES: Final = 3
_LISTINGS: Final = """\
select account, resource, observed_at_utc, run_id, certificate, item_count, reject_count, unknown_field_count
from observations
where is_published
qualify row_number() over (partition by account, resource order by observed_at_utc desc, run_id desc) = 1"""
"""The last published observation of each account and resource."""


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
    listings = as_dicts(query(con, _LISTINGS))
    published = {row["account"] for row in listings}
    with_images = {row["account"] for row in listings if row["resource"] == IMAGES_RESOURCE.name}
    exceptions = [
        f"{len(labels)} {state}: {_first_names(labels)}"
        for state, labels in (
            ("stale", [row["account"] for row in accounts if row["is_stale"] and row["account"] in published]),
            ("never published", [row["account"] for row in accounts if row["account"] not in published]),
            (
                "without a listing of images",
                [row["account"] for row in accounts if row["account"] in published - with_images],
            ),
        )
        if labels
    ]
    same = [f"{len(labels)} names of one account: {_first_names(labels)}" for labels in names.values()]
    more = [f"and {len(same) - _MOST_NAMES:,} more with several names"] if len(same) > _MOST_NAMES else []
    exceptions += [*same[:_MOST_NAMES], *more]
    counted_as = {row["account"]: row["account"] for row in accounts}
    counted_as |= {name: labels[0] for labels in names.values() for name in labels}
    counted_here = set(counted_as.values())
    counted = pluralize(len(counted_here), "account")
    counted += f" ({'; '.join(exceptions)})" if exceptions else ""
    listings = _counted(listings, counted_as)
    if not listings:
        return f"{counted} · nothing is published"
    requested_as_of = con.execute(f"select {AS_OF}()").fetchall()[0][0]
    then = f" (the lake as it was at {requested_as_of:%Y-%m-%d %H:%M} UTC)" if requested_as_of is not None else ""
    rejects, fields = (sum(row[f"{kind}_count"] or 0 for row in listings) for kind in ("reject", "unknown_field"))
    return " · ".join(
        (
            *(counted, *describe_listings(listings, then)),
            *(pluralize(rejects, "reject"), pluralize(fields, "unknown field")),
        )
    )


def describe_listings(listings: Sequence[dict[str, Any]], then: str = "") -> Iterator[str]:
    """Write as of when accounts were observed, and the certificate and number of the items of each resource.

    There is at least one listing. Of a resource besides images it says of how many accounts, where some have images
    alone; and as of when, where not as of the run of the images. `then` follows the instant.
    """
    images = [row for row in listings if row["resource"] == IMAGES_RESOURCE.name]
    first = images or listings
    runs = {row["account"]: row["run_id"] for row in first}
    yield f"{_as_of(first)}{then}"
    for resource in RESOURCES:
        rows = [row for row in listings if row["resource"] == resource.name]
        if not rows:
            continue
        of_accounts = f" of {pluralize(len(rows), 'account')}" if runs.keys() - {row["account"] for row in rows} else ""
        when = "" if all(row["run_id"] == runs.get(row["account"]) for row in rows) else f" {_as_of(rows)}"
        certificate = _certificates(rows)
        yield certificate if resource is IMAGES_RESOURCE else f"{resource.name}{of_accounts}{when} {certificate}"
        yield pluralize(sum(row["item_count"] or 0 for row in rows), resource.noun)


def _counted(listings: Sequence[dict[str, Any]], counted_as: Mapping[str, str]) -> list[dict[str, Any]]:
    """Choose the listings that the views count, as `LakeState` does, each under the name that its account counts as."""
    found: dict[Listed, dict[str, Any]] = {}
    for row in sorted(listings, key=lambda row: ((row["item_count"] or 0) > 0, row["observed_at_utc"], row["run_id"])):
        account = counted_as.get(row["account"])
        if account is not None and (row["resource"] != IMAGES_RESOURCE.name or account == row["account"]):
            found[account, row["resource"]] = {**row, "account": account}
    return list(found.values())


def names_by_account(accounts: Collection[dict[str, Any]]) -> dict[str, list[str]]:
    """Return the names of each account that has several among these rows of `accounts`, the counted name first."""
    here = {row["account"] for row in accounts}
    names: dict[str, list[str]] = {}
    for row in accounts:
        if row["same_account_as"] in here:
            names.setdefault(row["same_account_as"], [row["same_account_as"]]).append(row["account"])
    return names


def _as_of(listings: Sequence[dict[str, Any]]) -> str:
    times = sorted(f"{row['observed_at_utc']:%Y-%m-%d %H:%M}" for row in listings)
    return f"as of {times[0]} UTC" if times[0] == times[-1] else f"as of {times[0]} to {times[-1]} UTC"


def _certificates(listings: Sequence[dict[str, Any]]) -> str:
    levels = Counter(row["certificate"] or "no certificate" for row in listings)
    return next(iter(levels)) if len(levels) == 1 else ", ".join(f"{levels[level]} {level}" for level in sorted(levels))


def _first_names(names: Sequence[str]) -> str:
    """Name the first accounts, and count the others."""
    first = ", ".join(map(escape_control, names[:_MOST_NAMES]))
    return first if len(names) <= _MOST_NAMES else f"{first} and {len(names) - _MOST_NAMES:,} more"
