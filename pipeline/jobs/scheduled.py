"""Run, then the steps of [after_run]: one line per step, one exit code, one summary for a monitor.

    run → prune → export → html → summary.json

Every step is tried, whatever became of the one before; the exit code is the
largest. A run that could not start or finish (the lake is locked, the disk is
full, a setting is wrong) is followed by no step. The summary is replaced as a
whole, or not at all.
"""

from __future__ import annotations

import contextlib
import json
import signal
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipeline.errors import EnsImagesError, FixTheInput, OurMistake
from pipeline.extract.attempt import utc_now
from pipeline.jobs.accounts import select_accounts
from pipeline.jobs.export import export_all
from pipeline.jobs.retention import prune
from pipeline.jobs.run import Run, run
from pipeline.log import about, logger
from pipeline.memory import memory_explained
from pipeline.paths import user_path
from pipeline.redaction import redact
from pipeline.runtime import interruptible
from pipeline.storage.folder import atomic_write, make_folder
from pipeline.storage.store import open_location
from pipeline.text import escape_control, json_value, os_reason, pluralize
from pipeline.views.connection import connect

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Mapping, Sequence

    from pipeline.credentials import Account
    from pipeline.settings import AccountEntry, AfterRun
    from pipeline.views.parameters import Thresholds

_log = logger(__name__)
_SUMMARY_COLUMNS: Final = (
    "account",
    "resource",
    "is_published",
    "certificate",
    "observed_at_utc",
    "item_count",
    "child_item_count",
    "call_count",
    "reject_count",
    "unknown_field_count",
    "throttle_count",
    "retry_count",
    "error",
    "same_account_as",
)
"""The columns of an observation that the summary repeats."""


@dataclass(frozen=True, slots=True)
class Step:
    """The result of one step."""

    name: str
    exit_code: int
    message: str
    seconds: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", redact(self.message))

    def __str__(self) -> str:
        """Return the message, with the name of the step before it unless it is the run."""
        return self.message if self.name == "run" else f"{self.name}: {self.message}"


@dataclass(slots=True)
class ScheduledRun:
    """The run, and the result of each step."""

    data: Path
    began_at_utc: dt.datetime
    run: Run | None = None
    steps: list[Step] = field(default_factory=list)
    ended_at_utc: dt.datetime | None = None

    @property
    def exit_code(self) -> int:
        """The largest exit code of the steps."""
        return max((step.exit_code for step in self.steps), default=0)

    def __str__(self) -> str:
        """Return a line per step, and a line per account of the run."""
        return "\n".join(map(str, self.steps))

    def summary(self) -> dict[str, Any]:
        """Return the same for a program."""
        observations = self.run.observations if self.run else ()
        errors = self.run.errors if self.run else {}
        return {
            "exit_code": self.exit_code,
            "run_id": self.run.run_id if self.run else None,
            "data": str(self.data.resolve()),
            "began_at_utc": self.began_at_utc,
            "ended_at_utc": self.ended_at_utc,
            "accounts": [
                {name: row.get(name) for name in _SUMMARY_COLUMNS}
                | {"exit_code": errors[listed].exit_code if listed in errors else 0}
                for row in observations
                for listed in [(row["account"], row["resource"])]
            ],
            "steps": [
                {
                    "step": step.name,
                    "exit_code": step.exit_code,
                    "message": step.message,
                    "seconds": round(step.seconds, 3),
                }
                for step in self.steps
            ],
        }


