"""Comparisons of a plan's arms: at any time, or at a planned look, each with an interval that agrees with its p-value.

Several arms at any time: closed testing of e-values (core/stats/evalues.py). Each arm's interval is at the threshold at
which its adjusted p-value would fall below the level, the others being as they are. At a planned look: Dunnett for one
look, and for several looks bounds that spend the error as the square of the information, shared by the arms.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from core.experiments.contrasts import Contrast, Ends, contrast_of
from core.experiments.plan import ArmEvidence, Comparison, Evidence, MetricKind, MetricPlan, Mode, Plan
from core.stats import confidence_sequences as sequences
from core.stats import evalues
from core.stats.group_sequential import Spending, bounds
from core.stats.moments import UnitSums
from core.stats.multiple import dunnett_critical, log_largest_exceeds
from core.stats.proportions import Interval
from core.stats.tails import log_normal_tail

GUARDRAIL_SHARE = 0.2  # of alpha, for harm in any guardrail; the primary has the rest


@dataclass(frozen=True, slots=True)
class Judged:
    """A comparison, and how many units per arm a verdict is likely to take (infinite: nobody can say)."""

    comparison: Comparison
    units_for: float


def primary_alpha(plan: Plan) -> float:
    """The error left for the primary metric: less a fifth where guardrails may call for a rollback, too."""
    alpha = 1 - plan.confidence
    return alpha * (1 - GUARDRAIL_SHARE) if plan.guardrails else alpha


def treatments(plan: Plan) -> list[str]:
    """Arms other than the control that get traffic."""
    return [arm for arm, weight in zip(plan.arms[1:], plan.weights[1:], strict=True) if weight > 0]


def sequential(plan: Plan, evidence: Evidence, alpha: float) -> list[Judged]:
    """The primary metric at any time, at error `alpha` for all arms together."""
    found = [contrast_of(plan, evidence, plan.primary, arm, primary=True) for arm in treatments(plan)]
    logs = np.array([each.log_e for each in found])
    level = -math.log(alpha)
    thresholds = evalues.closed_log_threshold(logs, level)
    p_values = np.minimum(
        1.0, evalues.p_value(evalues.adjusted_log_e(logs)) * ((1 - plan.confidence) / alpha)
    )
    judged = []
    for arm, contrast, threshold, p in zip(treatments(plan), found, thresholds, p_values, strict=True):
        ends = _agreeing(contrast.interval(float(threshold)), contrast.difference, float(p), plan)
        comparison = _comparison(
            plan,
            plan.primary,
            arm,
            contrast,
            ends,
            contrast.relative(float(threshold)),
            float(p),
            harm_beyond=0.0,
            better_than=plan.primary.margin,
        )
        judged.append(Judged(comparison, contrast.units_for(float(threshold), plan.primary.margin)))
    return judged


def guarded(plan: Plan, evidence: Evidence) -> list[Comparison]:
    """Guardrails at any time: the interval is at the plan's confidence for each alone; `better` means that a loss beyond
    the margin is ruled out; `harmed` that one is shown, at the error that all guardrails share."""
    alpha = 1 - plan.confidence
    arms = treatments(plan)
    told = []
    for metric in plan.guardrails:
        for arm in arms:
            contrast = contrast_of(plan, evidence, metric, arm, primary=False)
            level = -math.log(alpha)
            strict = level + math.log(len(plan.guardrails) * len(arms) / GUARDRAIL_SHARE)
            p = float(evalues.p_value(contrast.log_e))
            ends = _agreeing(contrast.interval(level), contrast.difference, p, plan)
            worst = _signed(contrast.interval(strict), metric)[1]
            comparison = _comparison(
                plan,
                metric,
                arm,
                contrast,
                ends,
                contrast.relative(level),
                p,
                harm_beyond=None,
                better_than=-metric.margin,
                harmed=worst < -metric.margin,
            )
            told.append(comparison)
    return told


def planned(plan: Plan, evidence: Evidence, alpha: float, look: int) -> list[Judged]:
    """Shares and means at a planned look (from 1; 1 of 1 for a single one), at error `alpha` for all arms and looks."""
    arms = treatments(plan)
    found = [_sums_contrast(plan, evidence, arm) for arm in arms]
    critical, logs_p, method = _critical(plan, found, alpha, look)
    judged = []
    for arm, contrast, log_p in zip(arms, found, logs_p, strict=True):
        value = float(contrast.value)
        half = critical * math.sqrt(max(0.0, float(contrast.variance)))
        ends = (value - half, value + half) if math.isfinite(half) else (-math.inf, math.inf)
        p = min(1.0, float(evalues.p_value(-log_p)) * ((1 - plan.confidence) / alpha))
        low, high = (float(end) for end in sequences.fieller_bounds(contrast, critical * critical))
        relative = None if math.isnan(low) or math.isnan(high) else (low, high)
        told = _Seen(float(contrast.mean), float(contrast.control_mean), value, int(contrast.units), method)
        comparison = _comparison(
            plan,
            plan.primary,
            arm,
            told,
            _agreeing(ends, value, p, plan),
            relative,
            p,
            harm_beyond=0.0,
            better_than=plan.primary.margin,
            always_valid=False,
        )
        judged.append(Judged(comparison, math.inf))
    return judged


@dataclass(frozen=True, slots=True)
class _Seen:
    value: float
    control_value: float
    difference: float
    units: int
    method: str


def planned_contrast(treatment: UnitSums, control: UnitSums, *, first: bool) -> sequences.MeanContrast:
    """For a planned look: the arms' own variances. Shares of first outcomes with one success and one failure more in
    each arm (Agresti and Caffo 2000), so that 0 of n has an interval, too. Broadcasts."""
    if first:
        treatment, control = (_with_one_more(each) for each in (treatment, control))
    found = sequences.contrast(treatment, control)
    return sequences.MeanContrast(
        found.value,
        found.mean,
        found.control_mean,
        found.own,
        found.own_control,
        found.own + found.own_control,
        1.0,
        found.pairs,
        found.units,
    )


@lru_cache(maxsize=256)
def look_bound(look: int, looks: int, alpha: float) -> float:
    """|z| that look `look` of `looks` evenly spaced ones has to reach, for `alpha` in all of them."""
    design = bounds([(k + 1) / looks for k in range(look)], alpha=alpha, spending=Spending.SQUARE)
    return design.z[look - 1]


def _with_one_more(sums: UnitSums) -> UnitSums:
    """One success and one failure more: y = y² = xy = successes, x = x² = n."""
    return UnitSums(sums.n + 2, sums.y + 1, sums.yy + 1, sums.x + 2, sums.xx + 2, sums.xy + 1)


def _sums_contrast(plan: Plan, evidence: Evidence, arm: str) -> sequences.MeanContrast:
    first = plan.primary.kind is MetricKind.SHARE and not plan.returning
    treated, control = (evidence.arms.get(name, ArmEvidence()) for name in (arm, plan.arms[0]))
    if first:
        return planned_contrast(treated.first, control.first, first=True)
    name = plan.primary.name
    return planned_contrast(
        treated.sums.get(name, UnitSums()), control.sums.get(name, UnitSums()), first=False
    )


def _critical(
    plan: Plan, found: Sequence[sequences.MeanContrast], alpha: float, look: int
) -> tuple[float, list[float], str]:
    """|z| to reach, the logarithm of each arm's adjusted p-value, and the method's name."""
    zs = [_z(each) for each in found]
    if plan.mode is Mode.GROUP_SEQUENTIAL:
        share = alpha / len(found)
        critical = look_bound(look, plan.looks, share)
        at_bound = math.log(share) - log_normal_tail(critical)
        logs = [log_normal_tail(z) + at_bound + math.log(len(found)) for z in zs]
        return critical, logs, f"group-sequential bounds, look {look} of {plan.looks}"
    loadings = np.array([_loading(each) for each in found])
    degrees = _degrees(plan, found)
    critical = dunnett_critical(loadings, degrees, confidence=1 - alpha)
    logs = [float(log_largest_exceeds(z, loadings, degrees)) if z > 0 else 0.0 for z in zs]
    return (
        critical,
        logs,
        "Dunnett's test at the planned end" if len(found) > 1 else "z test at the planned end",
    )


def _degrees(plan: Plan, found: Sequence[sequences.MeanContrast]) -> float:
    """Student's, one less than the fewest pairs of units; a share of first outcomes has no variance of its own."""
    if plan.primary.kind is MetricKind.SHARE and not plan.returning:
        return math.inf
    fewest = min(float(each.pairs) for each in found)
    return max(1.0, fewest - 1) if math.isfinite(fewest) else 1.0


