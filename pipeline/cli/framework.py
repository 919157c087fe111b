"""What every command has in common: variables, the settings file, --verbose, versions, completion, the nearest name.

    a flag, else a variable (--data: ENS_IMAGES_DATA), else ens-images.toml (data = …), else the default

click looks for a value in that order by itself, and remembers where it found one.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pipeline import log as logs
from pipeline import requirements as versions
from pipeline import settings
from pipeline.errors import BadSetting, EnsImagesError
from pipeline.storage.configuration import configure
from pipeline.text import redact_userinfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

_VARIABLE: Final = "ENS_IMAGES_"
_COMPLETE: Final = "_ENS_IMAGES_COMPLETE"
_KEYS: Final = frozenset(settings.Settings.__struct_fields__)


def option(*names: str, of: str = "", **options: Any) -> Callable[[Any], Any]:
    """An option that can be set by a variable of the environment too: `--data` by ENS_IMAGES_DATA.

    `of` names the command of an option that must not share the variable of its namesakes: the demo clears its folder.
    """
    variable = "_".join((*filter(None, (of,)), names[0].removeprefix("--"))).replace("-", "_").upper()
    return click.option(*names, envvar=f"{_VARIABLE}{variable}", show_envvar=True, **options)


def key_of(parameter: click.Parameter) -> str | None:
    """The key by which the settings file knows an option; None where it does not."""
    variable = parameter.envvar if isinstance(parameter.envvar, str) else ""
    key = variable.removeprefix(_VARIABLE).lower()
    return key if key in _KEYS else None


class Command(click.Command):
    """A command; with --verbose, and with --config where a settings file can say something to it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if any(key_of(parameter) for parameter in self.params):
            self.params.append(
                click.Option(
                    ["--config"],
                    envvar=f"{_VARIABLE}CONFIG",
                    show_envvar=True,
                    type=click.Path(dir_okay=False, path_type=Path),
                    is_eager=True,  # what it says is a default of the others
                    expose_value=False,
                    callback=_read_settings,
                    help=f"Settings.  [default: {settings.FILE} here, if there is one]",
                )
            )
        self.params.append(
            click.Option(
                ["--verbose", "-v"],
                envvar=f"{_VARIABLE}VERBOSE",
                show_envvar=True,
                count=True,
                help="Tell each call; -vv: retries and timings too.",
            )
        )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the line; an option that is not there is named with the nearest."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise _no_such("option", error.option_name, _option_names(self, ctx), ctx) from error

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show how it is called."""
        group = ctx.parent.command if ctx.parent else None
        if isinstance(group, Commands):
            with formatter.section("Examples"):
                for example in group.examples.get(str(self.name), ()):
                    formatter.write(f"  {example}\n")

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and tell on stderr what happens as far as that was asked for."""
        verbosity = ctx.params.pop("verbose", 0)
        ctx.meta["verbosity"] = verbosity
        with logs.shown(verbosity, sys.stderr):
            return super().invoke(ctx)


class Summarised(Command):
    """A command with --summary: it is written where the command is asked for wrongly, too.

    Who reads it must not take yesterday's for today's.
    """

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> click.Context:
        """Read the line; where that fails, say so in the summary."""
        words = list(args)  # click takes from these
        try:
            return super().make_context(info_name, args, *rest, **extra)
        except (click.ClickException, EnsImagesError) as error:
            how: dict[str, Any] = {"resilient_parsing": True, "ignore_unknown_options": True, "allow_extra_args": True}
            with super().make_context(info_name, words, **how) as ctx:
                _summarise(ctx, error)
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; where it does not come so far, say so in the summary."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, EnsImagesError) as error:
            _summarise(ctx, error)
            raise