def scheduled_run(
    data: str | Path = "data",
    *,
    after: AfterRun,
    retention: Mapping[str, Any],
    summary: str | Path | None = None,
    thresholds: Thresholds | None = None,
    entries: Sequence[AccountEntry] = (),
    profiles: Sequence[str] = (),
    profiles_from: Path | None = None,
    accounts: Sequence[Account] = (),
    share_check: bool = False,
    ending_signal: Callable[[], int] = lambda: signal.SIGINT,
    **options: Any,
) -> ScheduledRun:
    """Run, then do the steps of `after`; an `EnsImagesError` is not raised, it is the result of its step.

    Args:
        data: The lake.
        after: The steps after the run.
        retention: The arguments of `prune`.
        summary: The file to write the summary to.
        thresholds: Thresholds for export, HTML page and the check of shares: see `connect`.
        entries: The accounts of the settings file; `profiles` and `profiles_from` select others: see `select_accounts`.
        profiles: Names of profiles.
        profiles_from: A file of names of profiles.
        accounts: Ready-made accounts.
        share_check: Ask who the images are shared with that a clean-up would name.
        ending_signal: Returns the signal that a KeyboardInterrupt stands for.
        options: The other arguments of `run`.
    """
    result = ScheduledRun(open_location(data), utc_now())
    try:
        with interruptible():
            options["share_check"] = (thresholds or True) if share_check else False
            select = partial(select_accounts, profiles, profiles_from, entries, accounts)
            _do(result, "run", lambda: _run(result, select, options))
            if result.run is not None:
                for name, work in _steps_after(result.data, after, retention, thresholds).items():
                    _do(result, name, work)
    except BaseException as error:  # a bug or a signal: the summary of an earlier run must not stay
        if isinstance(error, KeyboardInterrupt):
            number = signal.Signals(ending_signal())
            result.steps.append(Step("run", 128 + number, f"ended by {number.name}", 0))
        else:
            result.steps.append(Step("run", OurMistake.exit_code, f"ended by {type(error).__name__}", 0))
        raise
    finally:
        result.ended_at_utc = utc_now()
        if summary is not None:
            _write_summary(result, user_path(summary))
    return result


def write_failed_start(summary: Path, data: str | Path, message: str) -> None:
    """Replace the summary by that of a run that did not start, because its options or settings are wrong."""
    result = ScheduledRun(open_location(data), utc_now())
    result.steps.append(Step("run", FixTheInput.exit_code, escape_control(f"error: {message}"), 0))
    result.ended_at_utc = result.began_at_utc
    _write_summary(result, summary)


def _run(result: ScheduledRun, select: Callable[[], Sequence[Account]], options: dict[str, Any]) -> str:
    """Run, and keep the `Run`, also that of a run in which an account failed."""
    try:
        result.run = run(result.data, accounts=select(), **options)
    except EnsImagesError as error:
        result.run = error.run
        raise
    return str(result.run)


def _do(result: ScheduledRun, name: str, work: Callable[[], str]) -> None:
    """Do one step and append its result; `work` returns the message."""
    began = time.monotonic()
    exit_code = 0
    with about(step=name):
        try:
            with memory_explained():
                message = work()
        except EnsImagesError as error:
            exit_code = error.run.exit_code if error.run else error.exit_code
            message = str(error.run) if error.run else escape_control(f"error: {type(error).__name__}: {error}")
        except OSError as error:
            exit_code = FixTheInput.exit_code
            message = escape_control(f"error: {os_reason(error)}")
        seconds = time.monotonic() - began
        _log.debug("ended with %d after %.3f s", exit_code, seconds)
    result.steps.append(Step(name, exit_code, message, seconds))


def _steps_after(
    data: Path, after: AfterRun, retention: Mapping[str, Any], thresholds: Thresholds | None
) -> dict[str, Callable[[], str]]:
    """Return the steps after a run in their order: name → work."""
    steps: dict[str, Callable[[], str]] = {}
    if after.prune:
        steps["prune"] = lambda: str(prune(data, **retention)).replace("\n", "; ")
    if after.export is not None:
        steps["export"] = partial(_export, data, after.export, after.export_formats, thresholds)
    if after.html is not None:
        steps["html"] = partial(_write_page, data, Path(after.html), thresholds)
    return steps


def _export(data: Path, folder: str, formats: Sequence[str], thresholds: Thresholds | None) -> str:
    manifest, _ = export_all(folder, data, formats=formats, thresholds=thresholds)
    return f"{pluralize(len(manifest['files']), 'file')} in {folder!r}"


def _write_page(data: Path, file: Path, thresholds: Thresholds | None) -> str:
    from pipeline.reports.html import write_page

    make_folder(file.parent)
    with contextlib.closing(connect(data, thresholds=thresholds, keeps_versions=True)) as lake:
        write_page(lake, file)
    return repr(str(file))


def _write_summary(result: ScheduledRun, file: Path) -> None:
    """Write the summary atomically; a failure becomes the last step, and fails nothing: the day is published."""

    def work() -> str:
        with atomic_write(file) as temporary:
            temporary.write_text(json.dumps(json_value(result.summary()), indent=1) + "\n", "utf-8")
        return ""

    _do(result, "summary", work)
    step = result.steps.pop()
    if step.exit_code != 0:
        result.steps.append(replace(step, exit_code=0, message=f"not written, an older one stays: {step.message}"))
