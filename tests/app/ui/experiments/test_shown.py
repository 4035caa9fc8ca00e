"""What is said and drawn of an experiment's results, apart from Streamlit."""

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from app.ui.experiments.arms import arm_row, by_guardrail, comparison_rows, p_words, success_chart
from app.ui.experiments.detail import share_words
from app.ui.experiments.difference import age_chart, difference_chart, guardrail_chart, stands
from app.ui.experiments.explored import segment_row, standing
from app.ui.experiments.form import Form
from app.ui.experiments.history import entry_row
from app.ui.experiments.offline import prompts_of
from app.ui.experiments.offline_view import offline_row
from app.ui.experiments.plan_view import form_from, plan_facts
from app.ui.experiments.review import facts, what_is_decided
from app.ui.experiments.verbs import may_swap, promotion_words
from app.ui.experiments.verdict import afterwards, days_left, is_locked, leading, mismatch_words, spoken
from core.experiments.decision import decide
from core.experiments.drafts import experiment_of
from core.experiments.plan import ArmEvidence, Comparison, Evidence, MetricKind, Mode, PairCounts, Verdict
from core.experiments.records import (
    ArmDraft,
    Automatic,
    ExperimentDraft,
    MetricDraft,
    RampDraft,
    Reached,
    ServesDraft,
    ServesKind,
    State,
)
from core.experiments.results import AgeFigure, ArmFigures, ExperimentResults, HistoryPoint, SegmentFigure
from core.stats.moments import UnitSums
from core.stats.proportions import Interval, wilson
from core.tenants.records import AuditEntry

NOW = datetime(2026, 3, 11, 12, tzinfo=UTC)
HOSTILE = "<b>x</b>"
MEAN = MetricDraft(name="latency_ms", kind=MetricKind.MEAN, higher_is_better=False, margin=50.0)
Results = Callable[..., ExperimentResults]


def draft(**changes: Any) -> ExperimentDraft:
    fields: dict[str, Any] = {
        "id": "tone",
        "name": "Tone",
        "arms": (
            ArmDraft(id="calm", composition={"model": "adapter:calm@1"}),
            ArmDraft(id="warm", composition={"model": "adapter:warm@2"}),
        ),
        "unit": "request",
    }
    return ExperimentDraft(**(fields | changes))


def results_of(
    successes: tuple[int, int] = (500, 600), units: tuple[int, int] = (1000, 1000), **changes: Any
) -> ExperimentResults:
    """What two arms with so many successes of so many units say after ten days."""
    experiment = replace(
        experiment_of(draft(**changes), "t", [], created_by="ada@demo.example", now=NOW - timedelta(days=10)),
        state=State.RUNNING,
        started_at=NOW - timedelta(days=10),
    )
    latency = (200.0, 210.0)
    arms = {}
    for name, good, n, ms in zip(("calm", "warm"), successes, units, latency, strict=True):
        first = UnitSums.of([1.0] * good + [0.0] * (n - good))
        slow = UnitSums.of([ms + (number % 7) for number in range(n)])
        arms[name] = ArmEvidence(n, n, {"success": first, "latency_ms": slow}, {}, first)
    n, rates = min(units), [good / of for good, of in zip(successes, units, strict=True)]
    plus, minus = round(n * rates[1] * (1 - rates[0])), round(n * rates[0] * (1 - rates[1]))
    pairs = PairCounts(plus, minus, n - plus - minus)
    evidence = Evidence(arms, {"warm": pairs}, days=10.0)
    figures = tuple(
        ArmFigures(
            arm=name,
            label=f"{name} {HOSTILE}",
            weight=0.5,
            exposed=n,
            units=n,
            requests=n,
            success_rate=wilson(good, n),
            latency_mean_ms=200.0,
            latency_p50_ms=199.6,
            latency_p95_ms=260.2,
            latency_p99_ms=None,
            rating=None,
            ratings=0,
            metrics={"success": good / n, "latency_ms": 200.0, "cost_usd": 0.5},
        )
        for name, good, n in zip(("calm", "warm"), successes, units, strict=True)
    )
    history = (
        HistoryPoint(date(2026, 3, 2), "warm", 0.02, -math.inf, 0.3, 80, "no_decision"),
        HistoryPoint(date(2026, 3, 10), "warm", 0.09, 0.01, 0.17, 1600, "keep_running"),
        HistoryPoint(date(2026, 3, 11), "warm", 0.1, 0.02, 0.17, 1900, "ship"),
    )
    decision = decide(experiment.plan, evidence)
    return ExperimentResults(experiment, NOW, decision, None, evidence, figures, history, (), (), (), 0, 0)


