"""A lake in every state, made by the commands themselves, with a Delta log: see `engines`."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline import rebuild, run
from pipeline.credentials import key_account
from pipeline.emulator import Endpoint, Key, living_account
from pipeline.jobs.compaction import compact
from pipeline.jobs.retention import prune
from pipeline.jobs.withdrawal import restore, withdraw
from pipeline.resources.control import OBSERVATIONS
from pipeline.views.database import write_catalog

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY0 = dt.datetime(2026, 10, 1, 2)  # noqa: DTZ001  (UTC without a zone, as everywhere)


class State(NamedTuple):
    """A lake and what happened to it."""

    name: str
    meaning: str
    data: Path
    views_as: str = ""
    """An earlier state with the same rows, if any."""
    folders_as: str = ""
    """The state that its folders show, if that is another one."""


def collect(data: Path, url: str, day: int) -> None:
    """Run over two accounts, on one of their days; with a Delta log."""
    accounts = [key_account(name, name, "secret") for name in "ab"]
    at = DAY0 + dt.timedelta(days=day)
    run(data, accounts=accounts, endpoint=url, rate=None, accept_shrink=True, observed_at=at, delta=True)


def _collect_and_die(data: Path, url: str, day: int) -> None:
    """Run, and kill this process before the commit record is renamed in, when every other file is there."""
    replace = Path.replace

    def replace_or_die(self: Path, target: str | Path) -> Path:
        if Path(target).parts[-3] == OBSERVATIONS.name:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(self, target)

    Path.replace = replace_or_die  # type: ignore[method-assign]
    collect(data, url, day)


def states(root: Path, *, days: int, images: int) -> Iterator[State]:
    """Make a lake of so many days, and copies of it in every state."""
    end = DAY0 + dt.timedelta(days=days)
    middle = f"{DAY0 + dt.timedelta(days=days // 2):%Y%m%dT%H%M%S.%fZ}"
    fresh = root / "fresh"
    keys = {
        "a": Key("secret", living_account(images, seed=1, instances=images // 3)),
        "b": Key("secret", living_account(images // 4, seed=2, instances=2)),
    }
    with Endpoint(keys) as endpoint:
        for day in range(days):
            endpoint.day = 20 * day
            collect(fresh, endpoint.url, day)

        def copied(name: str, source: Path = fresh) -> Path:
            return Path(shutil.copytree(source, root / name))

        yield State("fresh", f"{days} runs of two accounts, a run a day", fresh)
        data = copied("compacted")
        compact(data, grace="0s", at=end)
        yield State("compacted", "and compacted", data, "fresh")
        data = copied("retained", data)
        prune(data, daily_older_than=f"{days // 2}d", grace="0s", at=end)
        yield State("retained", "and the older half of the days expired in the folders", data, "fresh")
        data = copied("withdrawn")
        withdraw(data, f"{middle}/a", at=end)
        withdraw(data, f"{DAY0:%Y%m%dT%H%M%S.%fZ}/b/images", at=end)
        yield State("withdrawn", "fresh, then an account of one run withdrawn, and the images of one of another", data)
        data = copied("restored", data)
        restore(data, f"{middle}/a", at=end)
        restore(data, f"{DAY0:%Y%m%dT%H%M%S.%fZ}/b", at=end)
        yield State("restored", "and restored", data, "fresh")
        data = copied("killed")
        write_catalog(data)  # it holds absolute paths, and a killed run writes none
        endpoint.day = 20 * days
        process = multiprocessing.get_context("spawn").Process(target=_collect_and_die, args=(data, endpoint.url, days))
        process.start()
        process.join()
        if process.exitcode != -signal.SIGKILL:
            raise RuntimeError(f"the run ended with {process.exitcode}, and was to be killed")
        yield State("killed", "fresh, then a run killed before its commit record", data, "fresh", "continued")
        data = copied("continued", data)
        rebuild(data)
        yield State("continued", "and the next command, a `rebuild`", data)
