"""Write a diff for a person or for another program."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from pipeline.reports.diff.tables import changes_name, spans_name
from pipeline.reports.formats import formats, write_rows
from pipeline.reports.formats.markdown import markdown_cell, write_markdown
from pipeline.reports.provenance import describe_listings, provenance_line
from pipeline.reports.query import as_dicts, query
from pipeline.reports.report import REPORT_ROWS, print_provenance, print_section
from pipeline.reports.standing.changes import CHANGES, count_changes, describe_change
from pipeline.reports.standing.model import NONE, Column, Section, table
from pipeline.reports.terminal import console_on
from pipeline.resources.images import IMAGES_RESOURCE
from pipeline.text import NOTHING, escape_control, pluralize

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import TextIO

    from pipeline.reports.diff import Diff
    from pipeline.reports.query import Rows
    from pipeline.reports.standing.model import Table
    from pipeline.resources.resource import Resource

_MOST_NOTES: Final = 5
"""Accounts with a note of their own; the others are counted."""
_TABLES: Final = ("accounts", "changes", "capacity_by_region")
_MOST_OTHERS: Final = 5
"""Items of each kind of change that a terminal shows of another resource than images."""
_FIGURES: Final = {"image_count": "images", "image_size_gib": "GiB", "disk_size_gib": "disks GiB"}


def write_diff(differences: Diff, output_format: str, out: TextIO, err: TextIO) -> None:
    """Write the differences, the provenance of TO and that of FROM; for data formats the provenance goes to `err`.

    A format for several tables holds accounts, changes and capacity_by_region, and `instance_changes` where instances
    were listed; a format for one holds the changes of images.
    """
    accounts = as_dicts(_read(differences, "accounts"))
    provenance = provenance_line(differences.lake, {row["account"] for row in accounts})
    notes = _notes(differences, accounts)
    if output_format == "table":
        with console_on(out) as console:
            print_provenance(provenance, console)
            for note in notes:
                console.print(note, soft_wrap=True)
            console.print()
            print_section(_changes_section(differences), console, limit=len(CHANGES) * REPORT_ROWS * 20)
            console.print()
            print_section(_capacity_section(differences), console, limit=REPORT_ROWS + 1)
            for resource in differences.others:
                console.print()
                print_section(_other_section(differences, resource), console, limit=sys.maxsize)
    elif output_format == "markdown":
        out.write("".join(f"{markdown_cell(line)}\n\n" for line in (provenance, *notes)))
        for name in _tables(differences)[1:]:
            out.write(f"## {name}\n\n")
            write_markdown(_read(differences, name), out)
            out.write("\n")
    else:
        if write_tables := formats()[output_format].write_tables:
            write_tables(((name, _read(differences, name)) for name in _tables(differences)), out)
        else:
            write_rows(_read(differences, "changes"), output_format, out)
            notes += _left_out(differences)
        err.write("".join(f"{line}\n" for line in (provenance, *notes)))


def _left_out(differences: Diff) -> list[str]:
    """What a format for one table does not hold: the changes of other resources than images."""
    return [
        f"the rows are those of images; {resource.name}, in `--format json`: {count_changes(counts)}"
        for resource in differences.others
        if (counts := differences.count(resource))
    ]


def _tables(differences: Diff) -> tuple[str, ...]:
    others = (changes_name(resource).removeprefix("diff_") for resource in differences.others)
    return (*_TABLES, *others)


def _read(differences: Diff, name: str) -> Rows:
    return query(differences.lake, f"from diff_{name}", only_reads=False)


# ── notes on accounts ────────────────────────────────────────────────────────


def _notes(differences: Diff, accounts: Sequence[dict[str, Any]]) -> list[str]:
    """The provenance of FROM, and the accounts that cannot be compared."""
    names = {row["account"] for row in accounts}
    old = [row for row in as_dicts(_read(differences, "old_listings")) if row["account"] in names]
    lines = []
    if old:
        compared = pluralize(len({row["account"] for row in old}), "account")
        lines.append(" · ".join((f"compared with {compared}", *describe_listings(old))))
    others = {
        (row["account"], resource): row
        for resource in differences.others
        for row in as_dicts(_read(differences, spans_name(resource).removeprefix("diff_")))
    }
    notes = [note for row in accounts for note in _account_notes(row, others, differences.others)]
    lines += notes[:_MOST_NOTES]
    if len(notes) > _MOST_NOTES:
        more = len(notes) - _MOST_NOTES
        lines.append(f"… and {more:,} more such notes: `--format json` tells of all accounts")
    return lines


def _account_notes(
    row: dict[str, Any], spans: Mapping[tuple[str, Resource], dict[str, Any]], others: Sequence[Resource]
) -> Iterator[str]:
    """Why an account cannot be compared, or only in part; another resource has a note where images have none such."""
    listed = [(resource, spans[row["account"], resource]) for resource in others if (row["account"], resource) in spans]
    has_images = row["new_observed_at_utc"] is not None
    if (note := _images_note(row)) and (has_images or not listed):
        yield note
    for resource, span in listed:
        is_first, is_unseen = span["old_observed_at_utc"] is None, not span["observation_count"]
        account = f"account {escape_control(row['account'])!r}: its {resource.name}"
        if is_first and not (has_images and row["old_observed_at_utc"] is None):
            count = f"{span['new_item_count']:,} may be older, and none is said to have appeared"
            yield f"{account} were first listed in between: {count}"
        elif is_unseen and not (has_images and not row["observation_count"]):
            last = f"{span['old_observed_at_utc']:%Y-%m-%d %H:%M} UTC"
            yield f"{account} were not listed after {last}: none is known to differ"


def _images_note(row: dict[str, Any]) -> str:
    """The reason why the images of an account cannot be compared; an empty text where they can."""
    account = f"account {escape_control(row['account'])!r}"
    error = escape_control(row["last_error"] or "")
    if row["new_observed_at_utc"] is None:
        return f"{account} was never observed by then: nothing is known of it ({error})"
    if row["old_observed_at_utc"] is None:
        first = f"{account} was first observed in between"
        return (
            f"{first}: its {pluralize(row['new_image_count'], 'image')} may be older, and none is said to have appeared"
        )
    if not row["observation_count"]:
        last = f"{row['old_observed_at_utc']:%Y-%m-%d %H:%M} UTC"
        why = f" ({pluralize(row['failed_try_count'], 'run')} failed, the last by {error})" if error else ""
        return f"{account} was not observed after {last}: nothing is known to differ{why}"
    return ""


# ── sections of a terminal ───────────────────────────────────────────────────


def _changes_section(differences: Diff) -> Section:
    """The first images of each kind of change; a changed image has a line for each field."""
    changes, counts, notes = _changes_table(differences, IMAGES_RESOURCE, REPORT_ROWS)
    return Section(
        "changes", "Differences", count_changes(counts) or _no_image_differs(differences), changes, (), notes=notes
    )


def _no_image_differs(differences: Diff) -> str:
    """`none` only where no item of any resource differs."""
    others = [resource.name for resource in differences.others if differences.count(resource)]
    return f"no image differs; {' and '.join(others)} do" if others else "none"


def _other_section(differences: Diff, resource: Resource) -> Section:
    """The first changes of another resource, such as instances."""
    changes, counts, notes = _changes_table(differences, resource, _MOST_OTHERS)
    topic = resource.name.capitalize()
    return Section(resource.name, topic, count_changes(counts) or "none differs", changes, (), notes=notes)


def _changes_table(differences: Diff, resource: Resource, most: int) -> tuple[Table, Counter[str], tuple[str, ...]]:
    """Returns: the first items of each kind of change, the number of items by kind, and a note on the others."""
    name, key = changes_name(resource), resource.key.name
    rows = as_dicts(_read(differences, name.removeprefix("diff_")))
    has_several_accounts = len(as_dicts(_read(differences, "accounts"))) > 1
    counts, shown = Counter[str](), list[dict[str, Any]]()
    for _, fields in groupby(rows, lambda row: (row["change"], row["account"], row[key])):
        for number, row in enumerate(fields):
            counts[row["change"]] += not number
            if counts[row["change"]] <= most:
                item = row if number == 0 else dict.fromkeys(row, "")
                shown.append({**item, "what": _describe(row, resource)})
    columns = (
        Column("since_utc", "since, UTC", "day"),
        *([Column("account", "account")] if has_several_accounts else []),
        Column("change", "change"),
        Column(key, resource.noun),
        Column("what", "what", "words"),
    )
    more = [f"{counts[change] - most:,} more {change}" for change in CHANGES if counts[change] > most]
    all_of_them = "csv" if resource is IMAGES_RESOURCE else "json"
    notes = (f"… and {', '.join(more)}: `--format {all_of_them}` writes them all",) if more else ()
    return table("Differences", name, columns, shown), counts, notes


def _describe(row: dict[str, Any], resource: Resource) -> str:
    if row["change"] == "changed":
        return describe_change(row)
    if resource is not IMAGES_RESOURCE:
        return row[f"{resource.noun}_name"] or NOTHING
    size = "no size" if row["image_size_gib"] is None else f"{row['image_size_gib']:,} GiB"
    return f"{row['image_name'] or NOTHING}, {size}"


def _capacity_section(differences: Diff) -> Section:
    """The regions whose capacity differs, and the sums over all regions."""
    rows = as_dicts(_read(differences, "capacity_by_region"))
    total = _sum(rows)
    grown = total["difference_image_size_gib"]
    old, new = (f"{total[f'{side}_image_size_gib']:,}" for side in ("old", "new"))
    finding = f"{'grew' if grown > 0 else 'shrank'} by {abs(grown):,} GiB, from {old} to {new} GiB"
    if not grown:
        finding = f"unchanged at {new} GiB"
    differing = [
        {**row, "region_id": row["region_id"] or NONE}
        for row in rows
        if any(row[f"difference_{name}"] for name in _FIGURES)
    ]
    shown, others = differing[:REPORT_ROWS], differing[REPORT_ROWS:]
    if others:
        shown.append({"region_id": f"{len(others):,} more", **_sum(others)})
    columns = [Column("region_id", "region")]
    for number, (name, heading) in enumerate(_FIGURES.items()):
        columns.append(Column(f"new_{name}", heading, "number", rank=number // 2))
        columns.append(Column(f"difference_{name}", "change", "gain", rank=number // 2))
    regions = table("Capacity by region", "diff_capacity_by_region", columns, shown)
    if differing:
        regions = replace(regions, sums={"region_id": "all", **total})
    return Section("capacity", "Capacity by region", finding, regions, ())


def _sum(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    names = [f"{side}_{name}" for side in ("old", "new", "difference") for name in _FIGURES]
    return {name: sum(row[name] for row in rows) for name in names}
