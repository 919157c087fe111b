"""Secrets in stored tables, which an older version wrote: found, counted and removed.

    stored_secrets(rows)     column → rows in which the redaction would change it
    without_secrets(rows)    the same rows without them
    raw_secrets(raw)         the same of a landed raw file, its header as the column `header`
    write_redacted(raw, …)   that file anew: the same rows, groups and columns

What the service sent as the account's data stays as it came: a listing, and every other table.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from pipeline.extract.attempt import may_be_listing
from pipeline.redaction import redact, redact_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa

    from pipeline.extract.raw_pages import RawRun

HEADER: Final = "header"
_OURS: Final = ("account", "run_id", "committed_files", "ids_sha256", "image_ids_sha256")
"""Columns that hold no text of a library or a server."""


def stored_secrets(rows: pa.Table) -> Counter[str]:
    """Count the values that hold a secret, by column."""
    found = {name: sum(map(_is_redacted, zip(*values, strict=True))) for name, *values in _redacted(rows)}
    return Counter({name: count for name, count in found.items() if count})


def _is_redacted(pair: tuple[Any, Any]) -> bool:
    return bool(pair[0] != pair[1])


def without_secrets(rows: pa.Table) -> pa.Table:
    """Return the same rows without secrets."""
    import pyarrow as pa

    for name, _, values in _redacted(rows):
        column = rows.schema.field(name)
        rows = rows.set_column(rows.column_names.index(name), column, pa.array(values, column.type))
    return rows


def _redacted(rows: pa.Table) -> Iterator[tuple[str, list[Any], list[Any]]]:
    """Yield each column of text, and of bodies: its name, its values, and the values without secrets.

    Only raw pages hold bodies, each beside its status; any other column of bytes is a column of text in a damaged file.
    """
    import pyarrow as pa

    for column in rows.schema:
        if column.name in _OURS:
            continue
        if pa.types.is_string(column.type):
            values = rows.column(column.name).to_pylist()
            yield column.name, values, [text and redact(text) for text in values]
        elif (
            pa.types.is_large_binary(column.type) or pa.types.is_binary(column.type)
        ) and "status" in rows.column_names:
            values = rows.column(column.name).to_pylist()
            statuses = rows.column("status").to_pylist()
            yield column.name, values, [_redacted_body(*pair) for pair in zip(statuses, values, strict=True)]


def _redacted_body(status: int | None, body: bytes | None) -> bytes | None:
    return body if body is None or may_be_listing(status, body) else redact_bytes(body)


def raw_secrets(raw: RawRun) -> Counter[str]:
    """Count the values of a landed raw file that hold a secret, by column; `header` is its header.

    Raises:
        LakeDamaged: it cannot be read.
    """
    return sum((stored_secrets(rows) for rows in raw.groups()), start=header_secrets(raw))


def header_secrets(raw: RawRun) -> Counter[str]:
    """Count the header of a landed raw file as a column, where it holds a secret."""
    return +Counter({HEADER: int(_redacted_header(raw.header) != raw.header)})


def write_redacted(raw: RawRun, staged: Path) -> None:
    """Write a landed raw file anew without secrets; its header names the digest of the file that it replaces."""
    with raw.writer_like(staged, _redacted_header(raw.header)) as writer:
        for rows in raw.groups():
            writer.write_table(without_secrets(rows), row_group_size=len(rows))


def _redacted_header(value: Any) -> Any:
    """Return a value of JSON with every text in it redacted."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [_redacted_header(item) for item in value]
    if isinstance(value, dict):
        return {name: item if name in _OURS else _redacted_header(item) for name, item in value.items()}
    return value
