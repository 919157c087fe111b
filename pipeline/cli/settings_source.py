"""Settings of a command: read ens-images.toml, and tell where each value comes from.

    flag, else environment variable, else ens-images.toml, else the default

click resolves a value in this order by itself: the file becomes click's
`default_map`. `origins` and `unknown_variables` are for `doctor`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline import settings
from pipeline.cli.options import VARIABLE_PREFIX, LocalPath, Option, settings_key
from pipeline.errors import BadSetting
from pipeline.redaction import redact_userinfo
from pipeline.reports.formats import check_export_formats
from pipeline.settings import Settings
from pipeline.storage.configuration import configure
from pipeline.text import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator


def config_option() -> click.Option:
    """Return the option --config: it is read before the others, because it sets their defaults."""
    return Option(
        ["--config"],
        envvar=f"{VARIABLE_PREFIX}CONFIG",
        show_envvar=True,
        type=LocalPath(dir_okay=False, path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=_read_settings,
        help=f"Settings file.  [default: {settings.FILE} in this folder, if it exists]",
    )


def _read_settings(ctx: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Check the settings file, and make its values the defaults of the options of this command."""
    ctx.meta["config"] = path
    if ctx.resilient_parsing:
        return
    loaded, file = settings.load(path)
    try:
        check_export_formats(loaded.after_run.export_formats)
        if loaded.thresholds:
            from pipeline.views.catalog import check_thresholds

            check_thresholds(loaded.thresholds)
    except BadSetting as error:
        raise BadSetting(f"{str(file)!r}: {error}") from error
    except RecursionError as error:
        raise BadSetting(f"{str(file)!r}: a table in [thresholds] is nested too deeply") from error
    configure(loaded.bucket.endpoint, loaded.bucket.region)
    values = loaded.options()
    for parameter in _parameters_of_all_commands(ctx):
        key = settings_key(parameter)
        if key in values:
            try:
                parameter.type_cast_value(ctx, values[key])
            except click.BadParameter as error:
                raise BadSetting(f"{str(file)!r}: {key}: {error.message}") from error
    ctx.default_map = {
        str(parameter.name): values[key]
        for parameter in ctx.command.params
        if (key := settings_key(parameter)) and key in values
    }
    ctx.obj = loaded
    ctx.meta["settings_file"] = file


def _parameters_of_all_commands(ctx: click.Context) -> Iterator[click.Parameter]:
    root = ctx.find_root().command
    for command in root.commands.values() if isinstance(root, click.Group) else ():
        yield from command.params


def current_settings() -> Settings:
    """Return the settings of the running command; empty where it has no settings file."""
    return click.get_current_context().obj or Settings()


def settings_path() -> Path | None:
    """Return the path of the settings file of the running command, or None."""
    path: Path | None = click.get_current_context().meta.get("settings_file")
    return path


def default_options(command: click.Command, *names: str) -> dict[str, Any]:
    """Return the values that `command` would use without a flag: from variables, the settings file, defaults."""
    file = settings_path()
    with command.make_context(str(command.name), [] if file is None else ["--config", str(file)]) as ctx:
        return {name: ctx.params[name] for name in names}


def origins() -> list[tuple[str, Any, str]]:
    """Return key, value and origin of each setting of the running command."""
    ctx = click.get_current_context()
    loaded, path = current_settings(), settings_path()
    values, file = loaded.options(), "" if path is None else str(path)
    by_key = {key: parameter for parameter in _parameters_of_all_commands(ctx) if (key := settings_key(parameter))}
    by_key |= {key: parameter for parameter in ctx.command.params if (key := settings_key(parameter))}
    by_key |= {"profile": next(parameter for parameter in ctx.command.params if parameter.name == "profiles")}
    rows = [_option_origin(ctx, key, parameter, values, file) for key, parameter in by_key.items()]
    rows = [(key, _without_password(key, value), origin) for key, value, origin in rows]
    return rows + _table_origins(loaded, file)


def _option_origin(
    ctx: click.Context, key: str, parameter: click.Parameter, values: dict[str, Any], file: str
) -> tuple[str, Any, str]:
    """Return key, value and origin of a setting that is an option."""
    variable, name = str(parameter.envvar), str(parameter.name)
    if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
        return key, _joined(ctx.params.get(name, ctx.meta.get(name))), f"flag {parameter.opts[0]}"
    if os.environ.get(variable):
        return key, os.environ[variable], f"environment {variable}"
    if key in values:
        return key, values[key], file
    return key, parameter.to_info_dict()["default"], "default"


def _table_origins(loaded: Settings, file: str) -> list[tuple[str, Any, str]]:
    """Return key, value and origin of the settings that only the file can set: its tables."""
    rows = [("accounts", ", ".join(f"{x} {y}" for x, y in _set_fields(entry)), file) for entry in loaded.accounts]
    after = dict(_set_fields(loaded.after_run)) if file else {}
    if not loaded.after_run.export:
        after.pop("export_formats", None)  # formats of no export
    rows += [(f"after_run.{key}", _joined(value), file) for key, value in after.items() if value]
    for view, thresholds in loaded.thresholds.items():
        rows += [(f"thresholds.{view}.{key}", value, file) for key, value in thresholds.items()]
    return rows + [(f"bucket.{key}", value, file) for key, value in _set_fields(loaded.bucket)]


def _set_fields(struct: Any) -> list[tuple[str, Any]]:
    fields = ((key, getattr(struct, key)) for key in struct.__struct_fields__)
    return [(key, _without_password(key, value)) for key, value in fields if value is not None]


def _joined(value: Any) -> Any:
    return ", ".join(value) if isinstance(value, tuple) else value


def _without_password(key: str, value: Any) -> Any:
    """Return the value; an endpoint loses the user and password that somebody may have put into it."""
    return redact_userinfo(value) if key == "endpoint" and isinstance(value, str) else value


def unknown_variables() -> list[str]:
    """Return a message for each ENS_IMAGES_ variable that is empty, or that no option reads, with the nearest name."""
    ctx = click.get_current_context()
    known = {str(parameter.envvar) for parameter in _parameters_of_all_commands(ctx) if parameter.envvar}
    messages = []
    for name in sorted(os.environ):
        if name.startswith(VARIABLE_PREFIX) and name not in known:
            suggestion = nearest(name, sorted(known))
            messages.append(f"{name} is not a setting" + (f": did you mean {suggestion}?" if suggestion else ""))
        elif name in known and not os.environ[name]:  # of another command, or under a flag
            messages.append(f"{name} is empty: give it a value, or unset it")
    return messages
