"""List a resource live: the same extraction and typing as a run, without a lake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.errors import BadSetting
from pipeline.extract.body import DEFAULT_MAX_ANSWER_MIB
from pipeline.extract.bounds import Bounds
from pipeline.extract.claim import RULE
from pipeline.extract.client import DEFAULT_WORKERS
from pipeline.extract.completeness import evidence
from pipeline.extract.endpoint import DEFAULT_ENDPOINT
from pipeline.extract.listing import extract
from pipeline.extract.rate_limit import DEFAULT_RATE
from pipeline.jobs.accounts import select_accounts
from pipeline.reports.query import Rows
from pipeline.resources.images import IMAGES_RESOURCE
from pipeline.resources.tables import RESOURCES
from pipeline.text import pluralize
from pipeline.transform.assemble import flatten

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.credentials import Account
    from pipeline.extract.reader import Listing


def list_live(
    *,
    resource: str = IMAGES_RESOURCE.name,
    filters: Mapping[str, str] | None = None,
    profiles: Sequence[str] = (),
    accounts: Sequence[Account] = (),
    endpoint: str = DEFAULT_ENDPOINT,
    allow_plain_http: bool = False,
    exact: bool = False,
    workers: int = DEFAULT_WORKERS,
    rate: float | None = DEFAULT_RATE,
    timeout_seconds: float | None = None,
    max_answer_mib: float = DEFAULT_MAX_ANSWER_MIB,
) -> tuple[Rows, str]:
    """List a resource live with the filters of the API: one pass per account, nothing is stored.

    `filters` are values by column, such as `{"image_name": "web"}`. The API matches a part of the value; `exact` keeps
    the rows whose whole value is equal.

    Returns:
        The rows, and a provenance line per account.

    Raises:
        BadSetting: there is no such resource, or the API has no such filter of it.
        EnsImagesError: an account could not be read.
    """
    listed = next((one for one in RESOURCES if one.name == resource), None)
    if listed is None:
        raise BadSetting(f"there is no resource {resource!r}: there are {', '.join(one.name for one in RESOURCES)}")
    wanted = filters or {}
    parameters = dict(listed.action.filters)
    if unknown := sorted(wanted.keys() - parameters.keys()):
        raise BadSetting(f"the API has no filter of {resource} by {', '.join(unknown)}: it has {', '.join(parameters)}")
    bodies: dict[tuple[str, int, int], bytes | None] = {}
    listings = extract(
        select_accounts(profiles, accounts=accounts),
        lambda answer, body: bodies.update({(answer.account, answer.pass_number, answer.page_number): body}),
        endpoint=endpoint,
        allow_plain_http=allow_plain_http,
        resources=(listed,),
        level="unproven",
        filters={parameters[name]: value for name, value in wanted.items()},
        workers=workers,
        rate=rate,
        timeout_seconds=timeout_seconds,
        bounds=Bounds(max_answer_mib=max_answer_mib),
    )
    rows: list[tuple[Any, ...]] = []
    provenance = []
    for listing in listings:
        if listing.error is not None:
            raise listing.error
        keys = sorted(key for key in bodies if key[:2] == (listing.account, listing.ended_passes))
        pages = [body for key in keys if (body := bodies[key]) is not None]
        account_rows, line = _flatten(listing, pages, wanted if exact else {})
        rows += account_rows
        provenance.append(line)
    names = tuple(column.name for column in listed.table.stored)
    types = tuple(column.duckdb_type for column in listed.table.stored)
    return Rows(names, types, rows), "\n".join(provenance)


def _flatten(listing: Listing, pages: list[bytes], equal: Mapping[str, str]) -> tuple[list[tuple[Any, ...]], str]:
    """Return the rows of an account whose columns have the values in `equal`, and its provenance line."""
    proven = evidence(listing.answers, listing.ended_passes, rule=RULE, claim=listing.claim)
    observed_at: Any = proven["observed_at_utc"]
    flat = flatten(pages, listing.account, observed_at, resource=listing.resource, seen=set())
    rows = [
        tuple(row[column.name] for column in listing.resource.table.stored)
        for row in flat.items.to_pylist()
        if all(row[name] == value for name, value in equal.items())
    ]
    items = pluralize(len(rows), listing.resource.noun)
    return rows, (
        f"{listing.account} · as of {observed_at:%F %R} UTC · {listing.level} · {items} · "
        f"{pluralize(len(flat.rejects), 'reject')} · {pluralize(len(flat.unknown_fields), 'unknown field')}"
    )
