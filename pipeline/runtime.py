"""Process-wide settings, each with the measurement that justifies it: nothing else sets any.

imports            without_pandas       every command
                   allow_numpy          a lake with compacted months
allocator          choose_allocator     every command
system_allocator     compaction
garbage collector  rare_collection      listing, rebuild
thread switches    frequent_switches    the catalog, while an account is listed
home folder        any_home             the import of the charting library
interrupts         exit_on_interrupt    before a command, and after an interrupt
                   raise_on_interrupt   in a command
                   interruptible        around DuckDB
                   run_interruptibly    a query of a user
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class _Refused:
    """An import finder that reports pandas and NumPy as not installed."""

    def __init__(self) -> None:
        self.names = {"pandas", "numpy"}

    def find_spec(self, name: str, *_: object) -> None:
        if name in self.names:
            raise ModuleNotFoundError(f"a command of ens-images does not import {name}", name=name)


@contextlib.contextmanager
def without_pandas() -> Iterator[None]:
    """Make `import pandas` and `import numpy` fail inside the block: no command needs them.

    pyarrow imports NumPy at once and pandas at the first Python value, and works without both. Measured: they cost
    0.5 s of processor time, half of what listing a small account takes.
    """
    finder: Any = _Refused()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def allow_numpy() -> None:
    """Let NumPy be imported from here on: DuckDB needs it to call a function of Python."""
    for finder in sys.meta_path:
        if isinstance(finder, _Refused):
            finder.names.discard("numpy")


def choose_allocator() -> None:
    """Make Arrow allocate with jemalloc, unless the environment chooses; call it before pyarrow is imported.

    One thread fills what another frees. mimalloc, the default of Arrow, keeps much of that memory for the first
    thread. Measured at a million images: 130 MB of a peak of 610 MB.
    """
    if sys.platform == "linux":
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc")


@contextlib.contextmanager
def system_allocator() -> Iterator[None]:
    """Make Arrow allocate from the system's heap inside the block, from which DuckDB allocates too.

    A pool of Arrow's own keeps what it frees, where DuckDB cannot use it. Measured by compacting a day of 100,000
    images: a peak of 214 MB instead of 224 MB with jemalloc, 234 MB instead of 252 MB with mimalloc.
    """
    import pyarrow as pa

    before = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(before)


@contextlib.contextmanager
def rare_collection() -> Iterator[None]:
    """Run the garbage collector rarely inside the block: a listing keeps what it reads, so there is no garbage.

    Measured at 100,000 images: with the default thresholds the collector takes a quarter of the processor time.
    """
    before = gc.get_threshold()
    gc.set_threshold(100_000, 50, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextlib.contextmanager
def frequent_switches() -> Iterator[None]:
    """Switch between threads every 0.5 ms inside the block, instead of every 5 ms.

    DuckDB takes the interpreter again after each of the 400 statements of the catalog, and waits for it as long as
    another thread computes. Measured beside such a thread: the catalog takes 0.7 s instead of 1.0 s.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def exit_on_interrupt() -> None:
    """Let SIGINT end the process at once and in silence: nothing is being written. One that ignores it still does."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _exit)


def raise_on_interrupt() -> None:
    """Let SIGINT raise KeyboardInterrupt again, with Python's own handler: asyncio replaces no other."""
    if signal.getsignal(signal.SIGINT) is _exit:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _exit(number: int, _: object) -> None:
    os._exit(128 + number)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Raise the KeyboardInterrupt that DuckDB reports as a RuntimeError when it stops a statement."""
    try:
        yield
    except RuntimeError as error:
        if str(error) == "Query interrupted":
            raise KeyboardInterrupt from error
        raise


def run_interruptibly(work: Callable[[], object], interrupt: Callable[[], object]) -> None:
    """Do `work` in a thread, and call `interrupt` where a signal comes: DuckDB may not look for one for minutes."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1, thread_name_prefix="query") as pool:
        done = pool.submit(work)
        try:
            done.result()
        except KeyboardInterrupt:
            interrupt()
            raise


@contextlib.contextmanager
def any_home() -> Iterator[None]:
    """Set HOME inside the block where the process has no home: a container with a user id that nobody listed.

    altair raises without one, at import, for a cache of sample data that is never used here. `/` holds nothing of
    anybody's: a folder that others can write to could hold credentials of theirs.
    """
    if os.path.expanduser("~") != "~":  # noqa: PTH111  (never raises)
        yield
        return
    os.environ["HOME"] = "/"
    try:
        yield
    finally:
        del os.environ["HOME"]
