"""Exit codes: how a command ends, and the message on stderr.

EnsImagesError → its exit_code      wrong usage, OSError → 2      signal → 128 + number
any other exception → traceback and exit code 1: a bug
"""

from __future__ import annotations

import io
import signal
from typing import TYPE_CHECKING, Final

import click

from pipeline.cli.completion import answer_shell
from pipeline.cli.streams import OutputFailed, discard_output, flush_output, prepare_streams
from pipeline.errors import EnsImagesError, FixTheInput
from pipeline.memory import memory_explained
from pipeline.redaction import redact
from pipeline.runtime import interruptible, raise_on_interrupt

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_CODES: Final = {
    0: "done",
    1: "a bug in ens-images",
    2: "wrong usage, bad SQL, unknown view",
    3: "not certified, or the volume dropped: nothing published for that account",
    4: "refused by the service",
    5: "not reachable, throttled, or the lake is locked",
    6: "the lake is missing or damaged",
    7: "diff --exit-code: they differ",
    8: "not as fresh as required",
}
"""The meaning of each exit code; of several, a command ends with the largest."""


class _Ending:
    """The signal that a KeyboardInterrupt stands for."""

    signal = signal.SIGINT


def ending_signal() -> signal.Signals:
    """Return the signal that a KeyboardInterrupt stands for: SIGINT or SIGTERM."""
    return _Ending.signal


def run_command(group: click.Group, arguments: Sequence[str]) -> int:
    """Run the command that `arguments` ask for, and print its error, if any.

    Returns: the exit code.
    """
    code = 0
    try:
        _interrupt_on_term()
        prepare_streams()
        code = _run_command(group, arguments)
        flush_output()
    except KeyboardInterrupt:  # once more: while the message of the first was written, or after the command
        return 128 + ending_signal()
    except BrokenPipeError:  # `| head` closed the pipe
        return code
    except OSError as error:
        if code == 0:
            _print_error(f"error: standard output cannot be written: {error.strerror}")
        return max(code, FixTheInput.exit_code)
    return code


def _run_command(group: click.Group, arguments: Sequence[str]) -> int:
    try:
        if (answered := answer_shell(group)) is not None:
            return answered
        with interruptible(), memory_explained(), group.make_context("ens-images", list(arguments)) as context:
            raise_on_interrupt()
            group.invoke(context)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        click.echo(redact(shown.getvalue()), nl=False, err=True)
        return FixTheInput.exit_code
    except EnsImagesError as error:
        _print_error(str(error.run) if error.run else f"error: {type(error).__name__}: {error}")
        return error.exit_code if error.run is None else int(error.run.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("stopped: no partial result was published", err=True)
        return 128 + ending_signal()
    except BrokenPipeError:  # `| head` closed the pipe
        discard_output()
    except OutputFailed as error:
        discard_output()
        _print_error(f"error: standard output cannot be written: {error.strerror}")
        return FixTheInput.exit_code
    except OSError as error:
        from pipeline.text import os_reason

        _print_error(f"error: {os_reason(error)}: choose a path that this user can write to, with free space")
        return FixTheInput.exit_code
    return 0


def _interrupt_on_term() -> None:
    """Make SIGTERM raise KeyboardInterrupt."""
    _Ending.signal = signal.SIGINT

    def on_term(*_: object) -> None:
        _Ending.signal = signal.SIGTERM
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a background job of a shell script
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)  # asyncio shuts down cleanly on SIGINT only

    signal.signal(signal.SIGTERM, on_term)


def _print_error(message: str) -> None:
    """Print to stderr; control characters are escaped, because a message may repeat the service or a file."""
    from pipeline.text import escape_control

    for line in message.split("\n"):
        indent = len(line) - len(line.lstrip("\t"))  # DuckDB indents its candidates
        click.echo("    " * indent + escape_control(redact(line[indent:])), err=True)
