"""What people look at: reports, query results, the dictionary, the trust line, a run's progress.

    connect() ──► query, read ──► Rows ──► write_rows    table · csv · json · markdown
                       │
                       ├──► report          the standing reports, each with its finding
                       ├──► export          one table or view into one file
                       └──► trust_line      how far all of it can be trusted

    relations() ─► describe, dictionary     every column: type, unit, meaning

Data goes to `out`, everything said about it elsewhere. What the service sent
can hold anything: in a terminal control characters are shown, never obeyed.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import difflib
import io
import json
import math
import os
import sys
import unicodedata
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from pipeline.errors import BadQuery, BadSetting, LakeDamaged, UnknownName
from pipeline.landing import put_in_place
from pipeline.views import Relation, connect_empty, first_lines, refuse_writes, relations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path
    from typing import TextIO

    import duckdb
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

Format: TypeAlias = Literal["table", "csv", "json", "markdown"]
Row: TypeAlias = tuple[Any, ...]

STANDING: Final = ("capacity_by_region", "capacity_by_day", "age_bands", "image_changes", "failed_images")
"""The views of the standing reports, in order."""
REPORT_ROWS: Final = 20
"""Rows of a table in a report; it says how many more there are, and the SQL that shows them."""
TABLE_ROWS: Final = 1_000
"""Rows of a query's result as a table; the other formats hold them all."""
_PLAIN_WIDTH: Final = 80
_UNBOUNDED: Final = 1_000_000
_NARROW: Final = 76
_BAR_WIDTH: Final = 9
_NOTHING: Final = "–"  # noqa: RUF001  (the dash that stands for null)
_FETCHED: Final = 10_000
_NUMBERS: Final = ("BIGINT", "INTEGER", "SMALLINT", "TINYINT", "HUGEINT", "UHUGEINT", "DOUBLE", "FLOAT", "DECIMAL")


# ── rows ─────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Rows:
    """A result: its columns, their types as DuckDB spells them, and its rows, which can be read once."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: Iterable[Row]


def query(con: duckdb.DuckDBPyConnection, sql: str, *, only_reads: bool = True) -> Rows:
    """Run SQL that somebody typed; of several statements, the last one's rows. Unless told otherwise it may only read.

    Raises:
        BadQuery: DuckDB does not accept it, or it does something else than read; in DuckDB's own words.
        LakeDamaged: a committed file is missing or unreadable.
    """
    if not sql.strip().strip(";"):
        raise BadQuery('there is no query: `ens-images sql "from capacity_by_region"`, or one from standard input')
    if only_reads:
        refuse_writes(con, sql)
    return _result(con, sql)


def read(con: duckdb.DuckDBPyConnection, name: str) -> Rows:
    """Read a table or view.

    Raises:
        UnknownName: there is none of that name.
        LakeDamaged: a committed file is missing or unreadable.
    """
    return _result(con, f"select * from {relation(name).name}")  # noqa: S608  (a known name)


def relation(name: str) -> Relation:
    """Find the table or view of that name.

    Raises:
        UnknownName: there is none; the message names the nearest, and all that there are.
    """
    known = relations()
    if name in known:
        return known[name]
    nearest = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    meant = f"did you mean {nearest[0]}? " if nearest else ""
    raise UnknownName(f"no table or view is called {harmless(name)!r}: {meant}there are {', '.join(known)}")


def _result(con: duckdb.DuckDBPyConnection, sql: str) -> Rows:
    with told_by_duckdb():
        con.execute(sql)
    described = con.description or []
    return Rows(
        tuple(str(column[0]) for column in described), tuple(str(column[1]) for column in described), _fetch(con)
    )


def _fetch(con: duckdb.DuckDBPyConnection) -> Iterator[Row]:
    while True:
        with told_by_duckdb():
            rows = con.fetchmany(_FETCHED)
        if not rows:
            return
        yield from rows


@contextlib.contextmanager
def told_by_duckdb() -> Iterator[None]:
    """Turn what DuckDB raises into an error of ours: a damaged lake, or a bad query, in DuckDB's own words."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        words = first_lines(error)
        if isinstance(error, duckdb.IOException | duckdb.InvalidInputException) and ".parquet" in str(error):
            raise LakeDamaged(
                f"a file of the lake cannot be read: {words} — `ens-images check` lists all that is not whole, "
                "`ens-images rebuild` makes it anew from the raw pages"
            ) from error
        raise BadQuery(words) from error


