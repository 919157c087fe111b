"""A run and what follows it, as the settings say: one line a step, one exit code, one summary for a machine.

    run ─→ prune ─→ export ─→ page ─→ summary.json (old or new, never half)

A step that fails costs no other: each is tried, and the exit code is the largest of all. Where the run itself did
not come to its end (the lake is held, the disk full, a setting makes no sense), nothing follows it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import signal
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import EnsImagesError, FixTheInput, OurMistake
from pipeline.jobs.accounts import select_accounts
from pipeline.jobs.export import export_all
from pipeline.jobs.retention import prune
from pipeline.jobs.run import Run, run
from pipeline.log import about, logger
from pipeline.storage.folder import atomic_write, make_folder
from pipeline.storage.store import open_location
from pipeline.text import escape_control, pluralize
from pipeline.views.connection import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pipeline.credentials import Account
    from pipeline.settings import AccountEntry, AfterRun
    from pipeline.views.parameters import Thresholds

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Step:
    """One step: how it ended, and what it says."""

    name: str
    exit_code: int
    said: str
    seconds: float

    def __str__(self) -> str:
        """What it says; after the first step, with its name before it."""
        return self.said if self.name == "run" else f"{self.name}: {self.said}"


@dataclass(slots=True)
class ScheduledRun:
    """What was done: the run, and each step with its result."""

    data: Path
    began_at_utc: dt.datetime
    run: Run | None = None
    steps: list[Step] = field(default_factory=list)
    ended_at_utc: dt.datetime | None = None

    @property
    def exit_code(self) -> int:
        """The largest of the steps'."""
        return max((step.exit_code for step in self.steps), default=0)

    def __str__(self) -> str:
        """A line a step; of the run, one an account."""
        return "\n".join(map(str, self.steps))

    def summary(self) -> dict[str, Any]:
        """The same for a machine."""
        rows = self.run.observations if self.run else ()
        errors = self.run.errors if self.run else {}
        told = ("account", "is_published", "certificate", "observed_at_utc", "image_count", "disk_count", "call_count")
        counts = ("reject_count", "unknown_field_count", "throttle_count", "retry_count", "error")
        return {
            "exit_code": self.exit_code,
            "run_id": self.run.run_id if self.run else None,
            "data": str(self.data.resolve()),
            "began_at_utc": self.began_at_utc,
            "ended_at_utc": self.ended_at_utc,
            "accounts": [
                {name: row.get(name) for name in (*told, *counts)}
                | {"exit_code": errors[row["account"]].exit_code if row["account"] in errors else 0}
                for row in rows
            ],
            "steps": [
                {"step": x.name, "exit_code": x.exit_code, "said": x.said, "seconds": round(x.seconds, 3)}
                for x in self.steps
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
    signalled: Callable[[], int] = lambda: signal.SIGINT,
    **options: Any,
) -> ScheduledRun:
    """Run, then do what `after` says; `retention` is what `prune` is asked for, `options` are those of `run`.

    `thresholds` hold for what is exported and drawn: see `views.connect`.
    The accounts are those of `flow.chosen`; `signalled` tells which signal a KeyboardInterrupt stands for.

    Nothing of it raises an `EnsImagesError`: each is the result of its step.
    """
    night = ScheduledRun(open_location(data), _now())
    try:
        _step(night, "run", lambda: _run(night, lambda: select_accounts(profiles, profiles_from, entries), options))
        if night.run is not None:
            for name, work in _following(night.data, after, retention, thresholds).items():
                _step(night, name, work)
    except BaseException as error:  # ours, or a signal: who reads the summary must not take yesterday's for today's
        if isinstance(error, KeyboardInterrupt):
            ended_by = signal.Signals(signalled())
            night.steps.append(Step("run", 128 + ended_by, f"ended by {ended_by.name}", 0))
        else:
            night.steps.append(Step("run", OurMistake.exit_code, f"ended by {type(error).__name__}", 0))
        raise
    finally:
        night.ended_at_utc = _now()
        if summary is not None:
            _write(night, Path(summary))
    return night


def write_not_started(summary: Path, data: str | Path, said: str) -> None:
    """Put a summary of a run that was asked for wrongly where yesterday's stands."""
    night = ScheduledRun(open_location(data), _now())
    night.steps.append(Step("run", FixTheInput.exit_code, escape_control(f"error: {said}"), 0))
    night.ended_at_utc = night.began_at_utc
    _write(night, summary)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)


def _run(night: ScheduledRun, accounts: Callable[[], Sequence[Account]], options: dict[str, Any]) -> str:
    try:
        night.run = run(night.data, accounts=accounts(), **options)
    except EnsImagesError as error:
        night.run = error.run
        raise
    return str(night.run)


def _step(night: ScheduledRun, name: str, work: Callable[[], str]) -> None:
    began = time.monotonic()
    code = 0
    with about(step=name):
        try:
            said = work()
        except EnsImagesError as error:
            code = error.run.exit_code if error.run else error.exit_code
            said = str(error.run) if error.run else escape_control(f"error: {type(error).__name__}: {error}")
        except OSError as error:
            code, said = FixTheInput.exit_code, escape_control(f"error: {error.filename!r}: {error.strerror}")
        seconds = time.monotonic() - began
        _log.debug("ended with %d after %.3f s", code, seconds)
    night.steps.append(Step(name, code, said, seconds))


def _following(
    data: Path, after: AfterRun, retention: Mapping[str, Any], thresholds: Thresholds | None
) -> dict[str, Callable[[], str]]:
    """The steps that follow, in order."""
    steps: dict[str, Callable[[], str]] = {}
    if after.prune:
        steps["prune"] = lambda: str(prune(data, **retention)).replace("\n", "; ")
    if after.export is not None:
        steps["export"] = partial(_export, data, after.export, after.export_formats, thresholds)
    if after.page is not None:
        steps["page"] = partial(_page, data, Path(after.page), thresholds)
    return steps


def _export(data: Path, folder: str, formats: Sequence[str], thresholds: Thresholds | None) -> str:
    manifest, _ = export_all(folder, data, formats=formats, thresholds=thresholds)
    return f"{pluralize(len(manifest['files']), 'file')} in {folder!r}"


def _page(data: Path, file: Path, thresholds: Thresholds | None) -> str:
    from pipeline.reports.html import write_page

    make_folder(file.parent)
    with contextlib.closing(connect(data, thresholds=thresholds)) as lake:
        write_page(lake, file)
    return repr(str(file))


def _write(night: ScheduledRun, file: Path) -> None:
    """Put the summary in its place, whole; where that fails, that is a result too."""

    def work() -> str:
        with atomic_write(file) as aside:
            aside.write_text(json.dumps(night.summary(), indent=1, default=_spelled) + "\n", "utf-8")
        return ""

    steps = len(night.steps)
    _step(night, "summary", work)
    if night.steps[-1].exit_code == 0:
        del night.steps[steps:]


def _spelled(value: Any) -> str:
    return value.isoformat() if isinstance(value, dt.datetime) else str(value)
