"""Process-wide settings of the interpreter, each with its measurement."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Refused:
    """An import finder that reports pandas and NumPy as not installed."""

    def find_spec(self, name: str, *_: object) -> None:
        if name in {"pandas", "numpy"}:
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


def choose_allocator() -> None:
    """Make Arrow allocate with jemalloc, unless the environment chooses; call it before pyarrow is imported.

    One thread fills what another frees. mimalloc, the default of Arrow, keeps much of that memory for the first
    thread. Measured at a million images: 130 MB of a peak of 610 MB.
    """
    if sys.platform == "linux":
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc")


@contextlib.contextmanager
def rare_collection() -> Iterator[None]:
    """Let the garbage collector come seldom: what is read is kept, and looking through it again finds nothing.

    It takes a quarter of the reading's processor time otherwise, at 100,000 images.
    """
    usual = gc.get_threshold()
    gc.set_threshold(100_000, 50, 100)
    try:
        yield
    finally:
        gc.set_threshold(*usual)
