"""What is shown of an experiment: its decision, its arms, how the intervals went day by day, and where to be careful."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from core.experiments.plan import Decision, Evidence, OneLook
from core.experiments.records import Experiment, Reached
from core.stats.proportions import Interval


@dataclass(frozen=True, slots=True)
class ArmFigures:
    """One arm in numbers. `exposed` units were given the arm, `units` have shown something. Intervals are of this arm
    alone, for one look; None where there is nothing to show. Percentiles in milliseconds, None below 10 requests."""

    arm: str
    label: str
    weight: float
    exposed: int
    units: int
    requests: int
    success_rate: Interval | None
    latency_mean_ms: float | None
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    latency_p99_ms: float | None
    rating: Interval | None
    ratings: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class HistoryPoint:
    """A treatment against the control in the primary metric, as it stood last on one day (UTC)."""

    day: date
    arm: str
    value: float
    low: float
    high: float
    units: int
    verdict: str


@dataclass(frozen=True, slots=True)
class SegmentFigure:
    """The primary metric of one arm among the units with one value of one field. Exploratory: looked at after the fact,
    among many, so it proves nothing. `difference` is against the control, with its interval for one look."""

    field: str
    value: str
    arm: str
    units: int
    rate: Interval | None
    difference: Interval | None


@dataclass(frozen=True, slots=True)
class AgeFigure:
    """The primary metric of a treatment against the control, by days since a unit was first exposed."""

    days: str
    arm: str
    units: int
    difference: Interval | None


@dataclass(frozen=True, slots=True)
class ExperimentResults:
    """All of it at one moment. `reached` is the first verdict that ended the question, and stays; `decision` is what
    the evidence says now. `unfolded` impressions are recorded and not in these numbers yet. `independent_units` are
    requests that named nobody and so count as units of their own. `exposure_test` compares the numbers of units that
    were given each arm with its weight."""

    experiment: Experiment
    at: datetime
    decision: Decision
    reached: Reached | None
    evidence: Evidence
    arms: tuple[ArmFigures, ...]
    history: tuple[HistoryPoint, ...]
    segments: tuple[SegmentFigure, ...]
    ages: tuple[AgeFigure, ...]
    warnings: tuple[str, ...]
    unfolded: int
    independent_units: int
    exposure_test: OneLook | None = None

    @property
    def winner(self) -> str | None:
        """The arm that the experiment ended for; None while nobody can say."""
        return self.reached.winner if self.reached is not None else self.decision.winner


@dataclass(frozen=True, slots=True)
class Advice:
    """Before the start: how many units each arm needs, and how long that takes with this traffic.

    `days` None: no traffic is known. `smallest_difference` is what can be seen in 14 days, None where not to be said.
    """

    units_per_arm: int
    total_units: int
    days: float | None
    sentence: str
    smallest_difference: float | None = None