# ── any result, in any format ────────────────────────────────────────────────


def write_rows(rows: Rows, output_format: Format, out: TextIO, *, limit: int | None = None) -> int:
    """Write `rows` in a format and return how many were written; `limit` (by default `TABLE_ROWS`) is for tables.

    table      aligned, numbers with thousands separators; records below each other where it is too wide
    csv        RFC 4180, UTF-8; null is empty, an empty text is `""`. Text that a spreadsheet would take for a
               formula (it begins with = + - @, a tab or a carriage return) gets an apostrophe before it
    json       an array of objects, one a line; integers stay integers, instants are ISO text without a zone
    markdown   a table
    """
    if output_format == "csv":
        return _write_csv(rows, out)
    if output_format == "json":
        return _write_json(rows, out)
    if output_format == "markdown":
        return _write_markdown(rows, out)
    kept, more = _cut(rows, TABLE_ROWS if limit is None else limit)
    with _console(out, width=_UNBOUNDED) as console:
        console.print(_table(kept, console))
        if more:
            console.print(f"… and {more:,} more: `--format csv` writes them all", style="dim", soft_wrap=True)
    return len(list(kept.rows))


def _cut(rows: Rows, limit: int) -> tuple[Rows, int]:
    """Keep the first `limit` rows, and count the others."""
    every = iter(rows.rows)
    kept = list(islice(every, limit))
    return Rows(rows.columns, rows.types, kept), sum(1 for _ in every)


def _write_csv(rows: Rows, out: TextIO) -> int:
    on_terminal = out.isatty()
    count = 0
    for count, row in enumerate(chain([rows.columns], rows.rows)):  # noqa: B007  (the header is row 0)
        cells = [_csv_cell(value) for value in row]
        line = ",".join(cells) if cells != [""] else '""'  # an empty line would be no row
        out.write((harmless(line) if on_terminal else line) + "\r\n")
    return count


def _csv_cell(value: object) -> str:
    if value is None:
        return ""
    text = _plain(value)
    if isinstance(value, (str, bytes)) and text.startswith(("=", "+", "-", "@", "\t", "\r")):
        text = f"'{text}"
    if not text or any(character in text for character in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def _write_json(rows: Rows, out: TextIO, indent: str = "") -> int:
    names: list[str] = []
    for name in rows.columns:
        number = 1 + names.count(name)
        names.append(name if number == 1 else f"{name}_{number}")
    count = 0
    out.write("[")
    for count, row in enumerate(rows.rows, start=1):
        line = json.dumps(
            {name: _json_value(value) for name, value in zip(names, row, strict=True)}, ensure_ascii=False
        )
        out.write(f"{',' if count > 1 else ''}\n{indent}{harmless(line, json_escapes=True)}")
    out.write(f"\n{indent}]" if count else "]")
    if not indent:
        out.write("\n")
    return count


def _json_value(value: object) -> object:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dt.datetime):
        return value.isoformat()
    if isinstance(value, (list, tuple)):
        return [_json_value(item) for item in value]
    if isinstance(value, dict):
        return {_plain(key): _json_value(item) for key, item in value.items()}
    return _plain(value)


def _write_markdown(rows: Rows, out: TextIO) -> int:
    out.write("| " + " | ".join(_markdown_cell(name) for name in rows.columns) + " |\n")
    out.write("|" + "|".join("---:" if _is_number(kind) else "---" for kind in rows.types) + "|\n")
    count = 0
    for row in rows.rows:
        count += 1
        cells = (
            _grouped(value) if _is_number(kind) else _plain(value) for value, kind in zip(row, rows.types, strict=True)
        )
        out.write("| " + " | ".join(map(_markdown_cell, cells)) + " |\n")
    return count


def _markdown_cell(text: str) -> str:
    escaped = "".join(f"\\{character}" if character in "\\`*[]<>|~&" else character for character in text)
    return harmless(escaped)


def _plain(value: object) -> str:
    """Spell a value as text: instants as `2017-12-08 12:10:03`, with a fraction only where there is one."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(_json_value(value), ensure_ascii=False)
    return str(value)


def _grouped(value: object) -> str:
    """Spell a number with thousands separators."""
    return f"{value:,}" if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool) else _plain(value)


def _is_number(kind: str) -> bool:
    return kind.startswith(_NUMBERS) and not kind.endswith("]")


def harmless(text: str, *, json_escapes: bool = False) -> str:
    """Show control characters, and those that turn the direction of text, instead of sending them."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        else _escape(ord(character), json_escapes=json_escapes)
        for character in text
    )


