"""The arms in numbers: how many units, how good, with intervals, as cards of a comparison and as a table."""

import math
from collections.abc import Sequence

import plotly.graph_objects as go
import streamlit as st

from app.ui import numbers
from app.ui.charts import BLUE, GRAY, GREEN, chart_frame, show_chart
from app.ui.compose.gate_charts import short
from app.ui.experiments.measures import difference_words, label_of, span_words, value_words
from app.ui.experiments.verdict import is_locked
from app.ui.tables import Column, show_table
from app.ui.text import escape
from core.experiments.plan import Comparison, MetricPlan
from core.experiments.records import RATING, SUCCESS
from core.experiments.results import ArmFigures, ExperimentResults
from core.stats.proportions import Interval

COLUMNS = (
    Column("arm", "Arm"),
    Column("label", "What answers"),
    Column("share", "Share of traffic", "percent"),
    Column("units", "Units (n)", "number", "Units that have shown something."),
    Column("exposed", "Exposed", "number", "Units that were given the arm."),
    Column("requests", "Requests", "number"),
    Column("success", "Success rate", "percent"),
    Column(
        "success_interval",
        "Its interval",
        help="Of this arm alone, for one look. The verdict goes by the difference.",
    ),
    Column("p50", "P50, ms", "number"),
    Column("p95", "P95, ms", "number"),
    Column("p99", "P99, ms", "number"),
    Column("rating", "Rating", "number"),
    Column("rating_interval", "Its interval "),
    Column("ratings", "Ratings", "number"),
)
COMPARED = (
    Column("metric", "Metric"),
    Column("arm", "Challenger"),
    Column("control", "Control had"),
    Column("value", "Challenger had"),
    Column("difference", "Difference"),
    Column("interval", "Its interval"),
    Column("relative", "Relative", help="By Fieller's theorem; empty where the control may be 0."),
    Column("p", "p-value"),
    Column("units", "Units (n)", "number"),
    Column("says", "Says"),
    Column("method", "Method"),
)


def show_arms(results: ExperimentResults) -> None:
    """One row per arm, and the comparisons that the verdict is made of."""
    st.subheader("Arms", anchor=False)
    if any(arm.success_rate is not None for arm in results.arms) and not is_locked(results):
        show_chart(success_chart(results), key="exp-arms-chart", alt=_arms_alt(results))
    own = _own_metrics(results)
    columns = (*COLUMNS, *(Column(f"m-{name}", escape(name, 40), "number") for name in own))
    show_table(
        [arm_row(arm, results) for arm in results.arms],
        columns,
        key="exp-arms",
        alt="The arms of this experiment",
        file_name="arms.csv",
    )
    st.caption(
        "Intervals of an arm are for one look and of that arm alone; percentiles are shown from 10 requests on. "
        + ("Each request counts as a unit of its own here." if results.independent_units else "")
    )
    rows = comparison_rows(results)
    if rows:
        st.subheader("Challenger against control", anchor=False)
        show_table(
            rows, COMPARED, key="exp-compared", alt="Comparisons that decide", file_name="comparisons.csv"
        )


def arm_row(arm: ArmFigures, results: ExperimentResults) -> dict[str, object]:
    """One arm as a row."""
    return {
        "arm": arm.arm + (" (control)" if arm.arm == results.experiment.control.id else ""),
        "label": arm.label,
        "share": arm.weight,
        "units": arm.units,
        "exposed": arm.exposed,
        "requests": arm.requests,
        "success": None if arm.success_rate is None else arm.success_rate.value,
        "success_interval": None
        if arm.success_rate is None
        else numbers.interval(arm.success_rate.low, arm.success_rate.high),
        "p50": _whole(arm.latency_p50_ms),
        "p95": _whole(arm.latency_p95_ms),
        "p99": _whole(arm.latency_p99_ms),
        "rating": None if arm.rating is None else round(arm.rating.value, 2),
        "rating_interval": None if arm.rating is None else _ends(arm.rating),
        "ratings": arm.ratings,
        **{f"m-{name}": value for name, value in arm.metrics.items()},
    }


