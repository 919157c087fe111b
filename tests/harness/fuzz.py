"""Bad input without a pause: hostile answers, then the properties of `test_bad_input.py` until the time is over.

python tests/harness/fuzz.py --minutes 5 --seed 1

    hostile answer    a whole run against each (`hostile.py`)                   its peak memory, its longest try
    property, seed    a round of inputs made anew, never one that was kept      a line a property
a wrong one       made as small as it gets, and printed; exit code 1
    secrets           of every credential mode, planted where a library or a server quotes them: leaks.py
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
import traceback
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, ThreadPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import hostile
from conftest import settings
from hypothesis import seed

if __name__ in {"__main__", "__mp_main__"}:
    settings.load_profile("fuzz")  # before the properties are made
import leaks
import test_bad_input


class Folders:
    """What stands for pytest's own maker of folders: here each round clears its own away."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.numbers = itertools.count()

    def mktemp(self, name: str) -> Path:
        """A new folder."""
        folder = self.root / f"{name}{next(self.numbers)}"
        folder.mkdir()
        return folder


def properties() -> list[str]:
    """The names of the properties, as the tests have them."""
    return [name for name, value in vars(test_bad_input).items() if name.startswith("test_") and is_property(value)]


def is_property(value: Any) -> bool:
    """Whether Hypothesis makes its inputs."""
    return bool(getattr(value, "is_hypothesis_test", False))


def a_round(name: str, number: int) -> tuple[str, int, str | None]:
    """Try a property on new inputs: its name, how many there were, and how the first wrong one went wrong."""
    test = getattr(test_bad_input, name)
    needs_folders = "tmp_path_factory" in test.hypothesis.inner_test.__code__.co_varnames
    tried = 0
    inner = test.hypothesis.inner_test

    def counted(*given: Any, **named: Any) -> None:
        nonlocal tried
        tried += 1
        inner(*given, **named)

    test.hypothesis.inner_test = counted
    try:
        with tempfile.TemporaryDirectory() as folder:
            seed(number)(test)(**({"tmp_path_factory": Folders(Path(folder))} if needs_folders else {}))
    except Exception:  # noqa: BLE001  (whatever it is, it is the finding)
        return name, tried, traceback.format_exc()
    finally:
        test.hypothesis.inner_test = inner
    return name, tried, None


def fuzz(minutes: float, first_seed: int, processes: int) -> tuple[Counter[str], dict[str, str]]:
    """Round after round, the same time for each property: how many inputs it was tried on, and what went wrong."""
    tried: Counter[str] = Counter()
    wrong: dict[str, str] = {}
    seconds = dict.fromkeys(properties(), 0.0)
    seeds = itertools.count(first_seed)
    until = time.monotonic() + 60 * minutes
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        under_way: dict[Any, tuple[str, float]] = {}
        while True:
            while len(under_way) < processes and time.monotonic() < until:
                busy = Counter(name for name, _ in under_way.values())
                name = min(seconds, key=lambda name: (busy[name], seconds[name]))
                under_way[pool.submit(a_round, name, next(seeds))] = (name, time.monotonic())
            if not under_way:
                return tried, wrong
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                name, began = under_way.pop(future)
                seconds[name] += time.monotonic() - began
                _, count, trouble = future.result()
                tried[name] += count
                if trouble is not None:
                    wrong.setdefault(name, trouble)


def main() -> int:
    """Fuzz, tell what was tried, and say whether all of it was right."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=1, help="of the first round; each round after it takes the next")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--leak-rounds", type=int, default=5, help="of secrets planted: see leaks.py")
    asked = parser.parse_args()
    began = time.monotonic()
    costs = []
    with ThreadPoolExecutor(asked.processes) as pool:
        for cost in pool.map(hostile.measure, hostile.HOSTILE):
            costs.append(cost)
            sys.stdout.write(f"{hostile.line(cost)}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{hostile.worst(costs)}\n")
    broken = [cost for cost in costs if cost.trouble]
    tried, wrong = fuzz(asked.minutes, asked.seed, asked.processes)
    for name, count in tried.items():
        sys.stdout.write(f"{count:9,}  {name.removeprefix('test_').replace('_', ' ')}\n")
    for name, trouble in wrong.items():
        sys.stdout.write(f"\n{name}\n{trouble}\n")
    minutes = (time.monotonic() - began) / 60
    sys.stdout.write(f"{tried.total():,} inputs in {minutes:.1f} minutes, {len(wrong)} properties wrong\n")
    leak_count = leaks.fuzz(asked.leak_rounds, asked.seed)
    return 1 if wrong or broken or leak_count else 0


if __name__ == "__main__":
    sys.exit(main())