def _z(found: sequences.MeanContrast) -> float:
    variance, value = float(found.variance), float(found.value)
    if not math.isfinite(variance) or value == 0 or variance <= 0:
        return 0.0
    return abs(value) / math.sqrt(variance)


def _loading(found: sequences.MeanContrast) -> float:
    whole = float(found.variance)
    return (
        math.sqrt(float(found.own_control) / whole) if whole > 0 and math.isfinite(whole) else math.sqrt(0.5)
    )


def _signed(ends: Ends, metric: MetricPlan) -> Ends:
    """The ends so that more is better."""
    return ends if metric.higher_is_better else (-ends[1], -ends[0])


def _agreeing(ends: Ends, difference: float, p_value: float, plan: Plan) -> Ends:
    """The ends on that side of 0 where the p-value puts them: both come from one statistic, and only rounding differs."""
    low, high = ends
    if math.isnan(difference):
        return float(low), float(high)
    tiny = float(np.finfo(np.float64).tiny)
    if p_value < 1 - plan.confidence:
        low, high = (max(low, tiny), high) if difference > 0 else (low, min(high, -tiny))
    else:
        low, high = min(low, 0.0), max(high, 0.0)
    return float(low), float(high)


def _within_shares(ends: Ends) -> Ends:
    """Two shares differ by 1 at most. An end that is nowhere stays there: it says that there is too little to tell."""
    low, high = (min(1.0, max(-1.0, end)) if math.isfinite(end) else end for end in ends)
    return low, high


def _comparison(
    plan: Plan,
    metric: MetricPlan,
    arm: str,
    contrast: "Contrast | _Seen",
    ends: Ends,
    relative: Ends | None,
    p_value: float,
    *,
    harm_beyond: float | None,
    better_than: float,
    harmed: bool = False,
    always_valid: bool = True,
) -> Comparison:
    if metric.kind is MetricKind.SHARE:
        ends = _within_shares(ends)
    least, most = _signed(ends, metric)
    lift = None
    if relative is not None and contrast.control_value > 0:
        lift = Interval(contrast.value / contrast.control_value - 1, *relative)
    return Comparison(
        metric=metric.name,
        arm=arm,
        control=plan.arms[0],
        value=contrast.value,
        control_value=contrast.control_value,
        interval=Interval(contrast.difference, *ends),
        relative=lift,
        p_value=p_value,
        always_valid=always_valid,
        better=least > better_than,
        harmed=harmed if harm_beyond is None else most < harm_beyond,
        units=contrast.units,
        method=contrast.method,
        quantile=metric.quantile,
    )
