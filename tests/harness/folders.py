"""Compare the folders with the views over random histories: rows and GiB of each day and account, by four engines.

    python tests/harness/folders.py [--histories 100] [--steps 12] [--seed 1]

A step is a run of two accounts (published, or failed; with instances or without), a compaction, a retention of days, a
withdrawal of one resource, a restore, a rebuild, or the passing of days. After each, pandas, pyarrow, polars and a bare
DuckDB read `lake/<table>/observed_on=*/*.parquet`, and the tables by the views are the same from the day on which the
folders hold every day.
"""

from __future__ import annotations

import argparse
import datetime as dt
import random
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
from lake_builder import Seen, image, instance, write_run

from pipeline import connect, rebuild
from pipeline.jobs.compaction import compact
from pipeline.jobs.retention import prune
from pipeline.jobs.withdrawal import restore, withdraw
from pipeline.lake.file_set import FileSet
from pipeline.lake.folder_days import FolderDays
from pipeline.lake.tombstone_files import read_tombstones

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SIZES = {
    "images": "image_size_gib",
    "image_disks": "disk_size_gib",
    "instances": "disk_size_gib",
    "instance_disks": "disk_size_gib",
}
Sums = dict[tuple[str, str], tuple[int, int]]
"""Day and account → rows, GiB."""


def _summed(rows: Iterable[tuple[Any, str, int | None]]) -> Sums:
    found: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for day, account, size in rows:
        found[str(day)[:10], account][0] += 1
        found[str(day)[:10], account][1] += 0 if size is None or size != size else int(size)  # noqa: PLR0124  (NaN)
    return {key: (count, total) for key, (count, total) in found.items()}


def _by_duckdb(pattern: str, size: str) -> Sums:
    with duckdb.connect() as con:
        return _summed(con.execute(f"select observed_on, account, {size} from read_parquet('{pattern}')").fetchall())  # noqa: S608


def _by_pandas(pattern: str, size: str) -> Sums:
    import pandas as pd

    frame = pd.read_parquet(pattern.partition("/observed_on=")[0])
    return _summed(zip(frame["observed_on"], frame["account"], frame[size], strict=True))


def _by_pyarrow(pattern: str, size: str) -> Sums:
    import pyarrow.dataset as ds

    table = ds.dataset(pattern.partition("/observed_on=")[0], partitioning="hive").to_table()
    return _summed(zip(*(table.column(name).to_pylist() for name in ("observed_on", "account", size)), strict=True))


def _by_polars(pattern: str, size: str) -> Sums:
    import polars as pl

    return _summed(
        pl.scan_parquet(pattern, hive_partitioning=True).select("observed_on", "account", size).collect().rows()
    )


ENGINES: dict[str, Callable[[str, str], Sums]] = {
    "duckdb": _by_duckdb,
    "pandas": _by_pandas,
    "pyarrow": _by_pyarrow,
    "polars": _by_polars,
}


def differences(data: Path) -> list[str]:
    """Compare each engine with the views, for the days that the folders hold by their own statement."""
    days = FolderDays.of(FileSet.read(data))
    found = []
    for table, size in SIZES.items():
        with connect(data) as con:
            rows = con.execute(f"select observed_on, account, {size} from {table}").fetchall()  # noqa: S608
        expected = _summed(row for row in rows if days.complete_from is not None and row[0] >= days.complete_from)
        is_empty = not list((data / "lake" / table).glob("observed_on=*/*.parquet"))
        for name, engine in ENGINES.items():
            sums = {} if is_empty else engine(f"{data}/lake/{table}/observed_on=*/*.parquet", size)
            held = {key: value for key, value in sums.items() if key[0] >= str(days.complete_from)}
            if held != expected:
                found.append(f"{table} by {name}: {held}, and by the views {expected}")
    return found


STEPS = ("run", "run", "compact", "retain", "withdraw", "withdraw", "restore", "rebuild", "days")


class History:
    """A lake and its clock, lived through step by step."""

    def __init__(self, data: Path, seed: int) -> None:
        self.data, self.draw, self.day = data, random.Random(seed), 0  # noqa: S311
        self.log: list[str] = []
        self.run()

    @property
    def now(self) -> dt.datetime:
        """The instant of the next command."""
        return dt.datetime(2026, 1, 1, 12) + dt.timedelta(days=self.day)  # noqa: DTZ001

    def run(self) -> None:
        """Publish a day of two accounts; each may fail."""
        self.day += 1
        at = f"{self.now:%Y-%m-%d} 02:00"
        seen = []
        for account in "ab":
            if self.draw.random() < 0.2:
                seen.append(Seen(account, at, error="Refused: no"))
                continue
            ids = self.draw.sample(range(6), self.draw.randint(1, 5))
            sizes = [self.draw.choice((10, 20, None)) for _ in ids]
            rows = [image(f"m-{account}{i}", 5, s, image_size_gib=s) for i, s in zip(ids, sizes, strict=True)]
            instances = (
                None if self.draw.random() < 0.3 else [instance(f"i-{account}{i}", f"m-{account}{i}") for i in ids[:2]]
            )
            seen.append(Seen(account, at, rows, instances=instances))
        write_run(self.data, *seen, began=at)

    def step(self) -> str:
        """Do one random step. Returns: its name."""
        grace = self.draw.choice(("0s", "2d", "7d"))
        name = self.draw.choice(
            ("run", "run", "compact", "retain", "withdraw", "withdraw", "restore", "rebuild", "days")
        )
        if name == "run":
            self.run()
        elif name == "compact":
            compact(self.data, grace=grace, at=self.now)
        elif name == "retain":
            prune(self.data, daily_older_than=f"{self.draw.randint(1, 6)}d", grace=grace, at=self.now)
        elif name == "withdraw":
            with connect(self.data) as con:
                names = con.execute(
                    "select run_id || '/' || account || '/' || resource from observations "
                    "where is_published order by all"
                ).fetchall()
            if names:
                withdraw(self.data, self.draw.choice(names)[0], grace=grace, at=self.now)
        elif name == "restore":
            active = [one.name for one in read_tombstones(self.data).active if one.until_utc > self.now]
            if active:
                restore(self.data, self.draw.choice(active), at=self.now)
        elif name == "rebuild":
            rebuild(self.data)
        else:
            self.day += self.draw.randint(1, 4)
            prune(self.data, at=self.now)
        self.log.append(name)
        return name


def compare(seed: int, steps: int) -> list[str]:
    """Live through one history. Returns: the differences, after the steps that led to them."""
    with tempfile.TemporaryDirectory() as folder:
        history = History(Path(folder) / "data", seed)
        for _ in range(steps):
            history.step()
            if found := differences(history.data):
                return [f"seed {seed}, {', '.join(history.log)}: {line}" for line in found]
    return []


def main() -> int:
    """Compare many histories."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=100)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    wrong = []
    for seed in range(asked.seed, asked.seed + asked.histories):
        wrong += compare(seed, asked.steps)
        sys.stdout.write(f"{seed - asked.seed + 1} of {asked.histories} histories, {len(wrong)} differences\n")
        sys.stdout.flush()
    sys.stdout.writelines(f"{line}\n" for line in wrong)
    return bool(wrong)


if __name__ == "__main__":
    raise SystemExit(main())
