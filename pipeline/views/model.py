"""A relation: what one row is, its columns, its parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

UNITS: Final = {"gib": "GiB", "utc": "UTC", "days": "days", "hours": "hours", "seconds": "s"}


@dataclass(frozen=True, slots=True)
class ColumnDoc:
    """A column of a table or view: what it means, its unit, and the API field (None: added here)."""

    name: str
    doc: str
    unit: str | None
    api: str | None = None

    @property
    def comment(self) -> str:
        """Meaning, unit and API field in one line, as a comment in DuckDB."""
        parts = [self.doc]
        if self.unit:
            parts.append(f"Unit: {self.unit}.")
        if self.api:
            parts.append(f"API: {self.api}.")
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class Setting:
    """A threshold of a view that is a table macro as well: its default as SQL, and what it means."""

    name: str
    default: str
    doc: str

    @property
    def kind(self) -> str:
        """Its type as DuckDB spells it."""
        return "VARCHAR" if self.default.startswith("'") else "INTEGER"


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or view: what one row is, what it reads, its columns in order, and for a view its query."""

    name: str
    is_view: bool
    grain: str
    reads: tuple[str, ...]
    columns: tuple[ColumnDoc, ...]
    key: tuple[str, ...] = ()
    query: str | None = None
    """The text of the `.sql` file; None where the query depends on the lake's files."""
    settings: tuple[Setting, ...] = ()
    """What `name(setting := value, …)` takes; empty where there is no such macro."""
    example: str = ""
    """A query that shows what it is for."""
