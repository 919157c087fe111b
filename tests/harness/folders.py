"""Compare the folders with the views over random histories: rows and GiB of each day and account, by each engine.

    python tests/harness/folders.py [--histories 100] [--steps 12] [--seed 1]

A step is a run of two accounts (published, or failed; with instances or without), a compaction, a retention of days, a
withdrawal of one resource, a restore, a rebuild, or the passing of days. After each, pandas, pyarrow, polars,
DataFusion, chdb and a bare DuckDB read `lake/<table>/observed_on=*/*.parquet`, and the tables by the views are the same
from the day on which the folders hold every day. An engine that is not installed is left out.
"""

from __future__ import annotations

import argparse
import datetime as dt
import random
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from engine_readers import BY_FOLDER, DAY, Question, installed
from lake_builder import Seen, image, instance, write_run

from pipeline import connect, rebuild
from pipeline.jobs.compaction import compact
from pipeline.jobs.retention import prune
from pipeline.jobs.withdrawal import restore, withdraw
from pipeline.lake.file_set import FileSet
from pipeline.lake.folder_days import FolderDays
from pipeline.lake.tombstone_files import read_tombstones

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine_readers import Reader

TABLES = {
    "images": "image_size_gib",
    "image_disks": "disk_size_gib",
    "instances": "disk_size_gib",
    "instance_disks": "disk_size_gib",
}
QUESTIONS = [Question(table, table, size, keys=(DAY, "account")) for table, size in TABLES.items()]
IN_PROCESS = installed({name: reader for name, reader in BY_FOLDER.items() if name != "pyspark"})
"""Spark is compared by `make spark`, because a session takes seconds to begin."""


def differences(data: Path, engines: Mapping[str, Reader] = IN_PROCESS) -> list[str]:
    """Compare each engine with the views, for the days that the folders hold by their own statement."""
    first = str(FolderDays.of(FileSet.read(data)).complete_from or "9999")
    found = []
    for question in QUESTIONS:
        with connect(data) as con:
            rows = question.answer(con.execute(question.sql(question.table)).fetchall())
        expected = {key: value for key, value in rows.items() if key[0] >= first}
        folder = data / "lake" / question.table
        is_empty = not list(folder.glob("observed_on=*/*.parquet"))
        for name, reader in engines.items():
            answer = {} if is_empty else reader(folder, question)
            held = {key: value for key, value in answer.items() if key[0] >= first}
            if held != expected:
                found.append(f"{question.table} by {name}: {held}, and by the views {expected}")
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
        name = self.draw.choice(STEPS)
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


def compare(seed: int, steps: int, engines: Mapping[str, Reader] = IN_PROCESS) -> list[str]:
    """Live through one history. Returns: the differences, after the steps that led to them."""
    with tempfile.TemporaryDirectory() as folder:
        history = History(Path(folder) / "data", seed)
        for _ in range(steps):
            history.step()
            if found := differences(history.data, engines):
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
