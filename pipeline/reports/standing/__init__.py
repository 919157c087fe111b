"""Standing reports: declared once, shown in the terminal and on the HTML page.

    capacity.py  changes.py  failures.py  cleanup.py  history.py     StandingReport: view, columns, finding, …
              │
    connect() ──► Answers ──► build_section ──► Section     declaration.py, queries.py, model.py
                                     │
                         build_report ──► Report: accounts, figures, sections

A title is a finding. A chart draws every row, or says how many it leaves out;
a table has the first rows, and says how many there are.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from pipeline.reports.provenance import names_by_account
from pipeline.reports.standing.capacity import (
    AGE_BANDS,
    BY_AGE,
    BY_DAY,
    BY_DISK_FORMAT,
    BY_PLATFORM,
    BY_REGION,
    DAYS,
    old_sum,
)
from pipeline.reports.standing.changes import IMAGE_CHANGES
from pipeline.reports.standing.cleanup import (
    CLEANUP,
    CLEANUP_BY_REGION,
    candidates_note,
    freed_gib,
)
from pipeline.reports.standing.declaration import build_section
from pipeline.reports.standing.failures import FAILED_IMAGES, FAILURES_BY_REGION, failures_finding
from pipeline.reports.standing.history import GROWTH, LIFETIMES
from pipeline.reports.standing.model import Column, Figure, QueryText, Report, Section, days_between, gain, label, table
from pipeline.reports.standing.queries import Answers, measure, summed
from pipeline.text import NOTHING, pluralize

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

    from pipeline.reports.standing.declaration import StandingReport
    from pipeline.reports.standing.model import Row

STANDING: Final[dict[str, StandingReport]] = {
    report.view: report
    for report in (
        BY_DAY,
        BY_REGION,
        BY_PLATFORM,
        BY_DISK_FORMAT,
        BY_AGE,
        IMAGE_CHANGES,
        FAILED_IMAGES,
        CLEANUP,
    )
}
"""The standing reports by view, in order."""
ON_REQUEST: Final[dict[str, StandingReport]] = {report.view: report for report in (GROWTH, LIFETIMES)}
"""Reports that are shown only when they are asked for."""
DECLARED: Final = {**STANDING, **ON_REQUEST}
"""Every report by view."""


def build_report(con: duckdb.DuckDBPyConnection) -> Report:
    """Ask the lake for all standing reports.

    Raises:
        LakeDamaged: a committed file is missing or unreadable.
    """
    with contextlib.closing(con.cursor()) as cursor:
        answers = Answers(cursor)
        sections = tuple(build_section(report, answers) for report in STANDING.values())
        accounts = answers.rows(_ACCOUNTS)
        accounts_section = _accounts_section(accounts)
        return Report(
            title=_title(accounts),
            accounts=accounts_section,
            needs_attention=any(
                row["is_stale"]
                or _lost_instances(row)
                or _certificates(row) != {"verified"}
                or row["reject_count"]
                or row["unknown_field_count"]
                or row["same_account_as"]
                or row["watch_note"]
                for row in accounts
            ),
            figures=_figures(answers),
            sections=sections,
            views=answers.views_behind(name for section in (*sections, accounts_section) for name in section.reads),
        )


def section(con: duckdb.DuckDBPyConnection, view: str) -> Section:
    """Ask the lake for the report of one view of `DECLARED`."""
    with contextlib.closing(con.cursor()) as cursor:
        return build_section(DECLARED[view], Answers(cursor))


# ── accounts ─────────────────────────────────────────────────────────────────

_ACCOUNTS: Final = QueryText(
    "the accounts",
    """\
select
    account,
    observed_at_utc,
    certificate,
    proof,
    watch_note,
    image_count,
    reject_count,
    unknown_field_count,
    failed_try_count,
    last_error,
    is_stale,
    instances_observed_at_utc,
    instances_certificate,
    instance_count,
    instances_last_error,
    same_account_as