def test_a_verdict_that_was_reached_stays_and_what_came_later_is_told() -> None:
    results = results_of()
    assert spoken(results) == (Verdict.SHIP, results.decision.reason)
    reached = Reached(Verdict.ROLLBACK, "calm", "It was worse then.", NOW - timedelta(days=4))
    later = replace(results, reached=reached)
    assert spoken(later) == (Verdict.ROLLBACK, "It was worse then.")
    assert afterwards(later).startswith("Reached 2026-03-07 12:00 UTC; it stays, whatever comes later.")
    assert "The numbers now, by themselves: ship it." in afterwards(later)


def test_units_that_are_still_needed_come_with_the_days_at_this_pace() -> None:
    results = results_of((500, 520))
    needed = results.decision.units_needed
    assert needed is not None
    assert needed > 0
    days = math.ceil(needed * 10 / 1000)
    assert days_left(results) == days
    about = f"{round(needed, 3 - len(str(needed))):,}"  # what is expected is not told to the last unit
    assert afterwards(results) == (
        f"About {about} more units per arm until a verdict, if the difference stays what it is now. "
        f"At this pace about {days:,} days."
    )
    ended = replace(results, experiment=replace(results.experiment, state=State.STOPPED))
    assert "the question stayed open" in afterwards(ended)


def test_the_share_now_the_next_one_and_the_end_are_told() -> None:
    ramp = (RampDraft(at=NOW, share=0.5), RampDraft(at=NOW + timedelta(days=1), share=1.0))
    made = results_of(share=0.1, ramp=ramp, ends_at=NOW + timedelta(days=9)).experiment
    assert share_words(made, NOW) == (
        "50 % of the traffic takes part, 100 % from 2026-03-12 12:00 UTC; it ends 2026-03-20 12:00 UTC."
    )
    assert share_words(made, NOW + timedelta(days=2)).startswith("100 % of the traffic takes part; it ends")
    assert share_words(replace(made, state=State.PAUSED), NOW).startswith("Paused")


def test_a_mismatch_is_counted_out_and_says_how_rare_it_is() -> None:
    results = results_of((800, 700), (1600, 1000))
    assert results.decision.mismatch.found
    words = mismatch_words(results)
    assert "calm has 1,600 units and should have 1,300" in words
    assert "Why:" in words
    assert "Next:" in words
    assert afterwards(results) == ""


def test_a_locked_plan_gives_no_difference_to_look_at() -> None:
    results = results_of(mode=Mode.FIXED, planned_units=5000)
    assert is_locked(results)
    assert leading(results) is None
    assert afterwards(results).startswith("4,000 more units per arm until the next look.")
    assert not is_locked(results_of())


def test_the_days_that_are_over_and_now_make_the_line_over_time() -> None:
    results = results_of()
    found = stands(results)
    assert [each.at for each in found] == [
        datetime(2026, 3, 2, 23, 59, tzinfo=UTC),
        datetime(2026, 3, 10, 23, 59, tzinfo=UTC),
        NOW,
    ]
    assert found[-1].interval == results.decision.comparisons[0].interval
    figure = difference_chart(results)
    line = figure.data[-1]
    assert list(line.y) == pytest.approx([2.0, 9.0, 10.0])  # points; now it is 60 % against 50 %
    assert min(figure.data[1].y) == pytest.approx(
        -39.0
    )  # an end without a bound is cut at 1.3 of the largest
    assert "hold at every moment" in figure.layout.title.subtitle.text
    assert figure.layout.yaxis.title.text == "points"
    assert "no bound to +30.00 points" in line.customdata[0][1]


def test_a_single_moment_is_a_point_with_its_interval() -> None:
    results = replace(results_of(), history=())
    figure = difference_chart(results)
    assert len(figure.data) == 1
    assert figure.data[0].mode == "markers"
    reach = figure.data[0].error_y.array[0]
    ends = results.decision.comparisons[0].interval
    assert reach == pytest.approx(100 * (ends.high - ends.value))


