"""Process-wide settings of the interpreter, each with its measurement."""

from __future__ import annotations

import contextlib
import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


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
