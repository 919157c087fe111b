"""Fields that became columns after a run was written, aligned before the run is compared with its raw pages.

items, child items   the field is left out of `extra`
rejects              a value that does not fit the new column is left out, unless the run has such rejects
observations         the counts of both may differ by as much
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pipeline.resources.control import OBSERVATIONS, REJECTS
from pipeline.resources.tables import RESOURCES

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from pipeline.resources.schema import Table

_LATER = frozenset(
    column.api
    for resource in RESOURCES
    for table in resource.tables
    for column in table.columns
    if column.is_later_field
)


def align(actual: pa.Table, expected: pa.Table, table: Table) -> tuple[pa.Table, pa.Table]:
    """Align the rows of a run with those that its raw pages give now; both are unchanged without later fields."""
    import pyarrow as pa

    if not _LATER:
        return actual, expected
    if table is REJECTS and not any(map(_is_later, actual.column("field").to_pylist())):
        is_known = [not _is_later(field) for field in expected.column("field").to_pylist()]
        expected = expected.filter(pa.array(is_known, pa.bool_()))
    elif table is OBSERVATIONS and len(actual) == len(expected):
        actual, expected = (rows.sort_by("account") for rows in (actual, expected))
        # Each unknown field is a column now, or one whose values are rejects.
        actual = _take_if(actual, expected, "unknown_field_count", lambda count, now: 0 <= count - now <= len(_LATER))
        actual = _take_if(actual, expected, "reject_count", lambda count, now: count <= now)
    elif "extra" in actual.column_names:
        actual, expected = _without_later(actual), _without_later(expected)
    return actual, expected


def _is_later(field: str | None) -> bool:
    return field is not None and field.rpartition(".")[2] in _LATER


def _take_if(actual: pa.Table, expected: pa.Table, name: str, is_explained: Callable[[int, int], bool]) -> pa.Table:
    """Take the counts of `expected` where the later fields explain the difference."""
    import pyarrow as pa

    pairs = zip(actual.column(name).to_pylist(), expected.column(name).to_pylist(), strict=True)
    counts = [now if None not in {count, now} and is_explained(count, now) else count for count, now in pairs]
    return actual.set_column(actual.column_names.index(name), actual.schema.field(name), pa.array(counts, pa.int64()))


def _without_later(rows: pa.Table) -> pa.Table:
    import pyarrow as pa

    unknown = [msgspec.json.decode(text) if text else {} for text in rows.column("extra").to_pylist()]
    rest = [{name: value for name, value in values.items() if name not in _LATER} for values in unknown]
    texts = [msgspec.json.encode(values).decode() if values else None for values in rest]
    return rows.set_column(rows.column_names.index("extra"), "extra", pa.array(texts, pa.string()))