def test_two_guardrails_of_one_metric_are_told_apart() -> None:
    p50 = MetricDraft(
        name="latency_ms", kind=MetricKind.QUANTILE, quantile=0.5, higher_is_better=False, margin=9.0
    )
    results = results_of(guardrails=(MEAN, p50))
    pairs = by_guardrail(results)
    assert [(metric.margin, len(found)) for metric, found in pairs] == [(50.0, 1), (9.0, 1)]
    assert pairs[1][1][0] is results.decision.guardrails[1]
    rows = comparison_rows(results)
    assert [row["metric"] for row in rows] == [
        "Success rate (decides)",
        "Latency, mean (guardrail)",
        "Latency, median (guardrail)",
    ]
    assert rows[0]["control"] == "50.0%"
    assert rows[0]["difference"] == "+10.00 points"
    figure = guardrail_chart(results, pairs[0][0], pairs[0][1])
    assert [shape.x0 for shape in figure.layout.shapes] == [
        0,
        50.0,
    ]  # no loss, and the limit on the slow side


def test_a_guardrail_vetoes_holds_is_open_or_is_watched() -> None:
    results = results_of(guardrails=(MEAN,))
    metric, found = by_guardrail(results)[0]
    one: Comparison = found[0]
    assert standing(replace(one, harmed=True), metric) == "veto"
    assert standing(replace(one, harmed=False, better=True), metric) == "holds"
    assert standing(replace(one, harmed=False, better=False), metric) == "open"
    assert standing(replace(one, harmed=False, better=True), replace(metric, margin=0.0)) == "quiet"


def test_the_row_of_an_arm_names_the_control_and_holds_metrics_of_ones_own() -> None:
    results = results_of()
    control, warm = (arm_row(arm, results) for arm in results.arms)
    assert control["arm"] == "calm (control)"
    assert warm["success"] == 0.6
    assert warm["success_interval"] == "56.9–63.0%"
    assert (warm["p50"], warm["p95"], warm["p99"]) == (200, 260, None)
    assert warm["m-cost_usd"] == 0.5


def test_names_in_charts_are_letters() -> None:
    figure = success_chart(results_of())
    assert figure.data[0].customdata[0][3] == "warm &lt;b&gt;x&lt;/b&gt;"
    assert "n 2,000 units" in figure.layout.title.subtitle.text


@pytest.mark.parametrize(
    ("value", "words"), [(0.0312, "0.031"), (1e-300, "1.0e-300"), (1.0, "1.000"), (math.nan, "–")]
)
def test_a_p_value_is_never_rounded_to_nothing(value: float, words: str) -> None:
    assert p_words(value) == words


def test_effects_by_age_are_drawn_where_there_are_any() -> None:
    plan = results_of().experiment.plan
    ages = (
        AgeFigure("0", "warm", 400, Interval(0.2, 0.1, 0.3)),
        AgeFigure("1", "warm", 90, Interval(0.05, -0.1, 0.2)),
        AgeFigure("7+", "warm", 3, None),
    )
    figure = age_chart(ages, plan)
    assert list(figure.data[0].x) == ["first day", "second day"]
    assert list(figure.data[0].y) == pytest.approx([20.0, 5.0])
    assert "n 490 units" in figure.layout.title.subtitle.text
    assert "for one look" in figure.layout.title.subtitle.text


def test_a_segment_says_its_n_and_nothing_where_there_is_no_difference() -> None:
    metric = results_of().experiment.plan.primary
    row = segment_row(SegmentFigure("task", HOSTILE, "warm", 12, Interval(0.5, 0.2, 0.8), None), metric)
    assert (row["value"], row["units"], row["rate"], row["difference"]) == (HOSTILE, 12, "50.0%", None)


