"""Before the start: how many units an experiment needs, and how many days they take.

Sources
- fixed and group-sequential plans: core/stats/power.py, and what early looks cost by the bounds that decide
  (core/stats/group_sequential.py);
- always valid, shares: the logarithm of the discordant-pair e-process as a walk with the drift and the spread of the
  best bet, against 1/α and what it costs not to know that bet (core/stats/pairs.py); the chance to have passed is Wald's;
- always valid, means: Waudby-Smith et al. (arXiv 2103.06476), eq. (12), at the ρ that is best at that number of units.
"""

import math
from statistics import NormalDist

from core.errors import InvalidInputError
from core.experiments.checks import plan_of
from core.experiments.plan import MetricKind, Mode, Plan
from core.experiments.records import ExperimentDraft
from core.experiments.results import Advice
from core.stats.group_sequential import Spending, bounds, inflation
from core.stats.pairs import log_e_pairs
from core.stats.power import Aim, detectable_share, duration, units_for_means, units_for_shares
from core.stats.tails import log_normal_tail

POWER = 0.8
A_FORTNIGHT = 14.0
MOST_PAIRS = 1e12


def advise(
    draft: ExperimentDraft,
    *,
    baseline: float,
    difference: float,
    units_per_day: float | None = None,
    spread: float | None = None,
    power: float = POWER,
) -> Advice:
    """Units per arm to see `difference` (absolute) from `baseline` in the primary metric, and the days that takes with
    `units_per_day` new units. `spread` is the metric's standard deviation between units, for what is no share.

    Raises InvalidInputError for numbers that cannot be.
    """
    plan = plan_of(draft)
    _check(baseline, difference, units_per_day, spread)
    aim = _aim(plan, power)
    try:
        units = _units(plan, baseline, difference, spread, aim)
        days = None
        if units_per_day is not None:
            weights = (
                [1.0] if draft.shadow else list(plan.weights)
            )  # in shadow each request is one of every arm
            days = duration(units, weights, units_per_day, share=draft.share or 1.0).days
    except ValueError as error:
        raise InvalidInputError("This cannot be planned.", f"{error}.", "Correct the numbers.") from None
    per_arm = math.ceil(units)
    smallest = 1.0 if draft.shadow else min(weight for weight in plan.weights if weight > 0)
    if not units / smallest <= MOST_PAIRS**2:
        raise InvalidInputError(
            "This cannot be planned.", "An arm has nearly no traffic.", "Give it a larger weight."
        )
    total = math.ceil(units / smallest)
    return Advice(
        per_arm, total, days, _sentence(plan, per_arm, days, power), _smallest(plan, baseline, units_per_day)
    )


def _check(baseline: float, difference: float, units_per_day: float | None, spread: float | None) -> None:
    given = {"baseline": baseline, "difference": difference, "spread": spread}
    for name, value in given.items():
        if value is not None and not math.isfinite(value):
            raise InvalidInputError("This cannot be planned.", f"«{name}» is not a number.", "Correct it.")
    if units_per_day is not None and not (math.isfinite(units_per_day) and units_per_day > 0):
        raise InvalidInputError(
            "This cannot be planned.",
            "«units_per_day» is a number above 0.",
            "Correct it, or leave it out where nobody knows.",
        )


def _aim(plan: Plan, power: float) -> Aim:
    treatments = sum(weight > 0 for weight in plan.weights[1:])
    try:
        return Aim(alpha=(1 - plan.confidence) / max(1, treatments), power=power)
    except ValueError as error:
        raise InvalidInputError("This cannot be planned.", f"{error}.", "Correct the numbers.") from None


