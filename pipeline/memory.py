"""Too little memory: every library reports it in its own way; here it is one error.

No handler may take it for a damaged file: `raise_if_out_of_memory` comes first in each that reads the lake.
"""

from __future__ import annotations

import contextlib
import errno
import re
from typing import TYPE_CHECKING, Final

from pipeline.errors import EnsImagesError, OutOfMemory

if TYPE_CHECKING:
    from collections.abc import Iterator

_TEXTS: Final = re.compile(
    r"Out of Memory Error|Out of memory: malloc|failed to map segment from shared object|can't start new thread"
    r"|Cannot allocate memory|std::bad_alloc"
)
"""What DuckDB, Arrow, the loader of libraries and Python say."""


def raise_if_out_of_memory(error: BaseException) -> None:
    """Raise OutOfMemory where `error`, or one that led to it, reports too little memory."""
    source: BaseException | None = error
    while source is not None and not _is_out_of_memory(source):
        source = source.__cause__ or source.__context__
    if source is not None:
        reason = (str(source).splitlines() or [""])[0][:200] or type(source).__name__
        raise OutOfMemory(
            f"there is too little memory ({reason}): what is published is intact; allow this process more, or run it "
            "when the machine is less busy"
        ) from error


def _is_out_of_memory(error: BaseException) -> bool:
    is_plain = isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM
    return is_plain or (isinstance(error, Exception) and _TEXTS.search(str(error)) is not None)


@contextlib.contextmanager
def memory_explained() -> Iterator[None]:
    """Raise OutOfMemory in place of any error in the block that reports too little memory."""
    try:
        yield
    except EnsImagesError:
        raise
    except Exception as error:
        raise_if_out_of_memory(error)
        raise
