"""Options: parameter types, and the options that several commands share.

    --data  ←  flag, else variable ENS_IMAGES_DATA, else `data` in ens-images.toml, else the default

`option` gives every option its variable. `settings_key` tells which key of the
settings file sets it. An option with a `scope` belongs to one command: its
variable carries the command's name, and no key sets it.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pipeline.cli.streams import prepare_data
from pipeline.errors import BadSetting
from pipeline.paths import user_path
from pipeline.reports.formats import is_binary, stream_formats
from pipeline.settings import Settings, memory_size, span
from pipeline.storage.store import open_location

if TYPE_CHECKING:
    from collections.abc import Callable

VARIABLE_PREFIX: Final = "ENS_IMAGES_"
LEVELS: Final = ("unproven", "counted", "verified")
"""The same as completeness.LEVELS, which is slow to import; a test compares them."""
_SETTINGS_KEYS: Final = frozenset(Settings.__struct_fields__)


class Option(click.Option):
    """An option whose variable has a value, where it is set: click takes an empty one for unset."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """Return the value of the variable. It is read where there is no flag.

        Raises:
            BadSetting: it is empty.
        """
        variable = str(self.envvar)
        if os.environ.get(variable) == "" and not ctx.resilient_parsing:
            raise BadSetting(f"the variable {variable} is empty: give it a value, or unset it")
        return super().resolve_envvar_value(ctx)


def option(*names: str, scope: str = "", **attributes: Any) -> Callable[[Any], Any]:
    """Declare an option that an environment variable can set too: `--data` is ENS_IMAGES_DATA.

    `scope` names the only command that the variable is for: ENS_IMAGES_DEMO_DATA, because the demo empties its folder.
    """
    words = (*filter(None, (scope,)), names[0].removeprefix("--"))
    variable = VARIABLE_PREFIX + "_".join(words).replace("-", "_").upper()
    return click.option(*names, cls=Option, envvar=variable, show_envvar=True, **attributes)


def settings_key(parameter: click.Parameter) -> str | None:
    """Return the key of the settings file that sets `parameter`, or None where there is no such key."""
    variable = parameter.envvar if isinstance(parameter.envvar, str) else ""
    key = variable.removeprefix(VARIABLE_PREFIX).lower()
    return key if key in _SETTINGS_KEYS else None


# ── parameter types ──────────────────────────────────────────────────────────


class FiniteNumber(click.FloatRange):
    """A number in a range; neither `nan` nor `inf`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number as a float."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


class LakeLocation(click.Path):
    """A local folder or a bucket: `s3://bucket/prefix`, `oss://bucket/prefix`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a Path or a BucketPath."""
        if "://" in str(value):
            return open_location(value)
        return super().convert(open_location(_user_path(self, value, param, ctx)), param, ctx)


class LocalPath(click.Path):
    """A path on this machine; a URL is refused, or it would become a folder named `s3:`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a Path."""
        if "://" in str(value):
            self.fail(f"{str(value)!r} is not a path on this machine: only --data can be a bucket", param, ctx)
        return super().convert(str(_user_path(self, value, param, ctx)), param, ctx)


def _user_path(kind: click.Path, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
    """Return the path that a value means; the error of one that means none names its option."""
    try:
        return user_path(value)
    except BadSetting as error:
        kind.fail(str(error), param, ctx)


class Span(click.types.StringParamType):
    """A time span, such as `90d` or `26h`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the text unchanged, once it is known to be a time span."""
        try:
            span(value)
        except BadSetting as error:
            self.fail(str(error), param, ctx)
        return value


class MemorySize(click.types.StringParamType):
    """A share of the machine's memory, or a size."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return it as DuckDB takes it."""
        try:
            return memory_size(value)
        except BadSetting as error:
            self.fail(str(error), param, ctx)


# ── shared options ───────────────────────────────────────────────────────────

data_option = option(
    "--data",
    type=LakeLocation(file_okay=False, path_type=Path),
    default=Path("data"),
    show_default=True,
    help="Folder of the lake, or s3://BUCKET/PREFIX.",
)


def _prepare_output(ctx: click.Context, _: click.Parameter, value: str) -> str:
    """Prepare standard output for the format, before anything is read or listed."""
    if not ctx.resilient_parsing:
        prepare_data(value, is_binary=is_binary(value))
    return value


format_option = option(
    "--format",
    "output_format",
    type=click.Choice(stream_formats()),
    callback=_prepare_output,
    default="table",
    show_default=True,
    help="Output format of the rows.",
)
as_of_option = option(
    "--as-of",
    metavar="WHEN",
    help="Read the lake as it was: a UTC day (its end), an instant, a run_id; or `latest`.",
)
grace_option = option(
    "--grace",
    type=Span(),
    default="7d",
    show_default=True,
    metavar="SPAN",
    help="Grace period: how long withdrawn or replaced files stay on disk.",
)

delta_option = option("--delta", is_flag=True, help="Keep a Delta log beside each table, for other engines.")
lock_option = option(
    "--lock-dir",
    type=LocalPath(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Keep the lock of the lake in DIR, on a local disk, where --data has no locks.",
)

dry_run_option = option("--dry-run", is_flag=True, help="Change nothing; print what would change.")
timeout_option = option(
    "--timeout",
    "timeout_seconds",
    type=FiniteNumber(min=0, min_open=True),
    metavar="SECONDS",
    help="Time limit of all listings.  [default: 4 x (announced pages / rate) + 10 minutes, at most a day]",
)


def profile_options(command: Any) -> Any:
    """Add the options that select accounts."""
    for add in (
        option(
            "--profiles-from",
            type=LocalPath(exists=True, dir_okay=False, path_type=Path),
            metavar="FILE",
            help="Read more profiles from FILE, one name per line; # starts a comment.",
        ),
        option(
            "--profile",
            "profiles",
            multiple=True,
            metavar="NAME",
            help="A profile of the vendor's file, or an account of the settings file; repeatable.",
        ),
    ):
        command = add(command)
    return command


def service_options(command: Any) -> Any:
    """Add the options of a command that calls the service: accounts, endpoint, rate, size of an answer."""
    for add in (
        option(
            "--max-answer",
            "max_answer_mib",
            type=FiniteNumber(min=0, min_open=True),
            default=12,
            show_default=True,
            metavar="MIB",
            help="Largest body of one answer, as received and unpacked.",
        ),
        option(
            "--rate", type=FiniteNumber(min=0), default=20, show_default=True, help="Calls per second; 0: no limit."
        ),
        option("--workers", type=click.IntRange(min=1), default=8, show_default=True, help="Concurrent calls."),
        profile_options,
        option("--allow-plain-http", is_flag=True, help="Allow an http:// endpoint on another machine."),
        option(
            "--endpoint", default="ens.aliyuncs.com", show_default=True, metavar="HOST|URL", help="Endpoint of ENS."
        ),
    ):
        command = add(command)
    return command
