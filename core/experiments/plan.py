"""What an experiment set out to decide, what it has seen, and what may be said: values only, no I/O.

The plan is fixed when the experiment starts. The evidence is sums and sketches that add up over processes and days. A
decision follows from both and nothing else, so that the screen, the API, a file and a simulation say the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from core.stats.moments import UnitSums
from core.stats.proportions import Interval
from core.stats.sketches import LogSketch


class Mode(StrEnum):
    """When an experiment may be judged."""

    ALWAYS_VALID = "always_valid"  # at any moment, as often as anybody looks
    HYBRID = "hybrid"  # always valid while it runs, and one final look at its end
    GROUP_SEQUENTIAL = "group_sequential"  # at planned looks only
    FIXED = "fixed"  # once, when the planned number of units is there


class MetricKind(StrEnum):
    """How a metric is made from units."""

    SHARE = "share"  # successes of requests; y = successes, x = requests
    MEAN = "mean"  # of values per request (latency, cost, rating); y = sum, x = how many
    QUANTILE = "quantile"  # of values per request


class Verdict(StrEnum):
    """What to do now."""

    NO_DECISION = "no_decision"
    KEEP_RUNNING = "keep_running"
    SHIP = "ship"
    ROLLBACK = "rollback"
    EQUIVALENT = "equivalent"


@dataclass(frozen=True, slots=True)
class MetricPlan:
    """One metric. `margin` is absolute, in the metric's unit, never negative: for the primary what it must win by, for
    a guardrail how much worse is still accepted. `cap`: values above count as this (fixed before the start)."""

    name: str
    kind: MetricKind
    higher_is_better: bool = True
    margin: float = 0.0
    quantile: float | None = None
    cap: float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """`arms` begin with the control; `weights` are their shares of the traffic and sum to 1, 0 where an arm gets none.

    `returning`: units come back, so that a share is judged over all requests of a unit; else by its first request.
    `minimum_units` is per arm. `planned_units` is per arm, for group_sequential, fixed and hybrid; `looks` for
    group_sequential. `equivalence`: differences of the primary within ± this much do not matter to anybody.
    """

    arms: tuple[str, ...]
    weights: tuple[float, ...]
    primary: MetricPlan
    guardrails: tuple[MetricPlan, ...] = ()
    mode: Mode = Mode.ALWAYS_VALID
    confidence: float = 0.95
    minimum_units: int = 100
    minimum_days: float = 0.0
    planned_units: int | None = None
    looks: int = 5
    equivalence: float | None = None
    returning: bool = False


@dataclass(frozen=True, slots=True)
class PairCounts:
    """The k-th unit of the treatment beside the k-th of the control, by their first outcome. `plus`: only the
    treatment's succeeded; `minus`: only the control's; `ties`: both or none."""

    plus: int = 0
    minus: int = 0
    ties: int = 0


@dataclass(frozen=True, slots=True)
class ArmEvidence:
    """What one arm has shown. `sums` by metric name, over units; `sketches` of values per request, by metric name.
    `first` are sums of first outcomes only (y = success, x = 1)."""

    units: int = 0
    requests: int = 0
    sums: Mapping[str, UnitSums] = field(default_factory=dict)
    sketches: Mapping[str, LogSketch] = field(default_factory=dict)
    first: UnitSums = field(default_factory=UnitSums)


@dataclass(frozen=True, slots=True)
class Evidence:
    """All arms by name; `pairs` by treatment, each against the control; `days` since the first unit, and `ended` when no
    more will come. `crossed_units`: units that were seen in two arms and were left out. `shadow`: both arms answered
    the same requests, so that pairs are of one request and not of two units."""

    arms: Mapping[str, ArmEvidence]
    pairs: Mapping[str, PairCounts] = field(default_factory=dict)
    days: float = 0.0
    ended: bool = False
    looks_taken: int = 0
    crossed_units: int = 0
    repeats_unused: int = 0
    shadow: bool = False


@dataclass(frozen=True, slots=True)
class Comparison:
    """A treatment against the control in one metric, as treatment minus control in the metric's unit.

    `interval` holds at the plan's confidence for all arms together and at all times where `always_valid`; `p_value`
    never contradicts it: it is below 1 − confidence exactly when the interval leaves 0 out. `relative` is by Fieller,
    None where the control may be 0. `harmed` and `better` are about the margin.
    """

    metric: str
    arm: str
    control: str
    value: float
    control_value: float
    interval: Interval
    relative: Interval | None
    p_value: float
    always_valid: bool
    better: bool
    harmed: bool
    units: int
    method: str
    quantile: float | None = None


@dataclass(frozen=True, slots=True)
class OneLook:
    """A classic test, shown and labelled as valid for one look only; it never decides."""

    name: str
    statistic: float
    degrees: int
    p_value: float
    label: str = "one look only"


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Sample ratio: what was expected of each arm and what came; `log_e` of the test that holds at any time."""

    expected: Mapping[str, float]
    observed: Mapping[str, int]
    log_e: float
    p_value: float
    chi_square_p: float | None
    found: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """`winner` is an arm only with SHIP (a treatment) or ROLLBACK (the control). `reason` is one sentence.
    `units_needed` per arm until a verdict can be expected at the difference seen so far; None: not to be said."""

    verdict: Verdict
    reason: str
    winner: str | None
    units_needed: int | None
    comparisons: tuple[Comparison, ...]
    guardrails: tuple[Comparison, ...]
    mismatch: Mismatch
    one_look: tuple[OneLook, ...]
    warnings: tuple[str, ...] = ()


def metric_of(plan: Plan, comparison: Comparison) -> MetricPlan:
    """What a comparison is about: of one name there may be a mean and several quantiles."""
    named = (comparison.metric, comparison.quantile)
    return next(each for each in (plan.primary, *plan.guardrails) if (each.name, each.quantile) == named)
