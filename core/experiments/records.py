"""What an experiment is, the states that it goes through, and what is recorded of it.

An arm is a composition, kept here as plain JSON: what it means is for the floor above to say. When an experiment
starts, each arm is pinned: names are replaced by ids and the digest of the content is kept, so that a swap of a name
or a new version changes nothing in an experiment that runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from core.errors import IllegalTransitionError
from core.experiments.plan import MetricKind, Mode, Plan, Verdict

SUCCESS, LATENCY, RATING = "success", "latency_ms", "feedback_score"
STANDARD_METRICS = (SUCCESS, LATENCY, RATING)
LOGPROB = "mean_logprob"
# What an answer tells of itself beside them, where the plan asks for it.
MEASURED_METRICS = (
    "completion_tokens",
    "prompt_tokens",
    "total_tokens",
    "first_token_ms",
    "queued_ms",
    LOGPROB,
    "mean_entropy",
)
ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$"
METRIC_PATTERN = r"^[a-z][a-z0-9_]{0,39}$"


class Strategy(StrEnum):
    """How a unit gets its arm. HASH and WEIGHTED: from its hash, by the arms' weights. RANDOM: the same with a random
    seed that is kept with the experiment. BANDIT: by the share that each arm has earned; the share is kept, too."""

    HASH = "hash"
    WEIGHTED = "weighted"
    RANDOM = "random"
    BANDIT = "bandit"


class BanditRule(StrEnum):
    """How a bandit divides the traffic: each arm by its probability of being the best, or half to the best and half to
    whichever would be the best otherwise, which finds the best sooner."""

    THOMPSON = "thompson"
    TOP_TWO = "top_two"


class UnitKind(StrEnum):
    """What keeps to one arm. Where a request names no user, its session counts; without one, the request itself."""

    USER = "user"
    SESSION = "session"
    REQUEST = "request"


class ServesKind(StrEnum):
    """What the name is that an experiment takes over while it runs."""

    ADAPTER = "adapter"
    FEDERATION = "federation"


class Automatic(StrEnum):
    """What is done by itself once the verdict is there."""

    OFF = "off"
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    BOTH = "both"


class State(StrEnum):
    """DRAFT may still be changed. PAUSED: everybody gets the control and nothing is counted. STOPPED: no more comes."""

    DRAFT = "draft"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    ARCHIVED = "archived"


NEXT: Mapping[State, frozenset[State]] = {
    State.DRAFT: frozenset({State.RUNNING, State.ARCHIVED}),
    State.RUNNING: frozenset({State.PAUSED, State.STOPPED, State.PROMOTED, State.ROLLED_BACK}),
    State.PAUSED: frozenset({State.RUNNING, State.STOPPED, State.PROMOTED, State.ROLLED_BACK}),
    State.STOPPED: frozenset({State.PROMOTED, State.ROLLED_BACK, State.ARCHIVED}),
    State.PROMOTED: frozenset({State.ROLLED_BACK, State.ARCHIVED}),
    State.ROLLED_BACK: frozenset({State.ARCHIVED}),
    State.ARCHIVED: frozenset(),
}
ENDED = frozenset({State.STOPPED, State.PROMOTED, State.ROLLED_BACK, State.ARCHIVED})


def check_transition(before: State, after: State) -> None:
    """Raise IllegalTransitionError unless an experiment may go from one state to the other."""
    if after not in NEXT[before]:
        raise IllegalTransitionError(
            f"An experiment that is {before.replace('_', ' ')} cannot become {after.replace('_', ' ')}.",
            f"From here it can become: {', '.join(sorted(NEXT[before])) or 'nothing'}.",
            "Look at it again.",
        )


class ArmDraft(BaseModel):
    """One arm as somebody describes it. `composition` is a composition spec; {}: the base alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=ID_PATTERN)
    composition: dict[str, Any] = Field(default_factory=dict)
    weight: float | None = Field(None, description="Its share of the traffic; left out by all arms: equal.")
    label: str = Field("", max_length=200)


