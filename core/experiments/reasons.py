"""A verdict in one plain sentence, and what to be careful about."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

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
    metric_of,
)
from core.stats.moments import UnitSums

FEW_UNITS = 30
LONG_TAIL = 2.5  # standard deviation of units over their mean


@dataclass(frozen=True, slots=True)
class Told:
    """What was concluded, about which comparison, and what it waits for: ratio, units, days, look, guardrail, evidence."""

    verdict: Verdict
    winner: str | None = None
    about: Comparison | None = None
    waits_for: str = ""
    units: int = 0
    days: float = 0.0
    looks_taken: int = 0


def reason_for(
    plan: Plan,
    told: Told,
    comparisons: Sequence[Comparison],
    guardrails: Sequence[Comparison],
    mismatch: Mismatch,
) -> str:
    """One sentence."""
    if told.verdict is Verdict.SHIP and told.about is not None:
        return _shipped(plan, told.about, guardrails, comparisons)
    if told.verdict is Verdict.ROLLBACK and told.about is not None:
        return _rolled_back(plan, told.about)
    if told.verdict is Verdict.EQUIVALENT:
        return (
            f"All differences in {plan.primary.name} lie within ±{_amount(plan.primary, plan.equivalence or 0)}, "
            "which the plan says matters to nobody."
        )
    if told.waits_for == "ratio":
        return _mismatched(mismatch)
    if told.waits_for == "units":
        return f"The arm with the fewest has {told.units:,} of the {plan.minimum_units:,} units that each arm needs first."
    if told.waits_for == "days":
        return f"It has run for {told.days:.1f} of the {plan.minimum_days:g} days that it needs first."
    if told.waits_for == "look":
        return _awaited(plan, told)
    if told.waits_for == "guardrail" and told.about is not None:
        return _held_back(plan, told.about, guardrails)
    return _open(plan, comparisons)


def warnings_for(plan: Plan, evidence: Evidence) -> tuple[str, ...]:
    """Each a sentence."""
    told = []
    for arm, weight in zip(plan.arms, plan.weights, strict=True):
        seen = evidence.arms.get(arm, ArmEvidence())
        if weight == 0 and seen.units:
            told.append(f"«{arm}» has weight 0 and yet {seen.units:,} units; they are left out.")
        elif weight > 0 and not seen.units:
            told.append(f"«{arm}» has no units yet.")
        elif 0 < seen.units < FEW_UNITS and weight > 0:
            told.append(f"«{arm}» has {seen.units} units only.")
        if any(not math.isfinite(sums.y + sums.yy + sums.x) for sums in seen.sums.values()):
            told.append(f"A metric of «{arm}» holds what is not a number, so nothing is concluded from it.")
    told += [
        f"{metric.name} has a long tail: set a cap before the start, or believe its interval only after many units."
        for metric in (plan.primary, *plan.guardrails)
        if metric.kind is MetricKind.MEAN and metric.cap is None and _has_long_tail(metric, evidence)
    ]
    if evidence.crossed_units:
        told.append(f"{evidence.crossed_units:,} units were seen in two arms and are left out.")
    if evidence.repeats_unused:
        told.append(
            f"{evidence.repeats_unused:,} further requests of units that came back are not part of the verdict on "
            f"{plan.primary.name}, which is by first request."
        )
    return tuple(told)


def _has_long_tail(metric: MetricPlan, evidence: Evidence) -> bool:
    """In one arm is enough: the variance of a tail that is not seen yet is missing there."""
    arms = [arm.sums.get(metric.name, UnitSums()) for arm in evidence.arms.values()]
    return any(sums.ratio > 0 and math.sqrt(sums.unit_variance) > LONG_TAIL * sums.ratio for sums in arms)


def _shipped(
    plan: Plan, best: Comparison, guardrails: Sequence[Comparison], comparisons: Sequence[Comparison]
) -> str:
    margin = (
        f", more than the margin of {_amount(plan.primary, plan.primary.margin)}"
        if plan.primary.margin
        else ""
    )
    watched = ", and no guardrail speaks against it" if guardrails else ""
    others = sum(each.better for each in comparisons) > 1
    among = "; of those that beat the control it looks best" if others else ""
    return (
        f"«{best.arm}» is better than «{best.control}»: {_seen(plan.primary, best)}{margin}{watched}{among}."
    )


def _rolled_back(plan: Plan, harm: Comparison) -> str:
    metric = metric_of(plan, harm)
    beyond = (
        f", beyond the margin of {_amount(metric, metric.margin)}"
        if metric is not plan.primary and metric.margin
        else ""
    )
    return f"«{harm.arm}» is worse than «{harm.control}»: {_seen(metric, harm)}{beyond}."


def _mismatched(mismatch: Mismatch) -> str:
    counts = ", ".join(
        f"«{arm}» has {mismatch.observed[arm]:,} units where {expected:,.0f} were expected"
        for arm, expected in mismatch.expected.items()
        if expected > 0
    )
    return f"The arms are not as large as planned, so something sorts the units and nothing can be concluded: {counts}."


def _awaited(plan: Plan, told: Told) -> str:
    goal = plan.planned_units or 0
    if plan.mode is Mode.FIXED and told.units < goal:
        return f"This plan is judged once, at {goal:,} units per arm; the arm with the fewest has {told.units:,}."
    if plan.mode is Mode.GROUP_SEQUENTIAL and told.units < goal:
        look = min(plan.looks, told.units * plan.looks // goal + 1)
        at = math.ceil(look * goal / plan.looks)
        return f"The next of {plan.looks} planned looks is at {at:,} units per arm; the smallest has {told.units:,}."
    return "The planned looks have been taken, and what they said stands."


def _held_back(plan: Plan, better: Comparison, guardrails: Sequence[Comparison]) -> str:
    for each in guardrails:
        metric = metric_of(plan, each)
        if each.arm == better.arm and metric.margin > 0 and not each.better:
            return (
                f"«{better.arm}» is better in {better.metric}, but a loss in {each.metric} of more than "
                f"{_amount(metric, metric.margin)} is not ruled out yet."
            )
    return f"«{better.arm}» is better in {better.metric}, but a guardrail speaks against it."


def _open(plan: Plan, comparisons: Sequence[Comparison]) -> str:
    if not comparisons or all(math.isnan(each.interval.value) for each in comparisons):
        return f"There is nothing to compare in {plan.primary.name} yet."
    nearest = min(comparisons, key=lambda each: each.p_value)
    if nearest.interval.low == -math.inf or nearest.interval.high == math.inf:
        return f"There is too little of {plan.primary.name} yet to bound the difference between the arms."
    return f"Neither better nor worse is shown: {_seen(plan.primary, nearest)}."


def _seen(metric: MetricPlan, found: Comparison) -> str:
    """The difference with its interval."""
    ends = found.interval
    span = f"{_signed_amount(metric, ends.low)} to {_signed_amount(metric, ends.high)}"
    return f"{_label(metric)} differs by {_signed_amount(metric, ends.value)} ({span})"


def _label(metric: MetricPlan) -> str:
    return f"{metric.name} (quantile {metric.quantile:g})" if metric.quantile is not None else metric.name


def _amount(metric: MetricPlan, amount: float) -> str:
    return f"{amount * 100:.2f} points" if metric.kind is MetricKind.SHARE else f"{amount:.4g}{_unit(metric)}"


def _signed_amount(metric: MetricPlan, amount: float) -> str:
    if math.isinf(amount):
        return "no bound"
    return (
        f"{amount * 100:+.2f} points" if metric.kind is MetricKind.SHARE else f"{amount:+.4g}{_unit(metric)}"
    )


def _unit(metric: MetricPlan) -> str:
    return " ms" if metric.name.endswith("_ms") else ""
