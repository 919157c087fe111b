"""The standing reports: what people look at, each with its finding.

    connect() ──► report     table · csv · json · markdown, with the trust line

Data goes to `out`, everything said about it elsewhere.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from pipeline.errors import BadSetting
from pipeline.formats import markdown_cell, write_json, write_markdown, write_rows
from pipeline.rows import as_dicts, cut, read, relation
from pipeline.spelling import harmless, how_many
from pipeline.terminal import BAR_WIDTH, NOTHING, PLAIN_WIDTH, as_table, bar, console_on, new_table, sparkline
from pipeline.trust import trust_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TextIO

    import duckdb
    from rich.console import Console

    from pipeline.formats import Format

STANDING: Final = ("capacity_by_region", "capacity_by_day", "age_bands", "image_changes", "failed_images")
"""The views of the standing reports, in order."""
REPORT_ROWS: Final = 20
"""Rows of a table in a report; it says how many more there are, and the SQL that shows them."""
_NARROW: Final = 76


def report(
    con: duckdb.DuckDBPyConnection,
    views: Sequence[str] = (),
    *,
    output_format: Format = "table",
    out: TextIO,
    err: TextIO,
) -> None:
    """Write the standing reports, or the given views; the trust line goes with them, for csv and json to `err`.

    json is one object of arrays where there are several views; csv holds one table, so it wants one view.

    Raises:
        UnknownName: there is no such view.
        BadSetting: csv was asked for several views.
        LakeDamaged: a committed file is missing or unreadable.
    """
    names = [relation(name).name for name in views] or list(STANDING)
    if output_format in {"csv", "json"}:
        if output_format == "csv" and len(names) > 1:
            raise BadSetting(f"csv holds one table: name one view of {', '.join(names)}")
        err.write(trust_line(con) + "\n")
        _write_data(con, names, output_format, out)
    elif output_format == "markdown":
        out.write(f"{markdown_cell(trust_line(con))}\n")
        for name in names:
            out.write(f"\n## {name}\n\n")
            kept, more = cut(read(con, name), REPORT_ROWS if not views else sys.maxsize)
            write_markdown(kept, out)
            if more:
                out.write(f"\n… and {more:,} more: `from {name}`\n")
    else:
        with console_on(out) as console:
            console.print(trust_line(con), style="bold", soft_wrap=True)
            for name in names:
                console.print()
                _SECTIONS.get(name, _any_section)(con, name, console)


def _write_data(con: duckdb.DuckDBPyConnection, names: Sequence[str], output_format: Format, out: TextIO) -> None:
    if len(names) == 1:
        write_rows(read(con, names[0]), output_format, out)
        return
    for number, name in enumerate(names):
        out.write(f"{',' if number else '{'}\n {json.dumps(name)}: ")
        write_json(read(con, name), out, indent="  ")
    out.write("\n}\n")


def _title(console: Console, title: str, finding: str) -> None:
    from rich.text import Text

    console.print(Text.assemble((title, "bold cyan"), f": {harmless(finding)}"))


def _rest(console: Console, name: str, more: int) -> None:
    if more > 0:
        console.print(f"… and {more:,} more, with the SQL: from {name}", style="dim", soft_wrap=True)


def _any_section(con: duckdb.DuckDBPyConnection, name: str, console: Console) -> None:
    """A table or view as it is."""
    kept, more = cut(read(con, name), REPORT_ROWS)
    count = more + len(list(kept.rows))
    _title(console, name, how_many(count, "row"))
    if count:
        console.print()
        console.print(as_table(kept, console))
    _rest(console, name, more)


def _capacity_section(con: duckdb.DuckDBPyConnection, name: str, console: Console) -> None:
    """Capacity by region or by platform, with each one's share."""
    rows = as_dicts(read(con, name))
    key, word = ("region_id", "region") if name == "capacity_by_region" else ("platform", "platform")
    total = Counter[str]()
    for row in rows:
        total.update({column: value for column, value in row.items() if column.endswith(("_count", "_gib"))})
    owned = [row for row in rows if row["image_count"]]
    finding = (
        f"{how_many(total['image_count'], 'image')} of {total['image_size_gib']:,} GiB in {how_many(len(owned), word)}"
    )
    if owned and total["image_size_gib"] and len(owned) > 1:
        first = owned[0]
        share = first["image_size_gib"] / total["image_size_gib"]
        finding += f", {share:.0%} of it in {first[key] or '(none)'}"
    _title(console, f"Capacity by {word}", finding)
    if not rows:
        return
    table = new_table()
    table.add_column(word, overflow="fold")
    for heading in ("images", "GiB"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("share", no_wrap=True, min_width=5 + BAR_WIDTH)
    headings = ("disks GiB", "no size", "shared") if console.width >= _NARROW else ()
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    shown = 4 + len(headings)
    for row in rows[:REPORT_ROWS]:
        share = row["image_size_gib"] / total["image_size_gib"] if total["image_size_gib"] else 0
        table.add_row(*_capacity_cells(row[key] or "(none)", row, f"{share:>4.0%} {bar(share)}")[:shown])
    table.add_section()
    table.add_row(*_capacity_cells("all", total, "")[:shown], style="bold")
    console.print()
    console.print(table)
    if total["other_image_count"]:
        console.print(f"{how_many(total['other_image_count'], 'image')} of another owner, or none told", style="dim")
    _rest(console, name, len(rows) - REPORT_ROWS)


def _capacity_cells(label: str, row: dict[str, Any] | Counter[str], share: str) -> list[Any]:
    from rich.text import Text

    columns = ("image_count", "image_size_gib", "disk_size_gib", "unsized_image_count", "shared_image_count")
    images, size, *others = (f"{row[column]:,}" for column in columns)
    return [Text(harmless(label)), images, size, Text(share, style="cyan"), *others]


def _trend_section(con: duckdb.DuckDBPyConnection, name: str, console: Console) -> None:
    """The trend of images and GiB over the days."""
    rows = as_dicts(read(con, name))
    if not rows:
        _title(console, "Capacity by day", "no day yet")
        return
    first, last = rows[0], rows[-1]
    grown = last["image_size_gib"] - first["image_size_gib"]
    days = f"on {last['day_utc']}" if len(rows) == 1 else f"{_changed_by(grown)} in {how_many(len(rows), 'day')}"
    _title(console, "Capacity by day", days)
    table = new_table()
    table.add_column("", no_wrap=True)
    table.add_column(f"{first['day_utc']} to {last['day_utc']}", no_wrap=True)
    for heading in ("first", "last", "change"):
        table.add_column(heading, justify="right", no_wrap=True)
    width = max(10, min(40, console.width - 40))
    for heading, column in (
        ("images", "image_count"),
        ("GiB", "image_size_gib"),
        ("disks GiB", "disk_size_gib"),
        ("shared", "shared_image_count"),
    ):
        values = [row[column] for row in rows]
        change = f"{values[-1] - values[0]:+,}" if values[-1] != values[0] else "0"
        table.add_row(heading, sparkline(values, width), f"{values[0]:,}", f"{values[-1]:,}", change)
    console.print()
    console.print(table)
    carried = sum(1 for row in rows if row["carried_account_count"])
    if carried:
        console.print(
            f"On {how_many(carried, 'day')} an account was not observed, and carries its last value", style="dim"
        )


def _growth_section(con: duckdb.DuckDBPyConnection, name: str, console: Console) -> None:
    """Growth by month, the newest first."""
    rows = as_dicts(read(con, name))[::-1]
    grown = sum(row["grown_image_size_gib"] for row in rows)
    finding = f"{_changed_by(grown)} in {how_many(len(rows), 'month')}" if rows else "no month yet"
    _title(console, "Growth by month", finding)
    if not rows:
        return
    table = new_table()
    table.add_column("month", no_wrap=True)
    for heading in ("images\nat start", "appeared", "gone", "images\nat end", "GiB\nat start", "GiB\nat end", "grown"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows[:REPORT_ROWS]:
        counts = [row[f"{word}_image_count"] for word in ("start", "appeared", "gone", "end")]
        sizes = [row[f"{word}_image_size_gib"] for word in ("start", "end")]
        table.add_row(
            f"{row['month_utc']:%Y-%m}",
            *(f"{value:,}" for value in (*counts, *sizes)),
            f"{row['grown_image_size_gib']:+,}" if row["grown_image_size_gib"] else "0",
        )
    console.print()
    console.print(table)
    new = sum(row["new_account_count"] for row in rows)
    if new > 1:
        console.print(f"What {how_many(new, 'account')} held when first observed is no growth", style="dim")
    _rest(console, name, len(rows) - REPORT_ROWS)


def _changed_by(size: int) -> str:
    return f"grew by {size:,} GiB" if size > 0 else f"shrank by {-size:,} GiB" if size else "held its size"


def _lifetimes_section(con: duckdb.DuckDBPyConnection, name: str, console: Console) -> None:
    """How long images live, the newest first."""
    from rich.text import Text

    rows = as_dicts(read(con, name))
    states = Counter(row["state"] for row in rows)
    told = [f"{states[state]:,} {state}" for state in ("here", "gone", "unseen") if states[state]]
    _title(console, "Lifetimes", ", ".join(told) or "no image yet")
    if not rows:
        return
    several = len({row["account"] for row in rows}) > 1
    table = new_table()
    for heading in ("born", "until"):
        table.add_column(heading, no_wrap=True)
    table.add_column("days", justify="right", no_wrap=True)
    for heading in ("account", "image", "name")[not several :]:
        table.add_column(heading, overflow="fold", no_wrap=heading == "image")
    for row in rows[:REPORT_ROWS]:
        born = f"{row['life_began_utc']:%Y-%m-%d}"
        days = f"{row['seen_days']:,}"
        if row["at_most_days"] != row["seen_days"]:
            days += "+" if row["at_most_days"] is None else f"–{row['at_most_days']:,}"  # noqa: RUF001
        table.add_row(
            born if row["missing_until_utc"] else f"by {born}",
            f"{row['gone_at_utc']:%Y-%m-%d}" if row["gone_at_utc"] else row["state"],
            days,
            *(
                Text(harmless(row[column] or NOTHING))
                for column in ("account", "image_id", "image_name")[not several :]
            ),
        )
    console.print()
    console.print(table)
    _rest(console, name, len(rows) - REPORT_ROWS)


def _age_section(con: duckdb.DuckDBPyConnection, name: str, console: Console) -> None:
    """How much is how old."""
    from rich.text import Text

    rows = as_dicts(read(con, name))
    images = sum(row["image_count"] for row in rows)
    size = sum(row["image_size_gib"] for row in rows)
    old = sum(row["image_size_gib"] for row in rows if row["band_number"] in {5, 6})
    _title(console, "Age", f"{old / size:.0%} of the GiB is a year old or more" if size else how_many(images, "image"))
    table = new_table()
    table.add_column("age", no_wrap=True)
    for heading in ("images", "GiB"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("share of GiB", no_wrap=True, min_width=5 + BAR_WIDTH)
    table.add_column("no size", justify="right", no_wrap=True)
    for row in rows:
        share = row["image_size_gib"] / size if size else 0
        table.add_row(
            row["age_band"],
            f"{row['image_count']:,}",
            f"{row['image_size_gib']:,}",
            Text(f"{share:>4.0%} {bar(share)}", style="cyan"),
            f"{row['unsized_image_count']:,}",
        )
    console.print()
    console.print(table)


def _changes_section(con: duckdb.DuckDBPyConnection, name: str, console: Console) -> None:
    """What appeared, went and changed; the newest first."""
    from rich.text import Text

    rows = as_dicts(read(con, name))
    told = Counter(row["change"] for row in rows if row["change"] != "changed")
    changed = {(row["account"], row["image_id"], row["observed_at_utc"]) for row in rows if row["change"] == "changed"}
    told["changed"] = len(changed)
    words = ("appeared", "gone", "changed", "seen", "unseen")
    finding = ", ".join(f"{told[word]:,} {word}" for word in words if told[word]) or "nothing did"
    _title(console, "What changed", finding)
    if not rows:
        return
    several = len({row["account"] for row in rows}) > 1
    table = new_table()
    table.add_column("day", no_wrap=True)
    for heading in ("account", "change", "image", "what")[not several :]:
        table.add_column(heading, overflow="fold")
    style = {"appeared": "green", "gone": "red", "changed": "yellow"}
    for row in rows[:REPORT_ROWS]:
        what = row["image_name"] or NOTHING
        if row["change"] == "changed":
            what = f"{row['field']}: {_told(row['old_value'])} → {_told(row['new_value'])}"
        table.add_row(
            f"{row['observed_at_utc']:%Y-%m-%d}",
            *([Text(harmless(row["account"]))] if several else []),
            Text(row["change"], style=style.get(row["change"], "")),
            Text(harmless(row["image_id"])),
            Text(harmless(what)),
        )
    console.print()
    console.print(table)
    _rest(console, name, len(rows) - REPORT_ROWS)


def _told(value: str | None) -> str:
    return "none" if value is None else value


def _failed_section(con: duckdb.DuckDBPyConnection, name: str, console: Console) -> None:
    """Which images failed or hang."""
    from rich.text import Text

    rows = as_dicts(read(con, name))
    reasons = Counter(row["reason"] for row in rows)
    finding = ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items())) or "nothing did"
    _title(console, "What failed", finding)
    if not rows:
        return
    several = len({row["account"] for row in rows}) > 1
    table = new_table()
    table.add_column("status", overflow="fold")
    table.add_column("created", no_wrap=True)
    is_wide = console.width > PLAIN_WIDTH
    headings = {"account": "account", "image_id": "image", "image_name": "name", "region_id": "region"}
    shown = [column for column in headings if (column != "account" or several) and (column != "region_id" or is_wide)]
    for column in shown:
        # an id in two pieces cannot be copied
        table.add_column(headings[column], overflow="fold", no_wrap=column == "image_id")
    table.add_column("GiB", justify="right", no_wrap=True)
    for row in rows[:REPORT_ROWS]:
        table.add_row(
            Text(harmless(row["status"]), style="red" if row["reason"] == "failed" else "yellow"),
            f"{row['created_at_utc']:%Y-%m-%d}" if row["created_at_utc"] else NOTHING,
            *(Text(harmless(row[column] or NOTHING)) for column in shown),
            NOTHING if row["image_size_gib"] is None else f"{row['image_size_gib']:,}",
        )
    console.print()
    console.print(table)
    _rest(console, name, len(rows) - REPORT_ROWS)


_SECTIONS: Final[dict[str, Callable[[duckdb.DuckDBPyConnection, str, Console], None]]] = {
    "capacity_by_region": _capacity_section,
    "capacity_by_platform": _capacity_section,
    "capacity_by_day": _trend_section,
    "age_bands": _age_section,
    "image_changes": _changes_section,
    "growth_by_month": _growth_section,
    "image_lifetimes": _lifetimes_section,
    "failed_images": _failed_section,
}
