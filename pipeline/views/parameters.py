"""Thresholds of views: defaults in the view's file, other values for a query or a connection.

with settings as (select 180 as older_than_days, …)      the default, in the view's file
from stale_images(older_than_days := 90)                  for one query, by the view's macro
connect(thresholds={"stale_images": {…}})                 for the view and its macro in a connection
[thresholds.stale_images] in ens-images.toml              for the command line
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from pipeline.errors import BadSetting
from pipeline.text import nearest, sql_literal
from pipeline.views.model import Setting

if TYPE_CHECKING:
    from pipeline.views.model import Relation


Thresholds: TypeAlias = Mapping[str, Mapping[str, bool | int | str]]
_SETTINGS: Final = re.compile(r"^with settings as \(\n    select\n(.*?)^\)", re.MULTILINE | re.DOTALL)
_SETTING: Final = re.compile(r"^( +)(.+) as (\w+)(,?)( +-- )(.*)$", re.MULTILINE)
_MOST: Final = 2**31 - 1


def settings_of(text: str) -> tuple[Setting, ...]:
    """The settings at the beginning of a view's file: value, name, comment."""
    found = _SETTINGS.search(text)
    return tuple(Setting(line[3], line[2], line[6]) for line in _SETTING.finditer(found[1])) if found else ()


def with_settings(text: str, values: Mapping[str, str]) -> str:
    """The text of a view's file with other settings, given by name as SQL."""

    def line(found: re.Match[str]) -> str:
        indent, value, name, comma, dashes, doc = found.groups()
        return f"{indent}{values.get(name, value)} as {name}{comma}{dashes}{doc}"

    return _SETTINGS.sub(lambda found: _SETTING.sub(line, found[0]), text)


def with_parameters(text: str) -> str:
    """The text of a view's file as the body of a macro: each setting is a parameter."""
    return _SETTINGS.sub(lambda found: _SETTING.sub(r"\1\3 as \3\4", found[0]), text)


def with_thresholds(known: Mapping[str, Relation], thresholds: Thresholds) -> dict[str, Relation]:
    """Change the thresholds of views.

    Returns: the changed views by name.

    Raises:
        BadSetting: there is no such view or threshold, or a value does not fit.
    """
    candidates = {name: relation for name, relation in known.items() if relation.settings}
    changed = {}
    for view, values in thresholds.items():
        place = f"thresholds.{view}"
        if view not in candidates:
            raise BadSetting(_unknown_view(view, candidates))
        if not isinstance(values, Mapping):
            raise BadSetting(f"{place} = {values!r}: a table headed [{place}] is expected")
        relation = candidates[view]
        settings = {setting.name: setting for setting in relation.settings}
        for name, value in values.items():
            if name not in settings:
                raise BadSetting(f"{place}.{name} is not a threshold: {_suggest(name, settings)}")
            settings[name] = replace(settings[name], default=_as_sql(settings[name], f"{place}.{name}", value))
        query = with_settings(relation.query or "", {name: setting.default for name, setting in settings.items()})
        changed[view] = replace(relation, query=query, settings=tuple(settings.values()))
    return changed


def _unknown_view(name: str, candidates: Mapping[str, Relation]) -> str:
    views = [view for view, relation in candidates.items() if name in {setting.name for setting in relation.settings}]
    if views:
        return f"thresholds.{name}: of which view? {' or '.join(f'thresholds.{view}.{name}' for view in views)}"
    return f"thresholds.{name} is not a view with thresholds: {_suggest(name, candidates)}"


def _suggest(name: str, known: Iterable[str]) -> str:
    suggestion = nearest(name, known)
    return (f"did you mean {suggestion}? " if suggestion else "") + f"there are {', '.join(known)}"


def _as_sql(setting: Setting, place: str, value: Any) -> str:
    if setting.kind == "VARCHAR":
        return sql_literal(_regular_expression(place, value))
    if setting.kind == "BOOLEAN":
        if not isinstance(value, bool):
            raise BadSetting(f"{place} = {value!r}: true or false is expected")
        return "true" if value else "false"
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MOST:
        raise BadSetting(f"{place} = {value!r}: a whole number is expected, 0 or more")
    return str(value)


def _regular_expression(place: str, value: Any) -> str:
    """Check a threshold that is text: each is a regular expression of DuckDB."""
    import duckdb

    if not isinstance(value, str):
        raise BadSetting(f"{place} = {value!r}: text in quotes is expected")
    try:
        with duckdb.connect() as con:
            con.execute("select regexp_matches('', $1)", [value]).fetchall()
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise BadSetting(f"{place} = {value!r} is not a regular expression: {reason}") from error
    return value
