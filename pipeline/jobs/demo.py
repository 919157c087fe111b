"""The demo: a month of a generated account."""

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

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


DEMO_DAYS: Final = 30
DEMO_IMAGES: Final = 143
_DEMO_BEGINS: Final = dt.datetime(2026, 10, 1, 2)  # noqa: DTZ001  (UTC; the local endpoint's day 0)
_DEMO_MARK: Final = ".demo"
_DEMO_ACCOUNT: Final = "demo"


def demo(
    data: str | Path = "data/demo",
    *,
    days: int = DEMO_DAYS,
    images: int = DEMO_IMAGES,
    told: Callable[[str], object] = print,
) -> None:
    """Live through `days` days of a made account on a local endpoint, a real `run` each; `told` is told of each.

    The folder is made anew: nothing but an earlier demo is ever cleared away.

    Raises:
        BadSetting: `data` is something else than a demo's folder.
    """
    from pipeline.emulator import Endpoint, Key, living_account

    data = open_location(data)
    store_of(data).require_local(data, "the demo", "give a folder")
    if data.exists() and any(data.iterdir()) and not _is_a_demos(data):
        raise BadSetting(f"{str(data)!r} is no demo's folder, and the demo makes its folder anew: give another one")
    with lock(data):
        for entry in data.iterdir():
            if entry.name != LOCK:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        (data / _DEMO_MARK).touch()
    with Endpoint({"emulator": Key("emulator", living_account(images=images, seed=1))}) as endpoint:
        told(f"A local ENS endpoint at {endpoint.url}, an account of {images} images, {days} days of it, a run a day:")
        account = key_account(_DEMO_ACCOUNT, "emulator", "emulator")
        for day in range(days):
            endpoint.day = day
            at = _DEMO_BEGINS + dt.timedelta(days=day)
            done = run(data, accounts=[account], endpoint=endpoint.url, rate=None, accept_shrink=True, observed_at=at)
            told(str(done))
    told("")


def _is_a_demos(data: Path) -> bool:
    """Whether nothing but a demo has ever written there: no pages of another account than its own."""
    if not (data / _DEMO_MARK).exists():
        return False
    landed_for = {decision["account"] for path in raw_paths(data) for decision in RawRun(path).header["accounts"]}
    return landed_for <= {_DEMO_ACCOUNT}


def what_next(data: Path, program: str = "ens-images") -> str:
    """Where the bytes of a lake lie, and the commands to try next, as `program` is called here."""
    return "\n".join(
        (
            "",
            f"The bytes: {data}/raw (what the service said), {data}/lake (the tables), {data}/lake.duckdb (the views).",
            "Try next:",
            f"  {program} questions --data {data}",
            f'  {program} sql --data {data} "from cleanup_candidates(older_than_days := 90)"',
            f"  {program} export --data {data} --all reports",
            f"  {program} describe capacity_by_day",
        )
    )
