"""Traffic: key figures, requests and latencies over time, hours of the week, errors, what people said."""

from datetime import datetime

import streamlit as st

from app.actions import analytics
from app.ui import badges, numbers
from app.ui.analytics import charts, spread_charts
from app.ui.analytics.drill import ANSWERED, FAILED, Drill, drill, set_later
from app.ui.analytics.filters import PERIOD, Choice
from app.ui.analytics.key_figures import show_key_figures
from app.ui.analytics.live import LONG_HOURS
from app.ui.charts import show_chart
from app.ui.frame import empty_state, errors_shown
from app.ui.screens import FEDERATION, go_to
from app.ui.text import escape
from app.ui.visit import Visit, current_visit
from core.analytics.records import (
    CANCELLED,
    LEAST_FOR_P95,
    LEAST_FOR_P99,
    ErrorCount,
    Point,
    Scope,
    Step,
    Summary,
)
from core.tenants.records import Permission

HEAT = {"Requests": "requests", "Success": "success", "P95": "p95"}


def show_traffic(choice: Choice) -> None:
    """All of it, once."""
    visit = current_visit()
    scope = choice.scope(visit)
    with errors_shown():
        totals = analytics.totals(visit.console, visit.principal, scope)
        if not totals.now.requests:
            nothing_in_period(choice)
            return
        show_source(totals.now, visit)
        points = analytics.series(visit.console, visit.principal, scope, choice.step)
        show_key_figures(totals, points)
        with st.grid(2, min_column_width=340, gap="medium"):
            with st.container(border=True, height="stretch"):
                _show_requests(points, choice)
            with st.container(border=True, height="stretch"):
                _show_latencies(points, choice)
            with st.container(border=True, height="stretch"):
                _show_hours(visit, scope, choice)
            with st.container(border=True, height="stretch"):
                _show_errors(visit, scope, choice, totals.now)
            with st.container(border=True, height="stretch"):
                _show_judgements(points, choice)
            with st.container(border=True, height="stretch"):
                _show_spread(visit, scope, choice)


def show_source(summary: Summary, visit: Visit) -> None:
    """Where the figures come from: what is simulated says so. And until when they are."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        badges.simulated(summary.simulated > 0)
        state = analytics.recorder_state(visit.console, visit.principal)
        lost = f"; {state.dropped:,} lost, see System" if state.dropped else ""
        st.caption(
            escape(
                f"{summary.source}. From {numbers.moment(summary.since)} until now, "
                f"{visit.console.clock():%H:%M:%S} UTC{lost}.",
                300,
            )
        )


def nothing_yet(visit: Visit) -> None:
    """A workspace that nobody has asked anything."""
    may_ask = visit.principal.may(Permission.INFER)
    empty_state(
        "Nobody has asked anything yet.",
        "Every answered or failed request is recorded by itself, within a second. Ask something, or send requests to "
        "POST /inference with an API key.",
        icon=":material/monitoring:",
        actions={"Ask in the composer": lambda: go_to(FEDERATION)} if may_ask else None,
    )


def nothing_in_period(choice: Choice) -> None:
    """There was traffic, but not here."""
    empty_state(
        f"No requests in this period: {choice.period.lower()}.",
        f"Of {escape(choice.words)}. A longer period or fewer filters show more.",
        icon=":material/hourglass_empty:",
        actions={"Show 90 days": _longest_period},
    )


def _longest_period() -> None:
    set_later({PERIOD: "90 days"})


def _show_requests(points: list[Point], choice: Choice) -> None:
    figure = charts.requests_chart(points, choice.step, of=choice.words)
    press = charts.pressed(figure, key="requests-chart", alt=f"Requests by {choice.step.value}")
    if press:
        since, until = charts.step_of_press(press, choice.step)
        drill(Drill(since, until))
    st.caption("Press a bar to see its requests.")


def _show_latencies(points: list[Point], choice: Choice) -> None:
    figure = charts.percentile_chart(points, choice.step, of=choice.words)
    press = charts.pressed(figure, key="percentile-chart", alt=f"Latency by {choice.step.value}")
    if press:
        since, until = charts.step_of_press(press, choice.step)
        slower = charts.quantile_of_press(press, points)
        drill(Drill(since, until, outcome=ANSWERED, slower_ms=float(int(slower))))
    st.caption(
        f"P95 is drawn from {LEAST_FOR_P95} answers on, P99 from {LEAST_FOR_P99}. Press a point: of P95 and P99, the "
        "requests that were slower."
    )


def _show_hours(visit: Visit, scope: Scope, choice: Choice) -> None:
    zone = st.context.timezone or "UTC"
    cells = analytics.heat_map(visit.console, visit.principal, scope, zone=zone)
    place = st.container()
    show = st.segmented_control(
        "Colour", list(HEAT), default="Requests", required=True, key="heat-show", label_visibility="collapsed"
    )
    with place:
        figure = spread_charts.heat_chart(cells, HEAT[show or "Requests"], zone=zone, of=choice.words)
        show_chart(figure, key="heat-chart", alt=f"{show} by hour and weekday")


def _show_errors(visit: Visit, scope: Scope, choice: Choice, summary: Summary) -> None:
    errors = analytics.errors(visit.console, visit.principal, scope)
    if not errors:
        st.markdown("**Errors by type**")
        st.caption(
            f"None of n {summary.requests:,} requests, {escape(choice.words)}. {summary.cancelled:,} were left by their "
            "readers, which is no error."
        )
        return
    figure = charts.error_chart(errors, n=summary.requests - summary.cancelled, of=choice.words)
    press = charts.pressed(figure, key="error-chart", alt="Errors by type")
    if press:
        _drill_to_error(str(press["customdata"][0]))
    _error_words(errors, summary)


def _drill_to_error(code: str) -> None:
    drill(Drill(outcome=FAILED, error=code))


def _error_words(errors: list[ErrorCount], summary: Summary) -> None:
    most = errors[0]
    left = f" {summary.cancelled:,} more were left by their readers ({CANCELLED}), which is no error."
    st.caption(
        f"Most: {escape(most.code, 40)}, {most.count:,} of {most.share.n:,}. Press a bar to see its requests."
        + (left if summary.cancelled else "")
    )


def _show_judgements(points: list[Point], choice: Choice) -> None:
    if not any(point.rating_count or point.thumbs_up or point.thumbs_down for point in points):
        st.markdown("**What people said**")
        st.caption(
            "Nobody has judged an answer in this period. Reviewers tick a request under «Requests»; programs send "
            "POST /analytics/feedback."
        )
        return
    if choice.hours > LONG_HOURS:
        figure = charts.ratings_chart(charts.judged_by_day(points), Step.DAY, of=choice.words)
    else:
        figure = charts.ratings_chart(points, choice.step, of=choice.words)
    show_chart(figure, key="ratings-chart", alt="Ratings and thumbs over time")


def _show_spread(visit: Visit, scope: Scope, choice: Choice) -> None:
    buckets = analytics.latency_buckets(visit.console, visit.principal, scope)
    figure = spread_charts.spread_chart(buckets, of=choice.words)
    press = charts.pressed(figure, key="spread-chart", alt="How latencies are spread")
    if press:
        drill(Drill(outcome=ANSWERED, slower_ms=float(int(press["customdata"][0]))))
    st.caption("Press a bar to see the requests from there on.")


def moment_words(since: datetime, until: datetime) -> str:
    """A window in words: the same day is said once."""
    end = f"{until:%H:%M}" if since.date() == until.date() else f"{until:%Y-%m-%d %H:%M}"
    return f"{since:%Y-%m-%d %H:%M} to {end} UTC"