class MetricDraft(BaseModel):
    """One metric. `success`, `latency_ms` and `feedback_score` are always there; others come with impressions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(SUCCESS, pattern=METRIC_PATTERN)
    kind: MetricKind = MetricKind.SHARE
    higher_is_better: bool = True
    margin: float = Field(
        0.0, description="In the metric's unit: what the primary must win by; what a guardrail may lose."
    )
    quantile: float | None = None
    cap: float | None = Field(None, description="Values above count as this.")


class RampDraft(BaseModel):
    """From this moment on, this share of the traffic takes part."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: datetime
    share: float


class ServesDraft(BaseModel):
    """The name that requests go on using while the experiment runs, and that a promotion swaps."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ServesKind
    name: str = Field(min_length=1, max_length=100)


class ExperimentDraft(BaseModel):
    """What somebody asks for. The first arm is the control. What does not fit together is refused by the service."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str | None = Field(None, pattern=ID_PATTERN, description="Left out: one is made.")
    name: str = Field(min_length=1, max_length=200)
    description: str = Field("", max_length=2000)
    hypothesis: str = Field("", max_length=2000)
    arms: tuple[ArmDraft, ...] = Field(min_length=1, max_length=10)
    primary: MetricDraft = MetricDraft()
    guardrails: tuple[MetricDraft, ...] = Field(default=(), max_length=10)
    mode: Mode = Mode.ALWAYS_VALID
    confidence: float = 0.95
    minimum_units: int = Field(100, description="Per arm.")
    minimum_days: float = 0.0
    planned_units: int | None = Field(None, description="Per arm; for group_sequential, fixed and hybrid.")
    looks: int = 5
    equivalence: float | None = None
    returning: bool | None = Field(
        None,
        description="Whether a share is judged over all requests of a unit; left out: where units come back.",
    )
    strategy: Strategy = Strategy.HASH
    bandit: BanditRule = Field(BanditRule.THOMPSON, description="For the strategy bandit.")
    unit: UnitKind = UnitKind.USER
    namespace: str | None = Field(
        None, pattern=ID_PATTERN, description="Experiments of one namespace share no unit."
    )
    namespace_share: float | None = Field(
        None, description="Its part of the namespace; left out: all that is free."
    )
    holdout: float = Field(
        0.0, description="Share of units that take part in no experiment of the namespace."
    )
    targeting: dict[str, tuple[str, ...]] = Field(default_factory=dict, max_length=16)
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    share: float = Field(
        1.0, description="Share of the traffic that takes part; the rest gets the control, uncounted."
    )
    ramp: tuple[RampDraft, ...] = Field(default=(), max_length=20)
    shadow: bool = Field(
        False, description="All arms answer each request; only the control's answer is given."
    )
    serves: ServesDraft | None = None
    automatic: Automatic = Automatic.OFF


@dataclass(frozen=True, slots=True)
class Arm:
    """`composition` is as given; `pinned`, from the start on, the same with ids in place of names; `digest` names the
    content then. `weight` is its share of the traffic."""

    id: str
    composition: Mapping[str, Any]
    weight: float
    label: str = ""
    pinned: Mapping[str, Any] | None = None
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Pinned:
    """What the floor above found for an arm when it started: its composition by ids, its digest, how it is shown."""

    composition: Mapping[str, Any]
    digest: str
    label: str


@dataclass(frozen=True, slots=True)
class RampStep:
    """From `at` on, `share` of the traffic takes part."""

    at: datetime
    share: float


@dataclass(frozen=True, slots=True)
class Serves:
    """The name that an experiment takes over."""

    kind: ServesKind
    name: str


