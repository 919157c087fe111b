"""The thresholds with which a view may begin: read from its file, and set otherwise for a connection.

with settings as (select 180 as older_than_days, …)     in the file: what holds
from stale_images(older_than_days := 90)                 for one question
connect(thresholds={"stale_images": {"older_than_days": 365}}), or [thresholds.stale_images] in ens-images.toml:
                                                         for the view itself, and as the macro's default
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


Thresholds: TypeAlias = Mapping[str, Mapping[str, int | str]]
_SETTINGS: Final = re.compile(r"^with settings as \(\n    select\n(.*?)^\)", re.MULTILINE | re.DOTALL)
_SETTING: Final = re.compile(r"^( +)(.+) as (\w+)(,?)( +-- )(.*)$", re.MULTILINE)
_MOST: Final = 2**31 - 1


def settings_of(text: str) -> tuple[Setting, ...]:
    """Read the settings with which a view's file may begin: each a value, a name, and a comment."""
    found = _SETTINGS.search(text)
    return tuple(Setting(one[3], one[2], one[6]) for one in _SETTING.finditer(found[1])) if found else ()


def with_values(text: str, values: Mapping[str, str]) -> str:
    """The text of a view's file with other settings, by name, as SQL."""

    def line(found: re.Match[str]) -> str:
        indent, value, name, comma, dashes, doc = found.groups()
        return f"{indent}{values.get(name, value)} as {name}{comma}{dashes}{doc}"

    return _SETTINGS.sub(lambda found: _SETTING.sub(line, found[0]), text)


def with_parameters(text: str) -> str:
    """The text of a view's file as a macro's: each setting is what the caller says, and nothing is said of it."""
    return _SETTINGS.sub(lambda found: _SETTING.sub(r"\1\3 as \3\4", found[0]), text)


def with_thresholds(known: Mapping[str, Relation], said: Thresholds) -> dict[str, Relation]:
    """The views that `said` sets otherwise, as it wants them.

    Raises:
        BadSetting: there is no such view, no such threshold, or a value makes no sense.
    """
    having = {name: one for name, one in known.items() if one.settings}
    found = {}
    for view, values in said.items():
        place = f"thresholds.{view}"
        if view not in having:
            views = [name for name, one in having.items() if view in {setting.name for setting in one.settings}]
            if views:
                raise BadSetting(
                    f"{place}: of which view? {' or '.join(f'thresholds.{name}.{view}' for name in views)}"
                )
            raise BadSetting(f"{place} is no view with thresholds: {_suggest(view, having)}")
        if not isinstance(values, Mapping):
            raise BadSetting(f"{place} = {values!r}: a table headed [{place}] is expected")
        one = having[view]
        new = {setting.name: setting for setting in one.settings}
        for name, value in values.items():
            if name not in new:
                raise BadSetting(f"{place}.{name} is no threshold: {_suggest(name, new)}")
            new[name] = replace(new[name], default=_as_sql(new[name], f"{place}.{name}", value))
        query = with_values(one.query or "", {name: setting.default for name, setting in new.items()})
        found[view] = replace(one, query=query, settings=tuple(new.values()))
    return found


def _suggest(name: str, known: Iterable[str]) -> str:
    suggestion = nearest(name, known)
    return (f"did you mean {suggestion}? " if suggestion else "") + f"there are {', '.join(known)}"


def _as_sql(setting: Setting, place: str, value: Any) -> str:
    if setting.kind == "VARCHAR":
        return sql_literal(_regular_expression(place, value))
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MOST:
        raise BadSetting(f"{place} = {value!r}: a whole number is expected, 0 or more")
    return str(value)


def _regular_expression(place: str, value: Any) -> str:
    """Every text among the thresholds is one: DuckDB must be able to read it."""
    import duckdb

    if not isinstance(value, str):
        raise BadSetting(f"{place} = {value!r}: text in quotes is expected")
    try:
        with duckdb.connect() as con:
            con.execute("select regexp_matches('', $1)", [value]).fetchall()
    except duckdb.Error as error:
        why = str(error).splitlines()[0]
        raise BadSetting(f"{place} = {value!r} is no regular expression: {why}") from error
    return value
