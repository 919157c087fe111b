"""Findings: run each check, and keep its result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.errors import EnsImagesError, NoAccess
from pipeline.redaction import redact
from pipeline.reports.query import Rows
from pipeline.text import escape_control, os_reason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class NotKnown(Exception):
    """A check cannot be made before another one is good."""


class NotNeeded(Exception):
    """Something is missing that a run does without."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check; where something is wrong, with the error that a run would raise."""

    check: str
    result: str
    found: str
    error: EnsImagesError | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "found", redact(self.found))


class Findings(list[Finding]):
    """The results of the checks, in their order."""

    def check(self, name: str, work: Callable[[], str]) -> None:
        """Make a check; `work` returns a description of what is good."""
        self.check_value(name, lambda: (work(), None))

    def check_value(self, name: str, work: Callable[[], tuple[str, Any]]) -> Any:
        """Make a check whose value later checks need; `work` returns the description and the value.

        Returns:
            The value, or None where the check failed.
        """
        try:
            description, value = work()
        except NotKnown as reason:
            self.append(Finding(name, "not known", str(reason)))
        except NotNeeded as reason:
            self.append(Finding(name, "optional", str(reason)))
        except EnsImagesError as error:
            self.append(Finding(name, "wrong", f"{type(error).__name__}: {error}", error))
        except OSError as error:
            no_access = NoAccess(os_reason(error))
            self.append(Finding(name, "wrong", f"NoAccess: {no_access}", no_access))
        else:
            self.append(Finding(name, "good", description))
            return value
        return None


def as_lines(findings: Sequence[Finding]) -> str:
    """Return a line per finding; of what is wrong, the line says what to do."""
    width = max(len(finding.check) for finding in findings)
    return "\n".join(
        escape_control(f"{finding.result:9}  {finding.check:{width}}  {finding.found}") for finding in findings
    )


def as_rows(findings: Sequence[Finding]) -> Rows:
    """Return the findings as a table."""
    columns = {"check": "VARCHAR", "result": "VARCHAR", "found": "VARCHAR", "exit_code": "BIGINT"}
    rows = [
        (finding.check, finding.result, finding.found, finding.error.exit_code if finding.error else 0)
        for finding in findings
    ]
    return Rows(tuple(columns), tuple(columns.values()), rows)


def first_to_fix(findings: Sequence[Finding]) -> EnsImagesError | None:
    """Return the error of the first check that failed, or None."""
    return next((finding.error for finding in findings if finding.error), None)
