"""From sums to what is shown: the arms, segments, effects by age, history, and what to be careful about."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date
from typing import Any

from core.experiments.plan import Decision, Evidence, OneLook, Plan
from core.experiments.records import LATENCY, RATING, SUCCESS, Experiment, Strategy
from core.experiments.results import AgeFigure, ArmFigures, HistoryPoint, SegmentFigure
from core.experiments.tally import ArmTally, Tally
from core.experiments.values import AGES
from core.stats.moments import UnitSums
from core.stats.proportions import Interval, student_critical_value, wilson
from core.stats.ratios import welch
from core.stats.sketches import LogSketch
from core.stats.srm import chi_square_p, expected_units

LEAST_FOR_PERCENTILES = 10
LEAST_FOR_AGES = 50
NOVELTY_Z = 2.58  # a false warning in a hundred, at one look
SILENT = 0.05


def judged_plan(experiment: Experiment, evidence: Evidence) -> Plan:
    """The plan as it is judged. A bandit moves its arms' shares, so what came is what was expected of it."""
    plan = experiment.plan
    total = sum(evidence.arms[arm].units for arm in plan.arms)
    if experiment.strategy is not Strategy.BANDIT or not total:
        return plan
    # An arm that has not had a unit yet keeps a trace of weight, so that it is still one of the arms.
    shares = [max(evidence.arms[arm].units, 1e-9) / total for arm in plan.arms]
    return replace(plan, weights=tuple(share / math.fsum(shares) for share in shares))


def arm_figures(experiment: Experiment, tally: Tally) -> tuple[ArmFigures, ...]:
    """Each arm in numbers, the control first."""
    return tuple(
        _figures(
            arm.id, arm.label or arm.id, _weight(experiment, arm.id), tally.arms[arm.id], experiment.plan
        )
        for arm in experiment.arms
    )


def segment_figures(experiment: Experiment, tally: Tally) -> tuple[SegmentFigure, ...]:
    """The primary metric by each value of each field that units brought with them."""
    plan = experiment.plan
    found = []
    for name, cells in sorted(tally.segments.items()):
        for value, cell in sorted(cells.items()):
            control = cell.get(plan.arms[0], UnitSums())
            for arm in plan.arms:
                sums = cell.get(arm, UnitSums())
                difference = None if arm == plan.arms[0] else _difference(control, sums, plan.confidence)
                found.append(
                    SegmentFigure(name, value, arm, int(sums.n), _mean(sums, plan.confidence), difference)
                )
    return tuple(found)


def age_figures(experiment: Experiment, tally: Tally) -> tuple[AgeFigure, ...]:
    """The effect by days since a unit's first exposure."""
    plan = experiment.plan
    return tuple(
        AgeFigure(age, arm, int(theirs.n), _difference(controls, theirs, plan.confidence))
        for age in AGES
        for arm in plan.arms[1:]
        if (theirs := tally.ages.get(age, {}).get(arm, UnitSums())).n
        and (controls := tally.ages.get(age, {}).get(plan.arms[0], UnitSums())) is not None
    )


def exposure_test(experiment: Experiment, tally: Tally) -> OneLook | None:
    """Whether as many units were given each arm as its weight says: chi-square, for one look. None with a bandit, whose
    weights move, and in shadow, where every arm gets every request."""
    if experiment.shadow or experiment.strategy is Strategy.BANDIT:
        return None
    plan = experiment.plan
    counts = [tally.arms[arm].exposed for arm in plan.arms]
    p = chi_square_p(counts, plan.weights)
    if p is None:
        return None
    expected = expected_units(counts, plan.weights)
    statistic = sum((n - e) ** 2 / e for n, e in zip(counts, expected, strict=True) if e > 0)
    return OneLook("chi-square of exposed units", statistic, sum(w > 0 for w in plan.weights) - 1, p)


def warnings_of(experiment: Experiment, tally: Tally, unfolded: int) -> tuple[str, ...]:
    """What to be careful about, beyond what the decision says itself."""
    found = list(_novelty(tally, experiment.plan))
    units = sum(arm.units for arm in tally.arms.values())
    if tally.independent and not experiment.shadow and units:
        whole = tally.independent >= units
        which = "All requests" if whole else f"{tally.independent:,} of {units:,} units are requests that"
        told = "name no user" if whole else "name no user, and these"
        found.append(
            f"{which} {told}: treated as independent requests. If one person sends several, errors are more likely "
            "than stated; send user_id."
        )
    exposed = sum(arm.exposed for arm in tally.arms.values())
    if exposed and 1 - units / exposed > SILENT and not experiment.shadow:
        found.append(
            f"Of {exposed:,} units that were given a variant, {exposed - units:,} have shown nothing yet."
        )
    if experiment.strategy is Strategy.BANDIT:
        found.append("A bandit moves its shares, so there is no test of the sample ratio.")
    if unfolded:
        found.append(f"{unfolded:,} impressions are recorded and not in these numbers yet.")
    return tuple(found)


