"""Reasons are one sentence, with the numbers that they rest on."""

import math

import pytest

from core.experiments.plan import (
    ArmEvidence,
    Comparison,
    Evidence,
    MetricKind,
    MetricPlan,
    Mismatch,
    Mode,
    Plan,
    Verdict,
)
from core.experiments.reasons import Told, reason_for, warnings_for
from core.stats.moments import UnitSums
from core.stats.proportions import Interval

SUCCESS = MetricPlan("success", MetricKind.SHARE)
PLAN = Plan(
    ("a", "b"), (0.5, 0.5), SUCCESS, mode=Mode.FIXED, planned_units=2000, minimum_days=7, equivalence=0.01
)
MATCH = Mismatch({"a": 10.0, "b": 10.0}, {"a": 2, "b": 18}, 9.0, 1e-4, None, True)


def seen(low: float, high: float) -> Comparison:
    middle = (low + high) / 2 if math.isfinite(low + high) else math.nan
    return Comparison(
        "success", "b", "a", 0.5, 0.4, Interval(middle, low, high), None, 0.2, True, False, False, 9, "pairs"
    )


@pytest.mark.parametrize(
    ("told", "comparison", "said"),
    [
        (
            Told(Verdict.SHIP, "b", seen(0.01, 0.03)),
            seen(0.01, 0.03),
            "+2.00 points (+1.00 points to +3.00 points)",
        ),
        (Told(Verdict.ROLLBACK, "a", seen(-0.03, -0.01)), seen(-0.03, -0.01), "«b» is worse than «a»"),
        (Told(Verdict.EQUIVALENT), seen(-0.001, 0.001), "within ±1.00 points"),
        (Told(Verdict.NO_DECISION, waits_for="ratio"), seen(0, 1), "«b» has 18 units where 10 were expected"),
        (Told(Verdict.NO_DECISION, waits_for="units", units=7), seen(0, 1), "7 of the 100 units"),
        (Told(Verdict.NO_DECISION, waits_for="days", days=2.0), seen(0, 1), "2.0 of the 7 days"),
        (Told(Verdict.NO_DECISION, waits_for="look", units=900), seen(0, 1), "judged once, at 2,000 units"),
        (Told(Verdict.NO_DECISION, waits_for="look", units=2000), seen(0, 1), "have been taken"),
        (
            Told(Verdict.KEEP_RUNNING, waits_for="evidence"),
            seen(-0.1, 0.2),
            "Neither better nor worse is shown",
        ),
        (Told(Verdict.KEEP_RUNNING, waits_for="evidence"), seen(-math.inf, math.inf), "nothing to compare"),
    ],
)
def test_each_verdict_has_its_sentence(told: Told, comparison: Comparison, said: str) -> None:
    found = reason_for(PLAN, told, [comparison], [], MATCH)
    assert said in found
    assert found.endswith(".")
    assert "\n" not in found


def test_means_of_any_size_can_be_asked_for_a_long_tail() -> None:
    plan = Plan(("a", "b"), (0.5, 0.5), MetricPlan("spend", MetricKind.MEAN))
    huge = UnitSums(100, 1e202, math.inf, 100, 100, 1e202)  # a mean of 1e200: its square is no number
    told = warnings_for(plan, Evidence({arm: ArmEvidence(100, 100, {"spend": huge}) for arm in "ab"}))
    assert any("holds what is not a number" in each for each in told)
    assert not any("long tail" in each for each in told)
