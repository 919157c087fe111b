"""A diff as a person reads it, or as another program does."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from pipeline.reports.formats import formats, write_rows
from pipeline.reports.formats.markdown import markdown_cell, write_markdown
from pipeline.reports.provenance import as_of_and_certificate, provenance_line
from pipeline.reports.query import as_dicts, query
from pipeline.reports.report import REPORT_ROWS, print_provenance, print_section
from pipeline.reports.standing.changes import CHANGES, in_words, was_and_is
from pipeline.reports.standing.model import NONE, Column, Section, table
from pipeline.reports.terminal import console_on
from pipeline.text import NOTHING, escape_control, pluralize

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

    from pipeline.reports.diff import Diff
    from pipeline.reports.query import Rows

_NOTES: Final = 5
"""Accounts of which something is told one by one."""
_NAMES: Final = ("accounts", "changes", "capacity_by_region")
_FIGURES: Final = {"image_count": "images", "image_size_gib": "GiB", "disk_size_gib": "disks GiB"}


def write_diff(found: Diff, output_format: str, out: TextIO, err: TextIO) -> None:
    """Write what differs; the trust line of TO goes with it, and what FROM is, for csv and json to `err`.

    csv holds the changes alone, json is one object of three arrays: accounts, changes, capacity_by_region.
    """
    accounts = as_dicts(_read(found, "accounts"))
    told = [provenance_line(found.lake, {row["account"] for row in accounts}), *_notes(accounts)]
    if output_format == "markdown":
        out.write("".join(f"{markdown_cell(line)}\n\n" for line in told))
        for name in _NAMES[1:]:
            out.write(f"## {name}\n\n")
            write_markdown(_read(found, name), out)
            out.write("\n")
    elif output_format == "table":
        with console_on(out) as console:
            print_provenance(told[0], console)
            for line in told[1:]:
                console.print(line, soft_wrap=True)
            console.print()
            print_section(_changes(found), console, limit=len(CHANGES) * REPORT_ROWS * 20)
            console.print()
            print_section(_capacity(found), console, limit=REPORT_ROWS + 1)
    else:
        if write_tables := formats()[output_format].write_tables:
            write_tables(((name, _read(found, name)) for name in _NAMES), out)
        else:
            write_rows(_read(found, "changes"), output_format, out)
        err.write("".join(f"{line}\n" for line in told))


def _read(found: Diff, name: str) -> Rows:
    return query(found.lake, f"from diff_{name}", only_reads=False)


def _notes(accounts: Sequence[dict[str, Any]]) -> list[str]:
    """What FROM is, and which accounts cannot be compared, in lines."""
    old = [
        {name: row[f"old_{name}"] for name in ("observed_at_utc", "certificate", "image_count")}
        for row in accounts
        if row["old_observed_at_utc"] is not None
    ]
    lines = []
    if old:
        lines.append(" · ".join((f"compared with {pluralize(len(old), 'account')}", *as_of_and_certificate(old))))
    aside = [line for row in accounts if (line := _aside(row))]
    lines += aside[:_NOTES]
    if len(aside) > _NOTES:
        lines.append(f"… and {len(aside) - _NOTES:,} more accounts of which that is so: `--format json` tells of all")
    return lines


def _aside(row: dict[str, Any]) -> str:
    """Why an account cannot be compared, or not to the end; an empty text where it can."""
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
        why = f"{pluralize(row['failed_try_count'], 'run')} failed, the last by {error}" if error else "no run tried"
        return f"{account} was not observed after {last}: nothing is known to differ ({why})"
    return ""


def _changes(found: Diff) -> Section:
    """What became of the images, at most so many of a kind; of a changed one a line a field."""
    rows = as_dicts(_read(found, "changes"))
    several = len(as_dicts(_read(found, "accounts"))) > 1
    told, shown = Counter[str](), list[dict[str, Any]]()
    for _, fields in groupby(rows, lambda row: (row["change"], row["account"], row["image_id"])):
        for place, row in enumerate(fields):
            told[row["change"]] += not place
            if told[row["change"]] <= REPORT_ROWS:
                begins = row if not place else dict.fromkeys(row, "")
                shown.append({**begins, "what": _what(row)})
    columns = (
        Column("since_utc", "since, UTC", "day"),
        *([Column("account", "account")] if several else []),
        Column("change", "change"),
        Column("image_id", "image"),
        Column("what", "what", "words"),
    )
    more = [f"{told[word] - REPORT_ROWS:,} more {word}" for word in CHANGES if told[word] > REPORT_ROWS]
    notes = (f"… and {', '.join(more)}: `--format csv` writes them all",) if more else ()
    listed = table("What differs", "diff_changes", columns, shown)
    return Section("changes", "What differs", in_words(told) or "nothing", listed, (), notes=notes)


def _what(row: dict[str, Any]) -> str:
    if row["change"] == "changed":
        return was_and_is(row)
    size = "no size" if row["image_size_gib"] is None else f"{row['image_size_gib']:,} GiB"
    return f"{row['image_name'] or NOTHING}, {size}"


def _capacity(found: Diff) -> Section:
    """The regions in which the capacity differs, and the whole."""
    rows = as_dicts(_read(found, "capacity_by_region"))
    total, grown = _sum(rows), sum(row["difference_image_size_gib"] for row in rows)
    old, new = (f"{total[f'{side}_image_size_gib']:,}" for side in ("old", "new"))
    finding = f"{'grew' if grown > 0 else 'shrank'} by {abs(grown):,} GiB, from {old} to {new} GiB"
    if not grown:
        finding = f"held its size of {new} GiB"
    differing = [row for row in rows if any(row[f"difference_{name}"] for name in _FIGURES)]
    for row in differing:
        row["region_id"] = row["region_id"] or NONE
    shown, rest = differing[:REPORT_ROWS], differing[REPORT_ROWS:]
    if rest:
        shown.append({"region_id": f"{len(rest):,} more", **_sum(rest)})
    columns = [Column("region_id", "region")]
    for place, (name, heading) in enumerate(_FIGURES.items()):
        columns.append(Column(f"new_{name}", heading, "number", rank=place // 2))
        columns.append(Column(f"difference_{name}", "change", "gain", rank=place // 2))
    listed = table("Capacity by region", "diff_capacity_by_region", columns, shown)
    if differing:
        listed = replace(listed, sums={"region_id": "all", **total})
    return Section("capacity", "Capacity by region", finding, listed, ())


def _sum(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    names = [f"{side}_{name}" for side in ("old", "new", "difference") for name in _FIGURES]
    return {name: sum(row[name] for row in rows) for name in names}
