"""Guardrails one by one; and what does not decide: effects by age, segments, classic tests, each labelled as that."""

import math

import streamlit as st

from app.ui.charts import show_chart
from app.ui.experiments.arms import by_guardrail, p_words
from app.ui.experiments.difference import age_chart, guardrail_chart
from app.ui.experiments.measures import (
    amount_words,
    difference_words,
    label_of,
    span_words,
    value_words,
)
from app.ui.tables import Column, show_table
from app.ui.text import escape
from core.experiments.plan import Comparison, MetricPlan, OneLook
from core.experiments.results import ExperimentResults, SegmentFigure

SEGMENTS = (
    Column("field", "Field"),
    Column("value", "Value"),
    Column("arm", "Arm"),
    Column("units", "Units (n)", "number"),
    Column("rate", "Value of the metric"),
    Column("difference", "Against the control"),
    Column("interval", "95 % interval, one look"),
)
CLASSIC = (
    Column("name", "Test"),
    Column("statistic", "Statistic", "number"),
    Column("degrees", "Degrees of freedom", "number"),
    Column("p", "p-value"),
    Column("label", "Valid for"),
)
_SAYS = {
    "veto": (":red-badge[:material/block: Veto]", "is shown to be worse than allowed"),
    "holds": (":green-badge[:material/check: Holds]", "cannot be worse than allowed any more"),
    "open": (":orange-badge[:material/hourglass_empty: Open]", "may still be worse than allowed"),
    "quiet": (":gray-badge[:material/visibility: Watched]", "shows no harm so far"),
}


def show_guardrails(results: ExperimentResults) -> None:
    """Each with what it may lose, where it stands, and whether it vetoes."""
    plan = results.experiment.plan
    if not plan.guardrails:
        return
    st.subheader("Guardrails", anchor=False)
    if not results.decision.guardrails:
        st.caption("Nothing to compare yet.")
        return
    with st.grid(2, min_column_width=320):
        for number, (metric, found) in enumerate(by_guardrail(results)):
            with st.container(border=True, height="stretch"):
                for each in found:
                    mark, says = _SAYS[standing(each, metric)]
                    st.markdown(f"{mark} **{escape(label_of(metric))}** of {escape(each.arm)} {says}.")
                show_chart(
                    guardrail_chart(results, metric, found),
                    key=f"exp-guard-{number}",
                    alt=f"{label_of(metric)}: {', '.join(each.arm for each in found)}",
                )
                limit = amount_words(metric, metric.margin)
                st.caption(
                    f"It may lose up to {escape(limit)}; a winner waits until more is ruled out."
                    if metric.margin
                    else "It has no margin: shown harm rolls back, and nothing else waits for it."
                )


def standing(comparison: Comparison, metric: MetricPlan) -> str:
    """Veto, holds, open; without a margin it is only watched."""
    if comparison.harmed:
        return "veto"
    if not metric.margin:
        return "quiet"
    return "holds" if comparison.better else "open"


def show_ages(results: ExperimentResults) -> None:
    """Novelty: whether the effect wears off."""
    if not any(each.difference is not None for each in results.ages):
        return
    with st.expander(
        "By days since first seen: is it only new?", icon=":material/timelapse:", key="exp-ages"
    ):
        show_chart(
            age_chart(results.ages, results.experiment.plan),
            key="exp-age-chart",
            alt="Effect by days since a unit was first seen",
        )
        st.caption(
            "An effect that falls from day to day is curiosity, not quality. Exploratory: intervals for one look."
        )


def show_segments(results: ExperimentResults) -> None:
    """The primary metric by task, retailer, brand and what is targeted."""
    if not results.segments:
        return
    with st.expander("By segment: exploratory", icon=":material/travel_explore:", key="exp-segments"):
        st.warning(
            "Exploratory: among many segments some look better or worse by chance. Use it to find the next hypothesis, "
            "and prove that with an experiment of its own.",
            icon=":material/travel_explore:",
        )
        metric = results.experiment.plan.primary
        show_table(
            [segment_row(each, metric) for each in results.segments],
            SEGMENTS,
            key="exp-segments-all",
            alt="The primary metric by segment",
            file_name="segments.csv",
        )


def segment_row(found: SegmentFigure, metric: MetricPlan) -> dict[str, object]:
    """One arm among the units with one value."""
    return {
        "field": found.field,
        "value": found.value,
        "arm": found.arm,
        "units": found.units,
        "rate": None if found.rate is None else value_words(metric, found.rate.value),
        "difference": None if found.difference is None else difference_words(metric, found.difference.value),
        "interval": None if found.difference is None else span_words(metric, found.difference),
    }


def show_classic(results: ExperimentResults) -> None:
    """Chi-square and the like, for those who know them."""
    tests = [*results.decision.one_look]
    if results.exposure_test is not None:
        tests.append(results.exposure_test)
    mismatch = results.decision.mismatch
    if mismatch.chi_square_p is not None:
        tests.append(OneLook("chi-square of the sample ratio", float("nan"), 0, mismatch.chi_square_p))
    if not tests:
        return
    with st.expander(
        "Classic tests: one look only, does not decide", icon=":material/functions:", key="exp-classic"
    ):
        st.caption(
            "Valid if somebody had looked exactly once, at a number of units fixed before the start. Looked at as often as "
            "this page is, such a test calls a winner in nearly half of the experiments in which nothing differs. "
            "The verdict above holds however often one looks."
        )
        show_table(
            [
                {
                    "name": test.name,
                    "statistic": None if math.isnan(test.statistic) else round(test.statistic, 3),
                    "degrees": test.degrees or None,
                    "p": p_words(test.p_value),
                    "label": test.label,
                }
                for test in tests
            ],
            CLASSIC,
            key="exp-classic-all",
            alt="Classic tests",
            file_name="classic-tests.csv",
        )
