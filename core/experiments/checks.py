"""Whether what somebody asks for fits together, each fault with its own words."""

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from core.errors import InvalidInputError
from core.experiments.plan import MetricKind, MetricPlan, Mode, Plan
from core.experiments.records import (
    LATENCY,
    LOGPROB,
    MEASURED_METRICS,
    RATING,
    STANDARD_METRICS,
    SUCCESS,
    ArmDraft,
    Automatic,
    ExperimentDraft,
    Impression,
    MetricDraft,
    RampStep,
    Strategy,
    UnitKind,
)
from core.storage.text import storable

MOST_UNITS = 1_000_000_000
MOST_LATENCY_MS = 1e9  # eleven days
RATINGS = (0.0, 100.0)
LARGEST_VALUE = 1e12
FIRST_YEAR, LAST_YEAR = 1970, 9998
PLANNED_MODES = (Mode.FIXED, Mode.GROUP_SEQUENTIAL, Mode.HYBRID)


def weights_of(arms: Sequence[ArmDraft]) -> tuple[float, ...]:
    """The arms' shares of the traffic; equal where none is given. Raises InvalidInputError."""
    if len(arms) < 2:
        raise _refused(
            "An experiment needs two arms or more.", "There is nothing to compare one with.", "Add an arm."
        )
    names = [arm.id for arm in arms]
    if len(set(names)) < len(names):
        raise _refused("Two arms have the same id.", f"They are {', '.join(names)}.", "Give each its own.")
    given = [arm.weight for arm in arms]
    if all(weight is None for weight in given):
        return (1 / len(arms),) * len(arms)
    if any(weight is None for weight in given):
        raise _refused("Some arms have a weight and some have none.", "", "Give all arms one, or none.")
    weights = [float(weight) for weight in given if weight is not None]
    if not all(math.isfinite(weight) and 0 <= weight <= 1 for weight in weights):
        raise _refused(
            "A weight is a share from 0 to 1.", f"They are {_numbers(weights)}.", "Correct the weights."
        )
    total = math.fsum(weights)
    if abs(total - 1) > 1e-6:
        raise _refused(
            f"The weights sum to {total:.6g}, not to 1.",
            f"They are {_numbers(weights)}, and all traffic has to go somewhere.",
            "Correct the weights.",
        )
    if weights[0] == 0 or sum(weight > 0 for weight in weights) < 2:
        raise _refused(
            "The control and at least one other arm need traffic.",
            f"The weights are {_numbers(weights)}. An arm of weight 0 gets no unit and is not judged.",
            "Give them a weight above 0.",
        )
    return tuple(weight / total for weight in weights)


def plan_of(draft: ExperimentDraft) -> Plan:
    """The plan that a draft asks for. Raises InvalidInputError for what does not fit together."""
    weights = weights_of(draft.arms)
    if draft.shadow:  # every arm answers every request
        weights = (1 / len(weights),) * len(weights)
    _check_numbers(draft)
    _check_metrics(draft)
    _check_ways(draft)
    return Plan(
        arms=tuple(arm.id for arm in draft.arms),
        weights=weights,
        primary=metric_of(draft.primary),
        guardrails=tuple(map(metric_of, draft.guardrails)),
        mode=draft.mode,
        confidence=draft.confidence,
        minimum_units=draft.minimum_units,
        minimum_days=draft.minimum_days,
        planned_units=draft.planned_units,
        looks=draft.looks,
        equivalence=draft.equivalence,
        returning=_is_returning(draft),
    )


def metric_of(draft: MetricDraft) -> MetricPlan:
    """One metric. Raises InvalidInputError."""
    if not (math.isfinite(draft.margin) and draft.margin >= 0):
        raise _refused(f"The margin of «{draft.name}» is not valid.", "It is 0 or more.", "Correct it.")
    if (draft.quantile is not None) is not (draft.kind is MetricKind.QUANTILE):
        raise _refused(f"«{draft.name}» has a quantile exactly when its kind is quantile.", "", "Correct it.")
    if draft.quantile is not None and not 0 < draft.quantile < 1:
        raise _refused(
            f"The quantile of «{draft.name}» lies between 0 and 1.", "", "Correct it: 0.95 is P95."
        )
    if draft.cap is not None and not (
        draft.kind is MetricKind.MEAN and math.isfinite(draft.cap) and draft.cap > 0
    ):
        raise _refused(
            f"The cap of «{draft.name}» is not valid.", "A mean may have one, above 0.", "Correct it."
        )
    if draft.name == SUCCESS and draft.kind is not MetricKind.SHARE:
        raise _refused("«success» is a share.", "A request succeeds or does not.", "Choose the kind share.")
    if draft.kind is MetricKind.SHARE and draft.name in (LATENCY, RATING, *MEASURED_METRICS):
        raise _refused(
            f"«{draft.name}» is no share.", "Its values are not 0 or 1.", "Choose the kind mean or quantile."
        )
    if draft.kind is MetricKind.QUANTILE and draft.name == LOGPROB:
        raise _refused(
            f"«{LOGPROB}» has no quantiles here.", "They are kept of 0 and more.", "Choose the kind mean."
        )
    return MetricPlan(draft.name, draft.kind, draft.higher_is_better, draft.margin, draft.quantile, draft.cap)


