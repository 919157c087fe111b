"""Every table and view, read from its declaration: a table from `resources/`, a view from its `.sql` file.

-- Grain of the view: one row per …         the header
-- Reads: images_latest.                    its inputs
-- Example: select …                        a typical query, optional
select
image_id,                               documented where it was read from
… as age_days    -- Whole days from …   documented here

A line before the last select that ends with `-- for each image field` stands once for each field of an image (so for
any resource, by its noun), and `-- for each further disk field` for each field of a disk but the four that are always
shown. So a new column needs no change in a view, and a view's file is valid SQL as it is.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import replace
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.resources.control import OBSERVATIONS, PARTITIONS
from pipeline.resources.images import DISK_FIELDS, IMAGES_RESOURCE
from pipeline.resources.tables import RESOURCES, ROW_TABLES, TABLES
from pipeline.views.model import UNITS, ColumnDoc, Relation
from pipeline.views.parameters import Thresholds, settings_of, with_thresholds

if TYPE_CHECKING:
    import duckdb

    from pipeline.resources.resource import Resource
    from pipeline.resources.schema import Table


def latest_name(table: Table) -> str:
    """Return the name of the view of each account's last observation."""
    return f"{table.name}_latest"


def committed_name(table: str) -> str:
    """Return the name of the macro below the view of a table: the rows of the committed files."""
    return f"committed_{table}"


LATEST: Final = {latest_name(table): table for table in ROW_TABLES}
_LATEST_EXAMPLES: Final = {
    "images_latest": "select image_id, image_name from images_latest where platform = 'centos'",
    "image_disks_latest": "select image_id, disk_size_gib from image_disks_latest where disk_format = 'raw'",
    "rejects_latest": "select item_id, field, raw_json from rejects_latest where reason = 'before 2009'",
}
_HERE: Final = Path(__file__).parent
AS_OF: Final = "asked_as_of"
"""The macro that returns the `as_of` of the connection; null: the lake as it is now."""
THRESHOLDS: Final = "asked_thresholds"
"""The macro that returns the thresholds of the connection as JSON."""

IS_CURRENT: Final = "is_current"
SAME_ACCOUNT_AS: Final = "same_account_as"
"""The columns of `image_versions`, `…_versions` that no file holds: they change with each observation."""


def _current_columns(resource: Resource) -> tuple[ColumnDoc, ColumnDoc]:
    is_current = (
        "True where the account's last published observation has this version: a row of "
        f"{latest_name(resource.table)}, if the account is counted."
    )
    same_account_as = (
        f"The account that this one is another name of: views count the {resource.noun} there; null where the account "
        "is counted."
    )
    return ColumnDoc(IS_CURRENT, is_current, None), ColumnDoc(SAME_ACCOUNT_AS, same_account_as, None)


def _name_shown(table: Table) -> str:
    """Say under which name an account with several is shown; see `LakeState.counted`."""
    if table in IMAGES_RESOURCE.tables:
        return "those of the counted name"
    if table in ROW_TABLES[:-1]:
        return "those of the name that was listed last, an empty listing only where there is no other"
    return "those of the observations in the other views of this kind"


_REPEATED: Final = {
    **{resource.noun: [field.name for field in resource.fields] for resource in RESOURCES},
    "further disk": [
        field.name
        for field in DISK_FIELDS
        if field.name not in {"disk_number", "disk_type", "disk_size_gib", "disk_format"}
    ],
}
_REPEATED_LINE: Final = re.compile(r"^(?P<code>.*?)(?P<comma>,?) +-- for each (?P<of>[a-z ]+) field$", re.MULTILINE)


@functools.cache
def relations() -> dict[str, Relation]:
    """Every table and view by name: the tables, then each view after its inputs."""
    found = {table.name: _of_table(table, table.name, grain=table.grain) for table in (*TABLES, PARTITIONS)}
    for resource in RESOURCES:
        versions = found[resource.versions_name]
        found[versions.name] = replace(versions, columns=(*versions.columns, *_current_columns(resource)))
    for name, table in LATEST.items():
        grain = (
            f"The rows of `{table.name}` in each account's last published observation; of an account with several "
            f"names, {_name_shown(table)}. {table.grain}"
        )
        found[name] = _of_table(table, name, grain=grain, reads=(table.name, OBSERVATIONS.name))
        example = _LATEST_EXAMPLES.get(name, f"select * from {name} limit 10")  # noqa: S608  (a known name)
        found[name] = replace(found[name], example=example)
    texts = {path.stem: _with_each_field(path.read_text("utf-8")) for path in sorted((_HERE / "sql").glob("*.sql"))}
    order = TopologicalSorter({name: _reads(text) for name, text in texts.items()})
    for name in order.static_order():
        if name in texts:
            found[name] = _of_file(name, texts[name], found)
    return found