def comparison_rows(results: ExperimentResults) -> list[dict[str, object]]:
    """Primary and guardrails: each challenger against the control."""
    plan = results.experiment.plan
    rows: list[dict[str, object]] = []
    for kind, metric, each in (
        *(("decides", plan.primary, each) for each in results.decision.comparisons),
        *(("guardrail", metric, each) for metric, found in by_guardrail(results) for each in found),
    ):
        says = "worse" if each.harmed else "better" if each.better else "open"
        if kind == "guardrail":
            says = "veto" if each.harmed else "holds" if each.better else "not ruled out yet"
        rows.append(
            {
                "metric": f"{label_of(metric)} ({kind})",
                "arm": each.arm,
                "control": value_words(metric, each.control_value),
                "value": value_words(metric, each.value),
                "difference": difference_words(metric, each.interval.value),
                "interval": span_words(metric, each.interval),
                "relative": None if each.relative is None else _relative(each.relative),
                "p": p_words(each.p_value),
                "units": each.units,
                "says": says,
                "method": each.method,
            }
        )
    return rows


def by_guardrail(results: ExperimentResults) -> list[tuple[MetricPlan, Sequence[Comparison]]]:
    """Each guardrail with its comparisons, which come in the order of the plan: two may be of one metric (P50, P95)."""
    guardrails, found = results.experiment.plan.guardrails, results.decision.guardrails
    each = len(found) // len(guardrails) if guardrails else 0
    return [(metric, found[n * each : (n + 1) * each]) for n, metric in enumerate(guardrails)]


def success_chart(results: ExperimentResults) -> go.Figure:
    """Success rate of each arm with its interval for one look."""
    arms = [(arm, arm.success_rate) for arm in reversed(results.arms) if arm.success_rate is not None]
    plan = results.experiment.plan
    figure = chart_frame(
        "Success rate of each arm",
        "share of requests that ended well, %",
        "",
        n=f"n {sum(arm.units for arm, _ in arms):,} units, {plan.confidence:.0%} intervals of each arm alone, for one look",
    )
    winner = results.winner
    figure.add_scatter(
        x=[100 * rate.value for _, rate in arms],
        y=[short(arm.arm) for arm, _ in arms],
        mode="markers",
        marker={
            "size": 12,
            "color": [
                GREEN if arm.arm == winner else GRAY if arm.arm == plan.arms[0] else BLUE for arm, _ in arms
            ],
        },
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [100 * (rate.high - rate.value) for _, rate in arms],
            "arrayminus": [100 * (rate.value - rate.low) for _, rate in arms],
            "color": GRAY,
            "thickness": 1.5,
            "width": 6,
        },
        customdata=[(100 * rate.low, 100 * rate.high, arm.units, short(arm.label)) for arm, rate in arms],
        hovertemplate="%{customdata[3]}: %{x:.2f}%<br>%{customdata[0]:.2f} to %{customdata[1]:.2f}%"
        "<br>n %{customdata[2]:,} units<extra></extra>",
        showlegend=False,
    )
    figure.update_layout(height=130 + 46 * len(arms), hovermode="closest")
    figure.update_yaxes(automargin=True)
    return figure


def p_words(value: float) -> str:
    """A p-value as people read it; tiny ones as a power of ten."""
    if math.isnan(value):
        return numbers.NOTHING
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1e}"


def _own_metrics(results: ExperimentResults) -> list[str]:
    known = (SUCCESS, RATING, "latency_ms")
    return sorted({name for arm in results.arms for name in arm.metrics if name not in known})


def _arms_alt(results: ExperimentResults) -> str:
    parts = [
        f"{arm.arm} {numbers.percent(arm.success_rate.value)}"
        for arm in results.arms
        if arm.success_rate is not None
    ]
    return f"Success rates: {', '.join(parts)}"


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _ends(found: Interval) -> str:
    if abs(found.low) == float("inf") or abs(found.high) == float("inf"):
        return "no bound"
    return f"{found.low:.2f} to {found.high:.2f}"


def _relative(found: Interval) -> str:
    def told(value: float) -> str:
        return "no bound" if abs(value) == float("inf") else f"{100 * value:+.1f}%".replace("-", "−")

    return f"{told(found.value)} ({told(found.low)} to {told(found.high)})"