def check_times(draft: ExperimentDraft, now: datetime) -> tuple[RampStep, ...]:
    """Start, end and ramp. Answers the ramp. Raises InvalidInputError."""
    for moment in (draft.starts_at, draft.ends_at, *(step.at for step in draft.ramp)):
        if moment is not None and moment.tzinfo is None:
            raise _refused("A moment has no time zone.", "", "Write it like 2026-11-21T09:00:00Z.")
        if moment is not None and not _is_in_reach(moment):
            raise _refused(
                "A moment is out of reach.",
                f"It lies in the years {FIRST_YEAR} to {LAST_YEAR}.",
                "Correct it, or leave it out.",
            )
    if draft.ends_at is not None:
        if draft.starts_at is not None and draft.ends_at <= draft.starts_at:
            raise _refused(
                "The end comes before the start.",
                f"It starts at {draft.starts_at.isoformat()} and ends at {draft.ends_at.isoformat()}.",
                "Correct one of them.",
            )
        if draft.ends_at <= now:
            raise _refused(
                "The end lies in the past.", f"It is {draft.ends_at.isoformat()}.", "Choose a later one."
            )
    steps = tuple(RampStep(step.at, step.share) for step in draft.ramp)
    check_share(draft.share)
    share = draft.share
    for number, step in enumerate(steps):
        check_share(step.share)
        if (number and step.at <= steps[number - 1].at) or step.share < share:
            raise _refused(
                "The ramp does not go up.",
                "Each step is later than the one before it and lets at least as many in: a share that falls would take "
                "units out of the arm that they know.",
                "Put the steps in order.",
            )
        share = step.share
    return steps


def check_name(name: str) -> None:
    """Raise InvalidInputError for a name of which nothing is seen."""
    if not any(letter.isprintable() and not letter.isspace() for letter in name):
        raise _refused("The experiment has no name.", "It is blank.", "Give it one that can be read.")


def check_share(share: float) -> None:
    """Raise InvalidInputError unless this can be a share of the traffic."""
    if not (math.isfinite(share) and 0 <= share <= 1):
        raise _refused("The share of the traffic is not valid.", "It lies between 0 and 1.", "Correct it.")


def check_impression(impression: Impression, arms: Sequence[str]) -> None:
    """Raise InvalidInputError for an arm that is not there and for numbers that cannot be."""
    if impression.variant not in arms:
        raise _refused(
            f"There is no variant «{impression.variant[:80]}» in this experiment.",
            f"It has {', '.join(arms)}.",
            "Record it for one of those.",
        )
    latency = impression.latency_ms
    if latency is not None and not (math.isfinite(latency) and 0 <= latency <= MOST_LATENCY_MS):
        raise _refused(
            "The latency is not valid.",
            "It is a number of milliseconds, 0 or more; NaN, infinite and negative ones are refused.",
            "Measure it with a clock that only goes forward.",
        )
    low, high = RATINGS
    rating = impression.feedback_score
    if rating is not None and not low <= rating <= high:  # NaN is not within
        raise _refused(
            "The feedback score is not valid.", f"It lies between {low:g} and {high:g}.", "Correct it."
        )
    for name, value in impression.metrics.items():
        if name in STANDARD_METRICS:
            raise _refused(
                f"«{name}» has a field of its own.",
                "Among the other metrics it would not be checked.",
                "Give it as that field.",
            )
        if not (math.isfinite(value) and abs(value) <= LARGEST_VALUE):
            raise _refused(
                f"The metric «{storable(name[:40])}» is not a number that can be added up.", "", "Correct it."
            )


def check_shares_are_shares(plan: Plan, impression: Impression) -> None:
    """Raise InvalidInputError where a metric that the plan calls a share is neither 0 nor 1."""
    for metric in (plan.primary, *plan.guardrails):
        if metric.kind is MetricKind.SHARE and impression.metrics.get(metric.name, 0.0) not in (0.0, 1.0):
            raise _refused(
                f"«{metric.name}» is a share in this experiment.",
                "Each request has 0 or 1 of it.",
                "Correct it.",
            )
        if metric.kind is MetricKind.QUANTILE and impression.metrics.get(metric.name, 0.0) < 0:
            raise _refused(
                f"«{metric.name}» is negative.", "Quantiles are kept of 0 and more.", "Correct it."
            )


