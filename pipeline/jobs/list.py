"""List images live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pipeline.extract.client import DEFAULT_WORKERS
from pipeline.extract.completeness import evidence
from pipeline.extract.endpoint import DEFAULT_ENDPOINT
from pipeline.extract.listing import extract
from pipeline.extract.rate_limit import DEFAULT_RATE
from pipeline.jobs.accounts import select_accounts
from pipeline.reports.query import Rows
from pipeline.resources.images import IMAGES
from pipeline.transform.assemble import flatten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.credentials import Account


def list_images(
    *,
    profiles: Sequence[str] = (),
    accounts: Sequence[Account] = (),
    endpoint: str = DEFAULT_ENDPOINT,
    allow_plain_http: bool = False,
    image_id: str | None = None,
    image_name: str | None = None,
    snapshot_id: str | None = None,
    exact: bool = False,
    workers: int = DEFAULT_WORKERS,
    rate: float | None = DEFAULT_RATE,
) -> tuple[Rows, str]:
    """List images live by the API's own filters, one pass, nothing stored: the rows, and the trust line.

    The API's filters are fuzzy; `exact` compares here, letter by letter.

    Raises:
        EnsImagesError: an account could not be read.
    """
    asked = {"ImageId": image_id, "ImageName": image_name, "SnapshotId": snapshot_id}
    filters = {name: value for name, value in asked.items() if value is not None}
    bodies: dict[tuple[str, int, int], bytes | None] = {}
    listings = extract(
        select_accounts(profiles, accounts=accounts),
        lambda answer, body: bodies.update({(answer.account, answer.pass_number, answer.page_number): body}),
        endpoint=endpoint,
        allow_plain_http=allow_plain_http,
        level="unproven",
        filters=filters,
        workers=workers,
        rate=rate,
    )
    rows: list[tuple[Any, ...]] = []
    names = [column.name for column in IMAGES.stored]
    trust = []
    for listing in listings:
        if listing.error is not None:
            raise listing.error
        at: Any = evidence(listing.answers, listing.ended_passes)["observed_at_utc"]
        pages = [bodies[place] for place in sorted(bodies) if place[:2] == (listing.account, listing.ended_passes)]
        flat = flatten([body for body in pages if body is not None], listing.account, at, seen=set())
        found = [
            tuple(row[name] for name in names)
            for row in flat.images.to_pylist()
            if not exact or all(row[_COLUMN_OF[field]] == value for field, value in filters.items())
        ]
        rows += found
        unknown = f"{len(flat.rejects)} rejects · {len(flat.unknown_fields)} unknown fields"
        trust.append(f"{listing.account} · as of {at:%F %R} UTC · {listing.level} · {len(found)} images · {unknown}")
    types = tuple(column.duckdb_type for column in IMAGES.stored)
    return Rows(tuple(names), types, rows), "\n".join(trust)


_COLUMN_OF: Final = {column.api: column.name for column in IMAGES.columns}