from accounts
order by
    is_stale desc,
    account""",
)


def _accounts_section(accounts: Sequence[Row]) -> Section:
    stale = sum(1 for row in accounts if row["is_stale"])
    without_instances = sum(map(_lost_instances, accounts))
    unverified = sum(1 for row in accounts if not _certificates(row) <= {"verified"})
    total = summed([row for row in accounts if row["same_account_as"] is None])
    problems = (
        *((1, f"{len(names)} names of one account") for names in names_by_account(accounts).values()),
        (stale, f"{stale:,} of {pluralize(len(accounts), 'account')} not seen by the last run"),
        (without_instances, f"{pluralize(without_instances, 'account')} whose instances the last run did not publish"),
        (unverified, f"{unverified:,} not verified"),
        (total["reject_count"], pluralize(total["reject_count"], "reject")),
        (total["unknown_field_count"], pluralize(total["unknown_field_count"], "unknown field")),
    )
    finding = ", ".join(problem for count, problem in problems if count) or "Every one verified by the last run"
    columns = (
        Column("account", "account"),
        Column("observed_at_utc", "as of, UTC", "minute"),
        Column("certificate", "certificate"),
        Column("proof", "proof", rank=4),
        Column("image_count", "images", "number"),
        *((Column("instance_count", "instances", "number"),) if total["instance_count"] else ()),
        Column("reject_count", "rejects", "number", rank=3),
        Column("unknown_field_count", "unknown fields", "number", rank=2),
        Column("failed_try_count", "failed tries since", "number", rank=1),
        Column("last_error", "why", "words"),
    )
    rows = [{**row, **_first_listing(row), "last_error": _note(row)} for row in accounts]
    return Section("accounts", "Accounts", finding, table("Accounts", "accounts", columns, rows), (_ACCOUNTS,))


def _certificates(row: Row) -> set[str]:
    """The certificates of an account's listings."""
    return {row["certificate"], row["instances_certificate"]} - {None}


def _lost_instances(row: Row) -> bool:
    """Whether instances were listed, and a later run did not publish them; without images the account is stale."""
    return bool(row["instances_last_error"] and row["instances_observed_at_utc"] and row["observed_at_utc"])


def _first_listing(row: Row) -> Row:
    """The instant and certificate of the instances, where the account has no listing of images."""
    if row["observed_at_utc"] is not None:
        return {}
    return {name: row[f"instances_{name}"] for name in ("observed_at_utc", "certificate")}


def _note(row: Row) -> str:
    """The error of the last failed try, the name that the account is counted under, and what its listing showed."""
    name, certificate, error = row["same_account_as"], row["instances_certificate"], row["instances_last_error"]
    is_first = row["observed_at_utc"] is None
    notes = (
        row["last_error"],
        name and f"another name of {name}, counted there",
        row["watch_note"],
        error != row["last_error"] and error and f"instances: {error}",
        not is_first and certificate not in {None, "verified"} and f"instances {certificate}",
    )
    return "; ".join(note for note in notes if note)


def _title(accounts: Sequence[Row]) -> str:
    accounts = [row for row in accounts if row["same_account_as"] is None]
    owner = label(accounts[0]["account"]) if len(accounts) == 1 else pluralize(len(accounts), "account")
    return f"Edge images of {owner}"


# ── the numbers at the top ───────────────────────────────────────────────────


def _figures(answers: Answers) -> tuple[Figure, ...]:
    days, bands = answers.rows(DAYS), answers.rows(AGE_BANDS)
    failures, candidates = answers.rows(FAILURES_BY_REGION), answers.rows(CLEANUP_BY_REGION)
    if not days:
        return ()
    last, first = days[0], days[-1]

    def change(name: str) -> str:
        if len(days) == 1:
            return "first day"
        return f"{gain(last[name] - first[name])} in {pluralize(days_between(days), 'day')}"

    def trend(name: str) -> tuple[int, ...]:
        return tuple(row[name] for row in days[::-1])

    total = summed(bands)
    unit, name = measure(total)
    old = old_sum(bands, name)
    old_share = f"{old / total[name]:.0%}" if total[name] else NOTHING
    failed_count = sum(summed(failures).values())
    count, size = "image_count", "image_size_gib"
    return (
        Figure("Own images", f"{last[count]:,}", "", change(count), "trend", trend(count)),
        Figure("Capacity", f"{last[size]:,}", "GiB", change(size), "trend", trend(size)),
        Figure("A year old or more", old_share, f"of {unit}", f"{old:,} {unit}", "ages"),
        Figure("Cleanup candidates", f"{freed_gib(candidates):,}", "GiB", candidates_note(answers), "cleanup"),
        Figure("Cannot be used", f"{failed_count:,}", "images", failures_finding(failures), "failures"),
    )
