"""Charts: each has a title with its n, units on its axes, words on hover; colours for light and dark."""

from collections.abc import Callable, Mapping, Sequence
from html import escape as escape_html
from operator import attrgetter
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from app.ui.text import plain
from core.jobs.records import JobPoint
from core.training.records import Proportion, SliceScore

BLUE, AMBER, GREEN, VIOLET, GRAY = "#3b82f6", "#f59e0b", "#10b981", "#8b5cf6", "#9ca3af"
PLATE_HALF, PLATE_GAP, PLATE_THICKNESS = 0.38, 0.5, 0.1
_CONFIG = {"displaylogo": False, "modeBarButtonsToRemove": ["lasso2d", "select2d", "autoScale2d"]}


def show_chart(figure: go.Figure, *, key: str, alt: str, pick: bool = False) -> list[dict[str, Any]]:
    """Draw with the theme's fonts and background; `alt` says what it shows for those who cannot see it.

    `pick`: its bars and points can be pressed; what is pressed is answered.
    """
    ink = "#e5e7eb" if st.context.theme.type == "dark" else "#374151"
    figure.update_traces(error_y_color=ink, selector={"type": "bar"})
    if not pick:
        st.plotly_chart(figure, key=key, alt=plain(alt), config=_CONFIG)
        return []
    state = st.plotly_chart(
        figure, key=key, alt=plain(alt), config=_CONFIG, on_select="rerun", selection_mode="points"
    )
    return list(state["selection"]["points"]) if state else []


def loss_chart(points: Sequence[JobPoint]) -> go.Figure:
    """Training and validation loss over optimizer steps."""
    figure = chart_frame("Loss", "step", "nats per token", n=f"{len(points)} readings")
    for name, color, mode, read in (
        ("training", BLUE, "lines", attrgetter("loss")),
        ("validation", AMBER, "lines+markers", attrgetter("validation_loss")),
    ):
        series = [(p.step, read(p)) for p in points if read(p) is not None]
        if series:
            figure.add_scatter(
                x=[x for x, _ in series],
                y=[y for _, y in series],
                name=name,
                mode=mode if len(series) > 1 else "markers",
                line={"color": color, "width": 2},
                hovertemplate=f"{name}: %{{y:.4f}}<extra></extra>",
            )
    figure.update_layout(
        height=320, legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"}
    )
    figure.update_yaxes(rangemode="tozero")
    return figure


def reading_chart(
    points: Sequence[JobPoint],
    read: Callable[[JobPoint], float | None],
    *,
    title: str,
    unit: str,
    hover: str,
    color: str,
) -> go.Figure:
    """One reading of a run over its steps; `hover` is a d3 number format."""
    series = [(p.step, value) for p in points if (value := read(p)) is not None]
    figure = chart_frame(title, "step", unit, n=f"{len(series)} readings")
    figure.add_scatter(
        x=[x for x, _ in series],
        y=[y for _, y in series],
        mode="lines" if len(series) > 1 else "markers",
        line={"color": color, "width": 2},
        hovertemplate=f"%{{y:{hover}}} {unit}<extra></extra>",
        showlegend=False,
    )
    figure.update_layout(height=220)
    figure.update_yaxes(rangemode="tozero", nticks=5)
    return figure


Pair = tuple[str, Proportion, Proportion]


def comparison_chart(pairs: Sequence[Pair], title: str, *, rows: int) -> go.Figure:
    """Base against adapter per (measure, base, adapter) on the same held-out rows, with 95 % intervals."""
    measures = [measure for measure, _, _ in pairs]
    figure = chart_frame(title, "", "share, %", n=f"n {rows:,} held-out rows, 95 % intervals")
    series = (("base", GRAY, [base for _, base, _ in pairs]), ("adapter", BLUE, [a for _, _, a in pairs]))
    for name, color, values in series:
        figure.add_bar(
            x=measures,
            y=[100 * value.value for value in values],
            name=name,
            marker={"color": color, "cornerradius": 4},
            error_y=_whiskers(values),
            customdata=[(100 * v.low, 100 * v.high, v.n) for v in values],
            hovertemplate=(
                f"{name}: %{{y:.1f}}%<br>95 % interval %{{customdata[0]:.1f}}–%{{customdata[1]:.1f}}%"
                "<br>n %{customdata[2]:,}<extra></extra>"
            ),
        )
    figure.update_layout(
        height=340,
        barmode="group",
        bargap=0.35,
        bargroupgap=0.08,
        hovermode="closest",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"},
    )
    figure.update_yaxes(range=[0, 105])
    return figure


