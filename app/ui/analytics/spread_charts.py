"""Charts without an axis of time: hours of the week, adapters side by side, how latencies are spread."""

import math
from collections.abc import Sequence
from html import escape as escape_html

import plotly.graph_objects as go
import streamlit as st

from app.ui import numbers
from app.ui.analytics import words
from app.ui.charts import BLUE, chart_frame
from app.ui.text import plain
from core.analytics.records import LEAST_FOR_P95, Figure, HeatCell

HEIGHT = 300
BARS_PER_DOUBLING = 4
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_HEAT_LIGHT = [[0.0, "#eff6ff"], [0.25, "#bfdbfe"], [0.6, "#3b82f6"], [1.0, "#1e3a8a"]]
_HEAT_DARK = [[0.0, "#172033"], [0.25, "#1e3a8a"], [0.6, "#3b82f6"], [1.0, "#bfdbfe"]]


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