def _escape(code: int, *, json_escapes: bool) -> str:
    if json_escapes:
        return json.dumps(chr(code))[1:-1] if code != 0x7F else "\\u007f"
    short = {0x09: "\\t", 0x0A: "\\n", 0x0D: "\\r"}
    return short.get(code) or (
        f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    )


# ── tables in the terminal ───────────────────────────────────────────────────


@contextlib.contextmanager
def _console(out: TextIO, width: int = _PLAIN_WIDTH) -> Iterator[Console]:
    """A console on `out`: in colour and as wide as a terminal; else plain and `width` wide, always the same."""
    from rich.console import Console

    if out.isatty():
        yield Console(file=out, markup=False, highlight=False, emoji=False)
        return
    aside = io.StringIO()
    yield Console(
        file=aside,
        width=width,
        color_system=None,
        force_terminal=False,
        markup=False,
        highlight=False,
        emoji=False,
    )
    out.writelines(f"{line.rstrip()}\n" for line in aside.getvalue().removesuffix("\n").split("\n"))


def _shown(value: object, kind: str) -> str:
    if value is None:
        return _NOTHING
    return _grouped(value) if _is_number(kind) else harmless(_plain(value))


def _table(rows: Rows, console: Console) -> Table | Text:
    """Lay rows out as a table; texts may break, numbers and instants not; if that is not enough, as records."""
    from rich.cells import cell_len
    from rich.text import Text

    cells = [[_shown(value, kind) for value, kind in zip(row, rows.types, strict=True)] for row in rows.rows]
    names = [harmless(name) for name in rows.columns]
    widths = [max(cell_len(name), *(cell_len(row[number]) for row in cells), 0) for number, name in enumerate(names)]
    breaks = [kind == "VARCHAR" for kind in rows.types]
    least = [
        min(width, max(16, cell_len(name))) if may_break else width
        for width, may_break, name in zip(widths, breaks, names, strict=True)
    ]
    gaps = 3 * (len(names) - 1)
    if not names:
        return Text("")
    if sum(least) + gaps > console.width and cells:
        return _records(names, cells)
    table = _grid()
    for name, kind, may_break, width in zip(names, rows.types, breaks, least, strict=True):
        justify: Literal["left", "right"] = "right" if _is_number(kind) else "left"
        table.add_column(name, justify=justify, no_wrap=not may_break, overflow="fold", min_width=width)
    for row in cells:
        table.add_row(*map(Text, row))
    return table


def _grid() -> Table:
    from rich import box
    from rich.table import Table

    return Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")


def _records(names: Sequence[str], cells: Sequence[Sequence[str]]) -> Text:
    from rich.text import Text

    wide = max(map(len, names))
    text = Text()
    for number, row in enumerate(cells, start=1):
        text.append(f"── {number:,} ──\n", style="dim")
        for name, cell in zip(names, row, strict=True):
            text.append(f"{name:<{wide}}  ", style="bold").append(f"{cell}\n")
    text.rstrip()
    return text