def _units(plan: Plan, baseline: float, difference: float, spread: float | None, aim: Aim) -> float:
    always = plan.mode in (Mode.ALWAYS_VALID, Mode.HYBRID)
    if plan.primary.kind is MetricKind.SHARE:
        if always:
            return _pairs_needed(baseline, baseline + difference, aim)
        fixed = units_for_shares(baseline, baseline + difference, aim)
    else:
        if spread is None or not spread > 0:
            raise ValueError("a metric that is no share needs its spread between units, above 0")
        fixed = units_for_means(difference, spread, aim)
        if always:
            fixed *= ((_boundary(aim.alpha) + _z(aim.power)) / (aim.critical + _z(aim.power))) ** 2
    if plan.mode is not Mode.GROUP_SEQUENTIAL:
        return fixed
    looks = [(look + 1) / plan.looks for look in range(plan.looks)]
    return fixed * inflation(bounds(looks, alpha=aim.alpha, spending=Spending.SQUARE), aim.power)


def _pairs_needed(first: float, second: float, aim: Aim) -> float:
    """Pairs after which the e-process has reached 1/α with the aim's power."""
    if not (0 <= first <= 1 and 0 <= second <= 1) or first == second:
        raise ValueError("shares lie between 0 and 1 and differ")
    plus, minus = second * (1 - first), first * (1 - second)
    share = plus / (plus + minus)
    up, down = (math.log(2 * part) if part > 0 else -40.0 for part in (share, 1 - share))
    sd = math.sqrt(max(0.0, plus * up**2 + minus * down**2 - (plus * up + minus * down) ** 2))

    growth = plus * up + minus * down

    def lacking(n: float) -> bool:
        learning = max(
            0.0, n * growth - float(log_e_pairs(n * plus, n * minus))
        )  # what not knowing the effect costs
        return _chance_to_pass(learning - math.log(aim.alpha), growth, sd, n) < aim.power

    low, high = 1.0, 2.0
    while lacking(high):
        low, high = high, 2 * high
        if high > MOST_PAIRS:
            raise ValueError("the difference is too small: no number of units that anybody has would find it")
    while high - low > 0.5 + 1e-4 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if lacking(middle) else (low, middle)
    return high


def _chance_to_pass(barrier: float, drift: float, sd: float, n: float) -> float:
    """That a walk of n steps has been above the barrier: the inverse Gaussian distribution (Wald 1947, A:2)."""
    if sd == 0:
        return float(drift * n >= barrier)
    width = sd * math.sqrt(n)
    once = math.exp(log_normal_tail((barrier - drift * n) / width))
    return once + math.exp(
        min(0.0, 2 * drift * barrier / sd**2 + log_normal_tail((barrier + drift * n) / width))
    )


def _boundary(alpha: float) -> float:
    """The confidence sequence's half width, in standard errors, where it is narrowest."""
    return min(
        math.sqrt((1 + 1 / x) * math.log((x + 1) / alpha**2)) for x in (0.1 * k for k in range(1, 400))
    )


def _smallest(plan: Plan, baseline: float, units_per_day: float | None) -> float | None:
    """The smallest rise of a share that one look sees after a fortnight."""
    if plan.primary.kind is not MetricKind.SHARE or units_per_day is None or not 0 < baseline < 1:
        return None
    units = units_per_day * A_FORTNIGHT * min(weight for weight in plan.weights if weight > 0)
    try:
        return detectable_share(units, baseline, _aim(plan, POWER)) - baseline
    except ValueError:
        return None


def _sentence(plan: Plan, units: int, days: float | None, power: float) -> str:
    how = {
        Mode.ALWAYS_VALID: "looked at as often as you like",
        Mode.HYBRID: "looked at as often as you like",
        Mode.GROUP_SEQUENTIAL: f"looked at {plan.looks} times",
        Mode.FIXED: "looked at once, at the end",
    }[plan.mode]
    told = f"Each arm needs about {units:,} units to show this difference in {power:.0%} of such experiments, {how}."
    if days is None:
        return told
    return f"{told} With this traffic that takes about {max(1, math.ceil(days)):,} days."


def _z(power: float) -> float:
    return NormalDist().inv_cdf(power)
