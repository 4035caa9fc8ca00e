"""The difference between the arms as a picture: over the days with its interval, now, and by days since first seen."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time

import plotly.graph_objects as go

from app.ui.charts import AMBER, BLUE, GRAY, GREEN, VIOLET, chart_frame, shade
from app.ui.compose.gate_charts import short
from app.ui.experiments.measures import difference_words, label_of, scale_of, span_words, unit_of
from core.experiments.plan import Comparison, MetricPlan, Plan
from core.experiments.results import AgeFigure, ExperimentResults
from core.stats.proportions import Interval

COLORS = (BLUE, VIOLET, GREEN, AMBER, "#ec4899", "#06b6d4", "#84cc16", "#f97316", "#64748b")
AGE_WORDS = {"0": "first day", "1": "second day", "2–6": "third to seventh day", "7+": "later"}


@dataclass(frozen=True, slots=True)
class Stand:
    """How a treatment stood at a moment."""

    at: datetime
    arm: str
    interval: Interval
    units: int


def stands(results: ExperimentResults) -> list[Stand]:
    """The end of each day that is over, and now."""
    today = results.at.astimezone(UTC).date()
    comparisons = results.decision.comparisons
    found = [
        Stand(
            datetime.combine(point.day, time(23, 59), tzinfo=UTC),
            point.arm,
            Interval(point.value, point.low, point.high),
            point.units,
        )
        for point in results.history
        if not (comparisons and point.day >= today)
    ]
    last = min(results.at, results.experiment.stopped_at or results.at)
    return found + [Stand(last, each.arm, each.interval, each.units) for each in comparisons]


def difference_chart(results: ExperimentResults) -> go.Figure:
    """Each treatment against the control in the primary metric: value as a line, interval as a band."""
    plan = results.experiment.plan
    metric, found = plan.primary, stands(results)
    always = all(each.always_valid for each in results.decision.comparisons)
    units = max((each.units for each in found), default=0)
    figure = chart_frame(
        f"{label_of(metric)}: challenger minus control",
        "day, UTC",
        unit_of(metric),
        n=f"n {units:,} units compared, {plan.confidence:.0%} intervals that hold "
        + ("at every moment" if always else "at the planned looks"),
    )
    edge = _edge([each.interval for each in found])
    for arm, color in zip(plan.arms[1:], COLORS, strict=False):
        _add_arm(figure, metric, [each for each in found if each.arm == arm], arm, color, edge)
    _mark_zero(figure, plan)
    if results.reached is not None:
        _mark_verdict(figure, results.reached.at)
    figure.update_layout(
        height=330 if len(plan.arms) == 2 else 380,
        hovermode="x unified" if len(plan.arms) == 2 else "closest",
        showlegend=len(plan.arms) > 2,
        legend={"orientation": "h", "y": -0.18, "yanchor": "top", "x": 0},
    )
    figure.update_xaxes(automargin=True)
    return figure


def guardrail_chart(results: ExperimentResults, metric: MetricPlan, found: Sequence[Comparison]) -> go.Figure:
    """One guardrail now: each treatment with its interval, and the line that it must not cross."""
    units = min((arm.units for arm in results.arms if arm.weight > 0), default=0)
    figure = chart_frame(
        label_of(metric),
        f"challenger minus control, {unit_of(metric)}",
        "",
        n=f"n {units:,} units in the smallest arm, {results.experiment.plan.confidence:.0%} intervals",
    )
    scale = scale_of(metric)
    edge = _edge([each.interval for each in found])
    rows = list(reversed(found))
    figure.add_scatter(
        x=[scale * each.interval.value for each in rows],
        y=[short(each.arm) for each in rows],
        mode="markers",
        marker={
            "size": 11,
            "color": ["#ef4444" if each.harmed else GREEN if each.better else AMBER for each in rows],
        },
        error_x=_whiskers([each.interval for each in rows], scale, edge),
        customdata=[span_words(metric, each.interval) for each in rows],
        hovertemplate=f"%{{y}}: %{{x:+.4g}} {short(unit_of(metric))}<br>%{{customdata}}<extra></extra>",
        showlegend=False,
    )
    limit = scale * metric.margin * (-1 if metric.higher_is_better else 1)
    figure.add_vline(x=0, line={"color": GRAY, "dash": "dot"})
    if metric.margin:
        figure.add_vline(
            x=limit,
            line={"color": "#ef4444", "dash": "dash"},
            annotation={"text": "limit", "font": {"size": 11, "color": "#ef4444"}},
        )
    figure.update_layout(height=130 + 44 * len(rows), hovermode="closest")
    figure.update_yaxes(automargin=True)
    return figure


def age_chart(ages: Sequence[AgeFigure], plan: Plan) -> go.Figure:
    """The effect by days since a unit was first seen: a novelty wears off, a real effect stays."""
    metric = plan.primary
    scale = scale_of(metric)
    known = [each for each in ages if each.difference is not None]
    figure = chart_frame(
        "Effect by days since a unit was first seen",
        "",
        unit_of(metric),
        n=f"n {sum(each.units for each in known):,} units of the challengers, {plan.confidence:.0%} intervals for one look",
    )
    edge = _edge([each.difference for each in known if each.difference is not None])
    for arm, color in zip(plan.arms[1:], COLORS, strict=False):
        mine = [(each, each.difference) for each in known if each.arm == arm]
        pairs = [(each, found) for each, found in mine if found is not None]
        figure.add_scatter(
            x=[AGE_WORDS.get(each.days, each.days) for each, _ in pairs],
            y=[scale * found.value for _, found in pairs],
            name=short(arm),
            mode="lines+markers",
            line={"color": color, "width": 2},
            error_y=_whiskers([found for _, found in pairs], scale, edge),
            customdata=[(span_words(metric, found), each.units) for each, found in pairs],
            hovertemplate="%{x}: %{y:+.4g}<br>%{customdata[0]}<br>n %{customdata[1]:,}<extra></extra>",
        )
    figure.add_hline(y=0, line={"color": GRAY, "dash": "dot"})
    figure.update_layout(height=300, hovermode="closest", showlegend=len(plan.arms) > 2)
    return figure


def _add_arm(
    figure: go.Figure, metric: MetricPlan, found: Sequence[Stand], arm: str, color: str, edge: float
) -> None:
    if not found:
        return
    scale = scale_of(metric)
    x = [each.at for each in found]
    low = [scale * _within(each.interval.low, edge) for each in found]
    high = [scale * _within(each.interval.high, edge) for each in found]
    value = [None if math.isnan(each.interval.value) else scale * each.interval.value for each in found]
    told = [
        (difference_words(metric, e.interval.value), span_words(metric, e.interval), e.units) for e in found
    ]
    single = len(found) == 1
    if not single:
        for ends, fill in ((high, None), (low, "tonexty")):
            figure.add_scatter(
                x=x,
                y=ends,
                mode="lines",
                line={"color": shade(color, 0.35), "width": 1},
                fill=fill,
                fillcolor=shade(color, 0.16),
                hoverinfo="skip",
                showlegend=False,
            )
    figure.add_scatter(
        x=x,
        y=value,
        name=short(arm),
        mode="markers" if single else "lines+markers",
        line={"color": color, "width": 2.5},
        marker={"size": 11 if single else 6, "color": color},
        error_y=_whiskers([each.interval for each in found], scale, edge) if single else None,
        customdata=told,
        hovertemplate="%{customdata[0]}<br>%{customdata[1]}<br>n %{customdata[2]:,} units<extra>"
        + short(arm)
        + "</extra>",
        showlegend=True,
    )


def _mark_zero(figure: go.Figure, plan: Plan) -> None:
    """No difference, the margin that has to be beaten, and the range that matters to nobody."""
    metric = plan.primary
    scale = scale_of(metric)
    figure.add_hline(y=0, line={"color": GRAY, "dash": "dot"})
    if plan.equivalence:
        width = scale * plan.equivalence
        figure.add_hrect(y0=-width, y1=width, fillcolor=shade(GRAY, 0.12), line_width=0)
    if metric.margin:
        figure.add_hline(
            y=scale * metric.margin * (1 if metric.higher_is_better else -1),
            line={"color": GREEN, "dash": "dash"},
            annotation={"text": "must be beaten", "font": {"size": 11}},
            annotation_position="top left",
        )


def _mark_verdict(figure: go.Figure, at: datetime) -> None:
    """When the question was answered."""
    figure.add_vline(x=at, line={"color": GREEN, "dash": "dot", "width": 1.5})
    figure.add_annotation(
        x=at,
        y=1,
        yref="paper",
        xanchor="left",
        yanchor="top",
        text="verdict",
        showarrow=False,
        font={"size": 11, "color": GREEN},
    )


def _edge(intervals: Sequence[Interval]) -> float:
    """Where an end that has no bound is cut off, so that the rest can be seen."""
    ends = [abs(end) for each in intervals for end in (each.value, each.low, each.high) if math.isfinite(end)]
    return 1.3 * max(ends, default=1.0) or 1.0


def _within(end: float, edge: float) -> float:
    return min(max(end, -edge), edge)


def _whiskers(intervals: Sequence[Interval], scale: float, edge: float) -> dict[str, object]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [scale * (_within(each.high, edge) - each.value) for each in intervals],
        "arrayminus": [scale * (each.value - _within(each.low, edge)) for each in intervals],
        "color": GRAY,
        "thickness": 1.5,
        "width": 6,
    }
