"""Adapters: the table, ranked by what is sure; and some of them side by side, with intervals."""

from collections.abc import Mapping, Sequence

import streamlit as st

from app.actions import analytics
from app.ui import numbers
from app.ui.analytics import words
from app.ui.analytics.drill import Drill, drill, times
from app.ui.analytics.filters import Choice, named_subjects, subject_name
from app.ui.analytics.spread_charts import compared_chart
from app.ui.analytics.traffic import nothing_in_period, show_source
from app.ui.charts import show_chart
from app.ui.frame import errors_shown
from app.ui.tables import Column, show_table
from app.ui.text import escape, plain
from app.ui.visit import Visit, current_visit
from core.analytics import rankings
from core.analytics.records import (
    LEAST_FOR_P95,
    AdapterComparison,
    Difference,
    RankMetric,
    Scope,
    Subject,
    SubjectKind,
    Summary,
)

MOST_ROWS = 1000
MOST_SIDE_BY_SIDE = 6
RANK_BY, COMPARED, KIND = "adapters-rank", "adapters-compared", "adapters-kind"
KINDS = {"Adapters": SubjectKind.ADAPTER, "Compositions": SubjectKind.COMPOSITION}
BY_TASK = "Tasks"
_BOUND_HELP = "The end of the 95 % interval that speaks against it: of shares and ratings the lower, of times the upper."
COLUMNS = (
    Column("rank", "Rank", "number"),
    Column("name", "Name"),
    Column("type", "Type"),
    Column("requests", "Requests", "number"),
    Column("bound", "Ranked by", help=_BOUND_HELP),
    Column("success", "Success", "percent"),
    Column("success_low", "from", "percent", "Lower end of the 95 % interval of the success rate (Wilson)."),
    Column("success_high", "to", "percent", "Upper end of the same."),
    Column("p50", "P50, ms", "number"),
    Column(
        "p95",
        "P95, ms",
        "number",
        f"Of fewer than {LEAST_FOR_P95} answers it would be the slowest one: too few.",
    ),
    Column("p99", "P99, ms", "number", "From 50 answers on."),
    Column("rating", "Rating", "number", "Mean of 1 to 5."),
    Column("ratings", "n ratings", "number"),
    Column("thumbs", "Thumbs up", "percent"),
    Column("thumbs_n", "n thumbs", "number"),
    Column("cost", "Cost", "number"),
    Column("failures", "Errors", "number"),
    Column("error", "Most frequent error"),
    Column("accuracy", "Accuracy", "percent", "As it was reported for answers, mean."),
    Column("accuracy_n", "n accuracy", "number"),
    Column("queued", "Queued P95, ms", "number"),
    Column("composing", "Composing, mean, ms", "number"),
    Column("memory", "Most memory", "size"),
    Column("size", "Files", "size"),
    Column("simulated", "Simulated"),
    Column("registered", "In the registry"),
)
TASKS = (
    Column("task", "Task"),
    Column("requests", "Requests", "number"),
    Column("accuracy", "Accuracy", "percent", "As it was reported for answers, mean."),
    Column("low", "from", "percent", "Lower end of its 95 % interval."),
    Column("high", "to", "percent", "Upper end of the same."),
    Column("n", "n accuracy", "number"),
)
DIFFERENCES = (
    Column("metric", "Figure"),
    Column("other", "Adapter"),
    Column("difference", "Minus the first"),
    Column("interval", "95 % interval"),
    Column("n", "n, both", "number"),
    Column("says", "It is"),
    Column("note", "Note"),
)


def show_adapters(choice: Choice) -> None:
    """The table, then the comparison."""
    visit = current_visit()
    scope = analytics.scope_of(visit.console, hours=choice.hours, task=choice.task)
    with errors_shown():
        summary = analytics.summary(visit.console, visit.principal, scope)
        if not summary.requests:
            nothing_in_period(choice)
            return
        show_source(summary, visit)
        with st.container(horizontal=True, vertical_alignment="bottom"):
            kind = st.segmented_control(
                "List", [*KINDS, BY_TASK], default="Adapters", required=True, key=KIND, bind="query-params"
            )
            metric = st.selectbox(
                "Rank by",
                list(words.METRICS),
                format_func=lambda each: words.METRICS[each],
                key=RANK_BY,
                width=220,
                help=_BOUND_HELP,
            )
        if kind == BY_TASK:
            _show_tasks(visit, scope)
            return
        found = analytics.summaries(visit.console, visit.principal, scope, KINDS[kind or "Adapters"])
        _show_ranking(found, metric, plain(summary.cost.unit, 8))
        if kind == "Adapters":
            _show_comparison(visit, scope, [each.subject for each in found])


def ranking_rows(found: Sequence[Summary], metric: RankMetric) -> list[dict[str, object]]:
    """Ranked ones first; those without such a figure after them, without a rank."""
    ranked = rankings.rank(found, metric, MOST_ROWS)
    rows = [_row(each.summary, each.rank, each.bound, each.figure.unit) for each in ranked]
    placed = {each.subject.id for each in ranked}
    return rows + [_row(each, None, None, "") for each in found if each.subject.id not in placed]


