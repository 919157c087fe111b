"""Command and Commands: click's, with --config, --verbose and examples in the help.

    @command("status", examples=("ens-images status --max-age 26h",))
    @data_option
    def status_command(data: Path) -> None: …

A command takes --config if at least one of its options has a key in the
settings file. click suggests the nearest name for a misspelled one.
"""

from __future__ import annotations

import functools
import platform
import sys
from typing import TYPE_CHECKING, Any

import click

from pipeline import log
from pipeline.cli.options import VARIABLE_PREFIX, Option, settings_key
from pipeline.cli.settings_source import config_option
from pipeline.paths import is_utf8
from pipeline.storage.file_lock import use_lock_folder

if TYPE_CHECKING:
    from collections.abc import Sequence


class Command(click.Command):
    """A command with --verbose, examples, and --config where the settings file has a key for it."""

    def __init__(self, *arguments: Any, examples: Sequence[str] = (), **attributes: Any) -> None:
        """`examples` are command lines; the help ends with them."""
        super().__init__(*arguments, **attributes)
        self.examples = examples
        if any(settings_key(parameter) for parameter in self.params):
            self.params.append(config_option())
        self.params.append(
            Option(
                ["--verbose", "-v"],
                envvar=f"{VARIABLE_PREFIX}VERBOSE",
                show_envvar=True,
                count=True,
                help="Log each call; -vv: retries and timings too.",
            )
        )

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse the command line, which is text: no table of the lake and no file holds anything else."""
        for word in args:
            if not is_utf8(word) and not extra.get("resilient_parsing"):
                raise click.UsageError(f"{word!a} is not UTF-8")
        return super().make_context(info_name, args, parent, **extra)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  (click's own signature)
        """Write the examples."""
        with formatter.section("Examples"):
            for example in self.examples:
                formatter.write(f"  {example}\n")

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and log to stderr as --verbose asks."""
        verbosity = ctx.params.pop("verbose", 0)
        ctx.meta["verbosity"] = verbosity
        ctx.meta["lock_dir"] = ctx.params.pop("lock_dir", None)
        use_lock_folder(ctx.meta["lock_dir"])
        with log.shown(verbosity, sys.stderr):
            return super().invoke(ctx)


command = functools.partial(click.command, cls=Command)


class Commands(click.Group):
    """The commands, in the order in which a new user needs them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's own signature)
        """Return the names in the order in which the commands were added."""
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the options before the command; an option of a command is pointed to its place behind it."""
        words = list(args)  # click consumes `args`
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            name = error.option_name
            owners = [owner for owner, command in self.commands.items() if name in _spellings(command, ctx)]
            if not owners:
                raise
            owner = next((word for word in words if word in owners), owners[0])
            message = f"{name!r} is an option of a command, and goes behind it: ens-images {owner} {name}"
            raise click.UsageError(message, ctx) from error


def _spellings(command: click.Command, ctx: click.Context) -> list[str]:
    return [name for parameter in command.get_params(ctx) for name in (*parameter.opts, *parameter.secondary_opts)]


def print_versions(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:  # noqa: FBT001  (click calls it)
    """Print the versions of this program, Python and the dependencies, and exit: a bug report starts with them."""
    if wanted and not ctx.resilient_parsing:
        from pipeline.requirements import installed

        versions = installed()
        ours, python = versions.pop("ens-images"), versions.pop("Python")
        click.echo(f"ens-images {ours}\nPython {python}, {platform.platform(terse=True)}")
        click.echo(", ".join(f"{name} {version}" for name, version in versions.items()))
        ctx.exit()
