"""Standard streams: always open, and stderr never fails.

>&-  <&-  2>&-      /dev/null in their place
2>/dev/full         the lines are dropped: a log that cannot be written costs no day
>/dev/full          OutputFailed, so that it is not taken for a file of the lake
> file, | program   data is UTF-8 in every locale
"""

from __future__ import annotations

import contextlib
import io
import os
import sys

from pipeline.errors import BadSetting


class OutputFailed(OSError):
    """Standard output cannot be written."""


class _OutputFile(io.FileIO):
    """A file whose errors are its own: of an OSError nobody could tell which file it is about."""

    def write(self, data: object) -> int:
        """Write `data`. Returns: how many bytes were written.

        Raises:
            OutputFailed: that failed.
        """
        try:
            return super().write(data)  # type: ignore[arg-type]
        except BrokenPipeError:  # `| head` closed the pipe
            raise
        except OSError as error:
            raise OutputFailed(error.errno, error.strerror) from error


class _LossyFile(io.FileIO):
    """A file that drops what cannot be written to it."""

    def write(self, data: object) -> int:
        """Write `data`. Returns: its length, also where that failed."""
        with contextlib.suppress(OSError):
            return super().write(data) or 0  # type: ignore[arg-type]
        return len(memoryview(data))  # type: ignore[arg-type]


def prepare_streams() -> None:
    """Open the streams that the caller closed; make stderr drop what it cannot write, and stdout raise OutputFailed."""
    _open_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a character shows its code
    if sys.stdout is sys.__stdout__ and isinstance(sys.stdout, io.TextIOWrapper):
        old = sys.stdout
        strict = io.BufferedWriter(_OutputFile(old.fileno(), "w", closefd=False))
        sys.stdout = io.TextIOWrapper(
            strict, old.encoding, old.errors, line_buffering=old.line_buffering, write_through=old.write_through
        )
    if sys.stderr is sys.__stderr__ and isinstance(sys.stderr, io.TextIOWrapper):
        before = sys.stderr
        lossy = io.BufferedWriter(_LossyFile(before.fileno(), "w", closefd=False))
        sys.stderr = io.TextIOWrapper(lossy, before.encoding, before.errors, line_buffering=True)


def _open_closed() -> None:
    """Open /dev/null as each of 0, 1 and 2 that is closed: the next file to be opened would get that number."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)  # noqa: FBT003  (as the streams of every process are)
    os.close(number)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # Python found it closed
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115  (open until the end)


def prepare_data(output_format: str, *, is_binary: bool) -> None:
    """Make standard output ready for data: the same bytes in every locale.

    Raises:
        BadSetting: the format is not text, and standard output is a terminal.
    """
    if sys.stdout.isatty():
        if is_binary:
            raise BadSetting(
                f"{output_format} is no text, and standard output is a terminal: add `> FILE.{output_format}`, "
                "or pipe it into a program"
            )
    elif output_format != "table" and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")


def flush_output() -> None:
    """Write what stdout still holds.

    Raises:
        OSError: that failed; stdout holds nothing any more, so that Python does not fail at its end.
    """
    try:
        sys.stdout.flush()
    except OSError:
        discard_output()
        raise


def discard_output() -> None:
    """Send what stdout holds, and all that follows, to /dev/null."""
    with contextlib.suppress(OSError, ValueError):  # no real file
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
