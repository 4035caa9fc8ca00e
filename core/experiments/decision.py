"""The one place that concludes: from a plan and its evidence to a verdict, the reason in a sentence, and a winner if any.

The rule, in this order. No decision while the sample ratio is off. Rollback as soon as harm is shown, from the first
unit on, without any minimum. No decision below the minimum of units and days. Ship the best of the treatments that are
shown to beat the margin and that no guardrail vetoes. Equivalent, where all differences lie within what matters to
nobody. Else keep running.

A guardrail vetoes where harm beyond its margin is shown (that is a rollback), and, where it has a margin above 0, as
long as such harm is not ruled out. Guardrails are watched at any time in every mode. Where there are any, the primary
metric has four fifths of the error and all guardrails together one fifth, so that the chance of a wrong winner stays
below 1 − confidence.

Planned modes judge at their looks only: fixed at `planned_units` per arm, group_sequential at each `looks`-th of them,
hybrid at any time with half of the error and at `planned_units` with the other half. A look that `looks_taken` counts
is not taken again.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from core.errors import InvalidInputError
from core.experiments.compare import Judged, guarded, planned, primary_alpha, sequential, treatments
from core.experiments.plan import (
    ArmEvidence,
    Comparison,
    Decision,
    Evidence,
    MetricKind,
    MetricPlan,
    Mismatch,
    Mode,
    OneLook,
    Plan,
    Verdict,
    metric_of,
)
from core.experiments.reasons import Told, reason_for, warnings_for
from core.stats import srm
from core.stats.evalues import p_value
from core.stats.moments import UnitSums
from core.stats.proportions import chi_square
from core.stats.ratios import welch


def decide(plan: Plan, evidence: Evidence) -> Decision:
    """What to do now. Raises InvalidInputError for a plan that does not fit together and for arms that it does not know."""
    check_plan(plan)
    _check_evidence(plan, evidence)
    mismatch = sample_ratio(plan, evidence)
    due = look_due(plan, evidence)
    judged = _judged(plan, evidence, due)
    comparisons = tuple(each.comparison for each in judged)
    guardrails = tuple(guarded(plan, evidence))
    told = _conclude(plan, evidence, mismatch, comparisons, guardrails, due)
    verdict, winner = told.verdict, told.winner
    return Decision(
        verdict=verdict,
        reason=reason_for(plan, told, comparisons, guardrails, mismatch),
        winner=winner,
        units_needed=_units_needed(plan, evidence, judged, verdict),
        comparisons=comparisons,
        guardrails=guardrails,
        mismatch=mismatch,
        one_look=_one_look(plan, evidence),
        warnings=warnings_for(plan, evidence),
    )


@dataclass(frozen=True, slots=True)
class LookDue:
    """`always`: the sequences may speak. `look`: the planned look that is due now (from 1), 0 for none."""

    always: bool
    look: int


def look_due(plan: Plan, evidence: Evidence) -> LookDue:
    """Which way of judging is open now."""
    if plan.mode is Mode.ALWAYS_VALID:
        return LookDue(True, 0)
    units, goal = fewest_units(plan, evidence), plan.planned_units or 0
    if plan.mode is Mode.GROUP_SEQUENTIAL:
        look = min(plan.looks, units * plan.looks // goal)
        return LookDue(False, look if look > evidence.looks_taken else 0)
    return LookDue(plan.mode is Mode.HYBRID, 1 if units >= goal and evidence.looks_taken == 0 else 0)


def fewest_units(plan: Plan, evidence: Evidence) -> int:
    """Units of the arm that has the fewest of those with traffic."""
    return min(
        evidence.arms.get(arm, ArmEvidence()).units
        for arm, weight in zip(plan.arms, plan.weights, strict=True)
        if weight > 0
    )


def sample_ratio(plan: Plan, evidence: Evidence) -> Mismatch:
    """Whether the arms hold as many units as their weights say; chi-square beside it once the end has come."""
    counts = [evidence.arms.get(arm, ArmEvidence()).units for arm in plan.arms]
    log_e = 0.0 if evidence.shadow else float(srm.log_e_ratio(counts, plan.weights))
    p = float(p_value(log_e))
    return Mismatch(
        expected=dict(zip(plan.arms, srm.expected_units(counts, plan.weights), strict=True)),
        observed=dict(zip(plan.arms, counts, strict=True)),
        log_e=log_e,
        p_value=p,
        chi_square_p=srm.chi_square_p(counts, plan.weights) if evidence.ended else None,
        found=p <= srm.LEVEL,
    )


def check_plan(plan: Plan) -> None:
    """Raise InvalidInputError unless the plan fits together."""
    metrics = (plan.primary, *plan.guardrails)
    faults = (
        (
            len(plan.arms) < 2 or len(set(plan.arms)) < len(plan.arms),
            "It needs two arms or more with names of their own.",
        ),
        (len(plan.weights) != len(plan.arms), "Each arm needs one weight."),
        (
            any(not 0 <= weight <= 1 for weight in plan.weights) or abs(math.fsum(plan.weights) - 1) > 1e-6,
            "Weights lie between 0 and 1 and add up to 1.",
        ),
        (
            not (plan.weights and plan.weights[0] > 0) or sum(w > 0 for w in plan.weights) < 2,
            "The control and one treatment at least need a weight above 0.",
        ),
        (not 0 < plan.confidence < 1, "Confidence lies between 0 and 1."),
        (any(not 0 <= metric.margin < math.inf for metric in metrics), "A margin is a number of 0 or more."),
        (
            any(
                metric.kind is MetricKind.QUANTILE and not (metric.quantile and 0 < metric.quantile < 1)
                for metric in metrics
            ),
            "A metric of kind quantile needs a quantile between 0 and 1.",
        ),
        (
            plan.mode is not Mode.ALWAYS_VALID and not (plan.planned_units and plan.planned_units > 1),
            f"The mode {plan.mode} needs the planned number of units per arm.",
        ),
        (
            plan.mode in (Mode.FIXED, Mode.GROUP_SEQUENTIAL) and plan.primary.kind is MetricKind.QUANTILE,
            f"The mode {plan.mode} judges shares and means; a quantile is judged at any time.",
        ),
        (
            len({(metric.name, metric.quantile) for metric in metrics}) < len(metrics),
            "A metric is named twice; two quantiles of one metric are two metrics.",
        ),
        (plan.looks < 1, "There is one look at least."),
        (plan.equivalence is not None and not plan.equivalence > 0, "A range of equivalence is above 0."),
    )
    for wrong, why in faults:
        if wrong:
            raise InvalidInputError("The plan of the experiment is not valid.", why, "Correct it.")


def _check_evidence(plan: Plan, evidence: Evidence) -> None:
    unknown = {*evidence.arms, *evidence.pairs} - set(plan.arms)
    if unknown:
        raise InvalidInputError(
            f"The evidence names an arm that the plan does not have: {sorted(unknown)[0]}.",
            f"The plan has {', '.join(plan.arms)}.",
            "Give the arms the same names in both.",
        )


def _judged(plan: Plan, evidence: Evidence, due: LookDue) -> list[Judged]:
    """The primary metric in whichever ways are open; of two, the one that says more, at half of the error each."""
    alpha = primary_alpha(plan)
    if not due.always:
        return planned(plan, evidence, alpha, due.look) if due.look else []
    if plan.mode is not Mode.HYBRID:
        return sequential(plan, evidence, alpha)
    always = sequential(plan, evidence, alpha / 2)
    if not due.look or plan.primary.kind is MetricKind.QUANTILE:
        return always
    last = planned(plan, evidence, alpha / 2, due.look)
    return [
        one if one.comparison.p_value <= other.comparison.p_value else other
        for one, other in zip(always, last, strict=True)
    ]


def _conclude(
    plan: Plan,
    evidence: Evidence,
    mismatch: Mismatch,
    comparisons: Sequence[Comparison],
    guardrails: Sequence[Comparison],
    due: LookDue,
) -> Told:
    if mismatch.found:
        return Told(Verdict.NO_DECISION, waits_for="ratio")
    harmful = next((each for each in (*comparisons, *guardrails) if each.harmed), None)
    units = fewest_units(plan, evidence)
    ready = units >= plan.minimum_units and evidence.days >= plan.minimum_days
    if ready and (best := _best(plan, comparisons, guardrails)) is not None:
        return Told(Verdict.SHIP, winner=best.arm, about=best)
    if harmful is not None:
        return Told(Verdict.ROLLBACK, winner=plan.arms[0], about=harmful)
    if not ready:
        waits = "units" if units < plan.minimum_units else "days"
        return Told(Verdict.NO_DECISION, waits_for=waits, units=units, days=evidence.days)
    if not due.always and not due.look:
        verdict = Verdict.NO_DECISION if plan.mode is Mode.FIXED else Verdict.KEEP_RUNNING
        return Told(verdict, waits_for="look", units=units, looks_taken=evidence.looks_taken)
    if comparisons and all(_is_equivalent(plan, each) for each in comparisons):
        return Told(Verdict.EQUIVALENT)
    vetoed = next((each for each in comparisons if each.better), None)
    return Told(Verdict.KEEP_RUNNING, about=vetoed, waits_for="guardrail" if vetoed else "evidence")


def _best(
    plan: Plan, comparisons: Sequence[Comparison], guardrails: Sequence[Comparison]
) -> Comparison | None:
    """Of the treatments that are better and not vetoed, the one that looks best."""
    vetoed = {
        each.arm
        for each in guardrails
        if each.harmed or (metric_of(plan, each).margin > 0 and not each.better)
    }
    kept = [each for each in comparisons if each.better and each.arm not in vetoed]
    sign = 1 if plan.primary.higher_is_better else -1
    return max(kept, key=lambda each: sign * each.interval.value, default=None)


def _is_equivalent(plan: Plan, comparison: Comparison) -> bool:
    width = plan.equivalence
    return width is not None and -width < comparison.interval.low and comparison.interval.high < width


def _units_needed(plan: Plan, evidence: Evidence, judged: Sequence[Judged], verdict: Verdict) -> int | None:
    """More units per arm; 0 once there is a verdict."""
    if verdict not in (Verdict.NO_DECISION, Verdict.KEEP_RUNNING):
        return 0
    units = fewest_units(plan, evidence)
    lacking = max(0, plan.minimum_units - units)
    if plan.mode in (Mode.FIXED, Mode.GROUP_SEQUENTIAL) and plan.planned_units:
        looks = plan.looks if plan.mode is Mode.GROUP_SEQUENTIAL else 1
        due = min(looks, units * looks // plan.planned_units + 1)
        return max(lacking, math.ceil(due * plan.planned_units / looks) - units)
    expected = min((each.units_for for each in judged), default=math.inf)
    if not math.isfinite(expected):
        return None
    return max(lacking, math.ceil(expected) - units, 0)


def _one_look(plan: Plan, evidence: Evidence) -> tuple[OneLook, ...]:
    """The classic test of the primary metric, for those who know it; it decides nothing."""
    arms = [evidence.arms.get(arm, ArmEvidence()) for arm in (plan.arms[0], *treatments(plan))]
    metric = plan.primary
    if metric.kind is MetricKind.SHARE:
        sums = [_shares(plan, metric, arm) for arm in arms]
        try:
            found = chi_square([round(each.y) for each in sums], [round(each.x) for each in sums])
        except ValueError:
            return ()
        return (OneLook("chi-square", found.statistic, int(found.degrees), found.p_value),)
    if metric.kind is MetricKind.MEAN:
        return tuple(
            each
            for arm, name in zip(arms[1:], treatments(plan), strict=True)
            if (each := _welch(arms[0], arm, metric.name, name)) is not None
        )
    return ()


def _shares(plan: Plan, metric: MetricPlan, arm: ArmEvidence) -> UnitSums:
    return arm.sums.get(metric.name, UnitSums()) if plan.returning else arm.first


def _welch(control: ArmEvidence, arm: ArmEvidence, metric: str, name: str) -> OneLook | None:
    try:
        found = welch(control.sums.get(metric, UnitSums()), arm.sums.get(metric, UnitSums()))
    except ValueError:
        return None
    return OneLook(f"Welch's t, {name}", found.test.statistic, int(found.test.degrees), found.test.p_value)