def answer_loss_chart(scores: Mapping[str, SliceScore]) -> go.Figure:
    """Loss of the expected answers, base against adapter, per slice, with 95 % intervals. Less is better."""
    rows = sum(score.n for score in scores.values())
    figure = chart_frame(
        "Surprise at the expected answers, less is better",
        "",
        "nats per token",
        n=f"n {rows:,} held-out rows, 95 % intervals",
    )
    for name, color, read in (
        ("base", GRAY, attrgetter("base_answer_loss")),
        ("adapter", BLUE, attrgetter("adapter_answer_loss")),
    ):
        losses = {title: loss for title, score in scores.items() if (loss := read(score)) is not None}
        figure.add_bar(
            x=list(losses),
            y=[loss.value for loss in losses.values()],
            name=name,
            marker={"color": color, "cornerradius": 4},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [loss.high - loss.value for loss in losses.values()],
                "arrayminus": [loss.value - loss.low for loss in losses.values()],
            },
            customdata=[(loss.low, loss.high, loss.tokens) for loss in losses.values()],
            hovertemplate=(
                f"{name}: %{{y:.3f}} nats per token<br>95 % interval %{{customdata[0]:.3f}}–%{{customdata[1]:.3f}}"
                "<br>%{customdata[2]:,} tokens<extra></extra>"
            ),
        )
    figure.update_layout(
        height=340,
        barmode="group",
        bargap=0.35,
        hovermode="closest",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"},
    )
    figure.update_yaxes(rangemode="tozero")
    return figure


def stack_chart(
    base: str,
    plates: Sequence[tuple[str, str, float]],
    colors: Mapping[str, str],
    *,
    notes: Sequence[str] = (),
) -> go.Figure:
    """A composition as a stack of plates: the base at the bottom, then one per (name, type, weight).

    The heavier the weight, the more solid the plate. `notes` say more of each plate, such as the blocks where it
    acts. Names are untrusted: hypertext signs are escaped.
    """
    figure = go.Figure()
    rows = [(base, "base", None), *plates]
    for level, (name, kind, weight) in enumerate(rows):
        label = escape_html(plain(name, 32))
        color = GRAY if weight is None else colors.get(kind, BLUE)
        opacity = 0.95 if weight is None else min(0.95, 0.25 + 0.5 * abs(weight))
        note = "frozen weights" if weight is None else f"{kind}, weight {weight:+.2f}"
        if level and level <= len(notes) and notes[level - 1]:
            note += f", {escape_html(plain(notes[level - 1], 40))}"
        _add_plate(figure, PLATE_GAP * level, color, opacity, hover=f"{label}<br>{note}")
        figure.add_annotation(
            x=1.12,
            y=PLATE_GAP * level,
            text=f"<b>{label}</b><br>{note}",
            showarrow=False,
            xanchor="left",
            align="left",
            font={"size": 13},
        )
    top = PLATE_GAP * (len(rows) - 1) + PLATE_HALF + 0.05
    bottom = -PLATE_HALF - PLATE_THICKNESS - 0.05
    figure.update_layout(
        title={"text": "What answers, layer by layer", "font": {"size": 16}},
        height=round(48 + 84 * (top - bottom)),
        margin={"l": 0, "r": 0, "t": 40, "b": 0},
        hovermode="closest",
    )
    figure.update_xaxes(visible=False, range=[-1.05, 3.3], fixedrange=True)
    figure.update_yaxes(visible=False, range=[bottom, top], fixedrange=True)
    return figure


def _add_plate(figure: go.Figure, y: float, color: str, opacity: float, *, hover: str) -> None:
    """A flat plate seen from above: its left and right edge in shade, then its face."""
    low = y - PLATE_THICKNESS
    faces = (
        ([-1, 0, 0, -1], [y, y - PLATE_HALF, low - PLATE_HALF, low], 0.65),
        ([1, 0, 0, 1], [y, y - PLATE_HALF, low - PLATE_HALF, low], 0.8),
        ([-1, 0, 1, 0], [y, y + PLATE_HALF, y, y - PLATE_HALF], 1.0),
    )
    for xs, ys, light in faces:
        figure.add_scatter(
            x=[*xs, xs[0]],
            y=[*ys, ys[0]],
            fill="toself",
            fillcolor=shade(color, opacity, light),
            line={"color": shade(color, 1, 0.8), "width": 1},
            mode="lines",
            text=hover,
            hoveron="fills",
            hoverinfo="text",
            showlegend=False,
        )


def chart_frame(title: str, x_title: str, y_title: str, *, n: str) -> go.Figure:
    figure = go.Figure()
    figure.update_layout(
        title={
            "text": escape_html(title),
            "font": {"size": 16},
            "subtitle": {"text": escape_html(n), "font": {"size": 12, "weight": 400}},
        },
        margin={"l": 8, "r": 8, "t": 72, "b": 8},
        hovermode="x unified",
        uirevision="keep",
    )
    figure.update_xaxes(title_text=x_title)
    figure.update_yaxes(title_text=y_title)
    return figure


def _whiskers(values: Sequence[Proportion]) -> dict[str, object]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [100 * (value.high - value.value) for value in values],
        "arrayminus": [100 * (value.value - value.low) for value in values],
        "thickness": 1.5,
        "width": 6,
    }


def shade(hex_color: str, opacity: float, light: float = 1.0) -> str:
    red, green, blue = (round(light * int(hex_color[i : i + 2], 16)) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:.2f})"