def _summarise(ctx: click.Context, error: Exception) -> None:
    """Write the summary of a wrong line, as far as it tells where to."""
    said = settings.options_of_a_wrong_file(ctx.meta.get("config"))
    summary = ctx.params.get("summary") or said.get("summary")
    if summary is None:
        return
    from pipeline.jobs.scheduled import write_not_started

    told = error.format_message() if isinstance(error, click.ClickException) else f"{type(error).__name__}: {error}"
    with contextlib.suppress(EnsImagesError, OSError):  # what is wrong is told anyway
        write_not_started(Path(summary), ctx.params.get("data") or said.get("data") or "data", told)


class Commands(click.Group):
    """The commands in the order in which one meets them."""

    command_class = Command

    def __init__(self, *arguments: Any, examples: Mapping[str, Sequence[str]], **options: Any) -> None:
        """`examples` are shown with the help of each command, by its name."""
        super().__init__(*arguments, **options)
        self.examples = examples

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's own signature)
        """In the order in which they were added."""
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the line as far as the command; an option of a command belongs behind it."""
        words = list(args)  # click takes from these
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            name = error.option_name
            having = [one for one, command in self.commands.items() if name in _option_names(command, ctx)]
            if not having:
                raise _no_such("option", name, _option_names(self, ctx), ctx) from error
            one = next((word for word in words if word in having), having[0])
            said = f"{name!r} is an option of a command, and goes behind it: ens-images {one} {name}"
            raise click.UsageError(said, ctx) from error

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; one that is not there is named with the nearest."""
        if args and args[0] not in self.commands and not ctx.resilient_parsing:
            raise _no_such("command", args[0], self.commands, ctx)
        return super().resolve_command(ctx, args)


def _no_such(kind: str, said: str, known: Iterable[str], ctx: click.Context) -> click.UsageError:
    bare = {one.lstrip("-"): one for one in known}  # what all begin with makes none of them the nearer
    nearest = difflib.get_close_matches(said.lstrip("-"), bare, n=1, cutoff=0.5)
    meant = f" Did you mean {bare[nearest[0]]!r}?" if nearest else ""
    return click.UsageError(f"No such {kind} {said!r}.{meant}", ctx)


def _option_names(command: click.Command, ctx: click.Context) -> list[str]:
    """Every way to spell an option of a command."""
    return [name for parameter in command.get_params(ctx) for name in (*parameter.opts, *parameter.secondary_opts)]


# ── the settings file ────────────────────────────────────────────────────────