def _bar(part: float, width: int = _BAR_WIDTH) -> str:
    """Draw a share between 0 and 1 in eighths of a character."""
    eighths = round(max(0.0, min(1.0, part)) * width * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def _sparkline(values: Sequence[float], width: int = 40) -> str:
    """Draw values from left to right, lowest to highest; of more than `width`, the last of each stretch."""
    if len(values) > width:
        values = [values[(place + 1) * len(values) // width - 1] for place in range(width)]
    low, high = min(values), max(values)
    if low == high:
        return "▄" * len(values)
    return "".join("▁▂▃▄▅▆▇█"[round((value - low) / (high - low) * 7)] for value in values)


# ── the standing reports ─────────────────────────────────────────────────────


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
        out.write(f"{_markdown_cell(trust_line(con))}\n")
        for name in names:
            out.write(f"\n## {name}\n\n")
            kept, more = _cut(read(con, name), REPORT_ROWS if not views else sys.maxsize)
            _write_markdown(kept, out)
            if more:
                out.write(f"\n… and {more:,} more: `from {name}`\n")
    else:
        with _console(out) as console:
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
        _write_json(read(con, name), out, indent="  ")
    out.write("\n}\n")


def _title(console: Console, title: str, finding: str) -> None:
    from rich.text import Text

    console.print(Text.assemble((title, "bold cyan"), f": {harmless(finding)}"))


def _rest(console: Console, name: str, more: int) -> None:
    if more > 0:
        console.print(f"… and {more:,} more, with the SQL: from {name}", style="dim", soft_wrap=True)


def _any_section(con: duckdb.DuckDBPyConnection, name: str, console: Console) -> None:
    """A table or view as it is."""
    kept, more = _cut(read(con, name), REPORT_ROWS)
    count = more + len(list(kept.rows))
    _title(console, name, how_many(count, "row"))
    if count:
        console.print()
        console.print(_table(kept, console))
    _rest(console, name, more)


def _as_dicts(rows: Rows) -> list[dict[str, Any]]:
    return [dict(zip(rows.columns, row, strict=True)) for row in rows.rows]


def _capacity_section(con: duckdb.DuckDBPyConnection, name: str, console: Console) -> None:
    """Capacity by region or by platform, with each one's share."""
    rows = _as_dicts(read(con, name))
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
    table = _grid()
    table.add_column(word, overflow="fold")
    for heading in ("images", "GiB"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("share", no_wrap=True, min_width=5 + _BAR_WIDTH)
    headings = ("disks GiB", "no size", "shared") if console.width >= _NARROW else ()
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    shown = 4 + len(headings)
    for row in rows[:REPORT_ROWS]:
        share = row["image_size_gib"] / total["image_size_gib"] if total["image_size_gib"] else 0
        table.add_row(*_capacity_cells(row[key] or "(none)", row, f"{share:>4.0%} {_bar(share)}")[:shown])
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
    rows = _as_dicts(read(con, name))
    if not rows:
        _title(console, "Capacity by day", "no day yet")
        return
    first, last = rows[0], rows[-1]
    grown = last["image_size_gib"] - first["image_size_gib"]
    direction = f"grew by {grown:,} GiB" if grown > 0 else f"shrank by {-grown:,} GiB" if grown else "held its size"
    days = f"on {last['day_utc']}" if len(rows) == 1 else f"{direction} in {how_many(len(rows), 'day')}"
    _title(console, "Capacity by day", days)
    table = _grid()
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
        table.add_row(heading, _sparkline(values, width), f"{values[0]:,}", f"{values[-1]:,}", change)
    console.print()
    console.print(table)
    carried = sum(1 for row in rows if row["carried_account_count"])
    if carried:
        console.print(
            f"On {how_many(carried, 'day')} an account was not observed, and carries its last value", style="dim"
        )


def _age_section(con: duckdb.DuckDBPyConnection, name: str, console: Console) -> None:
    """How much is how old."""
    from rich.text import Text

    rows = _as_dicts(read(con, name))
    images = sum(row["image_count"] for row in rows)
    size = sum(row["image_size_gib"] for row in rows)
    old = sum(row["image_size_gib"] for row in rows if row["band_number"] in {5, 6})
    _title(console, "Age", f"{old / size:.0%} of the GiB is a year old or more" if size else how_many(images, "image"))
    table = _grid()
    table.add_column("age", no_wrap=True)
    for heading in ("images", "GiB"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("share of GiB", no_wrap=True, min_width=5 + _BAR_WIDTH)
    table.add_column("no size", justify="right", no_wrap=True)
    for row in rows:
        share = row["image_size_gib"] / size if size else 0
        table.add_row(
            row["age_band"],
            f"{row['image_count']:,}",
            f"{row['image_size_gib']:,}",
            Text(f"{share:>4.0%} {_bar(share)}", style="cyan"),
            f"{row['unsized_image_count']:,}",
        )
    console.print()
    console.print(table)


def _changes_section(con: duckdb.DuckDBPyConnection, name: str, console: Console) -> None:
    """What appeared, went and changed; the newest first."""
    from rich.text import Text

    rows = _as_dicts(read(con, name))
    told = Counter(row["change"] for row in rows if row["change"] != "changed")
    changed = {(row["account"], row["image_id"], row["observed_at_utc"]) for row in rows if row["change"] == "changed"}
    told["changed"] = len(changed)
    words = ("appeared", "gone", "changed", "seen", "unseen")
    finding = ", ".join(f"{told[word]:,} {word}" for word in words if told[word]) or "nothing did"
    _title(console, "What changed", finding)
    if not rows:
        return
    several = len({row["account"] for row in rows}) > 1
    table = _grid()
    table.add_column("day", no_wrap=True)
    for heading in ("account", "change", "image", "what")[not several :]:
        table.add_column(heading, overflow="fold")
    style = {"appeared": "green", "gone": "red", "changed": "yellow"}
    for row in rows[:REPORT_ROWS]:
        what = row["image_name"] or _NOTHING
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

    rows = _as_dicts(read(con, name))
    reasons = Counter(row["reason"] for row in rows)
    finding = ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items())) or "nothing did"
    _title(console, "What failed", finding)
    if not rows:
        return
    several = len({row["account"] for row in rows}) > 1
    table = _grid()
    table.add_column("status", overflow="fold")
    table.add_column("created", no_wrap=True)
    is_wide = console.width > _PLAIN_WIDTH
    headings = {"account": "account", "image_id": "image", "image_name": "name", "region_id": "region"}
    shown = [column for column in headings if (column != "account" or several) and (column != "region_id" or is_wide)]
    for column in shown:
        # an id in two pieces cannot be copied
        table.add_column(headings[column], overflow="fold", no_wrap=column == "image_id")
    table.add_column("GiB", justify="right", no_wrap=True)
    for row in rows[:REPORT_ROWS]:
        table.add_row(
            Text(harmless(row["status"]), style="red" if row["reason"] == "failed" else "yellow"),
            f"{row['created_at_utc']:%Y-%m-%d}" if row["created_at_utc"] else _NOTHING,
            *(Text(harmless(row[column] or _NOTHING)) for column in shown),
            _NOTHING if row["image_size_gib"] is None else f"{row['image_size_gib']:,}",
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
    "failed_images": _failed_section,
}


# ── how far it can be trusted ────────────────────────────────────────────────


def trust_line(con: duckdb.DuckDBPyConnection) -> str:
    """Say in one line whose images these are, as of when, how far proven, how many, and what did not fit.

    1 account · as of 2026-10-30 02:00 UTC · verified · 143 images · 0 rejects · 0 unknown fields
    """
    accounts = _as_dicts(read(con, "accounts"))
    published = [row for row in accounts if row["observed_at_utc"] is not None]
    stale = [row["account"] for row in published if row["is_stale"]]
    never = [row["account"] for row in accounts if row["observed_at_utc"] is None]
    asides = [
        f"{len(names)} {word}: {_some(names)}"
        for word, names in (("stale", stale), ("never published", never))
        if names
    ]
    whose = how_many(len(accounts), "account") + (f" ({'; '.join(asides)})" if asides else "")
    if not published:
        return f"{whose} · nothing is published"
    times = sorted(f"{row['observed_at_utc']:%Y-%m-%d %H:%M}" for row in published)
    as_of = f"as of {times[0]} UTC" if times[0] == times[-1] else f"as of {times[0]} to {times[-1]} UTC"
    levels = Counter(row["certificate"] or "no certificate" for row in published)
    proven = (
        next(iter(levels)) if len(levels) == 1 else ", ".join(f"{levels[level]} {level}" for level in sorted(levels))
    )
    total = {
        column: sum(row[column] or 0 for row in published)
        for column in ("image_count", "reject_count", "unknown_field_count")
    }
    return " · ".join(
        (
            whose,
            as_of,
            proven,
            how_many(total["image_count"], "image"),
            how_many(total["reject_count"], "reject"),
            how_many(total["unknown_field_count"], "unknown field"),
        )
    )


def how_many(number: int, word: str) -> str:
    """`1 image`, `1,037 images`."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def _some(names: Sequence[str]) -> str:
    """Name three at most."""
    told = ", ".join(map(harmless, names[:3]))
    return told if len(names) <= 3 else f"{told} and {len(names) - 3:,} more"


# ── the dictionary ───────────────────────────────────────────────────────────


def describe(name: str | None = None) -> Rows:
    """Tell every column of a table or view: its type, unit, API field and meaning; without a name, of all of them.

    Raises:
        UnknownName: there is no such table or view.
    """
    chosen = list(relations().values()) if name is None else [relation(name)]
    types = _types()
    rows = [
        (one.name, column.name, types[one.name, column.name], column.unit, column.api, column.doc)
        for one in chosen
        for column in one.columns
    ]
    columns = ("relation", "column", "type", "unit", "api", "meaning")
    if name is None:
        return Rows(columns, ("VARCHAR",) * 6, rows)
    return Rows(columns[1:], ("VARCHAR",) * 5, [row[1:] for row in rows])


def dictionary() -> str:
    """Write the data dictionary, as Markdown: the tables, then the views, each with its grain and its columns."""
    parts = [
        "# Data dictionary\n\n",
        "Every table and view of the lake, made by `make docs` from `pipeline/tables.py` and `pipeline/views/*.sql`: ",
        "change it there.\nInstants are UTC, without a zone.\n",
    ]
    known = list(relations().values())
    for heading, chosen in (
        ("Tables", [one for one in known if not one.is_view]),
        ("Views", [one for one in known if one.is_view]),
    ):
        parts.append(f"\n## {heading}\n")
        parts += [_entry(one) for one in chosen]
    return "".join(parts)


def _entry(one: Relation) -> str:
    types = _types()
    lines = [f"\n### {one.name}\n", f"\n{one.grain}\n\n"]
    if one.key:
        lines.append(f"Key: {', '.join(one.key)}.\n\n")
    if one.reads:
        lines.append(f"Reads: {', '.join(one.reads)}.\n\n")
    lines.append("| column | type | unit | API field | meaning |\n|---|---|---|---|---|\n")
    lines += [
        f"| {column.name} | {types[one.name, column.name]} | {column.unit or ''} | {column.api or ''} | "
        + column.doc.replace("|", "\\|")
        + " |\n"
        for column in one.columns
    ]
    return "".join(lines)


def _types() -> dict[tuple[str, str], str]:
    """The type of every column, as DuckDB binds it on a lake without a row."""
    with contextlib.closing(connect_empty()) as con:
        rows = con.execute(
            "select table_name, column_name, data_type from duckdb_columns() where not internal"
        ).fetchall()
    return {(table, column): kind for table, column, kind in rows}


# ── export ───────────────────────────────────────────────────────────────────


def export(con: duckdb.DuckDBPyConnection, name: str, path: Path) -> int:
    """Write a table or view to .csv, .json or .parquet, by suffix; whole or not at all. Return the number of rows.

    Raises:
        UnknownName: there is no such table or view.
        BadSetting: the suffix is none of those, or the file cannot be written.
        LakeDamaged: a committed file is missing or unreadable.
    """
    one = relation(name)
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in {"csv", "json", "parquet"}:
        raise BadSetting(f"{str(path)!r}: an export is .csv, .json or .parquet, by its suffix")
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if suffix == "parquet":
            count = _export_parquet(con, one, aside)
        else:
            with aside.open("w", encoding="utf-8", newline="") as out:
                count = write_rows(read(con, name), "csv" if suffix == "csv" else "json", out)
        put_in_place(aside, path)
    except OSError as error:
        raise BadSetting(f"{str(path)!r} cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
    return count


def _export_parquet(con: duckdb.DuckDBPyConnection, one: Relation, path: Path) -> int:
    """Copy a view to Parquet, its grain and the meaning of its columns in the header."""
    header = {"table": one.name, "grain": one.grain, **{f"column {c.name}": c.comment for c in one.columns}}
    pairs = ", ".join(f'"{key}": {_quoted(value)}' for key, value in header.items())
    with told_by_duckdb():
        rows = con.execute(
            f"copy (select * from {one.name}) to {_quoted(str(path))} "  # noqa: S608  (a known name)
            f"(format parquet, compression zstd, kv_metadata {{{pairs}}})"
        ).fetchall()
    return int(rows[0][0])


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


# ── a run's progress ─────────────────────────────────────────────────────────


@contextlib.contextmanager
def progress(err: TextIO | None = None) -> Iterator[Callable[[str, int, int, int | None], None]]:
    """Show how a run gets on, on stderr: a bar for each account on a terminal, else a line for each pass."""
    err = sys.stderr if err is None else err
    if not err.isatty():
        yield lambda account, number, pages, of: _tell(err, account, number, pages, of)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with _console(err) as console, Progress(*columns, console=console, transient=True) as shown:
        tasks: dict[str, Any] = {}

        def tell(account: str, number: int, pages: int, of: int | None) -> None:
            if account not in tasks:
                tasks[account] = shown.add_task(harmless(account))
            shown.update(tasks[account], description=f"{harmless(account)}, pass {number}", completed=pages, total=of)

        yield tell


def _tell(err: TextIO, account: str, number: int, pages: int, of: int | None) -> None:
    if pages == of or pages % 100 == 0:
        whole = f" of {of:,}" if of is not None else ""
        err.write(f"{harmless(account)}: pass {number}, {pages:,}{whole} pages\n")
