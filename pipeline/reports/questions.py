"""The questions that an owner of images asks, and the SQL that answers each: they stand in `questions.sql`.

questions.sql ──► questions    listed by `ens-images questions`, answered by `ens-images questions NUMBER`
document     data/questions.md, made by `make docs`
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.errors import UnknownName
from pipeline.reports.query import Rows
from pipeline.views.catalog import relations

if TYPE_CHECKING:
    from collections.abc import Sequence

_FILE: Final = Path(__file__).with_suffix(".sql")
_ENTRY: Final = re.compile(r"^-- (\d+)\. (.+\?)\n((?:-- .+\n)*)((?:.+\n)+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Question:
    """A question: its place, its words, how its answer is meant, and the SQL that answers it."""

    number: int
    words: str
    note: str
    sql: str

    @property
    def views(self) -> tuple[str, ...]:
        """The tables and views that the SQL reads, as it names them."""
        named = re.findall(r"\b(?:from|join) (\w+)", self.sql)
        return tuple(dict.fromkeys(name for name in named if name in relations()))


@functools.cache
def questions() -> Sequence[Question]:
    """Every question, in order."""
    found = _ENTRY.findall(_FILE.read_text("utf-8"))
    return tuple(
        Question(int(number), words, note.replace("-- ", "").replace("\n", " ").strip(), sql.strip().removesuffix(";"))
        for number, words, note, sql in found
    )


def question(number: int) -> Question:
    """Find a question by its number.

    Raises:
        UnknownName: there is none.
    """
    for one in questions():
        if one.number == number:
            return one
    raise UnknownName(f"there is no question {number}: they are numbered from 1 to {len(questions())}")


def listed() -> Rows:
    """List the questions, each with what answers it."""
    rows = [(one.number, one.words, ", ".join(one.views)) for one in questions()]
    return Rows(("number", "question", "view"), ("BIGINT", "VARCHAR", "VARCHAR"), rows)


def document() -> str:
    """Write the questions as Markdown: a table that leads to the views, then the SQL of each."""
    parts = [
        "# What one asks, and what answers it\n\n",
        "Made by `make docs` from `pipeline/questions.sql`: change it there. All is as of the last observation, and\n",
        "never of the clock. `ens-images questions 6` answers the sixth; the SQL runs wherever the views are.\n\n",
        "| | question | answered by |\n|--:|---|---|\n",
    ]
    for one in questions():
        links = ", ".join(f"[{name}](dictionary.md#{name})" for name in one.views)
        parts.append(f"| {one.number} | [{one.words}](#{_anchor(one)}) | {links} |\n")
    for one in questions():
        parts.append(f"\n## {one.number}. {one.words}\n\n")
        if one.note:
            parts.append(f"{one.note}\n\n")
        parts.append(f"```sql\n{one.sql}\n```\n")
    return "".join(parts)


def _anchor(one: Question) -> str:
    """The anchor that GitHub gives to the question's heading."""
    kept = re.sub(r"[^\w\- ]", "", f"{one.number}. {one.words}".lower())
    return kept.replace(" ", "-")