def relations_in(con: duckdb.DuckDBPyConnection) -> dict[str, Relation]:
    """Every table and view by name, with the thresholds of this connection."""
    thresholds = json.loads(con.execute(f"select {THRESHOLDS}()").fetchall()[0][0])
    return {**relations(), **with_thresholds(relations(), thresholds)}


def check_thresholds(thresholds: Thresholds) -> None:
    """Check that the views have these thresholds.

    Raises:
        BadSetting: there is no such view or threshold, or a value does not fit.
    """
    with_thresholds(relations(), thresholds)


def _of_table(table: Table, name: str, *, grain: str, reads: tuple[str, ...] = ()) -> Relation:
    columns = tuple(ColumnDoc(column.name, column.doc, column.unit, column.api) for column in table.columns)
    return Relation(
        name, is_view=bool(reads), grain=grain, reads=reads, columns=columns, key=table.key, example=table.example
    )


def _with_each_field(text: str) -> str:
    """Repeat each line that stands for several fields: its first field is replaced by each."""

    def lines(found: re.Match[str]) -> str:
        names = _REPEATED[found["of"]]
        separator = "\n" if found["code"].lstrip().startswith("||") else ",\n"
        repeated = (re.sub(rf"\b{names[0]}\b", name, found["code"]) for name in names)
        return separator.join(repeated) + found["comma"]

    return _REPEATED_LINE.sub(lines, text)


def _header(text: str) -> list[str]:
    lines = text.splitlines()
    end = next(number for number, line in enumerate(lines) if not line.startswith("--"))
    return [line[2:].strip() for line in lines[:end]]


def _reads(text: str) -> tuple[str, ...]:
    line = next(line for line in _header(text) if line.startswith("Reads: "))
    return tuple(name.strip() for name in line.removeprefix("Reads: ").rstrip(".").split(","))


def _of_file(name: str, text: str, known: dict[str, Relation]) -> Relation:
    """Read the file of a view: its header, and the columns of its last select with their comments."""
    reads = _reads(text)
    inherited = {column.name: column for read in reversed(reads) for column in known[read].columns}
    columns = []
    for column, doc in _documented_columns(text):
        if doc is None:
            columns.append(inherited[column])
        else:
            columns.append(ColumnDoc(column, doc, UNITS.get(column.rpartition("_")[2])))
    grain = " ".join(line for line in _header(text) if line and not line.startswith(("Reads: ", "Example: ")))
    return Relation(
        name,
        is_view=True,
        grain=grain,
        reads=reads,
        columns=tuple(columns),
        query=text,
        settings=settings_of(text),
        example=_example(name, text),
    )


def _documented_columns(text: str) -> list[tuple[str, str | None]]:
    """Returns: the columns of the last select, each with the comment on its last line, or None."""
    body = text[text.rindex("\nselect\n") + len("\nselect\n") :]
    body = body[: body.index("\nfrom ")]
    found = []
    depth = 0
    lines = body.splitlines()
    for number, line in enumerate(lines):
        code, _, doc = (part.strip() for part in line.partition(" -- "))
        depth += code.count("(") - code.count(")")
        if depth == 0 and (code.endswith(",") or number == len(lines) - 1):
            name = re.split(r"[\s.]", code.rstrip(","))[-1]
            found.append((name, doc or None))
    return found


def _example(name: str, text: str) -> str:
    """The example in the header of a view; without one, a query for the first rows."""
    examples = [line.removeprefix("Example: ") for line in _header(text) if line.startswith("Example: ")]
    return examples[0] if examples else f"select * from {name} limit 10"  # noqa: S608  (a known name)