def _row(each: Summary, rank: int | None, bound: float | None, unit: str) -> dict[str, object]:
    most = max(each.errors.items(), key=lambda item: (item[1], item[0]), default=None)
    return {
        "id": each.subject.id,
        "rank": rank,
        "name": subject_name(each.subject),
        "type": each.subject.type or numbers.NOTHING,
        "requests": each.requests,
        "bound": None if bound is None else words.amount(bound, unit),
        "success": each.success_rate.value,
        "success_low": each.success_rate.low,
        "success_high": each.success_rate.high,
        "p50": _whole(each.latency_p50.value),
        "p95": _whole(each.latency_p95.value),
        "p99": _whole(each.latency_p99.value),
        "rating": None if each.rating.value is None else round(each.rating.value, 2),
        "ratings": each.rating.n,
        "thumbs": each.thumbs.value,
        "thumbs_n": each.thumbs.n,
        "cost": round(each.cost.value or 0.0, 4),
        "failures": each.failures,
        "error": numbers.NOTHING if most is None else f"{most[0]} ({most[1]:,})",
        "accuracy": each.accuracy.value,
        "accuracy_n": each.accuracy.n,
        "queued": _whole(each.queued_p95.value),
        "composing": _whole(each.composing_mean.value),
        "memory": each.memory.value,
        "size": each.size.value,
        "simulated": "all" if each.simulated == each.requests else "some" if each.simulated else "no",
        "registered": "yes" if each.subject.registered else "no",
    }


def _show_ranking(found: Sequence[Summary], metric: RankMetric, currency: str) -> None:
    columns = tuple(
        Column("cost", f"Cost, {currency}", "number") if column.field == "cost" else column
        for column in COLUMNS
    )
    st.caption(
        f"Ranked by the end of the 95 % interval of «{words.METRICS[metric]}» that speaks against each, so that 2 of 2 "
        "does not beat 980 of 1,000. A request counts for each adapter that took part in it. Tick a row to see its "
        "requests."
    )
    picked = show_table(
        ranking_rows(found, metric),
        columns,
        key=f"adapters-{times()}",
        alt="Adapters, ranked",
        file_name="adapters.csv",
        missing=words.TOO_FEW,
        pick=True,
    )
    if picked is not None:
        drill(Drill(subject=str(picked["name"])))


def _show_tasks(visit: Visit, scope: Scope) -> None:
    st.caption(
        "How right answers are is told through POST /analytics/feedback; a task without such a word has no accuracy."
    )
    rows = [
        {
            "task": each.task or words.NO_TASK,
            "requests": each.requests,
            "accuracy": each.accuracy.value,
            "low": each.accuracy.low,
            "high": each.accuracy.high,
            "n": each.accuracy.n,
        }
        for each in analytics.tasks(visit.console, visit.principal, scope)
    ]
    show_table(rows, TASKS, key="tasks", alt="Tasks with their accuracy", file_name="tasks.csv")


def _show_comparison(visit: Visit, scope: Scope, subjects: Sequence[Subject]) -> None:
    st.subheader("Side by side", anchor=False)
    names = {name: each for name, each in named_subjects(visit).items() if each.kind is SubjectKind.ADAPTER}
    active = {each.id for each in subjects}
    offered = [name for name, each in names.items() if each.id in active]
    if len(offered) < 2:
        st.caption("Two adapters with requests in this period can be compared; there is one.")
        return
    chosen = st.multiselect(
        "Adapters; the first one is what the others are compared with",
        offered,
        default=_most_asked(names, subjects)[:2],
        max_selections=MOST_SIDE_BY_SIDE,
        key=COMPARED,
        bind="query-params",
    )
    if len(chosen) < 2:
        st.caption("Choose two or more.")
        return
    comparison = analytics.get_adapter_comparison(
        visit.console, visit.principal, [names[name].id for name in chosen], scope=scope
    )
    _show_sides(comparison, chosen)
    _show_differences(
        comparison, dict(zip((s.subject.id for s in comparison.summaries), chosen, strict=True))
    )


def _most_asked(names: Mapping[str, Subject], subjects: Sequence[Subject]) -> list[str]:
    """Names in the order of `subjects`."""
    by_id = {each.id: name for name, each in names.items()}
    return [by_id[each.id] for each in subjects if each.id in by_id]


def _show_sides(comparison: AdapterComparison, chosen: Sequence[str]) -> None:
    sides = list(zip(chosen, comparison.summaries, strict=True))
    shown = (
        ("Success rate", [(name, each.success_rate) for name, each in sides]),
        ("P95 latency", [(name, each.latency_p95) for name, each in sides]),
        ("Mean latency", [(name, each.latency_mean) for name, each in sides]),
        ("Rating", [(name, each.rating) for name, each in sides]),
    )
    with st.grid(2, min_column_width=340, gap="medium"):
        for title, each in shown:
            with st.container(border=True, height="stretch"):
                show_chart(
                    compared_chart(title, each),
                    key=f"compared-{title}",
                    alt=f"{title} of each adapter",
                )


def _show_differences(comparison: AdapterComparison, names: Mapping[str, str]) -> None:
    st.caption(
        f"Each minus {escape(next(iter(names.values())))}. {escape(comparison.note, 300)} "
        "«Not clear»: the interval holds 0."
    )
    show_table(
        [difference_row(each, names) for each in comparison.differences],
        DIFFERENCES,
        key="differences",
        alt="Differences between adapters, with intervals",
        file_name="comparison.csv",
    )


def difference_row(each: Difference, names: Mapping[str, str]) -> dict[str, object]:
    """A difference as a row of the table."""
    return {
        "metric": words.METRICS.get(RankMetric(each.metric), each.metric),
        "other": names.get(each.other, each.other),
        "difference": words.difference(each.difference),
        "interval": words.difference_interval(each.difference) or None,
        "n": each.difference.n,
        "says": words.OUTLOOKS[each.outlook][0] if each.difference.value is not None else numbers.NOTHING,
        "note": each.difference.note or None,
    }


def _whole(value: float | None) -> float | None:
    return None if value is None else round(value, 1) if value < 100 else float(round(value))
