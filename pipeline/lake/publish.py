"""Publish a landed run to the lake: the same for a run, which has just landed it, and for a rebuild years later.

    raw file ── header: the decision about each account, and its reason
       │
       ├─ answers ─→ evidence ──────────────→ a row of `observations`, published or not
       └─ bodies of the last pass ─→ flatten ─→ images, image_disks, rejects of the accounts that are published

Nothing is decided here: what was refused once stays refused. So the same
pages always give the same lake.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from pipeline.extract.completeness import evidence
from pipeline.extract.response import Answer, NotAPage, read_page
from pipeline.lake.commit import Publication
from pipeline.lake.flatten_pool import FlattenPool, RowCounts, batches_of, group_accounts, write_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from pipeline.extract.raw_pages import RawRun
    from pipeline.lake.prefetch import Prefetch
    from pipeline.lake.tombstones import Withdrawal


def publish(
    data: Path,
    raw: RawRun,
    answers: Mapping[str, Sequence[tuple[int, Answer]]],
    *,
    prefetch: Prefetch | None = None,
    withdrawn: Mapping[str, Withdrawal] | None = None,
) -> list[dict[str, Any]]:
    """Publish a landed run by the decisions in its header; `answers` are its rows, each with its place in the file.

    `prefetch` has perhaps written rows of the first account. `withdrawn` names the accounts whose observation was
    withdrawn since: their row in `observations` says so, and the other tables have none of theirs.

    Returns: the rows of `observations`.
    """
    withdrawn = withdrawn or {}
    header = raw.header
    publication = prefetch.publication if prefetch else Publication(data, header["run_id"], raw.observed_on)
    places = {
        decision["account"]: _last_pass(answers.get(decision["account"], ()), decision["ended_passes"])
        for decision in header["accounts"]
        if decision["is_published"] and decision["account"] not in withdrawn
    }
    if prefetch and prefetch.account not in places:
        prefetch.discard()
    begun = prefetch.account if prefetch and prefetch.has_begun else None
    groups = group_accounts({account: pages for account, pages in places.items() if account != begun})
    observations = []
    with FlattenPool() as pool:
        for decision in header["accounts"]:
            account = decision["account"]
            row = _observation(raw, decision, answers.get(account, ()), withdrawn.get(account))
            if row["is_published"]:
                raw.prefetch(groups.get(account, ()))
                row |= _write(publication, pool, raw, row, places[account], prefetch)
            observations.append(row)
    publication.commit(observations, raw.digest)
    return observations


def _observation(
    raw: RawRun, decision: Mapping[str, Any], answers: Sequence[tuple[int, Answer]], withdrawal: Withdrawal | None
) -> dict[str, Any]:
    """Make the row of one account in `observations`, all but the counts of what is written."""
    header = raw.header
    row: dict[str, Any] = {
        "account": decision["account"],
        "run_id": header["run_id"],
        "is_published": decision["is_published"] and withdrawal is None,
        "error": decision["error"] if withdrawal is None else withdrawal.error,
        **{name: header[name] for name in ("asked_certificate", "code_version")},
        "same_account_as": decision.get("same_account_as") if decision["is_published"] else None,
        "endpoint": decision.get("endpoint") or header["endpoint"],  # runs before 0.1 knew one for all
        **evidence([answer for _, answer in answers], decision["ended_passes"]),
    }
    if row["observed_at_utc"] is not None:
        row["observed_at_utc"] = raw.given_at_utc or row["observed_at_utc"]
    return row


def _last_pass(answers: Iterable[tuple[int, Answer]], number: int) -> list[int]:
    """The places of the believed answers of the last pass, in the order of their pages."""
    found = {a.page_number: place for place, a in answers if a.pass_number == number and a.page is not None}
    return [found[page_number] for page_number in sorted(found)]


def _write(
    publication: Publication,
    pool: FlattenPool,
    raw: RawRun,
    observation: Mapping[str, Any],
    places: Sequence[int],
    prefetch: Prefetch | None,
) -> dict[str, int]:
    """Write the tables of one account. Returns: its counts, as `observations` has them."""
    account, at = observation["account"], observation["observed_at_utc"]
    is_distinct = observation["certificate"] != "unproven"
    batches = batches_of(places)
    counts = []
    if prefetch and prefetch.account == account:
        counts = prefetch.finish(at, batches if is_distinct else [])
    flats = pool.flatten(raw, account, at, batches[len(counts) :], is_distinct=is_distinct)
    total = sum((write_rows(publication, flat) for flat in flats), start=sum(counts, start=RowCounts()))
    return {
        "image_count": total.image_count,
        "disk_count": total.disk_count,
        "reject_count": total.reject_count,
        "unknown_field_count": len(total.unknown_fields),
    }


def read_answers(raw: RawRun, prefetch: Prefetch | None = None) -> dict[str, list[tuple[int, Answer]]]:
    """Read the answers of a landed run by account, in the order they came, each with its place in the file.

    `prefetch` takes each as it is read.
    """
    answers: dict[str, list[tuple[int, Answer]]] = {}
    for place, (row, body) in enumerate(raw.answers()):
        page = None
        if row["status"] == 200 and body is not None:
            with contextlib.suppress(NotAPage):
                page = read_page(body)
        answer = Answer(**row, page=page)
        answers.setdefault(row["account"], []).append((place, answer))
        if prefetch is not None:
            prefetch.take(place, answer, body)
    return answers
