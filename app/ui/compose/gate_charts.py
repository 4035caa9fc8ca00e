"""Charts of a gate's report: confusion, calibration, differences, use, and the curve of its training."""

from collections.abc import Mapping, Sequence
from html import escape as escape_html
from typing import Any

import plotly.graph_objects as go

from app.ui.charts import AMBER, BLUE, GRAY, GREEN, VIOLET, chart_frame
from app.ui.text import plain

LONGEST = 28


def short(name: str) -> str:
    """A name for an axis: hypertext signs are escaped, and it is cut."""
    return escape_html(plain(name, LONGEST))


def confusion_chart(routing: Mapping[str, Any]) -> go.Figure:
    """Which adapter was best (rows) and which was chosen (columns). Choices that nobody wanted or made are left out."""
    table: list[list[int]] = routing["confusion"]
    used = [i for i in range(len(table)) if sum(table[i]) or sum(row[i] for row in table)]
    names = [short(str(routing["labels"][i])) for i in used]
    counts = [[table[i][j] for j in used] for i in used]
    shares = [
        [100 * count / (sum(table[i]) or 1) for count in row] for i, row in zip(used, counts, strict=True)
    ]
    figure = chart_frame(
        "Best adapter against chosen one", "chosen", "best", n=f"n {routing['n']:,} held-out prompts"
    )
    figure.add_heatmap(
        x=names,
        y=names,
        z=shares,
        text=counts,
        texttemplate="%{text:,}",
        customdata=counts,
        zmin=0,
        zmax=100,
        colorscale=[[0, "rgba(59,130,246,0.06)"], [1, BLUE]],
        colorbar={"title": {"text": "% of row"}, "thickness": 12},
        hovertemplate="best %{y}, chosen %{x}<br>%{customdata:,} prompts, %{z:.1f}% of the row<extra></extra>",
    )
    figure.update_layout(height=320, hovermode="closest")
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_xaxes(automargin=True)
    return figure


def calibration_chart(calibration: Mapping[str, Any]) -> go.Figure:
    """Said probability against share that was right; on the dotted line both are the same."""
    bins: Sequence[Mapping[str, Any]] = calibration["bins"]
    ece = calibration.get("ece")
    note = "" if ece is None else f", expected calibration error {100 * ece:.1f} points"
    figure = chart_frame(
        "Does it know how sure it is?",
        "said probability, %",
        "right, %",
        n=f"n {calibration['n']:,} prompts{note}",
    )
    figure.add_scatter(
        x=[0, 100],
        y=[0, 100],
        mode="lines",
        line={"color": GRAY, "dash": "dot"},
        hoverinfo="skip",
        showlegend=False,
    )
    figure.add_scatter(
        x=[100 * each["mean_probability"] for each in bins],
        y=[100 * each["accuracy"] for each in bins],
        mode="lines+markers",
        cliponaxis=False,
        line={"color": BLUE, "width": 2},
        marker={"size": [min(24, 7 + each["n"] ** 0.5) for each in bins]},
        customdata=[each["n"] for each in bins],
        hovertemplate="said %{x:.1f}%, right %{y:.1f}%<br>n %{customdata:,}<extra></extra>",
        showlegend=False,
    )
    figure.update_layout(height=320, hovermode="closest")
    figure.update_xaxes(range=[-3, 103])
    figure.update_yaxes(range=[-3, 103])
    return figure


def difference_chart(comparison: Mapping[str, Any]) -> go.Figure:
    """What the gate gains against each other choice, with its interval. It must lie right of zero everywhere."""
    points = comparison["figure"] == "exact_match"
    scale, unit = (100.0, "points of exact match") if points else (1.0, "nats per token")
    differences = list(reversed(comparison["differences"]))
    figure = chart_frame(
        "Gain of the gate, paired",
        f"gain, {unit}",
        "",
        n=f"n {comparison['n']:,} held-out rows, 95 % intervals",
    )
    gains = [each["gain"] for each in differences]
    figure.add_scatter(
        x=[scale * gain["value"] for gain in gains],
        y=[short(str(each["label"])) for each in differences],
        mode="markers",
        marker={"size": 10, "color": [GREEN if gain["low"] > 0 else AMBER for gain in gains]},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [scale * (gain["high"] - gain["value"]) for gain in gains],
            "arrayminus": [scale * (gain["value"] - gain["low"]) for gain in gains],
            "color": GRAY,
        },
        customdata=[(scale * gain["low"], scale * gain["high"]) for gain in gains],
        hovertemplate=f"against %{{y}}: %{{x:+.2f}} {unit}<br>95 % interval %{{customdata[0]:+.2f}} to "
        "%{customdata[1]:+.2f}<extra></extra>",
        showlegend=False,
    )
    figure.add_vline(x=0, line={"color": GRAY, "dash": "dot"})
    figure.update_layout(height=120 + 44 * len(differences), hovermode="closest")
    figure.update_yaxes(automargin=True)
    return figure


def use_chart(shares: Sequence[Mapping[str, Any]], *, n: str) -> go.Figure:
    """How much each adapter is used, as a share."""
    figure = chart_frame("How much each is used", "share, %", "", n=n)
    rows = list(reversed(shares))
    figure.add_bar(
        x=[100 * each["value"] for each in rows],
        y=[short(str(each["label"])) for each in rows],
        orientation="h",
        marker={"color": VIOLET, "cornerradius": 4},
        hovertemplate="%{y}: %{x:.1f}%<extra></extra>",
        showlegend=False,
    )
    figure.update_layout(height=120 + 40 * len(rows), hovermode="closest")
    figure.update_xaxes(range=[0, 105])
    figure.update_yaxes(automargin=True)
    return figure


def gain_curve(curve: Sequence[Mapping[str, Any]], best_step: int) -> go.Figure:
    """Loss on rows that the factors were not learned from, over the steps."""
    figure = chart_frame(
        "Learning the factors", "step", "nats per token", n=f"{len(curve)} readings, best at {best_step}"
    )
    figure.add_scatter(
        x=[each["step"] for each in curve],
        y=[each["loss"] for each in curve],
        mode="lines+markers",
        line={"color": BLUE, "width": 2},
        hovertemplate="%{y:.4f} nats per token<extra></extra>",
        showlegend=False,
    )
    figure.update_layout(height=260)
    return figure