def _is_in_reach(moment: datetime) -> bool:
    try:
        return FIRST_YEAR <= moment.astimezone(UTC).year <= LAST_YEAR
    except OverflowError:
        return False


def _check_numbers(draft: ExperimentDraft) -> None:
    tests: tuple[tuple[str, float | None, Callable[[float], bool], str], ...] = (
        ("confidence", draft.confidence, lambda v: 0.5 <= v <= 0.9999, "from 0.5 to 0.9999"),
        ("minimum_units", draft.minimum_units, lambda v: 1 <= v <= MOST_UNITS, f"from 1 to {MOST_UNITS:,}"),
        ("minimum_days", draft.minimum_days, lambda v: 0 <= v <= 365, "from 0 to 365"),
        ("planned_units", draft.planned_units, lambda v: 2 <= v <= MOST_UNITS, f"from 2 to {MOST_UNITS:,}"),
        ("looks", draft.looks, lambda v: 1 <= v <= 100, "from 1 to 100"),
        ("equivalence", draft.equivalence, lambda v: 0 < v < math.inf, "above 0"),
        ("holdout", draft.holdout, lambda v: 0 <= v <= 0.5, "from 0 to 0.5"),
        ("namespace_share", draft.namespace_share, lambda v: 0 < v <= 1, "above 0, up to 1"),
    )
    for name, value, fits, told in tests:
        if value is not None and not fits(value):
            raise _refused(f"«{name}» is not valid.", f"It is a number {told}.", "Correct it.")
    if draft.mode in PLANNED_MODES and draft.planned_units is None:
        raise _refused(
            f"The mode {draft.mode} needs «planned_units».",
            "It is judged at planned numbers of units per arm.",
            "Give it, or choose always_valid.",
        )


def _is_returning(draft: ExperimentDraft) -> bool:
    """A bandit is judged by first outcomes alone: each is of another unit, whatever the shares were that it had."""
    if draft.shadow or draft.strategy is Strategy.BANDIT:
        return False
    return draft.unit is not UnitKind.REQUEST if draft.returning is None else draft.returning


def _check_metrics(draft: ExperimentDraft) -> None:
    metrics = (draft.primary, *draft.guardrails)
    places = [
        (each.name, each.quantile) if each.kind is MetricKind.QUANTILE else (each.name,) for each in metrics
    ]
    if len(set(places)) < len(places):
        raise _refused(
            "A metric is there twice.", "The primary and each guardrail are different ones.", "Leave one out."
        )


def _check_ways(draft: ExperimentDraft) -> None:
    for field, allowed in draft.targeting.items():
        if (
            not 0 < len(field) <= 80
            or not 0 < len(allowed) <= 100
            or not all(0 < len(v) <= 200 for v in allowed)
        ):
            raise _refused(
                f"The target «{storable(field[:80])}» is not valid.",
                "A field has 1 to 100 values, each of 1 to 200 letters.",
                "Correct it.",
            )
        if any(storable(text) != text for text in (field, *allowed)):
            raise _refused(
                f"The target «{storable(field[:80])}» is no text.",
                "NUL and halves of letters are in no context that could be compared with it.",
                "Correct it.",
            )
    if draft.shadow and draft.strategy is Strategy.BANDIT:
        raise _refused(
            "A shadow experiment has no bandit.", "Every arm answers every request.", "Leave one out."
        )
    if draft.strategy is Strategy.BANDIT and draft.mode is not Mode.ALWAYS_VALID:
        raise _refused(
            "A bandit is judged in the mode always_valid.", "Its arms' shares move.", "Choose that mode."
        )
    if draft.strategy is Strategy.BANDIT and draft.primary.kind is not MetricKind.SHARE:
        raise _refused(
            "A bandit needs a share as its primary metric.",
            "Its arms are compared by first outcomes, which its choices do not bias; means of what it chose are biased.",
            "Choose success or another share, or another strategy.",
        )
    if draft.namespace_share is not None and draft.namespace is None:
        raise _refused("«namespace_share» needs a namespace.", "", "Name one, or leave it out.")
    if draft.automatic in (Automatic.PROMOTE, Automatic.BOTH) and draft.serves is None:
        raise _refused(
            "Nothing can be promoted by itself.",
            "A promotion swaps what a name means, and this experiment has taken over no name.",
            "Give «serves», or promote by hand.",
        )


def _numbers(weights: Sequence[float]) -> str:
    return ", ".join(f"{weight:g}" for weight in weights)


def _refused(what: str, why: str, next_step: str) -> InvalidInputError:
    return InvalidInputError(what, why, next_step)
