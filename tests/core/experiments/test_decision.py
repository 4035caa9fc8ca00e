"""The winner rule, line by line, and what is said with it."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from core.errors import InvalidInputError
from core.experiments.decision import decide
from core.experiments.plan import (
    ArmEvidence,
    Decision,
    Evidence,
    MetricKind,
    MetricPlan,
    Mode,
    PairCounts,
    Plan,
    Verdict,
)
from core.stats.moments import UnitSums
from core.stats.sketches import LogSketch

SUCCESS = MetricPlan("success", MetricKind.SHARE)
LATENCY = MetricPlan("latency_ms", MetricKind.MEAN, higher_is_better=False)
PLAN = Plan(("a", "b"), (0.5, 0.5), SUCCESS)
RANDOM = np.random.default_rng(4)


def counted(n: int, successes: int) -> UnitSums:
    return UnitSums(n, successes, successes, n, n, successes)


def shares(n: int, control: int, treatment: int, both: int | None = None) -> Evidence:
    """Two arms of n units; independent pairs unless `both` is said."""
    shared = round(control * treatment / n) if both is None else both
    plus, minus = treatment - shared, control - shared
    return Evidence(
        {name: ArmEvidence(n, n, {}, {}, counted(n, y)) for name, y in (("a", control), ("b", treatment))},
        {"b": PairCounts(plus, minus, n - plus - minus)},
        days=7.0,
    )


def latencies(control: np.ndarray, treatment: np.ndarray, evidence: Evidence | None = None) -> Evidence:
    """With latencies, beside what is there."""
    base = evidence or Evidence({"a": ArmEvidence(control.size), "b": ArmEvidence(treatment.size)})
    arms = {
        name: replace(
            base.arms[name],
            sums={"latency_ms": UnitSums.of(values.tolist())},
            sketches={"latency_ms": LogSketch.of(values)},
        )
        for name, values in (("a", control), ("b", treatment))
    }
    return replace(base, arms=arms)


def agrees(decision: Decision, plan: Plan) -> bool:
    """Whether every interval leaves 0 out exactly when its p-value is below the error."""
    told = (*decision.comparisons, *decision.guardrails)
    return all(
        (each.p_value < 1 - plan.confidence) == (each.interval.low > 0 or each.interval.high < 0)
        for each in told
    )


def test_a_treatment_that_beats_the_control_is_shipped() -> None:
    found = decide(PLAN, shares(5000, 4500, 4650))
    assert (found.verdict, found.winner, found.units_needed) == (Verdict.SHIP, "b", 0)
    assert found.reason.startswith("«b» is better than «a»: success differs by +3.00 points")
    assert agrees(found, PLAN)


def test_nothing_is_shipped_below_the_minimum_of_units_and_days() -> None:
    strong = shares(90, 20, 80)
    found = decide(PLAN, strong)
    assert (found.verdict, found.winner) == (Verdict.NO_DECISION, None)
    assert "90 of the 100 units" in found.reason
    found = decide(replace(PLAN, minimum_days=14), shares(5000, 4500, 4650))
    assert found.verdict is Verdict.NO_DECISION
    assert "7.0 of the 14 days" in found.reason


def test_harm_is_a_rollback_without_any_minimum() -> None:
    found = decide(replace(PLAN, minimum_days=14), shares(90, 80, 20))
    assert (found.verdict, found.winner) == (Verdict.ROLLBACK, "a")
    assert found.reason.startswith("«b» is worse than «a»")


def test_arms_that_are_not_as_large_as_planned_decide_nothing() -> None:
    evidence = shares(5000, 4500, 4700)
    arms = {**evidence.arms, "b": replace(evidence.arms["b"], units=4300)}
    found = decide(PLAN, replace(evidence, arms=arms, ended=True))
    assert (found.verdict, found.winner) == (Verdict.NO_DECISION, None)
    assert found.mismatch.found
    assert found.mismatch.chi_square_p is not None
    assert "4,300 units where 4,650 were expected" in found.reason


def test_a_small_difference_keeps_running_and_says_for_how_long() -> None:
    found = decide(PLAN, shares(3000, 2700, 2730))
    assert found.verdict is Verdict.KEEP_RUNNING
    assert found.units_needed is not None
    assert found.units_needed > 3000
    assert "Neither better nor worse is shown" in found.reason


def test_no_difference_at_all_says_no_number_of_units() -> None:
    assert decide(PLAN, shares(3000, 2700, 2700)).units_needed is None


def test_differences_within_what_matters_to_nobody_are_equivalent() -> None:
    plan = replace(PLAN, equivalence=0.02)
    assert decide(plan, shares(30_000, 27_000, 27_020)).verdict is Verdict.EQUIVALENT
    assert decide(plan, shares(1_000, 900, 901)).verdict is Verdict.KEEP_RUNNING


def test_the_margin_has_to_be_beaten_by_the_whole_interval() -> None:
    evidence = shares(5000, 4500, 4650)
    assert decide(replace(PLAN, primary=replace(SUCCESS, margin=0.01)), evidence).verdict is Verdict.SHIP
    assert (
        decide(replace(PLAN, primary=replace(SUCCESS, margin=0.02)), evidence).verdict is Verdict.KEEP_RUNNING
    )


def test_a_guardrail_whose_harm_is_shown_rolls_back_a_better_arm() -> None:
    plan = replace(PLAN, guardrails=(replace(LATENCY, margin=20.0),))
    slow = latencies(RANDOM.normal(100, 20, 5000), RANDOM.normal(150, 20, 5000), shares(5000, 4500, 4650))
    found = decide(plan, slow)
    assert (found.verdict, found.winner) == (Verdict.ROLLBACK, "a")
    assert "latency_ms differs by +" in found.reason
    assert "beyond the margin of 20" in found.reason


def test_a_guardrail_with_a_margin_holds_back_until_harm_is_ruled_out() -> None:
    plan = replace(PLAN, guardrails=(replace(LATENCY, margin=1.0),))
    unsure = latencies(RANDOM.exponential(100, 5000), RANDOM.exponential(100, 5000), shares(5000, 4500, 4650))
    found = decide(plan, unsure)
    assert (found.verdict, found.winner) == (Verdict.KEEP_RUNNING, None)
    assert "is not ruled out yet" in found.reason
    generous = replace(plan, guardrails=(replace(LATENCY, margin=20.0),))
    assert decide(generous, unsure).verdict is Verdict.SHIP


def test_two_guardrails_on_one_metric_keep_their_own_margins() -> None:
    slowest = MetricPlan("latency_ms", MetricKind.QUANTILE, False, quantile=0.95)
    plan = replace(PLAN, guardrails=(replace(LATENCY, margin=1.0), slowest))
    unsure = latencies(RANDOM.exponential(100, 5000), RANDOM.exponential(100, 5000), shares(5000, 4500, 4650))
    found = decide(plan, unsure)
    assert found.verdict is Verdict.KEEP_RUNNING
    assert "a loss in latency_ms of more than 1 ms is not ruled out yet" in found.reason
    with pytest.raises(InvalidInputError, match="named twice"):
        decide(replace(plan, guardrails=(LATENCY, replace(LATENCY, margin=1.0))), unsure)


def test_a_guardrail_without_a_margin_vetoes_by_shown_harm_alone() -> None:
    plan = replace(PLAN, guardrails=(LATENCY,))
    same = RANDOM.normal(100, 20, 5000)
    assert decide(plan, latencies(same, same, shares(5000, 4500, 4650))).verdict is Verdict.SHIP


def test_less_is_better_where_the_metric_says_so() -> None:
    quick = latencies(RANDOM.normal(100, 20, 4000), RANDOM.normal(90, 20, 4000))
    for metric in (LATENCY, MetricPlan("latency_ms", MetricKind.QUANTILE, False, quantile=0.5)):
        plan = replace(PLAN, primary=metric)
        assert decide(plan, quick).winner == "b"
        turned = replace(plan, primary=replace(metric, higher_is_better=True))
        found = decide(turned, quick)
        assert (found.verdict, found.winner) == (Verdict.ROLLBACK, "a")
        assert agrees(found, turned)


def three(control: int, second: int, third: int, n: int = 4000) -> Evidence:
    two, other = shares(n, control, second), shares(n, control, third)
    return Evidence(
        {**two.arms, "c": other.arms["b"]}, {"b": two.pairs["b"], "c": other.pairs["b"]}, days=7.0
    )


def test_of_several_better_arms_the_one_that_looks_best_is_shipped() -> None:
    plan = Plan(("a", "b", "c"), (1 / 3, 1 / 3, 1 / 3), SUCCESS)
    found = decide(plan, three(2000, 2200, 2300))
    assert (found.verdict, found.winner) == (Verdict.SHIP, "c")
    assert "of those that beat the control it looks best" in found.reason
    assert agrees(found, plan)


def test_several_arms_pay_for_each_other_and_p_and_interval_still_agree() -> None:
    plan = Plan(("a", "b", "c"), (1 / 3, 1 / 3, 1 / 3), SUCCESS)
    alone = decide(PLAN, shares(4000, 2000, 2125)).comparisons[0]
    for third in range(1900, 2400, 20):
        found = decide(plan, three(2000, 2125, third))
        assert agrees(found, plan)
        assert found.comparisons[0].p_value >= alone.p_value


def test_one_harmful_arm_of_two_rolls_back_unless_the_other_is_better() -> None:
    plan = Plan(("a", "b", "c"), (1 / 3, 1 / 3, 1 / 3), SUCCESS)
    assert decide(plan, three(2000, 2000, 1600)).winner == "a"
    assert decide(plan, three(2000, 2400, 1600)).winner == "b"


def test_an_arm_without_weight_takes_no_part() -> None:
    plan = Plan(("a", "b", "c"), (0.5, 0.5, 0.0), SUCCESS)
    found = decide(plan, three(2000, 2400, 900))
    assert (found.winner, [each.arm for each in found.comparisons]) == ("b", ["b"])
    assert any("weight 0" in each for each in found.warnings)
    assert found.one_look[0].degrees == 1


@pytest.mark.parametrize("mode", [Mode.ALWAYS_VALID, Mode.HYBRID, Mode.GROUP_SEQUENTIAL, Mode.FIXED])
@pytest.mark.parametrize("metric", [SUCCESS, LATENCY])
def test_nothing_seen_is_answered_in_every_mode(mode: Mode, metric: MetricPlan) -> None:
    plan = replace(PLAN, primary=metric, mode=mode, planned_units=1000, guardrails=())
    found = decide(plan, Evidence({}))
    assert (found.verdict, found.winner, found.one_look) == (Verdict.NO_DECISION, None, ())


@pytest.mark.parametrize("mode", [Mode.ALWAYS_VALID, Mode.HYBRID, Mode.GROUP_SEQUENTIAL, Mode.FIXED])
def test_all_successes_in_every_arm_are_no_difference(mode: Mode) -> None:
    plan = replace(PLAN, mode=mode, planned_units=1000)
    found = decide(plan, shares(1000, 1000, 1000))
    assert found.winner is None
    assert found.one_look == ()
    assert agrees(found, plan)


def test_values_that_are_no_numbers_conclude_nothing_and_are_said() -> None:
    arms = {
        name: ArmEvidence(500, 500, {"latency_ms": UnitSums(500, math.nan, math.nan, 500, 500, 1.0)})
        for name in "ab"
    }
    found = decide(replace(PLAN, primary=LATENCY), Evidence(arms))
    assert found.winner is None
    assert any("not a number" in each for each in found.warnings)


def test_a_fixed_plan_is_locked_until_its_units_are_there() -> None:
    plan = replace(PLAN, mode=Mode.FIXED, planned_units=5000)
    early = decide(plan, shares(4999, 4000, 4900))
    assert (early.verdict, early.comparisons, early.units_needed) == (Verdict.NO_DECISION, (), 1)
    then = decide(plan, shares(5000, 4500, 4590))
    assert (then.verdict, then.winner) == (Verdict.SHIP, "b")
    assert not then.comparisons[0].always_valid
    # z = 0.018 / √(.1·.9 + .082·.918)/5000) = 3.07, nearly: p = 0.0018 with one success and failure more in each arm.
    assert then.comparisons[0].p_value == pytest.approx(0.00176, abs=2e-5)


def test_planned_looks_judge_when_they_are_due_and_once() -> None:
    plan = replace(PLAN, mode=Mode.GROUP_SEQUENTIAL, planned_units=10_000, looks=4)
    evidence = shares(5000, 4500, 4620)
    assert decide(plan, evidence).winner == "b"
    again = decide(plan, replace(evidence, looks_taken=2))
    assert (again.verdict, again.winner, again.units_needed) == (Verdict.KEEP_RUNNING, None, 2500)
    assert "The next of 4 planned looks is at 7,500 units" in again.reason


def test_a_hybrid_has_one_more_look_at_its_end() -> None:
    plan = replace(PLAN, mode=Mode.HYBRID, planned_units=5000)
    evidence = shares(5000, 4500, 4590)
    found = decide(plan, evidence)
    assert found.winner == "b"
    assert agrees(found, plan)
    assert decide(plan, replace(evidence, looks_taken=1)).winner is None
    assert decide(replace(plan, planned_units=5001), evidence).winner is None


def test_several_arms_at_the_planned_end_are_dunnetts() -> None:
    plan = Plan(("a", "b", "c"), (1 / 3, 1 / 3, 1 / 3), SUCCESS, mode=Mode.FIXED, planned_units=4000)
    found = decide(plan, three(2000, 2095, 2010))
    # Two-sided Dunnett, two treatments, ρ = ½: the 5 % point is 2.212, and P(max|Z| > 2.125) = 0.061.
    assert found.comparisons[0].p_value == pytest.approx(0.0613, abs=0.002)
    assert agrees(found, plan)


def test_chi_square_is_shown_as_one_look_and_decides_nothing() -> None:
    found = decide(PLAN, shares(5000, 4500, 4560))
    (shown,) = found.one_look
    assert (shown.name, shown.label, shown.degrees) == ("chi-square", "one look only", 1)
    oracle = chi2_contingency([[4500, 500], [4560, 440]], correction=False)
    assert shown.p_value == pytest.approx(oracle.pvalue, rel=1e-9)
    assert shown.p_value < 0.05  # and still:
    assert found.verdict is Verdict.KEEP_RUNNING


def test_p_values_do_not_end_at_0() -> None:
    found = decide(PLAN, shares(20_000, 9_000, 13_000))
    assert 0 < found.comparisons[0].p_value < 1e-200
    assert 0 < found.one_look[0].p_value < 1e-200


def test_requests_that_both_arms_answered_have_no_sample_ratio() -> None:
    evidence = replace(shares(5000, 4500, 4650, both=4480), shadow=True)
    arms = {**evidence.arms, "a": replace(evidence.arms["a"], units=9000)}
    assert not decide(PLAN, replace(evidence, arms=arms)).mismatch.found
    assert (
        decide(PLAN, evidence).comparisons[0].p_value
        < decide(PLAN, shares(5000, 4500, 4650)).comparisons[0].p_value
    )


def test_crossed_units_and_unused_repeats_are_said() -> None:
    found = decide(PLAN, replace(shares(5000, 4500, 4510), crossed_units=12, repeats_unused=40))
    assert any("12 units were seen in two arms" in each for each in found.warnings)
    assert any("40 further requests" in each for each in found.warnings)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"weights": (0.5, 0.6)}, "add up to 1"),
        ({"weights": (0.0, 1.0)}, "above 0"),
        ({"weights": (1.0, 0.0)}, "above 0"),
        ({"weights": (1.0,)}, "one weight"),
        ({"arms": ("a", "a")}, "names of their own"),
        ({"confidence": 1.0}, "Confidence"),
        ({"mode": Mode.FIXED}, "planned number"),
        ({"primary": MetricPlan("x", MetricKind.QUANTILE)}, "quantile"),
        ({"primary": MetricPlan("x", MetricKind.MEAN, margin=-1.0)}, "margin"),
        ({"equivalence": 0.0}, "equivalence"),
        (
            {
                "mode": Mode.FIXED,
                "planned_units": 9,
                "primary": MetricPlan("x", MetricKind.QUANTILE, quantile=0.5),
            },
            "at any time",
        ),
    ],
)
def test_a_plan_that_does_not_fit_together_is_refused(change: dict[str, object], why: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        decide(replace(PLAN, **change), Evidence({}))  # type: ignore[arg-type]
    assert why in refused.value.why


def test_an_arm_that_the_plan_does_not_know_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="does not have: z"):
        decide(PLAN, Evidence({"z": ArmEvidence()}))


def test_guardrails_and_primary_together_name_a_wrong_winner_in_less_than_five_of_a_hundred_looks() -> None:
    plan = replace(
        PLAN, primary=LATENCY, guardrails=(MetricPlan("cost", MetricKind.MEAN, False),), minimum_units=10
    )
    random = np.random.default_rng(21)
    wrong = 0
    for _ in range(120):
        values = {name: random.exponential(1, (2, 900)) for name in "ab"}
        wrong += any(
            decide(
                plan,
                Evidence(
                    {
                        name: ArmEvidence(
                            n,
                            n,
                            {
                                m: UnitSums.of(each[i, :n].tolist())
                                for i, m in enumerate(("latency_ms", "cost"))
                            },
                        )
                        for name, each in values.items()
                    }
                ),
            ).winner
            for n in (100, 300, 500, 700, 900)
        )
    assert wrong / 120 <= 0.05
