"""The command line: each command parses its options and calls one job; it holds no logic of its own.

    collect.py            run, list, status, doctor: what reads the accounts
    ask.py                sql, questions, report, diff, export, describe, views: what reads the lake
    maintain.py           rebuild, check, compact, prune, withdraw, restore: what changes or verifies the lake
    trial.py              emulate, demo: without an account
    exit_codes.py         how a command ends, and the message on stderr
    streams.py            standard streams that are closed, full, or not UTF-8
    framework.py          Command and Commands: --config, --verbose, examples
    completion.py         shell completion
    settings_source.py    ens-images.toml as defaults; the origin of each value
    options.py            parameter types, shared options

A module imports only from the lines below it. Data goes to stdout, everything
else to stderr.
"""

from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING

import click

from pipeline import runtime
from pipeline.cli import ask, collect, maintain, trial
from pipeline.cli.exit_codes import EXIT_CODES, run_command
from pipeline.cli.framework import Commands, print_versions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

__all__ = ["commands", "main"]

_HELP = """Every image of every Alibaba Cloud ENS account, every day, in SQL.

\b
  ens-images demo                                 try it: no credentials, no network
  ens-images run                                  list your account, keep the day
  ens-images report                               the standing reports
  ens-images sql "from capacity_by_region"        ask anything

\b
"""
_CODES = "Exit codes: " + " · ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items() if code != 1)


@click.group(
    cls=Commands,
    help=_HELP + textwrap.fill(f"{_CODES}. Of several, the largest.", 98),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=print_versions,
    help="Print versions and exit.",
)
def commands() -> None:
    """Hold every command."""


for _command in (
    collect.run,
    maintain.rebuild,
    maintain.check_command,
    maintain.compact_command,
    maintain.prune_command,
    maintain.withdraw_command,
    maintain.restore_command,
    ask.sql,
    ask.questions,
    ask.report_command,
    ask.diff_command,
    ask.export,
    collect.list_command,
    ask.describe,
    ask.views_command,
    collect.status_command,
    collect.doctor_command,
    trial.emulate,
    trial.demo,
):
    commands.add_command(_command)


def _print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the traceback of a bug, without the secrets that a library's message may quote."""
    import traceback

    from pipeline.redaction import redact

    sys.stderr.write(redact("".join(traceback.format_exception(kind, error, trace))))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and end the process with its exit code; only a bug of ours ends with a traceback."""
    sys.excepthook = _print_traceback
    runtime.choose_allocator()
    with runtime.without_pandas():
        code = run_command(commands, sys.argv[1:] if arguments is None else arguments)
    sys.exit(code)
