"""Demo: collect a month of a generated account.

an empty folder → a local ENS endpoint → one real run per day
"""

from __future__ import annotations

import datetime as dt
import shutil
from typing import TYPE_CHECKING, Final

from pipeline.credentials import key_account
from pipeline.errors import BadSetting
from pipeline.extract.raw_pages import RawRun, raw_paths
from pipeline.jobs.run import run
from pipeline.lake.layout import LOCK
from pipeline.lake.lock import lock
from pipeline.storage.store import open_location, store_of
from pipeline.text import pluralize

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


DEMO_DAYS: Final = 30
DEMO_IMAGES: Final = 143
DEMO_INSTANCES: Final = 60
_FIRST_RUN: Final = dt.datetime(2026, 10, 1, 2)  # noqa: DTZ001  (UTC; day 0 of the endpoint)
_MARKER: Final = ".demo"
_ACCOUNT: Final = "demo"


def demo(
    data: str | Path = "data/demo",
    *,
    days: int = DEMO_DAYS,
    images: int = DEMO_IMAGES,
    instances: int = DEMO_INSTANCES,
    print_line: Callable[[str], object] = print,
) -> None:
    """Run once a day for `days` days against a local endpoint, and `print_line` the result of each run.

    The folder is emptied first, if an earlier demo made it. The account has `instances` instances on day 0, which run
    from its images.

    Raises:
        BadSetting: the folder holds something else.
    """
    from pipeline.emulator import Endpoint, Key, living_account

    data = open_location(data)
    store_of(data).require_local(data, "the demo", "give a folder")
    if data.exists() and any(data.iterdir()) and not _is_demo(data):
        raise BadSetting(f"{str(data)!r} is not a demo's folder, and the demo empties its folder: give another one")
    with lock(data):
        for entry in data.iterdir():
            if entry.name != LOCK:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        (data / _MARKER).touch()
    served = pluralize(images, "image") + (f" and {pluralize(instances, 'instance')}" if instances else "")
    with Endpoint({"emulator": Key("emulator", living_account(images, 1, instances))}) as endpoint:
        print_line(
            f"A local ENS endpoint at {endpoint.url}: {served} on day 0, {pluralize(days, 'day')}, a run per day:"
        )
        account = key_account(_ACCOUNT, "emulator", "emulator")
        for day in range(days):
            endpoint.day = day
            at = _FIRST_RUN + dt.timedelta(days=day)
            print_line(
                str(run(data, accounts=[account], endpoint=endpoint.url, rate=None, accept_shrink=True, observed_at=at))
            )
    print_line("")


def _is_demo(data: Path) -> bool:
    """Tell whether only a demo has written there: no raw page is of another account."""
    if not (data / _MARKER).exists():
        return False
    accounts = {decision["account"] for path in raw_paths(data) for decision in RawRun(path).header["accounts"]}
    return accounts <= {_ACCOUNT}


def next_steps(data: Path, program: str = "ens-images") -> str:
    """Return where the files are, and commands to try next; `program` is how this program is called."""
    return "\n".join(
        (
            "",
            f"The files: {data}/raw (the raw pages), {data}/lake (the tables), {data}/lake.duckdb (the views).",
            "Try next:",
            f"  {program} questions --data {data}",
            f'  {program} sql --data {data} "from cleanup_candidates(older_than_days := 90)"',
            f"  {program} export --data {data} --all reports",
            f"  {program} describe capacity_by_day",
        )
    )