def test_the_plan_in_words_names_arms_margins_and_what_happens_by_itself() -> None:
    made = results_of(
        guardrails=(MEAN,),
        automatic=Automatic.BOTH,
        serves=ServesDraft(kind=ServesKind.ADAPTER, name="calm"),
        mode=Mode.GROUP_SEQUENTIAL,
        planned_units=4000,
        equivalence=0.02,
    ).experiment
    told = plan_facts(made)
    assert told["Arms"] == "calm, control: calm v1, 50 %; warm: warm v2, 50 %"
    assert told["Guardrails"] == "Latency, mean (lower is better, may lose 50 ms)"
    assert told["Planned"] == "4,000 units per arm, 5 looks"
    assert told["Matters to nobody"] == "within ±2 points"
    assert told["Requests"] == "those that ask for calm, or for its id"
    assert any("hot swap" in line for line in promotion_words(made, "warm"))
    assert [may_swap(made, arm) for arm in made.arms] == [True, False]  # warm is no version of calm
    assert may_swap(replace(made, serves=None), made.arms[1])
    unserved = promotion_words(replace(made, serves=None, state=State.STOPPED), "warm")
    assert unserved == [
        "No name changes: the experiment took over none. The arm is noted as promoted, in the audit log, too."
    ]


def test_a_draft_goes_back_into_the_form_and_comes_out_the_same() -> None:
    made = experiment_of(
        draft(
            guardrails=(MEAN,),
            automatic=Automatic.ROLLBACK,
            holdout=0.1,
            namespace="pomelia",
            share=0.25,
            minimum_days=7,
        ),
        "t",
        [],
        created_by="ada@demo.example",
        now=NOW,
    )
    form = form_from(made)
    assert form is not None
    again = experiment_of(form.draft(), "t", [], created_by="ada@demo.example", now=NOW)
    assert (again.namespace, again.holdout, again.share) == ("pomelia", 0.1, 0.25)
    assert replace(again.plan, arms=made.plan.arms) == made.plan
    assert [arm.composition for arm in again.arms] == [arm.composition for arm in made.arms]


def test_a_draft_that_the_form_cannot_hold_is_not_offered_for_change() -> None:
    arms = (ArmDraft(id="a"), ArmDraft(id="b", composition={"terms": [{"adapter": "x"}, {"adapter": "y"}]}))
    made = experiment_of(draft(arms=arms), "t", [], created_by="ada@demo.example", now=NOW)
    assert form_from(made) is None


def test_the_review_says_what_will_be_decided_and_when() -> None:
    form = Form(
        name="n",
        control="adapter:calm@1",
        challengers=("adapter:warm@2",),
        margin=1.5,
        guardrails={"latency_p95": 80.0},
        equivalence=0.5,
        mode=Mode.GROUP_SEQUENTIAL,
        planned_units=4000,
        minimum_days=7.0,
        automatic=Automatic.ROLLBACK,
    )
    told = what_is_decided(form, ["calm v1", "warm v2"])
    assert told[0] == "warm v2 against calm v1, which answers today."
    assert told[1].endswith("by more than 1.5 points, and no guardrail speaks against it.")
    assert "Latency P95 by 80 ms" in told[2]
    assert told[3] == "It ends as «no difference that matters» within ±0.5 points."
    assert "100 units per arm and 7 days" in told[4]
    assert told[5] == "It is judged at 5 looks on the way to 4,000 units per arm."
    assert facts(form, ["calm v1", "warm v2"])["Arms"] == "calm v1 (equal), warm v2 (equal)"


def test_the_history_tells_who_did_what_and_why() -> None:
    entry = AuditEntry(
        7,
        NOW,
        "ada@demo.example",
        "experiment.stopped",
        "tone",
        {"name": "Tone", "reason": HOSTILE, "arm": "warm"},
        "",
        "",
    )
    row = entry_row(entry)
    assert (row["what"], row["why"], row["who"], row["detail"]) == (
        "Stopped",
        HOSTILE,
        "ada@demo.example",
        '{"arm": "warm"}',
    )


def test_typed_prompts_without_an_answer_are_left_out() -> None:
    import pandas as pd

    from app.actions.offline import OfflineRow

    rows = pd.DataFrame(
        {
            "prompt": ["one", " ", None, "two", "three"],
            "expected": ["1", "2", "3", None, "3"],
            "system": ["", "", "", "", "Be brief."],
        }
    )
    found = prompts_of(rows)
    assert [each.expected for each in found] == ["1", "3"]
    assert [[turn.role for turn in each.messages] for each in found] == [["user"], ["system", "user"]]
    row = offline_row(OfflineRow(2, "a", HOSTILE, False, True, 12.4, 9.6), found[1])
    assert (row["prompt"], row["expected"]) == ("three", "3")
    assert (row["outcome"], row["treatment"], row["control_ms"]) == ("only the challenger", HOSTILE, 12)