@dataclass(frozen=True, slots=True)
class Reached:
    """The first verdict that ends the question, and when it was reached. It stays, whatever comes later."""

    verdict: Verdict
    winner: str | None
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment of a tenant. `slots` is its part of the namespace, within 0 and 1. `allocation` are the shares that
    a bandit gives its arms now. `reason` says why it is in its state; `settled_arm` is what was promoted, by `swap_id`; in
    one that is stopped, what is being promoted."""

    id: str
    tenant_id: str
    name: str
    description: str
    hypothesis: str
    arms: tuple[Arm, ...]
    plan: Plan
    strategy: Strategy
    unit: UnitKind
    salt: str
    namespace: str
    slots: tuple[float, float]
    holdout: float
    targeting: Mapping[str, tuple[str, ...]]
    starts_at: datetime | None
    ends_at: datetime | None
    share: float
    ramp: tuple[RampStep, ...]
    shadow: bool
    serves: Serves | None
    automatic: Automatic
    state: State
    created_by: str
    created_at: datetime
    started_at: datetime | None = None
    stopped_at: datetime | None = None
    begun_at: datetime | None = None
    reason: str = ""
    revision: int = 1
    reached: Reached | None = None
    allocation: Mapping[str, float] | None = None
    bandit: BanditRule = BanditRule.THOMPSON
    settled_arm: str | None = None
    swap_id: str = ""

    @property
    def control(self) -> Arm:
        """The first arm."""
        return self.arms[0]

    def arm(self, arm_id: str) -> Arm | None:
        """An arm by its id."""
        return next((arm for arm in self.arms if arm.id == arm_id), None)

    @property
    def promoting(self) -> str | None:
        """The arm whose promotion was begun and has neither succeeded nor failed yet."""
        return self.settled_arm if self.state is State.STOPPED else None

    def share_at(self, at: datetime) -> float:
        """How much of the traffic takes part at a moment. It never falls."""
        return max((self.share, *(step.share for step in self.ramp if step.at <= at)))

    def is_open(self, at: datetime) -> bool:
        """Whether units take part now. What has begun stays begun when the clock is set back."""
        if self.state is not State.RUNNING:
            return False
        begun = self.starts_at is None or self.begun_at is not None or at >= self.starts_at
        return begun and (self.ends_at is None or at < self.ends_at)

    def is_over(self, at: datetime) -> bool:
        """Whether its end has come."""
        return self.ends_at is not None and at >= self.ends_at

    @property
    def is_scheduled(self) -> bool:
        """Whether it was started for a later moment and has seen nobody yet."""
        return self.state is State.RUNNING and self.starts_at is not None and self.begun_at is None

    def days(self, now: datetime) -> float:
        """Days since it was started."""
        if self.started_at is None:
            return 0.0
        return max(0.0, ((self.stopped_at or now) - self.started_at) / timedelta(days=1))


class Outside(StrEnum):
    """Why a unit takes no part."""

    NOT_OPEN = "not_open"
    NOT_TARGETED = "not_targeted"
    OTHER_EXPERIMENT = "other_experiment"
    HELD_OUT = "held_out"
    NOT_IN_RAMP = "not_in_ramp"


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a unit gets. `variant` None: it takes no part, for the reason `outside`. `propensity`: how likely this arm
    was for it. `independent`: the request names nobody, so that it is a unit of its own."""

    experiment_id: str
    variant: str | None
    outside: Outside | None = None
    propensity: float = 1.0
    independent: bool = False


@dataclass(frozen=True, slots=True)
class Impression:
    """What came of one request in one arm. `success` None: nobody can say. `unit` is the unit's key (see assign.py),
    never a name. `exposure`: the unit was given the arm, and nothing has come of it yet."""

    event_id: str
    variant: str
    unit: str
    at: datetime
    success: bool | None = None
    latency_ms: float | None = None
    feedback_score: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    segment: Mapping[str, str] = field(default_factory=dict)
    propensity: float = 1.0
    independent: bool = False
    exposure: bool = False


@dataclass(frozen=True, slots=True)
class Recorded:
    """`replayed`: this event was recorded before, and nothing was changed. `note`: what the caller should know."""

    event_id: str
    replayed: bool
    note: str = ""