def _read_settings(ctx: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Make what the file says the defaults of this command, as far as it has such options."""
    ctx.meta["config"] = path
    if ctx.resilient_parsing:
        return
    said, file = settings.load(path)
    if said.thresholds:
        from pipeline.views.catalog import check_thresholds

        try:
            check_thresholds(said.thresholds)
        except BadSetting as error:
            raise BadSetting(f"{str(file)!r}: {error}") from error
    configure(said.bucket.endpoint, said.bucket.region)
    values = said.options()
    for parameter in _options(ctx):
        key = key_of(parameter)
        if key in values:
            try:
                parameter.type.convert(values[key], parameter, ctx)
            except click.BadParameter as error:
                raise BadSetting(f"{str(file)!r}: {key}: {error.message}") from error
    ctx.default_map = {
        str(parameter.name): values[key]
        for parameter in ctx.command.params
        if (key := key_of(parameter)) and key in values
    }
    ctx.obj = said
    ctx.meta["settings_file"] = file


def _options(ctx: click.Context) -> Iterator[click.Parameter]:
    """The options of every command."""
    root = ctx.find_root().command
    for command in root.commands.values() if isinstance(root, click.Group) else ():
        yield from command.params


def found_settings() -> tuple[settings.Settings, Path | None]:
    """What the settings file of the running command says, and where it lies."""
    ctx = click.get_current_context()
    return ctx.obj or settings.Settings(), ctx.meta.get("settings_file")


def effective_options(command: click.Command, *names: str) -> dict[str, Any]:
    """What `command` would be asked for without a flag: by the variables, this settings file and its defaults."""
    _, file = found_settings()
    with command.make_context(str(command.name), [] if file is None else ["--config", str(file)]) as ctx:
        return {name: ctx.params[name] for name in names}


def origins() -> list[tuple[str, Any, str]]:
    """Each setting: its key, its value, and where that came from."""
    ctx = click.get_current_context()
    said, file = found_settings()
    values = said.options()
    name = "" if file is None else str(file)
    of_key = {key: parameter for parameter in _options(ctx) if (key := key_of(parameter))}
    of_key |= {key: parameter for parameter in ctx.command.params if (key := key_of(parameter))}
    of_key |= dict.fromkeys(["profile"], next(x for x in ctx.command.params if x.name == "profiles"))
    rows: list[tuple[str, Any, str]] = []
    for key, parameter in of_key.items():
        variable = str(parameter.envvar)
        if ctx.get_parameter_source(str(parameter.name)) is click.core.ParameterSource.COMMANDLINE:
            value = ctx.params[str(parameter.name)]
            rows.append((key, _listed(value), f"flag {parameter.opts[0]}"))
        elif os.environ.get(variable):
            rows.append((key, os.environ[variable], f"environment {variable}"))
        elif key in values:
            rows.append((key, values[key], name))
        else:
            rows.append((key, parameter.to_info_dict()["default"], "default"))
    rows = [(key, _shown(key, value), origin) for key, value, origin in rows]
    rows += [("accounts", ", ".join(f"{x} {y}" for x, y in _said(entry)), name) for entry in said.accounts]
    after = {} if file is None else dict(_said(said.after_run))
    if not said.after_run.export:
        after.pop("export_formats", None)  # of no export
    rows += [(f"after_run.{key}", _listed(value), name) for key, value in after.items() if value]
    for view, thresholds in said.thresholds.items():
        rows += [(f"thresholds.{view}.{key}", value, name) for key, value in thresholds.items()]
    rows += [(f"bucket.{key}", value, name) for key, value in _said(said.bucket)]
    return rows


def _said(struct: Any) -> list[tuple[str, Any]]:
    found = ((key, getattr(struct, key)) for key in struct.__struct_fields__)
    return [(key, _shown(key, value)) for key, value in found if value is not None]


def _listed(value: Any) -> Any:
    return ", ".join(value) if isinstance(value, tuple) else value


def _shown(key: str, value: Any) -> Any:
    """A value as it may be shown: an endpoint that somebody gave a password has none here."""
    return redact_userinfo(value) if key == "endpoint" and isinstance(value, str) else value


def unknown_variables() -> list[str]:
    """Variables that are named like settings and are none, each with the nearest that is."""
    ctx = click.get_current_context()
    known = {str(parameter.envvar) for parameter in _options(ctx) if parameter.envvar}
    found = []
    for name in sorted(os.environ):
        if name.startswith(_VARIABLE) and name not in known:
            nearest = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
            found.append(f"{name} is no setting" + (f": did you mean {nearest[0]}?" if nearest else ""))
    return found


# ── versions, completion ─────────────────────────────────────────────────────


def print_versions(ctx: click.Context, _: click.Parameter, asked: bool) -> None:  # noqa: FBT001  (click calls it)
    """Print the versions of what matters, and exit: what a report of a problem should begin with."""
    if asked and not ctx.resilient_parsing:
        found = versions.installed()
        ours, python = found.pop("ens-images"), found.pop("Python")
        click.echo(f"ens-images {ours}\nPython {python}, {platform.platform(terse=True)}")
        click.echo(", ".join(f"{name} {version}" for name, version in found.items()))
        ctx.exit()


def completes(commands: click.Group) -> int | None:
    """Answer a shell that asks how a line goes on, or for the script that makes it ask; None where none does."""
    asked = os.environ.get(_COMPLETE)
    if not asked:
        return None
    from click.shell_completion import shell_complete

    return shell_complete(commands, {}, "ens-images", _COMPLETE, asked)


def complete_view(_: click.Context, __: click.Parameter, begun: str) -> list[str]:
    """The tables and views whose names begin so."""
    from pipeline.views.catalog import relations

    return [name for name in relations() if name.startswith(begun)]
