"""Common questions of an owner of images, each with the SQL that answers it.

questions.sql ──► questions    `ens-images questions` lists them, `ens-images questions NUMBER` answers one
──► document     data/questions.md, written by `make docs`
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
    """A question: its number and text, a note on the answer, the SQL."""

    number: int
    text: str
    note: str
    sql: str

    @property
    def views(self) -> tuple[str, ...]:
        """The tables and views that the SQL names."""
        named = re.findall(r"\b(?:from|join) (\w+)", self.sql)
        return tuple(dict.fromkeys(name for name in named if name in relations()))


@functools.cache
def questions() -> Sequence[Question]:
    """All questions in order."""
    found = _ENTRY.findall(_FILE.read_text("utf-8"))
    return tuple(
        Question(int(number), text, note.replace("-- ", "").replace("\n", " ").strip(), sql.strip().removesuffix(";"))
        for number, text, note, sql in found
    )


def question(number: int) -> Question:
    """Find a question.

    Raises:
        UnknownName: there is no question with this number.
    """
    for known in questions():
        if known.number == number:
            return known
    raise UnknownName(f"there is no question {number}: they are numbered from 1 to {len(questions())}")


def list_questions() -> Rows:
    """List the questions, each with the views that answer it."""
    rows = [(question.number, question.text, ", ".join(question.views)) for question in questions()]
    return Rows(("number", "question", "view"), ("BIGINT", "VARCHAR", "VARCHAR"), rows)


def document() -> str:
    """Write the questions as Markdown: a table with links to the views, then the SQL of each."""
    parts = [
        "# What one asks, and what answers it\n\n",
        "Made by `make docs` from `pipeline/reports/questions.sql`: change it there. All is as of the last\n",
        "observation, and never of the clock. `ens-images questions 6` answers the sixth;\n",
        "the SQL runs wherever the views are.\n\n",
        "| | question | answered by |\n|--:|---|---|\n",
    ]
    for question in questions():
        links = ", ".join(f"[{name}](dictionary.md#{name})" for name in question.views)
        parts.append(f"| {question.number} | [{question.text}](#{_anchor(question)}) | {links} |\n")
    for question in questions():
        parts.append(f"\n## {question.number}. {question.text}\n\n")
        if question.note:
            parts.append(f"{question.note}\n\n")
        parts.append(f"```sql\n{question.sql}\n```\n")
    return "".join(parts)


def _anchor(question: Question) -> str:
    """The anchor that GitHub gives the heading of a question."""
    letters = re.sub(r"[^\w\- ]", "", f"{question.number}. {question.text}".lower())
    return letters.replace(" ", "-")
