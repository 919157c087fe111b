"""What happens, while it happens: `logging`, with the run, the account, the page and the call before every message.

    log = logger(__name__)
    with about(run=run_id):
        with about(account="prod", page=2):
            log.info("answered %d", 200)        run='2026…Z' account='prod' page=2: answered 200

Quiet unless somebody asks: `show(1)` for calls (INFO), `show(2)` for retries, waits and timings too (DEBUG); a
program of yours asks through `logging.getLogger("pipeline")`. What the service or a label says is quoted, so that
it gives no orders to a terminal. A key, a secret or a token never comes here: nothing is logged that holds one.
"""

from __future__ import annotations

import contextlib
import logging
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping
    from typing import TextIO

_ROOT: Final = "pipeline"
_ABOUT: ContextVar[dict[str, object] | None] = ContextVar("about", default=None)

logging.getLogger(_ROOT).addHandler(logging.NullHandler())


class _Logger(logging.LoggerAdapter[logging.Logger]):
    """Says before each message what it is about, to whatever handler listens."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        said = _ABOUT.get() or {}
        start = " ".join(f"{name}={value!r}" for name, value in said.items()).replace("%", "%%")
        return f"{start}: {msg}" if start else msg, {**kwargs, "extra": {"about": dict(said)}}


def logger(name: str) -> _Logger:
    """The logger of a module."""
    return _Logger(logging.getLogger(name), {})


@contextlib.contextmanager
def about(**what: object) -> Iterator[None]:
    """Say this before every message of the block, and of the tasks begun in it."""
    before = _ABOUT.set({**(_ABOUT.get() or {}), **what})
    try:
        yield
    finally:
        _ABOUT.reset(before)


@contextlib.contextmanager
def timed(log: _Logger, what: str) -> Iterator[None]:
    """Tell how long a step took, once it is done."""
    began = time.monotonic()
    yield
    log.debug("%s took %.3f s", what, time.monotonic() - began)


@contextlib.contextmanager
def shown(verbosity: int, err: TextIO) -> Iterator[None]:
    """Write to `err`, for the length of the block: nothing (0), calls (1), retries, waits and timings too (2)."""
    root = logging.getLogger(_ROOT)
    if not verbosity:
        yield
        return
    handler = logging.StreamHandler(err)
    layout = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    layout.converter = time.gmtime
    handler.setFormatter(layout)
    before = root.level, root.propagate
    root.addHandler(handler)
    root.setLevel(logging.INFO if verbosity == 1 else logging.DEBUG)
    root.propagate = False
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before[0])
        root.propagate = before[1]
