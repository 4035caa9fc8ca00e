"""Trends: each hour beside what was to be expected of it, marks where it does not fit, and the next two days."""

import math
from collections.abc import Mapping
from datetime import timedelta

import streamlit as st

from app.actions.expectations import DAYS, STEPS, Expectations, Measure, expectations
from app.ui import badges
from app.ui.analytics.drill import Drill, drill, times
from app.ui.analytics.expectation_chart import expectation_chart
from app.ui.analytics.filters import Choice
from app.ui.charts import show_chart
from app.ui.frame import empty_state, errors_shown
from app.ui.tables import Column, show_table
from app.ui.text import escape
from app.ui.visit import current_visit
from core.stats.anomaly import CONFIDENCE as MARK_CONFIDENCE

MEASURE, SHOWN = "trends-measure", "trends-shown"
MEASURES: Mapping[Measure, tuple[str, str]] = {
    Measure.REQUESTS: ("Requests", "requests"),
    Measure.FAILURES: ("Failures", "requests"),
    Measure.MEDIAN_MS: ("Median latency", "ms"),
    Measure.P95_MS: ("P95 latency", "ms"),
    Measure.TOKENS: ("Tokens", "tokens"),
}
COLUMNS = (
    Column("at", "Hour, UTC", "time"),
    Column("value", "Seen", "number"),
    Column("expected", "Expected", "number"),
    Column("low", "from", "number", "Lower end of the 99.9 % interval of what was expected."),
    Column("high", "to", "number", "Upper end of the same."),
    Column("says", "It is"),
    Column("n", "n requests", "number"),
)


def show_trends(choice: Choice) -> None:
    """The chart, then the hours that do not fit."""
    visit = current_visit()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        measure = st.segmented_control(
            "Follow",
            list(MEASURES),
            default=Measure.REQUESTS,
            required=True,
            format_func=lambda each: MEASURES[each][0],
            key=MEASURE,
            bind="query-params",
        )
    measure = measure or Measure.REQUESTS
    with errors_shown():
        found = expectations(visit.console, visit.principal, choice.scope(visit), measure)
        if not found.at:
            empty_state(
                "No whole hour with requests yet.",
                f"Of {escape(choice.words)}, in the last {DAYS} days. The hour that runs is counted when it is over.",
                icon=":material/hourglass_empty:",
            )
            return
        badges.simulated(found.simulated > 0)
        days = max(2.0, min(float(DAYS), choice.hours / 24))
        title, unit = MEASURES[measure]
        with st.container(border=True):
            figure = expectation_chart(found, title=title, unit=unit, of=choice.words, days=days)
            show_chart(
                figure, key="expectation-chart", alt=f"{title} by hour, expected interval and forecast"
            )
        for note in found.notes:
            st.caption(escape(note, 300))
        st.caption(
            f"Whole hours of the last {DAYS} days. Grey band: where {MARK_CONFIDENCE:.1%} of hours lie when nothing is "
            "wrong, learned from the hours around and the same hour of other days or weeks; so about one hour in a "
            f"thousand is marked for nothing. Blue band: the 95 % interval of each of the next {STEPS} hours by itself."
        )
        _show_marks(found)


def mark_rows(found: Expectations) -> list[dict[str, object]]:
    """The hours that do not fit, newest first."""
    rows: list[dict[str, object]] = []
    for number in reversed(found.odd):
        mark = found.marks[number]
        rows.append(
            {
                "at": found.at[number],
                "value": _shown(mark.value),
                "expected": _shown(mark.expected),
                "low": _shown(mark.low),
                "high": _shown(mark.high),
                "says": "more than expected" if mark.value > mark.high else "less than expected",
                "n": found.n[number],
            }
        )
    return rows


def _show_marks(found: Expectations) -> None:
    st.subheader("Hours that do not fit", anchor=False)
    if not found.marks:
        st.caption("They cannot be told yet.")
        return
    rows = mark_rows(found)
    if not rows:
        st.caption(f"None of {len(found.marks):,} hours.")
        return
    chance = len(found.marks) * (1 - MARK_CONFIDENCE)
    st.caption(
        f"{len(rows):,} of {len(found.marks):,} hours; by chance alone about {chance:.1g}. Tick one to see its requests."
    )
    picked = show_table(
        rows,
        COLUMNS,
        key=f"marks-{times()}",
        alt="Hours that do not fit",
        file_name="anomalies.csv",
        pick=True,
    )
    if picked is not None:
        drill(Drill(picked["at"], picked["at"] + timedelta(hours=1)))


def _shown(value: float) -> float | None:
    if math.isnan(value):
        return None
    return float(round(value)) if abs(value) >= 100 else round(value, 1)
