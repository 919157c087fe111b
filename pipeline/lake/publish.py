"""Publish a landed run to the lake: the same for a run, which has just landed it, and for a rebuild years later.

    raw file ── header: the decision about each account, and its reason
       │
       ├─ answers ─→ evidence ──────────────→ a row of `observations`, published or not
       └─ bodies at the instant ────→ flatten ─→ images, image_disks, rejects of the accounts that are published

Nothing is decided here: what was refused once stays refused. So the same
pages always give the same lake.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.extract.claim import Claim, is_usable, published_places
from pipeline.extract.completeness import LEVELS, count_calls, evidence
from pipeline.extract.response import Answer, NotAPage, read_page
from pipeline.extract.shares import share_counts
from pipeline.lake.commit import Publication
from pipeline.lake.flatten_pool import FlattenPool, RowCounts, batches_of, group_accounts, write_rows
from pipeline.lake.tombstones import Listed
from pipeline.resources.image_shares import IMAGE_SHARES
from pipeline.resources.images import IMAGES_RESOURCE
from pipeline.resources.tables import resource_named
from pipeline.text import pluralize

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from pipeline.extract.raw_pages import RawRun
    from pipeline.lake.prefetch import Prefetch
    from pipeline.lake.tombstones import Withdrawal


Answers = dict[Listed, list[tuple[int, Answer]]]
"""The answers of a landed run, each with its place in the raw file."""


def publish(
    data: Path,
    raw: RawRun,
    answers: Answers,
    *,
    prefetch: Prefetch | None = None,
    withdrawn: Mapping[Listed, Withdrawal] | None = None,
    reading: int | None = None,
) -> list[dict[str, Any]]:
    """Publish a landed run by the decisions in its header; `answers` are its rows, each with its place in the file.

    `prefetch` has perhaps written rows of the first account. `withdrawn` names the accounts and resources whose
    observation was withdrawn since: their row in `observations` says so, and the other tables have none of theirs.
    `reading` is the version that `answers` were read with; None: the one that landed them.

    Returns: the rows of `observations`.
    """
    withdrawn = withdrawn or {}
    reading = reading or raw.reading
    header = raw.header
    publication = prefetch.publication if prefetch else Publication(data, header["run_id"], raw.observed_on)
    observations = [
        _observation(raw, decision, answers, withdrawn.get(listed_in(decision)), reading)
        for decision in header["accounts"]
    ]
    selections = {
        listed_in(decision): _select(answers.get(listed_in(decision), ()), decision, header.get("completeness_rule"))
        for decision, row in zip(header["accounts"], observations, strict=True)
        if row["is_published"]
    }
    if prefetch and prefetch.listed not in selections:
        prefetch.discard()
    begun = prefetch.listed if prefetch and prefetch.has_begun else None
    groups = group_accounts({listed: pages.places for listed, pages in selections.items() if listed != begun})
    with FlattenPool() as pool:
        for row in observations:
            if row["is_published"]:
                listed = listed_in(row)
                raw.prefetch(groups.get(listed, ()))
                row.update(_write(publication, pool, raw, row, selections[listed], prefetch))
    publication.commit(observations, raw.digest)
    return observations


def listed_in(decision: Mapping[str, Any]) -> Listed:
    """Account and resource of a decision in a raw file; before format 5 there was one resource."""
    return decision["account"], decision.get("resource", "images")


def _observation(
    raw: RawRun,
    decision: Mapping[str, Any],
    answers: Answers,
    withdrawal: Withdrawal | None,
    reading: int,
) -> dict[str, Any]:
    """Make the row of one account in `observations`, all but the counts of what is written."""
    header = raw.header
    mine = answers.get(listed_in(decision), ())
    proven = evidence_of(raw, decision, answers)
    refusal = why_refused_anew(raw, decision, mine, proven["certificate"], reading)
    return {
        "account": decision["account"],
        "resource": listed_in(decision)[1],
        "run_id": header["run_id"],
        "is_published": decision["is_published"] and withdrawal is None and refusal is None,
        "error": withdrawal.error if withdrawal else refusal or decision["error"],
        "reading_version": reading,
        **{name: decision.get(name) for name in ("returned_count", "is_quiet_only")},
        **{name: header[name] for name in ("asked_certificate", "code_version")},
        "same_account_as": decision.get("same_account_as") if decision["is_published"] else None,
        "endpoint": decision.get("endpoint") or header["endpoint"],  # runs before 0.1 knew one for all
        **proven,
    }


def evidence_of(raw: RawRun, decision: Mapping[str, Any], answers: Answers) -> dict[str, Any]:
    """Compute the evidence of an account and resource under the rule of the run that landed it.

    Where an answer that was taken then is none any more, by another reading or by damage, the claim counts for nothing.
    """
    mine = [answer for _, answer in answers.get(listed_in(decision), ())]
    claim = Claim.from_decision(decision)
    if claim is not None and not is_usable(mine, claim):
        claim = None
    proven = evidence(mine, decision["ended_passes"], rule=raw.header.get("completeness_rule"), claim=claim)
    if proven["observed_at_utc"] is not None:
        proven["observed_at_utc"] = raw.given_at_utc or proven["observed_at_utc"]
    return {**proven, **_shares(decision, answers, proven)}


def _shares(decision: Mapping[str, Any], answers: Answers, proven: Mapping[str, Any]) -> dict[str, Any]:
    """Count who the images of an account are shared with that the run asked for, as JSON; None: it did not ask.

    The calls for that are added to those of the listing, which `proven` counts.
    """
    image_ids = decision.get("share_image_ids")
    if image_ids is None:
        return {"image_shares": None}
    mine = [answer for _, answer in answers.get((decision["account"], IMAGE_SHARES.name), ())]
    counts = share_counts(image_ids, mine)
    rows = [{"image_id": image_id, "shared_account_count": count} for image_id, count in counts.items()]
    calls = count_calls(mine)
    return {"image_shares": json.dumps(rows), **{name: round(proven[name] + more, 3) for name, more in calls.items()}}


class _Selection(NamedTuple):
    """The pages of an account that are published."""

    places: list[int]
    is_distinct: bool | None
    """Whether every image in them is published, each once; None: as the certificate says."""
    excluded_ids: frozenset[str]


def _select(answers: Sequence[tuple[int, Answer]], decision: Mapping[str, Any], rule: str | None) -> _Selection:
    """Select the pages at the instant; without one, the believed answers of the last pass.

    They are in the order of pages, page 1 last, as `published_places` has it; first under the older rule.
    """
    claim = Claim.from_decision(decision)
    if claim is not None:
        found, is_distinct = published_places([answer for _, answer in answers], claim)
        return _Selection([answers[number][0] for number in found], is_distinct, frozenset(claim.later_ids))
    number = decision["ended_passes"]
    last = {a.page_number: place for place, a in answers if a.pass_number == number and a.page is not None}
    numbers = sorted(last, key=lambda page_number: (rule is not None and page_number == 1, page_number))
    return _Selection([last[page_number] for page_number in numbers], None, frozenset())


def why_refused_anew(
    raw: RawRun, decision: Mapping[str, Any], answers: Iterable[tuple[int, Answer]], certificate: object, reading: int
) -> str | None:
    """Why a published account is not published by another reading of its answers; None: it is.

    An answer that was usable when it landed may be none today: then what is left proves less.
    """
    if reading == raw.reading or not decision["is_published"]:
        return None
    last = [answer for _, answer in answers if answer.pass_number == decision["ended_passes"]]
    unusable = {answer.page_number for answer in last} - {a.page_number for a in last if a.page is not None}
    asked = raw.header["asked_certificate"]
    is_proven = certificate in LEVELS and LEVELS.index(certificate) >= LEVELS.index(asked)
    if is_proven and not unusable:
        return None
    found = f"{pluralize(len(unusable), 'page')} of the last pass unusable" if unusable else f"it proves {certificate}"
    return f"IncompleteListing: published once, but by reading version {reading} {found}, and {asked} was asked"


def _write(
    publication: Publication,
    pool: FlattenPool,
    raw: RawRun,
    observation: Mapping[str, Any],
    selection: _Selection,
    prefetch: Prefetch | None,
) -> dict[str, int]:
    """Write the tables of one account. Returns: its counts, as `observations` has them."""
    account, at = observation["account"], observation["observed_at_utc"]
    resource = resource_named(observation["resource"])
    is_distinct = selection.is_distinct
    if is_distinct is None:
        is_distinct = observation["certificate"] != "unproven"
    batches = batches_of(selection.places)
    counts = []
    if prefetch and prefetch.listed == listed_in(observation):
        counts = prefetch.finish(at, batches if is_distinct else [])
    seen = None if is_distinct else set(selection.excluded_ids)
    reading = observation["reading_version"]
    flats = pool.flatten(raw, account, at, batches[len(counts) :], resource=resource, seen=seen, reading=reading)
    total = sum((write_rows(publication, flat) for flat in flats), start=sum(counts, start=RowCounts()))
    return {
        "item_count": total.image_count,
        "child_item_count": total.disk_count,
        "reject_count": total.reject_count,
        "unknown_field_count": len(total.unknown_fields),
    }


def read_answers(
    raw: RawRun,
    prefetch: Prefetch | None = None,
    *,
    reading: int | None = None,
    groups: Iterable[pa.Table] | None = None,
) -> Answers:
    """Read the answers of a landed run by account and resource, in the order they came, each with its place.

    `prefetch` takes each as it is read. `reading` is a version of reading; None: the one that landed them. `groups` are
    those of `raw`, where the caller uses them as well.
    """
    reading = reading or raw.reading
    answers: Answers = {}
    for place, (row, body) in enumerate(raw.answers(groups)):
        page = None
        if row["status"] == 200 and body is not None:
            with contextlib.suppress(NotAPage):
                resource = resource_named(row.get("resource") or IMAGES_RESOURCE.name)
                page = read_page(body, reading, resource=resource, server_at_utc=row.get("server_at_utc"))
        answer = Answer(**{"server_at_utc": None, **row}, page=page)
        answers.setdefault((answer.account, answer.resource), []).append((place, answer))
        if prefetch is not None:
            prefetch.take(place, answer, body)
    return answers
