"""Logging: standard `logging`, with run, account, page and call before each message.

    log = logger(__name__)
    with about(run=run_id):
        with about(account="prod", page=2):
            log.info("answered %d", 200)        run='2026…Z' account='prod' page=2: answered 200

Warnings by default. `shown(1, …)` logs calls (INFO), `shown(2, …)` retries, waits
and timings too (DEBUG); another program listens at `logging.getLogger("pipeline")`.
Text of the service and labels are quoted, so that they cannot control a
terminal. Each message, its values and a traceback pass the redaction. `redact_other_loggers` does the same to what
the libraries log, which Python prints where no handler is set up.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
import traceback
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from pipeline.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping
    from typing import TextIO

_ROOT: Final = "pipeline"
_OTHER_LOGGERS: Final = (
    "asyncio",
    "aiohttp.client",
    "aiohttp.internal",
    "urllib3.connectionpool",
    "urllib3.util.retry",
)
_CONTEXT: ContextVar[dict[str, object] | None] = ContextVar("about", default=None)

logging.getLogger(_ROOT).addHandler(logging.NullHandler())


class _Logger(logging.LoggerAdapter[logging.Logger]):
    """Prefixes each message with its context, for any handler."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        context = _CONTEXT.get() or {}
        prefix = " ".join(f"{name}={value!r}" for name, value in context.items()).replace("%", "%%")
        return f"{prefix}: {msg}" if prefix else msg, {**kwargs, "extra": {"about": dict(context)}}

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log a message, finished and redacted here: a handler of another program gets no value to format."""
        if not self.isEnabledFor(level):
            return
        text, more = self.process(msg, kwargs)
        error = more.pop("exc_info", None)
        error = sys.exception() if error is True else error
        trace = "\n" + "".join(traceback.format_exception(error)) if isinstance(error, BaseException) else ""
        self.logger.log(level, redact(f"{text % args if args else text}{trace}".rstrip("\n")), **more)


def logger(name: str) -> _Logger:
    """Return the logger of a module."""
    return _Logger(logging.getLogger(name), {})


class _Redaction(logging.Filter):
    """Rewrites the messages of a library."""

    def filter(self, record: logging.LogRecord) -> bool:
        trace = "\n" + "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else ""
        record.msg, record.args = redact(f"{record.getMessage()}{trace}".rstrip("\n")), ()
        record.exc_info = record.exc_text = None
        return True


_REDACTION: Final = _Redaction()


def redact_other_loggers() -> None:
    """Redact what the libraries of the transport log: they quote a connection with its proxy, and that its password."""
    for name in _OTHER_LOGGERS:
        logging.getLogger(name).addFilter(_REDACTION)  # once, however often


@contextlib.contextmanager
def about(**context: object) -> Iterator[None]:
    """Add `context` to every message of the block, and of the tasks that are started in it."""
    token = _CONTEXT.set({**(_CONTEXT.get() or {}), **context})
    try:
        yield
    finally:
        _CONTEXT.reset(token)


@contextlib.contextmanager
def timed(log: _Logger, step: str) -> Iterator[None]:
    """Log how long the block took."""
    began = time.monotonic()
    yield
    log.debug("%s took %.3f s", step, time.monotonic() - began)


@contextlib.contextmanager
def shown(verbosity: int, err: TextIO) -> Iterator[None]:
    """Log to `err` inside the block: warnings alone (0), calls (1), also retries, waits and timings (2)."""
    root = logging.getLogger(_ROOT)
    handler = logging.StreamHandler(err)
    layout = (
        logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S")
        if verbosity
        else logging.Formatter("%(message)s")
    )
    layout.converter = time.gmtime
    handler.setFormatter(layout)
    before = root.level, root.propagate
    root.addHandler(handler)
    root.setLevel({0: logging.WARNING, 1: logging.INFO}.get(verbosity, logging.DEBUG))
    root.propagate = False
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before[0])
        root.propagate = before[1]
