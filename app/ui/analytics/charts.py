"""Charts of traffic: over time, by hour of the week, by error, side by side; and the hours that do not fit."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from html import escape as escape_html
from operator import attrgetter
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from app.ui import numbers
from app.ui.analytics import words
from app.ui.analytics.drill import times
from app.ui.charts import AMBER, BLUE, GRAY, GREEN, VIOLET, chart_frame, show_chart
from app.ui.text import plain
from core.analytics.records import (
    LEAST_FOR_P95,
    LEAST_FOR_P99,
    ErrorCount,
    Figure,
    HeatCell,
    Point,
    Step,
)

RED = "#ef4444"
HEIGHT = 300
BARS_PER_DOUBLING = 4
STEP_OF = {Step.MINUTE: timedelta(minutes=1), Step.HOUR: timedelta(hours=1), Step.DAY: timedelta(days=1)}
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
PERCENTILES = (
    ("P50", 0.5, 1, BLUE),
    ("P95", 0.95, LEAST_FOR_P95, AMBER),
    ("P99", 0.99, LEAST_FOR_P99, VIOLET),
)
_HEAT_LIGHT = [[0.0, "#eff6ff"], [0.25, "#bfdbfe"], [0.6, "#3b82f6"], [1.0, "#1e3a8a"]]
_HEAT_DARK = [[0.0, "#172033"], [0.25, "#1e3a8a"], [0.6, "#3b82f6"], [1.0, "#bfdbfe"]]
_LEGEND = {
    "orientation": "h",
    "y": -0.3,
    "yanchor": "top",
    "x": 0,
    "xanchor": "left",
    "traceorder": "normal",
}
Pressed = Mapping[str, Any]


def pressed(figure: go.Figure, *, key: str, alt: str) -> Pressed | None:
    """Draw; the bar or point that was pressed in this run."""
    state = show_chart(figure, key=f"{key}-{times()}", alt=alt, pick=True)
    return state[0] if state else None


def requests_chart(points: Sequence[Point], step: Step, *, of: str) -> go.Figure:
    """Answered, failed and left ones, stacked. The last bar is not over yet, and so is paler."""
    total = sum(point.requests for point in points)
    figure = chart_frame(f"Requests by {step.value}", "", "requests", n=f"n {total:,}, {plain(of, 60)}, UTC")
    for name, color, read in (
        ("answered", BLUE, attrgetter("successes")),
        ("failed", RED, attrgetter("failures")),
        ("left by reader", GRAY, attrgetter("cancelled")),
    ):
        counts = [read(point) for point in points]
        if name != "answered" and not any(counts):
            continue
        figure.add_bar(
            x=[point.at for point in points],
            y=counts,
            **_period(step),
            name=name,
            marker={"color": color, "opacity": [1.0] * (len(points) - 1) + [0.5]},
            customdata=[[int(point.at.timestamp())] for point in points],
            hovertemplate=f"{name}: %{{y:,}}<extra></extra>",
        )
    figure.update_layout(height=HEIGHT, barmode="stack", bargap=0.18, legend=_LEGEND)
    figure.update_yaxes(rangemode="tozero")
    _time_axis(figure, step)
    return figure


def percentile_chart(points: Sequence[Point], step: Step, *, of: str) -> go.Figure:
    """P50, P95, P99 of answered requests. Where so few answers have no percentile, the line has a gap."""
    total = sum(point.latency.count for point in points)
    figure = chart_frame(
        f"Latency by {step.value}",
        "",
        "ms",
        n=f"n {total:,} answers, {plain(of, 40)}, UTC; P95 from {LEAST_FOR_P95}, P99 from {LEAST_FOR_P99} answers on",
    )
    for name, q, least, color in PERCENTILES:
        values = [point.latency.quantile(q) if point.latency.count >= least else None for point in points]
        alone = sum(value is not None for value in values) == 1
        figure.add_scatter(
            x=[point.at for point in points],
            y=values,
            **_period(step),
            name=name,
            mode="markers" if alone else "lines+markers",
            line={"color": color, "width": 2},
            marker={"size": 7 if alone else 4},
            customdata=[[int(p.at.timestamp()), q, p.latency.count] for p in points],
            hovertemplate=f"{name}: %{{y:,.0f}} ms"
            + (", n %{customdata[2]:,}" if q == 0.5 else "")
            + "<extra></extra>",
        )
    figure.update_layout(height=HEIGHT, legend=_LEGEND)
    figure.update_yaxes(rangemode="tozero")
    _time_axis(figure, step)
    return figure


def heat_chart(cells: Sequence[HeatCell], show: str, *, zone: str, of: str) -> go.Figure:
    """Hours by weekdays. `show`: requests, success or p95. A cell with too few requests stays empty."""
    titles = {
        "requests": ("Requests by hour of the week", "requests"),
        "success": ("Success rate by hour of the week", "share, %"),
        "p95": ("P95 latency by hour of the week", "ms"),
    }
    title, unit = titles[show]
    total = sum(cell.requests for cell in cells)
    figure = chart_frame(title, f"hour, {plain(zone, 40)}", "", n=f"n {total:,}, {plain(of, 60)}")
    rows: list[list[float | None]] = [[None] * 24 for _ in range(7)]
    hover = [[""] * 24 for _ in range(7)]
    for cell in cells:
        rows[cell.weekday][cell.hour] = _heat_value(cell, show)
        hover[cell.weekday][cell.hour] = _heat_words(cell)
    figure.add_heatmap(
        z=rows,
        x=list(range(24)),
        y=list(WEEKDAYS),
        text=hover,
        hovertemplate="%{text}<extra></extra>",
        colorscale=_HEAT_DARK if st.context.theme.type == "dark" else _HEAT_LIGHT,
        xgap=2,
        ygap=2,
        colorbar={"title": {"text": unit, "side": "right"}, "thickness": 10, "outlinewidth": 0},
    )
    figure.update_layout(height=HEIGHT, hovermode="closest")
    figure.update_yaxes(autorange="reversed", showgrid=False, zeroline=False)
    figure.update_xaxes(dtick=3, showgrid=False, zeroline=False)
    return figure


def error_chart(errors: Sequence[ErrorCount], *, n: int, of: str) -> go.Figure:
    """How many requests ended in each error, with its share of all on hover."""
    shown = list(reversed(errors[:12]))
    figure = chart_frame("Errors by type", "requests", "", n=f"of n {n:,} requests, {plain(of, 60)}")
    figure.add_bar(
        x=[error.count for error in shown],
        y=[escape_html(plain(error.code, 28)) for error in shown],
        orientation="h",
        marker={"color": RED, "cornerradius": 4},
        customdata=[[error.code, words.value(error.share), words.interval(error.share)] for error in shown],
        hovertemplate="%{x:,} requests<br>%{customdata[1]} of all, 95 % interval %{customdata[2]}<extra></extra>",
    )
    figure.update_layout(height=max(190, 110 + 30 * len(shown)), hovermode="closest", bargap=0.35)
    figure.update_xaxes(rangemode="tozero")
    return figure


def ratings_chart(points: Sequence[Point], step: Step, *, of: str) -> go.Figure:
    """Thumbs up and down as bars to both sides of 0, and the mean rating of each step on an axis of its own."""
    ratings, thumbs = sum(p.rating_count for p in points), sum(p.thumbs_up + p.thumbs_down for p in points)
    figure = chart_frame(
        "What people said",
        "",
        "thumbs",
        n=f"n {ratings:,} ratings and {thumbs:,} thumbs, {plain(of, 60)}, UTC",
    )
    for name, color, sign, read in (
        ("up", GREEN, 1, attrgetter("thumbs_up")),
        ("down", RED, -1, attrgetter("thumbs_down")),
    ):
        figure.add_bar(
            x=[p.at for p in points],
            y=[sign * read(p) for p in points],
            **_period(step),
            name=name,
            marker={"color": color},
            customdata=[[read(p)] for p in points],
            hovertemplate=f"thumbs {name}: %{{customdata[0]:,}}<extra></extra>",
        )
    rated = [p for p in points if p.rating_count]
    figure.add_scatter(
        x=[p.at for p in rated],
        y=[p.rating_sum / p.rating_count for p in rated],
        **_period(step),
        name="mean rating",
        yaxis="y2",
        mode="lines+markers" if len(rated) > 1 else "markers",
        line={"color": AMBER, "width": 2},
        customdata=[[p.rating_count] for p in rated],
        hovertemplate="rating: %{y:.2f} of 5, n %{customdata[0]:,}<extra></extra>",
    )
    figure.update_layout(
        height=HEIGHT,
        barmode="relative",
        bargap=0.18,
        legend=_LEGEND,
        yaxis2={
            "overlaying": "y",
            "side": "right",
            "range": [0.9, 5.1],
            "title": "rating",
            "tick0": 1,
            "dtick": 1,
            "showgrid": False,
        },
    )
    _time_axis(figure, step)
    return figure


def compared_chart(title: str, sides: Sequence[tuple[str, Figure]]) -> go.Figure:
    """One figure of several adapters, each with its interval; those without a value are said in the subtitle."""
    known = [(name, figure) for name, figure in reversed(sides) if figure.value is not None]
    scale = 100 if sides and sides[0][1].unit == "share" else 1
    unit = {"share": "share, %", "ms": "ms", "points": "points, 1–5"}.get(sides[0][1].unit, sides[0][1].unit)
    missing = [plain(name, 24) for name, figure in sides if figure.value is None]
    note = "95 % intervals" + (f"; {words.TOO_FEW}: {', '.join(missing)}" if missing else "")
    chart = chart_frame(title, unit, "", n=note)
    chart.add_scatter(
        x=[scale * (figure.value or 0.0) for _, figure in known],
        y=[f"{escape_html(plain(name, 24))}<br>n {each.n:,}" for name, each in known],
        mode="markers",
        marker={"size": 10, "color": BLUE},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [scale * ((f.high if f.high is not None else f.value) - f.value) for _, f in known],  # type: ignore[operator]
            "arrayminus": [scale * (f.value - (f.low if f.low is not None else f.value)) for _, f in known],  # type: ignore[operator]
            "thickness": 2,
            "width": 6,
            "color": BLUE,
        },
        customdata=[[words.value(f), words.with_n(f)] for _, f in known],
        hovertemplate="%{customdata[0]}<br>%{customdata[1]}<extra></extra>",
        showlegend=False,
    )
    chart.update_layout(height=130 + 46 * max(1, len(known)), hovermode="closest")
    return chart


def _heat_value(cell: HeatCell, show: str) -> float | None:
    if show == "requests":
        return float(cell.requests)
    figure = cell.success_rate if show == "success" else cell.latency_p95
    if figure.value is None or cell.requests < LEAST_FOR_P95:
        return None
    return 100 * figure.value if show == "success" else figure.value


def _heat_words(cell: HeatCell) -> str:
    lines = [f"<b>{WEEKDAYS[cell.weekday]} {cell.hour:02d}:00</b>", numbers.counted(cell.requests, "request")]
    if cell.success_rate.value is not None:
        lines.append(f"success {words.value(cell.success_rate)} ({words.interval(cell.success_rate)})")
    if cell.requests:
        lines.append(
            f"P95 {words.value(cell.latency_p95) if cell.latency_p95.value is not None else words.TOO_FEW}"
        )
    return "<br>".join(lines)


def _period(step: Step) -> dict[str, object]:
    """A value stands for a whole step: it is drawn in its middle, and hover names its start."""
    return {"xperiod": 1000 * STEP_OF[step].total_seconds(), "xperiodalignment": "middle"}


def _time_axis(figure: go.Figure, step: Step) -> None:
    figure.update_xaxes(
        type="date",
        hoverformat="%a %d %b %Y" if step is Step.DAY else "%a %d %b, %H:%M",
        tickangle=0,
        nticks=7,
    )


def step_of_press(press: Pressed, step: Step) -> tuple[datetime, datetime]:
    """The step that a pressed bar or point stands for."""
    since = datetime.fromtimestamp(int(press["customdata"][0]), UTC)
    return since, since + STEP_OF[step]


def quantile_of_press(press: Pressed, points: Sequence[Point]) -> float:
    """The value of a pressed percentile, for «slower than this»; 0 for the median and for what has none."""
    start, q, _ = press["customdata"]
    point = next((p for p in points if int(p.at.timestamp()) == int(start)), None)
    if q <= 0.5 or point is None or not point.latency.count:
        return 0.0
    found = point.latency.quantile(q)
    return 0.0 if math.isnan(found) else found


def spread_chart(buckets: Sequence[tuple[float, float, int]], *, of: str) -> go.Figure:
    """How many answers took how long, four bars to each doubling, on a logarithmic axis."""
    counts: dict[int, int] = {}
    for low, high, count in buckets:
        middle = max((low + high) / 2, 0.01)
        place = math.floor(BARS_PER_DOUBLING * math.log2(middle))
        counts[place] = counts.get(place, 0) + count
    total = sum(counts.values())
    figure = chart_frame("How long answers took", "ms", "answers", n=f"n {total:,} answers, {plain(of, 60)}")
    places = sorted(counts)
    edges = [(2 ** (place / BARS_PER_DOUBLING), 2 ** ((place + 1) / BARS_PER_DOUBLING)) for place in places]
    figure.add_bar(
        x=[math.sqrt(low * high) for low, high in edges],
        y=[counts[place] for place in places],
        width=[0.96 * (high - low) for low, high in edges],
        marker={"color": BLUE},
        customdata=[
            [low, high, counts[place] / total] for place, (low, high) in zip(places, edges, strict=True)
        ],
        hovertemplate="%{customdata[0]:,.0f}–%{customdata[1]:,.0f} ms: %{y:,} answers, %{customdata[2]:.1%}<extra></extra>",
    )
    figure.update_layout(height=HEIGHT, hovermode="closest", bargap=0)
    ticks = [digit * 10**power for power in range(-2, 8) for digit in (1, 3)]
    figure.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{tick:,g}" for tick in ticks])
    return figure
