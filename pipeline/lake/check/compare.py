"""Compare two tables of the same rows in any order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.resources.tables import RESOURCES

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import pyarrow as pa

    from pipeline.lake.tombstones import Listed
    from pipeline.resources.schema import Table


def first_difference(actual: pa.Table, expected: pa.Table, table: Table, *, without: Collection[Listed]) -> str | None:
    """Describe the first difference by key, or return None; `without` names accounts and resources to leave out.

    A column that only one of them has is not compared: an older version did not have it.
    """
    import pyarrow.compute as pc

    names = [name for name in expected.column_names if name in actual.column_names]
    key = [name for name in table.key if name in names]
    actual, expected = (_sorted(rows.select(names), key, table, without) for rows in (actual, expected))
    if len(actual) != len(expected):
        return f"{len(actual):,} rows, not {len(expected):,}"
    for name in names:
        values, expected_values = actual.column(name).combine_chunks(), expected.column(name).combine_chunks()
        if values.equals(expected_values):
            continue
        equal_count = pc.sum(pc.equal(values, expected_values)).as_py() or 0
        for row, (value, other) in enumerate(zip(values.to_pylist(), expected_values.to_pylist(), strict=True)):
            if value != other:
                where = _row_name(actual, row, key)
                differing = len(actual) - equal_count
                return f"{where}: {name} is {value!r}, not {other!r} (at most {differing:,} rows differ)"
    return None


def _sorted(rows: pa.Table, key: Sequence[str], table: Table, without: Collection[Listed]) -> pa.Table:
    """Sort by key; where rows share one, by every column."""
    import pyarrow as pa

    if without:
        listed = zip(rows.column("account").to_pylist(), _resources(rows, table), strict=True)
        rows = rows.filter(pa.array([one not in without for one in listed], pa.bool_()))
    return rows.sort_by([(name, "ascending") for name in dict.fromkeys((*key, *rows.column_names))])


def _resources(rows: pa.Table, table: Table) -> list[str]:
    """Return the resource of each row."""
    if "resource" in rows.column_names:
        names: list[str] = rows.column("resource").to_pylist()
        return names
    return [resource.name for resource in RESOURCES if table in resource.tables][:1] * len(rows)


def _row_name(rows: pa.Table, row: int, key: Sequence[str]) -> str:
    names = [name for name in key or ("account", "item_id", "field") if name != "observed_at_utc"]
    return ", ".join(f"{name} {rows.column(name)[row].as_py()!r}" for name in names)
