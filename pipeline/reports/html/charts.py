"""The charts of the HTML page as Vega-Lite.

    Chart ──► vega_lite ──► the specification as plain JSON

A colour is the name of a CSS variable, so a chart fits the light page, the dark
page and paper. The parameter `hidden` lists the series that the legend hides.
No chart gets a generated name, so the same figures give the same text.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    import altair as alt

    from pipeline.reports.standing.model import Chart

_BAR: Final = 26
_LABEL: Final = 132
_TICKS: Final = 6


def vega_lite(chart: Chart) -> dict[str, Any]:
    """Draw a chart as Vega-Lite, as wide as its container."""
    draw = {"lines": _lines, "bars": _bars, "columns": _columns, "pyramid": _pyramid}[chart.kind]
    top = draw(chart).add_params(_hidden(chart)).properties(width="container", autosize=_FIT)
    spec: dict[str, Any] = top.configure(**_CONFIG).to_dict()
    del spec["$schema"]  # a URL, and the page has none
    return spec


_FIT: Final[dict[str, Any]] = {"type": "fit-x", "contains": "padding"}
_CONFIG: Final[dict[str, Any]] = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "padding": 2,
    "axis": {
        "labelColor": "var(--soft)",
        "titleColor": "var(--soft)",
        "gridColor": "var(--line)",
        "domainColor": "var(--edge)",
        "tickColor": "var(--edge)",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titlePadding": 8,
        "labelLimit": _LABEL,
    },
    "text": {"color": "var(--soft)", "fontSize": 12},
    "rule": {"color": "var(--edge)"},
}


def _hidden(chart: Chart) -> alt.Parameter:
    import altair as alt

    return alt.param(name="hidden", value=[series.name for series in chart.series if not series.is_shown])


def _colour(chart: Chart) -> alt.Color:
    import altair as alt

    names = [series.name for series in chart.series]
    colours = [f"var(--{series.colour})" for series in chart.series]
    return alt.Color("series:N").scale(domain=names, range=colours).legend(None)


def _long(chart: Chart) -> alt.InlineData:
    """A row for each value: {at, series, value, tooltip, index}."""
    import altair as alt

    is_empty = not any(value for row in chart.values for value in row)  # zeros alone are drawn, for the axis
    tooltips = chart.tooltips or tuple(tuple(_in_words(value, chart.unit) for value in row) for row in chart.values)
    return alt.InlineData(
        values=[
            {"at": at, "series": series.name, "value": value, "tooltip": text, "index": index}
            for at, values, texts in zip(chart.at, chart.values, tooltips, strict=True)
            for index, (series, value, text) in enumerate(zip(chart.series, values, texts, strict=True))
            if value is not None and (value or chart.kind == "lines" or is_empty)
        ]
    )


def _in_words(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:,.10g} {unit}"


_INTEGER_LABEL: Final = "datum.value % 1 ? '' : format(abs(datum.value), ',d')"
"""Label of an axis of counts or GiB: an integer without its sign; no label between integers."""
_SHOWN: Final = "indexof(hidden, datum.series) < 0"


def _entries(chart: Chart) -> alt.Y:
    import altair as alt

    axis = alt.Axis(domain=False, ticks=False, labelPadding=8)
    return alt.Y("at:N").scale(domain=list(chart.at)).title(None).axis(axis)


def _hover() -> Any:
    import altair as alt

    return alt.selection_point(name="hover", fields=["at"], on="pointerover", clear="pointerout")


def _bars(chart: Chart) -> Any:
    import altair as alt

    hover = _hover()
    most = max((sum(value or 0 for value in row) for row in chart.values), default=0)
    base = alt.Chart(_long(chart), height=_BAR * len(chart.at)).transform_filter(_SHOWN).encode(y=_entries(chart))
    # Room for the number at the end of the longest bar, at any width of the page.
    room = alt.ExprRef(f"{most or 1} * (1 + 84 / max(width - 84, 84))")
    bars = (
        base.mark_bar(height=alt.RelativeBandSize(0.68), cornerRadiusEnd=2)
        .encode(
            x=alt.X("value:Q").stack("zero").title(chart.axis).scale(domain=[0, room], nice=False)
            .axis(labelExpr=_INTEGER_LABEL, tickCount=5, tickMinStep=1, domain=False, ticks=False, labelOverlap=True),
            color=_colour(chart),
            order=alt.Order("index:Q"),
            opacity=alt.condition(hover, alt.value(1), alt.value(0.45)),
            tooltip=[
                alt.Tooltip("at:N").title(chart.entry),
                alt.Tooltip("series:N").title("part"),
                alt.Tooltip("tooltip:N").title("holds"),
            ],
        )
        .add_params(hover)
    )  # fmt: skip
    sums = (
        base.transform_aggregate(sum="sum(value)", groupby=["at"])
        .mark_text(align="left", dx=6, tooltip=None)
        .encode(x=alt.X("sum:Q"), text=alt.Text("sum:Q").format(",d"))
    )
    return alt.layer(bars, sums)


def _pyramid(chart: Chart) -> Any:
    """Two bars for each entry, the first series to the left. Values are shares of one, so the sides compare."""
    import altair as alt

    hover = _hover()
    most = max((value or 0 for row in chart.values for value in row), default=0)
    room = f"{most or 1} * (1 + 48 / max(width / 2 - 48, 48))"
    base = (
        alt.Chart(_long(chart), height=_BAR * len(chart.at))
        .transform_filter(_SHOWN)
        .transform_calculate(
            side="datum.index == 0 ? -datum.value : datum.value", percent="format(datum.value, '.0%')"
        )
        .encode(
            y=_entries(chart),
            x=alt.X("side:Q").title(chart.axis)
            .scale(domain=[alt.ExprRef(f"-{room}"), alt.ExprRef(room)], nice=False)
            .axis(labelExpr="format(abs(datum.value), '.0%')", tickCount=6, domain=False, ticks=False),
        )
    )  # fmt: skip
    bars = (
        base.mark_bar(height=alt.RelativeBandSize(0.78), cornerRadiusEnd=2)
        .encode(
            color=_colour(chart),
            opacity=alt.condition(hover, alt.value(1), alt.value(0.45)),
            tooltip=[
                alt.Tooltip("at:N").title(chart.entry),
                alt.Tooltip("tooltip:N").title("holds"),
                alt.Tooltip("percent:N").title("of all"),
            ],
        )
        .add_params(hover)
    )
    left = base.transform_filter("datum.index == 0").mark_text(align="right", dx=-5, tooltip=None)
    right = base.transform_filter("datum.index == 1").mark_text(align="left", dx=5, tooltip=None)
    return alt.layer(bars, *(side.encode(text="percent:N") for side in (left, right)))


def _days_domain(days: Sequence[str]) -> list[alt.DateTime]:
    """From the first day to the end of the last, also without values; a single day stands amid three."""
    import altair as alt

    first, last = dt.date.fromisoformat(days[0]), dt.date.fromisoformat(days[-1])
    around = dt.timedelta(days=first == last)
    ends = (first - around, last + around + dt.timedelta(days=1))
    return [alt.DateTime(year=day.year, month=day.month, date=day.day, utc=True) for day in ends]


def _days_axis(days: Sequence[str]) -> alt.Axis:
    """Label a few days at equal distances, the last day among them."""
    import altair as alt

    step = max(1, -(-len(days) // _TICKS))
    labelled = [f"toDate('{day}')" for day in days[::-1][::step]]
    is_long = len(days) > 1 and days[0][:4] != days[-1][:4]
    form = "%-d %b %Y" if is_long else "%-d %b"
    return alt.Axis(
        values=alt.ExprRef(f"[{', '.join(labelled)}]"), format=form, grid=False, labelOverlap="greedy", labelBound=True
    )


def _lines(chart: Chart) -> Any:
    import altair as alt

    near = alt.selection_point(
        name="hover", fields=["at"], nearest=True, on="pointermove", clear="pointerout", encodings=["x"]
    )
    fields = [f"s{index}" for index, _ in enumerate(chart.series)]
    wide = [
        {"at": at, **{field: value for field, value in zip(fields, values, strict=True) if value is not None}}
        for at, values in zip(chart.at, chart.values, strict=True)
    ]
    day = alt.X("utcyearmonthdate(at):T").title(None).axis(_days_axis(chart.at))
    value = alt.Y("value:Q").title(chart.axis).scale(zero=False, nice=True).axis(
        labelExpr=_INTEGER_LABEL, tickCount=5, tickMinStep=1, domain=False, ticks=False
    )  # fmt: skip
    lines = (
        alt.Chart(_long(chart))
        .transform_filter(_SHOWN)
        .mark_line(strokeWidth=2.5, strokeJoin="round", point={"size": 36} if len(chart.at) <= _TICKS else False)
        .encode(x=day, y=value, color=_colour(chart))
    )
    rule = (
        alt.Chart(alt.InlineData(values=wide))
        .mark_rule(strokeWidth=1)
        .encode(
            x=day,
            opacity=alt.condition(near, alt.value(1), alt.value(0), empty=False),
            tooltip=[
                alt.Tooltip("utcyearmonthdate(at):T").title(chart.entry).format("%Y-%m-%d"),
                *(
                    alt.Tooltip(f"{field}:Q").title(f"{series.name}, {chart.unit}").format(",d")
                    for field, series in zip(fields, chart.series, strict=True)
                ),
            ],
        )
        .add_params(near)
    )
    dots = (
        alt.Chart(_long(chart))
        .transform_filter(_SHOWN)
        .mark_circle(size=64, opacity=1, tooltip=None)
        .encode(
            x=day, y=value, color=_colour(chart), opacity=alt.condition(near, alt.value(1), alt.value(0), empty=False)
        )
    )
    return alt.layer(rule, lines, dots).properties(height=350)


def _columns(chart: Chart) -> Any:
    import altair as alt

    hover = _hover()
    # A column is as wide as the number of days allows, 22 pixels at most.
    width = alt.ExprRef(f"max(1.5, min(22, 0.72 * width / {max(len(chart.at), 1)}))")
    columns = (
        alt.Chart(_long(chart))
        .transform_filter(_SHOWN)
        .mark_bar(width=width)
        .encode(
            x=alt.X("utcyearmonthdate(at):T").title(None).axis(_days_axis(chart.at))
            .scale(padding=14, domain=_days_domain(chart.at)),
            y=alt.Y("value:Q").stack("zero").title(chart.axis)
            .axis(labelExpr=_INTEGER_LABEL, tickCount=5, tickMinStep=1, domain=False, ticks=False),
            color=_colour(chart),
            order=alt.Order("index:Q"),
            opacity=alt.condition(hover, alt.value(1), alt.value(0.45)),
            tooltip=[
                alt.Tooltip("utcyearmonthdate(at):T").title(chart.entry).format("%Y-%m-%d"),
                alt.Tooltip("series:N").title("change"),
                alt.Tooltip("tooltip:N").title("count"),
            ],
        )
        .add_params(hover)
    )  # fmt: skip
    zero = alt.Chart(alt.InlineData(values=[{}])).mark_rule().encode(y=alt.datum(0))
    return alt.layer(columns, zero).properties(height=220)
