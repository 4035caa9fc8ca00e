"""Charts of traffic: over time, by hour of the week, by error, side by side; and the hours that do not fit."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from html import escape as escape_html
from operator import attrgetter
from typing import Any

import plotly.graph_objects as go

from app.ui.analytics import words
from app.ui.analytics.drill import times
from app.ui.charts import AMBER, BLUE, GRAY, GREEN, VIOLET, chart_frame, show_chart
from app.ui.text import plain
from core.analytics.records import (
    LEAST_FOR_P95,
    LEAST_FOR_P99,
    ErrorCount,
    Point,
    Step,
)
from core.stats.sketches import LogSketch

RED = "#ef4444"
HEIGHT = 300
DENSE = 60  # points of a line, beyond which each is drawn smaller
STEP_OF = {Step.MINUTE: timedelta(minutes=1), Step.HOUR: timedelta(hours=1), Step.DAY: timedelta(days=1)}
PERCENTILES = (
    ("P50", 0.5, 1, BLUE),
    ("P95", 0.95, LEAST_FOR_P95, AMBER),
    ("P99", 0.99, LEAST_FOR_P99, VIOLET),
)
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
        n=f"n {total:,} answers, {plain(of, 60)}, UTC",
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
            marker={"size": 7 if alone else 4 if len(points) <= DENSE else 2.5},
            customdata=[[int(p.at.timestamp()), q, p.latency.count] for p in points],
            hovertemplate=f"{name}: %{{y:,.0f}} ms"
            + (", n %{customdata[2]:,}" if q == 0.5 else "")
            + "<extra></extra>",
        )
    figure.update_layout(height=HEIGHT, legend=_LEGEND)
    figure.update_yaxes(rangemode="tozero")
    _time_axis(figure, step)
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


def judged_by_day(points: Sequence[Point]) -> list[Point]:
    """Judgements of each day (UTC): by the hour there are too few to draw a line through."""
    days: dict[datetime, list[Point]] = {}
    for each in points:
        start = each.at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        days.setdefault(start, []).append(each)
    return [
        Point(
            at=start,
            requests=sum(p.requests for p in found),
            successes=sum(p.successes for p in found),
            latency=LogSketch(),
            rating_sum=sum(p.rating_sum for p in found),
            rating_count=sum(p.rating_count for p in found),
            thumbs_up=sum(p.thumbs_up for p in found),
            thumbs_down=sum(p.thumbs_down for p in found),
        )
        for start, found in days.items()
    ]


def ratings_chart(points: Sequence[Point], step: Step, *, of: str) -> go.Figure:
    """Thumbs up and down as bars to both sides of 0, and the mean rating of each step on an axis of its own."""
    ratings, thumbs = sum(p.rating_count for p in points), sum(p.thumbs_up + p.thumbs_down for p in points)
    figure = chart_frame(
        f"What people said by {step.value}",
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
