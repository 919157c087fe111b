"""A table or view as plain data: grain, columns, settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

UNITS: Final = {"gib": "GiB", "utc": "UTC", "days": "days", "hours": "hours", "seconds": "s"}


@dataclass(frozen=True, slots=True)
class ColumnDoc:
    """A column of a table or view: its meaning, its unit, and the API field (None: added here)."""

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
    """A threshold of a view: its name, its default as SQL, its meaning. The view's macro has a parameter for it."""

    name: str
    default: str
    doc: str

    @property
    def kind(self) -> str:
        """The type as DuckDB names it."""
        if self.default in {"true", "false"} or "boolean" in self.default:
            return "BOOLEAN"
        return "VARCHAR" if self.default.startswith("'") else "INTEGER"


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or view: its grain, its inputs, its columns in order, and for a view its query."""

    name: str
    is_view: bool
    grain: str
    reads: tuple[str, ...]
    columns: tuple[ColumnDoc, ...]
    key: tuple[str, ...] = ()
    query: str | None = None
    """The text of the `.sql` file; None where the query depends on the files of the lake."""
    settings: tuple[Setting, ...] = ()
    """The parameters of the macro `name(setting := value, …)`; empty where the view has no macro."""
    example: str = ""
    """A typical query."""
