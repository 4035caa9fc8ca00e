"""The chart of what was expected: seen values, the band around what was expected, marks, and the forecast with its band."""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

import plotly.graph_objects as go

from app.actions.expectations import Expectations
from app.ui.charts import BLUE, GRAY, chart_frame, shade
from app.ui.text import plain

RED = "#ef4444"
HEIGHT = 420


def expectation_chart(found: Expectations, *, title: str, unit: str, of: str, days: float) -> go.Figure:
    """`days`: how far back it opens; all hours are there when zoomed out."""
    known = sum(not math.isnan(value) for value in found.values)
    odd = f", {len(found.odd):,} marked" if found.marks else ""
    figure = chart_frame(f"{title} by hour", "", unit, n=f"n {known:,} hours{odd}, {plain(of, 60)}, UTC")
    if found.marks:
        _band(
            figure,
            found.at,
            [m.low for m in found.marks],
            [m.high for m in found.marks],
            GRAY,
            "expected, 99.9 %",
        )
    figure.add_scatter(
        x=list(found.at),
        y=[None if math.isnan(value) else value for value in found.values],
        name="seen",
        mode="lines",
        line={"color": BLUE, "width": 2},
        customdata=list(found.n),
        hovertemplate=f"seen: %{{y:,.4~g}} {unit}, n %{{customdata:,}} requests<extra></extra>",
    )
    if found.odd:
        _marked(figure, found, unit)
    if found.coming is not None:
        coming = found.coming
        _band(figure, found.coming_at, coming.low, coming.high, BLUE, "forecast, 95 %")
        figure.add_scatter(
            x=list(found.coming_at),
            y=list(coming.median),
            name="forecast",
            mode="lines",
            line={"color": BLUE, "width": 2, "dash": "dot"},
            customdata=list(zip(coming.low, coming.high, strict=True)),
            hovertemplate=(
                f"forecast: %{{y:,.4~g}} {unit}, 95 % interval %{{customdata[0]:,.4~g}}–%{{customdata[1]:,.4~g}}"
                "<extra></extra>"
            ),
        )
    _frame(figure, found, days)
    return figure


def _band(
    figure: go.Figure,
    at: Sequence[datetime],
    low: Sequence[float],
    high: Sequence[float],
    color: str,
    name: str,
) -> None:
    """An area between two lines, without a hover of its own."""
    for values, fill in ((low, None), (high, "tonexty")):
        figure.add_scatter(
            x=list(at),
            y=list(values),
            mode="lines",
            line={"width": 0},
            fill=fill,
            fillcolor=shade(color, 0.22),
            name=name,
            legendgroup=name,
            showlegend=fill is not None,
            hoverinfo="skip",
        )


def _marked(figure: go.Figure, found: Expectations, unit: str) -> None:
    marks = [found.marks[number] for number in found.odd]
    figure.add_scatter(
        x=[found.at[number] for number in found.odd],
        y=[mark.value for mark in marks],
        name="does not fit",
        mode="markers",
        marker={"color": RED, "size": 10, "symbol": "diamond"},
        customdata=[(mark.low, mark.high) for mark in marks],
        hovertemplate=(
            f"does not fit: expected %{{customdata[0]:,.4~g}}–%{{customdata[1]:,.4~g}} {unit} (99.9 %)<extra></extra>"
        ),
    )


def _frame(figure: go.Figure, found: Expectations, days: float) -> None:
    last = found.coming_at[-1] if found.coming_at else found.at[-1]
    start = max(found.at[0], found.at[-1] - timedelta(days=days))
    if found.coming_at:
        figure.add_vline(x=found.coming_at[0], line={"color": GRAY, "width": 1, "dash": "dash"})
    figure.update_layout(
        height=HEIGHT, legend={"orientation": "h", "y": -0.16, "yanchor": "top", "x": 0, "xanchor": "left"}
    )
    figure.update_xaxes(
        type="date", range=[start, last], hoverformat="%a %d %b, %H:%M", tickangle=0, nticks=5
    )
    shown = [number for number, at in enumerate(found.at) if at >= start]
    top = max(
        [found.values[number] for number in shown if not math.isnan(found.values[number])]
        + [found.marks[number].high for number in shown if found.marks]
        + list(found.coming.high if found.coming else ()),
        default=1.0,
    )
    figure.update_yaxes(range=[0, 1.05 * top or 1.0])