def snapshot_of(decision: Decision) -> dict[str, Any]:
    """What is kept of a day."""
    return {
        "verdict": decision.verdict.value,
        "primary": [
            {
                "arm": each.arm,
                "value": each.interval.value,
                "low": each.interval.low,
                "high": each.interval.high,
                "units": each.units,
            }
            for each in decision.comparisons
        ],
    }


def history_of(snapshots: Iterable[tuple[date, Mapping[str, Any]]]) -> tuple[HistoryPoint, ...]:
    """Days, oldest first. An end that was infinite comes back as one."""
    return tuple(
        HistoryPoint(
            day=day,
            arm=each["arm"],
            value=_number(each["value"], math.nan),
            low=_number(each["low"], -math.inf),
            high=_number(each["high"], math.inf),
            units=int(each["units"]),
            verdict=content["verdict"],
        )
        for day, content in snapshots
        for each in content["primary"]
    )


def _figures(arm_id: str, label: str, weight: float, arm: ArmTally, plan: Plan) -> ArmFigures:
    latency = arm.sums.get(LATENCY, UnitSums())
    rating = arm.sums.get(RATING, UnitSums())
    p50, p95, p99 = _percentiles(arm.sketches.get(LATENCY))
    return ArmFigures(
        arm=arm_id,
        label=label,
        weight=weight,
        exposed=arm.exposed,
        units=arm.units,
        requests=arm.requests,
        success_rate=_share(arm.sums.get(SUCCESS, UnitSums()), plan.confidence),
        latency_mean_ms=latency.ratio if latency.x else None,
        latency_p50_ms=p50,
        latency_p95_ms=p95,
        latency_p99_ms=p99,
        rating=_mean(rating, plan.confidence),
        ratings=int(rating.x),
        metrics={name: sums.ratio for name, sums in sorted(arm.sums.items()) if sums.x > 0},
    )


def _percentiles(sketch: LogSketch | None) -> tuple[float | None, float | None, float | None]:
    if sketch is None or sketch.count < LEAST_FOR_PERCENTILES:
        return None, None, None
    p50, p95, p99 = sketch.quantiles((0.5, 0.95, 0.99))
    return p50, p95, p99


def _weight(experiment: Experiment, arm_id: str) -> float:
    shares = experiment.allocation or {arm.id: arm.weight for arm in experiment.arms}
    return float(shares.get(arm_id, 0.0))


def _share(sums: UnitSums, confidence: float) -> Interval | None:
    """Wilson's interval with the effective size, so that requests of one unit do not count as independent."""
    if not sums.x:
        return None
    rate = min(max(sums.ratio, 0.0), 1.0)
    variance = sums.unit_variance / sums.n if sums.n >= 2 else math.nan
    size = min(sums.x, rate * (1 - rate) / variance) if variance > 0 and 0 < rate < 1 else sums.n
    return wilson(rate * size, size, confidence=confidence)


def _mean(sums: UnitSums, confidence: float) -> Interval | None:
    if not sums.x:
        return None
    if sums.n < 2:
        return Interval(sums.ratio, -math.inf, math.inf)
    half = student_critical_value(confidence, int(sums.n) - 1) * math.sqrt(sums.unit_variance / sums.n)
    return Interval(sums.ratio, sums.ratio - half, sums.ratio + half)


def _difference(control: UnitSums, treatment: UnitSums, confidence: float) -> Interval | None:
    try:
        return welch(control, treatment, confidence=confidence).interval
    except ValueError:  # too few units, or none differs from another
        return None


def _novelty(tally: Tally, plan: Plan) -> Iterable[str]:
    """Whether the effect of a unit's first day is another one than that of its later days."""
    first = tally.ages.get(AGES[0], {})
    later: dict[str, UnitSums] = {}
    for age in AGES[2:]:
        for arm, sums in tally.ages.get(age, {}).items():
            later[arm] = later.get(arm, UnitSums()) + sums
    control = plan.arms[0]
    for arm in plan.arms[1:]:
        parts = [row.get(name, UnitSums()) for row in (first, later) for name in (control, arm)]
        if min(part.n for part in parts) < LEAST_FOR_AGES:
            continue
        try:
            early, late = welch(parts[0], parts[1]), welch(parts[2], parts[3])
        except ValueError:
            continue
        if abs(early.value - late.value) > NOVELTY_Z * math.hypot(early.error, late.error):
            yield (
                f"The effect of «{arm}» on a unit's first day ({early.value:+.4g}) is not that from its third day on "
                f"({late.value:+.4g}): part of it may be novelty. Let it run longer."
            )


def _number(value: Any, infinite: float) -> float:
    return infinite if value is None else float(value)
