"""From a landed run to the lake: the same for a run, which has just landed it, and for a rebuild years later.

    raw file ── header: what was decided about each account, and why
       │
       ├─ answers ─→ evidence ──────────────→ a row of `observations`, published or not
       └─ bodies of the last pass ─→ flatten ─→ images, image_disks, rejects of the accounts that are published

Nothing is decided here: what was refused once stays refused. So the same
pages always give the same lake.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from pipeline.errors import LakeDamaged, LakeMissing
from pipeline.extract.completeness import evidence
from pipeline.extract.response import Answer, NotAPage, read_page
from pipeline.lake.commit import Publication
from pipeline.lake.committed import committed_files, published_accounts
from pipeline.lake.flatten_pool import group_small_accounts
from pipeline.lake.tombstones import read_tombstones
from pipeline.resources.control import OBSERVATIONS, REJECTS
from pipeline.resources.images import IMAGE_DISKS, IMAGES
from pipeline.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from pipeline.extract.raw_pages import RawRun
    from pipeline.lake.flatten_pool import FlattenPool
    from pipeline.lake.tombstones import Withdrawal


def publish(
    data: Path,
    raw: RawRun,
    answers: dict[str, list[tuple[int, Answer]]],
    ahead: FlattenPool,
    *,
    without: Mapping[str, Withdrawal] | None = None,
) -> list[dict[str, Any]]:
    """Publish a landed run by the decisions in its header; `answers` are its rows, each with its place in the file.

    `ahead` flattens and writes them, or has while they came. `without` names the accounts whose observation was
    withdrawn since: their row says so, and nothing else comes.
    """
    without = without or {}
    header = raw.header
    publication = ahead.publication or Publication(data, header["run_id"], raw.observed_on)
    passes = {
        one["account"]: _last_pass(answers.get(one["account"], ()), one["ended_passes"])
        for one in header["accounts"]
        if one["is_published"] and one["account"] not in without
    }
    together = group_small_accounts(passes)
    observations = []
    for decision in header["accounts"]:
        account = decision["account"]
        withdrawn = without.get(account)
        is_published = decision["is_published"] and withdrawn is None
        mine = answers.get(account, [])
        row: dict[str, Any] = {
            "account": account,
            "run_id": header["run_id"],
            "is_published": is_published,
            "error": decision["error"] if withdrawn is None else withdrawn.error,
            **{name: header[name] for name in ("asked_certificate", "code_version")},
            "endpoint": decision.get("endpoint") or header["endpoint"],  # runs before 0.1 knew one for all
            **evidence([answer for _, answer in mine], decision["ended_passes"]),
        }
        if row["observed_at_utc"] is not None:
            row["observed_at_utc"] = raw.given_at_utc or row["observed_at_utc"]
        if is_published:
            raw.prefetch(together.get(account, ()))
            is_distinct = row["certificate"] != "unproven"
            at = row["observed_at_utc"]
            written = ahead.write(publication, raw, account, at, passes[account], is_distinct=is_distinct)
            row |= {
                "image_count": written.image_count,
                "disk_count": written.disk_count,
                "reject_count": written.reject_count,
                "unknown_field_count": len(written.unknown_fields),
            }
        else:
            ahead.leave_out(account)
        observations.append(row)
    publication.add(OBSERVATIONS, OBSERVATIONS.to_arrow(observations))
    publication.commit()
    return observations


def _last_pass(answers: Iterable[tuple[int, Answer]], number: int) -> list[tuple[int, Answer]]:
    """The believed answers of the last pass, in the order of their pages."""
    found = {a.page_number: (place, a) for place, a in answers if a.pass_number == number and a.page is not None}
    return [found[page_number] for page_number in sorted(found)]


def complete_runs(data: Path) -> set[str]:
    """The runs that the lake has whole: their commit record, and the tables' files if anything published is left.

    Those that are folded are as whole as the fold is.

    Raises:
        LakeDamaged: a file of the fold cannot be read.
    """
    gone = read_tombstones(data)
    try:
        committed = committed_files(data, gone)
    except LakeMissing:
        return set()
    files = committed.of
    folded = set(committed.fold.runs) if committed.fold else set()
    for paths in committed.fold.files(data).values() if committed.fold else ():
        for path in paths:
            if not _is_readable(path):
                raise LakeDamaged(
                    f"{str(path)!r} cannot be read, and folded runs stand on it: put it back from a copy, "
                    "or `ens-images rebuild --into` a new folder"
                )
    readable = {name: {path.stem for path in paths if _is_readable(path)} for name, paths in files.items()}
    with_tables = readable[OBSERVATIONS.name].intersection(*(readable[t.name] for t in (IMAGES, IMAGE_DISKS, REJECTS)))
    records = (path for path in files[OBSERVATIONS.name] if path.stem in readable[OBSERVATIONS.name])
    half = {run: set(accounts) for run, accounts in committed.fold.covered.items()} if committed.fold else {}
    rest = [path for path in records if path.stem not in with_tables]
    without_rows = {
        p.stem for p in rest if published_accounts(p) <= gone.withdrawn_from(p.stem).keys() | half.get(p.stem, set())
    }
    return with_tables | without_rows | folded


def _is_readable(path: Path) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        pq.read_metadata(store_of(path).open(path))
    except (pa.ArrowException, OSError):
        return False
    return True


def read_answers(raw: RawRun, ahead: FlattenPool | None = None) -> dict[str, list[tuple[int, Answer]]]:
    """The answers of a landed run by account, in the order they came, each with its place in the file.

    `ahead` gets each as it is read.
    """
    answers: dict[str, list[tuple[int, Answer]]] = {}
    for place, (row, body) in enumerate(raw.answers()):
        page = None
        if row["status"] == 200 and body is not None:
            with contextlib.suppress(NotAPage):
                page = read_page(body)
        answer = Answer(**row, page=page)
        answers.setdefault(row["account"], []).append((place, answer))
        if ahead is not None:
            ahead.take(place, answer, body)
    return answers
